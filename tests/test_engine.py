import contextlib
import itertools
import random
from collections import Counter

import anyio
import pytest
from fake_service import FAKE, FakeService, Notices, Received, Script, make_run, targets
from leases import claim

from orchestrator.cli.live import summary
from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit, LeaseLost
from orchestrator.core.events import CancelAsked, Intended, RunMade, to_json
from orchestrator.core.history import History
from orchestrator.core.model import Account, BuildState, Limit, Outcome, Timeouts
from orchestrator.core.options import RunOptions
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.limits.budget import Budget
from orchestrator.testing import Crash, MemoryJournal

pytestmark = pytest.mark.anyio

ME = Process("here", "boot", 1, "1")


BANNED = Script(triggers=("banned",))


def engine(journal, service, run="r1", **options):
    facts = []
    made = Engine(
        run,
        journal,
        service.connect,
        Options(**options),
        now=service.now,
        process=ME,
        random=random.Random(1),
        observer=Notices(facts),
    )
    made.facts = facts
    return made


async def drive(wanted, service, journal=None, account=None, **options):
    journal = journal or MemoryJournal(now=service.now)
    await make_run(journal, wanted, at=service.now(), **(account or {}))
    code = await engine(journal, service, **options).run()
    return code, await load(journal, "r1"), journal


def outcomes(history):
    return {t.id.removeprefix("fake:"): (v := history.of(t.id).verdict) and v.outcome.value for t in history.targets}


def markers(service):
    return Counter(one.message for one in service.requests)


async def test_every_target_is_triggered_once_and_followed_to_its_end():
    service = FakeService({"acme/b": Script(BuildState.FAILED)})
    code, history, _ = await drive(targets("acme/a", "acme/b", "acme/c@main"), service)
    assert outcomes(history) == {"acme/a": "passed", "acme/b": "failed", "acme/c@main": "passed"}
    assert code == Exit.FAILED
    assert history.has_ended
    assert history.exit_code == 1
    assert Counter(one.repo for one in service.requests) == {"acme/a": 1, "acme/b": 1, "acme/c": 1}
    assert all(count == 1 for count in markers(service).values())


async def test_the_marker_stands_behind_the_name_of_the_run_when_there_is_no_message():
    service = FakeService()
    await drive(targets("acme/a"), service)
    name, _, marker = service.requests[0].message.rpartition(" ")
    assert name == "nightly"
    assert marker.startswith("[r1.")
    assert len(marker) == len("[r1.]") + 8


async def test_the_users_bytes_alone_travel_without_a_marker():
    service = FakeService()
    await drive(targets("acme/a", marked=False, request={"message": "mine"}), service)
    assert service.requests[0].message == "mine"


async def test_a_refused_target_is_rejected_and_its_siblings_go_on():
    service = FakeService({"acme/a": Script(triggers=("rejected",))})
    code, history, _ = await drive(targets("acme/a", "acme/b"), service)
    assert outcomes(history) == {"acme/a": "rejected", "acme/b": "passed"}
    assert history.of("fake:acme/a").verdict.code == "not_found"
    assert code == Exit.FAILED


async def test_an_unreachable_trigger_is_repeated_until_it_arrives():
    service = FakeService({"acme/a": Script(triggers=("unreachable",) * 4)})
    code, history, _ = await drive(targets("acme/a"), service)
    assert outcomes(history) == {"acme/a": "passed"}
    assert code == Exit.OK
    assert history.of("fake:acme/a").attempts == 5


async def test_an_account_out_of_reach_stops_after_its_time_and_stays_resumable():
    service = FakeService(is_down=True)
    code, history, journal = await drive(targets("acme/a", timeouts=Timeouts(reach=120.0)), service)
    assert code == Exit.ACCOUNT
    assert outcomes(history) == {"acme/a": None}
    assert "out of reach" in history.accounts_stopped["fake"].cause
    assert not history.has_ended
    service.is_down = False
    assert await engine(journal, service).run() == Exit.OK


async def test_a_lost_answer_is_found_by_its_marker_and_not_triggered_again():
    service = FakeService({"acme/a": Script(triggers=("lost_after",))})
    code, history, _ = await drive(targets("acme/a", "acme/b"), service)
    assert code == Exit.OK
    assert history.of("fake:acme/a").how == "found"
    assert all(count == 1 for count in markers(service).values())


