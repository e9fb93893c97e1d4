"""Why a target is where it is: its facts in words, oldest first, and the rule that it waits for now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from orchestrator.core.events import (
    Absent,
    AccountStopped,
    Canceling,
    Doubted,
    Ended,
    Event,
    Frozen,
    Intended,
    Interrupted,
    Refused,
    Released,
    Requested,
    Restarted,
    RunEnded,
    RunMade,
    Sighted,
    Skipped,
    Stopped,
    WaveOpened,
    Withdrawn,
    target_of,
)
from orchestrator.core.history import History
from orchestrator.core.model import Outcome, Target
from orchestrator.core.progress import Doubt, Progress
from orchestrator.journal.port import Entry
from orchestrator.report.reasons import held_by, scopes_of, unmet_needs, waits_for
from orchestrator.report.words import clock, duration, plain, shell, sound

SCHEMA = "orchestrator.why/1"

_WITHDRAWN = {
    "unreachable": "the call never left this machine",
    "rate_limited": "the provider asked for patience",
    "access_refused": "the provider refused access",
}
_HOW = {
    "answered": "the provider answered with",
    "found": "a look found",
    "adopted": "a person named",
}


def explain(
    target: Target,
    entries: Iterable[Entry],
    history: History,
    now: float,
    run_id: str = "RUN",
    foreseen: Iterable[str] = (),
    behind: str = "",
) -> list[str]:
    """The chain of events of one target, and what it waits for.

    Args:
        entries: the run's entries, in any order; only those that touch the target are told.
        history: the fold of the same entries.
        now: the present (wall clock).
        run_id: for the command lines that help.
        foreseen: when it is expected to be triggered, and what it waits for until then, a line each.
        behind: goes behind each of those, such as ` --state DIR`.
    """
    lines = [f"{target.id}: {_standing(history.of(target.id))}"]
    lines += [f"  {clock(entry.at)}  {_words(entry.event)}" for entry in _chain(target, entries)]
    lines += [f"  {line}" for line in _now(target, history, now, run_id, foreseen, behind)]
    return [sound(plain_line(line)) for line in lines]


def explain_json(
    target: Target,
    entries: Iterable[Entry],
    history: History,
    now: float,
    run_id: str = "RUN",
    foreseen: Iterable[str] = (),
    behind: str = "",
) -> dict[str, Any]:
    """The same for programs; arguments as of `explain`. `now` is empty where there is a verdict without a doubt."""
    progress = history.of(target.id)
    verdict = progress.verdict
    return {
        "schema": SCHEMA,
        "run": run_id,
        "target": target.id,
        "phase": progress.phase.value,
        "outcome": verdict.outcome.value if verdict is not None else None,
        "code": (verdict.code or None) if verdict is not None else waits_for(history, target, now)[0],
        "events": [
            {"at": clock(entry.at), "kind": entry.event.kind, "text": plain(_words(entry.event))}
            for entry in _chain(target, entries)
        ],
        "now": [plain(line) for line in _now(target, history, now, run_id, foreseen, behind)],
    }


def _chain(target: Target, entries: Iterable[Entry]) -> list[Entry]:
    """What touches the target, oldest first."""
    return sorted((entry for entry in entries if concerns(entry, target)), key=lambda entry: entry.at)


def plain_line(line: str) -> str:
    """The line without control characters, its indent kept."""
    text = line.lstrip(" ")
    return " " * (len(line) - len(text)) + plain(text)


def concerns(entry: Entry, target: Target) -> bool:
    """Whether the entry is part of the target's story."""
    event = entry.event
    about = target_of(event)
    if about is not None:
        return about == target.id
    match event:
        case RunMade() | Stopped() | Interrupted() | RunEnded():
            return True
        case WaveOpened(wave=wave):
            return wave == target.wave
        case Frozen(scope=scope):
            return entry.account == target.account and scope in scopes_of(target)
        case AccountStopped():
            return entry.account == target.account
        case _:
            return False


def _standing(progress: Progress) -> str:
    if progress.verdict is None:
        return f"open, {progress.phase}"
    reason = progress.verdict.reason or progress.verdict.code
    return f"{_spoken(progress.verdict.outcome)}{f' ({reason})' if reason else ''}"


