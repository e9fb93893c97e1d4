"""Whole runs in virtual time, where something rare happened: a crash, a copied state, a clock that stepped."""

import random
from contextlib import asynccontextmanager
from email.utils import formatdate

import anyio
from fake_service import FAKE, FakeProvider, FakeService

from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import COORDINATOR, Account, Timeouts
from orchestrator.core.options import RunOptions
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.port import Process
from orchestrator.providers.port import Line
from orchestrator.testing import MemoryJournal

HERE = Process("here", "boot", 1, "1")
ELSEWHERE = Process("there", "another boot", 1, "1")
PRINCIPAL = "fake:https://ci.invalid:1"  # as the fake service names it
TIMES = Timeouts(settle=60.0, accept=600.0)
FAKE_A = "fake:acme/a"


def engine(journal, service, run="r1", process=HERE, *, now=None, **options):
    """An engine for the run; `now` is our wall clock, the service's own by default."""
    return Engine(
        run,
        journal,
        service.connect,
        Options(**options),
        now=now or service.now,
        process=process,
        random=random.Random(process.pid),
    )


async def a_run(service, wanted, run="r1", *, journal=None, proven=True, account=None, **options):
    """A journal with a run of these targets.

    Args:
        proven: whether requests of the account are known to carry their marker.
        account: fields of the account.
        options: those that are journaled with the run.
    """
    journal = journal or MemoryJournal(now=service.now)
    if proven:
        await journal.remember(PRINCIPAL, marker_proven=True)
    one = Account("fake", "fake", FAKE.url, "env:FAKE_TOKEN", **{"limits": FAKE.limits, **(account or {})})
    made = RunMade("nightly", None, "", accounts={"fake": to_json(one)}, options=RunOptions(**options))
    await journal.make_run(run, made, wanted, service.now())
    return journal


async def left_by(journal, service, *events, process=HERE, beats=0, proven=True):
    """The state as a process left it that wrote these facts, lived for so many heartbeats, 5 s each, and died.

    Args:
        proven: whether others can tell that it is dead; else they wait until its lease is over.
    """
    by = journal.register(process, 30.0)
    leases = await journal.claim("r1", [COORDINATOR, "fake"], by, service.now())
    await journal.append(leases[-1], events, service.now())
    for _ in range(beats):
        await anyio.sleep(5.0)
        await journal.renew(by, service.now())
    journal.kill(proven=proven)
    return another(journal, service)


def another(journal, service):
    """Another process's way to the same state."""
    return MemoryJournal(journal.disk, now=service.now)


async def facts(journal, kind, run="r1"):
    """The facts of one kind in the journal, oldest first."""
    return [entry.event for entry in await journal.read(run, {}) if isinstance(entry.event, kind)]


class Service(FakeService):
    """Spoken to by a provider of another class, under another declaration.

    Args:
        provider: its class.
    """

    def __init__(self, scripts=None, *, provider=FakeProvider, declaration=FAKE, **more):
        super().__init__(scripts or {}, **more)
        self.provider = provider
        self.declaration = declaration

    @asynccontextmanager
    async def connect(self, account):
        yield Line(account, self.declaration, self.send, lambda send: self.provider(account, send), "hash")


class Dated(FakeService):
    """It tells its clock with each answer.

    Attributes:
        behind: seconds by which it is behind the true time, which is ours.
    """

    behind = 0.0

    def now(self):
        return super().now() - self.behind

    def true_time(self):
        return super().now()

    async def send(self, call):
        return replace(await super().send(call), headers={"date": formatdate(self.now(), usegmt=True)})