async def test_a_call_that_never_arrived_is_triggered_again_only_after_the_settle_time():
    service = FakeService({"acme/a": Script(triggers=("lost_before",))})
    code, history, _ = await drive(targets("acme/a", "acme/b"), service)
    assert code == Exit.OK
    assert history.of("fake:acme/a").attempts == 2
    first, *_, last = service.posts
    assert last - first >= 60.0


async def test_absence_is_not_believed_while_the_marker_is_unproven_and_a_row_could_be_ours():
    service = FakeService({"acme/a": Script(triggers=("lost_before",))})
    service.requests.append(Received("7", "acme/a", "somebody else's, or ours without its marker", service.epoch))
    code, history, _ = await drive(targets("acme/a"), service)
    assert code == Exit.IN_DOUBT
    assert outcomes(history) == {"acme/a": "in_doubt"}
    assert len(service.posts) == 1
    assert "adopt-request" in history.of("fake:acme/a").verdict.reason


async def test_a_complete_listing_without_any_row_of_the_time_shows_absence_although_the_marker_is_unproven():
    service = FakeService({"acme/a": Script(triggers=("lost_before",))})
    code, _, _ = await drive(targets("acme/a"), service)
    assert (code, len(service.posts)) == (Exit.OK, 2)
    assert service.posts[1] - service.posts[0] >= 60.0


async def test_a_trigger_that_the_provider_handles_late_is_found_and_never_doubled():
    service = FakeService({"acme/a": Script(triggers=("late:45",))})
    code, history, _ = await drive(targets("acme/a", "acme/b"), service)
    assert code == Exit.OK
    assert history.of("fake:acme/a").how == "found"
    assert len(service.requests) == 2


async def test_a_lost_answer_without_a_marker_stays_in_doubt():
    service = FakeService({"acme/a": Script(triggers=("lost_after",))})
    code, _history, _ = await drive(targets("acme/a", marked=False), service)
    assert code == Exit.IN_DOUBT
    assert len(service.posts) == 1


async def test_a_person_can_settle_a_doubt_by_adopting_a_request():
    service = FakeService({"acme/a": Script(triggers=("lost_after",))})
    _, _, journal = await drive(targets("acme/a", marked=False), service)
    code = await engine(journal, service, adopt_request={"fake:acme/a": "1"}).run()
    assert code == Exit.OK
    assert len(service.posts) == 1


async def test_a_person_can_settle_a_doubt_by_saying_that_nothing_exists():
    service = FakeService({"acme/a": Script(triggers=("lost_before",))})
    _, _, journal = await drive(targets("acme/a", marked=False), service)
    code = await engine(journal, service, assume_absent=frozenset({"fake:acme/a"})).run()
    assert code == Exit.OK
    assert len(service.requests) == 1


async def test_after_five_doubts_in_a_row_one_trigger_at_a_time_goes_out():
    service = FakeService(loses=True, latency=1.0)
    names = [f"acme/r{n}" for n in range(20)]
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*names, timeouts=Timeouts(accept=300.0)), connections=8)
    await engine(journal, service).run()
    times = sorted(service.posts)
    assert sum(at < times[0] + 0.5 for at in times) == 8
    gaps = [after - before for before, after in itertools.pairwise(times[8:])]
    assert min(gaps) >= 0.99
    assert all(count == 1 for count in markers(service).values())


async def test_a_ban_stops_the_account_at_once_and_nothing_more_is_called():
    service = FakeService({"acme/c": Script(triggers=("banned",))})
    names = [f"acme/{letter}" for letter in "abcdefgh"]
    code, history, _ = await drive(targets(*names), service, account={"connections": 1})
    assert code == Exit.ACCOUNT
    assert len(service.posts) == 3
    assert service.calls[-1][0] == "trigger"
    assert history.accounts_stopped["fake"].code == "banned"
    assert history.accounts_stopped["fake"].until is not None


