"""Everyday faults of the place where the state is: a clear line and exit 7, never a bug, never a hang."""

import os
import sqlite3

import anyio
import pytest
from cli_machine import Program

from orchestrator.core.errors import Exit
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


class Disk:
    """A disk that is full from the n-th append on, until it is freed."""

    def __init__(self, monkeypatch, appends):
        self._left, self.is_freed = appends, False
        append = Sqlite._append

        def full(this, db, document):
            self._left -= 1
            if self._left < 0 and not self.is_freed:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode, error.sqlite_errorname = FULL, "SQLITE_FULL"
                raise error
            append(this, db, document)

        monkeypatch.setattr(Sqlite, "_append", full)


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


def test_a_state_that_this_user_may_only_read_is_told_by_doctor_as_run_would_refuse_it(served, monkeypatch):
    assert served("run", "--run-id", "one", "--state", "s") == Exit.OK
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    assert served("doctor", "--state", "s") == Exit.ACCOUNT
    assert "which this user may only read" in served.out
