"""What is seen on stderr while a run goes on: a few redrawn lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, TypeAlias

from orchestrator.core.model import Outcome, Phase
from orchestrator.core.times import counted, duration
from orchestrator.report.story import account_stopped
from orchestrator.report.words import plain, short

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from orchestrator.engine.engine import Snapshot

EVERY = 60.0  # seconds between two summary lines where nothing may be redrawn

_STYLES = {Outcome.PASSED: "green", Outcome.SKIPPED: "dim", Outcome.IN_DOUBT: "magenta bold"}
_OPEN = (Phase.RUNNING, Phase.QUEUED, Phase.REQUESTED, Phase.WAITING)


class Plain:
    """Lines only; where a run stands is told about once a minute through `tell`.

    Each screen has a `title` above its numbers, and can `say` a line of the log, `show` where the run stands (called
    often, shown as often as it suits the screen) and `close`.

    Args:
        write: takes a line without its end.
        tell: takes the summary.
    """

    def __init__(self, write: Callable[[str], object], tell: Callable[[str], object]) -> None:
        self.title = ""
        self._write = write
        self._tell = tell
        self._next: float | None = None

    def say(self, line: str) -> None:
        self._write(line)

    def show(self, snapshot: Snapshot, now: float) -> None:
        if self._next is None:
            self._next = now + EVERY
        elif now >= self._next:
            self._next = now + EVERY
            self._tell(summary(snapshot))

    def close(self) -> None:
        pass  # nothing was changed


class Redrawn:
    """A few lines at the bottom of a terminal, with the log scrolling above them."""

    def __init__(self, stream: TextIO, began: float, *, colour: bool) -> None:
        self.title = ""
        self._stream = stream
        self._began = began
        self._colour = colour
        self._live: Live | None = None

    def say(self, line: str) -> None:
        with suppress(OSError):  # the terminal was closed; the run matters more than its picture
            if self._live is None:
                self._stream.write(f"{line}\n")
                self._stream.flush()
                return
            from rich.text import Text

            self._live.console.print(Text.from_ansi(line), soft_wrap=True)

    def show(self, snapshot: Snapshot, now: float) -> None:
        with suppress(OSError):  # as above
            if self._live is None:
                self._live = self._opened()
                self._live.start()
            self._live.update(self._drawn(snapshot, now - self._began), refresh=True)

    def _opened(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, no_color=not self._colour, highlight=False, soft_wrap=False)
        return Live(console=console, auto_refresh=False, transient=True)

    def close(self) -> None:
        if self._live is not None:
            with suppress(OSError):  # as above
                self._live.stop()
            self._live = None

    def _drawn(self, snapshot: Snapshot, seconds: float) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        done = snapshot.phases.get(Phase.DONE, 0)
        width = max(10, min(60, (self._live.console.width if self._live is not None else 80) - 24))
        head = Text(f"{plain(self.title)}  {duration(seconds)}", style="bold", no_wrap=True, overflow="ellipsis")
        counts = Text("  ", overflow="fold")
        for outcome, number in _outcomes(snapshot):
            counts.append(f"{number:,} {outcome.replace('_', ' ')}  ", style=_STYLES.get(outcome, "red"))
        for phase, number in _phases(snapshot):
            counts.append(f"{number:,} {phase}  ")
        tail = Text(f"  {'; '.join(_pace(snapshot))}", style="dim", no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total=max(1, snapshot.targets), completed=done, width=width)
        numbers = Text(f"  {done:,} of {snapshot.targets:,} done", no_wrap=True)
        return Group(head, bar, numbers, counts, tail, *self._stops(snapshot))

    def _stops(self, snapshot: Snapshot) -> Iterator[RenderableType]:
        from rich.text import Text

        for account, cause in snapshot.accounts_stopped.items():
            yield Text(f"  {account_stopped(account, short(cause))}", style="red", overflow="fold")


Screen: TypeAlias = Plain | Redrawn


def summary(snapshot: Snapshot) -> str:
    """Where a run stands, in one line."""
    done = snapshot.phases.get(Phase.DONE, 0)
    outcomes = [f"{number:,} {outcome.replace('_', ' ')}" for outcome, number in _outcomes(snapshot)]
    phases = [f"{number:,} {phase}" for phase, number in _phases(snapshot)]
    parts = [f"{done:,} of {snapshot.targets:,} done", ", ".join(outcomes), ", ".join(phases), *_pace(snapshot)]
    return "; ".join(part for part in parts if part)


def _outcomes(snapshot: Snapshot) -> Iterator[tuple[Outcome, int]]:
    return ((outcome, snapshot.outcomes[outcome]) for outcome in Outcome if snapshot.outcomes.get(outcome))


def _phases(snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    """How many are in each phase; those whose answer was lost are no plain receipts."""
    for phase in _OPEN:
        number = snapshot.phases.get(phase, 0) - (snapshot.doubts if phase is Phase.REQUESTED else 0)
        if number > 0:
            yield phase.value, number
    if snapshot.doubts:
        yield "in doubt (looking up)", snapshot.doubts


def _pace(snapshot: Snapshot) -> Iterator[str]:
    """The rate, what it waits for and how long it still takes, while there is anything to trigger."""
    if not snapshot.is_driven:
        yield "nobody drives the run: nothing is triggered"
        return
    if snapshot.is_canceling:
        yield from _canceling(snapshot)
        return
    if not snapshot.phases.get(Phase.WAITING):
        if snapshot.phases.get(Phase.DONE, 0) < snapshot.targets:
            yield "everything is triggered; builds are being followed"
        return
    if snapshot.held_by:
        yield plain(snapshot.held_by)
    if snapshot.triggered_per_minute is not None:
        yield f"{snapshot.triggered_per_minute:,.0f} triggers a minute"
    if snapshot.waiting_for:
        yield f"waits for {plain(snapshot.waiting_for)}"
    if snapshot.seconds_left:
        yield f"last trigger in about {duration(snapshot.seconds_left)}"


def _canceling(snapshot: Snapshot) -> Iterator[str]:
    """What a canceled run waits for, and for how long."""
    builds = snapshot.phases.get(Phase.QUEUED, 0) + snapshot.phases.get(Phase.RUNNING, 0)
    requests = snapshot.phases.get(Phase.REQUESTED, 0)
    waits = [f"{counted(builds, 'build')} to stop"] if builds else []
    waits += [f"{counted(requests, 'request')} to show a build, or none"] if requests else []
    if waits:
        yield f"canceling: waits for {' and '.join(waits)}"
    if waits and snapshot.gives_up_in is not None:
        yield f"gives up in {duration(max(0.0, snapshot.gives_up_in))} unless one more stops"
