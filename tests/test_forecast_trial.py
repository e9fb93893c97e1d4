"""What was forecast is what happens: whole runs against the sandbox, its ban rule on, in virtual time."""

import random
from collections import Counter
from contextlib import asynccontextmanager

import anyio
import pytest
from cli_machine import context_of

from orchestrator.app.lookups import times_in
from orchestrator.core.concurrency import Cap, Concurrency
from orchestrator.core.errors import Exit
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Outcome, Plan, Target
from orchestrator.engine.engine import Engine, Options
from orchestrator.forecast import Times, forecast
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import Settings, numbered
from orchestrator.providers.port import Line
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis
from orchestrator.testing import MemoryJournal

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

EPOCH = 1_767_571_200.0
REPOS = numbered(300)
BUILD = 120.0
LATENCY = (0.1, 0.4)
ACCOUNT = Account("travis", "travis", DECLARATION.url, limits=DECLARATION.limits)
TIMES = Times(latency=sum(LATENCY) / 2, accounts={"travis": (BUILD,)})


def now():
    return EPOCH + anyio.current_time()


def world(build=(BUILD, BUILD)):
    branches = tuple(f"b{number}" for number in range(25))
    return TravisLookAlike(
        Settings(repos=REPOS, branches=branches, latency=LATENCY, build=build, concurrency=10_000, seed=3, hourly=10)
    )


def even(count):
    """The targets spread over the repositories."""
    return [(REPOS[number % 300].slug, f"b{number // 300}") for number in range(count)]


def uneven(count):
    """The same, but for one repository with 25 of them: three hours' worth."""
    return [(REPOS[0].slug, f"b{number}") for number in range(25)] + even(count)[25:]


def targets_of(pairs):
    names = dict.fromkeys(pairs)
    return [Target(f"travis:{repo}@{branch}", "travis", repo, branch) for repo, branch in names]


def optimum(wanted):
    """Seconds from the first trigger to the last, were the network infinitely quick."""
    repos = Counter(target.repo for target in wanted)
    return max((len(wanted) - 1) // 40 * 30.0, *((count - 1) // 10 * 3600.0 for count in repos.values()))


async def drive(server, journal, run, wanted, account=ACCOUNT):
    dice = random.Random(run)
    send = server.send(now, anyio.sleep, dice)

    @asynccontextmanager
    async def connect(account):
        yield Line(account, DECLARATION, send, lambda send: Travis(account, send, lambda reference: ""), "hash")

    made = RunMade("trial", None, "", accounts={"travis": to_json(account)})
    await journal.make_run(run, made, wanted, now())
    number = int(run)
    engine = Engine(
        run,
        journal,
        connect,
        Options(),
        now=now,
        process=Process("here", "boot", number, run),
        random=dice,
    )
    assert await engine.run() == Exit.OK
    return await load(journal, run)


def cast_of(wanted):
    return forecast(Plan("trial", tuple(wanted), {"travis": ACCOUNT}), {"travis": DECLARATION}, times=TIMES)


def judge(server, histories, wanted):
    """No ban, no 429; as long as the optimum, and as forecast."""
    counts, cast = server.counters, cast_of(wanted)
    verdicts = [history.of(target.id).verdict for history in histories for target in history.targets]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.PASSED}
    assert len(counts.accepted) == len(wanted)
    assert not {"403", "429"} & counts.statuses.keys()
    first, last = counts.posts[0], max(counts.posts)
    assert last - first <= 1.03 * optimum(wanted)
    assert cast.last_trigger == pytest.approx(last - first, rel=0.05)
    ended = max(verdict.at for verdict in verdicts) - first
    assert cast.last_build == pytest.approx(ended, rel=0.05)


@pytest.mark.parametrize("pairs", [even(1000), uneven(1000)], ids=["even", "uneven"])
async def test_a_thousand_targets_take_as_long_as_forecast_and_hardly_longer_than_they_must(pairs):
    server, wanted = world(), targets_of(pairs)
    history = await drive(server, MemoryJournal(now=now), "1", wanted)
    judge(server, [history], wanted)


ALL, SOME = REPOS[:200], REPOS[240:]  # an earlier run had some or all, the later one has all
VARIED = {
    "short builds": (30.0, 300.0, 600, ALL, ACCOUNT),
    "long builds": (600.0, 1800.0, 300, SOME, ACCOUNT),
    "few at once": (30.0, 300.0, 400, SOME, replace(ACCOUNT, in_flight=20)),
    "few of an owner at once": (
        30.0,
        300.0,
        400,
        ALL,
        replace(ACCOUNT, concurrency=Concurrency(caps=(Cap("owner", 15),))),
    ),
}


@pytest.mark.parametrize("case", VARIED)
async def test_builds_that_vary_take_as_long_as_forecast_from_an_earlier_run(case):
    shortest, longest, count, known, account = VARIED[case]
    server, journal = world(build=(shortest, longest)), MemoryJournal(now=now)
    earlier = targets_of((known[n % len(known)].slug, f"b{n // len(known)}") for n in range(400))
    wanted = targets_of((ALL[n % 200].slug, f"b{10 + n // 200}") for n in range(count))
    await drive(server, journal, "1", earlier)
    times = await times_in(journal, "trial", {"travis": account}, context_of())
    cast = forecast(Plan("trial", tuple(wanted), {"travis": account}), {"travis": DECLARATION}, times=times)
    await anyio.sleep(3600.0)
    began = now()
    history = await drive(server, journal, "2", wanted, account)
    told = [history.of(target.id) for target in wanted]
    assert cast.last_trigger == pytest.approx(max(one.triggered_at for one in told) - began, rel=0.05)
    assert cast.last_build == pytest.approx(max(one.verdict.at for one in told) - began, rel=0.05)


async def test_the_looks_are_about_as_many_as_forecast():
    server, wanted = world(build=(60.0, 180.0)), targets_of(even(900))
    await drive(server, MemoryJournal(now=now), "1", wanted)
    looks = server.counters.statuses.total() - len(wanted)
    assert cast_of(wanted).accounts["travis"].looks == pytest.approx(looks, rel=0.3)


async def test_two_runs_of_one_account_take_together_as_long_as_both_in_one_plan():
    server, wanted = world(), targets_of(even(1000))
    first = MemoryJournal(now=now)
    second = MemoryJournal(first.disk, now=now)
    histories = []

    async def one(journal, run, part):
        histories.append(await drive(server, journal, run, part))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, first, "1", wanted[0::2])
        tasks.start_soon(one, second, "2", wanted[1::2])
    judge(server, histories, wanted)
