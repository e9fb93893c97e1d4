"""The journal of tests is the one that users have, in memory; it dies as a process does."""

import pytest
from leases import claim

from orchestrator.core.errors import LeaseLost
from orchestrator.core.events import Intended, RunMade
from orchestrator.core.model import Target
from orchestrator.journal.port import Process
from orchestrator.testing import Crash, MemoryJournal

pytestmark = pytest.mark.anyio

ME = Process("here", "no-such-boot", 1, "1")
A = Target("fake:acme/a", "fake", "acme/a")


async def started(**death):
    journal = MemoryJournal(**death)
    await journal.make_run("r", RunMade("n", None, ""), [A], 1.0)
    by = journal.register(ME, 30.0)
    return journal, (await journal.claim("r", ["fake"], by, 1.0))[0]


def attempts(disk):
    return [entry.event.attempt for entry in disk.entries("r") if isinstance(entry.event, Intended)]


@pytest.mark.parametrize(("before", "left"), [(True, [1, 2]), (False, [1, 2, 3])])
async def test_a_process_dies_at_the_append_that_was_asked_for(before, left):
    journal, lease = await started(dies_at=2, dies_before=before)
    await journal.append(lease, [Intended(A.id, 1, None)], 2.0)
    await journal.append(lease, [Intended(A.id, 2, None)], 2.0)
    with pytest.raises(Crash):
        await journal.append(lease, [Intended(A.id, 3, None)], 2.0)
    assert attempts(journal.disk) == left


async def test_a_dead_process_writes_and_reads_nothing_more():
    journal, lease = await started(dies_at=0)
    for _ in range(2):
        with pytest.raises(Crash):
            await journal.append(lease, [Intended(A.id, 1, None)], 2.0)
    for call in (journal.read("r", {}), journal.release([lease])):
        with pytest.raises(Crash):
            await call
    assert attempts(journal.disk) == [1]


async def test_a_crash_is_proven_so_the_next_process_follows_at_once():
    journal, lease = await started(dies_at=0)
    with pytest.raises(Crash):
        await journal.append(lease, [Intended(A.id, 1, None)], 2.0)
    lease = await claim(MemoryJournal(journal.disk), "r", "fake", ME, 3.0)
    assert (lease.epoch, lease.last_alive) == (2, 3.0)


async def test_a_death_that_nobody_can_prove_is_waited_for():
    journal, _ = await started()
    journal.kill(proven=False)
    other = MemoryJournal(journal.disk)
    with pytest.raises(LeaseLost):
        await claim(other, "r", "fake", ME, 30.9)
    assert (await claim(other, "r", "fake", ME, 31.0)).last_alive == 11.0
