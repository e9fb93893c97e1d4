"""Reads a run's history from the journal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from anyio.lowlevel import checkpoint

from orchestrator.core.events import RunMade, WaveOpened, Wish
from orchestrator.core.frozen import gc_paused
from orchestrator.core.history import History
from orchestrator.journal.port import Entry, Journal

AT_MOST = 10_000  # entries that are read at once


async def load(journal: Journal, run: str) -> History:
    """The history of a run up to now; `cursor` tells how far, for reading on."""
    with gc_paused():
        history = History(await journal.targets(run))
        await read_on(journal, run, history)
    return history


async def read_on(journal: Journal, run: str, history: History) -> None:
    """Takes in what was written since the history was loaded."""
    with gc_paused():
        found = AT_MOST
        while found == AT_MOST:
            entries = await journal.read(run, history.cursor, AT_MOST)
            for entry in entries:
                history.add(entry.account, entry.seq, entry.at, entry.event)
            found = len(entries)
            if found == AT_MOST:
                await checkpoint()
        await read_wishes(journal, run, history)


async def read_wishes(journal: Journal, run: str, history: History) -> Sequence[Wish]:
    """Takes in what people wished since; gives it."""
    wishes = await journal.wishes(run, history.course.wish)
    for number, wish in wishes:
        history.course.wished(number, wish)
    return [wish for _, wish in wishes]


async def opened_in(journal: Journal, run: str, accounts: Collection[str]) -> set[int]:
    """The waves of a run that were opened; its targets' facts, in the streams of these accounts, are not read."""
    cursor = dict.fromkeys(accounts, 1 << 31)
    found: set[int] = set()
    while entries := await journal.read(run, cursor, AT_MOST):
        cursor |= {entry.account: entry.seq for entry in entries}
        found |= {entry.event.wave for entry in entries if isinstance(entry.event, WaveOpened)}
    return found


async def facts_of(journal: Journal, run: str) -> list[tuple[str, Entry]]:
    """All that the journal tells of a run, each with the run's id."""
    cursor: dict[str, int] = {}
    found: list[tuple[str, Entry]] = []
    while entries := await journal.read(run, cursor, AT_MOST):
        found += [(run, entry) for entry in entries]
        cursor |= {entry.account: entry.seq for entry in entries}
    return found


async def made_in(journal: Journal, run: str) -> RunMade | None:
    """The first event of a run, without the others; None where the run has no beginning."""
    for entry in await journal.read(run, {}, 1):
        return entry.event if isinstance(entry.event, RunMade) else None
    return None
