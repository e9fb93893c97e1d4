"""GitLab's provider over its look-alike in memory, for tests: by itself, and below the engine."""

import random
from contextlib import asynccontextmanager
from datetime import date

import anyio

from orchestrator import manifest as manifests
from orchestrator.app.start import made_of
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.gitlab import GitLabLookAlike
from orchestrator.lookalike.gitlab.settings import RepoSpec, Settings
from orchestrator.providers.gitlab.declaration import DECLARATION
from orchestrator.providers.gitlab.provider import made
from orchestrator.providers.port import Line
from orchestrator.providers.registry import known
from orchestrator.testing import MemoryJournal
from orchestrator.testing.bench import Bench, LookAlikeService

EPOCH = 1_767_571_200.0
REPOS = tuple(f"acme/svc-{n:03}" for n in range(1, 80))
FREE = {"calls": 0, "projects": 0, "creates": 0}


class Service(LookAlikeService):
    """Args: what all targets say, what all projects are like, the account's settings, and the look-alike's."""

    declaration = DECLARATION
    account = Account("gitlab", "gitlab", "http://127.0.0.1:9", token="env:X")
    step = 1.0
    settle = 60.0

    def __init__(self, said=None, spec=None, account=None, more=(), **settings):
        specs = (*(RepoSpec(slug, **(spec or {})) for slug in REPOS), *more)
        settings = {**FREE, "queue": (1.0, 1.0), "build": (9.0, 9.0), "repos": specs, **settings}
        super().__init__(GitLabLookAlike(Settings(**settings)), REPOS)
        self.account = replace(self.account, **(account or {}))
        self.said = said or {}

    def target(self):
        return replace(super().target(), request=self.said)


def bench(said=None, spec=None, **settings):
    return Bench(Service(said, spec, **settings))


def now():
    return EPOCH + anyio.current_time()


async def played(targets, *specs, over=lambda send: send, account="{}", **settings):
    """The run's history, journal and look-alike, once it has ended; `over` stands between it and the engine."""
    text = f"version: 1\nname: weekly\nproviders: {{gitlab: {account}}}\ntargets: {targets}\n"
    read = manifests.read("m.yaml", text.encode(), declarations=known(), load=lambda name: b"")
    plan = manifests.expand(read, today=date(2026, 1, 5))
    world = GitLabLookAlike(Settings(repos=specs, **{"build": (20.0, 30.0), **settings}))
    send = over(world.send(now, anyio.sleep, random.Random(1)))

    @asynccontextmanager
    async def connect(account):
        yield Line(account, known()["gitlab"], send, lambda send: made(account, send, str), "hash")

    journal = MemoryJournal(now=now)
    await journal.make_run("r1", made_of(plan, {}), plan.targets, now())
    process = Process("here", "boot", 1, "1")
    engine = Engine("r1", journal, connect, Options(), now=now, process=process, random=random.Random(1))
    code = await engine.run()
    return await load(journal, "r1"), journal, world, code
