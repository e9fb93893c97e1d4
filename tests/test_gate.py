"""A gate without an engine: what `doctor` and the like call keeps the limits of the principal, as a run does."""

import random

import anyio
import pytest
from fake_service import FAKE, FakeProvider, FakeService

from orchestrator.core.errors import AccessRefused, RateLimited, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Account, Limit, Scope
from orchestrator.engine.opening import gate_for
from orchestrator.engine.run import Clocks
from orchestrator.journal.port import Process
from orchestrator.providers.port import Call, Line
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

LIMIT = Limit("calls", 10, 60.0)
LOOK = Call("GET", "/requests", limits=("calls",))


def line_to(service, *limits, **account):
    one = Account("fake", "fake", FAKE.url, "env:TOKEN", limits=limits, **account)
    return Line(one, FAKE, service.send, lambda send: FakeProvider(one, send), "hash")


async def opened(service, journal, *limits, pid=1, line=None, **how):
    """A gate of another process."""
    process = Process("here", "boot", pid, str(pid))
    clocks = await Clocks.read(journal, process, service.now, anyio.current_time, anyio.current_time)
    return gate_for(line or line_to(service, *limits), journal, clocks, random.Random(pid), **how)


async def test_calls_keep_the_limits_of_the_account():
    service = FakeService()
    async with await opened(service, MemoryJournal(now=service.now), LIMIT) as caller:
        began = anyio.current_time()
        for _ in range(15):
            await caller.send(LOOK)
        assert 60.0 <= anyio.current_time() - began < 65.0


async def test_two_processes_keep_the_limits_together():
    service = FakeService()
    first = MemoryJournal(now=service.now)
    second = MemoryJournal(first.disk, now=service.now)

    async def call(journal, pid):
        async with await opened(service, journal, LIMIT, pid=pid) as caller:
            for _ in range(10):
                await caller.send(LOOK)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, first, 1)
        tasks.start_soon(call, second, 2)
    times = sorted(at for _, at in service.calls[2:])  # before, each asked who it is
    assert len(times) == 20
    assert max(sum(at <= other < at + 60.0 for other in times) for at in times) <= LIMIT.calls


async def test_no_more_calls_are_under_way_than_there_are_connections():
    service = FakeService()
    line = line_to(service, connections=2)
    async with await opened(service, MemoryJournal(now=service.now), line=line) as caller:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(caller.send, LOOK)
        assert anyio.current_time() - began == pytest.approx(5 * service.latency, abs=0.05)


async def test_a_call_that_did_not_leave_goes_again_until_the_reach_is_over():
    service = FakeService()
    async with await opened(service, MemoryJournal(now=service.now), LIMIT, reach=30.0) as caller:
        service.is_down = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.send, LOOK)
            await anyio.sleep(10.0)
            service.is_down = False
        service.is_down = True
        began = anyio.current_time()
        with pytest.raises(AccessRefused, match="out of reach"):
            await caller.send(LOOK)
        assert 30.0 <= anyio.current_time() - began < 60.0


async def test_a_connection_that_takes_longer_than_the_reach_is_not_tried_twice():
    service = FakeService(is_down=True)
    line = line_to(service)

    async def send(call):
        await anyio.sleep(10.0)
        return await line.send(call)

    slow = replace(line, send=send)
    with pytest.raises(AccessRefused, match="was out of reach for 10s"):
        async with await opened(service, MemoryJournal(now=service.now), LIMIT, line=slow, reach=3.0):
            pytest.fail("opened")
    assert anyio.current_time() < 20.0


async def test_a_dead_token_ends_before_anything_else_is_asked():
    service = FakeService(bad_token=True)
    with pytest.raises(AccessRefused, match="access denied"):
        async with await opened(service, MemoryJournal(now=service.now), LIMIT):
            pytest.fail("opened")
    assert len(service.calls) == 1


async def test_a_ban_of_an_earlier_run_is_kept():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    async with await opened(service, journal, LIMIT) as caller:
        principal = caller.gate.sender.anonymous
    await journal.remember(principal, frozen={ACCOUNT: service.now() + 100.0})
    calls = len(service.calls)
    with pytest.raises(AccessRefused, match="stay away"):
        async with await opened(service, journal, LIMIT):
            pytest.fail("opened")
    assert len(service.calls) == calls


async def test_patience_is_kept_as_long_as_there_is_any():
    service, waits = FakeService(), [20.0, 500.0]

    async def look():
        if waits:
            raise RateLimited(Scope("repo", "acme/a"), waits.pop(0))
        return "seen"

    async with await opened(service, MemoryJournal(now=service.now), LIMIT, patience=60.0) as caller:
        began = anyio.current_time()
        with pytest.raises(RateLimited):
            await caller.patiently(look)
        assert anyio.current_time() - began == pytest.approx(20.0, abs=0.1)
        assert await caller.patiently(look) == "seen"


async def test_nothing_leaves_once_the_gate_is_closed():
    service = FakeService()
    async with await opened(service, MemoryJournal(now=service.now), LIMIT) as caller:
        pass
    with pytest.raises(Unreachable):
        await caller.send(LOOK)
