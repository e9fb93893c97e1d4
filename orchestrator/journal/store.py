"""The journal in one SQLite file: durable against power loss, shared by any number of processes of one machine.

What is durable is what was acknowledged: `append` returns after the sync of the transaction that holds its batch and
the check of its lease's epoch. See docs/journal.md for the file's shape and for what is guaranteed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

from anyio.lowlevel import checkpoint

from orchestrator.core.errors import JournalError
from orchestrator.core.events import Claimed, Event, RunEnded, RunMade, Wish, encode, target_of
from orchestrator.core.model import COORDINATOR, Target
from orchestrator.journal import lease_sql as holds
from orchestrator.journal.commits import Batch, Committer, Row, Stream
from orchestrator.journal.export import export
from orchestrator.journal.files import locate
from orchestrator.journal.kinds import Kinds
from orchestrator.journal.lease import Hold, held_by_another, taken_over
from orchestrator.journal.port import (
    AccountMemory,
    Cursor,
    Entry,
    Lease,
    Overlap,
    Process,
    Reserved,
    RunRow,
    SharedLimit,
    UsageRecord,
)
from orchestrator.journal.process import as_text, boot_clock, from_text, is_dead, this_process, up
from orchestrator.journal.rows import Places, targets_of
from orchestrator.journal.sql import tables
from orchestrator.journal.sql.connection import Database
from orchestrator.journal.sql.errors import damaged
from orchestrator.journal.sql.migrations import JOIN
from orchestrator.journal.usage import Stamps, clock_of, memory_of, remember, room, set_clock, stamps_of

T = TypeVar("T")

INSERT = "INSERT INTO event (key, at, kind, target, body) VALUES (?, ?, ?, ?, ?)"


@asynccontextmanager
async def open_journal(
    where: str, *, now: Callable[[], float], read_only: bool = False
) -> AsyncIterator[SqliteJournal]:
    """The journal at a place, closed at the end.

    Args:
        where: a folder, `sqlite:///relative.db` or `sqlite:////absolute.db`; made on first use.
        now: the wall clock; only `runs` asks it, and only where no run was driven since the machine's boot.
        read_only: never writes; works while another process does.

    Raises:
        JournalError: it cannot be used.
    """
    journal = SqliteJournal(Database(locate(where), read_only=read_only), now)
    try:
        await journal.prepare()
        yield journal
    finally:
        await journal.aclose()


class SqliteJournal:
    """The port over one connection; use `open_journal`.

    Args:
        is_dead: whether a process is proven dead.
    """

    def __init__(
        self, database: Database, now: Callable[[], float], is_dead: Callable[[Process], bool] = is_dead
    ) -> None:
        self._database = database
        self._now = now
        self._is_dead = is_dead
        self._committer = Committer(database.begin, database.try_begin, self._commit)
        self._plans: dict[str, Places] = {}
        self._streams: dict[tuple[str, str], Stream] = {}
        self._stamps = Stamps()
        self._kinds = Kinds()
        self._data_version = 0
        self._began: float | None = None
        self._holder = as_text(this_process())

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    async def prepare(self) -> None:
        """Makes the file ready; before anything else."""
        await self._database.prepare()
        await self._database.read(self._kinds.learn)
        if not (self._kinds.are_complete or self._database.read_only):
            await self._database.write(self._kinds.add)
        self._data_version = await self._database.read(_data_version)
        boot = boot_clock(this_process())
        self._began = await self._database.read(lambda db: clock_of(db, boot))

    async def clock(self, boot: str, up: float, wall: float) -> float:
        """See `Journal.clock`."""
        await checkpoint()
        if not boot:
            return wall - up
        return await self._write(lambda db: set_clock(db, boot, up, wall))

    # -- runs ---------------------------------------------------------------------------------------------------

    async def make_run(
        self, run: str, made: RunMade, targets: Sequence[Target], at: float, forbid_overlap: bool = True
    ) -> Sequence[Overlap]:
        """See `Journal.make_run`."""
        await checkpoint()
        ids = [target.id for target in targets]

        def work(db: sqlite3.Connection) -> tuple[list[Overlap], int]:
            if tables.run_number(db, run) is not None:
                raise JournalError(f"run {run} exists already; `orchestrator resume {run}`, or take another id")
            held = tables.overlaps(db, set(ids))
            if held and forbid_overlap:
                return held, 0
            num, stream = tables.insert_run(db, run, made, targets, at)
            db.execute(INSERT, (stream * JOIN + 1, at, self._kinds.numbers[RunMade], None, encode(made)))
            return held, num

        held, num = await self._write(work)
        if num:
            self._plans[run] = Places(num, ids)
        return held

    async def targets(self, run: str) -> Sequence[Target]:
        """See `Journal.targets`."""
        await checkpoint()
        num = await self._number(run)
        rows, parts = await self._database.read(lambda db: tables.target_rows(db, num))
        with self._trusting_nothing(f"the targets of run {run}"):
            found = targets_of(rows, parts)
        self._plans[run] = Places(num, [target.id for target in found])  # sharing the texts
        return found

    async def runs(self, prefix: str = "", open_only: bool = False) -> Sequence[RunRow]:
        """See `Journal.runs`."""
        await checkpoint()
        now = self._now() if self._began is None else self._began + up()
        return await self._database.read(
            lambda db: tables.run_rows(db, prefix, open_only, lambda hold: hold.is_held(now, self._is_dead))
        )

    async def drop_runs(self, runs: Collection[str]) -> int:
        """See `Journal.drop_runs`."""
        await checkpoint()
        ids = dict.fromkeys(runs)

        def work(db: sqlite3.Connection) -> list[str]:
            ended = [row.id for row in tables.run_rows(db, "", False, lambda _: False) if row.ended_at is not None]
            gone = [run for run in ended if run in ids]
            for run in gone:
                if (num := tables.run_number(db, run)) is not None:
                    tables.drop_run(db, num)
            return gone

        gone = await self._write(work)
        for run in gone:
            self._plans.pop(run, None)
        self._streams = {key: stream for key, stream in self._streams.items() if key[0] not in gone}
        if gone:
            await self._database.vacuum()
        return len(gone)

    async def export(self, path: Path, runs: Collection[str] | None = None) -> None:
        """Copies the state, or some runs of it, into one file for another machine; overwrites nothing.

        Raises:
            JournalError: `path` exists, or cannot be written.
        """
        await checkpoint()
        try:
            await self._database.read(lambda db: export(db, path, runs))
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from error

    # -- events -------------------------------------------------------------------------------------------------

    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> None:
        """See `Journal.append`."""
        stream = self._streams.get((lease.run, lease.account)) or await self._stream(lease)
        places, numbers = self._plans[lease.run].places, self._kinds.numbers
        ended = None
        rows: list[Row] = []
        for event in events:
            target = target_of(event)
            place = None if target is None else places.get(target)
            if place is None and target is not None:
                raise JournalError(f"run {lease.run} has no target {target}")
            rows.append((at, numbers[type(event)], place, encode(event)))
            if type(event) is RunEnded and lease.account == COORDINATOR:
                ended = (at, event.exit_code)
        await self._committer.add(Batch(stream, lease.epoch, rows, ended))

    def _commit(self, batches: Sequence[Batch]) -> None:
        """Writes a group in the transaction that was begun; a batch of a lost lease fails alone."""
        seqs = self._database.commit(lambda db: self._insert(db, batches))
        for stream, seq in seqs.items():
            stream.seq = seq
        self._stamps.written()

    def _insert(self, db: sqlite3.Connection, batches: Sequence[Batch]) -> Mapping[Stream, int]:
        epochs: dict[Stream, int] = {}
        seqs: dict[Stream, int] = {}
        rows: list[tuple[int, float, int, int | None, str]] = []
        for batch in batches:
            stream = batch.stream
            if stream not in epochs:
                epochs[stream] = holds.epoch_of(db, stream.num)
            if epochs[stream] != batch.epoch:
                batch.error = taken_over(stream.run, stream.account)
                continue
            seq = seqs.get(stream, stream.seq)
            for key, row in enumerate(batch.rows, stream.num * JOIN + seq + 1):
                rows.append((key, *row))
            seqs[stream] = seq + len(batch.rows)
            if batch.ended is not None:
                tables.set_ended(db, stream.run_num, *batch.ended)
        db.executemany(INSERT, rows)
        self._stamps.write(db)
        return seqs

    async def read(self, run: str, after: Cursor, at_most: int = 10_000) -> Sequence[Entry]:
        """See `Journal.read`."""
        await checkpoint()
        plan = await self._plan(run)
        streams = await self._database.read(lambda db: tables.event_rows(db, plan.num, after, at_most))
        if {row[2] for _, rows in streams for row in rows} - self._kinds.names.keys():
            await self._database.read(self._kinds.learn)  # another version writes here too
        event, ids = self._kinds.event, plan.ids
        with self._trusting_nothing(f"the events of run {run}"):
            return [
                Entry(account, seq, at + 0.0, event(kind, None if place is None else ids[place], body))
                for account, rows in streams
                for seq, at, kind, place, body in rows
            ]

    async def wish(self, run: str, wish: Wish) -> None:
        """See `Journal.wish`."""
        await checkpoint()
        num = await self._number(run)
        await self._write(lambda db: tables.add_wish(db, num, self._kinds.numbers[type(wish)], encode(wish)))

    async def wishes(self, run: str, after: int = 0) -> Sequence[tuple[int, Wish]]:
        """See `Journal.wishes`."""
        await checkpoint()
        num = await self._number(run)
        rows = await self._database.read(lambda db: tables.wish_rows(db, num, after))
        if {kind for _, kind, _ in rows} - self._kinds.names.keys():
            await self._database.read(self._kinds.learn)
        with self._trusting_nothing(f"the wishes of run {run}"):
            # what is not a wish is nobody's; the type is checked where it is acted on
            return [(seq, cast(Wish, self._kinds.event(kind, None, body))) for seq, kind, body in rows]

    # -- leases -------------------------------------------------------------------------------------------------

    async def claim(self, run: str, account: str, process: Process, now: float, lease_for: float) -> Lease:
        """See `Journal.claim`."""
        await checkpoint()
        plan = await self._plan(run)

        def work(db: sqlite3.Connection) -> tuple[Lease, Stream]:
            num, before = holds.stream_of(db, plan.num, account) or (holds.add_stream(db, plan.num, account), Hold())
            if before.is_held(now, self._is_dead):
                raise held_by_another(run, account, before, now)
            hold = before.taken(process, now, lease_for)
            holds.put(db, num, hold)
            seq = tables.last_seq(db, num) + 1
            claimed = Claimed(hold.epoch, process.host, process.pid)
            db.execute(INSERT, (num * JOIN + seq, now, self._kinds.numbers[Claimed], None, encode(claimed)))
            if account == COORDINATOR:
                tables.set_ended(db, plan.num, None, None)
            return Lease(run, account, hold.epoch, before.last_alive(now)), Stream(num, plan.num, run, account, seq)

        lease, self._streams[run, account] = await self._write(work)
        return lease

    async def renew(self, leases: Sequence[Lease], now: float, lease_for: float) -> None:
        """See `Journal.renew`."""
        await checkpoint()
        lost = await self._write(lambda db: holds.change(db, leases, lambda hold: hold.renewed(now, lease_for)))
        if lost:
            raise taken_over(lost[0].run, lost[0].account)

    async def release(self, leases: Sequence[Lease]) -> None:
        """See `Journal.release`."""
        await checkpoint()
        await self._write(lambda db: holds.change(db, leases, Hold.given_back))

    # -- principals ---------------------------------------------------------------------------------------------

    async def record_usage(self, records: Sequence[UsageRecord]) -> Sequence[int]:
        """See `Journal.record_usage`."""
        return self._stamps.add(records)

    def settle(self, keys: Sequence[int], at: float | None) -> None:
        """See `Journal.settle`."""
        self._stamps.settle(keys, at)

    async def reserve(self, principal: str, shares: Sequence[SharedLimit], at: float, until: float) -> Reserved:
        """See `Journal.reserve`."""
        await checkpoint()

        def work(db: sqlite3.Connection) -> Reserved:
            self._stamps.write(db)  # what we made in memory counts first; written again below, to no effect
            found = room(db, principal, shares, at, self._is_gone)
            if found.delay:
                return found
            holders = [self._holder if share.while_alive else "" for share in shares]
            stamps = [
                UsageRecord(principal, share.name, share.scope, until, share.per, holder)
                for share, holder in zip(shares, holders, strict=True)
            ]
            return Reserved(0.0, "", self._stamps.add(stamps))

        return await self._write(work)

    async def usage(self, principal: str, since: float) -> Sequence[UsageRecord]:
        """See `Journal.usage`."""
        await checkpoint()
        found = await self._database.read(lambda db: stamps_of(db, principal, since))
        waiting = [
            stamp for stamp in self._stamps.waiting.values() if stamp.principal == principal and stamp.at >= since
        ]
        return sorted([*found, *waiting], key=lambda stamp: stamp.at)

    def _is_gone(self, holder: str) -> bool:
        try:
            return holder != self._holder and self._is_dead(from_text(holder))
        except ValueError:  # nobody's that we know: time ends it
            return False

    async def remember(
        self, principal: str, *, marker_proven: bool = False, frozen: Mapping[str, float] = {}, alias: str = ""
    ) -> None:
        """See `Journal.remember`."""
        await checkpoint()
        await self._write(lambda db: remember(db, principal, marker_proven, frozen, alias))

    async def memory(self, principal: str) -> AccountMemory:
        """See `Journal.memory`."""
        await checkpoint()
        return await self._database.read(lambda db: memory_of(db, principal))

    async def changed_by_others(self) -> bool:
        """See `Journal.changed_by_others`."""
        before, self._data_version = self._data_version, await self._database.read(_data_version)
        return before != self._data_version

    async def aclose(self) -> None:
        """See `Journal.aclose`. Stamps that wait are written, when that is possible at once."""
        if self._stamps.has_news:
            with suppress(JournalError):
                if self._database.try_begin():
                    self._commit(())
        await self._database.close()

    # -- what stands behind -------------------------------------------------------------------------------------

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction, in which the stamps ride too."""

        def both(db: sqlite3.Connection) -> T:
            result = work(db)
            self._stamps.write(db)
            return result

        result = await self._database.write(both)
        self._stamps.written()
        return result

    async def _number(self, run: str) -> int:
        num = await self._database.read(lambda db: tables.run_number(db, run))
        if num is None:
            raise JournalError(f"the state has no run {run}; `orchestrator runs` lists those that there are")
        return num

    async def _plan(self, run: str) -> Places:
        if run not in self._plans:
            num = await self._number(run)
            self._plans[run] = Places(num, await self._database.read(lambda db: tables.target_ids(db, num)))
        return self._plans[run]

    async def _stream(self, lease: Lease) -> Stream:
        """The stream of a lease that was not claimed through this connection."""
        plan = await self._plan(lease.run)

        def work(db: sqlite3.Connection) -> Stream:
            found = holds.stream_of(db, plan.num, lease.account)
            if found is None:
                raise taken_over(lease.run, lease.account)
            return Stream(found[0], plan.num, lease.run, lease.account, tables.last_seq(db, found[0]))

        self._streams[lease.run, lease.account] = stream = await self._database.read(work)
        return stream

    @contextmanager
    def _trusting_nothing(self, what: str) -> Iterator[None]:
        """The file may come from elsewhere: a row that we did not write is an error that says so."""
        try:
            yield
        except (TypeError, ValueError, LookupError, RecursionError) as error:
            raise damaged(self.path, f"{what}: {error}") from error


def _data_version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)
