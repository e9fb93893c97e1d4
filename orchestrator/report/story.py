"""Each event of the journal as a sentence and as a line of a log: the table that `why`, log and live view share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from orchestrator.core import events
from orchestrator.core.course import STOP, called, stop_told
from orchestrator.core.events import Event
from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome
from orchestrator.core.times import clock
from orchestrator.core.waves import Wave

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"

_WITHDRAWN = {
    "unreachable": "the call never left this machine",
    "rate_limited": "the provider asked for patience",
    "access_refused": "the provider refused access",
}
_HOW = {
    "answered": "the provider answered with",
    "found": "a lookup found",
    "adopted": "a person named",
    "restarted": "a build was started again of",
    "kept": "an earlier run made",
}
WENT_BACK = "the journal went back to an earlier time, or another copy of it was used"
LOOKED_UP = "what it does not tell is looked up before it is triggered"
LOOKUP = "its request is looked for; it is asked again only when it is certainly not there"
LOOK_AT_BUILD = "its build shows whether it was started again; it is asked again only when it certainly was not"

Pairs: TypeAlias = Callable[[Any], Mapping[str, Any]]


def _nothing(event: Any) -> Mapping[str, Any]:
    return {}


class Line(Struct, frozen=True):
    """How one kind of event is told.

    Args:
        name: in a log; dotted, past tense.
        sentence: without its subject, for a person who reads the story of a target.
        pairs: what a log adds; one that is None is left out.
        level: `debug`, `info`, `warning` or `error`.
    """

    name: str
    sentence: Callable[[Any], str]
    pairs: Pairs = _nothing
    level: str = DEBUG


def _of(*names: str, **more: str) -> Pairs:
    """Fields of the event, those of `more` under a name of their own."""
    renamed = {**{name: name for name in names}, **more}

    def pairs(event: Any) -> Mapping[str, Any]:
        return {key: getattr(event, name) for key, name in renamed.items()}

    return pairs


def line_of(event: Event) -> Line:
    """How the event is told."""
    found = _STORY[type(event)]
    return found if isinstance(found, Line) else found(event)


def sentence_of(event: Event, waves: Sequence[Wave] = ()) -> str:
    """The event as a sentence without its subject.

    Args:
        waves: of the run, where it has several, so that they are called by their names.
    """
    if isinstance(event, events.WaveJudged):
        return _judged(event, called(waves, event.wave))
    if isinstance(event, events.Approved | events.Denied):
        return f"{event.by} {event.kind} {called(waves, event.wave) if event.wave else 'the wave that waits'}"
    return line_of(event).sentence(event)


def spoken(outcome: Outcome) -> str:
    """An outcome as a person says it."""
    return outcome.value.replace("_", " ")


def account_stopped(account: str, cause: str) -> str:
    """That no further call is made on an account."""
    return f"account {account} stopped: {cause}"


def _made(event: events.RunMade) -> str:
    return f"the run {event.name!r} was made{f' as a retry of {event.parent}' if event.parent else ''}"


def _intended(event: events.Intended) -> str:
    marked = f", marked {event.marker}" if event.marker and event.carried else ""
    return f"attempt {event.attempt}: the trigger call is about to leave{marked}"


def _withdrawn(event: events.Withdrawn) -> str:
    cause = _WITHDRAWN.get(event.cause, event.cause)
    return f"attempt {event.attempt}: certainly nothing was started, {cause}"


def _doubted(event: events.Doubted) -> str:
    span = f"it may have arrived between {clock(event.from_)} and {clock(event.to)}"
    return f"attempt {event.attempt}: in doubt, the answer was lost ({event.cause}); {span}"


def _sighted(event: events.Sighted) -> str:
    build = event.build
    number = f" #{build.number}" if build.number else ""
    details = ", ".join(part for part in (build.reason, build.url) if part)
    return f"build{number} seen {build.native}{f': {details}' if details else ''}"


def _sighted_pairs(event: events.Sighted) -> Mapping[str, Any]:
    build = event.build
    return {"target": event.target, "build": build.id, "state": build.native, "url": build.url}


def _stopped_pairs(event: events.AccountStopped) -> Mapping[str, Any]:
    return {"cause": event.cause, "resume_after": clock(event.until) or None}


def _frozen_pairs(event: events.Frozen) -> Mapping[str, Any]:
    return {"scope": str(event.scope), "until": clock(event.until), "cause": event.cause}


def _opened(event: events.WaveOpened) -> str:
    name = f" ({event.name})" if event.name not in ("", str(event.wave)) else ""
    blocks = ", ".join(f"{block.stop_at} of the first {block.targets}" for block in event.blocks)
    stops = f"; {blocks} bad stop the run" if blocks else ""
    return f"wave {event.wave}{name} was opened{f', approved by {event.by}' if event.by else ''}{stops}"


def _judged(event: events.WaveJudged, wave: str = "") -> str:
    rule = f" by {event.rule}" if event.rule else ""
    return f"the verdict on {wave or f'wave {event.wave}'} is {event.verdict}{rule}: {event.arithmetic}"


def _cause(event: events.CauseFound) -> str:
    where = "".join((f"of job {event.job} " if event.job else "", f"(exit {event.exit}) " if event.exit else ""))
    return f"the log {where}says: {event.text}"


def _ended(event: events.Ended) -> Line:
    return _PASSED if event.outcome is Outcome.PASSED else _NOT_PASSED


def _verdict(event: events.Ended) -> str:
    told = f"ended {spoken(event.outcome)}: {event.reason} ({event.code})"
    return f"{told}; {event.evidence}" if event.evidence else told


_PASSED = Line("target.ended", _verdict, _of("target", "outcome"))
_NOT_PASSED = Line(_PASSED.name, _PASSED.sentence, _of("target", "outcome", "reason"), WARNING)
_OVERRIDDEN = Line(
    "run.goes_on",
    lambda e: f"a person overrode the stop{f': {e.arithmetic}' if e.arithmetic else ''}",
    _of(why="arithmetic"),
    INFO,
)
_STOPPED = Line(
    "run.stopped",
    lambda e: f"the run triggers no more: {stop_told(e)}",
    _of("rule", why="arithmetic"),
    ERROR,
)
_CANCELING = Line("build.canceling", lambda e: "the provider was asked to cancel it", _of("target"))
_NOT_CANCELED = Line("build.canceling", lambda e: f"it could not be canceled: {e.note}", _of("target", "note"), WARNING)

_FIRST_OPENED = Line("wave.opened", _opened)
_OPENED = Line("wave.opened", _opened, _of("wave", "name", "targets"), INFO)
_JUDGED = Line("wave.judged", _judged, _of("wave", "verdict", why="arithmetic"), INFO)
_JUDGED_BAD = Line("wave.judged", _judged, _of("wave", "verdict", "rule", why="arithmetic"), WARNING)

_STORY: Mapping[type[Any], Line | Callable[[Any], Line]] = {
    # the run
    events.RunMade: Line("run.made", _made),
    events.WaveOpened: lambda e: _OPENED if e.wave > 1 else _FIRST_OPENED,
    events.WaveJudged: lambda e: _JUDGED if e.verdict != STOP else _JUDGED_BAD,
    events.Paused: Line("run.paused", lambda e: f"{e.by} paused the run", _of("by"), WARNING),
    events.Unpaused: Line("run.unpaused", lambda e: f"{e.by} let the paused run go on", _of("by"), INFO),
    events.Released: Line("target.released", lambda e: "everything that it needs has passed", _of("target")),
    events.Stopped: lambda e: _STOPPED if e.rule else _OVERRIDDEN,
    events.Interrupted: Line("run.interrupted", lambda e: f"the process left the run ({e.signal})"),
    events.RunEnded: Line("run.ended", lambda e: f"the run ended, exit {e.exit_code}"),
    # its accounts
    events.Claimed: Line("account.claimed", lambda e: "claimed"),
    events.Frozen: Line(
        "limit.frozen", lambda e: f"{e.scope} is left alone until {clock(e.until)}: {e.cause}", _frozen_pairs, INFO
    ),
    events.LimitLearnt: Line("limit.learnt", lambda e: "limit learnt", _of("scope", "rule")),
    events.MarkerProven: Line("marker.proven", lambda e: "marker proven"),
    events.JournalWentBack: Line(
        "journal.went_back",
        lambda e: f"{WENT_BACK}: it tells nothing of what was done from {clock(e.from_)} to {clock(e.to)}; {LOOKED_UP}",
        lambda e: {"from": clock(e.from_), "to": clock(e.to), "why": WENT_BACK, "next": LOOKED_UP},
        WARNING,
    ),
    events.Prepared: Line("repo.prepared", lambda e: f"what the triggers of {e.repo} need was looked up"),
    events.AccountStopped: Line("account.stopped", lambda e: f"the account stopped: {e.cause}", _stopped_pairs, ERROR),
    # its targets
    events.Intended: Line("trigger.intended", _intended, _of("target", "attempt")),
    events.Withdrawn: Line("trigger.withdrawn", _withdrawn, _of("target", "cause")),
    events.Doubted: Line("trigger.in_doubt", _doubted, _of("target", "cause"), WARNING),
    events.Absent: Line(
        "trigger.absent",
        lambda e: f"attempt {e.attempt}: a lookup showed that nothing was started ({e.evidence})",
        _of("target", "evidence"),
    ),
    events.Requested: Line(
        "request.accepted", lambda e: f"{_HOW.get(e.how, e.how)} request {e.id}", _of("target", "id", "how")
    ),
    events.Refused: Line(
        "target.ended",
        lambda e: f"the provider refused it for good: {e.reason} ({e.code})",
        lambda e: {"target": e.target, "outcome": "rejected", "code": e.code, "reason": e.reason},
        WARNING,
    ),
    events.Sighted: Line("build.sighted", _sighted, _sighted_pairs),
    events.RestartAsked: Line(
        "restart.asked",
        lambda e: f"attempt {e.attempt}: the call that starts build {e.build} again is about to leave",
        _of("target", "build", "attempt"),
    ),
    events.Restarted: Line(
        "build.restarted",
        lambda e: f"build {e.build} was started again; the outcome is open again",
        _of("target", "build"),
    ),
    events.Canceling: lambda e: _NOT_CANCELED if e.note else _CANCELING,
    events.Skipped: Line(
        "target.ended",
        lambda e: f"skipped: {e.reason} ({e.code})",
        lambda e: {"target": e.target, "outcome": "skipped", "reason": e.reason},
        INFO,
    ),
    events.Ended: _ended,
    events.CauseFound: Line("cause.found", _cause, _of("target", cause="text")),
    # what people asked for
    events.CancelAsked: Line("cancel.asked", lambda e: "cancel asked"),
    events.DriveAsked: Line("drive.asked", lambda e: "another process wants to drive the run"),
    events.Approved: Line("approved", lambda e: "approved"),
    events.Denied: Line("denied", lambda e: "denied"),
    events.PauseAsked: Line("pause.asked", lambda e: "pause asked"),
    events.UnpauseAsked: Line("unpause.asked", lambda e: "unpause asked"),
}
