"""One self-contained page: the numbers, builds over time, and a table with a filter. It loads nothing from anywhere.

Everything from outside goes through autoescaping; besides, the page's own policy lets no script run but ours.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

import jinja2

from orchestrator.core.frozen import Struct
from orchestrator.report.formats.chart import chart
from orchestrator.report.formats.text import foreseen_lines, headline
from orchestrator.report.groups import ORDER, counts, groups, word_of
from orchestrator.report.view import Report, Row
from orchestrator.report.words import counted, duration, link, plain

AT_MOST = 10_000  # rows; a browser that gets more is no help to anybody


class Count(Struct, frozen=True):
    """A number of targets, with the share of the whole that it is, in percent."""

    number: int
    word: str
    share: float

    @property
    def kind(self) -> str:
        """The word as a style's name."""
        return _kind(self.word)


def render(report: Report, *, at_most: int = AT_MOST) -> str:
    """The page.

    Args:
        at_most: rows in the table; what did not pass comes first.
    """
    script, style = _page("page.js"), _page("page.css")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"plain": plain, "duration": duration, "link": link, "kind": _kind, "word": word_of}
    total = max(1, report.totals["targets"])
    return environment.from_string(_page("page.html")).render(
        report=report,
        headline=headline(report),
        foreseen=list(foreseen_lines(report.forecast)) if report.forecast is not None else [],
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
