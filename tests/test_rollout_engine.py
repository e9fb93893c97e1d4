"""Waves, verdicts, stop rules, approvals and pauses, as a run goes through them."""

import anyio
import pytest
from fake_service import FAKE, FakeService, Script, make_run, targets
from rolling import BAD, Rolling, names, rollout

from orchestrator.app.overlap import names_in
from orchestrator.cli.live import summary
from orchestrator.core.errors import Exit
from orchestrator.core.events import (
    Approved,
    Denied,
    Intended,
    PauseAsked,
    Paused,
    Stopped,
    UnpauseAsked,
    Unpaused,
    WaveJudged,
    WaveOpened,
)
from orchestrator.core.history import accounts_in
from orchestrator.core.model import BuildState, Outcome, Timeouts
from orchestrator.core.waves import CANCEL, StopWhen
from orchestrator.forecast.durations import ASSUMED
from orchestrator.forecast.outlook import Outlook
from orchestrator.forecast.remaining import expected
from orchestrator.journal.history import load
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio


async def test_a_wave_opens_after_the_verdict_on_the_one_before():
    run = await Rolling.of(10, rollout("1", "10%", "50%", "100%"))
    assert await run.drive() == Exit.OK
    assert [(fact.wave, fact.targets) for fact in run.facts(WaveOpened)] == [(1, 1), (2, 1), (3, 3), (4, 5)]
    assert run.waves == [(1, "go", ""), (2, "go", ""), (3, "go", ""), (4, "go", "")]
    history = await load(run.journal, "r1")
    for target in history.targets[1:]:
        before = history.course.waves.get(target.wave - 1)
        assert before is None or history.of(target.id).triggered_at >= before.judged_at


async def test_a_run_without_a_rollout_is_one_wave_and_is_not_judged():
    run = await Rolling.of(3, None)
    assert await run.drive() == Exit.OK
    assert [fact.wave for fact in run.facts(WaveOpened)] == [1]
    assert run.waves == []


async def test_a_canary_of_which_nothing_passed_stops_the_run():
    run = await Rolling.of(40, rollout("1", "100%"), bad=["acme/r0"])
    assert await run.drive() == Exit.STOPPED
    assert run.sent == ["acme/r0"]
    assert run.waves == [(1, "stop", "nothing_passed")]
    assert [fact.rule for fact in run.facts(Stopped)] == ["nothing_passed"]
    report = await run.report()
    assert {row.code for row in report.targets[1:]} == {"wave_not_opened"}
    assert (report.run.status, report.run.stopped_by) == ("stopped", "nothing_passed")


async def test_nothing_passed_may_be_switched_off():
    run = await Rolling.of(4, rollout("1", "100%", stop_when=StopWhen(nothing_passed=False)), bad=["acme/r0"])
    assert await run.drive() == Exit.FAILED
    assert len(run.sent) == 4


async def test_failures_without_a_rule_hold_nothing():
    run = await Rolling.of(10, rollout("5", "100%"), bad=["acme/r1", "acme/r2"])
    assert await run.drive() == Exit.FAILED
    assert len(run.sent) == 10
    assert run.waves == [(1, "go", ""), (2, "go", "")]


async def test_so_many_failures_stop_the_run_before_the_wave_is_judged():
    how = rollout("20", "100%", stop_when=StopWhen(failed="2"))
    run = await Rolling.of(40, how, bad=["acme/r0", "acme/r1"])
    run.service.scripts |= {f"acme/r{n}": Script(runs=600.0) for n in range(2, 20)}
    assert await run.drive() == Exit.STOPPED
    assert run.waves == []
    stop = run.facts(Stopped)[0]
    assert (stop.rule, stop.wave) == ("failed", 1)
    assert "2 bad, 2 stop the run" in stop.arithmetic
    assert len(run.sent) == 20


async def test_a_share_of_those_sent_stops_once_its_sample_is_settled():
    how = rollout("20", "100%", stop_when=StopWhen(failed="20%", after=10))
    run = await Rolling.of(40, how, bad=names(4))
    assert await run.drive() == Exit.STOPPED
    assert run.waves == []
    assert "4 bad of 20 sent (20.0 %)" in run.facts(Stopped)[0].arithmetic


async def test_where_the_last_target_fires_the_rule_the_verdict_stands_before_the_stop():
    how = rollout("4", "100%", stop_when=StopWhen(failed="25%", after=4))
    run = await Rolling.of(8, how, bad=["acme/r0"])
    assert await run.drive() == Exit.STOPPED
    assert [type(fact).kind for fact in run.facts(WaveJudged, Stopped)] == ["wave_judged", "stopped"]
    assert run.waves == [(1, "stop", "failed")]


