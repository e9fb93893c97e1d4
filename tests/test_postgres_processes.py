"""Runs of real processes with their state in PostgreSQL: killed, gone on with elsewhere, the database restarted."""

import time

import pytest
from cli_machine import Program
from postgres_cluster import running
from test_real_day import REPOS, day, killed

from orchestrator.core.errors import Exit

pytestmark = pytest.mark.slow  # a server and processes of its own, in real time
assert day is not None  # the fixture
RUN = "orchestrator run --run-id night --state '{}' --rate 40/1s"


@pytest.fixture
def cluster():
    with running() as cluster:
        yield cluster


def started(day, state):
    script = f"exec {RUN.format(state)}"
    path = f"{day.folder / '.venv' / 'bin'}:/usr/bin:/bin"
    environ = {"PATH": path, "HOME": str(day.folder), "CI": "true", "TRAVIS_TOKEN": day.token}
    return day._start(["bash", "-c", script], environ)


def test_a_run_that_was_killed_is_gone_on_with_and_nothing_is_triggered_twice(day, cluster):
    state = cluster.database()
    first = started(day, state)
    day.wait_for_requests(REPOS // 3)
    killed(first)
    (day.folder / "orchestrator.yaml").unlink()  # what goes on needs only the state
    code, out = day.job(f"orchestrator resume night --state '{state}' --rate 100/1s")
    assert code == Exit.OK, out
    assert set(day.requests().values()) == {1}
    assert day.requests().total() == REPOS
    code, out = day.job(f"orchestrator runs --state '{state}'")
    assert "night" in out


def test_a_database_that_is_restarted_in_the_middle_delays_a_run_and_loses_nothing(day, cluster):
    state = cluster.database()
    process = started(day, state)
    day.wait_for_requests(REPOS // 3)
    cluster.server.send_signal(3)  # at once: every connection is cut
    cluster.server.wait(10)
    time.sleep(1.0)  # an outage takes a while
    cluster.start()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == Exit.OK, out
    assert set(day.requests().values()) == {1}
    assert day.requests().total() == REPOS


def test_connections_that_are_cut_one_after_the_other_lose_nothing(day, cluster):
    state = cluster.database()
    process = started(day, state)
    for least in range(REPOS // 6, REPOS, REPOS // 6):
        day.wait_for_requests(least)
        cluster.sql(
            "postgres", "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'orchestrator'"
        )
    out, _ = process.communicate(timeout=120)
    assert process.returncode == Exit.OK, out
    assert set(day.requests().values()) == {1}
    assert day.requests().total() == REPOS


def test_two_processes_share_a_run_and_only_one_drives_it(day, cluster):
    state = cluster.database()
    first = started(day, state)
    day.wait_for_requests(1)
    code, out = day.job(f"orchestrator resume night --state '{state}'")
    assert code == Exit.STATE
    assert "is driven by process" in out
    out, _ = first.communicate(timeout=120)
    assert first.returncode == Exit.OK, out
    assert set(day.requests().values()) == {1}


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path, capsys):
    program = Program(tmp_path, capsys)
    assert program("runs", "--state", "postgresql://ann:hunter2@db.example/state") == Exit.USAGE
    assert "holds no password" in program.err
    assert "hunter2" not in program.err + program.out


def test_a_database_that_is_not_there_is_said_in_a_sentence(tmp_path, capsys, cluster):
    program = Program(tmp_path, capsys)
    there = f"postgresql:///nowhere?host={cluster.folder}&user=postgres"
    assert program("runs", "--state", there) == Exit.STATE
    assert 'database "nowhere" does not exist' in program.err
    assert "Traceback" not in program.err
