"""What a person is told when a run goes on although its manifest was edited."""

import datetime

import anyio
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
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.manifest import Answers, expand, read
from orchestrator.providers.registry import known

pytestmark = pytest.mark.usefixtures("quick_polls")

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


# -- a run that has ended ---------------------------------------------------------------------------------------

CI = "version: 1\nname: t\nproviders: {{travis: {{type: travis, url: '{url}', token: env:TOKEN}}}}\ntargets:\n"
ONE, TWO = "  - acme/svc-001@main\n", "  - acme/svc-002@main\n"


@pytest.fixture
def served(program):
    settings = {"repos": 3, "build": ["1ms", "2ms"], "process": ["1ms", "2ms"], "shares": {}}
    world = TravisLookAlike.from_settings(settings)
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(world)) as served:
        program.environ["TOKEN"] = served.token
        yield world, CI.format(url=served.url)


NIGHTLY = ("run", "--run-id", "nightly", "--state", "s")


def test_an_ended_run_is_not_taken_for_another_plan_of_the_same_id(program, served):
    world, head = served
    program.write("orchestrator.yaml", head + ONE)
    assert program(*NIGHTLY) == 0
    assert program(*NIGHTLY) == 0
    assert "has ended" in program.err
    program.write("orchestrator.yaml", head + ONE + TWO)
    assert program(*NIGHTLY, "-q") == Exit.NOT_STARTED
    assert "1 target of it is not in this run: travis:acme/svc-002@main" in program.err
    assert "orchestrator report nightly --state s" in program.err
    assert "another --run-id" in program.err
    assert program.out == ""
    assert len(world.counters.accepted) == 1


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda head: head.replace("name: t", "name: t\ndefaults: {message: other}"), "would be asked for otherwise"),
        (lambda head: f"params: {{image: b}}\n{head}", "parameter image is not set in this run, not 'b'"),
        (lambda head: f"x-notes: a remark\n{head}", None),
    ],
)
def test_what_is_sent_and_the_parameters_belong_to_the_plan_and_remarks_do_not(program, served, edit, told):
    _, head = served
    program.write("orchestrator.yaml", head + ONE)
    assert program(*NIGHTLY) == 0
    program.write("orchestrator.yaml", edit(head) + ONE)
    assert program(*NIGHTLY) == (0 if told is None else Exit.NOT_STARTED)
    assert told is None or told in program.err


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_list_without_a_manifest_is_compared_too(program):
    program.write("list.txt", "acme/svc-001@main\n")
    words = ("run", "--from", "list.txt", "--run-id", "nightly", "--sandbox")
    assert program(*words) == 0
    assert program(*words) == 0
    program.write("list.txt", "acme/svc-001@main\nacme/svc-002@main\n")
    assert program(*words) == Exit.NOT_STARTED
    assert "list.txt: 1 target of it is not in this run" in program.err
    assert "orchestrator report nightly --sandbox" in program.err


def test_where_only_the_provider_knows_the_targets_manifest_parameters_and_selection_are_compared(program, served):
    _, head = served
    discover = "  - discover: {owner: acme}\n    branches: [main]\n"
    program.write("orchestrator.yaml", head + discover)
    assert program(*NIGHTLY, "--only", "acme/svc-001") == 0
    assert program(*NIGHTLY, "--only", "acme/svc-001") == 0
    assert program(*NIGHTLY) == Exit.NOT_STARTED
    assert "this run has --only acme/svc-001, not everything" in program.err
    program.write("orchestrator.yaml", f"{head}{discover}  - acme/svc-009@main\n")
    assert program(*NIGHTLY, "--only", "acme/svc-001") == Exit.NOT_STARTED
    assert "was edited" in program.err


def test_an_empty_id_is_wrong_usage(program):
    for verb in ("run", "retry"):
        assert program(verb, "--run-id", "") == Exit.USAGE
        assert "--run-id ''" in program.err


def test_a_retry_that_is_made_again_goes_on_with_itself(program, served):
    world, head = served
    program.write("orchestrator.yaml", f"{head}{ONE}  - acme/nowhere@main\n")
    assert program(*NIGHTLY) == 1
    again = ("retry", "nightly", "--run-id", "again", "--state", "s")
    assert program(*again) == 1
    asked = world.counters.posts
    assert program(*again) == 1
    assert "run again exists and has ended" in program.err
    assert program("retry", "--run-id", "again", "--state", "s") == 1
    assert world.counters.posts == asked
    assert program("retry", "again", "--run-id", "nightly", "--state", "s") == Exit.NOT_STARTED
    assert "run nightly exists, and is no retry" in program.err
