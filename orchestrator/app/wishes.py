"""What people say of a run while it goes on: a wave may open or not, triggers are held or let go.

Nothing here acts on a run: a wish goes into the journal, and whoever drives the run heeds it, now or once it goes on.
"""

from __future__ import annotations

from orchestrator.app.which import named
from orchestrator.core.course import DENIED, Course, called, stop_told
from orchestrator.core.errors import NotStarted, UsageError
from orchestrator.core.events import Approved, Denied, PauseAsked, UnpauseAsked
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.times import clock, counted
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal, RunRow
from orchestrator.report.hints import OVERRIDE_STOP, Hint, onwards
from orchestrator.report.words import plain, short

LONGEST = 100  # characters of a name


class Said(Struct, frozen=True):
    """What came of it.

    Args:
        sentence: for the person who said it.
        hint: what lets the run go on from here; None where nothing is to be done.
    """

    sentence: str
    hint: Hint | None = None


def person(user: str, by: str | None) -> str:
    """Who says it: the name that is given, with the user who typed it where that is another."""
    name = user if by is None else short(by, LONGEST)
    return user if name in ("", user) else f"{name} (as typed by {user})"


async def approve(
    journal: Journal, run: str, by: str, now: float, *, wave: str | None = None, deny: bool = False
) -> Said:
    """Lets the wave open that waits for a person, or stops the run instead.

    Args:
        wave: the name or the number of the wave to be opened; None: the one that waits.

    Raises:
        UsageError: there is no such run or wave.
        NotStarted: the run has ended, or that wave does not wait.
    """
    row, history = await _open_run(journal, run)
    number = None if wave is None else _number(history, wave, row.id)
    course, waits = history.course, history.course.following(history.waves)
    if (known := _known(history, number, deny=deny)) is not None:
        return Said(known)
    _refuse_stopped(row.id, history)
    number = waits if number is None else number
    if number is None or number != waits or number == 1:
        raise NotStarted(
            f"{_not_yet(history, number)}; an approval is of a verdict: see `orchestrator status {row.id}`"
        )
    if not history.waves[number - 2].approve:
        raise NotStarted(f"{called(history.waves, number)} waits for nobody: the manifest asks for no approval of it")
    said = course.answer(number)
    if isinstance(said, Denied if deny else Approved):
        return Said(
            f"{called(history.waves, number)} was {'denied' if deny else 'approved'} already, by {plain(said.by)}"
        )
    if isinstance(said, Denied):
        ways = _all_the_same(row.id, history, "opens it")
        raise NotStarted(f"{called(history.waves, number)} was denied by {plain(said.by)}{ways}")
    await journal.wish(row.id, (Denied if deny else Approved)(by, now, number))
    if deny:
        sentence = f"{called(history.waves, number)} is denied by {plain(by)}: the run stops, and nothing more is sent"
        return Said(sentence, onwards(row.id, history, OVERRIDE_STOP, "to open it all the same"))
    wave = f"{called(history.waves, number)}, {counted(history.waves[number - 1].targets, 'target')}"
    return Said(f"{wave}, is approved by {plain(by)}: it opens {_when(row, history, now)}", _onwards(row, history))


async def pause(journal: Journal, run: str, by: str, now: float) -> Said:
    """Holds triggers, reruns and waves; builds are followed on.

    Raises:
        UsageError: there is no such run.
        NotStarted: it has ended.
    """
    row, history = await _open_run(journal, run)
    held = history.course.pause
    let_go = Hint("unpause", row.id, (), "to let it go on")
    if held is not None:
        return Said(f"run {row.id} was paused already, by {plain(held.by)} at {clock(held.at)}", let_go)
    await journal.wish(row.id, PauseAsked(by, now))
    return Said(f"run {row.id} is paused by {plain(by)}: nothing more is triggered, builds are followed on", let_go)


async def unpause(journal: Journal, run: str, by: str, now: float) -> Said:
    """Lets a paused run go on.

    Raises:
        UsageError: there is no such run.
        NotStarted: it has ended.
    """
    row, history = await _open_run(journal, run)
    if history.course.pause is None:
        return Said(f"run {row.id} is not paused", _onwards(row, history))
    await journal.wish(row.id, UnpauseAsked(by, now))
    return Said(f"run {row.id} goes on, as {plain(by)} says", _onwards(row, history))


async def _open_run(journal: Journal, run: str) -> tuple[RunRow, History]:
    row = await named(journal, run)
    if row.ended_at is not None:
        raise NotStarted(f"run {row.id} has ended (exit {row.exit_code}); its report: `orchestrator report {row.id}`")
    return row, await load(journal, row.id)


def _number(history: History, wave: str, run: str) -> int:
    """The number of the wave that is called so."""
    for one in history.waves:
        if one.name == wave:
            return one.number
    if wave.isdecimal() and 0 < int(wave) <= len(history.waves):
        return int(wave)
    there = ", ".join(plain(called(history.waves, one.number)) for one in history.waves)
    raise UsageError(f"run {run} has no wave {plain(wave)!r}; there are: {there}")


def _known(history: History, number: int | None, *, deny: bool) -> str | None:
    """What a person says once more, as a sentence; None where it is new."""
    stopped = history.stopped
    if deny and stopped is not None and stopped.rule == DENIED and number in (None, stopped.wave):
        return f"{plain(stopped.arithmetic)} already"
    opened = history.course.waves.get(number or 0)
    if not deny and opened is not None and opened.by:
        return f"{called(history.waves, number or 0)} was approved already, by {plain(opened.by)}, and is open"
    return None


def _refuse_stopped(run: str, history: History) -> None:
    stopped = history.stopped
    if stopped is None:
        return
    ways = "" if stopped.by_person else _all_the_same(run, history, "goes on")
    raise NotStarted(f"run {run} triggers no more: {plain(stop_told(stopped))}{ways}")


def _all_the_same(run: str, history: History, what: str) -> str:
    """What overrides a stop, as the end of a sentence; empty where nothing can be typed."""
    hint = onwards(run, history, OVERRIDE_STOP)
    if hint is None:
        return ""
    is_resumed = hint.verb == "resume"
    return f"; `{hint.command}` {what} all the same" if is_resumed else f"; {hint.label}: `{hint.command}`"


def _not_yet(history: History, number: int | None) -> str:
    """Why a wave cannot be approved now."""
    course: Course = history.course
    if number is not None and number in course.waves:
        return f"{called(history.waves, number)} is open since {clock(course.waves[number].opened_at)}"
    last, waits = max(course.waves, default=0), course.following(history.waves)
    if number is not None and waits is not None and number > waits > 1:
        return (
            f"{called(history.waves, number)} does not wait for an approval: {called(history.waves, waits)} comes first"
        )
    if number is None and last == len(history.waves):
        return "no wave waits: all are open"
    before = f"{called(history.waves, last)} has no verdict yet" if last else "no wave is open yet"
    who = "no wave waits" if number is None else f"{called(history.waves, number)} does not wait"
    return f"{who} for an approval: {before}"


def _when(row: RunRow, history: History, now: float) -> str:
    course = history.course
    if course.pause is not None:
        return "once the run is unpaused"
    until = course.soaks_until(history.waves, now)
    if until is not None:
        return f"when its soak is over, at {clock(until)}"
    return "at once" if row.driven else "when the run is resumed"


def _onwards(row: RunRow, history: History) -> Hint | None:
    return None if row.driven else onwards(row.id, history, (), "nobody drives the run now")
