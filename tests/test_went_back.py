"""What a process takes over from a journal it looks for before the first trigger: the journal may have gone back."""

from collections import Counter
from random import Random

import anyio
import pytest
from fake_service import FakeProvider, FakeService, make_run, targets
from leases import claim

from orchestrator.core.errors import Exit, NotShown, Unreachable
from orchestrator.core.events import Absent, Intended, JournalWentBack
from orchestrator.core.model import COORDINATOR, Outcome, Timeouts, marker_of
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

ME = Process("here", "boot", 1, "1")
PRINCIPAL = "fake:https://ci.invalid:1"
REPOS = tuple(f"acme/r{number}" for number in range(6))
TIMES = Timeouts(settle=60.0, accept=600.0)


async def left(wanted, service, *events, proven=True, **account):
    """A run that an earlier process took up and left, with these facts."""
    journal = MemoryJournal(now=service.now)
    if proven:
        await journal.remember(PRINCIPAL, marker_proven=True)
    await make_run(journal, wanted, at=service.now(), **account)
    leases = [await claim(journal, "r1", stream, ME, service.now(), 30.0) for stream in (COORDINATOR, "fake")]
    if events:
        await journal.append(leases[1], events, service.now())
    await journal.release(leases)
    return journal


def engine(journal, service, *, is_new=False, **options):
    return Engine(
        "r1",
        journal,
        service.connect,
        Options(**options),
        now=service.now,
        process=ME,
        random=Random(1),
        is_new=is_new,
    )


def said(repo):
    """What a trigger of the repository's target says."""
    return f"nightly {marker_of('nightly', 'r1', f'fake:{repo}')}"


def looks(service):
    return [at for purpose, at in service.calls if purpose == "find"]


def once(*repos):
    return dict.fromkeys(repos, 1)


def by_repo(service):
    return Counter(one.repo for one in service.requests)


# -- what was lost is found -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [{}, {"detach": True}, {"timeout": 30.0}])
async def test_what_a_journal_that_was_put_back_has_lost_is_found_and_not_triggered_again(ends):
    service = FakeService()
    journal = await left(targets(*REPOS, timeouts=TIMES), service)
    earlier = MemoryJournal(journal.disk.copy({"r1"}), now=service.now)
    await engine(journal, service, **ends).run()
    assert await engine(earlier, service).run() == Exit.OK
    assert by_repo(service) == once(*REPOS)
    history = await load(earlier, "r1")
    assert {history.of(target.id).how for target in history.targets} == {"found"}


async def test_that_the_journal_went_back_is_a_fact_told_once():
    service = FakeService()
    journal = await left(targets(*REPOS, timeouts=TIMES), service)
    began = service.now()
    for repo in REPOS:
        service._accept(repo, said(repo))
    await anyio.sleep(300.0)
    await engine(journal, service).run()
    (fact,) = [entry.event for entry in await journal.read("r1", {}) if isinstance(entry.event, JournalWentBack)]
    assert (fact.from_, fact.to) == (pytest.approx(began + 5.0, abs=5.0), pytest.approx(began + 300.0, abs=1.0))


async def test_a_journal_that_lost_nothing_is_not_said_to_have_gone_back():
    service = FakeService()
    journal = await left(targets(*REPOS, timeouts=TIMES), service)
    await engine(journal, service).run()
    assert not [entry for entry in await journal.read("r1", {}) if isinstance(entry.event, JournalWentBack)]


async def test_once_something_lost_was_found_nothing_is_believed_absent_before_the_settle_time():
    """What was lost with it may still be under way."""
    service = FakeService()
    journal = await left(targets("acme/a", "acme/b", timeouts=TIMES), service, connections=1)
    service._accept("acme/a", said("acme/a"))
    service._late.append((service.now() + 50.0, "acme/b", said("acme/b")))
    assert await engine(journal, service).run() == Exit.OK
    assert by_repo(service) == once("acme/a", "acme/b")


async def test_what_was_asked_for_again_after_its_absence_was_journaled_is_looked_for():
    service = FakeService()
    facts = (Intended("fake:acme/a", 1, "[r1.x]"), Absent("fake:acme/a", 1, "a listing"))
    journal = await left(targets("acme/a", timeouts=TIMES), service, *facts)
    service._accept("acme/a", said("acme/a"))
    assert await engine(journal, service).run() == Exit.OK
    assert by_repo(service) == once("acme/a")


