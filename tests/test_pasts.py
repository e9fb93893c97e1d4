"""How targets fared in earlier runs: what is kept of each, and what `plan` makes of it."""

from __future__ import annotations

import pytest
from cli_machine import Program
from fake_service import FakeService, Script, make_run, targets
from test_engine import engine

from orchestrator.core.errors import Exit
from orchestrator.core.events import Ended, Refused, Sighted, Skipped
from orchestrator.core.evidence import Past
from orchestrator.core.model import DEFAULT_FAIL_ON, Build, BuildState, Outcome
from orchestrator.core.pasts import KEPT, letter_of, past_of, place_of
from orchestrator.testing import MemoryJournal

SERVICE = "fake https://ci.invalid"


@pytest.mark.parametrize(
    ("event", "letter"),
    [
        (Ended("t", Outcome.PASSED, "passed", ""), "p"),
        (Ended("t", Outcome.PASSED, "passed_after_rerun", ""), "r"),
        (Ended("t", Outcome.FAILED, "failed_every_time", ""), "f"),
        (Ended("t", Outcome.ERRORED, "build_errored", ""), "e"),
        (Ended("t", Outcome.TIMED_OUT, "no_build", ""), "t"),
        (Ended("t", Outcome.CANCELED, "build_canceled", ""), "c"),
        (Ended("t", Outcome.CANCELED, "canceled_by_us", ""), None),
        (Ended("t", Outcome.SUPERSEDED, "superseded", ""), None),
        (Ended("t", Outcome.IN_DOUBT, "in_doubt", ""), None),
        (Refused("t", "not_found", ""), "j"),
        (Refused("t", "request_limit_reached", ""), None),
        (Skipped("t", "frozen"), None),
        (Sighted("t", Build("1", BuildState.PASSED, "passed")), None),
    ],
)
def test_what_tells_nothing_of_the_target_is_not_kept(event, letter):
    assert letter_of(event) == letter


def test_first_attempts_count_where_nothing_is_started_again():
    assert past_of("pprf", DEFAULT_FAIL_ON, has_reruns=False) == Past(2, 4)
    assert past_of("pprf", DEFAULT_FAIL_ON, has_reruns=True) == Past(1, 4)
    assert past_of("pxc", {Outcome.FAILED}, has_reruns=True) == Past(0, 3)


def test_a_target_is_the_same_whatever_its_account_is_called_and_its_repository_spelt():
    assert place_of(SERVICE, "a:ACME/Lib@Main[os=X]#N") == place_of(SERVICE, "b:acme/lib@Main[os=X]#N")
    assert place_of(SERVICE, "a:acme/lib@Main") != place_of(SERVICE, "a:acme/lib@main")


@pytest.mark.anyio
async def test_each_run_adds_one_letter_to_a_target_and_only_the_newest_are_kept():
    service = FakeService({"acme/b": Script(BuildState.FAILED)})
    journal = MemoryJournal(now=service.now)
    for number in range(KEPT + 2):
        await make_run(journal, targets("acme/a", "acme/b"), at=service.now(), run=f"r{number}")
        await engine(journal, service, run=f"r{number}").run()
    last = f"r{KEPT + 1}"
    assert await journal.pasts(SERVICE) == {f"{SERVICE} acme/a": "p" * KEPT, f"{SERVICE} acme/b": "f" * KEPT}
    assert await journal.pasts(SERVICE, without=last) == {
        f"{SERVICE} acme/a": "p" * (KEPT - 1),
        f"{SERVICE} acme/b": "f" * (KEPT - 1),
    }
    await journal.drop_runs([f"r{number}" for number in range(KEPT + 2)])
    assert len(await journal.pasts(SERVICE)) == 2
    assert await journal.pasts("fake https://ci.invalid/other") == {}


def test_a_plan_says_how_many_failures_stop_it_once_enough_is_known(tmp_path, capsys):
    program = Program(tmp_path, capsys, TRAVIS_TOKEN="t" * 20)
    names = "".join(f"  - acme/r{n}\n" for n in range(30))
    head = "version: 1\nrollout: {waves: [50%, 100%], stop_when: {worse_than_usual: true}}\n"
    program.write("m.yaml", f"{head}targets:\n{names}")
    assert program("plan", "m.yaml", "--sandbox", "--state", "s") == 0
    assert "worse_than_usual does not act: fewer than 50 earlier outcomes are known of" in program.out
    for run in ("one", "two"):
        assert program("run", "m.yaml", "--sandbox", "--state", "s", "--run-id", run) in (Exit.OK, Exit.FAILED)
    assert program("plan", "m.yaml", "--sandbox", "--state", "s") == 0
    assert "bad of the first 30 stop it: worse than usual" in program.out
    assert program("plan", "m.yaml", "--sandbox", "--state", "s", "-o", "json") == 0
    blocks = [block["targets"] for wave in program.json["waves"] for block in wave["blocks"]]
    assert blocks == [10, 15, 20, 30]
