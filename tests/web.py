"""A process that has use cases at work for several people, as a web server would, without a terminal."""

import anyio
from fake_service import FakeService

from orchestrator.app.context import Context
from orchestrator.app.plan import Choices, Source, plan
from orchestrator.app.start import start
from orchestrator.core.events import Requested
from orchestrator.providers import registry
from orchestrator.testing import Disk, MemoryJournal

MANIFEST = "version: 1\nname: {name}\nproviders: {{fake: {{type: fake, token: env:T}}}}\ntargets: [{targets}]\n"


class Page:
    """What a page would show of a run."""

    def __init__(self):
        self.facts, self.notices, self.snapshots, self.told = [], [], [], {}
        self.requested = anyio.Event()

    def fact(self, entry):
        self.facts.append(entry.event)
        if isinstance(entry.event, Requested):
            self.requested.set()

    def count(self, kind):
        return sum(isinstance(event, kind) for event in self.facts)

    def notice(self, name, **fields):
        self.notices.append(name)
        self.told[name] = fields

    def progress(self, snapshot):
        self.snapshots.append(snapshot)


class FakeContext(Context):
    """Reaches every account at the fake service."""

    service: FakeService

    def connect(self, account):
        return self.service.connect(account)


class Server:
    """A process that has use cases at work for several people."""

    def __init__(self, folder, monkeypatch, **scripts):
        monkeypatch.setattr(registry, "PROVIDERS", {"fake": "fake_service:FAKE"})
        self.service = FakeService({f"acme/{name}": script for name, script in scripts.items()})
        self.folder, self.disk = folder, Disk()
        self.environ = {}

    def context(self, page):
        made = FakeContext(
            environ={"T": "t0ken-of-the-test", **self.environ},
            cwd=self.folder,
            home=self.folder,
            now=self.service.now,
            ticks=anyio.current_time,
            observer=page,
        )
        made.service = self.service
        return made

    def journal(self):
        return MemoryJournal(self.disk, now=anyio.current_time)

    async def started(self, run, page, *names, choices=None):
        (self.folder / "m.yaml").write_text(MANIFEST.format(name=run, targets=", ".join(f"acme/{n}" for n in names)))
        context = self.context(page)
        planned = await plan(Source("m.yaml"), choices or Choices(), context, run=run)
        assert (
            planned.needs_confirmation == f"Trigger {len(names)} builds (account fake sends its token to ci.invalid)?"
            or (planned.needs_confirmation is None)
        )
        return await start(planned, run, self.journal(), context)
