"""What earlier runs in the state tell a forecast: how long builds took. Bounded, so that `plan` stays quick."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import exists, place
from orchestrator.cli.flags import Flags
from orchestrator.core.errors import JournalError
from orchestrator.core.events import Sighted
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, Target
from orchestrator.forecast import ASSUMED, Times, times_of
from orchestrator.journal.port import Journal, RunRow

RUNS = 10  # earlier runs that are read, those of the same name first
ENTRIES = 60_000  # of their journals, in all: half a second
REHEARSED = Times(latency=0.02, starts=1.0, runs=5.0)  # the middle of `sandbox.demo`
LARGEST = 20_000  # targets of a run that is read


async def times(flags: Flags, machine: Machine, name: str) -> Times:
    """How long builds took in the user's state; assumptions where there is none, or none that can be read."""
    from orchestrator.journal.store import open_journal

    where = place(flags, machine)
    if not exists(where):
        return assumed(flags)
    try:
        async with open_journal(where, now=machine.now, read_only=True) as journal:
            return await times_in(journal, name, flags)
    except JournalError:  # `plan` needs no state: what is wrong with it, the verbs that need it tell
        return assumed(flags)


def assumed(flags: Flags) -> Times:
    """What is supposed where no earlier run tells."""
    return REHEARSED if flags.sandbox else ASSUMED


async def times_in(journal: Journal, name: str, flags: Flags) -> Times:
    """How long builds took in this journal.

    Args:
        name: of the plan; what ran under it counts before the rest.
    """
    rows = sorted(await journal.runs(), key=lambda row: row.name != name)  # stable: newest first among each
    beside = tuple(row.id for row in rows if row.driven)
    found: list[tuple[Target, Build]] = []
    left = ENTRIES
    for row in [row for row in rows if row.targets <= LARGEST][:RUNS]:
        if left <= 0:
            break
        builds, read = await _ended(journal, row, left)
        found += builds
        left -= read
    known = times_of(found)
    if known.builds:
        return replace(known, latency=assumed(flags).latency, beside=beside)
    return replace(assumed(flags), beside=beside)


async def _ended(journal: Journal, row: RunRow, at_most: int) -> tuple[Sequence[tuple[Target, Build]], int]:
    """The builds of a run that have ended, and how many entries were read."""
    targets = {target.id: target for target in await journal.targets(row.id)}
    cursor: dict[str, int] = {}
    ended: dict[str, Build] = {}
    read = 0
    while read < at_most and (batch := await journal.read(row.id, cursor)):
        read += len(batch)
        for entry in batch:
            cursor[entry.account] = entry.seq
            if isinstance(entry.event, Sighted) and entry.event.build.state.is_final:
                ended[entry.event.target] = entry.event.build
    return [(targets[id_], build) for id_, build in ended.items() if id_ in targets], read
