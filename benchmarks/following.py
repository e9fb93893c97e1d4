"""What it costs to follow many builds: the real providers against the sandbox in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio

from benchmarks import drive
from benchmarks.child import measure
from benchmarks.table import Asked, Row
from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.model import Account, Causes, Limit, Target
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
        kinds = ", ".join(f"{path} {number}" for path, number in found["kinds"].items())
        aside = f"{found['polls']:,} calls, {found['intervals']:,} intervals of {NARROWEST:g} s with a look; {kinds}"
        yield Row(what, found["polls"] / allowed, "x", "1.2 a build + 1 an interval", ("at most", 1.0), aside, found)
    found = measure("following:runs", count=count)
    graphql, reads = found["kinds"]["graphql"], found["kinds"].get("run", 0) + found["kinds"].get("log", 0)
    aside = f"{graphql:,} calls of GraphQL, {found['followed']:,.0f} intervals of {NARROWEST:g} s, summed over the runs"
    what = f"calls of GraphQL for a GitHub run and interval, {count:,} runs"
    yield Row(what, graphql / found["followed"], "", "0.05 a run and interval", ("at most", 0.05), aside, found)
    what = f"reads of a GitHub run and its logs, {count:,} runs, 5 % fail"
    yield Row(what, reads / count, "", "2.2 a run", ("at most", 2.2), f"{reads:,} reads, all ended: {found['ended']:,}")
    for title, measured in (("Buildkite", "following:listed"), ("Buildbot", "following:requests")):
        found = measure(measured, count=count)
        kinds = ", ".join(f"{path} {number}" for path, number in found["kinds"].items())
        aside = f"{kinds}; {found['followed']:,.0f} intervals of {NARROWEST:g} s, summed over the builds"
        what = f"calls for 100 {title} builds and interval, {count:,} builds"
        pages = 100 * found["polls"] / found["followed"]
        yield Row(what, pages, "", "a page for 100 builds", ("at most", 1.0), aside, found)


def ours(count: int, concurrency: int) -> dict[str, Any]:
    """Triggers and follows that many builds on Travis to their end."""
    return _virtual(_builds, count, concurrency)


def runs(count: int) -> dict[str, Any]:
    """The same with runs on GitHub, within its own limits."""
    return _virtual(_runs, count)


def listed(count: int) -> dict[str, Any]:
    """The same with builds on Buildkite, of which it limits the calls of a user far below what is measured here."""
    return _virtual(_listed, count)


def requests(count: int) -> dict[str, Any]:
    """The same with requests on Buildbot."""
    return _virtual(_requests, count)


def _virtual(what: Callable[..., Awaitable[dict[str, Any]]], *args: int) -> dict[str, Any]:
    from trio.testing import MockClock

    return anyio.run(what, *args, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


async def _builds(count: int, concurrency: int) -> dict[str, Any]:
    from orchestrator.lookalike.travis import TravisLookAlike
    from orchestrator.lookalike.travis.settings import Settings, numbered
    from orchestrator.providers.travis.declaration import DECLARATION
    from orchestrator.providers.travis.provider import Travis

    repos = numbered(count)
    rules = {"burst": None, "minute": None, "concurrency": concurrency}
    world = TravisLookAlike(Settings(repos=repos, latency=(0.05, 0.2), **rules))
    wanted = [Target(f"travis:{repo.slug}@main", "travis", repo.slug, "main") for repo in repos]
    account = Account("travis", "travis", DECLARATION.url, limits=OFTEN)
    return await _followed(world, account, wanted, lambda to, send: Line(
        to, DECLARATION, send, lambda send: Travis(to, send, lambda reference: ""), "hash"
    ))  # fmt: skip


async def _runs(count: int) -> dict[str, Any]:
    from orchestrator.lookalike.github import GitHubLookAlike
    from orchestrator.lookalike.github.settings import RepoSpec, Settings, Shares
    from orchestrator.providers.github.declaration import DECLARATION
    from orchestrator.providers.github.provider import GitHub

    slugs = [f"acme/svc-{n:04}" for n in range(count)]
    specs = tuple(RepoSpec(slug) for slug in slugs)
    settings = Settings(repos=specs, build=(600.0, 1800.0), concurrency=count, shares=Shares(failed=0.05))
    wanted = [Target(f"github:{slug}@main", "github", slug, "main", request={"workflow": "ci.yml"}) for slug in slugs]
    account = Account("github", "github", DECLARATION.url, limits=DECLARATION.limits, triggers_at_once=1)
    return await _followed(GitHubLookAlike(settings), account, wanted, lambda to, send: Line(
        to, DECLARATION, send, lambda send: GitHub(to, send, lambda reference: ""), "hash"
    ), failing=True)  # fmt: skip


async def _listed(count: int) -> dict[str, Any]:
    from orchestrator.lookalike.buildkite import BuildkiteLookAlike
    from orchestrator.lookalike.buildkite.settings import RepoSpec, Settings, Shares
    from orchestrator.providers.buildkite.declaration import DECLARATION
    from orchestrator.providers.buildkite.provider import Buildkite

    slugs = [f"acme/svc-{n:04}" for n in range(count)]
    often = {"user_calls": 100_000, "calls": 100_000, "build": (600.0, 1800.0), "concurrency": count}
    world = BuildkiteLookAlike(Settings(repos=tuple(map(RepoSpec, slugs)), shares=Shares(failed=0.05), **often))
    wanted = [Target(f"buildkite:{slug}@main", "buildkite", slug, "main") for slug in slugs]
    limits = tuple(Limit(limit.name, 100_000, limit.per, limit.scope) for limit in DECLARATION.limits)
    account = Account("buildkite", "buildkite", DECLARATION.url, limits=limits)
    return await _followed(world, account, wanted, lambda to, send: Line(
        to, DECLARATION, send, lambda send: Buildkite(to, send, lambda reference: ""), "hash"
    ), failing=True)  # fmt: skip


async def _requests(count: int) -> dict[str, Any]:
    from orchestrator.lookalike.buildbot import BuildbotLookAlike
    from orchestrator.lookalike.buildbot.settings import RepoSpec, Settings, Shares
    from orchestrator.providers.buildbot.declaration import DECLARATION
    from orchestrator.providers.buildbot.provider import Buildbot

    slugs = [f"acme/svc-{n:04}" for n in range(count)]
    settings = Settings(
        repos=tuple(map(RepoSpec, slugs)), shares=Shares(failed=0.05), build=(600.0, 1800.0), concurrency=count
    )
    said = {"scheduler": "force"}
    wanted = [Target(f"buildbot:{slug}@main", "buildbot", slug, "main", request=said) for slug in slugs]
    account = Account("buildbot", "buildbot", "http://127.0.0.1:8010", connections=DECLARATION.connections)
    return await _followed(BuildbotLookAlike(settings), account, wanted, lambda to, send: Line(
        to, DECLARATION, send, lambda send: Buildbot(to, send, lambda reference: ""), "hash"
    ), failing=True)  # fmt: skip


async def _followed(
    world: Any,
    account: Account,
    wanted: Sequence[Target],
    line_to: Callable[[Account, Send], Line],
    *,
    failing: bool = False,
) -> dict[str, Any]:
    """Drives a run to its end, and counts the calls that follow its builds, by kind."""
    from orchestrator.journal.history import load

    polls: list[tuple[float, str]] = []
    inner = world.send(now, anyio.sleep, Random(1))

    async def send(call: Call) -> Answer:
        if (kind := _kind(call)) is not None:
            polls.append((anyio.current_time(), kind))
        return await inner(call)

    @asynccontextmanager
    async def line(to: Account) -> AsyncIterator[Line]:
        yield line_to(to, send)

    async with drive.journal_in(None, now) as journal:
        await drive.make(journal, wanted, account, now())
        code = await drive.engine(journal, now, line, causes=Causes()).run()
        history = await load(journal, drive.RUN)
    if code > failing:
        raise AssertionError(f"exit {code}")
    known = [history.of(target.id) for target in wanted]
    lives = [one.verdict.at - (one.requested_at or 0.0) for one in known if one.verdict is not None]
    return {
        "polls": len(polls),
        "intervals": len({at // NARROWEST for at, _ in polls}),
        "kinds": Counter(kind for _, kind in polls),
        "followed": sum(lives) / NARROWEST,
        "ended": len(lives),
    }


def now() -> float:
    """Virtual wall clock."""
    return EPOCH + anyio.current_time()


def _kind(call: Call) -> str | None:
    """What a call reads that follows a build; None of any other."""
    if call.purpose != "poll":
        return "log" if "/jobs" in call.path else None
    if "/pipelines/" in call.path:
        return "one build"
    kinds = {"active": "active", "graphql": "graphql", "request": "request", "actions/runs": "run"}
    kinds |= {"buildsets": "buildsets", "buildrequests": "buildrequests"}
    return next((kind for part, kind in kinds.items() if f"/{part}" in call.path), "builds")
