"""The state's file: private, checked before it is trusted, clear about what is wrong, and exact about what is kept."""

import os
import sqlite3
import stat
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from leases import claim
from ram import folder_in_memory

from orchestrator.core.errors import JournalError, LeaseLost
from orchestrator.core.events import Intended, PauseAsked, RunEnded, RunMade
from orchestrator.core.model import ACCOUNT, COORDINATOR, Target
from orchestrator.journal.files import file_system_of, locate, refuse_network
from orchestrator.journal.port import Process, UsageRecord
from orchestrator.journal.process import this_process
from orchestrator.journal.sql import connection as database
from orchestrator.journal.sql.connection import File
from orchestrator.journal.sql.migrations import APPLICATION, STEPS
from orchestrator.journal.store import open_journal

pytestmark = pytest.mark.anyio

ME = Process("here", "no-such-boot", 1, "1")
MADE = RunMade("nightly", None, "")
TARGETS = [Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(50)]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def tmp_path():
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home" / "state"


def at(home, **options):
    return open_journal(str(home), now=lambda: 0.0, **options)


async def filled(journal, run="r1", targets=TARGETS):
    await journal.make_run(run, MADE, targets, 1.0, forbid_overlap=False)
    lease = await claim(journal, run, "fake", ME, 1.0, 30.0)
    await journal.append(lease, [Intended(target.id, 1, f"[{run}.abcdefgh]") for target in targets], 2.0)
    return lease


async def intended(journal, run="r1"):
    found = [entry.event for entry in await journal.read(run, {}, 1_000_000)]
    return [event.target for event in found if isinstance(event, Intended)]


async def end(journal, run):
    lease = await claim(journal, run, COORDINATOR, ME, 1.0, 30.0)
    await journal.append(lease, [RunEnded(0)], 9.0)


async def read_all(home, **options):
    async with at(home, **options) as journal:
        await journal.runs()
        await journal.targets("r1")
        await journal.wishes("r1")
        found = {repr(entry.event) for entry in await journal.read("r1", {}, 1_000_000)}
        if not options:
            await claim(journal, "r1", "fake", ME, 99.0, 30.0)
        return found


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)


# -- place and rights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("/var/lib/o", "/var/lib/o/state.db"),
        ("o", "o/state.db"),
        ("sqlite:///o/mine.db", "o/mine.db"),
        ("sqlite:////var/mine.db", "/var/mine.db"),
    ],
)
def test_a_folder_or_a_url_names_the_file(where, path):
    assert locate(where) == Path(path)


@pytest.mark.parametrize("where", ["", "sqlite://o.db", "sqlite:///", "postgresql://host/db", "sqlite:o://x"])
def test_another_place_is_refused_with_the_forms_that_there_are(where):
    with pytest.raises(JournalError, match=r"expected a folder, sqlite:///RELATIVE"):
        locate(where)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_everything_is_private_whatever_the_umask(home, umask):
    before = os.umask(umask)
    try:
        async with at(home) as journal:
            await filled(journal)
            files = sorted(home.iterdir())
            assert [file.name for file in files] == ["state.db", "state.db-lock", "state.db-shm", "state.db-wal"]
            assert {rights(file) for file in files} == {0o600}
            assert rights(home) == rights(home.parent) == 0o700
    finally:
        os.umask(before)


async def test_a_file_that_others_could_read_is_closed_to_them(home):
    async with at(home):
        pass
    (home / "state.db").chmod(0o644)
    async with at(home):
        assert rights(home / "state.db") == 0o600


async def test_the_folder_of_others_keeps_its_rights(tmp_path):
    tmp_path.chmod(0o755)
    async with at(tmp_path):
        assert rights(tmp_path) == 0o755


