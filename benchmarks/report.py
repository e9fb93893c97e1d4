"""Writing the report of a large run that has ended, beside a bare read of the same events and a dump of them."""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

from benchmarks import drive
from benchmarks.child import measure
from benchmarks.table import Asked, Row

FORMATS = ("text", "json", "junit", "markdown", "html")


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    count, times = (2_000, 1) if asked.quick else (100_000, 3)
    with tempfile.TemporaryDirectory(prefix="benchmark-report-") as folder:
        measure("past:fill", folder=folder, count=count, triggered=count, ended=count)
        pairs = [(measure("report:ours", folder=folder), measure("report:bare", folder=folder)) for _ in range(times)]
    total = [
        statistics.median(ours["load"] + ours["json"] for ours, _ in pairs),
        statistics.median(b["seconds"] for _, b in pairs),
    ]
    each = ", ".join(f"{name} {statistics.median(ours[name] for ours, _ in pairs):.2f}" for name in ("load", *FORMATS))
    aside = f"{total[0]:.2f} s against {total[1]:.2f} s; seconds: {each}"
    what = f"report.json of {count:,} ended targets, from the journal"
    yield Row(what, total[0] / total[1], "x", "bare read, parse and dump", None, aside, {"pairs": pairs})


def ours(folder: str) -> dict[str, Any]:
    """Loads the history and renders it, in seconds."""
    return anyio.run(_ours, folder)


async def _ours(folder: str) -> dict[str, Any]:
    from orchestrator.journal.history import load
    from orchestrator.report import render
    from orchestrator.report.view import view

    began = time.monotonic()
    async with drive.journal_in(folder, time.time) as journal:
        report = view(drive.RUN, await load(journal, drive.RUN), time.time())
    found = {"load": time.monotonic() - began}
    for name in FORMATS:
        began = time.monotonic()
        render(report, name)
        found[name] = time.monotonic() - began
    return found


def bare(folder: str) -> dict[str, Any]:
    """Reads every event, parses its body and dumps all of them."""
    (path,) = Path(folder).glob("state.db")
    began = time.monotonic()
    db = sqlite3.connect(path)
    bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM event ORDER BY key") if body]
    json.dumps(bodies)
    return {"seconds": time.monotonic() - began, "events": len(bodies)}
