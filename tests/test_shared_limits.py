"""Two processes that use one principal share its limits through the state."""

import random

import anyio
import pytest

from orchestrator.engine import Engine, Options
from orchestrator.exits import Exit
from orchestrator.journal import Process, Share
from orchestrator.journal.sqlite import open_journal
from orchestrator.sandbox.counts import worst_window
from orchestrator.testing import FakeService, MemoryJournal, make_run, targets

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
        observe=lambda name, **fields: None,
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


SHARES = [Share("triggers", "account", 3, 30.0), Share("triggers_per_repo", "repo:acme/a", 2, 3600.0)]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reservation_counts_the_stamps_of_all_processes(tmp_path, anyio_backend):
    async with (
        open_journal(str(tmp_path), now=lambda: 0.0) as one,
        open_journal(str(tmp_path), now=lambda: 0.0) as two,
    ):
        assert await one.reserve("p", SHARES, 1000.0) == (0.0, "")
        assert await two.reserve("p", SHARES, 1001.0) == (0.0, "")
        assert await one.reserve("p", SHARES, 1002.0) == (3598.5, "triggers_per_repo")
        assert await one.reserve("p", SHARES[:1], 1002.0) == (0.0, "")
        assert await two.reserve("p", SHARES[:1], 1010.0) == (20.5, "triggers")
        assert await two.reserve("somebody else", SHARES[:1], 1010.0) == (0.0, "")
        assert len(await one.stamps("p", 0.0)) == 5
