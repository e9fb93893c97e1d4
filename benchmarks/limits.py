"""Our limiter beside those of others: the share of an allowance it uses, refusals, fairness, CPU.

Two servers that are not written in Python keep the rule: an exact sliding window (`window.c`) and nginx' `limit_req`.
Every limiter drives the same tasks over the same transport.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import limit_req, window
from benchmarks.allowance import LATENCY, used
from benchmarks.child import Failed, measure
from benchmarks.limiters import LIMITERS, Make, nothing
from benchmarks.table import Asked, Beside, Row
from orchestrator.provider import Answer

CALLS, PER = 100, 1.0  # the rule
TASKS = 128  # more than the rule has calls: who holds a permit asleep needs a task for each
CROWD = 1000  # tasks that wait while the CPU of a permit is measured
CROWD_CALLS, CROWD_LATENCY = 500, 0.01
SERVERS = {"sliding window": window.served, "limit_req": limit_req.served}
PACKAGES = {"aiolimiter": "aiolimiter", "pyrate_limiter": "pyrate-limiter", "throttled": "throttled-py"}


def rows(asked: Asked) -> Iterator[Row | Beside]:
    """The figures.

    Raises:
        Failed: a library is missing.
    """
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise Failed(f"{', '.join(missing)} not installed; pip install 'batch-trigger-orchestrator[bench]'")
    seconds, crowd = (3.0, 1.5) if asked.quick else (10.0, 4.0)
    with ThreadPoolExecutor(len(LIMITERS) if asked.quick else 1) as pool:  # one at a time, where figures matter
        found = dict(zip(LIMITERS, pool.map(lambda name: _of(name, seconds, crowd), LIMITERS), strict=True))
    yield from _judged(found)
    yield _beside(found, measure("limits:cost", limiter="nothing", seconds=crowd)["micro"])


def _of(name: str, seconds: float, crowd: float) -> dict[str, Any]:
    """Everything about one limiter."""
    found: dict[str, Any] = {server: _at(server, name, seconds) for server in SERVERS}
    return {**found, **measure("limits:cost", limiter=name, seconds=crowd)}


def _at(server: str, name: str, seconds: float) -> dict[str, Any]:
    with SERVERS[server](CALLS, PER, LATENCY) as (port, stats):
        found = measure("limits:run", limiter=name, port=port, seconds=seconds)
        counted = stats()
    stamps = counted.pop("stamps")
    use = used(stamps, CALLS, PER) if len(stamps) > CALLS else 0.0
    return {**found, **counted, "use": use}


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

        made = await _crowd(LIMITERS[limiter](make, CALLS, PER), TASKS, seconds)
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
    worked = time.process_time()
    made = await _crowd(limited, CROWD, seconds)
    return {"micro": (time.process_time() - worked) / sum(made) * 1e6}


async def _crowd(call: Make, tasks: int, seconds: float) -> list[int]:
    """How many calls each of so many tasks made until the time was over."""
    made = [0] * tasks

    async def work(number: int) -> None:
        while True:
            await call()
            made[number] += 1

    working = [asyncio.create_task(work(number)) for number in range(tasks)]
    await asyncio.wait(working, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in working:
        task.cancel()
    for ended in await asyncio.gather(*working, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise AssertionError("a task ended before its time") from ended
    return made


def _judged(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """The goals for ours."""
    for server in SERVERS:
        ours = found["ours"][server]
        best = f"P/(P+L), L = {LATENCY * 1000:.0f} ms"
        yield Row(f"our limiter, {server}, used", 100 * ours["use"], "%", best, ("at least", 97.0), "", ours)
        yield Row(f"our limiter, {server}, calls refused", ours["refused"], "", "", ("at most", 0.0))
        yield Row(f"our limiter, {server}, worst window", ours["worst"], "calls", "the rule", ("at most", CALLS))


def _beside(found: Mapping[str, Mapping[str, Any]], bare: float) -> Beside:
    head = ["limiter"]
    for server in SERVERS:
        head += [f"{server}: used", "refused", "worst window", "spread"]
    lines = [_line(name, one, bare) for name, one in found.items()]
    title = f"Limiters side by side, {CALLS} calls per {PER:g} s, {TASKS} tasks, answers after {LATENCY * 1000:.0f} ms"
    return Beside(title, (*head, f"CPU a permit, {CROWD} waiting"), tuple(lines), NOTES)


def _line(name: str, one: Mapping[str, Any], bare: float) -> tuple[str, ...]:
    cells = [name]
    for server in SERVERS:
        at = one[server]
        cells += [f"{100 * at['use']:.1f} %", str(at["refused"]), str(at["worst"]), str(at["spread"])]
    return (*cells, f"{one['micro'] - bare:.0f} us")


NOTES = ("used: of P/(P+L), the most that is possible without a refusal for who cannot know when the server counts;",)
