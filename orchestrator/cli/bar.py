"""The stacked bar of a run: each outcome and phase as long as its share, in its colour, or as letters in a frame."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.cli.cells import Line
from orchestrator.core.model import Outcome, Phase
from orchestrator.engine.counts import Key
from orchestrator.report.bar import FULL, spread
from orchestrator.report.marks import OUTCOMES, mark

# What is well comes first, as the bar grows from the left; the others follow as the table of marks has them.
ORDER: tuple[Key, ...] = (
    Outcome.PASSED,
    *(one for one in OUTCOMES if one not in (Outcome.PASSED, Outcome.IN_DOUBT)),
    Outcome.IN_DOUBT,
    Phase.RUNNING,
    Phase.QUEUED,
    Phase.REQUESTED,
    Phase.WAITING,
)
DASHED, THIN = "\u254c", "\u2500"
_STROKES: Mapping[Key, str] = {Phase.QUEUED: DASHED, Phase.REQUESTED: DASHED, Phase.WAITING: THIN}


def bar(keys: Mapping[Key, int], width: int, *, colour: bool, signs: bool) -> Line:
    """The bar, exactly so wide.

    Args:
        keys: how many targets stand where.
        colour: without it: letters in a frame.
        signs: whether there are signs beyond ASCII; without them: as without colour.
    """
    line = Line()
    is_drawn = colour and signs
    room = width if is_drawn else width - 2
    line.add("" if is_drawn else "[")
    for key, cells in shares(keys, room).items():
        one = mark(key)
        line.add((_STROKES.get(key, FULL) if is_drawn else one.letter) * cells, one.colour.sgr)
    return line if is_drawn else line.add("]")


def shares(keys: Mapping[Key, int], width: int) -> dict[Key, int]:
    """How many cells each gets: its share, but one at least."""
    counts = {key: keys[key] for key in ORDER if keys.get(key, 0) > 0} or {Phase.WAITING: 1}
    return dict(zip(counts, spread(list(counts.values()), width), strict=True))
