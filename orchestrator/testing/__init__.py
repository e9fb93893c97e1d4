"""What tests build on: here the journal that users have, over a database in memory, in processes that may die.

What every provider must keep stands in `contract.py`.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar, cast

from typing_extensions import override

from orchestrator.core.events import Event
from orchestrator.core.frozen import replace
from orchestrator.journal.port import Entry, Incarnation, Lease, Process
from orchestrator.journal.sql.connection import Database
from orchestrator.journal.sql.sqlite import Sqlite
from orchestrator.journal.sql.tables import forget, in_memory, keep_runs
from orchestrator.journal.store import SqlJournal

T = TypeVar("T")
PLACE = "the state in memory"


class Crash(BaseException):
    """The simulated death of the process. Not an `Exception`: no process handles its own death."""


class Disk:
    """A state in memory, in the database that users have: what survives a crash. Several processes may share it.

    Attributes:
        dead: processes that are proven dead, by what tells them apart.
    """

    def __init__(self, db: sqlite3.Connection | None = None) -> None:
        self.db = in_memory() if db is None else db
        self.dead: set[str] = set()
        self.dialect = Sqlite(Database(self.db, PLACE))

    def copy(self, runs: Collection[str]) -> Disk:
        """Some runs of it, as `runs --export` gives them: on another machine no process is proven dead."""
        db = in_memory(self.db)
        keep_runs(db, runs)
        return Disk(db)

    def empty(self) -> None:
        """Forgets everything."""
        forget(self.db)

    def has(self, run: str) -> bool:
        """Whether there is a run of this id."""
        return _at_once(self.dialect.run_number(run)) is not None

    def boot(self, boot: str, default: float) -> float:
        """When a boot began, by the state's clock."""
        began = _at_once(self.dialect.clock(boot))
        return default if began is None else began

    def entries(self, run: str) -> list[Entry]:
        """All entries of a run, stream by stream; for assertions."""
        return list(_at_once(MemoryJournal(self).read(run, {}, 1_000_000)))


class Mortal(Database):
    """One process's connection to a disk: nothing is read or written in a dead process."""

    is_dead = False

    @override
    def alive(self) -> sqlite3.Connection:
        if self.is_dead:
            raise Crash
        return super().alive()


class MemoryJournal(SqlJournal):
    """One process's way to a disk: the journal that users have, over `:memory:`. It may die at a record.

    Args:
        disk: shared with others, or what a dead process left; a new one by default.
        dies_at: the append, counted from 0, at which this process dies.
        dies_before: whether it dies before that append is written, or after.
        now: the state's clock; only `runs` asks it. Time 0 by default: then no lease is ever over for `runs`.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        disk: Disk | None = None,
        dies_at: int | None = None,
        *,
        dies_before: bool = False,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.disk = Disk() if disk is None else disk
        self.appends = 0
        self._dies_at = dies_at
        self._dies_before = dies_before
        self._database = Mortal(self.disk.db, PLACE)
        self._name = f"memory {next(self._numbers)}"
        process = Process("memory", "memory", 1, self._name)
        dialect = Sqlite(self._database, self.disk.dialect)
        super().__init__(dialect, now, process, lambda process: process.started in self.disk.dead)

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self._database.is_dead

    def kill(self, *, proven: bool = True) -> None:
        """Dies: every later call fails with `Crash`.

        Args:
            proven: whether others can prove the death, so that they need not wait for the lease to end.
        """
        self._database.is_dead = True
        if proven:
            self.disk.dead.add(self._name)

    @override
    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> Sequence[Entry]:
        number, self.appends = self.appends, self.appends + 1
        if number == self._dies_at and self._dies_before:
            self.kill()
        entries = await super().append(lease, events, at)
        if number == self._dies_at:
            self.kill()
        if self.is_dead:
            raise Crash
        return entries

    @override
    def register(self, process: Process, lease_for: float) -> Incarnation:
        """Under the name by which this process is proven dead; tests use one process for several journals."""
        return super().register(replace(process, started=self._name), lease_for)


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of what never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("it waits")
