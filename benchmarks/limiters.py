"""Limiters side by side, each as its own documentation has it, around one function that makes a call.

`ours` is the gate that the engine sends through, with Travis' declaration; nothing of it is left out but other
processes. The libraries come with the extra `bench`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from random import Random
from typing import TypeAlias

from orchestrator.core.calls import Answer, Call
from orchestrator.core.model import Account, Limit

Make: TypeAlias = Callable[[], Awaitable[Answer]]
"""Makes one call, whatever the limit."""

WAITS = 3600.0  # seconds; where a limiter wants to know how long it may wait


def ours(make: Make, calls: int, per: float) -> Make:
    """The gate of an account over its budget."""
    from orchestrator.engine.gate import Gate, Sender
    from orchestrator.engine.run import Clocks
    from orchestrator.limits.budget import Budget
    from orchestrator.limits.rules import Traffic
    from orchestrator.providers import registry
    from orchestrator.providers.port import Line

    travis = registry.declaration("travis")
    account = Account("travis", "travis", travis.url, limits=(Limit("triggers", calls, per, written=True),))
    call = Call("POST", "/repo/acme%2Fa/requests", purpose="trigger", limits=travis.trigger_limits, repo="acme/a")
    line = Line(account, travis, lambda call: make(), lambda send: None, "hash")  # type: ignore[arg-type,return-value]  # nobody asks for a provider
    clocks = Clocks(time.time, time.monotonic, time.monotonic, 0.0)
    budget = Budget(account.limits, travis.accepted_limits)
    gate = Gate(Sender(line, budget, Traffic(), clocks, Random(1), reach=WAITS), None)
    return lambda: gate.send(call)


def aiolimiter(make: Make, calls: int, per: float) -> Make:
    """A leaky bucket."""
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(calls, per)

    async def call() -> Answer:
        async with limiter:
            return await make()

    return call


def pyrate(make: Make, calls: int, per: float) -> Make:
    """A sliding log, by the millisecond."""
    from pyrate_limiter import Limiter, Rate

    limiter = Limiter(Rate(calls, round(per * 1000)))

    async def call() -> Answer:
        await limiter.try_acquire_async("travis")
        return await make()

    return call


def throttled(make: Make, calls: int, per: float) -> Make:
    """A sliding window, guessed from the counts of two fixed ones."""
    from throttled.asyncio import MemoryStore, RateLimiterType, Throttled, per_duration

    limiter = Throttled(
        key="travis",
        using=RateLimiterType.SLIDING_WINDOW.value,
        quota=per_duration(timedelta(seconds=per), limit=calls),
        store=MemoryStore(),
        timeout=WAITS,
    )

    async def call() -> Answer:
        while (await limiter.limit()).limited:
            pass  # it has waited, and somebody else was faster
        return await make()

    return call


def semaphore(make: Make, calls: int, per: float) -> Make:
    """A semaphore that each task holds until a period after its answer, asleep."""
    permits = asyncio.Semaphore(calls)

    async def call() -> Answer:
        async with permits:
            answer = await make()
            await asyncio.sleep(per)
            return answer

    return call


def nothing(make: Make, calls: int, per: float) -> Make:
    """No limiter: what a call costs by itself."""
    return make


LIMITERS: Mapping[str, Callable[[Make, int, float], Make]] = {
    "ours": ours,
    "aiolimiter": aiolimiter,
    "pyrate-limiter": pyrate,
    "throttled-py": throttled,
    "semaphore, sleep": semaphore,
}
