"""The forecast of a large plan, with what would help: simulated runs under Travis' own limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.child import forget_peak, measure, peak
from benchmarks.table import Asked, Row


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    sizes = [2_000] if asked.quick else [100_000, *([1_000_000] if asked.million else [])]
    for count in sizes:
        found = measure("forecast:ours", count=count)
        each = found["seconds"] / count * 1e6
        aside = f"{each:.0f} us a target, {found['trials']} more runs simulated; {found['peak'] / 1e6:.0f} MB"
        goal = ("at most", 10.0) if count == 100_000 else None
        yield Row(f"forecast of {count:,} targets", found["seconds"], "s", "", goal, aside, found)


def ours(count: int) -> dict[str, Any]:
    """Forecasts once, every third repository with several targets."""
    from orchestrator.core.model import Account, Plan, Target
    from orchestrator.forecast import forecast
    from orchestrator.providers.travis.declaration import DECLARATION

    repos = max(1, count // 3)
    targets = tuple(
        Target(f"travis:acme/r{n % repos}@b{n // repos}", "travis", f"acme/r{n % repos}", f"b{n // repos}")
        for n in range(count)
    )
    account = Account("travis", "travis", DECLARATION.url, limits=DECLARATION.limits)
    plan = Plan("benchmark", targets, {"travis": account})
    forget_peak()
    began = time.process_time()
    found = forecast(plan, {"travis": DECLARATION})
    seconds = time.process_time() - began
    return {"seconds": seconds, "trials": len(found.advice), "steps": found.steps, "held": peak()}