async def test_a_dead_token_ends_the_run_before_anything_is_intended():
    service = FakeService(bad_token=True)
    code, _, journal = await drive(targets("acme/a"), service)
    assert code == Exit.ACCOUNT
    assert service.posts == []
    assert not [e for e in journal.disk.entries("r1") if isinstance(e.event, Intended)]


async def test_an_owner_without_credit_is_left_alone_while_others_go_on():
    service = FakeService({"acme/a": Script(triggers=("no_credit",))})
    wanted = targets("acme/a", "acme/b", "umbrella/a")
    code, history, _ = await drive(wanted, service, account={"connections": 1})
    assert code == Exit.ACCOUNT
    assert outcomes(history) == {"acme/a": None, "acme/b": None, "umbrella/a": "passed"}
    assert len(service.posts) == 2


async def test_rows_that_waited_for_their_repo_do_not_hold_the_run_when_its_owner_is_refused():
    service = FakeService({"acme/a": Script(triggers=("ok", "no_credit"))})
    wanted = targets(*(f"acme/a@b{n}" for n in range(4)), "umbrella/a")
    limits = (Limit("triggers", 40, 30.0), Limit("triggers_per_repo", 1, 60.0, "repo"))
    with anyio.fail_after(3600.0):
        code, history, _ = await drive(wanted, service, account={"limits": limits})
    assert code == Exit.ACCOUNT
    assert outcomes(history)["acme/a@b3"] is None


async def test_a_refusal_of_a_repo_freezes_that_repo_only():
    service = FakeService({"acme/a": Script(triggers=("limited:900",))})
    code, history, _ = await drive(targets("acme/a", "acme/b"), service)
    assert code == Exit.OK
    waited = history.of("fake:acme/a").triggered_at - history.of("fake:acme/b").triggered_at
    assert 900 <= waited < 960


async def test_forty_triggers_in_thirty_seconds_are_never_exceeded_and_nearly_reached():
    service = FakeService(latency=0.4)
    await drive(targets(*(f"acme/r{n}" for n in range(200))), service)
    times = sorted(service.posts)
    worst = max(sum(start <= at < start + 30.0 for at in times) for start in times)
    assert worst == 40
    assert times[-1] - times[0] <= 4 * 30.4 + 1.0


async def test_a_repository_gets_ten_triggers_an_hour_one_at_a_time():
    service = FakeService(latency=1.0)
    _, history, _ = await drive(targets(*(f"acme/a@b{n}" for n in range(12))), service)
    times = sorted(service.posts)
    assert all(after - before >= 1.0 for before, after in itertools.pairwise(times))
    assert times[10] - times[0] >= 3600.0
    assert set(outcomes(history).values()) == {"passed"}


async def test_no_more_builds_are_in_flight_than_wished():
    service = FakeService()
    _, history, _ = await drive(targets(*(f"acme/r{n}" for n in range(10))), service, in_flight=2)
    times = sorted(service.posts)
    assert set(outcomes(history).values()) == {"passed"}
    assert all(times[n + 2] - times[n] > 50.0 for n in range(8))
    (tally,) = history.tallies
    assert tally.waited["in_flight 2"] > 150.0


async def test_a_target_whose_need_passed_is_triggered_after_it():
    service = FakeService()
    lib, app = *targets("acme/lib"), *targets("acme/app", needs=("fake:acme/lib",))
    code, history, _ = await drive((app, lib), service)
    assert code == Exit.OK
    assert [one.repo for one in service.requests] == ["acme/lib", "acme/app"]
    assert history.of(app.id).triggered_at >= history.of(lib.id).verdict.at


async def test_a_target_whose_need_failed_is_skipped_and_so_are_its_dependents():
    service = FakeService({"acme/lib": Script(BuildState.FAILED)})
    chain = (
        *targets("acme/lib"),
        *targets("acme/app", needs=("fake:acme/lib",)),
        *targets("acme/site", needs=("fake:acme/app",)),
    )
    code, history, _ = await drive(chain, service)
    assert code == Exit.FAILED
    assert outcomes(history) == {"acme/lib": "failed", "acme/app": "skipped", "acme/site": "skipped"}
    assert len(service.posts) == 1


