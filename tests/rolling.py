"""A run with a rollout over the fake service, for tests."""

import random

from fake_service import FakeService, Notices, Script, make_run, targets

from orchestrator.core.events import WaveJudged
from orchestrator.core.model import BuildState
from orchestrator.core.waves import Rollout, WaveRule
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.report.view import view
from orchestrator.testing import MemoryJournal

BAD = Script(BuildState.FAILED)
FAST = Script(runs=4.0)


def names(number):
    return [f"acme/r{n}" for n in range(number)]


def rollout(*waves, **fields):
    return Rollout(tuple(WaveRule(wave) if isinstance(wave, str) else wave for wave in waves), **fields)


class Rolling:
    """A run with a rollout over the fake service, driven by one process after the other."""

    def __init__(self, service, journal, run="r1"):
        self.service, self.journal, self.run, self.wishes = service, journal, run, 0

    @classmethod
    async def of(cls, number, how, bad=(), run="r1", journal=None, **fields):
        service = FakeService(dict.fromkeys(bad, BAD))
        journal = journal or MemoryJournal(now=service.now)
        await make_run(journal, targets(*names(number), **fields), run, service.now(), rollout=how)
        return cls(service, journal, run)

    async def drive(self, **options):
        self.engine = Engine(
            self.run,
            self.journal,
            self.service.connect,
            Options(**options),
            now=self.service.now,
            process=Process("here", "boot", 1, "1"),
            random=random.Random(1),
            observer=Notices([]),
        )
        return await self.engine.run()

    async def wish(self, wish, **fields):
        await self.journal.wish(self.run, wish("jo", self.service.now(), **fields))

    def facts(self, *kinds):
        return [entry.event for entry in self.journal.disk.entries(self.run) if isinstance(entry.event, kinds)]

    @property
    def waves(self):
        return [(fact.wave, fact.verdict, fact.rule) for fact in self.facts(WaveJudged)]

    @property
    def sent(self):
        return [one.repo for one in self.service.requests]

    async def report(self):
        return view(self.run, await load(self.journal, self.run), self.service.now())

    def times(self, kind):
        return [entry.at for entry in self.journal.disk.entries(self.run) if isinstance(entry.event, kind)]
