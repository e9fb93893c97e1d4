"""Where the output cannot be shown, the run's own exit code stands; no everyday fault of a machine is told as a bug."""

import errno
import json
import os
import subprocess
import sys

import pytest
from cli_machine import ENVIRON, Program
from test_cli_state import F, P, tell

from orchestrator.core.errors import Exit


@pytest.fixture
def program(tmp_path, capsys):
    found = Program(tmp_path, capsys)
    tell(found, "bad", P, F, P)
    return found


def shell(program, line, **environ):
    """A command line in a real shell; `o` is the program."""
    script = f'o() {{ "{sys.executable}" -m orchestrator "$@"; }}; {line}'
    environ = {**ENVIRON, "HOME": str(program.folder), **environ}
    return subprocess.run(
        ["/bin/bash", "-c", script], cwd=program.folder, env=environ, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("where", [">/dev/full", ">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_the_runs_own_exit_code_stands_and_its_files_are_written_where_nothing_can_be_shown(where, program):
    done = shell(program, f"o run --run-id bad --state s -o text -o json=r.json {where}")
    assert done.returncode == Exit.FAILED
    assert (program.folder / "r.json").exists()
    assert b"bug" not in done.stderr
    if where == ">/dev/full":
        assert b"the output could not be shown: No space left on device" in done.stderr


def test_a_reader_that_goes_away_changes_no_exit_code(program):
    done = shell(program, "set -o pipefail; o run --run-id bad --state s -o json | true")
    assert done.returncode == Exit.FAILED
    assert done.stderr.count(b"bug") == 0


def test_what_was_only_to_be_shown_and_could_not_be_is_no_success(program):
    assert shell(program, "o status bad --state s >/dev/full").returncode == Exit.FAILED


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_name_that_the_encoding_of_stdout_lacks_is_printed_as_in_report_files(encoding, program):
    program.write("r.yaml", "version: 1\ntargets: ['acme/a@größe-✓']\n")
    done = shell(program, "o plan r.yaml --offline -o json", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 0
    assert json.loads(done.stdout.decode("utf-8"))["targets"][0]["branch"] == "größe-✓"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "state.db"), "Permission denied: state.db"),
        (MemoryError(), "not enough memory"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_the_machine_lacks_is_said_and_is_no_bug(error, said, program, monkeypatch):
    async def broken(*_, **__):
        raise error

    monkeypatch.setattr("orchestrator.app.runs.runs", broken)
    assert program("runs", "--state", "s") == Exit.STATE
    assert said in program.err
    assert "bug" not in program.err
