"""`runs` at a glance, `status` of a run, and `status` of a target over the runs."""

import pytest
from cli_machine import Program
from test_cli_state import F, P, tell

from orchestrator.core.errors import Exit
from orchestrator.core.model import Outcome, Target

E = Outcome.ERRORED


@pytest.fixture
def program(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path / "s"))
    return Program(tmp_path, capsys)


def lines(program):
    return program.out.splitlines()


def test_a_run_shows_when_it_began_how_long_it_took_and_what_came_of_it(program):
    tell(program, "one", P, F, P)
    assert program("runs") == 0
    assert program.out == (
        "one  nightly  2026-01-05 00:00Z        1 min  \u00d7 did not pass \u00b7 exit 1  1 failed, 2 passed\n"
    )


def test_the_newest_of_a_name_shows_its_last_results(program):
    for run, outcome in (("one", P), ("two", F), ("three", P)):
        tell(program, run, P, outcome, P)
    program("runs")
    assert [line.endswith("\u2713\u00d7\u2713") for line in lines(program)] == [True, False, False]


def test_a_retry_names_its_parent_and_an_open_run_is_no_failure(program):
    tell(program, "one", P, F, P)
    tell(program, "two", P, None, P, parent="one", ends=False, left_by="timeout")
    program("runs")
    assert "retry of one" in lines(program)[0]
    assert "2 passed, 1 open" in lines(program)[0]
    program("runs", "-o", "json")
    two, one = program.json
    assert (two["parent"], two["totals"]["open"], two["seconds"]) == ("one", 1, 60)
    assert (one["totals"]["failed"], one["verdict"]["word"], one["verdict"]["state"]) == (1, "did not pass", "failed")


def test_a_list_is_as_long_as_a_person_reads_and_programs_get_all(program):
    for number in range(25):
        tell(program, f"run-{number:02}", P, P, P)
    program("runs")
    assert len(lines(program)) == 20
    assert lines(program)[0].startswith("run-24")
    assert "20 of 25 runs, the newest; --last N lists more" in program.err
    program("runs", "--last", "25")
    assert len(lines(program)) == 25
    program("runs", "-o", "json")
    assert len(program.json) == 25
    program("runs", "@nightly", "--last", "3", "-o", "json")
    assert [row["id"] for row in program.json] == ["run-24", "run-23", "run-22"]
    assert program("runs", "--last", "3", "--prune", "1d") == Exit.USAGE


def test_of_a_large_state_only_the_newest_are_counted(program, monkeypatch):
    monkeypatch.setattr("orchestrator.app.glance.COUNTED", 4)
    tell(program, "one", P, F, P)
    tell(program, "two", P, P, P)
    program("runs", "-o", "json")
    assert [row["totals"] is None for row in program.json] == [False, True]
    program("runs")
    assert "\u00d7 exit 1  3 targets" in lines(program)[1]


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_runs_keep_the_width_of_the_terminal(columns, program):
    program.environ["COLUMNS"] = str(columns)
    for run in ("a", "20261124T124243Z-mzyn", "nightly-2026-11-24"):
        tell(program, run, P, F, P)
    program("runs")
    assert max(map(len, lines(program))) <= max(columns, 44)


def test_status_begins_with_the_verdict_and_ends_with_what_to_do(program):
    tell(program, "one", P, F, P)
    assert program("status") == 0
    assert lines(program) == [
        "\u00d7 did not pass \u00b7 exit 1  nightly one",
        "2 of 3 passed; 1 did not, for 1 cause.",
        "started 2026-01-05T00:00:00Z, took 1 min",
        "3 of 3 done: 1 failed, 2 passed",
        "Build again: orchestrator retry one --state " + str(program.folder / "s"),
        "Look closer: orchestrator report one --state " + str(program.folder / "s"),
    ]


# -- one target -------------------------------------------------------------------------------------------------


