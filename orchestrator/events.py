"""The facts of a run, past tense: the closed, versioned set on which resume, reports and migrations rest.

An event is a frozen value. In the journal it is its kind (`intended`), the target it is about, and a JSON object
of its fields. Fields may be added, with a default; none is ever renamed. A kind that is not known here was written
by a newer version: that is an error, never ignored.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache, partial
from typing import Any, ClassVar, TypeAlias, TypeVar, Union

from orchestrator.errors import JournalError
from orchestrator.model import Build, Json, Outcome

CANCELED = "canceled by a person"  # the rule of `Stopped` where a person asked for it
VERSION = 1  # of this set; a change that an older reader would misread raises it


@dataclass(frozen=True, slots=True)
class RunMade:
    """A run exists; the plan's targets are rows beside this event."""

    kind: ClassVar[str] = "run_made"
    name: str
    manifest: str | None
    digest: str
    params: Mapping[str, Json] = field(default_factory=dict)
    accounts: Mapping[str, Json] = field(default_factory=dict)
    limits: Mapping[str, Json] = field(default_factory=dict)
    parent: str | None = None
    version: int = VERSION
    options: Mapping[str, Json] = field(default_factory=dict)  # fail_on, max_fail, in_flight, timeout, reports


@dataclass(frozen=True, slots=True)
class WaveOpened:
    """The targets of a wave may be triggered, those with needs once released."""

    kind: ClassVar[str] = "wave_opened"
    wave: int


