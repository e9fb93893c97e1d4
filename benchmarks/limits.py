"""Our limiter beside those of others: the share of an allowance it uses, refusals, fairness, CPU.

Servers that are not written in Python keep the rule: an exact sliding window (`window.c`), near and far away, and
nginx' `limit_req`. Every limiter drives the same tasks over the same transport.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import limit_req, window
from benchmarks.allowance import used
from benchmarks.child import Failed, measure
from benchmarks.limiters import LIMITERS, Make, nothing
from benchmarks.table import Asked, Beside, Row
from orchestrator.provider import Answer

CALLS, PER = 100, 1.0  # the rule
TASKS = 140  # more than the rule has calls: who holds a permit asleep needs a task for each
SERVERS = {  # and seconds from a call's arrival to its answer
    "window, 20 ms": (window.served, 0.02),
    "window, 200 ms": (window.served, 0.2),
    "limit_req, 50 ms": (limit_req.served, 0.05),
}
CROWD, CROWD_CALLS, CROWD_LATENCY = 1000, 500, 0.01  # tasks that wait while the CPU of a permit is measured; their rule
PACKAGES = {"aiolimiter": "aiolimiter", "pyrate_limiter": "pyrate-limiter", "throttled": "throttled-py"}


def rows(asked: Asked) -> Iterator[Row | Beside]:
    """The figures.

    Raises:
        Failed: a library is missing.
    """
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise Failed(f"not installed: {', '.join(missing)}; pip install 'batch-trigger-orchestrator[bench]'")
    times, seconds = (1, 3.0) if asked.quick else (3, 12.0)
    found: dict[str, dict[str, Any]] = {}
    pairs = [(name, server) for name in LIMITERS for server in SERVERS]
    with ThreadPoolExecutor(len(pairs) if asked.quick else len(SERVERS)) as pool:  # a run is mostly asleep
        for (name, server), one in zip(pairs, pool.map(lambda pair: _at(*pair, seconds), pairs), strict=True):
            found.setdefault(name, {})[server] = one
    for name, micro in _costs(times, 1.0 if asked.quick else 3.0).items():
        found[name]["micro"] = micro
    yield from _judged(found["ours"])
    yield _beside(found)


def _at(name: str, server: str, seconds: float) -> dict[str, Any]:
    """One limiter at one server."""
    serve, latency = SERVERS[server]
    with serve(CALLS, PER, latency) as (port, stats):
        found = measure("limits:run", limiter=name, port=port, seconds=seconds)
        counted = stats()
    return {**found, **counted, "use": used(counted.pop("stamps"), CALLS, PER, latency)}


def run(limiter: str, port: int, seconds: float) -> dict[str, Any]:
    """Calls a server for so long, with many tasks, as often as the limiter lets them."""
    return asyncio.run(_run(limiter, port, seconds))


async def _run(limiter: str, port: int, seconds: float) -> dict[str, Any]:
    import aiohttp

    url, body = f"http://127.0.0.1:{port}/repo/acme%2Fa/requests", {"request": {"branch": "main"}}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def make() -> Answer:
            async with session.post(url, json=body) as response:
                text = await response.read()
                return Answer(response.status, json.loads(text) if response.status == 202 else None, response.headers)

        async with _working(LIMITERS[limiter](make, CALLS, PER), TASKS) as made:
            await asyncio.sleep(seconds)
            return {"spread": max(made) - min(made)}


def cost(limiter: str, seconds: float) -> dict[str, Any]:
    """CPU of a call that only sleeps, among many tasks that wait for a permit."""
    return asyncio.run(_cost(limiter, seconds))


async def _cost(limiter: str, seconds: float) -> dict[str, Any]:
    receipt = {"@type": "pending", "request": {"id": 1}, "remaining_requests": 9}

    async def make() -> Answer:
        await asyncio.sleep(CROWD_LATENCY)
        return Answer(202, receipt, {})

    limited = {**LIMITERS, "nothing": nothing}[limiter](make, CROWD_CALLS, PER)
    async with _working(limited, CROWD) as made:
        await asyncio.sleep(PER / 2)  # all have started
        worked, before = time.process_time(), sum(made)
        await asyncio.sleep(seconds)
        return {"micro": (time.process_time() - worked) / (sum(made) - before) * 1e6}


@asynccontextmanager
async def _working(call: Make, tasks: int) -> AsyncIterator[list[int]]:
    """How many calls each of so many tasks has made; they work until this is left."""
    made = [0] * tasks

    async def work(number: int) -> None:
        while True:
            await call()
            made[number] += 1

    working = [asyncio.create_task(work(number)) for number in range(tasks)]
    try:
        yield made
    finally:
        for task in working:
            task.cancel()
        ended = await asyncio.gather(*working, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            raise AssertionError("a task ended before its time") from error


def _costs(times: int, seconds: float) -> dict[str, float]:
    """Microseconds of CPU that a permit costs with each limiter, in turns, so that all see the same noise."""
    found: dict[str, list[float]] = {name: [] for name in LIMITERS}
    for _ in range(times):
        bare = measure("limits:cost", limiter="nothing", seconds=1.0)["micro"]
        for name in LIMITERS:
            found[name].append(measure("limits:cost", limiter=name, seconds=seconds)["micro"] - bare)
    return {name: statistics.median(all_) for name, all_ in found.items()}


def _judged(ours: Mapping[str, Any]) -> Iterator[Row]:
    """The goals for ours."""
    for server, (_, latency) in SERVERS.items():
        best, at = f"P/(P+L), L = {latency * 1000:.0f} ms", ours[server]
        yield Row(f"our limiter, {server}, used", 100 * at["use"], "%", best, ("at least", 97.0), "", at)
        yield Row(f"our limiter, {server}, calls refused", at["refused"], "", "", ("at most", 0.0))


def _beside(found: Mapping[str, Mapping[str, Any]]) -> Beside:
    heads = [head for server in SERVERS for head in (f"{server}: used", "refused", "worst window", "spread")]
    return Beside(
        f"Limiters side by side, {CALLS} calls per {PER:g} s, {TASKS} tasks",
        ("limiter", *heads, f"CPU of a permit, {CROWD} waiting"),
        tuple(_line(name, one) for name, one in found.items()),
        NOTES,
    )


def _line(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    cells = [name]
    for server in SERVERS:
        at = one[server]
        cells += [f"{100 * at['use']:.1f} %", str(at["refused"]), str(at["worst"]), str(at["spread"])]
    return (*cells, f"{one['micro']:.0f} us")


NOTES = ("used: of P/(P+L), the most that is possible without a refusal for who cannot know when the server counts;",)
