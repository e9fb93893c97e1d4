"""Settings from plain values, as they stand in a YAML or JSON file, read by the types of the fields that they fill.

Settings are a frozen struct. `bool`, `int` and `str` are taken as they are; `tuple[X, ...]` is one X or a list of them,
`Mapping[str, X]` a map, another struct a map whose missing keys keep the values of the field's default (or `off` where
the field may be None); `Annotated[X, Reader(...)]` is read by its reader. Messages name the key and a remedy.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from math import ceil
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct, defaults_of, replace
from orchestrator.core.model import Limit
from orchestrator.core.times import parse_duration

T = TypeVar("T", bound=Struct)

MOST_REPOS = 100_000  # that a number makes

_PERCENT = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*%")
_SLUG = re.compile(r"[^/\s@]+/[^/\s@]+")


class Reader(NamedTuple):
    """How one value is read; `read` raises ValueError, with a sentence where "expected ..." does not say enough."""

    expected: str
    read: Callable[[Any], Any]


def convert(kind: type[T], given: Any, path: str = "", base: T | None = None) -> T:
    """A struct from a map.

    Args:
        path: the key under which the map stands, for messages; empty at the top.
        base: has the values of the keys that are left out; None: the struct's own defaults.

    Raises:
        UsageError: a key is unknown or missing, or its value cannot be read.
    """
    if not isinstance(given, Mapping):
        raise _wrong(path, "a map", given)
    types, defaults, lead = _types(kind), defaults_of(kind), f"{path}." if path else ""
    for name in given:
        if name not in types:
            raise UsageError(f"sandbox: {path or 'settings'}: unknown key `{name}`{_meant(name, types)}")
    for name in types:
        if base is None and name not in defaults and name not in given:
            raise UsageError(f"sandbox: {lead}{name}: is missing; write {get_args(types[name])[1].expected}")
    values = {
        name: read(types[name], value, f"{lead}{name}", defaults.get(name) if base is None else getattr(base, name))
        for name, value in given.items()
    }
    kept = {} if base is None else {name: getattr(base, name) for name in types}
    return kind(**{**kept, **values})


def read(kind: Any, given: Any, path: str, default: Any = None) -> Any:
    """A value of this type; see `convert`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _by(arguments[1], given, path)
    if origin is tuple:
        if isinstance(given, list):
            return tuple(read(arguments[0], each, f"{path}[{n}]") for n, each in enumerate(given))
        if _is_struct(arguments[0]):
            raise _wrong(path, "a list", given)
        return (read(arguments[0], given, path),)
    if origin is Mapping:
        if not isinstance(given, Mapping):
            raise _wrong(path, "a map", given)
        return {_by(TEXT, key, path): read(arguments[1], value, path) for key, value in given.items()}
    if NoneType in arguments:
        [inner] = [each for each in arguments if each is not NoneType]
        if _is_struct(inner) and not isinstance(given, Mapping):
            if given is False or given == "off":  # YAML 1.1 reads a bare off as false
                return None
            raise _wrong(path, f"off, or a map of {', '.join(inner.__struct_fields__)}", given)
        return read(inner, given, path, default)
    return convert(kind, given, path, default) if _is_struct(kind) else _by(_PLAIN[kind], given, path)


def with_repos(kind: type[T], given: Mapping[str, Any]) -> T:
    """Settings that have `repos`: names, maps, or how many there are to be; a hundred where it is left out."""
    rest = {name: value for name, value in given.items() if name != "repos"}
    repos = given.get("repos", 100)
    if isinstance(repos, int):
        if (count := read(Count, repos, "repos")) > MOST_REPOS:
            raise UsageError(f"sandbox: repos: expected at most {MOST_REPOS:,}, found {count:,}")
        repos = [{"slug": f"acme/svc-{n + 1:0{max(3, len(str(count)))}d}"} for n in range(count)]
    elif isinstance(repos, list):
        repos = [{"slug": each} if isinstance(each, str) else each for each in repos]
    found = convert(kind, {"repos": repos, **rest})
    unlike(found.repos, lambda spec: spec.slug.lower())  # type: ignore[attr-defined]  # each kind has them
    return found


def keys_of(value: object) -> tuple[str, ...]:
    """The keys of what may be a map."""
    return tuple(map(str, value)) if isinstance(value, Mapping) else ()


def joined(known: tuple[str, ...], *more: str | None) -> tuple[str, ...]:
    """The names that are known, and those that are told besides, each once."""
    return tuple(dict.fromkeys((*known, *(name for name in more if name is not None))))


def most(limits: Sequence[Limit], kind: str, least: int, per: float) -> int:
    """What the limits of accounts let through of a kind in a span of time, and a little more."""
    rules = [limit for limit in limits if limit.kind == kind and limit.per <= per]
    return max(least, 10 + sum(ceil(per / limit.per) * limit.calls for limit in rules))


