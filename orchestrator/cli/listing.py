"""Runs as lines of a list, and as values for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.app.glance import Glance
from orchestrator.core.errors import Exit
from orchestrator.core.frozen import asdict
from orchestrator.core.times import clock, duration
from orchestrator.journal.port import RunRow
from orchestrator.report.marks import OUTCOMES
from orchestrator.report.states import BY_EXIT, State, shown
from orchestrator.report.words import epoch, plain
from orchestrator.report.wrap import Line, Piece, cut, padded, soft

NAME = 20  # columns at most for the name of a run
TOOK = 11  # columns of a duration
WIDE = 110  # columns from which a run has a line
SPARK = 14  # results of a name that are shown


def lines_of(found: Sequence[Glance], every: Sequence[RunRow], now: float, columns: int | None) -> Iterator[Line]:
    """A line for each run, two where it is narrow: its id and name, when it began, how long it took, what came of it.

    Args:
        columns: of the terminal; None where there is none.
        every: all runs of the state, the newest first, for the last results of each name.
    """
    id_ = max(len(one.row.id) for one in found)
    name = min(NAME, max(len(plain(one.row.name)) for one in found))
    told: set[str] = set()
    for one in found:
        row, said = one.row, plain(one.row.name)
        begin = [
            Piece(padded(row.id, id_), whole=True),
            Piece(f"  {padded(cut(said, name), name)}  {_when(row.made_at)}  {_took(one, now):>{TOOK}}"),
        ]
        result = [*_result(one), *_more(one), *(() if said in told else _spark(row.name, every))]
        if columns is not None and columns < WIDE:
            yield begin
            yield [Piece("    "), *result]
        else:
            yield [*begin, Piece("  "), *result]
        told.add(said)


def _result(one: Glance) -> Iterator[Piece]:
    """What came of it, and how its targets ended."""
    if one.verdict is not None:
        yield Piece(f"{one.verdict.symbol} {one.verdict.pill}", one.verdict.meaning)
    else:
        meaning, symbol = shown(state_of(one.row))
        code = "open" if one.row.exit_code is None else f"exit {one.row.exit_code}"
        yield Piece(f"{symbol} {code}", meaning)
    yield Piece(f"  {counts_of(one.totals) if one.totals is not None else f'{one.row.targets:,} targets'}")


def counts_of(totals: Mapping[str, int]) -> str:
    """How many targets ended how, what needs a look first; then those that are open."""
    marks = [(totals.get(outcome, 0), mark.word) for outcome, mark in OUTCOMES.items()]
    return ", ".join(f"{number:,} {word}" for number, word in [*marks, (totals["open"], "open")] if number)


def _more(one: Glance) -> Iterator[Piece]:
    by = f"canceled by {plain(one.canceled_by)}" if one.canceled_by else ""
    parent = f"retry of {one.row.parent}" if one.row.parent else ""
    said = [text for text in (parent, by, plain(one.waits or "")) if text]
    if said:
        yield soft(f"  {', '.join(said)}")


def _spark(name: str, every: Sequence[RunRow]) -> Iterator[Piece]:
    """How the last runs of a name ended, the newest at the right; nothing where there is only one."""
    rows = [row for row in every if row.name == name][:SPARK]
    if len(rows) > 1:
        yield Piece("  ")
        for row in reversed(rows):
            meaning, symbol = shown(state_of(row))
            yield Piece(symbol, meaning)


def state_of(row: RunRow) -> State:
    """How a run stands, as far as a list knows."""
    if row.ended_at is None:
        return State.RUNNING if row.driven else State.LEFT
    return BY_EXIT.get(row.exit_code if row.exit_code is not None else Exit.BUG, State.INTERRUPTED)


def _when(at: float) -> str:
    return f"{clock(at)[:16].replace('T', ' ')}Z"


def _took(one: Glance, now: float) -> str:
    seconds = seconds_of(one, now)
    return "" if seconds is None else duration(seconds)


def seconds_of(one: Glance, now: float | None = None) -> float | None:
    """How long a run took, or has taken by now; None where it was left, and nobody read when."""
    end = epoch(one.finished_at)
    if end is None:
        return now - one.row.made_at if one.row.driven and now is not None else None
    return max(0.0, end - int(one.row.made_at))


def for_programs(one: Glance) -> dict[str, object]:
    """A run as JSON has it."""
    row = one.row
    return {
        "id": row.id,
        "name": row.name,
        "status": "ended" if row.ended_at is not None else "driven" if row.driven else "open",
        "made_at": clock(row.made_at),
        "ended_at": clock(row.ended_at) or None,
        "finished_at": one.finished_at,
        "seconds": seconds_of(one),
        "targets": row.targets,
        "totals": one.totals,
        "verdict": None if one.verdict is None else asdict(one.verdict),
        "exit_code": row.exit_code,
        "parent": row.parent,
        "canceled_by": one.canceled_by,
        "waits": one.waits,
    }
