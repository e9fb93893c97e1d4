"""What a person is told when a run goes on although its manifest was edited."""

import datetime

import pytest
from anyio import run
from cli_machine import Program
from leases import claim

from orchestrator.app.start import made_of
from orchestrator.core.errors import Exit
from orchestrator.core.events import Interrupted
from orchestrator.core.model import COORDINATOR
from orchestrator.journal.process import this_process
from orchestrator.journal.store import open_journal
from orchestrator.manifest import Answers, expand, read
from orchestrator.providers.registry import known

AT = 1_767_571_200.0  # 2026-01-05T00:00:00Z
HEAD = "version: 1\nparams: {image: {default: one}}\n"
PLAIN = f"{HEAD}targets: [acme/a, acme/b]\n"


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


def started(program, text):
    """An open run of this manifest, which stands there as it is."""
    program.write("orchestrator.yaml", text)

    async def make():
        plan = expand(
            read("orchestrator.yaml", text.encode(), declarations=known(), load=open, run_id="one"),
            Answers(),
            today=datetime.date(2026, 1, 5),
        )
        async with open_journal(str(program.folder / "s"), now=lambda: AT) as journal:
            await journal.make_run("one", made_of(plan, {}), plan.targets, AT)
            lease = await claim(journal, "one", COORDINATOR, this_process(), AT, 30.0)
            await journal.append(lease, [Interrupted("SIGINT", int(Exit.SIGINT))], AT + 60)
            await journal.release([lease])

    run(make)


def said(program, *words):
    """What a second `run` says of edits; without a token it ends there, and nothing is sent."""
    assert program("run", "--run-id", "one", "--state", "s", *words) == Exit.USAGE
    assert "TRAVIS_TOKEN" in program.err
    return [line.strip() for line in program.err.splitlines() if line.startswith("  ")]


def test_the_same_manifest_is_not_worth_a_word(program):
    started(program, PLAIN)
    assert said(program) == []


def test_a_comment_is_not_worth_a_word(program):
    started(program, PLAIN)
    program.write("orchestrator.yaml", f"# a comment\n{PLAIN}")
    assert said(program) == []


def test_another_brake_is_told_since_the_run_keeps_its_own(program):
    started(program, PLAIN)
    limits = "{in_flight: 3, quiet_hours: '08:00-18:00'}"
    program.write("orchestrator.yaml", f"{PLAIN}providers: {{travis: {{limits: {limits}}}}}\n")
    assert said(program) == [
        "account travis: this run keeps the `in_flight` and `queue` that it was made with; -j lowers them",
        "account travis: this run keeps the quiet hours that it was made with; --ignore-quiet-hours leaves them",
    ]


def test_targets_that_came_and_went_are_named(program):
    started(program, PLAIN)
    program.write("orchestrator.yaml", PLAIN.replace("acme/a", "acme/c, acme/d"))
    assert said(program) == [
        "orchestrator.yaml: 2 targets of it are not in this run: travis:acme/c, travis:acme/d",
        "orchestrator.yaml: 1 target of this run is no longer in it: travis:acme/a",
    ]


def test_of_many_targets_a_few_are_named(program):
    started(program, PLAIN)
    more = ", ".join(f"acme/n{number}" for number in range(1_500))
    program.write("orchestrator.yaml", PLAIN.replace("acme/b", f"acme/b, {more}"))
    (line,) = said(program)
    assert "1,500 targets" in line
    assert line.endswith("and 1,495 more")


def test_another_request_for_the_same_target_is_told(program):
    started(program, PLAIN)
    program.write("orchestrator.yaml", PLAIN.replace("acme/b", "{repo: acme/b, env: {A: b}}"))
    assert said(program) == ["orchestrator.yaml: 1 target would be asked for otherwise by now: travis:acme/b"]


def test_another_parameter_is_told(program):
    started(program, PLAIN)
    assert said(program, "-p", "image=two") == ["parameter image is 'one' in this run, not 'two'"]


def test_what_needs_an_answer_of_the_provider_is_only_called_edited(program):
    started(program, PLAIN)
    program.write("orchestrator.yaml", f"{HEAD}targets: [{{discover: {{owner: acme}}}}]\n")
    assert said(program) == ["orchestrator.yaml was edited since the run was made"]


@pytest.mark.parametrize("text", [None, "version: 1\ntargets: 7\n"])
def test_a_manifest_that_is_gone_or_wrong_stops_nothing(program, text):
    started(program, PLAIN)
    (program.folder / "orchestrator.yaml").unlink()
    if text is not None:
        program.write("orchestrator.yaml", text)
    (line,) = said(program)
    assert line.startswith("the manifest cannot be compared with the run's plan: ")