async def test_a_skipped_target_is_never_triggered_and_does_not_fail_the_run():
    service = FakeService()
    code, history, _ = await drive((*targets("acme/a", skip="frozen"), *targets("acme/b")), service)
    assert code == Exit.OK
    assert outcomes(history) == {"acme/a": "skipped", "acme/b": "passed"}


async def test_a_build_that_never_appears_times_out_after_a_fresh_look():
    service = FakeService({"acme/a": Script(appears=None)})
    code, history, _ = await drive(targets("acme/a", timeouts=Timeouts(accept=600.0)), service)
    verdict = history.of("fake:acme/a").verdict
    assert (verdict.outcome, verdict.code, verdict.reason) == (Outcome.TIMED_OUT, "no_build", "no build appeared")
    assert verdict.at - history.of("fake:acme/a").triggered_at >= 600.0
    assert code == Exit.FAILED


async def test_a_build_that_never_starts_times_out_by_its_queue_clock():
    service = FakeService({"acme/a": Script(runs=None)})
    _, history, _ = await drive(targets("acme/a", timeouts=Timeouts(queue=7200.0)), service)
    verdict = history.of("fake:acme/a").verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.TIMED_OUT, "did not start")


async def test_too_many_failures_stop_the_triggering_and_the_rest_stays_open():
    service = FakeService({f"acme/r{n}": Script(BuildState.FAILED) for n in range(3)})
    names = [f"acme/r{n}" for n in range(60)]
    code, history, journal = await drive(targets(*names), service, max_fail="3", in_flight=3)
    assert code == Exit.STOPPED
    assert history.stopped is not None
    assert "3 of 60" in history.stopped.arithmetic
    left_open = [name for name, outcome in outcomes(history).items() if outcome is None]
    assert left_open
    assert await engine(journal, service).run() == Exit.STOPPED
    assert await engine(journal, service, override_stop=True).run() == Exit.FAILED
    assert all(count == 1 for count in markers(service).values())


async def test_an_overridden_stop_is_not_repeated_for_the_failures_that_were_known():
    service = FakeService({"acme/a": Script(BuildState.FAILED), "acme/c": Script(BuildState.FAILED)})
    names = targets("acme/a", "acme/b", "acme/c", "acme/d")
    code, _, journal = await drive(names, service, max_fail="1", in_flight=1)
    assert code == Exit.STOPPED
    assert await engine(journal, service, max_fail="1", in_flight=1, override_stop=True).run() == Exit.STOPPED
    history = await load(journal, "r1")
    assert outcomes(history) == {"acme/a": "failed", "acme/b": "passed", "acme/c": "failed", "acme/d": None}


async def test_a_stop_that_a_crash_forgot_is_made_up_for():
    service = FakeService({"acme/a": Script(BuildState.FAILED)})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", "acme/b", "acme/c"), at=service.now())
    assert await engine(journal, service, in_flight=1, timeout=70.0).run() == Exit.TIMEOUT
    posts = len(service.posts)
    assert (await load(journal, "r1")).of("fake:acme/a").verdict.outcome is Outcome.FAILED
    assert await engine(journal, service, max_fail="1").run() == Exit.STOPPED
    assert len(service.posts) == posts


async def test_a_detached_run_returns_when_nothing_is_left_to_trigger_and_can_be_followed_later():
    service = FakeService()
    code, history, journal = await drive(targets("acme/a", "acme/b"), service, detach=True)
    assert code == Exit.OK
    assert outcomes(history) == {"acme/a": None, "acme/b": None}
    assert not history.has_ended
    assert await engine(journal, service, trigger=False).run() == Exit.OK
    assert len(service.posts) == 2


async def test_watching_never_triggers():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a"))
    assert await engine(journal, service, trigger=False).run() == Exit.OK
    assert service.posts == []


async def test_the_timeout_leaves_open_targets_and_resume_goes_on():
    service = FakeService({"acme/a": Script(runs=7200.0)})
    code, _, journal = await drive(targets("acme/a"), service, timeout=600.0)
    assert code == Exit.TIMEOUT
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.posts) == 1


