"""A machine that gives this process only so many files: fewer connections, told once, and the run's own end."""

from math import inf
from random import Random

import anyio
import pytest
from cli_machine import context_of
from fake_service import FAKE, FakeService, make_run, targets
from rare import HERE
from web import Page

from orchestrator.cli.files import free_files
from orchestrator.core.errors import Crowded, Exit
from orchestrator.core.model import Account, Limit, Timeouts
from orchestrator.engine.engine import Engine, Options
from orchestrator.providers import registry
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

MANY = {"limits": (Limit("triggers", 4000, 1.0), Limit("calls", 100_000, 60.0)), "connections": 64}


class Few(FakeService):
    """A machine that gives so many connections at once.

    Attributes:
        most: how many.
        peaks: how many were under way with each call.
        refused: when one was not given.
    """

    def __init__(self, most):
        super().__init__()
        self.most, self.under_way, self.peaks, self.refused = most, 0, [], []

    async def send(self, call):
        self.under_way += 1
        self.peaks.append(self.under_way)
        try:
            if self.under_way > self.most:
                self.refused.append(self.now())
                await anyio.sleep(0.01)
                raise Crowded("cannot connect (Too many open files)")
            return await super().send(call)
        finally:
            self.under_way -= 1


async def crowded(service, number=400, **times):
    """A run of so many targets with 64 connections; its exit code, and what was told."""
    journal, page = MemoryJournal(now=service.now), Page()
    await make_run(journal, targets(*(f"acme/r{n}" for n in range(number)), timeouts=Timeouts(**times)), **MANY)
    driven = Engine(
        "r1", journal, service.connect, Options(), now=service.now, process=HERE, random=Random(1), observer=page
    )
    return await driven.run(), page


async def test_a_refused_connection_means_fewer_at_once_and_nothing_else():
    service = Few(9)
    code, page = await crowded(service)
    assert code is Exit.OK
    assert len(service.requests) == 400
    assert service.requests[-1].at - service.requests[0].at < 60.0
    assert page.told["connections.bounded"]["wanted"] > page.told["connections.bounded"]["connections"] >= 1
    assert "ulimit" in page.told["connections.bounded"]["cause"]
    assert max(service.peaks[-100:]) <= 11  # now and then it tries one more
    assert page.notices.count("connections.bounded") < 10


async def test_connections_come_back_once_the_machine_gives_them_again():
    service = Few(9)

    async def relent():
        await anyio.sleep(1.0)
        service.most = 1000

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relent)
        assert (await crowded(service, 3000))[0] is Exit.OK
    assert max(service.peaks[1000:]) > 20


async def test_a_machine_that_gives_none_ends_as_an_account_out_of_reach():
    code, _ = await crowded(Few(0), 5, reach=60.0)
    assert code is Exit.ACCOUNT


def test_the_files_that_may_still_be_opened_are_counted(tmp_path):
    before = free_files()
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        assert free_files() == before - 2


@pytest.mark.parametrize(
    ("free", "sandbox", "expected"), [(18, False, 9), (18, True, 4), (1000, False, 64), (0, False, 1), (inf, False, 64)]
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_connections_leave_half_of_the_files_to_all_else(monkeypatch, free, sandbox, expected):
    monkeypatch.setattr(registry, "PROVIDERS", {"fake": "fake_service:FAKE"})
    page = Page()
    context = context_of(environ={"T": "x"}, observer=page, sandbox=sandbox, free_files=lambda: free)
    account = Account("fake", "fake", FAKE.url, "env:T", **MANY)
    async with context.connect(account) as line:
        assert line.account.connections == expected
        assert ("connections.bounded" in page.notices) == (expected < 64)
        async with context.connect(account) as other:  # what is promised to one account is not given to another
            assert other.account.connections <= max(1, (free - expected) / 2)
