"""What a retried run is told of the old one, so that it asks for nothing twice."""

import pytest
from cli_machine import context_of
from fake_service import targets

from orchestrator.app import resume
from orchestrator.app.resume import refuse_what_is_retried
from orchestrator.core.errors import UsageError
from orchestrator.core.events import Claimed, Doubted, Ended, Intended, Requested, RunMade
from orchestrator.core.history import History
from orchestrator.core.model import COORDINATOR, Outcome, Plan, marker_of
from orchestrator.core.options import Options, RunOptions
from orchestrator.engine.run import ADOPTED_WITHIN, Clocks, Run, Unobserved
from orchestrator.journal.history import load
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

(TARGET,) = targets("acme/a")
MADE_AT = 5_000_000.0
SENT = (Intended(TARGET.id, 1, "[r1.own]"), Doubted(TARGET.id, 1, "reset", 0.0, 1.0))
UNTOLD = Ended(TARGET.id, Outcome.IN_DOUBT, "in_doubt", "it cannot be told")


async def retried(*events, hosts=("here",), **options):
    """The options that the new run has, and its history."""
    history = History([TARGET])
    facts = [RunMade("nightly", None, "", options=RunOptions(**options)), *(Claimed(1, host, 1) for host in hosts)]
    for seq, event in enumerate(facts, start=1):
        history.add(COORDINATOR, seq, MADE_AT, event)
    for seq, event in enumerate(events, start=1):
        history.add("fake", seq, MADE_AT, event)
    journal, context = MemoryJournal(), context_of(now=lambda: 6_000_000.0)
    await resume.make("r2", "r1", history, Plan("n", (TARGET,), {}), journal, context, False)
    made = await load(journal, "r2")
    return made.made.options, made


async def test_a_retry_never_writes_the_report_files_of_the_run_that_it_retries():
    options, _ = await retried(reports={"/out/report.json": "json"})
    assert options.reports == {}


async def test_a_run_whose_doubt_was_retried_is_not_taken_up_again():
    """It would look for its own marker, find none, and start a second build beside that of the retry."""
    _, made = await retried(UNTOLD, adopt=True)
    journal = MemoryJournal()
    await journal.make_run("r2", made.made, [TARGET], 0.0)
    old = History([TARGET])
    old.add("fake", 1, 0.0, UNTOLD)
    with pytest.raises(UsageError, match="run r2 has retried fake:acme"):
        await refuse_what_is_retried("r1", old, journal)
    await refuse_what_is_retried("r0", old, journal)
    await refuse_what_is_retried("r1", History([TARGET]), journal)


OWN = marker_of("nightly", "r1", TARGET.id)


@pytest.mark.parametrize(
    ("events", "how", "expected"),
    [
        (SENT, {}, "[r1.own]"),
        ((*SENT, UNTOLD), {}, "[r1.own]"),
        ((UNTOLD,), {"adopt": True}, OWN),  # it never came to know what it had asked for before its state was lost
        ((), {"adopt": True}, OWN),  # it was canceled before it had looked
        ((UNTOLD,), {"hosts": ("here", "there")}, OWN),
        ((UNTOLD,), {"look_for": {TARGET.id: "[r0.older]"}}, "[r0.older]"),
        ((Requested(TARGET.id, "7", "found"),), {"adopt": True}, None),
        ((Ended(TARGET.id, Outcome.REJECTED, "x", "x"),), {"adopt": True}, None),
        ((), {}, None),
    ],
)
async def test_whatever_the_old_run_did_not_come_to_know_is_looked_for(events, how, expected):
    options, _ = await retried(*events, **how)
    assert options.look_for.get(TARGET.id) == expected
    assert not options.adopt


@pytest.mark.parametrize(("how", "back"), [({}, 0.0), ({"adopt": True}, ADOPTED_WITHIN), ({"look_since": 7e5}, 4.3e6)])
async def test_it_is_looked_for_from_when_the_old_run_may_have_asked(how, back):
    look_for = {"look_for": {TARGET.id: "[r0.older]"}}
    options, made = await retried(UNTOLD, **look_for, **how)
    assert options.look_since == MADE_AT - back
    run = Run("r2", None, made, Options(), Clocks(float, float, float, 0.0), None, Unobserved())
    assert run.look_since == MADE_AT - back - 86_400.0