async def test_the_first_interrupt_lets_calls_under_way_finish_and_journals_them():
    service = FakeService(latency=10.0)
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(30))), connections=4)
    one = engine(journal, service)
    async with anyio.create_task_group() as tasks:

        async def press():
            await anyio.sleep(15.0)
            one.interrupt("SIGINT")

        tasks.start_soon(press)
        assert await one.run() == Exit.SIGINT
    history = await load(journal, "r1")
    assert sum(history.of(t.id).request is not None for t in history.targets) == 4
    assert len(service.posts) == 4
    assert await engine(journal, service).run() == Exit.OK
    assert all(count == 1 for count in markers(service).values())


async def test_the_second_interrupt_leaves_at_once_and_the_run_still_loses_nothing():
    service = FakeService(latency=10.0)
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(6))), connections=4)
    one = engine(journal, service)
    started = service.now()
    async with anyio.create_task_group() as tasks:

        async def press():
            await anyio.sleep(16.0)
            one.interrupt("SIGTERM")
            await anyio.sleep(1.0)
            one.interrupt("SIGTERM")

        tasks.start_soon(press)
        assert await one.run() == Exit.SIGTERM
    assert service.now() - started < 18.0
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.requests) == 6
    assert all(count == 1 for count in markers(service).values())


async def test_cancel_cancels_exactly_the_builds_of_the_run_and_triggers_no_more():
    service = FakeService({f"acme/r{n}": Script(runs=7200.0) for n in range(60)})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(60))))
    one = engine(journal, service)
    async with anyio.create_task_group() as tasks:

        async def ask():
            await anyio.sleep(20.0)
            await journal.wish("r1", CancelAsked("a person", service.now()))

        tasks.start_soon(ask)
        code = await one.run()
    history = await load(journal, "r1")
    assert code == Exit.FAILED
    assert history.has_ended
    assert Counter(outcomes(history).values()) == {"canceled": 40, None: 20}
    assert all(one.canceled_at is not None for one in service.requests)
    assert len(service.requests) == 40


async def test_cancel_may_keep_the_builds_and_only_end_the_run():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a"))
    await journal.wish("r1", CancelAsked("a person", service.now(), keep_builds=True))
    await engine(journal, service).run()
    assert (await load(journal, "r1")).has_ended
    assert service.requests == []


async def test_two_processes_never_drive_one_run():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(10))))
    other = MemoryJournal(journal.disk, now=service.now)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine(journal, service).run)
        await anyio.sleep(5.0)
        with pytest.raises(LeaseLost):
            await engine(other, service).run()
    assert all(count == 1 for count in markers(service).values())
    assert len(service.requests) == 10


PRINCIPAL = "fake:https://ci.invalid:1"
ODD = {"acme/b": Script(triggers=("lost_after",)), "acme/c": Script(triggers=("lost_before",))}


async def die_and_resume(service, record, before, proven):
    first = MemoryJournal(dies_at=record, dies_before=before, now=service.now)
    if proven:
        await first.remember(PRINCIPAL, marker_proven=True)
    with contextlib.suppress(Crash):
        await make_run(first, targets("acme/a", "acme/b", "acme/c", "acme/a@two"), at=service.now())
        await engine(first, service).run()
    second = MemoryJournal(first.disk, now=service.now)
    code = await engine(second, service).run()
    return code, await load(second, "r1")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("record", range(24))
async def test_dying_at_any_record_never_triggers_twice_and_loses_nothing(record, before):
    service = FakeService(ODD)
    code, _ = await die_and_resume(service, record, before, proven=True)
    assert code == Exit.OK
    assert len(service.requests) == 4
    assert all(count == 1 for count in markers(service).values())


@pytest.mark.parametrize("record", range(2, 24))
async def test_dying_on_an_account_whose_marker_is_unproven_reports_the_doubt(record):
    service = FakeService(ODD)
    code, history = await die_and_resume(service, record, before=False, proven=False)
    assert code in (Exit.OK, Exit.IN_DOUBT)
    assert all(count == 1 for count in markers(service).values())
    made = {one.message.rpartition(" ")[2] for one in service.requests}
    for target in history.targets:
        progress = history.of(target.id)
        assert progress.verdict.outcome in (Outcome.PASSED, Outcome.IN_DOUBT)
        assert progress.verdict.outcome is Outcome.IN_DOUBT or progress.marker in made


