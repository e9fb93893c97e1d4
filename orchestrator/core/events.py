"""The facts of a run, past tense: the closed, versioned set on which resume, reports and migrations rest.

An event is a frozen value. In the journal it is its kind (`intended`), the target it is about, and a JSON object
of its fields. Fields may be added, with a default; none is ever renamed. A kind that is not known here was written
by a newer version: that is an error, never ignored.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from orchestrator.core.causes import Cause
from orchestrator.core.errors import UnknownEvents
from orchestrator.core.evidence import Block
from orchestrator.core.frozen import DAMAGES, Struct, convert, decoder_of, field, to_text
from orchestrator.core.frozen import from_json as from_json  # for those who read what stands in events
from orchestrator.core.frozen import to_json as to_json  # as above
from orchestrator.core.model import Build, Json, Outcome, Scope
from orchestrator.core.options import Pace, RunOptions, usable
from orchestrator.core.waves import Rollout, Wave

ASKED = "asked by "  # begins the arithmetic of `Stopped` where a person asked for it
KEPT = "; its builds go on"  # ends the arithmetic of `Stopped` where only the run was ended
CANCELED = "canceled by a person"  # the rule of `Stopped` where a person asked for it
VERSION = 1  # of this set; a change that an older reader would misread raises it


class RunMade(Struct, frozen=True, omit_defaults=True, gc=False):
    """A run exists; the plan's targets are rows beside this event.

    Args:
        rollout: how it spreads; None where the manifest says nothing.
        waves: how its targets were cut; empty in runs of older versions, which have one.
    """

    kind: ClassVar[str] = "run_made"
    name: str
    manifest: str | None
    digest: str
    params: Mapping[str, Json] = field(default_factory=dict)
    accounts: Mapping[str, Json] = field(default_factory=dict)
    limits: Mapping[str, Json] = field(default_factory=dict)
    parent: str | None = None
    version: int = VERSION
    options: RunOptions = RunOptions()
    forecast: Mapping[str, Json] = field(default_factory=dict)  # what it began with; empty where there was none
    rollout: Rollout | None = None
    waves: tuple[Wave, ...] = ()


class WaveOpened(Struct, frozen=True, omit_defaults=True, gc=False):
    """The targets of a wave may be triggered, those with needs once released.

    Args:
        targets: how many; those that are skipped do not count.
        blocks: those whose last target stands in it, each with the number of failures that stops the run.
        by: who approved it; empty where nobody was asked.
        approved_at: when (wall clock of who did); None where nobody was asked, and in runs of older versions.
        held: targets that another open run has under way, each with that run; each waits until it is `released`.
    """

    kind: ClassVar[str] = "wave_opened"
    wave: int
    name: str = ""
    targets: int = 0
    blocks: tuple[Block, ...] = ()
    by: str = ""
    held: Mapping[str, str] = field(default_factory=dict)
    approved_at: float | None = None


class WaveJudged(Struct, frozen=True, omit_defaults=True, gc=False):
    """All targets of a wave are settled; the verdict on it is given once.

    Args:
        verdict: `go`, `stop`, or `undecided`, which lets the next wave open as `go` does.
        rule: the one that stops the run; empty where none does.
        wish: the number of the last wish before it: an approval is of a verdict, and counts only behind that.
    """

    kind: ClassVar[str] = "wave_judged"
    wave: int
    verdict: str
    rule: str = ""
    arithmetic: str = ""
    wish: int = 0


class Paused(Struct, frozen=True, omit_defaults=True, gc=False):
    """A person holds triggers and waves; builds are followed on."""

    kind: ClassVar[str] = "paused"
    by: str
    at: float


class Unpaused(Struct, frozen=True, omit_defaults=True, gc=False):
    """A person lets the run go on."""

    kind: ClassVar[str] = "unpaused"
    by: str
    at: float


class Released(Struct, frozen=True, omit_defaults=True, gc=False):
    """Every need of the target has passed, and no other run has it under way."""

    kind: ClassVar[str] = "released"
    target: str


class Stopped(Struct, frozen=True, omit_defaults=True, gc=False):
    """A rule, or a person (`CANCELED`), ended the triggering of the run; empty: a person overrode an earlier stop.

    Args:
        forgiven: of an override: the failures until then; an older program goes by their number.
        wave: the one that was open, or was to be opened; 0 where there is no rollout.
        until: of an override: targets settled until then (wall clock) are in no rule's numbers any more.
        blocks: of an override: those whose last target stands in an open wave, cut anew over the other targets.
    """

    kind: ClassVar[str] = "stopped"
    rule: str
    arithmetic: str
    forgiven: int = 0
    wave: int = 0
    until: float = 0.0
    blocks: tuple[Block, ...] = ()

    @property
    def by_person(self) -> bool:
        """Whether a person asked for it."""
        return self.rule == CANCELED

    @property
    def keeps_builds(self) -> bool:
        """Whether a person ended the run and lets its builds go on."""
        return self.by_person and self.arithmetic.endswith(KEPT)

    @property
    def asked_by(self) -> str | None:
        """The person who asked for it, where one did."""
        is_named = self.by_person and self.arithmetic.startswith(ASKED)
        return self.arithmetic.removeprefix(ASKED).removesuffix(KEPT) if is_named else None


class Tally(Struct, frozen=True, omit_defaults=True, gc=False):
    """What one process did for one account: calls by kind, and seconds spent waiting, by limit."""

    account: str
    calls: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    waited: Mapping[str, float] = field(default_factory=dict)


class Interrupted(Struct, frozen=True, omit_defaults=True, gc=False):
    """A process stopped driving before the run's end.

    Args:
        signal: a signal's name, or `stopped`, `timeout`, `account`, `detached`.
        detection: as of `RunEnded`, until then.
    """

    kind: ClassVar[str] = "interrupted"
    signal: str
    exit_code: int = 0
    tallies: tuple[Tally, ...] = ()
    detection: Mapping[str, float] = field(default_factory=dict)


class RunEnded(Struct, frozen=True, omit_defaults=True, gc=False):
    """No target is open any more.

    Args:
        detection: seconds from the ends of builds to our knowing of them: `median`, `p90`, `max`.
    """

    kind: ClassVar[str] = "run_ended"
    exit_code: int
    tallies: tuple[Tally, ...] = ()
    detection: Mapping[str, float] = field(default_factory=dict)


class Claimed(Struct, frozen=True, omit_defaults=True, gc=False):
    """A process took the lease on this stream."""

    kind: ClassVar[str] = "claimed"
    epoch: int
    host: str
    pid: int
    onlooker: bool = False  # it only follows builds, and leaves the run to whoever wants to drive it
    pace: Pace = Pace()


class Frozen(Struct, frozen=True, omit_defaults=True, gc=False):
    """No calls are made to a scope until then (wall clock)."""

    kind: ClassVar[str] = "frozen"
    scope: Scope
    until: float
    cause: str


class LimitLearnt(Struct, frozen=True, omit_defaults=True, gc=False):
    """An answer revealed a limit."""

    kind: ClassVar[str] = "limit_learnt"
    scope: Scope
    rule: str  # `triggers_per_repo 10/1h`


class MarkerProven(Struct, frozen=True, omit_defaults=True, gc=False):
    """A request known to be ours carried its marker: `find` can be trusted on this account from now on."""

    kind: ClassVar[str] = "marker_proven"
    place: str = ""  # where; empty: on the whole account


class JournalWentBack(Struct, frozen=True, omit_defaults=True, gc=False, rename={"from_": "from"}):
    """A request was found of which the journal does not tell: what was written between the two instants is gone.

    Or another copy of the state was used meanwhile (wall clock).
    """

    kind: ClassVar[str] = "journal_went_back"
    from_: float
    to: float


class Prepared(Struct, frozen=True, omit_defaults=True, gc=False):
    """The provider looked up what the triggers of a repository need; asked once for a run."""

    kind: ClassVar[str] = "prepared"
    repo: str  # as limits count it, and what else it was looked up for
    what: Json = None


class AccountStopped(Struct, frozen=True, omit_defaults=True, gc=False):
    """No further call is made on the account: a dead token, a ban, out of reach."""

    kind: ClassVar[str] = "account_stopped"
    cause: str
    until: float | None = None
    code: str = ""


class Intended(Struct, frozen=True, omit_defaults=True, gc=False):
    """A trigger call is about to leave; durable before it does.

    Args:
        skew: seconds by which the provider's clock was ahead of ours; None: not known yet.
        carried: whether the marker travels with the call; else a look is only for what shows no marker.
    """

    kind: ClassVar[str] = "intended"
    target: str
    attempt: int
    marker: str | None
    skew: int | None = 0
    carried: bool = True


class Withdrawn(Struct, frozen=True, omit_defaults=True, gc=False):
    """The intended call certainly started nothing: `unreachable`, `rate_limited` or `access_refused`."""

    kind: ClassVar[str] = "withdrawn"
    target: str
    attempt: int
    cause: str


class Doubted(Struct, frozen=True, omit_defaults=True, gc=False, rename={"from_": "from"}):
    """The answer was lost; the call can have reached the provider between `from_` and `to` (wall clock)."""

    kind: ClassVar[str] = "doubted"
    target: str
    attempt: int
    cause: str
    from_: float
    to: float
    skew: int | None = 0  # as at `Intended`: these times are ours, the provider's listings go by its own


class Absent(Struct, frozen=True, omit_defaults=True, gc=False):
    """A lookup showed that the attempt certainly started nothing."""

    kind: ClassVar[str] = "absent"
    target: str
    attempt: int
    evidence: str


class Requested(Struct, frozen=True, omit_defaults=True, gc=False):
    """The provider has the request; `how` is `answered`, `found`, `adopted`, `restarted` or `kept`."""

    kind: ClassVar[str] = "requested"
    target: str
    id: str
    how: str
    handle: Mapping[str, Json] = field(default_factory=dict)
    url: str | None = None
    marker: str | None = None  # for a request of an earlier run, whose marker differs


class Refused(Struct, frozen=True, omit_defaults=True, gc=False):
    """The provider refused the trigger or the request, for good."""

    kind: ClassVar[str] = "refused"
    target: str
    code: str
    reason: str


class Sighted(Struct, frozen=True, omit_defaults=True, gc=False):
    """A build was seen in a state that differs from the last one seen."""

    kind: ClassVar[str] = "sighted"
    target: str
    build: Build


class RestartAsked(Struct, frozen=True, omit_defaults=True, gc=False):
    """The call that starts an old build again is about to leave; durable before it does, as `Intended`.

    What comes of it is told as of a trigger: `Restarted`, `Withdrawn`, `Doubted`, `Absent`, `Refused`.
    """

    kind: ClassVar[str] = "restart_asked"
    target: str
    build: str
    attempt: int = 0  # counted on from the target's triggers


class Restarted(Struct, frozen=True, omit_defaults=True, gc=False):
    """The build was started again under its old id; the outcome is open again."""

    kind: ClassVar[str] = "restarted"
    target: str
    build: str
    attempt: int = 0


class Canceling(Struct, frozen=True, omit_defaults=True, gc=False):
    """We asked the provider to cancel the build; `note` says why it could not, if it could not."""

    kind: ClassVar[str] = "canceling"
    target: str
    note: str = ""


class Skipped(Struct, frozen=True, omit_defaults=True, gc=False):
    """The target is not triggered in this run.

    Args:
        root: where something that it needs did not pass: the first target along its needs that did not.
        steps: how far away that is; 1 where the target needs it itself.
    """

    kind: ClassVar[str] = "skipped"
    target: str
    reason: str
    code: str = "skipped"
    root: str = ""
    steps: int = 0


class CauseFound(Struct, frozen=True, omit_defaults=True, gc=False):
    """The log of the target's failed build says why; the fields are those of `Cause`."""

    kind: ClassVar[str] = "cause_found"
    target: str
    signature: str
    text: str
    job: str = ""
    exit: int | None = None
    url: str | None = None
    tail: str = ""

    @property
    def cause(self) -> Cause:
        """The same as a value of its own."""
        return Cause(self.signature, self.text, self.job, self.exit, self.url, self.tail)


