"""What it costs to follow the builds of one owner: the real provider against the sandbox in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio

from benchmarks import drive
from benchmarks.child import measure
from benchmarks.table import Asked, Row
from orchestrator.core.calls import Answer, Call
from orchestrator.core.model import Account, Limit, Target
from orchestrator.core.next_step import NARROWEST
from orchestrator.providers.port import Line

EPOCH = 1_767_571_200.0
BUILD, INTERVAL = 1.2, 1.0  # calls: for a build, and for an interval between looks
OFTEN = (Limit("triggers", 4_000, 30.0), Limit("calls", 100_000, 60.0), Limit("triggers_per_repo", 10, 3600.0, "repo"))


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    count = 100 if asked.quick else 1_000
    for concurrency in (20, count):
        found = measure("following:ours", count=count, concurrency=concurrency)
        allowed = BUILD * count + INTERVAL * found["intervals"]
        what = f"calls to follow {count:,} builds of one owner, {concurrency:,} at a time"
        kinds = ", ".join(f"{path} {number}" for path, number in found["paths"].items())
        aside = f"{found['polls']:,} calls, {found['intervals']:,} intervals of {NARROWEST:g} s with a look; {kinds}"
        yield Row(what, found["polls"] / allowed, "x", "1.2 a build + 1 an interval", ("at most", 1.0), aside, found)


def ours(count: int, concurrency: int) -> dict[str, Any]:
    """Triggers and follows that many builds to their end."""
    from trio.testing import MockClock

    return anyio.run(
        _ours, count, concurrency, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)}
    )


async def _ours(count: int, concurrency: int) -> dict[str, Any]:
    from orchestrator.lookalike.travis import TravisLookAlike
    from orchestrator.lookalike.travis.settings import Settings, numbered
    from orchestrator.providers.travis.declaration import DECLARATION
    from orchestrator.providers.travis.provider import Travis

    repos = numbered(count)
    rules = {"burst": None, "minute": None, "concurrency": concurrency}
    world = TravisLookAlike(Settings(repos=repos, latency=(0.05, 0.2), **rules))
    polls: list[tuple[float, str]] = []
    inner = world.send(now, anyio.sleep, Random(1))

    async def send(call: Call) -> Answer:
        if call.purpose == "poll":
            polls.append((anyio.current_time(), _kind(call.path)))
        return await inner(call)

    @asynccontextmanager
    async def line(account: Account) -> AsyncIterator[Line]:
        yield Line(account, DECLARATION, send, lambda send: Travis(account, send, lambda reference: ""), "hash")

    wanted = [Target(f"travis:{repo.slug}@main", "travis", repo.slug, "main") for repo in repos]
    async with drive.journal_in(None, now) as journal:
        await drive.make(journal, wanted, Account("travis", "travis", DECLARATION.url, limits=OFTEN), now())
        code = await drive.engine(journal, now, line).run()
    if code:
        raise AssertionError(f"exit {code}")
    intervals = len({at // NARROWEST for at, _ in polls})
    return {"polls": len(polls), "intervals": intervals, "paths": Counter(kind for _, kind in polls)}


def now() -> float:
    """Virtual wall clock."""
    return EPOCH + anyio.current_time()


def _kind(path: str) -> str:
    return next((kind for kind in ("active", "request") if f"/{kind}" in path), "builds")
