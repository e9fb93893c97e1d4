"""Doubts that a person, a lost state, another machine or a stalled provider leaves to the engine."""

import random
from collections import Counter
from contextlib import asynccontextmanager
from email.utils import formatdate

import anyio
import pytest
from fake_service import FAKE, FakeProvider, FakeService, Script, targets
from leases import claim

from orchestrator.core.errors import Exit, InDoubt
from orchestrator.core.events import Absent, CancelAsked, Doubted, Ended, Intended, RunMade, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, COORDINATOR, Account, Outcome, Timeouts
from orchestrator.core.options import RunOptions
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.providers.port import Line
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

ME = Process("here", "boot", 1, "1")
ELSEWHERE = Process("there", "another boot", 1, "1")
PRINCIPAL = "fake:https://ci.invalid:1"
TIMES = Timeouts(settle=60.0, accept=600.0)


def engine(journal, service, run="r1", process=ME, **options):
    return Engine(
        run,
        journal,
        service.connect,
        Options(**options),
        now=service.now,
        process=process,
        random=random.Random(1),
    )


async def a_run(service, wanted, run="r1", proven=True, **options):
    """A journal with a run of these targets."""
    journal = MemoryJournal(now=service.now)
    if proven:
        await journal.remember(PRINCIPAL, marker_proven=True)
    account = Account("fake", "fake", "https://ci.invalid", "env:FAKE_TOKEN", limits=FAKE.limits)
    made = RunMade("nightly", None, "", accounts={"fake": to_json(account)}, options=RunOptions(**options))
    await journal.make_run(run, made, wanted, service.now())
    return journal


async def write(journal, service, *events, process=ME):
    """Facts that an earlier process wrote before it died."""
    for stream in (COORDINATOR, "fake"):
        lease = await claim(journal, "r1", stream, process, service.now(), 30.0)
    await journal.append(lease, events, service.now())
    journal.kill()
    return MemoryJournal(journal.disk, now=service.now)


def outcome(history):
    return history.of("fake:acme/a").verdict.outcome


# -- hours later ------------------------------------------------------------------------------------------------


async def test_what_a_crash_left_unasked_is_asked_by_a_resume_hours_later():
    service = FakeService()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    journal = await write(journal, service, Intended("fake:acme/a", 1, "[r1.x]"))
    await anyio.sleep(7200.0)
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.requests) == 1


async def test_a_ban_that_outlasts_the_accept_time_does_not_end_what_was_never_asked():
    service = FakeService()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    await journal.remember(PRINCIPAL, frozen={ACCOUNT: service.now() + 7200.0})
    journal = await write(journal, service, Intended("fake:acme/a", 1, "[r1.x]"))
    await anyio.sleep(5.0)
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.requests) == 1


async def test_a_person_who_says_hours_later_that_nothing_exists_has_it_triggered():
    service = FakeService({"acme/a": Script(triggers=("lost_before",))})
    journal = await a_run(service, targets("acme/a", marked=False, timeouts=TIMES))
    assert await engine(journal, service).run() == Exit.IN_DOUBT
    await anyio.sleep(7200.0)
    assert await engine(journal, service, assume_absent=frozenset({"fake:acme/a"})).run() == Exit.OK
    assert len(service.requests) == 1


# -- a doubt about an earlier run -------------------------------------------------------------------------------


def pending_for_ever():
    """A service whose looks never tell."""

    class Mute(FakeService):
        async def send(self, call):
            if call.purpose == "find":
                raise InDoubt("a request without a commit")
            return await super().send(call)

    return Mute()


async def test_a_person_can_say_that_an_earlier_run_asked_for_nothing():
    service = pending_for_ever()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES), adopt=True)
    assert await engine(journal, service).run() == Exit.IN_DOUBT
    assert service.requests == []
    assert await engine(journal, service, assume_absent=frozenset({"fake:acme/a"})).run() == Exit.OK
    assert len(service.requests) == 1


async def test_a_person_can_say_which_request_an_earlier_run_made():
    service = pending_for_ever()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES), adopt=True)
    service._accept("acme/a", "nightly [r0.x]")
    assert await engine(journal, service).run() == Exit.IN_DOUBT
    assert await engine(journal, service, adopt_request={"fake:acme/a": "1"}).run() == Exit.OK
    assert len(service.posts) == 0


async def test_what_a_person_adopted_for_one_target_is_no_proof_for_another():
    """The id was the other's: that one is found, and not asked for once more."""
    service = FakeService({"acme/a": Script(triggers=("lost_after", "lost_after"))})
    wanted = targets("acme/a@one", "acme/a@two", timeouts=TIMES)
    journal = await a_run(service, wanted)
    await engine(journal, service, timeout=2.0).run()
    first = (await load(journal, "r1")).of("fake:acme/a@one")
    named, other = ("one", "two") if first.doubt is None else ("two", "one")
    assert [one.id for one in service.requests] == ["1"]
    journal = await write(journal, service, Intended(f"fake:acme/a@{named}", 1, "[r1.x]"))
    await engine(journal, service, adopt_request={f"fake:acme/a@{named}": "1"}).run()
    history = await load(journal, "r1")
    assert history.of(f"fake:acme/a@{other}").how == "found"
    assert [one.id for one in service.requests] == ["1"]


# -- a state that was lost --------------------------------------------------------------------------------------