class Ended(Struct, frozen=True, omit_defaults=True, gc=False):
    """Our verdict on the target.

    Args:
        builds: in doubt: those that may be its own, the newest first.
        evidence: where a timeout gave it: what the last look showed.
    """

    kind: ClassVar[str] = "ended"
    target: str
    outcome: Outcome
    code: str
    reason: str
    builds: tuple[Build, ...] = ()
    evidence: str = ""


class CancelAsked(Struct, frozen=True, omit_defaults=True, gc=False):
    """A person wants the run canceled, or only these targets of it; with `keep_builds` only no more triggers."""

    kind: ClassVar[str] = "cancel_asked"
    by: str
    at: float
    keep_builds: bool = False
    only: tuple[str, ...] = ()


class DriveAsked(Struct, frozen=True, omit_defaults=True, gc=False):
    """A process wants to drive the run: an onlooker leaves it to that; a driver goes on."""

    kind: ClassVar[str] = "drive_asked"
    by: str
    at: float


class Approved(Struct, frozen=True, omit_defaults=True, gc=False):
    """A person lets a wave open.

    Args:
        wave: the one to be opened; 0: the one that waits.
    """

    kind: ClassVar[str] = "approved"
    by: str
    at: float
    wave: int = 0


class Denied(Struct, frozen=True, omit_defaults=True, gc=False):
    """A person does not let a wave open, which stops the run; `wave` as of `Approved`."""

    kind: ClassVar[str] = "denied"
    by: str
    at: float
    wave: int = 0


