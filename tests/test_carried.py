"""A state that was copied to another machine knows nothing of what its original did after that."""

from random import Random

import pytest
from fake_service import FakeService, make_run, targets
from leases import claim
from test_engine import ME, markers

from orchestrator.core.errors import Exit
from orchestrator.core.model import COORDINATOR
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.port import Process
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

ELSEWHERE = Process("elsewhere", "boot", 1, "1")


async def driven(journal, service, process, **options):
    engine = Engine(
        "r1",
        journal,
        service.connect,
        Options(**options),
        now=service.now,
        process=process,
        random=Random(1),
    )
    return await engine.run()


async def copied(service):
    """A run that was taken up once and asked for nothing, and a copy of its state."""
    original = MemoryJournal(now=service.now)
    await make_run(original, targets("acme/a", "acme/b"))
    await original.release([await claim(original, "r1", COORDINATOR, ME, service.now(), 30.0)])
    return original, MemoryJournal(original.disk.copy({"r1"}), now=service.now)


async def test_on_another_machine_what_the_original_did_meanwhile_is_looked_for_first():
    service = FakeService()
    original, copy = await copied(service)
    await driven(original, service, ME, detach=True)
    assert await driven(copy, service, ELSEWHERE) == Exit.OK
    assert len(service.requests) == 2
    assert set(markers(service).values()) == {1}


async def test_on_another_machine_what_nobody_asked_for_is_triggered():
    service = FakeService()
    _, copy = await copied(service)
    assert await driven(copy, service, ELSEWHERE) == Exit.OK
    assert len(service.requests) == 2
