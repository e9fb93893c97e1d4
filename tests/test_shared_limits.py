"""Two processes that use one principal share its limits through the state."""

import itertools
import random
from contextlib import AsyncExitStack

import anyio
import pytest
from fake_service import FAKE, FakeService, Script, make_run, targets

from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.model import ACCOUNT, Account, Limit, Scope, Target, Timeouts
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.port import Process, Reserved, SharedLimit, UsageRecord
from orchestrator.journal.process import as_text
from orchestrator.journal.sql.tables import ASK_AGAIN
from orchestrator.journal.store import open_journal
from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio


def engine(journal, service, run, pid):
    return Engine(
        run,
        journal,
        service.connect,
        Options(),
        now=service.now,
        process=Process("here", "boot", pid, str(pid)),
        random=random.Random(pid),
    )


@pytest.mark.parametrize("later", [0.0, 3.0, 47.0])
async def test_two_runs_of_one_account_never_overdraw_its_limit_and_use_nearly_all_of_it(later):
    service = FakeService(latency=0.2)
    first = MemoryJournal(now=service.now)
    second = MemoryJournal(first.disk, now=service.now)
    await make_run(first, targets(*(f"acme/a{n}" for n in range(160))), "one", service.now(), connections=4)
    await make_run(second, targets(*(f"acme/b{n}" for n in range(160))), "two", service.now(), connections=4)
    codes = []

    async def drive(journal, run, pid, wait):
        await anyio.sleep(wait)
        codes.append(await engine(journal, service, run, pid).run())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive, first, "one", 1, 0.0)
        tasks.start_soon(drive, second, "two", 2, later)
    posts = sorted(service.posts)
    assert codes == [Exit.OK, Exit.OK]
    assert len(posts) == 320
    assert worst_window(posts, 30.0) <= 44  # at most once, at the start of the second: as many more as connections
    assert posts[-1] - posts[0] <= 7 * 31.5 + later + 2.0


async def test_two_accounts_of_one_user_in_one_run_keep_its_limit_together():
    service = FakeService(latency=0.2)
    journal = MemoryJournal(now=service.now)
    accounts = {name: Account(name, "fake", FAKE.url, "env:FAKE_TOKEN", FAKE.limits) for name in ("one", "two")}
    wanted = [
        Target(f"{name}:acme/{name}{n}", name, f"acme/{name}{n}", timeouts=Timeouts())
        for name in accounts
        for n in range(60)
    ]
    made = RunMade("nightly", None, "", accounts={name: to_json(it) for name, it in accounts.items()})
    await journal.make_run("r1", made, wanted, service.now())
    assert await engine(journal, service, "r1", 1).run() == Exit.OK
    posts = sorted(service.posts)
    assert len(posts) == 120
    assert worst_window(posts, 30.0 - 1e-6) <= 40


async def test_what_another_process_has_called_counts_also_after_it_is_gone():
    """It used the limit up and died; who drives on alone half a minute later must not use it once more."""
    service = FakeService({"acme/first": Script(runs=26.0)}, latency=0.2)
    first = MemoryJournal(now=service.now)
    second = MemoryJournal(first.disk, now=service.now)
    (need,) = targets("acme/first")
    rest = targets(*(f"acme/a{n}" for n in range(40)), needs=(need.id,))
    await make_run(first, (need, *rest), "one", service.now())
    await make_run(second, targets(*(f"acme/b{n}" for n in range(40))), "two", service.now())

    async def drive_for_a_moment():
        await anyio.sleep(10.0)
        with anyio.move_on_after(3.0):
            await engine(second, service, "two", 2).run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive_for_a_moment)
        assert await engine(first, service, "one", 1).run() == Exit.OK
    assert len(service.posts) == 80
    assert worst_window(sorted(service.posts), 29.9) <= 40


async def test_a_repositorys_hour_is_shared_too():
    service = FakeService()
    first = MemoryJournal(now=service.now)
    second = MemoryJournal(first.disk, now=service.now)
    await make_run(first, targets(*(f"acme/a@x{n}" for n in range(8))), "one", service.now())
    await make_run(second, targets(*(f"acme/a@y{n}" for n in range(8))), "two", service.now())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine(first, service, "one", 1).run)
        tasks.start_soon(engine(second, service, "two", 2).run)
    assert worst_window(sorted(service.posts), 3600.0) <= 10


