"""Everyday faults of the place where the state is: a clear line and exit 7, never a bug, never a hang."""

import errno
import os
import sqlite3
from types import SimpleNamespace

import anyio
import pytest
from cli_machine import Program

from orchestrator.core.errors import Exit
from orchestrator.journal.sql.connection import Database, explain
from orchestrator.journal.sql.sqlite import Sqlite
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike

pytestmark = pytest.mark.usefixtures("quick_polls")

FULL = 13  # SQLite's code
MANIFEST = """
version: 1
name: t
providers: {{travis: {{url: '{url}', token: env:TOKEN}}}}
reports: {{json: out/r.json, junit: out/r.xml}}
targets: [acme/a@main, acme/b@main, acme/c@main]
"""


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


def a_file(folder):
    (folder / "s").write_text("a file")


def a_loop(folder):
    (folder / "s").symlink_to("s")


def a_pipe(folder):
    (folder / "s").mkdir()
    os.mkfifo(folder / "s" / "state.db")


def a_folder(folder):
    (folder / "s" / "state.db").mkdir(parents=True)


def noise(folder):
    (folder / "s").mkdir()
    (folder / "s" / "state.db").write_bytes(bytes(range(256)) * 64)


@pytest.mark.parametrize("words", [("status",), ("runs",), ("why", "a"), ("run", "--repo", "acme/a@main"), ("resume",)])
@pytest.mark.parametrize("what", [a_file, a_loop, a_pipe, a_folder, noise])
def test_what_is_no_state_is_told_by_every_verb_and_is_no_bug(what, words, program):
    what(program.folder)
    assert program(*words, "--state", "s") == Exit.STATE
    assert str(program.folder / "s") in program.err
    assert "bug" not in program.err


@pytest.mark.parametrize(
    "words", [("status",), ("runs",), ("run", "--repo", "acme/a@main"), ("doctor", "--repo", "acme/a")]
)
def test_a_name_that_the_file_system_cannot_have_is_no_bug(words, program):
    assert program(*words, "--state", "x" * 300) in (Exit.STATE, Exit.USAGE, Exit.ACCOUNT)
    assert "File name too long" in program.err + program.out
    assert "bug" not in program.err


def of_sqlite(code, name, text):
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


def full():
    return of_sqlite(FULL, "SQLITE_FULL", "database or disk is full")


class Disk:
    """A disk that is full from the n-th append on, or has another fault, until it is freed."""

    def __init__(self, monkeypatch, appends, fault=full):
        self._left, self.is_freed = appends, False
        append = Sqlite._append

        def fails(this, db, document):
            self._left -= 1
            if self._left < 0 and not self.is_freed:
                raise fault()
            append(this, db, document)

        monkeypatch.setattr(Sqlite, "_append", fails)


@pytest.fixture
def served(program):
    with anyio.from_thread.start_blocking_portal() as portal:
        plain = {"repos": ["acme/a", "acme/b", "acme/c"], "build": ["1ms", "2ms"], "process": ["1ms", "2ms"]}
        world = TravisLookAlike.from_settings({**plain, "shares": {}})
        with portal.wrap_async_context_manager(serve(world)) as at:
            program.environ["TOKEN"] = at.token
            program.write("orchestrator.yaml", MANIFEST.format(url=at.url))
            program.world = world
            yield program


@pytest.mark.parametrize("appends", [1, 3, 5])
def test_a_disk_that_fills_while_a_run_goes_on_exits_7_and_the_reports_are_written(appends, served, monkeypatch):
    disk = Disk(monkeypatch, appends)
    assert served("run", "--run-id", "one", "--state", "s") == Exit.STATE
    assert "the disk is full: free some space, then `orchestrator resume --state s`" in served.err
    assert (served.folder / "out" / "r.json").exists()
    assert (served.folder / "out" / "r.xml").exists()
    disk.is_freed = True
    assert served("resume", "--state", "s") == Exit.OK
    assert len(served.world.counters.accepted) == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            lambda: of_sqlite(8, "SQLITE_READONLY", "attempt to write a readonly database"),
            "the state cannot be written",
        ),
        (lambda: of_sqlite(4874, "SQLITE_IOERR_SHMSIZE", "disk I/O error"), "the disk is full: free some space"),
        (lambda: of_sqlite(7, "SQLITE_NOMEM", "out of memory"), "not enough memory"),
        (MemoryError, "not enough memory"),
        (lambda: OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
    ],
    ids=["read-only", "no room for readers", "no memory in SQLite", "no memory", "no more files"],
)
def test_what_the_journal_lacks_while_a_run_goes_on_is_said_with_exit_7_and_the_reports_are_written(
    fault, said, served, monkeypatch
):
    Disk(monkeypatch, 3, fault)
    assert served("run", "--run-id", "one", "--state", "s") == Exit.STATE
    assert said in served.err
    assert "bug" not in served.err
    assert (served.folder / "out" / "r.json").exists()
    assert not served.world.counters.duplicates()


def test_a_state_that_this_user_may_only_read_is_told_by_doctor_as_run_would_refuse_it(served, monkeypatch):
    assert served("run", "--run-id", "one", "--state", "s") == Exit.OK
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    assert served("doctor", "--state", "s") == Exit.ACCOUNT
    assert "which this user may only read" in served.out


def test_a_disk_that_takes_nothing_more_is_a_finding_of_doctor_and_the_other_checks_are_made(served, monkeypatch):
    assert served("run", "--run-id", "one", "--state", "s") == Exit.OK
    begin = Database.try_begin

    def nothing(database):
        if database.place != ":memory:":
            raise explain(full(), database.place)
        return begin(database)

    monkeypatch.setattr(Database, "try_begin", nothing)
    assert served("doctor", "--state", "s") == Exit.ACCOUNT
    assert "BAD   state: " in served.out
    assert "the disk is full: free some space" in served.out
    assert "3 repositories are there, and can be triggered" in served.out


@pytest.mark.parametrize(("free", "mark"), [(0, "BAD "), (100 * 2**20, "WARN"), (2**40, "ok  ")])
def test_doctor_judges_the_room_on_the_disk(free, mark, served, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    assert served("doctor", "--state", "s") == (Exit.ACCOUNT if mark == "BAD " else Exit.OK)
    trouble = [line[:4] for line in served.out.splitlines() if line[6:].startswith("disk: ")]
    assert trouble == ([] if mark == "ok  " else [mark])  # what is well is told together
    assert f"{free / 2**30:.1f} GiB free" in served.out


def test_a_state_that_cannot_be_opened_for_want_of_files_is_said_so(served, monkeypatch):
    def crowded(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", crowded)
    assert "may open no more files" in str(explain(of_sqlite(14, "SQLITE_CANTOPEN", "unable to open"), "s"))
