"""Whole runs of more and more targets, all of them running at once: time, memory and journal of each stage.

In virtual time, with a service that remembers nothing and the real journal: read the manifest, make the run, trigger
and follow every build to its end, write the report.
"""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio

from benchmarks import drive, load, service
from benchmarks.child import forget_peak, measure, peak
from benchmarks.table import Asked, Row

SIZES = (1_000, 10_000, 100_000)
MILLION = 1_000_000
STAGES = ("plan", "make", "run", "report")
MB, KB = 2**20, 2**10


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    sizes = (200, 2_000) if asked.quick else (*SIZES, *([MILLION] if asked.million else ()))
    found = {size: measure("scale:ours", count=size) for size in sizes}
    for smaller, larger in pairwise(sizes):
        yield from _growth(smaller, larger, found)
    most, before = sizes[-1 - asked.million], sizes[-2 - asked.million]
    per_target = (found[most]["run"]["peak"] - found[before]["run"]["peak"]) / (most - before) / KB
    stages = ", ".join(f"{stage} {found[most][stage]['peak'] / MB:.0f}" for stage in STAGES)
    yield Row(
        f"memory of a whole run, {most:,} targets",
        found[most]["most"] / MB,
        "MB",
        goal=("at most", 350.0),
        aside=f"peaks in MB: {stages}",
        data={str(size): one for size, one in found.items()},
    )
    yield Row(f"memory while running, {before:,} to {most:,}", per_target, "KB a target", goal=("at most", 2.5))
    yield Row("journal of a whole run", found[most]["bytes"] / most, "bytes a target", aside=_events(found[most], most))


def _growth(smaller: int, larger: int, found: dict[int, dict[str, Any]]) -> Iterator[Row]:
    """How much more a target costs in the larger run than in the smaller one; 1 is linear."""
    one, other = found[smaller], found[larger]
    times = {stage: (other[stage]["cpu"] / larger) / (one[stage]["cpu"] / smaller) for stage in STAGES}
    whole = (_cpu(other) / larger) / (_cpu(one) / smaller)
    each = ", ".join(f"{stage} {other[stage]['cpu'] / larger * 1e6:,.0f} us ({times[stage]:.2f} x)" for stage in STAGES)
    what = f"CPU of a target, {larger:,} targets"
    yield Row(what, whole, "x", f"of a target, {smaller:,} targets", ("at most", 1.1), f"{each}; {_cpu(other):.1f} s")


def _cpu(one: dict[str, Any]) -> float:
    return float(sum(one[stage]["cpu"] for stage in STAGES))


def _events(one: dict[str, Any], count: int) -> str:
    return f"{one['events'] / count:.1f} events a target, {one['bytes'] / one['events']:.0f} bytes an event"


class Stages:
    """Seconds of CPU and peak memory of each stage."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        """A stage begins."""
        forget_peak()
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def end(self, stage: str) -> None:
        """It has ended, the next begins."""
        cpu, wall = time.process_time() - self._cpu, time.monotonic() - self._wall
        self.found[stage] = {"cpu": cpu, "seconds": wall, "peak": peak()}
        self.start()


def ours(count: int) -> dict[str, Any]:
    """A whole run of that many targets."""
    from trio.testing import MockClock

    clock = MockClock(autojump_threshold=0)
    with tempfile.TemporaryDirectory(prefix="benchmark-scale-") as folder:
        events, stages = anyio.run(_run, folder, count, backend="trio", backend_options={"clock": clock})
        size = sum(path.stat().st_size for path in Path(folder).glob("state.db*"))
    most = max(stage["peak"] for stage in stages.found.values())
    return {**stages.found, "most": most, "bytes": size, "events": events}


def targets(count: int) -> tuple[Any, ...]:
    """As many targets, out of a manifest."""
    from orchestrator.manifest import expand, read
    from orchestrator.providers import registry

    found = read("many.yaml", load.manifest(count), declarations=registry.known(), load=load.nothing)
    return expand(found, today=datetime.date(2026, 1, 5)).targets


async def _run(folder: str, count: int) -> tuple[int, Stages]:
    """The run, with as much kept from each stage to the next as the command line keeps.

    Returns:
        How many events it took, and what each stage cost.
    """
    from orchestrator.report import pieces, write
    from orchestrator.report.view import view

    stages = Stages()
    wanted = targets(count)
    stages.end("plan")
    async with drive.journal_in(folder, service.now) as journal:
        await drive.make(journal, wanted, service.account(), service.now())
        del wanted
        stages.end("make")
        engine = drive.engine(journal, service.now, service.line)
        code = await engine.run()
        stages.end("run")
        history = engine.history
        assert history is not None  # it ran
        del engine
        report = Path(folder) / "report.json"
        write(pieces(view(drive.RUN, history, service.now()), "json"), report)
        stages.end("report")
        text = report.read_text(encoding="utf-8")
    if code or text.count('"outcome": "passed"') != count:
        raise AssertionError(f"exit {code}, or not every target passed")
    return sum(history.cursor.values()), stages
