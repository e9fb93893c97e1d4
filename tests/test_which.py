"""RUN, in every verb that takes it: a whole id, `latest`, `@NAME`, the beginning of an id, or a part of one."""

import pytest
from cli_machine import Program
from test_cli_state import F, P, tell

from orchestrator.app.which import fitting, is_target
from orchestrator.core.errors import Exit
from orchestrator.journal.port import RunRow

ROWS = [
    RunRow(id_, name, 0.0, 3)
    for id_, name in (
        ("20260103-bb", "nightly"),
        ("20260102-ab", "bump"),
        ("20260101-aa", "nightly"),
        ("ab", "nightly"),
    )
]


@pytest.fixture
def program(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path / "s"))
    program = Program(tmp_path, capsys)
    tell(program, "monday-1", P, F, P)
    tell(program, "tuesday-1", P, P, P)
    return program


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("latest", ["20260103-bb"]),
        ("@bump", ["20260102-ab"]),
        ("@nightly", ["20260103-bb", "20260101-aa", "ab"]),
        ("@none", []),
        ("20260101", ["20260101-aa"]),
        ("-aa", ["20260101-aa"]),
        ("ab", ["ab"]),  # whole, though another one holds it
        ("2026010", ["20260103-bb", "20260102-ab", "20260101-aa"]),
        ("b", ["20260103-bb", "20260102-ab", "ab"]),
        ("x", []),
    ],
)
def test_a_text_means_these_runs(text, meant):
    assert [row.id for row in fitting(ROWS, text)] == meant


def test_a_run_whose_id_is_latest_is_found_by_it():
    assert [row.id for row in fitting([*ROWS, RunRow("latest", "odd", 0.0, 1)], "latest")] == ["latest"]


def test_a_word_with_a_slash_or_a_colon_is_a_target_and_a_name_of_runs_never():
    assert [is_target(word) for word in ("acme/a", "travis:x", "@team/nightly", "latest", "2026")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("status", "RUN"),
        ("report", "RUN"),
        ("watch", "RUN"),
        ("why", "RUN", "acme/a"),
        ("diff", "RUN", "RUN"),
        ("runs", "RUN"),
        ("runs", "RUN", "--export", "all.db"),
        ("plan", "--repo", "acme/a", "--like", "RUN", "--offline"),
    ],
)
@pytest.mark.parametrize("text", ["latest", "@nightly", "tues", "uesd", "tuesday-1"])
def test_every_verb_takes_it(words, text, program):
    program.environ["TRAVIS_TOKEN"] = "t0ken"
    assert program(*[text if word == "RUN" else word for word in words]) == 0, program.err


@pytest.mark.parametrize("verb", ["cancel", "approve", "pause", "unpause", "resume"])
def test_verbs_that_steer_take_it_too(verb, program):
    program(verb, "latest", "--yes")
    assert "no run in this state" not in program.err
    assert program(verb, "nosuch", "--yes") == Exit.USAGE
    assert "no run in this state begins with 'nosuch', or has it in its id; `orchestrator runs" in program.err


def test_what_fits_several_is_an_error_that_lists_them(program):
    assert program("status", "day-1") == Exit.USAGE
    assert "2 runs hold 'day-1'; write more of it:" in program.err
    assert "monday-1" in program.err
    assert "tuesday-1" in program.err


def test_a_name_that_no_run_has_is_an_error_with_the_nearest(program):
    assert program("status", "@nihgtly") == Exit.USAGE
    assert "no run in this state is called 'nihgtly'; did you mean `nightly`?" in program.err


def test_prune_takes_a_name_and_forgets_only_its_runs(program):
    assert program("runs", "@nightly", "--prune", "1s", "--yes") == 0
    assert program("runs") == 0
    assert program.out == "no runs\n"
    assert program("runs", "@nightly", "--prune", "1s") == Exit.USAGE
    assert "nothing was forgotten" in program.err
