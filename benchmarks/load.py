"""Reading, validating and expanding a manifest of many short-form targets, beside a bare parse of the same file."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.child import measure
from benchmarks.table import Asked, Row


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    count, times = (5_000, 1) if asked.quick else (100_000, 3)
    pairs = [(measure("load:ours", count=count), measure("load:bare", count=count)) for _ in range(times)]
    ratio = statistics.median(ours["seconds"] / bare["seconds"] for ours, bare in pairs)
    seconds = [statistics.median(pair[which]["seconds"] for pair in pairs) for which in (0, 1)]
    aside = f"{seconds[0]:.2f} s against {seconds[1]:.2f} s; peak {pairs[0][0]['peak'] / 2**20:.0f} MB"
    what = f"load, validate, expand {count:,} short-form targets"
    yield Row(what, ratio, "x", "yaml.load with the C loader", ("at most", 2.5), aside, {"pairs": pairs})


def manifest(count: int) -> bytes:
    """A manifest of that many short-form targets."""
    lines = (f"  - acme/service-{n:06}@main\n" for n in range(count))
    return ("version: 1\nname: many\nproviders: {travis: {type: travis}}\ntargets:\n" + "".join(lines)).encode()


def ours(count: int) -> dict[str, Any]:
    """Reads, validates and expands."""
    from orchestrator import registry
    from orchestrator.manifest import expand, questions, read

    text = manifest(count)
    began = time.monotonic()
    found = read("many.yaml", text, declarations=registry.known(), load=nothing)
    assert not questions(found)
    plan = expand(found, today=datetime.date(2026, 1, 5))
    seconds = time.monotonic() - began
    assert len(plan.targets) == count
    return {"seconds": seconds}


def bare(count: int) -> dict[str, Any]:
    """Parses the same file and looks at nothing."""
    import yaml

    text = manifest(count)
    began = time.monotonic()
    found = yaml.load(text, yaml.CSafeLoader)
    seconds = time.monotonic() - began
    assert len(found["targets"]) == count
    return {"seconds": seconds}


def nothing(name: str) -> bytes:
    """Loads a file that a manifest names: these name none."""
    raise FileNotFoundError(name)
