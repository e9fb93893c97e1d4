"""States of earlier versions: read, brought forward, and safe from the processes that still drive them."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from fake_service import FakeService, Received
from leases import claim
from ram import folder_in_memory
from rare import PRINCIPAL, engine
from trio.testing import MockClock

from orchestrator.core.errors import Exit, JournalError, LeaseLost
from orchestrator.core.events import Intended, Requested, WaveOpened
from orchestrator.core.model import ACCOUNT, COORDINATOR
from orchestrator.journal.port import Process, UsageRecord
from orchestrator.journal.process import this_process
from orchestrator.journal.sql.migrations import STEPS, check
from orchestrator.journal.store import open_journal

pytestmark = pytest.mark.anyio

STORED = Path(__file__).parent / "data"
ME = Process("here", "no-such-boot", 1, "1")
HEARTBEAT = 1_000_025.0  # the last one of the process that drives the run `open` of version 2


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def home():
    with folder_in_memory() as folder:
        yield folder


def stored(home, version):
    shutil.copy(STORED / f"state-v{version}.db", home / "state.db")


def at(home):
    return open_journal(str(home), now=lambda: 0.0)


async def test_a_state_of_version_1_is_read(home):
    stored(home, 1)
    async with at(home) as journal:
        (row,) = await journal.runs()
        assert (row.id, row.name, row.targets, row.exit_code) == ("stored", "nightly", 3, 1)
        assert [target.id for target in await journal.targets("stored")] == [
            "fake:acme/a",
            "fake:acme/b@main",
            "fake:acme/c",
        ]
        kinds = [entry.event.kind for entry in await journal.read("stored", {})]
        assert kinds == ["run_made", "claimed", "run_ended", "claimed", "intended", "requested", "sighted", "ended"]
        assert [wish.kind for _, wish in await journal.wishes("stored")] == ["pause_asked"]
        assert (await journal.memory("p", 0.0)).usage == (UsageRecord("p", "triggers", ACCOUNT, 3.0),)
        assert (await journal.memory("p")).marker_proven


async def test_a_state_of_version_2_is_read(home):
    stored(home, 2)
    async with at(home) as journal:
        assert {(row.id, row.ended_at) for row in await journal.runs()} == {("open", None), ("left", None)}
        facts = [entry.event for entry in await journal.read("open", {})]
        assert [fact for fact in facts if isinstance(fact, WaveOpened)] == [WaveOpened(1)]
        assert [fact.id for fact in facts if isinstance(fact, Requested)] == ["100"]
        assert await journal.clock("boot 2", 99.0, 5.0) == 1_000_000.0
        assert (await journal.memory("p", 0.0)).usage == (UsageRecord("p", "triggers", ACCOUNT, 1_000_022.0, 30.0),)
        memory = await journal.memory("p")
        assert (memory.marker_proven, memory.frozen) == (True, {ACCOUNT: 1_000_500.0})


async def test_a_lease_of_version_2_ends_when_it_would_have(home):
    stored(home, 2)
    async with at(home) as journal:
        for stream in (COORDINATOR, "fake"):
            with pytest.raises(LeaseLost, match="process 4711 on machine"):
                await claim(journal, "open", stream, ME, HEARTBEAT + 29.9)
        for stream in (COORDINATOR, "fake"):
            lease = await claim(journal, "open", stream, ME, HEARTBEAT + 30.0)
            assert (lease.epoch, lease.last_alive) == (2, HEARTBEAT + 10.0)
        left = await claim(journal, "left", "fake", ME, HEARTBEAT + 500.0)
        assert (left.epoch, left.last_alive) == (2, HEARTBEAT + 15.0)
        assert (await claim(journal, "left", COORDINATOR, ME, HEARTBEAT + 500.0)).last_alive is None


def held_by(home, process):
    """The state as of that process's."""
    with closing(sqlite3.connect(home / "state.db")) as db:
        db.execute(
            "UPDATE stream SET host = ?, boot = ?, pid = ?, started = ? WHERE host IS NOT NULL",
            (process.host, process.boot, process.pid, process.started),
        )
        db.commit()


async def test_a_dead_process_of_version_2_is_followed_at_once(home):
    stored(home, 2)
    me = this_process()
    held_by(home, Process(me.host, me.boot, me.pid, "started long ago"))
    async with at(home) as journal:
        lease = await claim(journal, "open", "fake", me, HEARTBEAT + 1.0)
        assert (lease.epoch, lease.last_alive) == (2, HEARTBEAT + 1.0)


