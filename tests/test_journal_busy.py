"""While another process holds the lock of the state, writes wait; none of them repeats or loses anything."""

from contextlib import asynccontextmanager

import anyio
import pytest

from orchestrator.core.events import RunMade
from orchestrator.core.model import ACCOUNT, Target
from orchestrator.engine.run import LEASE, STALE, Clocks, Heartbeat
from orchestrator.journal.port import Process, SharedLimit, UsageRecord
from orchestrator.journal.store import open_journal

pytestmark = pytest.mark.anyio
ME = Process("here", "", 1, "")
NOW = 1_767_571_200.0
LIMIT = SharedLimit("triggers", ACCOUNT, 40, 30.0)


@asynccontextmanager
async def two_processes(folder):
    async with open_journal(str(folder), now=lambda: NOW) as one, open_journal(str(folder), now=lambda: NOW) as other:
        yield one, other


async def held_for(other, seconds):
    """The other process writes for so long."""
    await other.dialect.database.begin()
    await anyio.sleep(seconds)
    other.dialect.database.commit()


async def test_permits_that_are_asked_for_together_while_the_state_is_locked_count_each_call_once(tmp_path):
    async with two_processes(tmp_path) as (one, other):
        await one.record_usage([UsageRecord("me", "triggers", ACCOUNT, NOW, 30.0)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held_for, other, 0.5)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                tasks.start_soon(one.reserve, "me", [LIMIT], NOW, NOW + 30.0)
        assert len((await other.memory("me", 0.0)).usage) == 4
        await one.make_run("r1", RunMade("n", None, ""), [Target("a", "travis", "acme/a")], NOW)  # it can still write


@asynccontextmanager
async def driving(one, began):
    """A run that this process drives, its clock that of the event loop."""
    await one.make_run("r1", RunMade("n", None, ""), [Target("a", "travis", "acme/a")], NOW)
    await one.targets("r1")
    clocks = Clocks(anyio.current_time, anyio.current_time, anyio.current_time, began)
    beating = Heartbeat(one, one.register(ME, LEASE), clocks)
    await beating.claim("r1", [""])
    yield beating


async def test_heartbeats_that_come_together_after_a_stall_keep_the_leases(tmp_path):
    async with two_processes(tmp_path) as (one, other), driving(one, 0.0) as beating:
        await anyio.sleep(2 * LEASE)  # the machine slept, and its lease is over
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held_for, other, 0.5)
            await anyio.wait_all_tasks_blocked()
            for work in (beating.beat, beating.check, beating.check):
                tasks.start_soon(work)
        await beating.beat()  # nobody has taken anything over


async def test_no_call_leaves_on_a_heartbeat_that_became_old_while_it_waited_for_the_state(tmp_path):
    async with two_processes(tmp_path) as (one, other), driving(one, 0.0) as beating:
        await anyio.sleep(STALE + 1.0)
        left = []

        async def call():
            await beating.check()
            left.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held_for, other, LEASE - 1.0)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(call)
        assert left[0] - beating._at <= STALE
