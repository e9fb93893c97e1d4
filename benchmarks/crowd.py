"""Many tasks that call through one limiter, each as soon as it may: at a server, and asleep to measure the CPU."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.limiters import LIMITERS, Make, nothing
from orchestrator.core.calls import Answer

CALLS, PER = 100, 1.0  # the rule
TASKS = 140  # more than the rule has calls: who holds a permit asleep needs a task for each
CROWD, CROWD_CALLS, CROWD_LATENCY = 1000, 500, 0.01  # tasks that wait while the CPU of a permit is measured; their rule


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