class OlderProcess:
    """A process of version 2 that has the file open: what it does, in its own statements.

    Args:
        epoch: of its lease on the stream `fake` of the run `open`.
    """

    def __init__(self, home, epoch=1):
        self.db = sqlite3.connect(home / "state.db", isolation_level=None)
        (self.stream,) = self.db.execute("SELECT num FROM stream WHERE account = 'fake' AND epoch = 1").fetchone()
        self.epoch = epoch

    def append(self, body):
        self.db.execute("BEGIN IMMEDIATE")
        try:
            (epoch,) = self.db.execute("SELECT epoch FROM stream WHERE num = ?", (self.stream,)).fetchone()
            if epoch != self.epoch:
                raise LeaseLost("another process took over")
            (key,) = self.db.execute("SELECT max(key) FROM event WHERE key < ?", ((self.stream + 1) << 32,)).fetchone()
            (kind,) = self.db.execute("SELECT num FROM kind WHERE name = 'intended'").fetchone()
            self.db.execute(
                "INSERT INTO event (key, at, kind, target, body) VALUES (?, ?, ?, ?, ?)",
                (key + 1, HEARTBEAT, kind, 2, body),
            )
        finally:
            self.db.execute("COMMIT")

    def beat(self):
        row = self.db.execute(
            "SELECT num, epoch, heartbeat, lease_for, host, boot, pid, started FROM stream WHERE num = ?",
            (self.stream,),
        ).fetchone()
        self.db.execute(
            "UPDATE stream SET epoch = ?, heartbeat = ?, lease_for = ?, host = ?, boot = ?, pid = ?, started = ?"
            " WHERE num = ?",
            (row[1], HEARTBEAT + 5.0, *row[3:], row[0]),
        )


async def test_a_living_process_of_version_2_is_told_to_end_and_nothing_is_triggered_twice(home):
    stored(home, 2)
    held_by(home, this_process())
    older = OlderProcess(home)
    with closing(older.db):
        older.beat()
        async with at(home) as journal:
            older.append('{"attempt":1,"marker":"[open.cccccccc]"}')  # what it has under way it may still record
            with pytest.raises(sqlite3.IntegrityError, match=r"a newer version .* `orchestrator resume`"):
                older.beat()
            with pytest.raises(LeaseLost):  # it may be sending until a third of its lease is over
                await claim(journal, "open", "fake", ME, HEARTBEAT + 5.0 + 29.9)
            lease = await claim(journal, "open", "fake", ME, HEARTBEAT + 5.0 + 30.0)
            assert lease.last_alive == HEARTBEAT + 15.0
            with pytest.raises(LeaseLost):
                older.append('{"attempt":2,"marker":"[open.cccccccc]"}')
            found = [entry.event for entry in await journal.read("open", {}) if isinstance(entry.event, Intended)]
            assert [(one.target, one.attempt) for one in found][-1] == ("fake:acme/c", 1)
            assert len(found) == 3


async def test_an_older_program_is_refused_in_words(home):
    stored(home, 2)
    async with at(home):
        pass
    with (
        closing(sqlite3.connect(home / "state.db")) as db,
        pytest.raises(
            JournalError,
            match=rf"newer version \(its shape is {len(STEPS)}, this one knows {len(STEPS) - 1}\); upgrade",
        ),
    ):
        check(db, "state.db", len(STEPS) - 1, False)


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})])
async def test_an_open_run_of_version_2_is_resumed_and_asks_for_nothing_twice(home, anyio_backend):
    """One target has its request, one was asked for and the answer was lost, one waits."""
    stored(home, 2)
    service = FakeService()
    for number, (repo, marker) in enumerate((("acme/a", "[open.aaaaaaaa]"), ("acme/b", "[open.bbbbbbbb]"))):
        service.requests.append(Received(str(100 + number), repo, f"nightly {marker}", 1_000_021.0))
    with anyio.fail_after(3600.0):
        async with open_journal(str(home), now=service.now) as journal:
            await journal.remember(PRINCIPAL, marker_proven=True)
            assert await engine(journal, service, "open").run() == Exit.OK
            entries = await journal.read("open", {})
    requests = {entry.event.target: entry.event.id for entry in entries if isinstance(entry.event, Requested)}
    assert requests == {"fake:acme/a": "100", "fake:acme/b": "101", "fake:acme/c": "1"}
    assert [one.repo for one in service.requests] == ["acme/a", "acme/b", "acme/c"]
