"""Lost calls in rare situations: crashes, copied states, clocks that step, providers that show late."""

import itertools

import anyio
import pytest
from fake_service import FakeService, Script, targets
from rare import ELSEWHERE, FAKE_A, TIMES, Dated, a_run, engine, facts, left_by

from orchestrator.core.errors import Exit
from orchestrator.core.events import Absent, Doubted, Intended
from orchestrator.core.model import Limit, Outcome, Timeouts, marker_of
from orchestrator.journal.history import load
from orchestrator.journal.port import Process

pytestmark = pytest.mark.anyio

MARKER = marker_of("nightly", "r1", FAKE_A)
HOUR = 3600.0


# -- what a process left behind that ended in the middle of a call ------------------------------------------------


async def test_after_a_crash_a_call_may_have_left_until_a_third_of_the_lease_after_the_last_sign_of_life():
    service = Dated()
    began = service.now()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    journal = await left_by(journal, service, Intended(FAKE_A, 1, MARKER), beats=2, proven=False)
    await anyio.sleep(60.0)
    assert await engine(journal, service, process=Process("here", "boot", 2, "2")).run() == Exit.OK
    (doubt,) = await facts(journal, Doubted)
    assert (doubt.from_ - began, doubt.to - began) == (0.0, 20.0)  # two heartbeats, 5 s each, and a third of 30 s


@pytest.mark.parametrize("left", ["unanswered", "in doubt"])
async def test_in_a_copied_state_a_lost_call_may_leave_until_the_copy_is_taken_up(left):
    """Its original may have lived on, and known nothing of the copy."""
    service = Dated()
    at = service.now()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    known = [Intended(FAKE_A, 1, MARKER), Doubted(FAKE_A, 1, "reset", at, at)]
    journal = await left_by(journal, service, *known[: 1 if left == "unanswered" else 2])
    await anyio.sleep(HOUR)
    await engine(journal, service, process=ELSEWHERE).run()
    last = (await facts(journal, Doubted))[-1]
    assert last.from_ == at
    assert HOUR <= last.to - at < HOUR + 5.0


@pytest.mark.parametrize("left", ["unanswered", "in doubt"])
async def test_times_that_were_written_before_a_clock_stepped_prove_no_absence(left):
    """Our clock is an hour ahead by now, so that by its times the call would have been settled long ago."""
    service = Dated()
    at = service.now()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    known = [Intended(FAKE_A, 1, MARKER, 0), Doubted(FAKE_A, 1, "reset", at, at, 0)]
    journal = await left_by(journal, service, *known[: 1 if left == "unanswered" else 2])
    await anyio.sleep(5.0)
    service._late.append((at + 45.0, "acme/a", f"nightly {MARKER}"))  # handled as late as a call may be
    rebooted = Process("here", "boot 2", 1, "1")
    code = await engine(journal, service, process=rebooted, now=lambda: service.true_time() + HOUR).run()
    assert code == Exit.OK
    assert len(service.requests) == 1


@pytest.mark.parametrize("settle", [60.0, 20.0])
async def test_a_request_that_was_made_after_the_providers_clock_went_back_is_found(settle):
    """The last look asks by the clock as it was before; only its own answer tells that it has changed."""
    service = Dated({"acme/a": Script(triggers=(f"late:{settle - 5.0}",), runs=10.0)})
    journal = await a_run(service, targets("acme/a", timeouts=Timeouts(settle=settle, accept=600.0)))

    async def step_back():
        await anyio.sleep(settle - 8.0)
        service.behind = HOUR
        service._late[:] = [(at - HOUR, repo, message) for at, repo, message in service._late]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(step_back)
        await engine(journal, service, now=service.true_time).run()
    assert len(service.requests) == 1
    assert (await load(journal, "r1")).of(FAKE_A).how == "found"


# -- before the first trigger -------------------------------------------------------------------------------------


async def test_an_earlier_request_that_shows_while_its_target_waits_for_a_limit_is_found():
    """It was looked for and absent, ten minutes before its turn came."""
    service = FakeService()
    wanted = targets("acme/a", "acme/b", timeouts=TIMES)
    limits = (Limit("triggers", 1, 600.0), Limit("calls", 1800, 60.0))
    journal = await a_run(service, wanted, account={"limits": limits}, adopt=True)

    async def show_late():
        await anyio.sleep(300.0)
        asked = service.requests[0].repo
        late = next(target for target in wanted if target.repo != asked)
        service._accept(late.repo, f"nightly {marker_of('nightly', 'r1', late.id)}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show_late)
        assert await engine(journal, service).run() == Exit.OK
    assert sorted(one.repo for one in service.requests) == ["acme/a", "acme/b"]
    assert len(service.posts) == 1


async def test_a_look_before_a_trigger_that_lasts_into_quiet_hours_is_followed_by_none():
    from orchestrator.core.concurrency import Concurrency, parse_quiet

    class Slow(FakeService):
        async def send(self, call):
            if call.purpose == "find" and anyio.current_time() > 500.0:
                await anyio.sleep(20.0)
            return await super().send(call)

    service = Slow()  # its day begins at midnight
    limits = (Limit("triggers", 1, 530.0), Limit("calls", 1800, 60.0))
    quiet = Concurrency(quiet=(parse_quiet("00:10-01:10"),))
    wanted = targets("acme/a", "acme/b", timeouts=TIMES)
    journal = await a_run(service, wanted, account={"limits": limits, "concurrency": quiet}, adopt=True)
    assert await engine(journal, service).run() == Exit.OK
    first, second = (at - service.epoch for at in service.posts)
    assert 590.0 - 530.0 < first < 70.0  # so that the second one's turn comes just before ten past
    assert second >= 4200.0


# -- how long a target is tried -----------------------------------------------------------------------------------


async def test_accept_counts_from_this_process_where_an_earlier_one_tried_hours_ago():
    service = FakeService({"acme/a": Script(triggers=("lost_before",), runs=10.0)})
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    journal = await left_by(journal, service, Intended(FAKE_A, 1, MARKER), Absent(FAKE_A, 1, "a listing"))
    await anyio.sleep(2 * HOUR)
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.posts) == 2


async def test_accept_goes_on_through_calls_that_never_left_once_one_was_lost():
    """What was lost may have been seen by the provider, so the time that it has is not begun anew."""
    words = itertools.chain.from_iterable(itertools.repeat(("lost_before", "unreachable"), 100))
    service = FakeService({"acme/a": Script(triggers=tuple(words))})
    began = service.now()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    assert await engine(journal, service, timeout=1200.0).run() == Exit.FAILED
    verdict = (await load(journal, "r1")).of(FAKE_A).verdict
    assert (verdict.outcome, verdict.code) == (Outcome.TIMED_OUT, "no_build")
    assert 600.0 < verdict.at - began < 800.0
