"""Makes runs of many targets and drives them with the engine, as the command line does but without its flags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import collect_now, relax_gc
from orchestrator.core.model import Account, Limit, Target
from orchestrator.core.secrets import Secrets
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.port import Journal
from orchestrator.journal.process import this_process, up
from orchestrator.providers import registry
from orchestrator.providers.port import Line
from orchestrator.testing import MemoryJournal

RUN, NAME, TOKEN = "bench", "benchmark", "not-a-secret"
UNLIMITED: tuple[Limit, ...] = ()
COUNTED = (
    Limit("triggers", 10**7, 1.0, written=True),
    Limit("calls", 10**7, 1.0, written=True),
    Limit("triggers_per_repo", 10, 3600.0, "repo"),  # as it is by default
)


def targets(count: int, account: str = "travis", owners: int = 1, marked: bool = True) -> tuple[Target, ...]:
    """That many targets, one for each repository, as a short form makes them.

    Args:
        marked: False for a server that cannot echo a body, and so no marker: its receipts would not be believed.
    """
    repos = [f"{'acme' if owners == 1 else f'owner-{n % owners:03}'}/service-{n:06}" for n in range(count)]
    return tuple(Target(f"{account}:{repo}@main", account, repo, "main", marked=marked) for repo in repos)


def account(port: int, connections: int, limits: Sequence[Limit] = UNLIMITED) -> Account:
    """The Travis account on a local server."""
    url = f"http://127.0.0.1:{port}"
    return Account("travis", "travis", url, "env:TOKEN", limits=tuple(limits), connections=connections)


def connect(to: Account) -> AbstractAsyncContextManager[Line]:
    """The real line, over HTTP."""
    return registry.connect(to, Secrets({"TOKEN": TOKEN}, Path(), Path()))


async def make(journal: Journal, wanted: Sequence[Target], to: Account, now: float, run: str = RUN) -> None:
    """A run of these targets in the journal."""
    made = RunMade(NAME, None, "", accounts={to.name: to_json(to)})
    await journal.make_run(run, made, wanted, now)


def engine(
    journal: Journal,
    now: Callable[[], float],
    line: Callable[[Account], AbstractAsyncContextManager[Line]] = connect,
    ticks: Callable[[], float] | None = None,
    run: str = RUN,
    **options: Any,
) -> Engine:
    """An engine for the run, in a process with the collector of garbage set as the command line sets it."""
    relax_gc()
    collect_now()
    clock = {} if ticks is None else {"ticks": ticks}
    return Engine(
        run,
        journal,
        line,
        Options(**options),
        now=now,
        process=this_process(),
        up=up,
        random=Random(1),
        **clock,
    )


@asynccontextmanager
async def journal_in(folder: str | None, now: Callable[[], float]) -> AsyncIterator[Journal]:
    """The durable journal in a folder, or, without one, the one in memory."""
    if folder is None:
        yield MemoryJournal(now=now)
        return
    from orchestrator.journal.store import open_journal

    async with open_journal(folder, now=now) as journal:
        yield journal
