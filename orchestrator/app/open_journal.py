"""Opens the state, and finds the run that a person means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.app.machine import Machine
from orchestrator.cli.flags import Flags
from orchestrator.core.errors import UsageError
from orchestrator.journal.port import Journal, RunRow
from orchestrator.report.words import clock

if TYPE_CHECKING:
    from orchestrator.journal.store import SqlJournal

SANDBOX = "sandbox"  # the folder below the state that keeps rehearsals apart from what is real
LISTED = 10


def place(flags: Flags, machine: Machine) -> str:
    """Where the state is: as written, else one place for the user; rehearsals have a place of their own."""
    if flags.state is None:
        return str(machine.state_home / SANDBOX if flags.sandbox else machine.state_home)
    if "://" in flags.state:
        return flags.state
    return str(machine.cwd / Path(flags.state).expanduser())


@asynccontextmanager
async def writable(flags: Flags, machine: Machine) -> AsyncIterator[SqlJournal]:
    """The journal, made on first use.

    Raises:
        JournalError: the state cannot be used.
    """
    from orchestrator.journal.store import open_journal

    async with open_journal(place(flags, machine), now=machine.now) as journal:
        yield journal


@asynccontextmanager
async def readable(flags: Flags, machine: Machine, run: str | None = None) -> AsyncIterator[SqlJournal]:
    """The journal for looking only; never made, never changed.

    A run that is named and is not in the user's own state is looked for among the rehearsals, too, so that a command
    line pasted from a report of `run --sandbox` works as it stands.

    Raises:
        UsageError: there is no state yet.
        JournalError: it cannot be used.
    """
    from orchestrator.journal.store import open_journal

    where = place(flags, machine)
    rehearsals = str(Path(where) / SANDBOX)
    may_fall_back = flags.state is None and not flags.sandbox and exists(rehearsals)
    if may_fall_back and (not exists(where) or (run is not None and not await _knows(where, run, machine))):
        where = rehearsals
    if not exists(where):
        raise UsageError(f"there are no runs yet in {where}; `orchestrator run` makes one, --state names another place")
    async with open_journal(where, now=machine.now, read_only=True) as journal:
        yield journal


def exists(where: str) -> bool:
    """Whether there is a state at this place."""
    from orchestrator.journal.files import locate

    return locate(where).exists()


async def _knows(where: str, run: str, machine: Machine) -> bool:
    from orchestrator.journal.store import open_journal

    async with open_journal(where, now=machine.now, read_only=True) as journal:
        return bool(await journal.runs(run))


async def named(journal: Journal, text: str) -> RunRow:
    """The run whose id is, or alone begins with, this text.

    Raises:
        UsageError: none, or several.
    """
    rows = await journal.runs(text)
    exact = [row for row in rows if row.id == text]
    if exact or len(rows) == 1:
        return (exact or list(rows))[0]
    if not rows:
        raise UsageError(f"no run in this state begins with {text!r}; `orchestrator runs` lists them")
    raise UsageError(f"{len(rows)} runs begin with {text!r}; write more of it:\n{listed(rows)}")


async def exact(journal: Journal, run: str) -> RunRow | None:
    """The run of exactly this id, None when there is none."""
    return next((row for row in await journal.runs(run) if row.id == run), None)


async def latest(journal: Journal, text: str | None) -> RunRow:
    """The named run, by default the latest.

    Raises:
        UsageError: there is none.
    """
    if text is not None:
        return await named(journal, text)
    rows = await journal.runs()
    if not rows:
        raise UsageError("there are no runs in this state yet; `orchestrator run` makes one")
    return rows[0]


async def only_open(journal: Journal, text: str | None) -> RunRow:
    """The named run, by default the only open one.

    Raises:
        UsageError: none is open, or several are.
    """
    if text is not None:
        return await named(journal, text)
    rows = await journal.runs(open_only=True)
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise UsageError("no run in this state is open; `orchestrator runs` lists them all")
    raise UsageError(f"{len(rows)} runs are open; say which:\n{listed(rows)}")


def listed(rows: Sequence[RunRow]) -> str:
    """Runs as lines to choose from."""
    lines = [f"  {row.id}  {clock(row.made_at)}  {row.name}, {row.targets:,} targets" for row in rows[:LISTED]]
    return "\n".join(lines + [f"  ... and {len(rows) - LISTED} more"] * (len(rows) > LISTED))
