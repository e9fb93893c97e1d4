"""Whole rollouts of 400 targets: what a bad library, and an estate with failures of its own, come to."""

import pytest
from fake_service import FakeService, make_run, targets
from rolling import BAD, Rolling, names, rollout
from test_engine_reruns import F, P, World

from orchestrator.core.errors import Exit
from orchestrator.core.events import Stopped, WaveJudged
from orchestrator.core.frozen import replace
from orchestrator.core.waves import Reruns, StopWhen, WaveRule
from orchestrator.report import render
from orchestrator.report.verdict import verdict
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

LARGE = 400
RED = [f"acme/r{n}" for n in range(4, LARGE, 8)]  # 12 %, always
QUICK = {"limits": ()}
WAVES = (WaveRule("10", name="canary"), WaveRule("50%"), WaveRule("100%", name="rest"))


async def rolled(service, journal, run, how=None, **options):
    rolling = Rolling(service, journal, run)
    await make_run(journal, targets(*names(LARGE)), run, service.now(), rollout=how, **QUICK)
    return rolling, await rolling.drive(**options)


async def after_three_runs(red):
    service = FakeService(dict.fromkeys(red, BAD))
    journal = MemoryJournal(now=service.now)
    for number in range(3):
        await rolled(service, journal, f"night{number}")
    return service, journal


async def test_a_bad_library_stops_in_the_canary_wave_with_one_page_that_says_why_and_what_to_do():
    service = FakeService(dict.fromkeys(names(LARGE), BAD))
    journal = MemoryJournal(now=service.now)
    run, code = await rolled(service, journal, "bump", rollout(*WAVES, stop_when=StopWhen(failed="20%")))
    assert code == Exit.STOPPED
    assert len(run.sent) == 10
    report = replace(await run.report(), suffix=" --state here")
    report = replace(report, run=replace(report.run, manifest="bump.yaml", params={"version": "2.0"}))
    page = render(report, "text")
    why = "⊘ stopped by failed 20% · exit 5  Wave 1 (canary): 10 bad of 10 sent (100.0 %), 20% stop the run.\n"
    assert why in page
    assert verdict(report).sentence.startswith(
        "Wave 1 (canary): 10 bad of 10 sent (100.0 %), 20% stop the run. 390 were not"
    )
    assert "orchestrator resume bump --override-stop" in page
    assert "orchestrator run bump.yaml -p version=OLD --only fake:acme/r0 --only fake:acme/r1" in page
    assert len(page.splitlines()) < 60


async def test_a_messy_estate_at_its_usual_rate_goes_through():
    service, journal = await after_three_runs(RED)
    how = rollout(*WAVES, stop_when=StopWhen(worse_than_usual=0.01))
    run, code = await rolled(service, journal, "bump", how)
    assert code == Exit.FAILED
    assert [verdict for _, verdict, _ in run.waves] == ["go", "go", "go"]
    assert "of the first 400 bad" in run.facts(WaveJudged)[-1].arithmetic


async def test_the_same_estate_with_a_bad_library_is_stopped_as_worse_than_usual():
    service, journal = await after_three_runs(RED)
    service.scripts = dict.fromkeys([*RED, *names(LARGE)[::3]], BAD)
    how = rollout(*WAVES, stop_when=StopWhen(worse_than_usual=0.01))
    run, code = await rolled(service, journal, "bump", how)
    assert code == Exit.STOPPED
    assert run.facts(Stopped)[0].rule == "worse_than_usual"
    assert len(run.facts(WaveJudged)) < 2


async def test_a_canary_that_is_always_red_does_not_stop_an_estate_of_which_that_is_known():
    service, journal = await after_three_runs(["acme/r0"])
    how = rollout("1", "100%", stop_when=StopWhen(worse_than_usual=0.01))
    run, code = await rolled(service, journal, "bump", how)
    assert code == Exit.FAILED
    assert [verdict for _, verdict, _ in run.waves] == ["undecided", "go"]


async def test_five_percent_of_flakes_go_through_and_are_named():
    flaky = names(LARGE)[::20]
    service = World(ends={name: [F, P] for name in flaky})
    journal = MemoryJournal(now=service.now)
    run = Rolling(service, journal, "bump")
    how = rollout(*WAVES, stop_when=StopWhen(failed="4%", after=5, worse_than_usual=0.01))
    await make_run(journal, targets(*names(LARGE), reruns=Reruns(1)), "bump", service.now(), rollout=how, **QUICK)
    assert await run.drive() == Exit.OK
    assert len(run.waves) == 3
    assert "flaky: 20 targets passed only after a rerun: fake:acme/r0" in render(await run.report(), "text")
