"""Thousands of open builds through a virtual day: what following them costs, and what it leaves to triggers."""

import random
from contextlib import asynccontextmanager

import anyio
import pytest
from open_builds import OpenBuilds

from orchestrator.core.detection import detection_of
from orchestrator.core.errors import Exit
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import relax_gc
from orchestrator.core.model import Account, Target, Timeouts
from orchestrator.core.next_step import WIDEST
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.providers.port import Line
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

EPOCH = 1_767_571_200.0
HOUR = 3600.0
PATIENT = Timeouts(build=48 * HOUR)
TRIGGERS, CALLS, _ = DECLARATION.limits


def now():
    return EPOCH + anyio.current_time()


async def drive(world, repos):
    """A run of these repositories under Travis' own limits; how it ended, and its history."""

    @asynccontextmanager
    async def connect(account):
        yield Line(account, DECLARATION, send, lambda send: Travis(account, send, lambda reference: ""), "hash")

    dice = random.Random(1)

    async def send(call):
        await anyio.sleep(dice.uniform(0.05, 0.2))
        return await world.send(call)

    wanted = [Target(f"travis:{repo}@main", "travis", repo, "main", timeouts=PATIENT) for repo in repos]
    account = to_json(Account("travis", "travis", DECLARATION.url, limits=DECLARATION.limits))
    journal = MemoryJournal(now=now)
    await journal.make_run("r1", RunMade("nightly", None, "", accounts={"travis": account}), wanted, now())
    process = Process("here", "boot", 1, "1")
    engine = Engine("r1", journal, connect, Options(), now=now, process=process, random=dice)
    return await engine.run(), await load(journal, "r1")


@pytest.mark.parametrize(
    ("held", "more", "hours"),
    [(150, 150, 1.0), pytest.param(5_000, 9_600, 24.0, marks=pytest.mark.slow)],
)
async def test_builds_that_are_open_for_long_leave_triggering_its_allowance(held, more, hours):
    """The first builds stay open until the time is over; the others are triggered and end meanwhile."""
    relax_gc()
    stay = [f"owner-{n % 5}/long-{n}" for n in range(held)]
    rest = [f"owner-{n % 5}/short-{n}" for n in range(more)]
    dice = random.Random(7)
    world = OpenBuilds(now, lambda slug: hours * HOUR if "long" in slug else dice.uniform(60.0, 300.0))
    code, history = await drive(world, [*stay, *rest])
    assert code is Exit.OK
    assert min(world.ended[repo] for repo in stay) > max(world.ended[repo] for repo in rest)
    assert history.left_at - history.made_at >= hours * HOUR
    beside = world.triggers[held:]
    allowed = (beside[-1] - beside[0]) / TRIGGERS.per * TRIGGERS.calls
    assert len(beside) >= 0.8 * allowed
    assert worst_window(world.triggers, TRIGGERS.per) <= TRIGGERS.calls
    assert worst_window(world.calls, CALLS.per) <= CALLS.calls
    seen = detection_of(history)
    assert seen.max <= WIDEST + 10.0
