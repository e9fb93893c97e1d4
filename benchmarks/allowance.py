"""How much of an allowance is used, on a server that keeps the rule exactly and is not written in Python."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import drive, window
from benchmarks.child import measure
from benchmarks.table import Asked, Row
from orchestrator.core.model import Limit

LATENCY = 0.05  # seconds
CONNECTIONS = 32


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    yield from _of(200, 1.0, 4 if asked.quick else 10)
    yield from _of(40, 3.0 if asked.quick else 30.0, 3)


def _of(calls: int, period: float, periods: int) -> Iterator[Row]:
    """One rule, used for so many periods."""
    with window.served(calls, period, LATENCY) as (port, stats):
        found = measure("allowance:ours", port=port, count=calls * periods, calls=calls, period=period)
        counted = stats()
    use = used(counted["stamps"], calls, period)
    rule = f"{calls} per {period:g} s"
    aside = f"{100 * use / (period + LATENCY) * period:.1f} % of the rule; worst window {counted['worst']} of {calls}"
    best = f"P/(P+L), L = {LATENCY * 1000:.0f} ms"
    yield Row(f"allowance of {rule}, used", 100 * use, "%", best, ("at least", 97.0), aside, {**found, "use": use})
    yield Row(f"allowance of {rule}, calls refused", counted["refused"], "", "the rule, kept exactly", ("at most", 0.0))


def used(stamps: Sequence[float], calls: int, period: float, latency: float = LATENCY) -> float:
    """The share of the best possible rate: so many calls in every period and latency, once it has started."""
    gaps = [later - earlier for earlier, later in zip(stamps, stamps[calls:], strict=False)]
    return (period + latency) / (sum(gaps) / len(gaps))


def ours(port: int, count: int, calls: int, period: float) -> dict[str, Any]:
    """Triggers that many targets within the rule."""
    import asyncio

    return asyncio.run(_ours(port, count, Limit("triggers", calls, period, written=True)))


async def _ours(port: int, count: int, rule: Limit) -> dict[str, Any]:
    to = drive.account(port, CONNECTIONS, (rule, *drive.COUNTED[1:]))
    with tempfile.TemporaryDirectory(prefix="benchmark-journal-") as folder:
        async with drive.journal_in(folder, time.time) as journal:
            await drive.make(journal, drive.targets(count), to, time.time())
            began = time.monotonic()
            await drive.engine(journal, time.time, ticks=time.monotonic, detach=True).run()
            return {"seconds": time.monotonic() - began}
