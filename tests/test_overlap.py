"""Open runs that hold targets, and those that hold none any more: runs that sent nothing, died, or were rehearsals."""

import anyio
import pytest
from cli_machine import Program, context_of
from leases import claim

from orchestrator.app.overlap import Held, make_instead
from orchestrator.app.start import made_of
from orchestrator.core.errors import Exit
from orchestrator.core.events import Doubted, Intended, Requested
from orchestrator.core.model import COORDINATOR, Account, Plan, Target, marker_of
from orchestrator.core.options import RunOptions
from orchestrator.journal.history import load
from orchestrator.journal.process import this_process
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.usefixtures("quick_rehearsals")

MANIFEST = """\
version: 1
name: t
providers: {{travis: {{type: travis, url: '{url}', token: env:TOKEN}}}}
defaults: {{branches: [main]}}
targets: [acme/svc-001, acme/svc-002, acme/svc-003]
"""
AT = 1_767_571_200.0
TARGETS = tuple(Target(f"travis:acme/{name}@main", "travis", f"acme/{name}", "main") for name in "abc")
MADE = made_of(
    Plan("nightly", TARGETS, {"travis": Account("travis", "travis", "https://api.travis-ci.com")}), RunOptions()
)


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


@pytest.fixture
def served():
    world = TravisLookAlike.from_settings(
        {"repos": 3, "build": ["1ms", "2ms"], "process": ["1ms", "2ms"], "shares": {}}
    )
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(world)) as served:
        yield served


# -- rehearsals -------------------------------------------------------------------------------------------------


def test_a_rehearsal_that_was_interrupted_is_no_hindrance_to_the_same_command(program):
    rehearsal = ("run", "--repo", "acme/x@main", "--sandbox")
    assert program(*rehearsal, "--timeout", "1ms") == Exit.TIMEOUT
    assert program(*rehearsal) == 0
    assert program("runs", "--open", "--sandbox", "-o", "json") == 0
    assert program.json == []


def test_the_id_of_a_rehearsal_whose_sandbox_is_gone_is_free_again(program):
    rehearsal = ("run", "--repo", "acme/x@main", "--sandbox", "--run-id", "try")
    assert program(*rehearsal, "--timeout", "1ms") == Exit.TIMEOUT
    assert program(*rehearsal) == 0
    assert "1 passed" in program.out
    assert program(*rehearsal) == 0
    assert "has ended" in program.err


@pytest.mark.parametrize("state", ["s", "sqlite:///s/one.db"])
def test_a_rehearsal_writes_nothing_into_the_state_that_is_named(program, state):
    program.environ["ORCHESTRATOR_STATE"] = state
    assert program("run", "--repo", "acme/x@main", "--sandbox", "--run-id", "try") == 0
    assert program("runs", "-o", "json") == 0
    assert program.json == []
    assert program("status", "try") == 0
    assert not (program.folder / "s" / "state.db").exists()
    assert not (program.folder / "s" / "one.db").exists()


def test_canceling_a_rehearsal_whose_sandbox_is_gone_ends_it(program):
    assert program("run", "--repo", "acme/x@main", "--sandbox", "--run-id", "try", "--timeout", "1ms") == Exit.TIMEOUT
    assert program("cancel", "try", "--sandbox") == 0
    assert program("runs", "--open", "--sandbox", "-o", "json") == 0
    assert program.json == []


# -- runs that sent nothing -------------------------------------------------------------------------------------


def test_a_run_that_a_wrong_token_stopped_holds_no_target(program, served):
    program.write("orchestrator.yaml", MANIFEST.format(url=served.url))
    program.environ["TOKEN"] = "wr0ng-t0ken"
    assert program("run", "--state", "s") == Exit.ACCOUNT
    program.environ["TOKEN"] = served.token
    assert program("run", "--state", "s") == 0
    assert "3 passed" in program.out
    assert program("runs", "--open", "--state", "s", "-o", "json") == 0
    assert program.json == []