async def test_a_wave_smaller_than_the_sample_is_undecided_and_lets_the_next_one_open():
    run = await Rolling.of(12, rollout("2", "100%", stop_when=StopWhen(failed="50%", after=10)))
    assert await run.drive() == Exit.OK
    assert run.waves == [(1, "undecided", ""), (2, "go", "")]


async def test_bad_ones_in_a_row_stop_the_run_in_the_order_of_ending():
    how = rollout("12", "100%", stop_when=StopWhen(in_a_row=3))
    run = await Rolling.of(24, how)
    run.service.scripts |= {f"acme/r{n}": Script(BuildState.FAILED, runs=60.0 + 10 * n) for n in (3, 4, 5)}
    run.service.scripts |= {f"acme/r{n}": Script(runs=60.0 + 10 * n) for n in range(12) if n not in (3, 4, 5)}
    assert await run.drive() == Exit.STOPPED
    assert run.facts(Stopped)[0].rule == "in_a_row"


async def test_a_stop_may_cancel_the_builds_under_way():
    how = rollout("10", "100%", stop_when=StopWhen(failed="1"), on_stop=CANCEL)
    run = await Rolling.of(20, how, bad=["acme/r0"])
    run.service.scripts |= {f"acme/r{n}": Script(runs=3600.0) for n in range(1, 10)}
    assert await run.drive() == Exit.STOPPED
    history = await load(run.journal, "r1")
    found = [(v := history.of(t.id).verdict) and v.outcome for t in history.targets]
    assert found == [Outcome.FAILED, *[Outcome.CANCELED] * 9, *[None] * 10]


async def test_a_soak_holds_the_next_wave():
    run = await Rolling.of(4, rollout("2", "100%", soak=1800.0))
    assert await run.drive() == Exit.OK
    history = await load(run.journal, "r1")
    first, second = history.course.waves[1], history.course.waves[2]
    assert 1800.0 <= second.opened_at - first.judged_at < 1803.0


