"""The HTML report of 10,000 targets in Chromium, beside the page of commit 18dc075 with the same data.

That page is kept in tests/data. It was written by the code of that commit (`git archive 18dc075`) from `night("in
doubt", 10_000)` of tests/nights.py, whose imports had other names then: `orchestrator.core.events` was
`orchestrator.events`, and so on.
"""

from __future__ import annotations

import lzma
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.child import measure
from benchmarks.table import Asked, Row

BEFORE = Path(__file__).parent.parent / "tests" / "data" / "page-18dc075.html.xz"
FIELDS = {"ours": "#find", "before": "#filter"}
# Seconds from an input event to the second frame after it, in which the page stands as it is to.
FILTER = """([field, text]) => new Promise((done) => {
  const box = document.querySelector(field), began = performance.now();
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - began) / 1000)));
})"""


class Beside(NamedTuple):
    """Seconds."""

    ours: float
    before: float


class Timed(NamedTuple):
    """What was measured of pages of the same targets, and how large ours is, in bytes."""

    load: Beside
    filter: Beside
    size: int


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    found = timed(10_000, times=1 if asked.quick else 5)
    for name, goal in (("load", 1 / 3), ("filter", 1 / 30)):
        ours, before = one = getattr(found, name)
        what, aside = f"the page of 10,000 targets: {name}", f"{1000 * ours:.0f} ms against {1000 * before:,.0f} ms"
        yield Row(what, ours / before, "x", "the page of 18dc075", ("at most", goal), aside, one._asdict())
    yield Row("the page of 10,000 targets: size", found.size / 2**20, "MiB", goal=("at most", 1.0))
    if not asked.quick:
        many = timed(100_000, times=3, beside=False)
        aside = f"{many.size / 2**20:.1f} MiB, filter {1000 * many.filter.ours:.0f} ms"
        yield Row("the page of 100,000 targets: load", many.load.ours, "s", aside=aside)


def timed(count: int, times: int, *, beside: bool = True) -> Timed:
    """How long pages take to load, and to show all again after a filter, in seconds; medians.

    Args:
        beside: whether the page of before is measured too; it has 10,000 targets.
    """
    found = measure("page:browsed", count=count, times=times, beside=beside)
    load, filtered = (
        Beside(*(statistics.median(found[name].get(which, [0.0])) for which in FIELDS)) for name in ("load", "filter")
    )
    return Timed(load, filtered, found["size"])


def browsed(count: int, times: int, *, beside: bool) -> dict[str, Any]:
    """Every time that was measured, by what it is and by the page, in a process that has no other browser."""
    from orchestrator.report import render
    from orchestrator.report.view import view
    from tests.browser import chromium
    from tests.nights import night

    story = night("in doubt", count)
    page = render(view(story.run_id, story.history, story.now), "html").encode()
    pages = {"ours": page, "before": lzma.decompress(BEFORE.read_bytes())} if beside else {"ours": page}
    seen: dict[str, Any] = {name: {which: [] for which in pages} for name in ("load", "filter")}
    with tempfile.TemporaryDirectory(prefix="benchmark-page-") as folder, chromium() as browser:
        for which, text in pages.items():
            (Path(folder) / which).with_suffix(".html").write_bytes(text)
        for _ in range(times):
            for which in pages:
                loaded, filtered = _once(browser, (Path(folder) / which).with_suffix(".html"), FIELDS[which])
                seen["load"][which].append(loaded)
                seen["filter"][which].append(filtered)
    return {**seen, "size": len(page)}


def _once(browser: Any, file: Path, field: str) -> tuple[float, float]:
    """From the beginning of the navigation to the second frame after the load; and from clearing a filter."""
    from tests.browser import SETTLED

    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(file.as_uri())
    loaded = page.evaluate(SETTLED) / 1000
    page.evaluate(FILTER, [field, "acme"])
    filtered = page.evaluate(FILTER, [field, ""])
    page.close()
    return loaded, filtered