def test_a_run_that_a_wrong_token_stopped_can_be_resumed_with_the_right_one(program, served):
    program.write("orchestrator.yaml", MANIFEST.format(url=served.url))
    program.environ["TOKEN"] = "wr0ng-t0ken"
    assert program("run", "--state", "s", "--run-id", "one") == Exit.ACCOUNT
    program.environ["TOKEN"] = served.token
    assert program("resume", "--state", "s") == 0


# -- runs that died ---------------------------------------------------------------------------------------------


async def left(journal, run, *events, made=MADE):
    """A run that a process, now gone, has left after these events of its account."""
    await journal.make_run(run, made, TARGETS, AT, forbid_overlap=False)
    leases = [await claim(journal, run, name, this_process(), AT, 30.0) for name in (COORDINATOR, "travis")]
    await journal.append(leases[1], events, AT + 1)
    await journal.release(leases)


def context_at(seconds):
    return context_of(now=lambda: AT + seconds, ticks=lambda: seconds, up=lambda: seconds)


A, B, C = (target.id for target in TARGETS)
MARKERS = {id_: marker_of("nightly", "one", id_) for id_ in (A, B, C)}


@pytest.mark.anyio
async def test_a_run_that_died_with_builds_holds_its_targets_until_it_is_replaced():
    journal = MemoryJournal(now=lambda: AT)
    await left(journal, "one", Intended(A, 1, MARKERS[A]), Requested(A, "1", "answered"), Intended(B, 1, MARKERS[B]))
    with pytest.raises(Held):
        await make_instead("two", MADE, TARGETS, journal, context_at(60))
    targets, ended = await make_instead("two", MADE, TARGETS, journal, context_at(60), "replace")
    assert (len(targets), ended) == (3, ["one"])
    assert (await load(journal, "one")).has_ended
    assert (await load(journal, "two")).options.look_for == {B: MARKERS[B]}
    assert (await load(journal, "two")).options.look_since == AT


@pytest.mark.anyio
async def test_what_a_run_had_yet_to_look_for_its_replacement_looks_for_too():
    journal = MemoryJournal(now=lambda: AT)
    await left(journal, "one", Intended(B, 1, MARKERS[B]), Doubted(B, 1, "lost", AT, AT + 1))
    for number, run in enumerate(("two", "three")):
        await make_instead(run, MADE, TARGETS, journal, context_at(60 * (number + 1)), "replace")
    assert (await load(journal, "two")).has_ended
    assert (await load(journal, "three")).options.look_for == {B: MARKERS[B]}


@pytest.mark.anyio
async def test_a_run_that_is_just_about_to_be_taken_up_is_not_replaced():
    journal = MemoryJournal(now=lambda: AT)
    await journal.make_run("one", MADE, TARGETS, AT)
    with pytest.raises(Held):
        await make_instead("two", MADE, TARGETS, journal, context_at(1), "replace")
    await make_instead("two", MADE, TARGETS, journal, context_at(31))
    assert (await load(journal, "one")).has_ended


@pytest.mark.anyio
async def test_a_run_that_somebody_drives_is_not_ended_by_another():
    journal = MemoryJournal(now=lambda: AT)
    await journal.make_run("one", MADE, TARGETS, AT)
    await claim(journal, "one", COORDINATOR, this_process(), AT, 30.0)
    with pytest.raises(Held):
        await make_instead("two", MADE, TARGETS, journal, context_at(1), "replace")


@pytest.mark.anyio
async def test_a_start_that_is_refused_leaves_the_other_runs_as_they_were():
    journal = MemoryJournal(now=lambda: AT)
    await left(journal, "one", Intended(A, 1, MARKERS[A]), Requested(A, "1", "answered"))
    await left(journal, "none")
    before = await load(journal, "none")
    with pytest.raises(Held) as caught:
        await make_instead("two", MADE, TARGETS, journal, context_at(60))
    assert {one.run for one in caught.value.overlaps} == {"one"}
    assert (await load(journal, "none")).cursor == before.cursor