async def test_a_run_that_adopts_waits_for_calls_that_are_still_on_their_way():
    service = FakeService({"acme/a": Script(triggers=("late:40",))})
    wanted = targets("acme/a", timeouts=TIMES)
    lost = await a_run(service, wanted)
    await engine(lost, service, timeout=2.0).run()
    journal = await a_run(service, wanted, adopt=True)
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.requests) == 1
    assert (await load(journal, "r1")).of("fake:acme/a").how == "found"


async def test_a_canceled_run_that_adopts_does_not_wait_for_the_proof_of_the_marker():
    service = FakeService()
    journal = await a_run(service, targets("acme/a", "acme/b", "acme/c"), proven=False, adopt=True)

    async def cancel():
        await anyio.sleep(10.0)
        await journal.wish("r1", CancelAsked("a person", service.now()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        with anyio.fail_after(600.0):
            await engine(journal, service).run()
    assert service.requests == []


async def test_rows_do_not_wait_for_a_proof_by_a_target_whose_owner_is_refused():
    names = [f"acme/r{n}" for n in range(8)]  # whose turn it is first is drawn
    service = FakeService({name: Script(triggers=("no_credit",)) for name in names})
    journal = await a_run(service, targets(*names, "umbrella/b"), proven=False, adopt=True)
    with anyio.fail_after(7200.0):
        assert await engine(journal, service).run() == Exit.ACCOUNT
    assert [one.repo for one in service.requests] == ["umbrella/b"]


async def test_a_run_that_adopts_looks_back_a_month_and_not_to_the_beginning_of_time():
    """A repository with years of requests has more of them than anybody can list."""
    intervals = []

    class Asked(FakeProvider):
        async def find(self, trigger, asked, known):
            intervals.append(asked)
            return await super().find(trigger, asked, known)

    class Service(FakeService):
        @asynccontextmanager
        async def connect(self, account):
            yield Line(account, FAKE, self.send, lambda send: Asked(account, send), "hash")

    service = Service()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES), adopt=True)
    assert await engine(journal, service).run() == Exit.OK
    assert {round((service.epoch - asked.start) / 86_400.0) for asked in intervals} == {31}


# -- a state that was copied to another machine -----------------------------------------------------------------


@pytest.mark.parametrize("known", ["nothing", "absent", "doubted"])
async def test_what_the_first_machine_asked_for_after_the_copy_was_made_is_found(known):
    service = FakeService()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    id_, at = "fake:acme/a", service.now()
    facts = {
        "nothing": (),
        "absent": (Intended(id_, 1, "[r1.x]"), Absent(id_, 1, "a listing")),
        "doubted": (Intended(id_, 1, "[r1.x]"), Doubted(id_, 1, "reset", at, at)),
    }
    copy = await write(journal, service, *facts[known])
    await anyio.sleep(300.0)
    marker = (await first_marker(service)).rpartition(" ")[2]
    service.requests.clear()
    service._late.append((service.now() + 30.0, "acme/a", f"nightly {marker}"))  # asked there, and handled late
    assert await engine(copy, service, process=ELSEWHERE).run() == Exit.OK
    assert Counter(one.message for one in service.requests).most_common(1)[0][1] == 1
    assert len(service.requests) == 1


async def first_marker(service):
    """What a trigger of the target says."""
    journal = await a_run(service, targets("acme/a"))
    await engine(journal, service, detach=True).run()
    return service.requests[-1].message


# -- a provider that stalls -------------------------------------------------------------------------------------


class Stalls(FakeService):
    """It handles nothing for 100 s, then all that came in its order; new requests show in listings 20 s later."""

    async def send(self, call):
        left = anyio.current_time()
        if not 1.0 <= left < 100.0 or call.path == "/user":
            return await super().send(call)
        if call.method == "POST":
            self._late.append((self.epoch + 120.0, call.repo or "", str(call.body)))
        if left + 30.0 < 100.0:
            await anyio.sleep(30.0)
            raise InDoubt("no answer within 30 s")
        await anyio.sleep(100.0 - left)
        return await super().send(call)


async def test_absence_is_not_believed_of_the_first_answers_after_a_stall():
    service = Stalls()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    await anyio.sleep(1.0)
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.requests) == 1


class Dated(FakeService):
    """It tells its clock."""

    async def send(self, call):
        return replace(await super().send(call), headers={"date": formatdate(self.now(), usegmt=True)})


async def test_settle_counts_from_the_end_of_the_call_where_that_is_long_ago():
    service = Dated()
    journal = await a_run(service, targets("acme/a", timeouts=TIMES))
    journal = await write(journal, service, Intended("fake:acme/a", 1, "[r1.x]"))
    await anyio.sleep(3600.0)
    began = service.now()
    await engine(journal, service).run()
    assert service.posts[0] - began < 10.0


# -- the verdicts stay ------------------------------------------------------------------------------------------


async def test_a_word_about_a_target_that_is_not_in_doubt_changes_nothing():
    service = FakeService()
    journal = await a_run(service, targets("acme/a"))
    journal = await write(journal, service, Ended("fake:acme/a", Outcome.PASSED, "passed", "build passed"))
    await engine(journal, service, assume_absent=frozenset({"fake:acme/a"})).run()
    assert service.posts == []
    assert outcome(await load(journal, "r1")) is Outcome.PASSED
