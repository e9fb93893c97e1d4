"""Why a target is where it is: its facts in words, oldest first, and the rule that it waits for now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from orchestrator.core.course import APPROVAL, PAUSE, called
from orchestrator.core.events import (
    AccountStopped,
    Approved,
    Denied,
    Frozen,
    Interrupted,
    Paused,
    RunEnded,
    RunMade,
    Stopped,
    Unpaused,
    WaveJudged,
    WaveOpened,
    target_of,
)
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import Outcome, Target, scopes_around
from orchestrator.core.progress import Doubt, Progress
from orchestrator.core.times import clock, duration
from orchestrator.journal.port import Entry
from orchestrator.report.hints import Hint, onwards
from orchestrator.report.reasons import held_by, unmet_needs, waits_for
from orchestrator.report.story import sentence_of, spoken
from orchestrator.report.words import plain, shell, sound

SCHEMA = "orchestrator.why/1"


class Told(Struct, frozen=True):
    """One event of the chain."""

    at: str
    kind: str
    text: str


class Explained(Struct, frozen=True):
    """The chain of events of one target, and what it waits for.

    Args:
        standing: how far it is, in words.
        outcome: None while it is open.
        code: a stable code of the reason, while it is open and after.
        now: what it waits for and what can be done about it; empty where there is a verdict without a doubt.
    """

    run: str
    target: str
    standing: str
    phase: str
    outcome: str | None
    code: str | None
    events: tuple[Told, ...]
    now: tuple[str | Hint, ...]

    def for_people(self, suffix: str = "") -> list[str]:
        """Lines; `suffix` is appended to each command line, such as ` --state DIR`."""
        lines = [f"{self.target}: {self.standing}", *(f"  {one.at}  {one.text}" for one in self.events)]
        lines += [f"  {line}" for line in self._now(suffix)]
        return [sound(plain_line(line)) for line in lines]

    def for_programs(self, suffix: str = "") -> dict[str, Any]:
        """The same as JSON; `suffix` as above."""
        return {
            "schema": SCHEMA,
            "run": self.run,
            "target": self.target,
            "phase": self.phase,
            "outcome": self.outcome,
            "code": self.code,
            "events": [{"at": one.at, "kind": one.kind, "text": plain(one.text)} for one in self.events],
            "now": [plain(line) for line in self._now(suffix)],
        }

    def _now(self, suffix: str) -> Iterator[str]:
        return (line.line(suffix) if isinstance(line, Hint) else line for line in self.now)


def explain(
    target: Target,
    entries: Iterable[Entry],
    history: History,
    now: float,
    run_id: str = "RUN",
    foreseen: Iterable[str] = (),
    *,
    is_driven: bool = True,
) -> Explained:
    """The chain of events of one target, and what it waits for.

    Args:
        entries: the run's entries, in any order; only those that touch the target are told.
        history: the fold of the same entries.
        now: the present (wall clock).
        run_id: for the command lines that help.
        foreseen: when it is expected to be triggered, and what it waits for until then, a line each.
        is_driven: whether a process is at work on the run, as far as that can be seen.
    """
    progress = history.of(target.id)
    verdict, chain = progress.verdict, _chain(target, entries)
    return Explained(
        run_id,
        target.id,
        _standing(progress),
        progress.phase.value,
        verdict.outcome.value if verdict is not None else None,
        (verdict.code or None) if verdict is not None else waits_for(history, target, now)[0],
        tuple(Told(clock(one.at), one.event.kind, sentence_of(one.event, history.waves)) for one in chain),
        tuple(_now(target, history, now, run_id, foreseen, is_driven=is_driven)),
    )


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
        case Approved(wave=wave) | Denied(wave=wave):
            return wave in (0, target.wave)
        case WaveJudged(wave=wave):
            return target.wave - 1 <= wave <= target.wave
        case Paused() | Unpaused():
            return True
        case Frozen(scope=scope):
            return entry.account == target.account and scope in scopes_around(target.repo)
        case AccountStopped():
            return entry.account == target.account
        case _:
            return False


def _standing(progress: Progress) -> str:
    if progress.verdict is None:
        return f"open, {progress.phase}"
    reason = progress.verdict.reason or progress.verdict.code
    return f"{spoken(progress.verdict.outcome)}{f' ({reason})' if reason else ''}"


def _now(
    target: Target, history: History, now: float, run_id: str, foreseen: Iterable[str], *, is_driven: bool
) -> Iterator[str | Hint]:
    progress = history.of(target.id)
    verdict = progress.verdict
    if verdict is not None:
        if verdict.outcome is Outcome.IN_DOUBT and not history.options.sandbox:
            yield from _ways_out(target, run_id)
        return
    _, sentence = waits_for(history, target, now)
    if history.has_ended:
        yield f"the run has ended; {_left_open(progress)}: {sentence}"
        if not history.options.sandbox:
            yield Hint("retry", run_id, (), "a new run triggers it")
        return
    yield f"now: {sentence}"
    yield from held_by(history, target, now)
    yield from _for_a_person(history, target, now, run_id)
    for need in islice(unmet_needs(history, target), 10):
        yield f"need: {need} is {_standing(history.of(need))}"
    yield from foreseen
    if progress.doubt is not None:
        yield from (_restart if progress.is_restarting else _doubt)(target, progress.doubt, now)
    if history.left_at is not None or not is_driven:
        is_stopped = history.stopped is not None and not history.stopped.by_person
        words = ("--override-stop",) if is_stopped and not progress.may_exist else ()
        yield onwards(run_id, history, words, "nobody drives the run now") or "its sandbox ended with its process"


def _for_a_person(history: History, target: Target, now: float, run_id: str) -> Iterator[Hint]:
    """The verb with which a person lets the run go on, whoever drives it."""
    waiting = None if history.stopped is not None else history.course.waiting(history.waves, now)
    if waiting is None or history.of(target.id).may_exist:
        return
    if waiting.kind == PAUSE:
        yield Hint("unpause", run_id, (), "let it go on")
    elif waiting.kind == APPROVAL and target.wave >= waiting.wave:
        name = shell(history.waves[waiting.wave - 1].name)
        yield Hint("approve", run_id, ("--wave", name), f"open {called(history.waves, waiting.wave)}")


def _left_open(progress: Progress) -> str:
    return "it is no longer followed" if progress.may_exist else "it was never sent"


def _doubt(target: Target, doubt: Doubt, now: float) -> Iterator[str]:
    """Which lookup is awaited, and until when; a later process counts `accept` from its own start."""
    settled = doubt.end + target.timeouts.settle
    yield f"a lookup may say 'not there' after {clock(settled)}{_in(settled - now)}; until then nothing is sent again"
    over = doubt.end + max(target.timeouts.accept, target.timeouts.settle)
    yield f"without a certain lookup by {clock(over)}{_in(over - now)} it ends in doubt; a resume looks it up again"


def _restart(target: Target, doubt: Doubt, now: float) -> Iterator[str]:
    """As `_doubt`, of a build that was asked to start again."""
    settled = doubt.end + target.timeouts.settle
    yield f"it is asked again when the build is still as before after {clock(settled)}{_in(settled - now)}"
    over = doubt.end + max(target.timeouts.accept, target.timeouts.settle)
    yield f"without a look at the build by {clock(over)}{_in(over - now)} it keeps the outcome that it had"


def _in(seconds: float) -> str:
    return f" (in {duration(seconds)})" if seconds > 0 else ""


def _ways_out(target: Target, run_id: str) -> Iterator[Hint]:
    name = shell(target.id)
    yield Hint("resume", run_id, (), "look it up again")
    yield Hint("resume", run_id, ("--assume-absent", name), "you see no build")
    yield Hint("resume", run_id, ("--adopt-request", f"{name}=ID"), "you see its request")