SHARES = [
    SharedLimit("triggers", ACCOUNT, 3, 30.0),
    SharedLimit("triggers_per_repo", Scope.of("repo:acme/a"), 2, 3600.0),
]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reservation_counts_the_calls_of_all_processes(tmp_path, anyio_backend):
    async with (
        open_journal(str(tmp_path), now=lambda: 0.0) as one,
        open_journal(str(tmp_path), now=lambda: 0.0) as two,
    ):
        assert (await one.reserve("p", SHARES, 1000.0, 1000.0)).delay == 0.0
        assert (await two.reserve("p", SHARES, 1001.0, 1001.0)).delay == 0.0
        assert await one.reserve("p", SHARES, 1002.0, 1002.0) == Reserved(3598.0, "triggers_per_repo")
        assert (await one.reserve("p", SHARES[:1], 1002.0, 1002.0)).delay == 0.0
        assert await two.reserve("p", SHARES[:1], 1010.0, 1010.0) == Reserved(20.0, "triggers")
        assert (await two.reserve("somebody else", SHARES[:1], 1010.0, 1010.0)).delay == 0.0
        assert len((await one.memory("p", 0.0)).usage) == 5


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_a_call_under_way_counts_until_its_answer_and_from_then_on_for_one_period(tmp_path, kind, anyio_backend):
    async with AsyncExitStack() as stack:
        if kind == "file":
            one, two = [await stack.enter_async_context(open_journal(str(tmp_path), now=lambda: 0.0)) for _ in "12"]
        else:
            one = MemoryJournal()
            two = MemoryJournal(one.disk)
        (share,) = shares = [SharedLimit("triggers", ACCOUNT, 1, 30.0)]
        first = await one.reserve("p", shares, 1000.0, 1030.0)
        assert await two.reserve("p", shares, 1020.0, 1050.0) == Reserved(ASK_AGAIN, share.name)
        one.settle(first.keys, 1021.0)
        await one.reserve("q", (), 1021.0, 1021.0)  # the next write takes it along
        assert await two.reserve("p", shares, 1022.0, 1052.0) == Reserved(29.0, share.name)
        second = await two.reserve("p", shares, 1051.0, 1081.0)
        two.settle(second.keys, None)  # it never left
        await two.reserve("q", (), 1051.0, 1051.0)
        assert (await one.reserve("p", shares, 1052.0, 1082.0)).delay == 0.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_after_a_boot_what_was_called_before_it_counts_for_a_period_more(tmp_path, kind, anyio_backend):
    async with AsyncExitStack() as stack:
        if kind == "file":
            journal = await stack.enter_async_context(open_journal(str(tmp_path), now=lambda: 0.0))
        else:
            journal = MemoryJournal()
        assert await journal.clock("first", 100.0, 5100.0) == 5000.0
        assert await journal.clock("first", 200.0, 9999.0) == 5000.0  # the wall clock stepped: nobody follows it
        calls = [5150.0, 5060.0, 5000.0]
        await journal.record_usage([UsageRecord("p", "triggers", ACCOUNT, at, 30.0) for at in calls])
        await journal.reserve("q", (), 5100.0, 5100.0)
        assert await journal.clock("second", 10.0, 5100.0) == 5090.0
        assert [stamp.at for stamp in (await journal.memory("p", 0.0)).usage] == [5030.0, 5090.0, 5100.0]
        assert await journal.clock("", 7.0, 5107.0) == 5100.0  # a system without an id of its boot: by the wall alone


async def test_triggers_of_one_repository_are_serialised_over_runs():
    service = FakeService(latency=3.0)
    first = MemoryJournal(now=service.now)
    second = MemoryJournal(first.disk, now=service.now)
    await make_run(first, targets(*(f"acme/a@x{n}" for n in range(3))), "one", service.now())
    await make_run(second, targets(*(f"acme/a@y{n}" for n in range(3))), "two", service.now())

    async def later():
        await anyio.sleep(1.0)  # the first has a trigger under way that nobody had to be told of
        await engine(second, service, "two", 2).run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine(first, service, "one", 1).run)
        tasks.start_soon(later)
    posts = sorted(service.posts)
    assert len(posts) == 6
    assert min(after - before for before, after in itertools.pairwise(posts)) >= 3.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_connections_of_a_dead_process_are_free_at_once_and_those_of_one_that_lives_are_not(
    tmp_path, kind, anyio_backend
):
    dead = set()
    async with AsyncExitStack() as stack:
        if kind == "file":
            one, two = [await stack.enter_async_context(open_journal(str(tmp_path), now=lambda: 0.0)) for _ in "12"]
            one._holder, two._is_dead = as_text(Process("here", "boot", 77, "1")), lambda process: process.pid in dead
        else:
            one = MemoryJournal()
            two = MemoryJournal(one.disk)
        connections = SharedLimit("connections", ACCOUNT, 2, 0.0, while_alive=True)
        shares = [connections, SharedLimit("triggers", ACCOUNT, 3, 30.0)]
        for _ in "12":
            assert (await one.reserve("p", shares, 1000.0, 1030.0)).delay == 0.0
        assert await two.reserve("p", shares, 1001.0, 1031.0) == Reserved(ASK_AGAIN, "connections")
        dead.add(77)
        one.kill() if kind == "memory" else None
        assert (await two.reserve("p", shares, 1001.0, 1031.0)).delay == 0.0
        assert await two.reserve("p", shares, 1001.0, 1031.0) == Reserved(ASK_AGAIN, "triggers")  # these stay


async def test_connections_are_shared_between_processes():
    service = FakeService(latency=2.0)
    first = MemoryJournal(now=service.now)
    second = MemoryJournal(first.disk, now=service.now)
    limits = (Limit("triggers", 1000, 30.0), Limit("calls", 10_000, 60.0))
    for journal, run in ((first, "one"), (second, "two")):
        wanted = targets(*(f"acme/{run}{n}" for n in range(30)))
        await make_run(journal, wanted, run, service.now(), connections=4, limits=limits)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine(first, service, "one", 1).run)
        tasks.start_soon(engine(second, service, "two", 2).run)
    posts = sorted(service.posts)
    assert len(posts) == 60
    assert worst_window(posts, 1.99) <= 4  # none is answered sooner


class Shy(FakeService):
    """Does not say whose token it is."""

    async def send(self, call):
        if call.path == "/user":
            return Answer(500, "Internal Server Error")
        return await super().send(call)


async def test_a_principal_that_was_named_once_is_known_when_the_provider_does_not_say():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a"), "one", service.now())
    assert await engine(journal, service, "one", 1).run() == Exit.OK
    shy = Shy()
    await make_run(journal, targets("acme/b"), "two", shy.now())
    assert await engine(journal, shy, "two", 2).run() == Exit.OK
    assert journal.disk.db.execute("SELECT count(DISTINCT principal) FROM stamp").fetchone() == (1,)
