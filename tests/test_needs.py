"""What becomes of targets of which a need did not pass."""

from __future__ import annotations

from collections import Counter

import pytest
from fake_service import FakeService, Script, make_run, targets
from test_engine import drive, engine, outcomes

from orchestrator.core.errors import Exit
from orchestrator.core.events import Released
from orchestrator.core.model import BuildState, Outcome
from orchestrator.core.needs import Needs
from orchestrator.core.progress import NEED_NOT_PASSED, Progress, Verdict
from orchestrator.core.waves import Rollout, WaveRule
from orchestrator.journal.history import load
from orchestrator.report.groups import groups
from orchestrator.report.view import view
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

FAILS = Script(BuildState.FAILED)


def chain(length: int, **more):
    """Each needs the one before."""
    made = [targets("acme/r0")[0]]
    for number in range(1, length):
        made += targets(f"acme/r{number}", needs=(made[-1].id,), **more)
    return tuple(made)


async def test_a_skipped_target_names_the_root_and_how_far_away_it_is():
    _, history, _ = await drive(chain(4), FakeService({"acme/r0": FAILS}))
    assert [history.of(f"fake:acme/r{n}").verdict.reason for n in (1, 2, 3)] == [
        "needs fake:acme/r0, which failed, 1 step away",
        "needs fake:acme/r0, which failed, 2 steps away",
        "needs fake:acme/r0, which failed, 3 steps away",
    ]
    assert {history.of(f"fake:acme/r{n}").verdict.code for n in (1, 2, 3)} == {"need_not_passed"}


async def test_all_that_one_root_took_along_is_one_group():
    _, history, _ = await drive(chain(6), FakeService({"acme/r0": FAILS}))
    found = groups(view("r1", history, 0.0))
    assert [(group.word, group.reason, len(group.rows)) for group in found] == [
        ("failed", "the build failed", 1),
        ("skipped", "fake:acme/r0 did not pass, and they need it", 5),
    ]


async def test_a_root_stays_the_root_when_another_process_goes_on():
    service = FakeService({"acme/r0": FAILS})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, chain(3), at=service.now())
    await engine(journal, service).run()
    history = await load(journal, "r1")
    needs = Needs((*chain(3), *targets("acme/late", needs=("fake:acme/r2",))), history.progress)
    (skipped,) = needs.begin()
    assert (skipped.target, skipped.root, skipped.steps) == ("fake:acme/late", "fake:acme/r0", 3)


async def test_a_target_may_run_although_its_need_did_not_pass():
    code, history, _ = await drive(chain(3, needs_not_passed="run"), FakeService({"acme/r0": FAILS}))
    assert code == Exit.FAILED
    assert outcomes(history) == {"acme/r0": "failed", "acme/r1": "passed", "acme/r2": "passed"}


async def test_a_target_of_which_one_need_failed_waits_for_the_others_all_the_same():
    service = FakeService({"acme/a": FAILS, "acme/b": Script(runs=600.0)})
    app = targets("acme/app", needs=("fake:acme/a", "fake:acme/b"), needs_not_passed="run")
    _, history, _ = await drive((*targets("acme/a", "acme/b"), *app), service)
    assert history.of(app[0].id).triggered_at >= history.of("fake:acme/b").verdict.at


async def test_a_need_that_did_not_pass_may_stop_the_run():
    service = FakeService({"acme/r0": FAILS, "acme/other": Script(runs=600.0)})
    code, history, journal = await drive((*chain(3, needs_not_passed="stop"), *targets("acme/other")), service)
    assert code == Exit.STOPPED
    assert (history.stopped.rule, history.stopped.arithmetic) == (
        "needs_not_passed",
        "fake:acme/r1 needs fake:acme/r0, which failed, 1 step away",
    )
    assert outcomes(history) == {"acme/r0": "failed", "acme/r1": None, "acme/r2": None, "acme/other": "passed"}

    code = await engine(journal, service, override_stop=True).run()
    assert code == Exit.FAILED
    assert outcomes(await load(journal, "r1"))["acme/r1"] == "skipped"


async def test_many_that_need_the_same_stop_the_run_once():
    wanted = (*targets("acme/lib"), *targets("acme/a", "acme/b", needs=("fake:acme/lib",), needs_not_passed="stop"))
    _, _, journal = await drive(wanted, FakeService({"acme/lib": FAILS}))
    entries = await journal.read("r1", {})
    assert [entry.event.kind for entry in entries].count("stopped") == 1


async def test_what_stands_in_a_wave_that_is_not_open_is_not_skipped_before_a_stop():
    service = FakeService({"acme/r0": FAILS})
    rollout = Rollout((WaveRule("1"), WaveRule("100%")))
    journal = MemoryJournal(now=service.now)
    await make_run(journal, chain(4), at=service.now(), rollout=rollout)
    assert await engine(journal, service).run() == Exit.STOPPED
    history = await load(journal, "r1")
    assert Counter(outcomes(history).values()) == {"failed": 1, None: 3}
    assert {row.code for row in view("r1", history, service.now()).targets[1:]} == {"wave_not_opened"}
    assert await engine(journal, service, override_stop=True).run() == Exit.FAILED
    assert Counter(outcomes(await load(journal, "r1")).values()) == {"failed": 1, "skipped": 3}


async def test_a_target_waits_for_its_wave_before_it_waits_for_a_need_in_it():
    service = FakeService({"acme/r0": Script(runs=600.0)})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, chain(3), at=service.now(), rollout=Rollout((WaveRule("1"), WaveRule("100%"))))
    await engine(journal, service, timeout=60.0).run()
    rows = view("r1", await load(journal, "r1"), service.now()).targets
    assert [row.code for row in rows[1:]] == ["wave", "wave"]


def test_a_need_that_passed_after_all_releases_what_was_skipped():
    wanted = chain(3)
    skipped = Verdict(Outcome.SKIPPED, NEED_NOT_PASSED, "", 1.0, "fake:acme/r0", 1)
    known = {
        "fake:acme/r0": Progress(verdict=Verdict(Outcome.PASSED, "passed", "", 2.0)),
        "fake:acme/r1": Progress(verdict=skipped),
        "fake:acme/r2": Progress(verdict=skipped),
    }
    needs = Needs(wanted, known)
    assert not needs.are_awaited
    assert needs.begin() == [Released("fake:acme/r1")]
    assert needs.settled("fake:acme/r1", known["fake:acme/r0"]) == [Released("fake:acme/r2")]
