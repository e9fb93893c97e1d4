"""Which targets pass only now and then: counted over the runs of the state, the most unsteady first."""

import json

import pytest
from cli_machine import Program

from orchestrator.core.errors import Exit

pytestmark = pytest.mark.usefixtures("quick_rehearsals")

MANIFEST = """
version: 1
name: {name}
reruns: 1
causes: off
targets: [acme/lib@main, acme/web@main, acme/app@main]
"""
# A build that is started again is known by its start, which services tell in whole seconds: none is quicker than that
# (1.2 s, as rehearsals live a hundred times as fast here).
QUICK = ("--sandbox", "--sandbox-slow", "**=2m", "-q")


@pytest.fixture
def program(tmp_path, capsys):
    made = Program(tmp_path, capsys)
    made.write("orchestrator.yaml", MANIFEST.format(name="nightly"))
    made.write("other.yaml", MANIFEST.format(name="other"))
    return made


def test_flakes_are_listed_before_red_ones_and_what_always_passed_is_a_number(program):
    assert program("run", *QUICK, "--sandbox-flakes", "acme/web", "--sandbox-fails", "acme/lib") == Exit.FAILED
    assert program("run", "--sandbox", "-q", "--sandbox-slow", "**=1s") == Exit.OK
    assert program("run", "other.yaml", *QUICK, "--sandbox-fails", "acme/app") == Exit.FAILED
    assert program("flaky", "nightly", "--sandbox", "-o", "json") == Exit.OK
    found = program.json
    assert (found["schema"], found["name"], found["steady"]) == ("orchestrator.flaky/1", "nightly", 1)
    numbers = [
        (one["repo"], one["runs"], one["passed"], one["passed_after_rerun"], one["failed"]) for one in found["targets"]
    ]
    assert numbers == [("acme/web", 2, 1, 1, 0), ("acme/lib", 2, 1, 0, 1)]
    assert program("flaky", "--sandbox") == Exit.OK
    lines = program.out.splitlines()
    assert lines[1].split() == ["3", "2", "1", "0", "travis:acme/web@main"]
    assert {line.split()[-1] for line in lines[2:4]} == {"travis:acme/lib@main", "travis:acme/app@main"}
    assert lines[-1] == "0 other targets passed at once, each time"


def test_a_name_that_no_run_has_is_wrong_usage(program):
    assert program("run", "--sandbox", "-q", "--sandbox-slow", "**=1s") == Exit.OK
    assert program("flaky", "nihgtly", "--sandbox") == Exit.USAGE
    assert "there is no run of the name 'nihgtly'" in program.err
    assert program("flaky", "--sandbox") == Exit.OK
    assert program.out == "3 targets passed at once, each time\n"


def test_the_facts_of_a_run_are_lines_of_json_in_the_order_of_the_journal(program):
    assert (
        program("run", *QUICK, "--sandbox-flakes", "acme/web", "-o", f"events={program.folder / 'e.jsonl'}") == Exit.OK
    )
    kept = [json.loads(line) for line in (program.folder / "e.jsonl").read_text().splitlines()]
    assert program("report", "--sandbox", "-o", "events") == Exit.OK
    assert [json.loads(line) for line in program.out.splitlines()] == kept
    kinds = [fact["event"] for fact in kept]
    assert kinds.count("intended") == 3
    assert kinds.count("restarted") == 1
    assert {"run", "stream", "seq", "at", "event"} <= kept[0].keys()
    assert program("report", "--sandbox", "-o", "events", "--only", "acme/lib") == Exit.OK
    assert {fact.get("target") for fact in map(json.loads, program.out.splitlines())} == {None, "travis:acme/lib@main"}
