"""What a trigger needs is looked up once for a repository, is journaled, and comes with every trigger."""

from collections import Counter

import pytest
from fake_service import Script, make_run, targets
from preparing import NumberedService
from test_engine import drive, engine, outcomes

from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit, InDoubt
from orchestrator.core.events import Prepared
from orchestrator.journal.history import load
from orchestrator.testing import Crash, MemoryJournal

pytestmark = pytest.mark.anyio


async def test_each_repository_is_looked_up_once_and_every_trigger_carries_it():
    service = NumberedService({"acme/a": Script(triggers=("lost_before",))})
    code, history, journal = await drive(targets("acme/a@x", "acme/a@y", "acme/bb"), service)
    assert (code, set(outcomes(history).values())) == (Exit.OK, {"passed"})
    assert service.asked == {"acme/a": 1, "acme/bb": 1}
    assert service.numbers == {"acme/a": "15", "acme/bb": "16"}
    facts = [entry.event for entry in journal.disk.entries("r1") if isinstance(entry.event, Prepared)]
    assert {(fact.repo, fact.what["number"]) for fact in facts} == {("acme/a", 15), ("acme/bb", 16)}


async def test_a_resumed_run_does_not_look_up_again_what_it_knows():
    service = NumberedService()
    journal = MemoryJournal(dies_at=6, now=service.now)
    await make_run(journal, targets("acme/a@x", "acme/a@y"), at=service.now())
    with pytest.raises((Crash, BaseExceptionGroup)):
        await engine(journal, service).run()
    assert service.asked == {"acme/a": 1}

    again = MemoryJournal(journal.disk, now=service.now)
    assert await engine(again, service).run() == Exit.OK
    assert set(outcomes(await load(again, "r1")).values()) == {"passed"}
    assert service.asked == {"acme/a": 1}
    assert Counter(one.message for one in service.requests).most_common(1)[0][1] == 1


async def test_a_repository_that_is_not_there_is_rejected_before_any_trigger():
    service = NumberedService(instead={"acme/a": [Answer(404, "not found")]})
    _, history, _ = await drive(targets("acme/a", "acme/b"), service)
    assert outcomes(history) == {"acme/a": "rejected", "acme/b": "passed"}
    assert [one.repo for one in service.requests] == ["acme/b"]


async def test_a_lookup_that_fails_is_asked_again_later_and_leaves_no_doubt():
    service = NumberedService(instead={"acme/a": [InDoubt("reset"), Answer(500), Answer(200, {"number": "odd"})]})
    _, history, journal = await drive(targets("acme/a", "acme/b"), service)
    assert set(outcomes(history).values()) == {"passed"}
    assert service.asked == {"acme/a": 4, "acme/b": 1}
    kinds = Counter(type(entry.event).__name__ for entry in journal.disk.entries("r1"))
    assert (kinds["Intended"], kinds["Doubted"]) == (2, 0)


async def test_a_throttle_is_respected_and_a_dead_token_stops_the_account():
    service = NumberedService(instead={"acme/a": [Answer(429, None, {"retry-after": "90"})]})
    began = service.now()
    _, history, _ = await drive(targets("acme/a"), service)
    assert outcomes(history) == {"acme/a": "passed"}
    assert service.posts[0] - began >= 90.0

    service = NumberedService(instead={"acme/a": [Answer(401)]})
    code, history, _ = await drive(targets("acme/a"), service)
    assert (code, service.posts) == (Exit.ACCOUNT, [])
