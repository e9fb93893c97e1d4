"""Onlookers: processes that only follow the builds of a run, and leave it to whoever wants to drive it."""

from __future__ import annotations

import anyio

from orchestrator.app.context import Context
from orchestrator.app.which import exact
from orchestrator.core.events import DriveAsked
from orchestrator.core.history import History
from orchestrator.engine.coordinator import WISHES_EVERY
from orchestrator.journal.history import load, read_on
from orchestrator.journal.port import Journal
from orchestrator.journal.process import this_process

WISHES, LOOKS_PER_WISH = 5, 10  # how often it is asked, and how often it is seen whether it has let go
LOOK_EVERY = WISHES_EVERY / LOOKS_PER_WISH  # seconds


async def let_go(run: str, journal: Journal, context: Context, history: History | None = None) -> None:
    """Asks the onlooker that holds a run for it, and waits until it lets go; anybody else is left alone.

    Args:
        history: the run's, where it was loaded already.
    """
    for look in range(WISHES * LOOKS_PER_WISH):
        row = await exact(journal, run)
        if row is None or not row.driven:
            return
        history = history or await load(journal, run)
        await read_on(journal, run, history)
        if not history.is_watched:
            return
        if look % LOOKS_PER_WISH == 0:  # one that is just beginning does not heed the first
            me = this_process()
            context.observer.notice("watch.asked_to_let_go", run=run)
            await journal.wish(run, DriveAsked(f"process {me.pid} on {me.host}", context.now()))
        await anyio.sleep(LOOK_EVERY)
