"""Appends that wait together share a transaction, and nothing that befalls one befalls the others."""

import asyncio

import anyio
import pytest
from leases import claim
from ram import folder_in_memory

from orchestrator.core.errors import JournalError, LeaseLost
from orchestrator.core.events import Intended, RunMade
from orchestrator.core.model import Target
from orchestrator.journal.port import Process
from orchestrator.journal.store import open_journal

pytestmark = pytest.mark.anyio

ME, OTHER = Process("here", "boot", 1, "1"), Process("there", "boot2", 2, "2")
TARGETS = [Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(200)]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def where():
    with folder_in_memory() as folder:
        yield str(folder)


@pytest.fixture
async def journal(where):
    async with open_journal(where, now=lambda: 0.0) as journal:
        await journal.make_run("r", RunMade("n", None, ""), TARGETS, 1.0)
        yield journal


class Spy:
    """Stands before the connection: counts commits, and fails when told to."""

    def __init__(self, journal):
        self.database = journal.dialect.database
        self.connection, self.database._db = self.database._db, self
        self.commits = 0
        self.at_commit = []

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, statement, *arguments):
        if statement == "COMMIT":
            self.commits += 1
            if self.at_commit:
                self.at_commit.pop(0)()
        return self.connection.execute(statement, *arguments)


async def written(journal, account="fake"):
    entries = await journal.read("r", {})
    return [entry.event.target for entry in entries if entry.account == account and isinstance(entry.event, Intended)]


async def test_many_appends_share_a_commit_and_keep_their_order(journal):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    spy = Spy(journal)
    async with anyio.create_task_group() as tasks:
        for target in TARGETS:
            tasks.start_soon(journal.append, lease, [Intended(target.id, 1, None), Intended(target.id, 2, None)], 2.0)
    assert spy.commits == 1
    found = await written(journal)
    assert sorted(found) == sorted(target.id for target in TARGETS for _ in range(2))
    assert found[::2] == found[1::2]  # each batch stands in one piece


async def test_appends_of_several_accounts_share_a_commit(journal):
    leases = [await claim(journal, "r", account, ME, 1.0, 30.0) for account in ("one", "two", "three")]
    spy = Spy(journal)
    async with anyio.create_task_group() as tasks:
        for lease in leases:
            tasks.start_soon(journal.append, lease, [Intended(TARGETS[0].id, 1, None)], 2.0)
    assert spy.commits == 1
    assert [await written(journal, lease.account) for lease in leases] == [[TARGETS[0].id]] * 3


async def test_who_comes_while_others_wait_for_the_lock_joins_them(journal, where):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    spy = Spy(journal)
    async with open_journal(where, now=lambda: 0.0) as other:
        await other.dialect.database.begin()
        async with anyio.create_task_group() as tasks:
            for target in TARGETS[:5]:
                tasks.start_soon(journal.append, lease, [Intended(target.id, 1, None)], 2.0)
                await anyio.wait_all_tasks_blocked()
            assert await written(journal) == []
            other.dialect.database.commit()
    assert spy.commits == 1
    assert await written(journal) == [target.id for target in TARGETS[:5]]


async def test_a_batch_of_a_lost_lease_fails_alone(journal):
    lost = await claim(journal, "r", "one", ME, 1.0, 30.0)
    kept = await claim(journal, "r", "two", ME, 1.0, 30.0)
    await claim(journal, "r", "one", OTHER, 99.0, 30.0)
    outcomes = []

    async def append(lease, target):
        try:
            await journal.append(lease, [Intended(target.id, 1, None)], 100.0)
        except LeaseLost:
            outcomes.append("lost")
        else:
            outcomes.append("kept")

    async with anyio.create_task_group() as tasks:
        for number, target in enumerate(TARGETS[:6]):
            tasks.start_soon(append, lost if number % 2 else kept, target)
    assert sorted(outcomes) == ["kept"] * 3 + ["lost"] * 3
    assert await written(journal, "one") == []
    assert sorted(await written(journal, "two")) == sorted(target.id for target in TARGETS[:6:2])


async def test_an_unknown_target_fails_alone_and_is_named(journal):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    with pytest.raises(JournalError, match="no target fake:acme/nope"):
        await journal.append(lease, [Intended(TARGETS[0].id, 1, None), Intended("fake:acme/nope", 1, None)], 2.0)
    assert await written(journal) == []