async def test_a_resumed_run_remembers_what_counts_against_the_limits():
    service = FakeService()
    limits = (Limit("triggers", 4, 300.0), Limit("calls", 1800, 60.0))
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(8))), limits=limits)
    assert await engine(journal, service, timeout=20.0).run() == Exit.TIMEOUT
    assert len(service.posts) == 4
    await engine(journal, service).run()
    assert service.posts[4] - service.posts[0] >= 300.0


async def test_a_look_that_fails_says_nothing_about_the_target():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", timeouts=Timeouts(accept=900.0)))
    one = engine(journal, service)
    async with anyio.create_task_group() as tasks:

        async def outage():
            await anyio.sleep(1.0)
            service.is_down = True
            await anyio.sleep(400.0)
            service.is_down = False

        tasks.start_soon(outage)
        assert await one.run() == Exit.OK
    assert [name for name, _ in one.facts if name == "look.failed"]


async def remade(journal, service, wanted, options, run="r2"):
    """A new run of the same targets, with options that were journaled with it."""
    account = Account("fake", "fake", "https://ci.invalid", "env:FAKE_TOKEN", limits=FAKE.limits)
    made = RunMade("nightly", None, "", accounts={"fake": to_json(account)}, options=RunOptions(**options))
    await journal.make_run(run, made, wanted, service.now(), forbid_overlap=False)
    code = await engine(journal, service, run).run()
    return code, await load(journal, run)


async def test_a_run_whose_state_was_lost_adopts_what_it_had_asked_for():
    service = FakeService()
    wanted = targets("acme/a", "acme/b", "acme/c", "acme/d")
    lost = MemoryJournal(now=service.now)
    await make_run(lost, wanted[:3])
    await engine(lost, service, detach=True).run()
    assert len(service.requests) == 3

    code, history = await remade(MemoryJournal(now=service.now), service, wanted, {"adopt": True}, "r1")
    assert code == Exit.OK
    assert all(count == 1 for count in markers(service).values())
    assert len(service.requests) == 4
    assert [history.of(target.id).how for target in wanted] == ["found", "found", "found", "answered"]


async def test_adopting_on_an_unproven_account_lets_one_target_prove_the_marker_first():
    service = FakeService()
    wanted = targets(*(f"acme/r{n}" for n in range(5)))
    code, _ = await remade(MemoryJournal(now=service.now), service, wanted, {"adopt": True}, "r1")
    assert code == Exit.OK
    first, second, *_ = sorted(service.posts)
    assert second - first > 3.0
    assert len(service.requests) == 5


class Silent(FakeService):
    """Shows what it started under messages of its own."""

    def _row(self, one):
        return {**super()._row(one), "message": "rewritten"}


async def test_where_no_marker_is_ever_shown_one_target_goes_ahead_and_the_others_end_in_doubt():
    """Each that went ahead would be a build that may be there already."""
    service = Silent()
    wanted = targets(*(f"acme/r{n}" for n in range(5)))
    lost = MemoryJournal(now=service.now)
    await make_run(lost, wanted)
    await engine(lost, service, detach=True).run()
    assert len(service.requests) == 5

    code, history = await remade(MemoryJournal(now=service.now), service, wanted, {"adopt": True}, "r1")
    assert code == Exit.IN_DOUBT
    assert len(service.requests) <= 6
    outcomes = [history.of(target.id).verdict.outcome for target in wanted]
    assert outcomes.count(Outcome.IN_DOUBT) >= 4


async def test_a_retry_of_what_is_in_doubt_takes_the_old_request_where_it_is_found():
    service = FakeService({"acme/a": Script(triggers=("lost_after",)), "acme/b": Script(triggers=("lost_before",))})
    journal = MemoryJournal(now=service.now)
    await journal.remember(PRINCIPAL, marker_proven=True)
    wanted = targets("acme/a", "acme/b")
    await make_run(journal, wanted, at=service.now())
    assert await engine(journal, service, timeout=2.0).run() == Exit.IN_DOUBT
    old = await load(journal, "r1")
    look_for = {target.id: old.of(target.id).marker for target in wanted}

    code, history = await remade(journal, service, wanted, {"look_for": look_for})
    assert code == Exit.OK
    assert history.of("fake:acme/a").how == "found"
    assert history.of("fake:acme/b").how == "answered"
    assert [one.repo for one in service.requests] == ["acme/a", "acme/b"]
    assert "[r1." in service.requests[0].message
    assert "[r2." in service.requests[1].message