async def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match=r"file/state.db: .*folder that this user may write"):
        async with at(tmp_path / "file"):
            pass


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:28 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
31 30 254:1 / /home/local\\040disk rw - xfs /dev/vdb rw
32 22 0:30 / /mnt/ssh rw - fuse.sshfs me@host:/ rw
33 32 0:31 / /mnt/ssh rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/state.db", "ext4"),
        ("/home/me/state.db", "nfs4"),
        ("/homes/state.db", "ext4"),
        ("/home/local disk/state.db", "xfs"),
        ("/mnt/ssh/state.db", "tmpfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path, kind):
    assert file_system_of(Path(path), MOUNTS) == kind


def test_a_network_file_system_is_refused_with_a_remedy(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    with pytest.raises(JournalError, match=r"/home/me/state.db is on a network file system \(nfs4\).*--state"):
        refuse_network(Path("/home/me/state.db"), table)
    refuse_network(Path("/var/state.db"), table)
    refuse_network(Path("/home/me/state.db"), tmp_path / "no-such-table")


# -- durability -----------------------------------------------------------------------------------------------------


async def test_every_commit_is_synced_and_written_ahead(home):
    async with at(home) as journal:
        db = journal.dialect.database._db
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA fullfsync").fetchone() == (1,)
        assert db.execute("PRAGMA checkpoint_fullfsync").fetchone() == (1,)


async def test_what_was_acknowledged_is_read_although_nobody_closed(home, tmp_path):
    """A copy of the files as they are while open is what a kill -9 leaves."""
    async with at(home) as journal:
        await filled(journal)
        for file in home.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    async with at(tmp_path) as journal:
        assert await intended(journal) == [target.id for target in TARGETS]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
async def test_of_a_log_that_was_torn_whole_commits_are_read(home, tmp_path, kept):
    async with at(home) as journal:
        lease = await filled(journal)
        for number, target in enumerate(TARGETS):
            await journal.append(lease, [Intended(target.id, 2, None), Intended(target.id, 3, None)], 3.0 + number)
        (tmp_path / "state.db").write_bytes((home / "state.db").read_bytes())
        log = (home / "state.db-wal").read_bytes()
        (tmp_path / "state.db-wal").write_bytes(log[: int(len(log) * kept)])
    try:
        async with at(tmp_path) as journal:
            entries = [entry for entry in await journal.read("r1", {}, 10_000) if entry.account == "fake"]
    except JournalError:  # so little is left that the run, or the file's shape, is not there
        assert kept < 0.9
        return
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert (len(entries) - 51) % 2 == 0


async def test_a_full_disk_loses_nothing_and_is_survived(home):
    async with at(home) as journal:
        lease = await filled(journal)
        db = journal.dialect.database._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        much = [Intended(target.id, 2, "x" * 2000) for target in TARGETS]
        with pytest.raises(
            JournalError, match=r"the disk is full: free some space.*nothing that was acknowledged is lost"
        ):
            await journal.append(lease, much, 3.0)
        assert len(await intended(journal)) == 50
        db.execute("PRAGMA max_page_count = 100000")
        await journal.append(lease, much, 3.0)
        assert len(await intended(journal)) == 100


class FailingCommit:
    """Stands before the connection; its commit fails as a disk's does."""

    def __init__(self, connection, code, name):
        self.connection, self.code, self.name = connection, code, name

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, statement, *arguments):
        if statement == "COMMIT" and self.code:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = self.code, self.name
            self.code = 0
            raise error
        return self.connection.execute(statement, *arguments)


async def test_after_a_failed_sync_the_connection_is_dead(home):
    async with at(home) as journal:
        lease = await filled(journal)
        journal.dialect.database._db = FailingCommit(journal.dialect.database._db, 1034, "SQLITE_IOERR_FSYNC")
        for _ in range(2):
            with pytest.raises(JournalError, match=r"look at the disk.*SQLITE_IOERR_FSYNC"):
                await journal.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)
        with pytest.raises(JournalError, match="look at the disk"):
            await journal.wish("r1", PauseAsked("me", 1.0))
    async with at(home) as journal:
        assert len(await intended(journal)) == 50


@pytest.mark.parametrize(("code", "name", "said"), [(8, "SQLITE_READONLY", "make the file and its folder writable")])
async def test_a_disk_that_became_read_only_is_named(home, code, name, said):
    async with at(home) as journal:
        lease = await filled(journal)
        journal.dialect.database._db = FailingCommit(journal.dialect.database._db, code, name)
        with pytest.raises(JournalError, match=said):
            await journal.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)


LIMITED = """
import anyio, resource, sys
from orchestrator.core.errors import JournalError
from orchestrator.core.events import Intended
from orchestrator.journal.port import Process
from orchestrator.journal.store import open_journal

async def main():
    async with open_journal(sys.argv[1], now=lambda: 0.0) as journal:
        by = journal.register(Process("here", "b", 1, "1"), 30.0)
        (lease,) = await journal.claim("r1", ["fake"], by, 99.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        for number in range(2, 10_000):
            try:
                await journal.append(lease, [Intended("fake:acme/r0", number, None)], 99.0)
            except JournalError as error:
                print("refused:", error, flush=True)
                return
            print(number, flush=True)

anyio.run(main)
"""