@pytest.mark.parametrize("canceled", [0, 1, 3])
async def test_a_canceled_appender_strands_nobody_and_is_written_wholly_or_not(journal, canceled):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    done = []
    scopes = [anyio.CancelScope() for _ in range(4)]

    async def append(number):
        with scopes[number]:
            target = TARGETS[number].id
            await journal.append(lease, [Intended(target, 1, None), Intended(target, 2, None)], 2.0)
            done.append(target)

    async def cancel():
        scopes[canceled].cancel()

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(append, number)
        tasks.start_soon(cancel)
    found = await written(journal)
    assert set(done) >= {TARGETS[number].id for number in range(4) if number != canceled}
    assert set(done) <= set(found)
    assert all(found.count(target) == 2 for target in found)


async def test_a_leader_canceled_while_it_waits_for_the_lock_still_writes_for_the_others(journal, where):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    scope = anyio.CancelScope()

    async def lead():
        with scope:
            await journal.append(lease, [Intended(TARGETS[0].id, 1, None)], 2.0)

    async with open_journal(where, now=lambda: 0.0) as other:
        await other.dialect.database.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lead)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(journal.append, lease, [Intended(TARGETS[1].id, 1, None)], 2.0)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            other.dialect.database.commit()
    assert await written(journal) == [TARGETS[0].id, TARGETS[1].id]


async def test_who_is_canceled_before_anybody_waits_writes_nothing(journal):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.append(lease, [Intended(TARGETS[0].id, 1, None)], 2.0)
    assert await written(journal) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_leader_canceled_by_asyncio_itself_still_writes_for_the_others(journal):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    leader = asyncio.ensure_future(journal.append(lease, [Intended(TARGETS[0].id, 1, None)], 2.0))
    follower = asyncio.ensure_future(journal.append(lease, [Intended(TARGETS[1].id, 1, None)], 2.0))
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.wait([leader, follower])
    assert leader.cancelled()
    assert follower.exception() is None
    assert await written(journal) == [TARGETS[0].id, TARGETS[1].id]


async def test_what_breaks_a_commit_fails_all_who_wait_and_the_journal_is_dead(journal):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    failures = []

    def out_of_memory():
        raise MemoryError

    async def append(number):
        try:
            await journal.append(lease, [Intended(TARGETS[number].id, 1, None)], 2.0)
        except JournalError as error:
            failures.append(type(error))

    Spy(journal).at_commit.append(out_of_memory)
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(append, number)
    assert sorted(failures, key=str) == [JournalError] * 3
    with pytest.raises(JournalError, match="not enough memory"):
        await journal.append(lease, [Intended(TARGETS[5].id, 1, None)], 2.0)


async def test_a_commit_whose_answer_was_lost_is_not_written_again(journal):
    """The call is repeated, as over a connection that broke: the state says that it is there already."""
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    append = journal.dialect.append

    async def repeated(take):
        await append(take)
        await append(take)

    journal.dialect.append = repeated
    for number, target in enumerate(TARGETS[:2]):
        (entry,) = await journal.append(lease, [Intended(target.id, 1, None)], 2.0)
        assert entry.seq == 2 + number
    assert await written(journal) == [target.id for target in TARGETS[:2]]


async def test_a_state_that_went_back_takes_no_appends(journal):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    for attempt in (1, 2):
        await journal.append(lease, [Intended(TARGETS[0].id, attempt, None)], 2.0)
    await journal.dialect.database.write(
        lambda db: db.execute("DELETE FROM event WHERE key = (SELECT max(key) FROM event)")
    )
    with pytest.raises(
        JournalError, match=r"the state went back: 3 events .*, 2 are there; `orchestrator resume r` looks"
    ):
        await journal.append(lease, [Intended(TARGETS[0].id, 3, None)], 2.0)


async def test_an_append_gives_the_entries_as_they_are_read(journal):
    lease = await claim(journal, "r", "fake", ME, 1.0, 30.0)
    given = []

    async def append(number):
        events = [Intended(TARGETS[number].id, attempt, None) for attempt in (1, 2)]
        given.extend(await journal.append(lease, events, 2.0 + number))

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(append, number)
    read = [entry for entry in await journal.read("r", {"fake": 1}) if entry.account == "fake"]
    assert sorted(given, key=lambda entry: entry.seq) == read