class PauseAsked(Struct, frozen=True, omit_defaults=True, gc=False):
    """A person wants no new triggers for a while."""

    kind: ClassVar[str] = "pause_asked"
    by: str
    at: float


class UnpauseAsked(Struct, frozen=True, omit_defaults=True, gc=False):
    """A person wants a paused run to go on."""

    kind: ClassVar[str] = "unpause_asked"
    by: str
    at: float


RunEvent: TypeAlias = (
    RunMade | WaveOpened | WaveJudged | Paused | Unpaused | Released | Stopped | Interrupted | RunEnded
)
AccountEvent: TypeAlias = Claimed | Frozen | LimitLearnt | MarkerProven | JournalWentBack | Prepared | AccountStopped
TargetEvent: TypeAlias = (
    Intended
    | Withdrawn
    | Doubted
    | Absent
    | Requested
    | Refused
    | Sighted
    | RestartAsked
    | Restarted
    | Canceling
    | Skipped
    | Ended
    | CauseFound
    | Released
)
Wish: TypeAlias = CancelAsked | DriveAsked | Approved | Denied | PauseAsked | UnpauseAsked
Event: TypeAlias = RunEvent | AccountEvent | TargetEvent | Wish

KINDS: Mapping[str, type[Any]] = {cls.kind: cls for cls in typing.get_args(Event)}