@pytest.mark.slow
async def test_a_quota_stops_a_process_and_what_it_acknowledged_is_there(home):
    async with at(home) as journal:
        await filled(journal)
    done = await anyio.run_process([sys.executable, "-c", LIMITED, str(home)])
    *acknowledged, refused = done.stdout.decode().splitlines()
    assert "look at the disk, its quota" in refused
    assert len(acknowledged) > 10
    async with at(home) as journal:
        attempts = [entry.event.attempt for entry in await journal.read("r1", {}) if isinstance(entry.event, Intended)]
    assert [attempt for attempt in attempts if attempt > 1][: len(acknowledged)] == [int(line) for line in acknowledged]


@pytest.mark.parametrize("victim", ["state.db", "state.db-wal"])
async def test_a_state_that_vanishes_while_in_use_stops_the_run(home, victim):
    async with at(home) as journal:
        lease = await filled(journal)
        (home / victim).unlink()
        for _ in range(2):
            with pytest.raises(JournalError, match="deleted or replaced while in use"):
                await journal.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)


async def test_a_log_that_was_deleted_while_in_use_takes_nothing_with_it(home):
    async with at(home) as journal:
        lease = await filled(journal)
        (home / "state.db-wal").unlink()
        with pytest.raises(JournalError, match="deleted"):
            await journal.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)
    async with at(home) as journal:
        assert len(await intended(journal)) == 50


# -- several processes ----------------------------------------------------------------------------------------------


async def test_a_reader_sees_what_is_committed_while_another_writes(home):
    async with at(home) as writer:
        lease = await filled(writer)
        async with at(home, read_only=True) as reader:
            assert len(await intended(reader)) == 50
            await writer.dialect.database.begin()
            assert len(await intended(reader)) == 50
            writer.dialect.database.commit()
            await writer.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)
            assert len(await intended(reader)) == 51


async def test_a_reader_cannot_write(home):
    async with at(home) as writer:
        await filled(writer)
    async with at(home, read_only=True) as reader:
        with pytest.raises(JournalError, match="only to read"):
            await reader.wish("r1", PauseAsked("me", 1.0))


async def test_reading_makes_no_state(home):
    with pytest.raises(JournalError, match="no state yet"):
        async with at(home, read_only=True):
            pass
    assert not home.exists()


async def test_a_lock_that_is_never_freed_is_named_after_a_while(home, monkeypatch):
    monkeypatch.setattr(database.Patience.__init__, "__defaults__", (0.05,))
    async with at(home) as first, at(home) as second:
        lease = await filled(first)
        await second.dialect.database.begin()
        with pytest.raises(JournalError, match=r"another process has the state locked.*lslocks"):
            await first.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)
        second.dialect.database.commit()
        await first.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)
        assert len(await intended(first)) == 51


async def test_a_stranger_who_locks_the_database_is_waited_for(home):
    async with at(home) as journal:
        lease = await filled(journal)
        with closing(sqlite3.connect(home / "state.db", isolation_level=None, check_same_thread=False)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            timer = threading.Timer(0.1, stranger.execute, ["ROLLBACK"])
            timer.start()
            await journal.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)
            timer.join()
        assert len(await intended(journal)) == 51


async def test_a_holder_that_is_proven_dead_is_followed_at_once(home):
    who = "from orchestrator.journal.process import this_process as t; print(f'{t().pid} {t().started} .'); input()"
    me = this_process()
    async with at(home) as journal, await anyio.open_process([sys.executable, "-uc", who]) as child:
        pid, started = (await BufferedByteReceiveStream(child.stdout).receive_until(b" .", 99)).decode().split()
        its = Process(me.host, me.boot, int(pid), started)
        await journal.make_run("r1", MADE, TARGETS, 1.0)
        await claim(journal, "r1", "fake", its, 10.0, 30.0)
        with pytest.raises(LeaseLost):
            await claim(journal, "r1", "fake", me, 11.0, 30.0)
        child.kill()
        await child.wait()
        lease = await claim(journal, "r1", "fake", me, 11.0, 30.0)
        assert (lease.epoch, lease.last_alive) == (2, 11.0)


