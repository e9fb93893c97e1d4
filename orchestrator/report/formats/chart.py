"""Builds over time as the points of a vector chart: how many of the run's builds were queued, and how many ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from orchestrator.core.frozen import Struct
from orchestrator.report.view import Row
from orchestrator.report.words import clock, duration, epoch

STEPS = 240
WIDTH, HEIGHT = 960, 180


class Tick(Struct, frozen=True):
    """A mark on an axis: where it stands in the drawing, and what it says."""

    at: float
    text: str


class Chart(Struct, frozen=True):
    """The drawing, `WIDTH` by `HEIGHT`, its origin at the upper left.

    Args:
        running: the outline of the builds that ran, as an SVG path.
        queued: the outline of the queued ones, standing on the running ones.
        most_running: the highest number of builds that ran at once, as sampled.
    """

    running: str
    queued: str
    most_running: int
    most_queued: int
    times: tuple[Tick, ...]
    numbers: tuple[Tick, ...]
    start: str
    end: str


def chart(rows: Sequence[Row], as_of: float) -> Chart | None:
    """The chart of a run; None when nothing was triggered, or all in one instant.

    Args:
        as_of: up to when what is still open counts (wall clock).
    """
    spans = [span for row in rows if (span := _span(row, as_of)) is not None]
    if not spans:
        return None
    start, end = min(span[0] for span in spans), max(span[2] for span in spans)
    if end <= start:
        return None
    step = (end - start) / STEPS
    running = _counted([(begun, ended) for _, begun, ended in spans], start, step)
    queued = _counted([(asked, begun) for asked, begun, _ in spans], start, step)
    top = _round_up(max(one + other for one, other in zip(running, queued, strict=True)))
    both = [one + other for one, other in zip(running, queued, strict=True)]
    return Chart(
        running=_outline(running, [0] * len(running), top),
        queued=_outline(both, running, top),
        most_running=max(running),
        most_queued=max(queued),
        times=tuple(_times(end - start)),
        numbers=tuple(Tick(HEIGHT - HEIGHT * part / 2, f"{top * part // 2:,}") for part in (0, 1, 2)),
        start=clock(start),
        end=clock(end),
    )


def _span(row: Row, as_of: float) -> tuple[float, float, float] | None:
    """When it was triggered, started, ended; a build that never started was queued until its end."""
    asked = epoch(row.triggered_at)
    if asked is None:
        return None
    ended = epoch(row.finished_at)
    last = max(asked, as_of if ended is None else ended)
    begun = epoch(row.started_at)
    return asked, min(last, max(asked, last if begun is None else begun)), last


def _counted(spans: Sequence[tuple[float, float]], start: float, step: float) -> list[int]:
    """How many spans are open in each step; one ends before the step of its end, so that nothing counts twice."""
    change = [0] * (STEPS + 2)
    for begun, ended in spans:
        if ended > begun:
            first = int((begun - start) / step)
            change[first] += 1
            change[max(first + 1, int((ended - start) / step))] -= 1
    return list(accumulate(change))[: STEPS + 1]


def _outline(upper: Sequence[int], lower: Sequence[int], top: int) -> str:
    there = list(_points(upper, top))
    back = list(_points(lower, top))[::-1]
    return f"M{' '.join([*there, *back])}Z"


def _points(values: Sequence[int], top: int) -> Iterator[str]:
    for number, value in enumerate(values):
        yield f"{number * WIDTH / STEPS:g},{round(HEIGHT - HEIGHT * value / top, 1):g}"


def _round_up(number: int) -> int:
    """The next even number that reads well on an axis."""
    size = 1
    while True:
        for factor in (2, 4, 6, 8, 10, 12, 16):
            if number <= factor * size:
                return factor * size
        size *= 10


def _times(lasted: float) -> Iterator[Tick]:
    for part in range(5):
        yield Tick(WIDTH * part / 4, duration(lasted * part / 4))