def target_of(event: Event) -> str | None:
    """The id of the target that the event is about, if it is about one."""
    return getattr(event, "target", None)


def encode(event: Event) -> str:
    """The event's fields as compact JSON, without its kind and its target; fields at their default are left out."""
    text, target = to_text(event), target_of(event)
    if target is None:
        return text
    head = f'{{"target":{_quoted(target)}'  # its first field
    if text.startswith(head):
        return "{" + text[len(head) :].removeprefix(",")
    fields = {name: item for name, item in to_json(event).items() if name != "target"}
    return json.dumps(fields, separators=(",", ":"))  # its text is escaped, for the sake of half a surrogate pair


def decode(kind: str, target: str | None, text: str) -> Event:
    """The event that was written so.

    Raises:
        UnknownEvents: the kind is unknown (a newer version wrote it), or the text is not what this kind has.
    """
    cls = KINDS.get(kind)
    if cls is None:
        raise UnknownEvents(f"the journal has an event {kind[:40]!r} that this version does not know; upgrade")
    try:
        if target is not None:
            text = f'{text[:-1]}{"," if len(text) > 2 else ""}"target":{_quoted(target)}}}'
        return typing.cast(Event, decoder_of(cls)(text))  # type: ignore[arg-type]  # a class is hashable
    except DAMAGES:
        return _decode_oddity(cls, text)


def _decode_oddity(cls: type[Any], text: str) -> Event:
    """An event that only `json` can read (infinity, half a surrogate pair), or a run with options of another type."""
    try:
        raw = json.loads(text)
        if cls is RunMade:
            raw = {**raw, "options": usable(raw.get("options", {}))}
        return typing.cast(Event, convert(raw, cls))
    except DAMAGES as error:
        raise UnknownEvents(
            f"the journal has a damaged event {cls.kind!r}, or one of a newer version: {error}"
        ) from error


_quoted = json.encoder.encode_basestring