# -- whose file it is -----------------------------------------------------------------------------------------------


def stranger(path, *statements):
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "statements", [["CREATE TABLE cookies (x)"], ["PRAGMA application_id = 7"], ["PRAGMA user_version = 3"]]
)
async def test_the_database_of_another_program_is_left_alone(home, statements, read_only):
    stranger(home / "state.db", *statements, "CREATE TABLE t (x)", "DROP TABLE t")
    before = (home / "state.db").read_bytes()
    with pytest.raises(JournalError, match="belongs to another program"):
        async with at(home, read_only=read_only):
            pass
    assert (home / "state.db").read_bytes() == before


async def test_a_file_of_a_newer_version_is_left_alone(home):
    stranger(home / "state.db", f"PRAGMA application_id = {APPLICATION}", "PRAGMA user_version = 99")
    with pytest.raises(JournalError, match=r"newer version.*upgrade"):
        async with at(home):
            pass


async def test_a_file_that_is_no_database_is_named(home):
    home.mkdir(parents=True)
    (home / "state.db").write_bytes(b"not a database, but long enough to be taken for one " * 99)
    with pytest.raises(JournalError, match=r"state.db: this is no state"):
        async with at(home):
            pass


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.95])
async def test_a_truncated_file_is_an_error_that_says_so(home, kept):
    async with at(home) as journal:
        await filled(journal, targets=[Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(2000)])
    size = (home / "state.db").stat().st_size
    os.truncate(home / "state.db", int(size * kept))
    with pytest.raises(JournalError, match="damaged"):
        await read_all(home)


async def test_any_bytes_in_the_file_give_a_clear_error_or_true_facts(home):
    """Every page in turn is overwritten with noise, and with zeros."""
    async with at(home) as journal:
        await filled(journal)
        await end(journal, "r1")
        whole = [entry.event for entry in await journal.read("r1", {})]
    good = (home / "state.db").read_bytes()
    for page in range(0, len(good), 4096):
        for noise in (bytes(4096), bytes((page // 4096 + n * 7) % 256 for n in range(4096))):
            (home / "state.db").write_bytes(good[:page] + noise + good[page + 4096 :])
            with suppress(JournalError):
                assert await read_all(home, read_only=True) <= set(map(repr, whole))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET body = '[]'",
        "UPDATE event SET body = x'ff00'",
        "UPDATE event SET body = '{'",
        "UPDATE event SET at = 'noon'",
        "UPDATE event SET target = 4711 WHERE target IS NOT NULL",
        "UPDATE event SET target = 'x' WHERE target IS NOT NULL",
        "UPDATE event SET kind = 4711",
        "UPDATE target SET request = 9",
        "UPDATE target SET id = 5, wave = 'x'",
        "UPDATE stream SET epoch = 'many'",
        "UPDATE kind SET name = 'teleported' WHERE name = 'intended'",
    ],
)
async def test_rows_that_we_did_not_write_are_an_error_that_says_so(home, statement):
    async with at(home) as journal:
        await filled(journal)
    stranger(home / "state.db", statement)
    with pytest.raises(JournalError, match=r"damaged|does not know"):
        await read_all(home)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE wish",
    ],
)
async def test_a_state_with_things_that_we_did_not_make_is_refused(home, statement):
    async with at(home):
        pass
    stranger(home / "state.db", statement)
    with pytest.raises(JournalError, match="its tables are not ours"):
        async with at(home):
            pass


# -- versions -------------------------------------------------------------------------------------------------------


def add_colour(db):
    db.execute("ALTER TABLE run ADD COLUMN colour TEXT")


def fail(db):
    db.execute("DROP TABLE event")
    raise sqlite3.OperationalError("no")


async def version_after(path, steps):
    found = File(path, steps=steps)
    try:
        await found.prepare()
    finally:
        await found.close()
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


async def test_an_older_file_is_brought_forward_step_by_step(home):
    async with at(home) as journal:
        await filled(journal)
    assert await version_after(home / "state.db", (*STEPS, add_colour)) == len(STEPS) + 1
    with pytest.raises(JournalError, match="newer version"):
        async with at(home):
            pass


async def test_a_step_that_fails_leaves_the_file_as_it_was(home):
    async with at(home) as journal:
        await filled(journal)
    with pytest.raises(JournalError):
        await version_after(home / "state.db", (*STEPS, add_colour, fail))
    async with at(home) as journal:
        assert len(await intended(journal)) == 50


