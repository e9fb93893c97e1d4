"""What is seen on stderr while a run goes on: a picture redrawn in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, TypeAlias

from orchestrator.core.model import Outcome, Phase
from orchestrator.core.times import duration
from orchestrator.report.words import plain

if TYPE_CHECKING:
    from orchestrator.engine.snapshot import Snapshot

EVERY = 60.0  # seconds between two summary lines where nothing may be redrawn
COLUMNS, ROWS = 80, 24  # of a terminal that does not say

_OPEN = (Phase.RUNNING, Phase.QUEUED, Phase.REQUESTED, Phase.WAITING)
_SIGNS = "\u2501\u254c\u2500\u00d7\u25d4\u2298\u2026"


class Plain:
    """Lines only; where a run stands is told about once a minute through `tell`.

    Each screen can `say` a line of the log; from `open` on it can `show` where a run stands (called often, shown as
    often as it suits the screen), until it is told to `close`.

    Args:
        write: takes a line without its end.
        tell: takes the summary.
    """

    def __init__(self, write: Callable[[str], object], tell: Callable[[str], object]) -> None:
        self._write = write
        self._tell = tell
        self._next: float | None = None

    def say(self, line: str) -> None:
        self._write(line)

    def open(self) -> None:
        pass  # lines need nothing

    def show(self, snapshot: Snapshot, now: float) -> None:
        if self._next is None:
            self._next = now + EVERY
        elif now >= self._next:
            self._next = now + EVERY
            self._tell(summary(snapshot))

    def close(self) -> None:
        pass  # nothing was changed


class Redrawn:
    """A picture at the bottom of a terminal, never higher than its screen.

    Args:
        logs: whether lines of the log scroll above the picture while a run is shown; else they are left out.
        size: columns and rows of the terminal.
        suffix: is appended to the commands that it shows.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        colour: bool,
        logs: bool = False,
        size: Callable[[], tuple[int, int]] | None = None,
        suffix: str = "",
    ) -> None:
        self._suffix = suffix
        self._stream = stream
        self._colour = colour
        self._logs = logs
        self._size = size or (lambda: _size_of(stream))
        self._signs = _can_show(_SIGNS, getattr(stream, "encoding", None))
        self._is_open = False
        self._shown: list[tuple[str, int]] = []
        self._at = (0, 0)
        self._last: Snapshot | None = None

    def say(self, line: str) -> None:
        with suppress(OSError):  # the terminal was closed; the run matters more than its picture
            if self._logs or not self._is_open:
                self._write(f"{self._erased()}{line}\n")
                if self._last is not None:
                    self._draw(self._last)

    def open(self) -> None:
        self._is_open = True

    def show(self, snapshot: Snapshot, now: float) -> None:
        with suppress(OSError):  # as above
            self._draw(snapshot)

    def close(self) -> None:
        with suppress(OSError):  # as above
            if self._shown:
                self._write(self._erased())
        self._is_open, self._last = False, None

    def _draw(self, snapshot: Snapshot) -> None:
        from orchestrator.cli.cells import Style
        from orchestrator.cli.picture import picture

        columns, rows = self._size()
        style = Style(self._colour, self._signs, self._suffix)
        more = "\u2026" if self._signs else "..."
        drawn = [
            line.drawn(columns, colour=self._colour, more=more) for line in picture(snapshot, columns, rows, style)
        ]
        is_new = not self._shown or self._at != (columns, rows)
        parts = [self._erased(columns, rows) if is_new else self._home(columns, rows)]
        for number, line in enumerate(drawn):
            is_same = not is_new and number < len(self._shown) and self._shown[number] == line
            # the last one is always written: what is typed shows there
            parts.append("" if is_same and number < len(drawn) - 1 else f"\r\x1b[2K{line[0]}")
            parts.append("\n" if number < len(drawn) - 1 else "")
        if len(drawn) < len(self._shown):
            parts.append(f"\n\x1b[J\x1b[A{_column(drawn[-1][1])}")
        self._write("".join(parts))
        self._shown, self._at, self._last = drawn, (columns, rows), snapshot

    def _erased(self, columns: int = 0, rows: int = 0) -> str:
        """What takes the picture away, and leaves the cursor where it began."""
        if not self._shown:
            return ""
        if not columns:
            columns, rows = self._size()
        text = f"{self._home(columns, rows)}\x1b[J"
        self._shown = []
        return text

    def _home(self, columns: int, rows: int) -> str:
        """To the first cell of the picture; a terminal that became narrower has folded its lines."""
        lines = sum(max(1, math.ceil(cells / columns)) for _, cells in self._shown)
        up = min(lines - 1, rows - 1)
        return f"\r\x1b[{up}A" if up else "\r"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


Screen: TypeAlias = Plain | Redrawn


def _column(cells: int) -> str:
    return f"\r\x1b[{cells}C" if cells else "\r"


def _size_of(stream: TextIO) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return COLUMNS, ROWS
    return columns or COLUMNS, rows or ROWS


def _can_show(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def summary(snapshot: Snapshot) -> str:
    """Where a run stands, in one line."""
    outcomes = [f"{number:,} {outcome.replace('_', ' ')}" for outcome, number in _outcomes(snapshot)]
    phases = [f"{number:,} {phase}" for phase, number in _phases(snapshot)]
    done = f"{snapshot.done:,} of {snapshot.targets:,} done"
    parts = [done, ", ".join(outcomes), ", ".join(phases), *_pace(snapshot)]
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
    """What it is at, the rate, what it waits for and how long it still takes."""
    from orchestrator.engine.stage import Stage

    stage = snapshot.state.stage
    if stage is Stage.ENDED:
        return
    if stage is Stage.UNATTENDED:
        yield "nobody drives the run: nothing is triggered"
        return
    if stage in (Stage.CANCELING, Stage.STOPPING, Stage.STOPPED, Stage.ACCOUNT_STOPPED, Stage.WAITING):
        yield f"{stage}: {told}" if (told := plain(_told(snapshot))) else stage.value
    elif not snapshot.phases.get(Phase.WAITING):
        yield "everything is triggered; builds are being followed"
    if stage in (Stage.CANCELING, Stage.STOPPING):
        return
    if snapshot.rate is not None and stage is Stage.TRIGGERING:
        yield f"{snapshot.rate * 60.0:,.0f} triggers a minute"
    if snapshot.waiting_for and stage is not Stage.WAITING:
        yield f"waits for {plain(snapshot.waiting_for)}"
    yield from _left(snapshot)


def _told(snapshot: Snapshot) -> str:
    from orchestrator.cli.picture import state_told

    return state_told(snapshot)


def _left(snapshot: Snapshot) -> Iterator[str]:
    for head, left in (("last trigger", snapshot.trigger_left), ("last build", snapshot.build_left)):
        if left is not None:
            yield f"{head}: unknown, {left.why}" if left.why else f"{head} in about {duration(max(1.0, left.seconds))}"