async def test_a_machine_that_slept_between_intent_and_call_makes_sure_of_its_lease_before_it_leaves():
    """The wall clock has moved on where the loop's stood still, and somebody took the run over meanwhile."""
    service, slept = FakeService(), [0.0]
    disk = MemoryJournal(now=service.now).disk
    other = MemoryJournal(disk, now=service.now)

    class Sleeper(MemoryJournal):
        intents = 0

        async def append(self, lease, events, at):
            entries = await super().append(lease, events, at)
            self.intents += any(isinstance(event, Intended) for event in events)
            if self.intents == 2 and not slept[0]:
                slept[0] = 3600.0
                for stream in ("", "fake"):
                    await claim(other, "r1", stream, Process("there", "boot", 2, "2"), service.now() + 3600.0, 30.0)
            return entries

    journal = Sleeper(disk, now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(10))), connections=1)
    sleeper = Engine(
        "r1",
        journal,
        service.connect,
        Options(),
        now=lambda: service.now() + slept[0],
        process=ME,
        random=random.Random(1),
    )
    with pytest.raises(LeaseLost):
        await sleeper.run()
    assert journal.intents == 2
    assert len(service.posts) == 1


async def test_a_process_stopped_while_its_connection_was_made_looks_at_its_lease_again_before_the_first_byte():
    """Name, TLS and the wait for a connection take time, in which a process may be stopped, and replaced."""
    slept = [0.0]

    class Far(FakeService):
        async def send(self, call):
            if call.purpose == "trigger" and len(self.posts) == 1:
                slept[0] = 60.0
                for stream in ("", "fake"):
                    await claim(other, "r1", stream, Process("there", "boot", 2, "2"), self.now() + 60.0, 30.0)
            if call.ready is not None:
                call.ready()
            return await super().send(call)

    service = Far()
    journal = MemoryJournal(now=service.now)
    other = MemoryJournal(journal.disk, now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(10))), connections=1)
    slow = Engine(
        "r1",
        journal,
        service.connect,
        Options(),
        now=lambda: service.now() + slept[0],
        process=ME,
        random=random.Random(1),
    )
    with pytest.raises(LeaseLost):
        await slow.run()
    assert len(service.posts) == 1


@pytest.mark.parametrize("times", [1, 1200])
async def test_a_process_stopped_while_its_connection_was_made_goes_on_where_nobody_replaced_it(times):
    slept = [0.0]

    class Far(FakeService):
        async def send(self, call):
            slept[0] += 15.0 * (call.purpose == "trigger" and len(self.posts) == 1 and slept[0] < 15.0 * times)
            if call.ready is not None:
                call.ready()
            return await super().send(call)

    service = Far()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(3))), connections=1)
    now, one = lambda: service.now() + slept[0], random.Random(1)
    assert await Engine("r1", journal, service.connect, Options(), now=now, process=ME, random=one).run() == Exit.OK
    assert len(service.posts) == len(service.requests) == 3


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
async def test_a_step_of_the_wall_clock_neither_ends_nor_prolongs_a_lease(step):
    service, stepped = FakeService(), [0.0]
    first = MemoryJournal(now=service.now)
    second = MemoryJournal(first.disk, now=service.now)
    await make_run(first, targets("acme/a", "acme/b"), limits=(Limit("triggers", 1, 300.0),))

    def driving(journal, pid):
        return Engine(
            "r1",
            journal,
            service.connect,
            Options(),
            now=lambda: service.now() + stepped[0],
            process=Process("here", "boot", pid, str(pid)),
            random=random.Random(1),
        )

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(_run_until_killed, driving(first, 1), scope)
            await anyio.sleep(6.0)
            stepped[0] = step
            with pytest.raises(LeaseLost):  # alive: its heartbeat is a second old, whatever the wall says
                await driving(second, 2).run()
            first.kill(proven=False)
            await anyio.sleep(31.0)
            await driving(second, 2).run()
    assert len(service.requests) == 2


