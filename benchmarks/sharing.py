"""What it costs that processes share the limits of a principal: CPU and rate of a trigger, alone and beside another."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import drive, nginx
from benchmarks.child import measure
from benchmarks.table import Row
from orchestrator.core.frozen import replace

CONNECTIONS = 32
LONG = 60.0  # seconds; the limits of so long a period are shared, of a short one they are not


def rows(count: int, times: int) -> Iterator[Row]:
    """The figures."""
    with nginx.served() as port:
        found = [  # in turns, so that all see the same noise
            (_drive(port, count, 1, 1.0), _drive(port, count, 1, LONG), _drive(port, count, 2, LONG))
            for _ in range(times)
        ]
    private, alone, beside = ({key: _median(found, which, key) for key in ("work", "seconds")} for which in range(3))
    for what, one in (("alone", alone), ("beside another process", beside)):
        extra = (one["work"] - private["work"]) / count * 1e6
        aside = f"{count / one['seconds']:,.0f} triggers/s in all, not shared {count / private['seconds']:,.0f}/s"
        yield Row(f"limits shared through the state, {what}", extra, "us", "limits that are not", None, aside, one)


def _median(found: Sequence[tuple[dict[str, float], ...]], which: int, key: str) -> float:
    return statistics.median(one[which][key] for one in found)


def _drive(port: int, count: int, processes: int, per: float) -> dict[str, float]:
    """Triggers so many targets with so many processes; their CPU together, and the time of the slowest."""
    with tempfile.TemporaryDirectory(prefix="benchmark-journal-") as folder, ThreadPoolExecutor(processes) as pool:
        shared = {"port": port, "count": count, "folder": folder, "processes": processes, "per": per}
        found = list(pool.map(lambda number: measure("sharing:ours", number=number, **shared), range(processes)))
    return {"work": sum(one["work"] for one in found), "seconds": max(one["seconds"] for one in found)}


def ours(port: int, count: int, folder: str, processes: int, number: int, per: float) -> dict[str, Any]:
    """One process' part of the targets, when all processes are there."""
    return asyncio.run(_ours(port, count, folder, processes, number, per))


async def _ours(port: int, count: int, folder: str, processes: int, number: int, per: float) -> dict[str, Any]:
    limits = tuple(replace(limit, per=per) for limit in drive.COUNTED)
    to, run = drive.account(port, CONNECTIONS, limits), f"{drive.RUN}-{number}"
    async with drive.journal_in(folder, time.time) as journal:
        await drive.make(journal, drive.targets(count, marked=False)[number::processes], to, time.time(), run)
        while len(await journal.runs()) < processes:  # noqa: ASYNC110  # another process cannot set an event of ours
            await asyncio.sleep(0.01)
        began, worked = time.monotonic(), time.process_time()
        await drive.engine(journal, time.time, ticks=time.monotonic, run=run, detach=True).run()
        return {"seconds": time.monotonic() - began, "work": time.process_time() - worked}