def _spoken(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")


def _words(event: Event) -> str:
    """The event as a sentence without its subject."""
    match event:
        case RunMade(name=name, parent=parent):
            return f"the run {name!r} was made{f' as a retry of {parent}' if parent else ''}"
        case WaveOpened(wave=wave):
            return f"wave {wave} was opened"
        case Released():
            return "everything that it needs has passed"
        case Stopped(rule="", arithmetic=arithmetic):
            return f"a person overrode the stop{f': {arithmetic}' if arithmetic else ''}"
        case Stopped(rule=rule, arithmetic=arithmetic):
            return f"the run stopped triggering: {rule}, {arithmetic}"
        case Interrupted(signal=signal):
            return f"the process left the run ({signal})"
        case RunEnded(exit_code=code):
            return f"the run ended, exit {code}"
        case Frozen(scope=scope, until=until, cause=cause):
            return f"{scope} is left alone until {clock(until)}: {cause}"
        case AccountStopped(cause=cause):
            return f"the account stopped: {cause}"
        case _:
            return _words_of_target(event)


def _words_of_target(event: Event) -> str:
    match event:
        case Intended(attempt=attempt, marker=marker):
            return f"attempt {attempt}: the trigger call is about to leave{f', marked {marker}' if marker else ''}"
        case Withdrawn(attempt=attempt, cause=cause):
            return f"attempt {attempt}: certainly nothing was started, {_WITHDRAWN.get(cause, cause)}"
        case Doubted(attempt=attempt, cause=cause, from_=start, to=end):
            span = f"it may have arrived between {clock(start)} and {clock(end)}"
            return f"attempt {attempt}: in doubt, the answer was lost ({cause}); {span}"
        case Absent(attempt=attempt, evidence=evidence):
            return f"attempt {attempt}: a look showed that nothing was started ({evidence})"
        case Requested(id=id_, how=how):
            return f"{_HOW.get(how, how)} request {id_}"
        case Refused(code=code, reason=reason):
            return f"the provider refused it for good: {reason} ({code})"
        case Sighted(build=build):
            number = f" #{build.number}" if build.number else ""
            details = ", ".join(part for part in (build.reason, build.url) if part)
            return f"build{number} seen {build.native}{f': {details}' if details else ''}"
        case Restarted(build=build_id):
            return f"build {build_id} was started again; the outcome is open again"
        case Canceling(note=note):
            return f"it could not be canceled: {note}" if note else "the provider was asked to cancel it"
        case Skipped(reason=reason, code=code):
            return f"skipped: {reason} ({code})"
        case Ended(outcome=outcome, code=code, reason=reason):
            return f"ended {_spoken(outcome)}: {reason} ({code})"
        case _:
            return event.kind.replace("_", " ")


def _now(
    target: Target, history: History, now: float, run_id: str, foreseen: Iterable[str], behind: str
) -> Iterator[str]:
    progress = history.of(target.id)
    verdict = progress.verdict
    if verdict is not None:
        if verdict.outcome is Outcome.IN_DOUBT:
            yield from _ways_out(target, run_id, behind)
        return
    _, sentence = waits_for(history, target, now)
    if history.has_ended:
        yield f"the run has ended; {_left_open(progress)}: {sentence}"
        yield f"a new run triggers it: orchestrator retry {run_id}{behind}"
        return
    yield f"now: {sentence}"
    yield from held_by(history, target, now)
    for need in islice(unmet_needs(history, target), 10):
        yield f"need: {need} is {_standing(history.of(need))}"
    yield from foreseen
    if progress.doubt is not None:
        yield from _doubt(target, progress.doubt, now)
    if history.left_at is not None:
        yield f"nobody drives the run now: orchestrator resume {run_id}{behind}"


def _left_open(progress: Progress) -> str:
    return "it is no longer followed" if progress.may_exist else "it was never sent"


def _doubt(target: Target, doubt: Doubt, now: float) -> Iterator[str]:
    """Which look is awaited, and until when; a later process counts `accept` from its own start."""
    settled = doubt.end + target.timeouts.settle
    yield f"a look may say 'not there' after {clock(settled)}{_in(settled - now)}; until then nothing is sent again"
    over = doubt.end + max(target.timeouts.accept, target.timeouts.settle)
    yield f"without a sure look by {clock(over)}{_in(over - now)} it ends in doubt; a resume looks again"


def _in(seconds: float) -> str:
    return f" (in {duration(seconds)})" if seconds > 0 else ""


def _ways_out(target: Target, run_id: str, behind: str) -> Iterator[str]:
    name = shell(target.id)
    yield f"look again:            orchestrator resume {run_id}{behind}"
    yield f"you see no build:      orchestrator resume {run_id} --assume-absent {name}{behind}"
    yield f"you see its request:   orchestrator resume {run_id} --adopt-request {name}=ID{behind}"