async def _run_until_killed(engine, scope):
    with pytest.raises((Crash, BaseExceptionGroup)):
        await engine.run()


async def test_a_person_sees_how_many_answers_were_lost_and_that_they_are_looked_for():
    service = FakeService({"acme/a": Script(triggers=("lost_after",)), "acme/b": Script(runs=300.0)})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", "acme/b"))
    driving = engine(journal, service)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driving.run)
        await anyio.sleep(2.0)
        snapshot = driving.snapshot()
        assert snapshot.doubts == 1
        assert "1 requested, 1 in doubt (looking up)" in summary(snapshot)
        await anyio.sleep(60.0)
        assert driving.snapshot().doubts == 0


async def test_permits_that_were_given_back_are_not_told_as_used():
    budget = Budget([Limit("triggers", 2, 30.0)])
    budget.take(["triggers"], None).give_back()
    budget.take(["triggers"], None).answered(1.0)
    assert budget.used == {"triggers 2/30s": 1}


@pytest.mark.parametrize("interrupted", [False, True])
async def test_what_the_engine_knows_at_its_end_is_what_the_journal_tells(interrupted):
    service = FakeService(
        {
            "acme/a": Script(triggers=("lost_after",)),
            "acme/b": Script(triggers=("limited:20",)),
            "acme/c": Script(BuildState.FAILED),
            "acme/d": Script(triggers=("rejected",)),
            "acme/e": Script(triggers=("lost_before",)),
        }
    )
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*(f"acme/{letter}" for letter in "abcdefg"), timeouts=Timeouts(settle=5.0)))
    driving = engine(journal, service)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driving.run)
        if interrupted:
            await anyio.sleep(30.0)
            driving.interrupt("SIGINT")
    told = await load(journal, "r1")
    for name in vars(History([])):
        assert name == "moved" or getattr(driving.history, name) == getattr(told, name), name


async def test_what_a_ban_keeps_from_being_canceled_is_canceled_after_it_and_nobody_knocks_before():
    service = FakeService({"acme/a": Script(runs=20_000.0), "acme/b": Script(runs=20_000.0), "acme/c": BANNED})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", "acme/b", "acme/c"), connections=1)
    assert await engine(journal, service).run() == Exit.ACCOUNT
    calls = len(service.calls)
    await journal.wish("r1", CancelAsked("me", service.now()))
    assert await engine(journal, service, trigger=False).run() == Exit.ACCOUNT
    assert len(service.calls) == calls
    assert not (await load(journal, "r1")).has_ended
    await anyio.sleep(3600.0)
    await engine(journal, service).run()
    history = await load(journal, "r1")
    assert history.has_ended
    assert outcomes(history) == {"acme/a": "canceled", "acme/b": "canceled", "acme/c": None}


async def canceled_after(seconds, wishes, **script):
    """A run whose person wishes so after some seconds; the code, its duration and history, the cancels asked for."""
    asked = []

    class Promises(FakeService):
        def _cancel(self, path):
            asked.append(self.now())
            return Answer(202)

    service = Promises({"acme/a": Script(**script)})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a"))
    one = engine(journal, service)

    async def wish():
        for after, keep in wishes:
            await anyio.sleep(after)
            await journal.wish("r1", CancelAsked("me", service.now(), keep))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wish)
        code = await one.run()
    return code, anyio.current_time() - seconds, one.history, asked


@pytest.mark.parametrize("script", [{"runs": None}, {"appears": None}])
async def test_a_cancel_that_does_nothing_is_asked_for_again_and_ends_in_bounded_time(script):
    _, lasted, history, asked = await canceled_after(10.0, [(10.0, False)], **script)
    assert history.has_ended
    assert 120.0 <= lasted < 200.0
    assert len(asked) >= 3 if "runs" in script else not asked


async def test_the_later_wish_wins_where_a_person_no_longer_waits_for_the_builds():
    _, lasted, history, _ = await canceled_after(10.0, [(10.0, False), (20.0, True)], runs=None)
    assert history.stopped.keeps_builds
    assert lasted < 40.0
