"""The journal in memory dies as a process does, and otherwise does what the file does."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ram import folder_in_memory

from orchestrator.core.errors import JournalError, LeaseLost
from orchestrator.core.events import Intended, PauseAsked, RunEnded, RunMade
from orchestrator.core.model import COORDINATOR, Target
from orchestrator.journal.memory import Crash, MemoryJournal
from orchestrator.journal.port import Process, UsageRecord
from orchestrator.journal.store import open_journal

pytestmark = pytest.mark.anyio

ME = Process("here", "no-such-boot", 1, "1")
A = Target("fake:acme/a", "fake", "acme/a")


async def started(**death):
    journal = MemoryJournal(**death)
    await journal.make_run("r", RunMade("n", None, ""), [A], 1.0)
    return journal, await journal.claim("r", "fake", ME, 1.0, 30.0)


def attempts(disk):
    return [entry.event.attempt for entry in MemoryJournal(disk).entries("r") if isinstance(entry.event, Intended)]


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
    for call in (journal.read("r", {}), journal.release([lease]), journal.renew([lease], 2.0, 30.0)):
        with pytest.raises(Crash):
            await call
    assert attempts(journal.disk) == [1]


async def test_a_crash_is_proven_so_the_next_process_follows_at_once():
    journal, lease = await started(dies_at=0)
    with pytest.raises(Crash):
        await journal.append(lease, [Intended(A.id, 1, None)], 2.0)
    lease = await MemoryJournal(journal.disk).claim("r", "fake", ME, 3.0, 30.0)
    assert (lease.epoch, lease.last_alive) == (2, 3.0)


async def test_a_death_that_nobody_can_prove_is_waited_for():
    journal, _ = await started()
    journal.kill(proven=False)
    other = MemoryJournal(journal.disk)
    with pytest.raises(LeaseLost):
        await other.claim("r", "fake", ME, 30.9, 30.0)
    assert (await other.claim("r", "fake", ME, 31.0, 30.0)).last_alive == 11.0


RUNS, ACCOUNTS = st.sampled_from(["a", "ab", "b"]), st.sampled_from([COORDINATOR, "fake", "other"])
WHO = st.sampled_from([0, 1])
TARGETS = [Target(f"fake:acme/{n}", "fake", f"acme/{n}") for n in range(4)]
STEP = st.one_of(
    st.tuples(st.just("make"), WHO, RUNS, st.sets(st.sampled_from(range(4)), min_size=1), st.booleans()),
    st.tuples(st.just("claim"), WHO, RUNS, ACCOUNTS, st.sampled_from([1.0, 20.0, 50.0])),
    st.tuples(
        st.just("append"),
        WHO,
        RUNS,
        ACCOUNTS,
        st.sampled_from([RunEnded(1), *[Intended(t.id, 1, "m") for t in TARGETS]]),
    ),
    st.tuples(st.just("renew"), WHO, RUNS, ACCOUNTS, st.sampled_from([5.0, 40.0])),
    st.tuples(st.just("release"), WHO, RUNS, ACCOUNTS),
    st.tuples(st.just("wish"), WHO, RUNS),
    st.tuples(st.just("stamp"), WHO, st.sampled_from([1.0, 2.0, 9000.0])),
    st.tuples(st.just("drop"), WHO, RUNS),
)


async def act(journal, leases, step):
    """What a step gives: a value or an error's kind."""
    what, who, *rest = step
    try:
        match what, *rest:
            case "make", run, numbers, forbid:
                return await journal.make_run(
                    run, RunMade("n", None, ""), [TARGETS[n] for n in sorted(numbers)], 1.0, forbid
                )
            case "claim", run, account, now:
                lease = leases[who, run, account] = await journal.claim(run, account, ME, now, 30.0)
                return lease
            case "append", run, account, event:
                return await journal.append(leases[who, run, account], [event], 2.0)
            case "renew", run, account, now:
                return await journal.renew([leases[who, run, account]], now, 30.0)
            case "release", run, account:
                return await journal.release([leases[who, run, account]])
            case "wish", run:
                return await journal.wish(run, PauseAsked("me", 1.0))
            case "stamp", at:
                return len(await journal.record_usage([UsageRecord("p", "calls", "account", at)]))
            case "drop", run:
                return await journal.drop_runs([run])
    except KeyError:
        return "no lease"
    except JournalError as error:
        return "refused" if what == "append" else type(error)  # a lost lease and a dropped run may be told either way


async def everything(journal):
    rows = await journal.runs()
    return [
        (row, await journal.read(row.id, {}), list(await journal.targets(row.id)), list(await journal.wishes(row.id)))
        for row in sorted(rows, key=lambda row: row.id)
    ]


async def both(steps):
    disk = MemoryJournal().disk
    with folder_in_memory() as folder:
        async with (
            open_journal(str(folder), now=lambda: 10.0) as one,
            open_journal(str(folder), now=lambda: 10.0) as two,
        ):
            memory, files = [MemoryJournal(disk, now=lambda: 10.0) for _ in range(2)], [one, two]
            in_memory, in_files = {}, {}
            for step in steps:
                assert await act(memory[step[1]], in_memory, step) == await act(files[step[1]], in_files, step), step
            for one_way, other_way in zip(memory, files, strict=True):
                assert streams(await everything(one_way)) == streams(await everything(other_way))


def streams(found):
    """The order of streams is nobody's business."""
    return [(row, sorted(entries, key=lambda e: (e.account, e.seq)), *rest) for row, entries, *rest in found]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(STEP, min_size=3, max_size=25))
def test_whatever_is_done_both_journals_say_the_same(steps):
    begin = [("make", 0, "a", {0, 1}, True), ("claim", 0, "a", "fake", 1.0), ("claim", 0, "a", COORDINATOR, 1.0)]
    anyio.run(both, [*begin, *steps])
