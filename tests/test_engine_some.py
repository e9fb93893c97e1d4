"""Some targets of a run are canceled, or gone on with, and the others are left as they are."""

from collections import Counter

import anyio
import pytest
from fake_service import FakeService, Script, make_run, targets
from test_engine import engine, outcomes

from orchestrator.core.errors import Exit
from orchestrator.core.events import CancelAsked
from orchestrator.core.frozen import replace
from orchestrator.core.model import Limit
from orchestrator.journal.history import load
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

SLOW = Script(runs=600.0)


def ids(*names):
    return tuple(f"fake:{name}" for name in names)


async def test_only_the_named_targets_are_canceled_and_the_run_goes_on():
    service = FakeService({"acme/a": SLOW, "acme/b": SLOW})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", "acme/b"), at=service.now())

    async with anyio.create_task_group() as tasks:
        driver = engine(journal, service)
        tasks.start_soon(driver.run)
        await anyio.sleep(60)
        await journal.wish("r1", CancelAsked("anna@desk", service.now(), only=ids("acme/a")))

    assert outcomes(await load(journal, "r1")) == {"acme/a": "canceled", "acme/b": "passed"}
    assert [one.repo for one in service.requests if one.canceled_at is not None] == ["acme/a"]


async def test_a_canceled_target_that_waits_is_never_triggered_and_waits_no_longer():
    service = FakeService({})
    journal = MemoryJournal(now=service.now)
    names = [f"acme/r{number}" for number in range(6)]
    hourly = (Limit("triggers", 1, 3600.0, "account"),)
    await make_run(journal, targets(*names), at=service.now(), limits=hourly)
    began = service.now()

    async with anyio.create_task_group() as tasks:
        driver = engine(journal, service)
        tasks.start_soon(driver.run)
        await anyio.sleep(60)
        await journal.wish("r1", CancelAsked("anna@desk", service.now(), only=ids(*names[2:])))

    history = await load(journal, "r1")
    assert Counter(outcomes(history).values()) == {"passed": 2, "canceled": 4}
    assert {one.repo for one in service.requests} == {"acme/r0", "acme/r1"}
    assert history.of("fake:acme/r5").verdict.reason == "canceled by anna@desk before it was triggered"
    assert service.now() - began < 2 * 3600


async def test_what_needs_a_canceled_target_is_skipped_and_a_canceled_one_is_not_released():
    service = FakeService({"acme/lib": SLOW})
    journal = MemoryJournal(now=service.now)
    lib, app, top = targets("acme/lib", "acme/app", "acme/top")
    wanted = [lib, replace(app, needs=(lib.id,)), replace(top, needs=(app.id,))]
    await make_run(journal, wanted, at=service.now())

    async with anyio.create_task_group() as tasks:
        driver = engine(journal, service)
        tasks.start_soon(driver.run)
        await anyio.sleep(60)
        await journal.wish("r1", CancelAsked("anna@desk", service.now(), only=(app.id,)))

    assert outcomes(await load(journal, "r1")) == {"acme/lib": "passed", "acme/app": "canceled", "acme/top": "skipped"}
    assert [one.repo for one in service.requests] == ["acme/lib"]


async def test_a_process_that_takes_the_run_up_keeps_to_what_was_canceled():
    service = FakeService({})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", "acme/b"), at=service.now())
    await journal.wish("r1", CancelAsked("anna@desk", service.now(), only=ids("acme/a")))

    assert await engine(journal, service).run() is Exit.FAILED

    assert outcomes(await load(journal, "r1")) == {"acme/a": "canceled", "acme/b": "passed"}


async def test_a_process_that_drives_some_targets_leaves_the_others_open_and_out_of_its_exit_code():
    service = FakeService({"acme/b": Script(triggers=("lost_before",))})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", "acme/b", "acme/c"), at=service.now())

    assert await engine(journal, service, drives=frozenset(ids("acme/c"))).run() is Exit.OK

    history = await load(journal, "r1")
    assert outcomes(history) == {"acme/a": None, "acme/b": None, "acme/c": "passed"}
    assert not history.has_ended
    assert await engine(journal, service).run() in (Exit.OK, Exit.IN_DOUBT)
    assert Counter(one.repo for one in service.requests)["acme/c"] == 1


async def test_nobody_drives_and_only_the_named_builds_are_canceled():
    service = FakeService({"acme/a": SLOW, "acme/b": SLOW})
    journal = MemoryJournal(now=service.now)
    await make_run(journal, targets("acme/a", "acme/b", "acme/c"), at=service.now())
    with anyio.move_on_after(60):
        await engine(journal, service).run()
    await journal.wish("r1", CancelAsked("anna@desk", service.now(), only=ids("acme/a")))

    code = await engine(journal, service, drives=frozenset(ids("acme/a")), trigger=False).run()

    assert code is Exit.FAILED
    history = await load(journal, "r1")
    assert (outcomes(history)["acme/a"], outcomes(history)["acme/b"]) == ("canceled", None)
    assert not history.has_ended