def test_a_target_shows_its_last_outcomes_over_the_runs(program):
    tell(program, "one", P, F, P)
    tell(program, "two", P, P, P)
    tell(program, "three", P, E, P)
    assert program("status", "acme/b@main") == 0
    first, *rest = lines(program)
    assert first == "travis:acme/b@main: 1 of its last 3 outcomes passed  \u00d7\u2713!"
    assert [line.split()[2:4] for line in rest[:3]] == [["!", "errored"], ["\u2713", "passed"], ["\u00d7", "failed"]]
    assert rest[1].endswith("two    https://app.travis-ci.com/github/acme/b/builds/1")
    assert rest[3].startswith("Why: orchestrator why three travis:acme/b@main")


@pytest.mark.parametrize("name", ["acme/b", "ACME/B@main", "travis:acme/b@main"])
def test_a_target_may_be_named_in_every_way(name, program):
    tell(program, "one", P, F, P)
    assert program("status", name, "-o", "json") == 0
    assert program.json == {
        "schema": "orchestrator.target/1",
        "target": "travis:acme/b@main",
        "outcomes": [
            {
                "at": "2026-01-05T00:00:10Z",
                "run": "one",
                "name": "nightly",
                "outcome": "failed",
                "phase": "done",
                "code": "build_failed",
                "reason": "build failed",
                "seconds": None,
                "url": "https://app.travis-ci.com/github/acme/b/builds/1",
            }
        ],
    }


def test_an_open_target_stands_first_and_is_no_outcome(program):
    tell(program, "one", P, F, P)
    tell(program, "two", P, None, P, ends=False)
    program("status", "acme/b", "-o", "json")
    assert [(row["run"], row["outcome"], row["at"] is None) for row in program.json["outcomes"]] == [
        ("two", None, True),
        ("one", "failed", False),
    ]


def test_of_many_runs_the_last_twenty_outcomes_are_shown(program):
    for number in range(23):
        tell(program, f"run-{number:02}", P, P, P)
    program("status", "acme/a", "-o", "json")
    assert [row["run"] for row in program.json["outcomes"]] == [f"run-{number:02}" for number in range(22, 2, -1)]


def test_runs_that_were_forgotten_are_remembered_by_their_outcome(program):
    tell(program, "one", P, F, P)
    assert program("runs", "one", "--prune", "1s", "--yes") == 0
    tell(program, "two", P, P, P)
    program("status", "acme/b", "-o", "json")
    assert [(row["run"], row["name"], row["outcome"]) for row in program.json["outcomes"]] == [
        ("two", "nightly", "passed"),
        ("one", "", "failed"),
    ]
    program("status", "acme/b")
    assert "the run was forgotten" in program.out


def test_a_name_that_fits_several_targets_lists_them_and_one_that_fits_none_says_so(program):
    twins = tuple(Target(f"travis:acme/b@{ref}", "travis", "acme/b", ref) for ref in ("main", "dev"))
    tell(program, "one", P, P, targets=twins)
    assert program("status", "acme/b") == Exit.USAGE
    assert "2 targets are called 'acme/b'; say which:" in program.err
    assert program("status", "acme/zzz") == Exit.USAGE
    assert "no run in this state has a target 'acme/zzz'" in program.err


def test_selecting_among_one_target_is_refused(program):
    tell(program, "one", P, P, P)
    assert program("status", "acme/a", "--only", "acme/b") == Exit.USAGE


@pytest.mark.parametrize(("outcome", "code"), [(P, 0), (F, 1), (E, 1)])
def test_with_exit_status_a_target_exits_as_it_fared(outcome, code, program):
    tell(program, "one", P, outcome, P)
    assert program("status", "acme/b", "--exit-status") == code
    assert program("status", "acme/b") == 0


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_a_target_keeps_the_width_but_for_what_is_copied(columns, program):
    program.environ["COLUMNS"] = str(columns)
    tell(program, "one", P, F, P)
    program("status", "acme/b")
    assert all(len(line) <= columns or "http" in line or "orchestrator" in line for line in lines(program))
