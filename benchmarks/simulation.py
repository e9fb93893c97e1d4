"""Seeded schedules of failures a second, on one core; the simulation itself lives with the tests."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.child import measure
from benchmarks.table import Asked, Row


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    found = measure("simulation:seeds", count=30 if asked.quick else 1_000)
    aside = f"{found['seeds']} seeds in {found['seconds']:.1f} s of one core, {found['wrong']} with problems"
    yield Row("simulation, seeds", found["seeds"] / found["seconds"], "a second", "", ("at least", 100.0), aside, found)


def seeds(count: int) -> dict[str, Any]:
    """Plays that many schedules and judges each."""
    from tests.simulation.oracle import problems
    from tests.simulation.play import play
    from tests.simulation.plots import schedule_of

    gc.freeze()  # as the command line does
    began, wrong = time.process_time(), 0
    for seed in range(count):
        wrong += bool(problems(play(schedule_of(seed))))
    return {"seeds": count, "seconds": time.process_time() - began, "wrong": wrong}