@dataclass(frozen=True, slots=True)
class Released:
    """Every need of the target has passed."""

    kind: ClassVar[str] = "released"
    target: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A rule, or a person (`CANCELED`), ended the triggering of the run; empty: a person overrode an earlier stop."""

    kind: ClassVar[str] = "stopped"
    rule: str
    arithmetic: str
    forgiven: int = 0  # failures until an override: they do not stop the run once more


@dataclass(frozen=True, slots=True)
class Tally:
    """What one process did for one account: calls by kind, and what it waited for, in seconds, by limit."""

    account: str
    calls: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    waited: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A process stopped driving before the run's end.

    Args:
        signal: a signal's name, or `stopped`, `timeout`, `account`, `detached`.
    """

    kind: ClassVar[str] = "interrupted"
    signal: str
    exit_code: int = 0
    tallies: tuple[Tally, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnded:
    """No target is open any more."""

    kind: ClassVar[str] = "run_ended"
    exit_code: int
    tallies: tuple[Tally, ...] = ()


@dataclass(frozen=True, slots=True)
class Claimed:
    """A process took the lease on this stream."""

    kind: ClassVar[str] = "claimed"
    epoch: int
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """A scope is to be left alone until then (wall clock)."""

    kind: ClassVar[str] = "frozen"
    scope: str
    until: float
    cause: str


@dataclass(frozen=True, slots=True)
class LimitLearnt:
    """An answer revealed a limit."""

    kind: ClassVar[str] = "limit_learnt"
    scope: str
    rule: str  # `triggers_per_repo 10/1h`


@dataclass(frozen=True, slots=True)
class MarkerProven:
    """A request known to be ours was seen to carry its marker: `find` may now be believed on this account."""

    kind: ClassVar[str] = "marker_proven"


@dataclass(frozen=True, slots=True)
class AccountStopped:
    """No further call is made on the account: a dead token, a ban, out of reach."""

    kind: ClassVar[str] = "account_stopped"
    cause: str
    until: float | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Intended:
    """A trigger call is about to leave; durable before it does.

    Args:
        skew: seconds by which the provider's clock was ahead of ours; None: not known yet.
    """

    kind: ClassVar[str] = "intended"
    target: str
    attempt: int
    marker: str | None
    skew: int | None = 0


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The intended call certainly started nothing: `unreachable`, `rate_limited` or `access_refused`."""

    kind: ClassVar[str] = "withdrawn"
    target: str
    attempt: int
    cause: str


@dataclass(frozen=True, slots=True)
class Doubted:
    """The answer was lost; the call can have reached the provider between `from_` and `to` (wall clock)."""

    kind: ClassVar[str] = "doubted"
    target: str
    attempt: int
    cause: str
    from_: float
    to: float
    skew: int | None = 0  # as at `Intended`: these times are ours, the provider's listings go by its own


@dataclass(frozen=True, slots=True)
class Absent:
    """A look showed that the attempt certainly started nothing."""

    kind: ClassVar[str] = "absent"
    target: str
    attempt: int
    evidence: str


@dataclass(frozen=True, slots=True)
class Requested:
    """The provider has the request; `how` is `answered`, `found` or `adopted`."""

    kind: ClassVar[str] = "requested"
    target: str
    id: str
    how: str
    handle: Mapping[str, Json] = field(default_factory=dict)
    url: str | None = None
    marker: str | None = None  # for a request of an earlier run, whose marker differs


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider refused the trigger or the request, for good."""

    kind: ClassVar[str] = "refused"
    target: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sighted:
    """A build was seen in a state that differs from the last one seen."""

    kind: ClassVar[str] = "sighted"
    target: str
    build: Build


@dataclass(frozen=True, slots=True)
class Restarted:
    """The build was started again under its old id; the outcome is open again."""

    kind: ClassVar[str] = "restarted"
    target: str
    build: str


@dataclass(frozen=True, slots=True)
class Canceling:
    """We asked the provider to cancel the build; `note` tells why it could not be, when so."""

    kind: ClassVar[str] = "canceling"
    target: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The target is never triggered in this run."""

    kind: ClassVar[str] = "skipped"
    target: str
    reason: str
    code: str = "skipped"


@dataclass(frozen=True, slots=True)
class Ended:
    """Our verdict on the target."""

    kind: ClassVar[str] = "ended"
    target: str
    outcome: Outcome
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A person wants the run canceled; with `keep_builds` only no more triggers."""

    kind: ClassVar[str] = "cancel_asked"
    by: str
    at: float
    keep_builds: bool = False


@dataclass(frozen=True, slots=True)
class Approved:
    """A person lets the next wave go on."""

    kind: ClassVar[str] = "approved"
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """A person wants no new triggers for a while."""

    kind: ClassVar[str] = "pause_asked"
    by: str
    at: float


RunEvent: TypeAlias = RunMade | WaveOpened | Released | Stopped | Interrupted | RunEnded
AccountEvent: TypeAlias = Claimed | Frozen | LimitLearnt | MarkerProven | AccountStopped
TargetEvent: TypeAlias = (
    Intended
    | Withdrawn
    | Doubted
    | Absent
    | Requested
    | Refused
    | Sighted
    | Restarted
    | Canceling
    | Skipped
    | Ended
    | Released
)
Wish: TypeAlias = CancelAsked | Approved | PauseAsked
Event: TypeAlias = RunEvent | AccountEvent | TargetEvent | Wish

V = TypeVar("V")

KINDS: Mapping[str, type[Any]] = {cls.kind: cls for cls in typing.get_args(Event)}


def target_of(event: Event) -> str | None:
    """The id of the target that the event is about, if it is about one."""
    return getattr(event, "target", None)


def encode(event: Event) -> str:
    """The event's fields as compact JSON, without its kind and its target; fields at their default are left out."""
    text = _text_of(event, skip="target")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, from a server: escaped, or no database takes it
            return json.dumps(json.loads(text), separators=(",", ":"))
    return text


def decode(kind: str, target: str | None, text: str) -> Event:
    """The event that was written so.

    Raises:
        JournalError: the kind is unknown (a newer version wrote it), or the text is not what this kind has.
    """
    cls = KINDS.get(kind)
    if cls is None:
        raise JournalError(f"the journal has an event {kind[:40]!r} that this version does not know; upgrade")
    try:
        raw, end = _scan(text)
        if end != len(text):
            raise ValueError("something stands behind the object")
        if target is not None:
            raw["target"] = target
        return typing.cast(Event, _built(cls, raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise JournalError(f"the journal has a damaged event {kind!r}: {error}") from error


def to_json(value: Any) -> Any:
    """A frozen value of the model as a JSON value; fields at their default are left out."""
    return _json(value)


def from_json(kind: type[V], raw: Json) -> V:
    """The frozen value that was written so.

    Raises:
        JournalError: it is not what this class has.
    """
    try:
        return typing.cast(V, _value(kind, raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise JournalError(f"the journal has a damaged {kind.__name__}: {error}") from error


def _wire(name: str) -> str:
    return name.rstrip("_")


def _text_of(value: Any, skip: str = "") -> str:
    """What `_plain` gives, as JSON text. Written out, since every trigger pays for two of these."""
    parts = []
    for name, head, default in _heads(type(value)):  # type: ignore[arg-type]  # as above
        item = getattr(value, name)
        if name == skip or item == default:
            continue
        if isinstance(item, str):
            parts.append(head + _quoted(item))
        elif type(item) is int:
            parts.append(head + str(item))
        elif is_dataclass(item):
            parts.append(head + _text_of(item))
        else:
            parts.append(head + _dumps(item))
    return "{" + ",".join(parts) + "}"


def _plain(value: Any, skip: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, default in _defaults(type(value)):  # type: ignore[arg-type]  # a class is hashable
        if name != skip and (item := getattr(value, name)) != default:
            out[_wire(name)] = _json(item)
    return out


def _json(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str):
        return value
    if is_dataclass(value):
        return _plain(value)
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value]


_NOTHING = object()
_quoted = json.encoder.encode_basestring
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_json).encode
_scan = json.JSONDecoder().raw_decode  # takes no white space around the value: none is written


@cache
def _heads(cls: type[Any]) -> tuple[tuple[str, str, Any], ...]:
    """For each field its name, how it begins in JSON, and its default."""
    return tuple((name, f"{_quoted(_wire(name))}:", default) for name, default in _defaults(cls))  # type: ignore[arg-type]  # as above


@cache
def _defaults(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, _default(f)) for f in fields(cls))


def _default(one: Field[Any]) -> Any:
    if one.default is not MISSING:
        return one.default
    return _NOTHING if one.default_factory is MISSING else one.default_factory()


@cache
def _types(cls: type[Any]) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


@cache
def _readers(cls: type[Any]) -> Mapping[str, tuple[str, frozenset[type], Callable[[Any], Any]]]:
    """By name in JSON: the field's name, the types that are taken as they are, what checks or converts the others."""
    return {_wire(name): (name, _exact(hint), _converter(hint)) for name, hint in _types(cls).items()}  # type: ignore[arg-type]  # a class is hashable


def _converter(hint: Any) -> Callable[[Any], Any]:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return partial(_built if is_dataclass(hint) else _value, hint)


def _exact(hint: Any) -> frozenset[type]:
    if hint in (str, int, bool, float, type(None)):
        return frozenset({hint})
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        kinds = typing.get_args(hint)
        return frozenset().union(*map(_exact, kinds)) if len(kinds) == 2 else frozenset()
    return frozenset({dict}) if origin not in (None, tuple) else frozenset()


def _built(cls: type[Any], raw: Any) -> Any:
    """The dataclass from a JSON object; names that it does not have are left out."""
    if type(raw) is not dict:
        raise TypeError(f"{cls.__name__}: expected an object")
    readers = _readers(cls)  # type: ignore[arg-type]  # a class is hashable
    said = {}
    for wire, item in raw.items():
        if wire in readers:
            name, exact, convert = readers[wire]
            said[name] = item if type(item) in exact else convert(item)
    return cls(**said)


def _value(kind: Any, raw: Any) -> Any:
    """`raw` as a value of the annotated type `kind`; strict, since a journal is input from outside."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _built(kind, raw)
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of(typing.get_args(kind), raw)
    if origin is tuple:
        if not isinstance(raw, list):
            raise TypeError("expected a list")
        return tuple(_value(typing.get_args(kind)[0], item) for item in raw)
    if origin is not None:
        return _checked(raw, dict)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(raw)
    if kind is float:
        return float(_checked(raw, (int, float)))
    return _checked(raw, kind)


def _one_of(kinds: tuple[Any, ...], raw: Any) -> Any:
    if raw is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    if len(rest) != 1:
        return raw
    return _value(rest[0], raw)


def _checked(raw: Any, kind: Any) -> Any:
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise TypeError(f"expected {getattr(kind, '__name__', kind)}, found {type(raw).__name__}")
    return raw