# -- and costs little -------------------------------------------------------------------------------------------


async def test_what_a_process_planned_itself_it_triggers_without_a_look():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*REPOS), at=service.now())
    await engine(journal, service, is_new=True).run()
    assert by_repo(service) == once(*REPOS)
    assert not looks(service)


async def test_a_run_that_another_process_made_is_looked_for_although_nobody_drove_it():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets(*REPOS), at=service.now())
    await engine(journal, service).run()
    assert by_repo(service) == once(*REPOS)
    assert len(looks(service)) == len(REPOS)


async def test_one_listing_serves_all_targets_of_a_repository():
    service = FakeService()
    wanted = targets(*(f"acme/a@b{number}" for number in range(5)), timeouts=TIMES)
    journal = await left(wanted, service)
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.requests) == 5
    assert len(looks(service)) == 1


async def test_where_triggers_bind_a_resumed_run_keeps_its_allowance():
    service = FakeService()
    wanted = targets(*(f"acme/r{number}" for number in range(200)))
    journal = await left(wanted, service)
    began = service.now()
    await engine(journal, service, detach=True).run()
    assert len(service.requests) == 200
    possible = 4 * (30.0 + service.latency)
    assert service.posts[-1] - began <= possible / 0.97


async def test_what_waits_for_a_limit_is_not_looked_for_long_before_its_turn():
    service = FakeService()
    journal = await left(targets(*(f"acme/r{number}" for number in range(200))), service)
    await engine(journal, service, timeout=20.0).run()
    assert len(looks(service)) < 100


# -- what cannot be looked for, or does not show ----------------------------------------------------------------


async def test_what_has_no_marker_or_a_provider_that_shows_none_goes_on_as_before():
    service = FakeService()
    journal = await left(targets("acme/a", marked=False), service)
    assert await engine(journal, service).run() == Exit.OK
    assert by_repo(service) == once("acme/a")
    assert not looks(service)


async def test_a_look_that_fails_is_repeated_and_nothing_is_triggered_meanwhile():
    class Deaf(FakeProvider):
        async def find(self, trigger, asked, known):
            if service.now() < began + 100.0:
                raise Unreachable("connection refused")
            return await super().find(trigger, asked, known)

    service = FakeService(provider=Deaf)
    journal = await left(targets("acme/a", timeouts=TIMES), service)
    began = service.now()
    assert await engine(journal, service).run() == Exit.OK
    assert service.posts[0] >= began + 100.0


async def test_a_look_that_never_succeeds_leaves_the_target_in_doubt():
    class Deaf(FakeProvider):
        async def find(self, trigger, asked, known):
            raise Unreachable("connection refused")

    service = FakeService(provider=Deaf)
    journal = await left(targets("acme/a", timeouts=TIMES), service)
    assert await engine(journal, service).run() == Exit.IN_DOUBT
    verdict = (await load(journal, "r1")).of("fake:acme/a").verdict
    assert verdict.outcome is Outcome.IN_DOUBT
    assert "resume looks again" in verdict.reason
    assert not service.posts


async def test_a_repository_that_is_not_shown_is_asked_for_since_its_trigger_would_be_refused_too():
    class Hides(FakeProvider):
        async def find(self, trigger, asked, known):
            raise NotShown("no such repository")

    service = FakeService(provider=Hides)
    journal = await left(targets("acme/a", timeouts=TIMES), service)
    assert await engine(journal, service).run() == Exit.OK
    assert by_repo(service) == once("acme/a")


@pytest.mark.parametrize("shows", [True, False])
async def test_where_no_marker_was_seen_yet_one_target_goes_first_to_prove_it_if_others_requests_are_there(shows):
    service = FakeService()
    journal = await left(targets("acme/a", "acme/b", timeouts=TIMES), service, proven=False, connections=1)
    if shows:
        service._accept("acme/b", "a stranger's")
    assert await engine(journal, service).run() == Exit.OK
    assert by_repo(service) == {"acme/a": 1, "acme/b": 1 + shows}
    gap = service.posts[1] - service.posts[0]
    assert gap > 2.0 if shows else gap < 1.0
