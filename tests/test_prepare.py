"""What the triggers of a repository need is looked up once, journaled, and known to every process that follows."""

import random
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from fake_service import FAKE, FakeProvider, FakeService, Notices, make_run, targets

from orchestrator.core.errors import Exit, LookFailed, RateLimited, Rejected
from orchestrator.core.events import Intended, Prepared
from orchestrator.core.model import Outcome, Scope, Timeouts
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.providers.port import Line
from orchestrator.testing import Crash, MemoryJournal

pytestmark = pytest.mark.anyio


class Prepares(FakeProvider):
    """Must be asked for a number before it is triggered; answers as it is told, and remembers what it was given."""

    def __init__(self, send, asked, given, fails):
        super().__init__(None, send)
        self._asked, self._given, self._fails = asked, given, fails

    async def prepare(self, target):
        self._asked.append((target.repo, anyio.current_time()))
        if self._fails:
            raise self._fails.pop(0)
        return {"number": len(target.repo)}

    async def trigger(self, trigger):
        self._given.append((trigger.target.id, trigger.prepared))
        return await super().trigger(trigger)


class Place:
    """A service whose provider prepares."""

    def __init__(self, *fails):
        self.service, self.asked, self.given, self.fails = FakeService(), [], [], list(fails)
        self.notices = []

    @asynccontextmanager
    async def connect(self, account):
        def provider(send):
            return Prepares(send, self.asked, self.given, self.fails)

        yield Line(account, FAKE, self.service.send, provider, "hash")

    async def drive(self, journal, **options):
        me = Process("here", "boot", 1, "1")
        how = {"now": self.service.now, "process": me, "random": random.Random(1), "observer": Notices(self.notices)}
        return await Engine("r1", journal, self.connect, Options(**options), **how).run()


async def facts(journal):
    return [entry.event for entry in await journal.read("r1", {})]


async def test_each_repository_is_asked_about_once_before_its_first_trigger():
    place, wanted = Place(), targets("acme/a@1", "acme/A@2", "acme/bee")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, wanted)
    assert await place.drive(journal) == Exit.OK
    assert sorted(repo for repo, _ in place.asked) == ["acme/a", "acme/bee"]
    assert sorted(place.given) == [
        ("fake:acme/A@2", {"number": 6}),
        ("fake:acme/a@1", {"number": 6}),
        ("fake:acme/bee", {"number": 8}),
    ]
    events = await facts(journal)
    assert {event.repo: event.what for event in events if isinstance(event, Prepared)} == {
        "acme/a": {"number": 6},
        "acme/bee": {"number": 8},
    }
    kinds = [type(event) for event in events]
    assert kinds.index(Prepared) < kinds.index(Intended)


async def test_a_process_that_follows_does_not_ask_again():
    place, wanted = Place(), targets("acme/a@1", "acme/a@2")
    first = MemoryJournal(now=place.service.now, dies_at=1)  # the wave is opened, what it needs is known
    await make_run(first, wanted)
    with suppress(Crash):
        await place.drive(first)
    assert first.is_dead
    journal = MemoryJournal(first.disk, now=place.service.now)
    assert any(isinstance(event, Prepared) for event in await facts(journal))
    assert await place.drive(journal) == Exit.OK
    assert len(place.asked) == 1
    assert [prepared for _, prepared in place.given] == [{"number": 6}] * 2


async def test_a_repository_that_is_not_there_is_refused_and_nothing_is_sent():
    place, wanted = Place(Rejected("not_found", "no such repository")), targets("acme/a", "acme/b")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, wanted)
    assert await place.drive(journal) == Exit.FAILED
    history = await load(journal, "r1")
    outcomes = [history.of(target.id).verdict.outcome for target in wanted]
    assert sorted(outcomes) == [Outcome.PASSED, Outcome.REJECTED]
    assert len(place.given) == 1


async def test_a_look_that_failed_is_repeated_later_and_nothing_is_sent_meanwhile():
    place, wanted = Place(*[LookFailed("no answer")] * 4), targets("acme/a")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, wanted)
    began = anyio.current_time()
    assert await place.drive(journal) == Exit.OK
    assert len(place.asked) == 5
    assert len(place.given) == 1
    assert 0.0 < place.asked[-1][1] - began < 60.0
    assert [name for name, _ in place.notices].count("prepare.failed") == 4


async def test_patience_that_is_asked_for_is_kept():
    place, wanted = Place(RateLimited(Scope("repo", "acme/a"), 500.0)), targets("acme/a")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, wanted)
    assert await place.drive(journal) == Exit.OK
    first, second = (at for _, at in place.asked)
    assert second - first >= 500.0


async def test_a_look_at_what_triggers_need_that_fails_for_ever_ends_with_accept():
    place = Place(*[LookFailed("no answer")] * 1000)
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, targets("acme/a", timeouts=Timeouts(accept=300.0)))
    assert await place.drive(journal) == Exit.FAILED
    assert 300.0 <= anyio.current_time() < 400.0
    assert not place.service.posts