async def test_an_older_file_is_not_brought_forward_by_a_reader(home):
    async with at(home):
        pass
    reader = File(home / "state.db", read_only=True, steps=(*STEPS, add_colour))
    with pytest.raises(JournalError, match="older version"):
        await reader.prepare()
    await reader.close()


async def test_kinds_that_a_newer_version_added_are_named_when_they_are_met(home):
    async with at(home) as journal:
        await filled(journal)
        with closing(sqlite3.connect(home / "state.db")) as db:
            db.execute("INSERT INTO kind (num, name) VALUES (99, 'teleported')")
            db.execute("UPDATE event SET kind = 99 WHERE key = (SELECT max(key) FROM event)")
            db.commit()
        with pytest.raises(JournalError, match="'teleported' that this version does not know; upgrade"):
            await journal.read("r1", {})


# -- export, space --------------------------------------------------------------------------------------------------


async def test_an_export_is_one_private_file_that_goes_on_elsewhere(home, tmp_path):
    copy = tmp_path / "elsewhere" / "copy.db"
    before = os.umask(0)
    try:
        async with at(home) as journal:
            await filled(journal)
            await journal.export(copy)
    finally:
        os.umask(before)
    assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
    assert rights(copy) == 0o600
    async with open_journal(f"sqlite:///{copy}", now=lambda: 0.0) as journal:
        assert len(await intended(journal)) == 50
        lease = await claim(journal, "r1", "fake", this_process(), 99.0, 30.0)
        assert lease.epoch == 2


async def test_an_export_of_some_runs_has_only_these(home, tmp_path):
    async with at(home) as journal:
        for run in ("r1", "r2", "r3"):
            await filled(journal, run)
        await journal.export(tmp_path / "copy.db", ["r2"])
        assert len(await journal.runs()) == 3
    async with open_journal(f"sqlite:///{tmp_path}/copy.db", now=lambda: 0.0, read_only=True) as journal:
        assert [row.id for row in await journal.runs()] == ["r2"]
        assert len(await intended(journal, "r2")) == 50
    assert b"[r1." not in (tmp_path / "copy.db").read_bytes()


async def test_an_export_overwrites_nothing(home, tmp_path):
    (tmp_path / "copy.db").write_text("precious")
    async with at(home) as journal:
        with pytest.raises(JournalError, match="overwrites nothing"):
            await journal.export(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"
    assert not list(tmp_path.glob("*.part"))


async def test_the_space_of_dropped_runs_goes_back_to_the_disk(home):
    async with at(home) as journal:
        await filled(journal, targets=[Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(3000)])
        await end(journal, "r1")
        await journal.dialect.database.vacuum()
        before = (home / "state.db").stat().st_size
        assert await journal.drop_runs(["r1"]) == 1
        assert (home / "state.db").stat().st_size < before / 4
        assert (home / "state.db-wal").stat().st_size == 0


async def test_an_event_takes_little_room(home):
    many = [Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(5000)]
    async with at(home) as journal:
        await journal.make_run("r1", MADE, many, 1.0)
        lease = await claim(journal, "r1", "fake", ME, 1.0, 30.0)
        await journal.dialect.database.vacuum()
        before = (home / "state.db").stat().st_size
        for start in range(0, 5000, 100):
            await journal.append(lease, [Intended(target.id, 1, None) for target in many[start : start + 100]], 2.0)
        await journal.dialect.database.vacuum()
        assert ((home / "state.db").stat().st_size - before) / 5000 < 60


async def test_stamps_of_one_instant_are_all_kept(home):
    async with at(home) as journal:
        await journal.record_usage([UsageRecord("p", "triggers", ACCOUNT, 5.0)] * 3)
    async with at(home) as journal:
        assert len((await journal.memory("p", 5.0)).usage) == 3


async def test_a_closed_journal_says_so(home):
    async with at(home) as journal:
        lease = await filled(journal)
    with pytest.raises(JournalError, match="is closed"):
        await journal.append(lease, [Intended(TARGETS[0].id, 2, None)], 3.0)
    await journal.aclose()


async def test_closing_in_a_canceled_scope_closes_all_the_same(home):
    with anyio.CancelScope() as scope:
        async with at(home) as journal:
            await filled(journal)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert sorted(file.name for file in home.iterdir()) == ["state.db", "state.db-lock"]
