"""The page's charts as values: triggers a minute, builds at once, how long builds ran. Templates draw them.

A drawing is `WIDTH` by `HEIGHT`, its origin at the upper left, and is stretched to the place that it has; what must not
be stretched (lines, texts) has its place in percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome
from orchestrator.core.times import rounded
from orchestrator.report.view import Report, Row
from orchestrator.report.words import epoch

WIDTH, HEIGHT = 1000, 100
STEPS = 250  # samples of the builds at once
BARS, BINS = 48, 16  # at most, of triggers and of durations
TICKS = 6  # at most, on an axis of times
FAR = 5.0  # a line that many times above the highest value is told, and not drawn
SPANS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)  # seconds


class Tick(Struct, frozen=True):
    """A mark on an axis: its place in percent, and its text."""

    at: float
    text: str


class Line(Struct, frozen=True):
    """A bound that a chart is held against.

    Args:
        at: its height in percent from the top; None where it is far above what is drawn.
        value: the bound itself.
    """

    at: float | None
    value: float


class Chart(Struct, frozen=True):
    """One drawing over time.

    Args:
        paths: class to outline, as SVG paths; what stands behind comes first.
        most: class to the highest value, as sampled.
        bound: what was allowed; None where nothing was.
        times: marks on the axis of time, whose texts are clock times in UTC.
        numbers: marks on the upright axis.
        now: the present, in percent of the width, where what is foretold stands behind it; else None.
    """

    paths: dict[str, str]
    most: dict[str, float]
    bound: Line | None
    times: tuple[Tick, ...]
    numbers: tuple[Tick, ...]
    start: str
    end: str
    now: float | None = None


class Bar(Struct, frozen=True):
    """A part of a bar: class, place and size in percent, and what it says."""

    kind: str
    at: float
    width: float
    top: float = 0.0
    height: float = 100.0
    text: str = ""


class Durations(Struct, frozen=True):
    """How long builds ran: bars by class, and the times under which half of them, and 19 of 20, ended."""

    bars: tuple[Bar, ...]
    times: tuple[Tick, ...]
    half: Tick
    most: Tick


Span = tuple[float, float, float]  # when a build was triggered, began to run, ended (wall clock)


def spans(rows: Sequence[Row], as_of: float) -> list[Span]:
    """What was triggered; a build that never started was queued until its end.

    Args:
        as_of: up to when what is still open counts (wall clock).
    """
    return [span for row in rows if (span := _span(row, as_of)) is not None]


def _span(row: Row, as_of: float) -> Span | None:
    asked = epoch(row.triggered_at)
    if asked is None:
        return None
    ended = epoch(row.finished_at)
    last = max(asked, as_of if ended is None else ended)
    begun = epoch(row.started_at)
    return asked, min(last, max(asked, last if begun is None else begun)), last


def over_time(report: Report) -> tuple[Chart, Chart] | None:
    """Triggers a minute, and builds at once, on one axis; None when nothing was triggered, or all in one instant."""
    found = spans(report.targets, report.as_of)
    if not found and not report.to_come:
        return None
    starts, ends = [span[0] for span in found], [span[2] for span in found] + [end for _, end in report.to_come]
    start = min(starts, default=report.as_of)
    start, end = min(start, epoch(report.run.started_at) or start), max(ends)
    if end - start < 1:
        return None
    return rates(report, starts, start, end), at_once(report, found, start, end)


def rates(report: Report, asked: Sequence[float], start: float, end: float) -> Chart:
    """Triggers a minute.

    Args:
        asked: when triggers left.
    """
    width = next((size for size in SPANS if (end - start) / size <= BARS), (end - start) / BARS)
    sent = _binned(asked, start, end, width)
    to_come = _binned([at for at, _ in report.to_come if at > report.as_of], start, end, width)
    both = [one + other for one, other in zip(sent, to_come, strict=True)]
    bound = report.bounds.triggers_per_minute
    top = _top(max(both), bound)
    size = 100 * width / (end - start)
    shown = {"busy": _steps(sent, size, top)}
    if any(to_come):
        shown = {"foretold": _steps(both, size, top), **shown}
    return _chart(report, shown, {"busy": max(sent)}, bound, top, start, end)


def at_once(report: Report, found: Sequence[Span], start: float, end: float) -> Chart:
    """Builds that were queued and that ran; behind now, where they are foretold, all that are open."""
    step = (end - start) / STEPS
    running = _counted([(begun, ended) for _, begun, ended in found], start, step)
    queued = _counted([(asked, begun) for asked, begun, _ in found], start, step)
    ahead = _counted(report.to_come, start, step)
    known = STEPS if not report.to_come else max(1, min(STEPS, int((report.as_of - start) / step)))
    if report.run.finished_at is None:  # what is open at its end does not end there
        running[known], queued[known] = running[known - 1], queued[known - 1]
    both = [one + other for one, other in zip(running, queued, strict=True)]
    bound = report.bounds.in_flight
    top, zero = _top(max(*both[: known + 1], *ahead), bound), [0] * len(both)
    shown = {
        "waiting": _outline(both, running, top, 0, known + 1),
        "busy": _outline(running, zero, top, 0, known + 1),
    }
    if known < STEPS:
        ahead[known] = both[known]
        shown["foretold"] = _outline(ahead, zero, top, known, STEPS + 1)
    most: dict[str, float] = {"busy": max(running[: known + 1]), "waiting": max(queued[: known + 1])}
    return _chart(report, shown, most, bound, top, start, end)


def _chart(
    report: Report,
    paths: dict[str, str],
    most: dict[str, float],
    bound: float | None,
    top: float,
    start: float,
    end: float,
) -> Chart:
    line = None if bound is None else Line(None if bound > top else round(100 - 100 * bound / top, 2), bound)
    return Chart(
        paths=paths,
        most=most,
        bound=line,
        times=tuple(_times(start, end)),
        numbers=tuple(Tick(100 - part * 50, f"{top * part / 2:,g}") for part in (0, 1, 2)),
        start=_clock(start, end - start),
        end=_clock(end, end - start),
        now=round(100 * (report.as_of - start) / (end - start), 2) if report.to_come else None,
    )


def _binned(times: Sequence[float], start: float, end: float, width: float) -> list[float]:
    """Events a minute in each part of the time."""
    found = [0.0] * (int((end - start) / width) + 1)
    for at in times:
        found[int((at - start) / width)] += 60 / width
    return found


def _counted(found: Sequence[tuple[float, float]], start: float, step: float) -> list[int]:
    """How many spans are open in each step; one ends before the step of its end, so that nothing counts twice."""
    change = [0] * (STEPS + 2)
    for begun, ended in found:
        if ended > begun:
            first = int((begun - start) / step)
            change[first] += 1
            change[max(first + 1, int((ended - start) / step))] -= 1
    return list(accumulate(change))[: STEPS + 1]


def _steps(values: Sequence[float], size: float, top: float) -> str:
    """Bars without gaps, as one outline; the size of a bar in percent."""
    corners = [f"M0,{HEIGHT}"]
    for number, value in enumerate(values):
        corners.append(f"V{_up(value, top)}H{min(WIDTH, (number + 1) * size * WIDTH / 100):.1f}")
    return f"{''.join(corners)}V{HEIGHT}Z"


def _outline(upper: Sequence[int], lower: Sequence[int], top: float, first: int, last: int) -> str:
    there = [f"{n * WIDTH / STEPS:g},{_up(upper[n], top)}" for n in range(first, last)]
    back = [f"{n * WIDTH / STEPS:g},{_up(lower[n], top)}" for n in range(last - 1, first - 1, -1)]
    return f"M{' '.join([*there, *back])}Z"


def _up(value: float, top: float) -> str:
    return f"{round(HEIGHT - HEIGHT * value / top, 1):g}"


def _top(most: float, bound: float | None) -> float:
    """The upper end of an axis that shows the values, and the bound where it is not far above them."""
    return _round_up(max(most, 1.05 * bound if bound is not None and bound <= FAR * most else 0.0, 1.0))


def _round_up(number: float) -> float:
    """The next even number that reads well on an axis."""
    size = 1
    while True:
        for factor in (2, 4, 6, 8, 10, 12, 16):
            if number <= factor * size:
                return factor * size
        size *= 10


def _times(start: float, end: float) -> Iterator[Tick]:
    """Round times of day, few enough to stand beside each other."""
    length = end - start
    step = next((size for size in SPANS if length / size <= TICKS), math.ceil(length / TICKS / 86_400) * 86_400)
    at = math.ceil(start / step) * step
    while at <= end:
        yield Tick(round(100 * (at - start) / length, 2), _clock(at, length))
        at += step


def _clock(at: float, length: float) -> str:
    """The time of day in UTC, with as much as tells the times of that length apart."""
    when = datetime.fromtimestamp(at, UTC)
    if length > 2 * 86_400 or (length > 43_200 and at % 86_400 == 0):
        return f"{when:%d %b}".lstrip("0")
    return f"{when:%H:%M:%S}" if length < 300 else f"{when:%H:%M}"


# -- how long builds ran -----------------------------------------------------------------------------------------------


def durations(rows: Sequence[Row]) -> Durations | None:
    """The durations of the builds that ended; None where fewer than two did."""
    ran = [
        (row.run_seconds, "good" if row.outcome == Outcome.PASSED else "bad")
        for row in rows
        if row.run_seconds is not None and row.outcome is not None
    ]
    if len(ran) < 2:
        return None
    times = sorted(seconds for seconds, _ in ran)
    longest = max(times[-1], 1)
    width = next((size for size in SPANS if longest / size < BINS), math.ceil(longest / BINS / 86_400) * 86_400)
    number = longest // width + 1
    counts = {kind: [0] * number for kind in ("good", "bad")}
    for seconds, kind in ran:
        counts[kind][seconds // width] += 1
    top = max(one + other for one, other in zip(*counts.values(), strict=True))
    size, whole = 100 / number, number * width
    half, most = (times[min(len(times) - 1, int(len(times) * part))] for part in (0.5, 0.95))
    step = next((size for size in SPANS if whole / size <= 4), math.ceil(whole / 4 / 86_400) * 86_400)
    return Durations(
        bars=tuple(_bars(counts, size, top, width)),
        times=tuple(Tick(round(100 * at / whole, 2), rounded(at) if at else "0") for at in range(0, whole + 1, step)),
        half=Tick(round(100 * half / whole, 2), rounded(half)),
        most=Tick(round(100 * most / whole, 2), rounded(most)),
    )


def _bars(counts: dict[str, list[int]], size: float, top: int, width: int) -> Iterator[Bar]:
    for number, both in enumerate(zip(*counts.values(), strict=True)):
        floor = 100.0
        for kind, count in zip(counts, both, strict=True):
            if count:
                height = 100 * count / top
                floor -= height
                text = f"{count:,} of {rounded(number * width)} to {rounded((number + 1) * width)}"
                yield Bar(kind, round(number * size, 2), round(size, 2), round(floor, 2), round(height, 2), text)
