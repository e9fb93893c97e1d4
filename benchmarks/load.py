"""Reading, validating and expanding a manifest of many short-form targets, beside a bare parse of the same file."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.child import measure
from benchmarks.table import Asked, Row

PARTS = ("read", "questions", "expand")


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    count, times = (5_000, 1) if asked.quick else (100_000, 3)
    pairs = [(measure("load:ours", count=count), measure("load:bare", count=count)) for _ in range(times)]
    ratio = statistics.median(sum(ours[part] for part in PARTS) / bare["seconds"] for ours, bare in pairs)
    each = ", ".join(f"{part} {statistics.median(ours[part] for ours, _ in pairs):.2f}" for part in PARTS)
    aside = f"CPU seconds: {each}; bare parse {statistics.median(bare['seconds'] for _, bare in pairs):.2f}"
    aside += f"; peak {pairs[0][0]['peak'] / 2**20:.0f} MB, bare {pairs[0][1]['peak'] / 2**20:.0f} MB"
    what = f"load, validate, expand {count:,} short-form targets"
    yield Row(what, ratio, "x", "yaml.load with the C loader", ("at most", 2.5), aside, {"pairs": pairs})


def manifest(count: int) -> bytes:
    """A manifest of that many short-form targets."""
    lines = (f"  - acme/service-{n:06}@main\n" for n in range(count))
    return ("version: 1\nname: many\nproviders: {travis: {type: travis}}\ntargets:\n" + "".join(lines)).encode()


def ours(count: int) -> dict[str, Any]:
    """Reads, validates and expands, as `run` does: before expanding it sees whether a provider is to be asked."""
    from orchestrator.manifest import expand, questions, read
    from orchestrator.providers import registry

    text = manifest(count)
    at = [time.process_time()]
    found = read("many.yaml", text, declarations=registry.known(), load=nothing)
    at.append(time.process_time())
    assert not questions(found)
    at.append(time.process_time())
    plan = expand(found, today=datetime.date(2026, 1, 5))
    at.append(time.process_time())
    assert len(plan.targets) == count
    return {part: later - earlier for part, earlier, later in zip(PARTS, at, at[1:], strict=False)}


def bare(count: int) -> dict[str, Any]:
    """Parses the same file and looks at nothing."""
    import yaml

    text = manifest(count)
    began = time.process_time()
    found = yaml.load(text, yaml.CSafeLoader)
    seconds = time.process_time() - began
    assert len(found["targets"]) == count
    return {"seconds": seconds}


def nothing(name: str) -> bytes:
    """Loads a file that a manifest names: these name none."""
    raise FileNotFoundError(name)