async def test_a_wave_waits_for_a_person_and_opens_once_approved():
    run = await Rolling.of(4, rollout("2", "100%", approve=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.drive)
        await anyio.sleep(7200.0)
        report = await run.report()
        assert (report.run.status, report.run.waits_for) == ("waiting", "approval")
        assert [row.code for row in report.targets] == ["passed", "passed", "approval", "approval"]
        await run.wish(Approved, wave=2)
    assert run.engine.code == Exit.OK
    assert [fact.by for fact in run.facts(WaveOpened)] == ["", "jo"]
    assert (await run.report()).run.waves[1].approved_by == "jo"


@pytest.mark.parametrize("wish", [Approved, PauseAsked])
async def test_while_a_person_is_waited_for_nothing_is_foretold(wish):
    run = await Rolling.of(4, rollout("2", "3", "100%", approve=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.drive)
        await anyio.sleep(600.0)
        if wish is PauseAsked:
            await run.wish(wish)
        await anyio.sleep(10.0)
        shown, history = run.engine.snapshot(), await load(run.journal, "r1")
        assert shown.trigger_left is None
        assert "2 waiting; " in summary(shown)
        assert summary(shown).endswith(f"waiting: {shown.held_by}")
        outlook = Outlook(history, {"fake": FAKE})
        await outlook.look(run.service.now())
        left = run.engine.snapshot(outlook).trigger_left
        assert left.why == ("it is paused" if wish is PauseAsked else "a person has to approve a wave")
        found = expected(history, history.targets[3], {"fake": FAKE}, run.service.now(), ASSUMED)
        assert found.at is None
        tasks.cancel_scope.cancel()


async def test_an_approval_is_of_a_verdict_and_does_not_count_before_it():
    run = await Rolling.of(4, rollout("2", "100%", approve=True))
    await run.wish(Approved, wave=2)
    assert await run.drive(timeout=600.0) == Exit.TIMEOUT
    assert len(run.sent) == 2
    await run.wish(Approved, wave=0)
    assert await run.drive() == Exit.OK


async def test_a_denial_stops_the_run_and_an_override_goes_on():
    run = await Rolling.of(4, rollout("2", "100%", approve=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.drive)
        await anyio.sleep(600.0)
        await run.wish(Denied, wave=2)
    assert run.engine.code == Exit.STOPPED
    assert [(fact.rule, fact.wave) for fact in run.facts(Stopped)] == [("denied", 2)]
    assert "jo" in run.facts(Stopped)[0].arithmetic
    assert {row.code for row in (await run.report()).targets[2:]} == {"denied"}
    assert await run.drive() == Exit.STOPPED
    assert await run.drive(override_stop=True) == Exit.OK
    assert len(run.sent) == 4


async def test_nothing_is_triggered_while_paused_and_builds_are_followed():
    run = await Rolling.of(60, rollout("50", "100%"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.drive)
        await anyio.sleep(10.0)
        await run.wish(PauseAsked)
        await anyio.sleep(3600.0)
        assert 0 < len(run.sent) < 50
        report = await run.report()
        assert (report.run.status, report.run.waits_for, report.run.paused_by) == ("waiting", "pause", "jo")
        assert {row.code for row in report.targets if row.outcome is None and row.wave == 1} == {"paused"}
        await run.wish(UnpauseAsked)
    assert run.engine.code == Exit.OK
    paused, unpaused = (
        [e.at for e in run.journal.disk.entries("r1") if isinstance(e.event, k)] for k in (Paused, Unpaused)
    )
    asked = [e.at for e in run.journal.disk.entries("r1") if isinstance(e.event, Intended)]
    assert not [at for at in asked if paused[0] < at < unpaused[0]]


async def test_a_pause_from_before_the_start_holds_the_first_wave():
    run = await Rolling.of(2, None)
    await run.wish(PauseAsked)
    assert await run.drive(timeout=300.0) == Exit.TIMEOUT
    assert run.sent == []
    await run.wish(UnpauseAsked)
    assert await run.drive() == Exit.OK


async def test_a_detached_run_leaves_where_only_a_person_is_waited_for():
    run = await Rolling.of(4, rollout("2", "100%", approve=True, soak=600.0))
    assert await run.drive(detach=True) == Exit.OK
    report = await run.report()
    assert (report.run.status, report.run.waits_for) == ("waiting", "approval")
    judged = (await load(run.journal, "r1")).course.waves[1].judged_at
    assert run.service.now() - judged >= 600.0  # it waits out the soak
    await run.wish(Approved, wave=2)
    assert await run.drive(detach=True) == Exit.OK
    assert len(run.sent) == 4


async def test_a_detached_run_leaves_once_every_target_is_sent():
    run = await Rolling.of(4, rollout("2", "100%"))
    run.service.scripts |= {"acme/r3": Script(runs=50_000.0)}
    assert await run.drive(detach=True) == Exit.OK
    assert len(run.sent) == 4
    assert run.service.now() - run.service.epoch < 3600.0


async def test_a_detached_run_leaves_a_pause():
    run = await Rolling.of(60, None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: run.drive(detach=True))
        await anyio.sleep(5.0)
        await run.wish(PauseAsked)
    assert run.engine.code == Exit.OK
    assert len(run.sent) < 60


async def test_a_timeout_counts_while_a_person_is_waited_for():
    run = await Rolling.of(4, rollout("2", "100%", approve=True))
    assert await run.drive(timeout=900.0) == Exit.TIMEOUT


async def test_after_an_override_what_was_settled_counts_no_more():
    how = rollout("10", "100%", stop_when=StopWhen(failed="2"))
    run = await Rolling.of(20, how, bad=["acme/r0", "acme/r1", "acme/r15"])
    assert await run.drive() == Exit.STOPPED
    assert await run.drive(override_stop=True) == Exit.FAILED
    assert len(run.sent) == 20
    assert run.waves[-1][:2] == (2, "go")


async def test_an_override_is_no_licence_for_new_failures():
    how = rollout("10", "20", "100%", stop_when=StopWhen(failed="2"))
    run = await Rolling.of(40, how, bad=["acme/r0", "acme/r1", "acme/r15", "acme/r16"])
    assert await run.drive() == Exit.STOPPED
    assert await run.drive(override_stop=True) == Exit.STOPPED
    assert [fact.rule for fact in run.facts(Stopped)] == ["failed", "", "failed"]


async def test_a_doubt_holds_its_wave_until_it_is_settled():
    run = await Rolling.of(4, rollout("2", "100%"), timeouts=Timeouts(settle=60.0, accept=900.0))
    run.service.scripts |= {"acme/r0": Script(triggers=("late:300",))}
    assert await run.drive() in (Exit.OK, Exit.IN_DOUBT)
    history = await load(run.journal, "r1")
    settled = history.of("fake:acme/r0").verdict.at
    assert history.course.waves[2].opened_at >= settled


async def test_a_wave_with_open_targets_of_a_stopped_account_is_not_judged():
    run = await Rolling.of(4, rollout("2", "100%"))
    run.service.scripts |= {"acme/r1": Script(triggers=("banned",))}
    assert await run.drive() == Exit.ACCOUNT
    assert run.waves == []
    assert len(run.sent) == 1
    await anyio.sleep(3601.0)  # the ban is over
    assert await run.drive() == Exit.OK
    assert run.waves == [(1, "go", ""), (2, "go", "")]


async def test_worse_than_usual_goes_by_earlier_runs_and_is_journaled_with_the_wave():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    for number in range(3):
        run = Rolling(service, journal, f"before{number}")
        await make_run(journal, targets(*names(40)), run.run, service.now())
        assert await run.drive() == Exit.OK
    how = rollout("1", "25%", "100%", stop_when=StopWhen(worse_than_usual=0.01))
    run = Rolling(service, journal)
    await make_run(journal, targets(*names(40)), "r1", service.now(), rollout=how)
    service.scripts = {f"acme/r{n}": BAD for n in range(2, 10)}
    assert await run.drive() == Exit.STOPPED
    opened = run.facts(WaveOpened)
    assert opened[0].blocks == ()
    assert [block.targets for block in opened[1].blocks] == [10]
    assert run.waves[0] == (1, "undecided", "")
    stop = run.facts(Stopped)[0]
    assert stop.rule == "worse_than_usual"
    assert "of the first 10 bad" in stop.arithmetic
    assert len(run.sent) <= 10 + 3 * 40


async def test_worse_than_usual_does_not_act_where_too_little_is_known():
    run = await Rolling.of(40, rollout("20", "100%", stop_when=StopWhen(worse_than_usual=0.01)), bad=names(12))
    assert await run.drive() == Exit.FAILED
    assert [verdict for _, verdict, _ in run.waves] == ["undecided", "undecided"]
    assert "fewer than 50 earlier outcomes" in run.facts(WaveJudged)[0].arithmetic


async def test_a_wave_leaves_alone_what_another_open_run_has_under_way():
    service = FakeService({"acme/r2": Script(runs=4000.0)})
    journal = MemoryJournal(now=service.now)
    other = Rolling(service, journal, "other")
    await make_run(journal, targets("acme/r2"), "other", service.now())
    run = Rolling(service, journal)
    await make_run(journal, targets(*names(4)), "r1", service.now(), rollout=rollout("2", "100%"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other.drive)
        await anyio.sleep(10.0)
        tasks.start_soon(run.drive)
        await anyio.sleep(600.0)
        row = (await run.report()).targets[2]
        assert (row.code, row.reason) == ("overlap", "run other has a build of it under way")
        assert run.facts(WaveOpened)[1].held == {"fake:acme/r2": "other"}
        assert run.sent.count("acme/r2") == 1
        assert run.sent.count("acme/r3") == 1
    assert run.engine.code == Exit.OK
    assert run.sent.count("acme/r2") == 2
    history, before = await load(journal, "r1"), await load(journal, "other")
    assert history.of("fake:acme/r2").triggered_at >= before.of("fake:acme/r2").verdict.at


async def test_targets_of_waves_that_are_not_open_are_held_by_nobody():
    run = await Rolling.of(4, rollout("2", "100%", approve=True))
    assert await run.drive(detach=True) == Exit.OK
    rows = await run.journal.runs(open_only=True)
    accounts = accounts_in((await load(run.journal, "r1")).made)
    held = await names_in(rows[0], accounts, targets(*names(4)), run.journal)
    assert list(held) == ["fake:acme/r0", "fake:acme/r1"]


async def test_an_approval_without_a_wave_opens_one_wave_however_far_ahead_its_clock_is():
    run = await Rolling.of(4, rollout("1", "2", "100%", approve=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.drive)
        await anyio.sleep(300.0)
        await run.journal.wish("r1", Approved("jo", run.service.now() + 86_400.0))
        await anyio.sleep(7200.0)
        assert len(run.sent) == 2
        await run.wish(Approved, wave=3)
    assert run.engine.code == Exit.OK


async def test_killed_in_the_middle_of_wave_2_and_carried_elsewhere_the_run_goes_on_as_it_would_have():
    how = rollout("2", "20", "100%", stop_when=StopWhen(failed="20%", after=10, in_a_row=6))
    run = await Rolling.of(40, how, bad=["acme/r1", "acme/r7", "acme/r30"])
    run.service.scripts |= {f"acme/r{n}": Script(runs=100.0 + 10 * n) for n in range(10, 20)}
    assert await run.drive(timeout=200.0) == Exit.TIMEOUT
    assert 1 < len(run.sent) <= 20
    before = run.facts(WaveOpened, WaveJudged)
    elsewhere = Rolling(run.service, MemoryJournal(run.journal.disk.copy(["r1"]), now=run.service.now))
    assert await elsewhere.drive() == Exit.FAILED
    assert elsewhere.facts(WaveOpened, WaveJudged)[: len(before)] == before
    assert [fact.wave for fact in elsewhere.facts(WaveOpened)] == [1, 2, 3]
    assert [(wave, verdict) for wave, verdict, _ in elsewhere.waves] == [(1, "undecided"), (2, "go"), (3, "go")]
    assert sorted(run.sent) == sorted(names(40))  # nothing twice, nothing left out
