"""One self-contained page: the numbers, builds over time, and a table with a filter. It loads nothing from anywhere.

Everything from outside goes through autoescaping, and the page's own policy allows no script but ours.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import accumulate

import jinja2

from orchestrator.core.frozen import Struct
from orchestrator.core.times import clock, counted, duration
from orchestrator.report.formats.text import forecast_lines, headline, wave_lines
from orchestrator.report.groups import ORDER, causes, counts, flake_line, groups, reason_of, word_of
from orchestrator.report.view import Report, Row
from orchestrator.report.words import epoch, link, plain

CAUSES_AT_MOST = 50
AT_MOST = 10_000  # rows; a browser that gets more is of no use
STEPS = 240
WIDTH, HEIGHT = 960, 180


class Count(Struct, frozen=True):
    """A number of targets, with the share of the whole that it is, in percent."""

    number: int
    word: str
    share: float

    @property
    def kind(self) -> str:
        """The word as a style's name."""
        return _kind(self.word)


class Told(Struct, frozen=True):
    """What so many logs say; the end of one of them is shown."""

    text: str
    number: int
    row: Row


def render(report: Report, *, at_most: int = AT_MOST) -> str:
    """The page.

    Args:
        at_most: rows in the table; what did not pass comes first.
    """
    script, style = _page("page.js"), _page("page.css")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "plain": plain,
        "duration": duration,
        "link": link,
        "kind": _kind,
        "word": word_of,
        "why": reason_of,
    }
    total = max(1, report.totals["targets"])
    return environment.from_string(_page("page.html")).render(
        report=report,
        headline=headline(report),
        causes=[Told(one.text, len(one.rows), one.rows[0]) for one in causes(report)[:CAUSES_AT_MOST]],
        flaky=flake_line(report),
        waves=[line.strip() for line in wave_lines(report)],
        foreseen=list(forecast_lines(report.forecast)) if report.forecast is not None else [],
        title=plain(report.run.name) or report.run.id,
        counts=[Count(number, word, 100 * number / total) for number, word in counts(report)],
        rows=_rows(report, at_most),
        left_out=counted(max(0, len(report.targets) - at_most), "target"),
        is_cut=len(report.targets) > at_most,
        chart=chart(report.targets, report.as_of),
        script=script,
        style=style,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _page(name: str) -> str:
    return (files("orchestrator.report") / "page" / name).read_text(encoding="utf-8")


def _rows(report: Report, at_most: int) -> Sequence[Row]:
    """What did not pass, in the order of `groups`, then what passed."""
    first = [row for group in groups(report) for row in group.rows]
    passed = (row for row in report.targets if row.outcome == "passed")
    return [*first, *passed][:at_most]


def _kind(word: str) -> str:
    """A word of ours as a style's name; whatever else it is, it is harmless."""
    return word.replace(" ", "-") if word in (*ORDER, "passed") else "open"


# the chart: how many of the builds of the run were queued, and how many ran, over time


class Tick(Struct, frozen=True):
    """A mark on an axis: its position in the drawing, and its text."""

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