def unlike(repos: Sequence[Any], key: Callable[[Any], Any]) -> None:
    """Raises UsageError where two repositories of the settings are one."""
    seen: set[Any] = set()
    for spec in repos:
        if key(spec) in seen:
            raise UsageError(f"sandbox: repos: {spec.slug} is there twice; remove one")
        seen.add(key(spec))


def checked(expected: str, fits: Callable[[Any], bool]) -> Reader:
    """A value that is taken as it is, where it fits."""

    def take(given: Any) -> Any:
        if not fits(given):
            raise ValueError
        return given

    return Reader(expected, take)


def words(known: Collection[str]) -> Reader:
    """One of these words."""

    def word(given: Any) -> str:
        if not isinstance(given, str) or given not in known:
            raise ValueError(f"unknown word {given!r}{_meant(given, known)}")
        return given

    return Reader(f"one of {', '.join(known)}", word)


def at_least(least: int) -> Reader:
    """A whole number that is not smaller."""
    return checked(f"a whole number from {least} on", lambda given: type(given) is int and given >= least)


def scaled(settings: T, by: float, *names: str) -> T:
    """The settings with these durations, ranges and rules divided by a number."""
    changes = {name: _scaled(getattr(settings, name), by) for name in names}
    return replace(settings, **changes)  # type: ignore[type-var]  # mypy knows `replace` of dataclasses alone


def _duration(given: Any) -> float:
    if type(given) in (int, float) and 0 <= given < 1e12:
        return float(given)
    if not isinstance(given, str):
        raise ValueError
    text = given.strip()
    try:
        return parse_duration(f"{text}s" if text[-1:].isdigit() else text)
    except ValueError:
        raise ValueError from None  # the reader says what it expects


def _period(given: Any) -> float:
    if found := _duration(given):
        return found
    raise ValueError


def _share(given: Any) -> float:
    found = _PERCENT.fullmatch(given.strip()) if isinstance(given, str) else None
    value = float(found[1]) / 100 if found else given
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError
    return float(value)


def _range(given: Any) -> tuple[float, float]:
    both = given if isinstance(given, list) else [given, given]
    if len(both) != 2:
        raise ValueError
    low, high = map(_duration, both)
    if low > high:
        raise ValueError(f"expected the least before the most, found {given!r}")
    return (low, high)


def _prefix(given: Any) -> str:
    if not isinstance(given, str) or not given.startswith("/"):
        raise ValueError
    return given.rstrip("/")


TEXT = checked("text; quote it", lambda given: isinstance(given, str) and given != "")
_PLAIN = {
    bool: checked("true or false", lambda given: isinstance(given, bool)),
    int: checked("a whole number", lambda given: type(given) is int),
    float: Reader("a duration such as 2s, 20ms or 1h", _duration),
    str: TEXT,
}

Duration: TypeAlias = Annotated[float, Reader("a duration such as 2s, 20ms or 1h", _duration)]
Period: TypeAlias = Annotated[float, Reader("a duration above 0, such as 30s", _period)]
Range: TypeAlias = Annotated[tuple[float, float], Reader("a duration such as 2s, or two: [least, most]", _range)]
Share: TypeAlias = Annotated[float, Reader("a share such as 5% or 0.05", _share)]
Count: TypeAlias = Annotated[int, at_least(0)]
Positive: TypeAlias = Annotated[int, at_least(1)]
Slug: TypeAlias = Annotated[str, checked("owner/name", lambda given: _SLUG.fullmatch(str(given)) is not None)]
Prefix: TypeAlias = Annotated[str, Reader("a path such as /api", _prefix)]
_IS_SCALE = checked("a number above 0, 1 for real time", lambda given: type(given) in (int, float) and 0 < given <= 1e6)
Scale: TypeAlias = Annotated[float, _IS_SCALE]


class Rule(Struct, frozen=True):
    """So many calls in a window that is aligned to the epoch; `ban` seconds of exclusion when it is reached."""

    calls: Positive
    per: Period
    ban: Duration = 0.0


@cache
def _types(kind: type[Struct]) -> Mapping[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in kind.__struct_fields__}


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _by(reader: Reader, given: Any, path: str) -> Any:
    try:
        return reader.read(given)
    except ValueError as error:
        if str(error):
            raise UsageError(f"sandbox: {path}: {error}") from None
        raise _wrong(path, reader.expected, given) from None


def _scaled(value: Any, by: float) -> Any:
    match value:
        case Rule():
            return Rule(value.calls, value.per / by, value.ban / by)
        case tuple():
            return tuple(each / by for each in value)
    return None if value is None else value / by


def _meant(given: Any, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(sorted(known))}"


def _wrong(path: str, expected: str, given: Any) -> UsageError:
    return UsageError(f"sandbox: {path}: expected {expected}, found {given!r}")
