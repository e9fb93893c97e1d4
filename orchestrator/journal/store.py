"""The journal, once for all databases: streams, group commit, leases, usage of shared limits, over a dialect.

What is durable is what was acknowledged: `append` returns after the sync of the transaction that holds its batch and
the check of its lease's epoch. See docs/journal.md for the state's shape and for what is guaranteed.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import cast
from uuid import uuid4

from typing_extensions import override

from orchestrator.core.errors import JournalError
from orchestrator.core.events import Claimed, Event, RunEnded, RunMade, Wish, decode, encode, target_of
from orchestrator.core.frozen import replace
from orchestrator.core.model import COORDINATOR, Scope, Target
from orchestrator.journal.commits import Batch, Committer, Stream, Usage
from orchestrator.journal.files import is_server, locate
from orchestrator.journal.lease import expired, held_by_another, taken_over
from orchestrator.journal.outcomes import Known
from orchestrator.journal.port import (
    AccountMemory,
    Cursor,
    Entry,
    Incarnation,
    Journal,
    Lease,
    Overlap,
    Process,
    Reserved,
    RunRow,
    SharedLimit,
    UsageRecord,
)
from orchestrator.journal.process import as_text, boot_clock, from_text, is_dead, this_process, up
from orchestrator.journal.rows import Parts, Places, targets_of
from orchestrator.journal.sql import NO_NEWS, Dialect, Document, InTheWay, Piece, Refused, Row, damaged, tables
from orchestrator.journal.sql.connection import Database, File
from orchestrator.journal.sql.sqlite import Sqlite

NO_EPOCH = -1  # stands for the epoch that only the database knows when a claim is written


@asynccontextmanager
async def open_journal(
    where: str, *, now: Callable[[], float], read_only: bool = False, password: str | None = None
) -> AsyncIterator[SqlJournal]:
    """The journal at a place, closed at the end.

    Args:
        where: a folder, `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://HOST/DB`; made on first use.
        now: the wall clock; only `runs` asks it, and only where no run was driven since the machine's boot.
        read_only: never writes; works while another process does.
        password: of a server's state.

    Raises:
        JournalError: it cannot be used.
    """
    journal = SqlJournal(_dialect(where, read_only, password), now)
    try:
        await journal.prepare()
        yield journal
    finally:
        await journal.aclose()


def _dialect(where: str, read_only: bool, password: str | None) -> Dialect:
    if not is_server(where):
        return Sqlite(File(locate(where), read_only=read_only))
    from orchestrator.journal.sql.postgres import Postgres  # needs the extra `postgres`

    return Postgres.at(where, password, read_only=read_only)


@asynccontextmanager
async def in_memory(now: Callable[[], float]) -> AsyncIterator[SqlJournal]:
    """A journal that is gone with the process; `now` as of `open_journal`."""
    journal = SqlJournal(Sqlite(Database(tables.in_memory(), ":memory:")), now)
    try:
        await journal.prepare()
        yield journal
    finally:
        await journal.aclose()


class SqlJournal(Journal):
    """The port over a database; use `open_journal`.

    Args:
        process: the one that writes here; calls under way count while it lives.
        is_dead: whether a process is proven dead.
    """

    def __init__(
        self,
        dialect: Dialect,
        now: Callable[[], float],
        process: Process | None = None,
        is_dead: Callable[[Process], bool] = is_dead,
    ) -> None:
        self.dialect = dialect
        self._now = now
        self._process = process or this_process()
        self._is_dead = is_dead
        self._committer = Committer(self._commit)
        self._plans: dict[str, Places] = {}
        self._streams: dict[tuple[str, str], Stream] = {}
        self._usage = Usage()
        self._holder = as_text(self._process)
        self._began: float | None = None
        self._heirs: dict[str, Incarnation] = {}  # of a registered incarnation, the one that lives now
        self._claimed: dict[str, dict[int, Lease]] = {}  # of a registered incarnation, its leases by stream

    async def prepare(self) -> None:
        """Makes the state ready; before anything else."""
        await self.dialect.prepare()

    @override
    async def clock(self, boot: str, up: float, wall: float) -> float:
        began = await self.dialect.clock(boot) if boot else wall - up
        return await self.dialect.set_clock(boot, up, wall) if began is None else began

    @override
    async def aclose(self) -> None:
        """Usage records that wait are written, when that is possible at once."""
        with suppress(JournalError):
            await self._write_usage()
        await self.dialect.aclose()

    # -- runs ---------------------------------------------------------------------------------------------------

    @override
    async def make_run(
        self,
        run: str,
        made: RunMade,
        targets: Sequence[Target],
        at: float,
        forbid_overlap: bool = True,
        names: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Sequence[Overlap]:
        row, parts = RunRow(run, made.name, at, len(targets), parent=made.parent), Parts()
        rows = [parts.row(target) for target in targets]
        first = (at, made.kind, None, encode(made))
        num, overlaps = await self.dialect.make_run(row, rows, parts.numbered, first, forbid_overlap, names or {})
        if num:
            self._plans[run] = Places(num, [target.id for target in targets])
        return overlaps

    @override
    async def targets(self, run: str) -> Sequence[Target]:
        num = await self._number(run)
        rows, parts = await self.dialect.targets(num)
        with self._trusting_nothing(f"the targets of run {run}"):
            found = targets_of(rows, parts)
        self._plans[run] = Places(num, [target.id for target in found])  # sharing the texts
        return found

    @override
    async def runs(self, prefix: str = "", open_only: bool = False) -> Sequence[RunRow]:
        if self._began is None:
            self._began = await self.dialect.clock(boot_clock(self._process))
        now = self._now() if self._began is None else self._began + up()
        return [
            replace(row, driven=any(hold.is_held(now, self._is_dead) for hold in holds))
            for row, holds in await self.dialect.runs(prefix, open_only)
        ]

    @override
    async def outcomes(self, wanted: Collection[str] | None = None) -> Mapping[str, Sequence[Known]]:
        return await self.dialect.outcomes(wanted)

    @override
    async def drop_runs(self, runs: Collection[str]) -> int:
        gone = await self.dialect.drop_runs(runs)
        for run in gone:
            self._plans.pop(run, None)
        self._streams = {key: stream for key, stream in self._streams.items() if key[0] not in gone}
        return len(gone)

    async def export(self, path: Path, runs: Collection[str] | None = None) -> None:
        """Copies the state, or some runs of it, into one file for another machine; overwrites nothing.

        Raises:
            JournalError: `path` exists, or cannot be written.
        """
        try:
            await self.dialect.export(path, runs)
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from error

    # -- events and wishes --------------------------------------------------------------------------------------

    @override
    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> Sequence[Entry]:
        stream = self._streams.get((lease.run, lease.account))
        if stream is None:  # the run was dropped
            raise taken_over(lease.run, lease.account)
        places = self._plans[lease.run].places
        ended = None
        rows: list[Row] = []
        for event in events:
            target = target_of(event)
            place = None if target is None else places.get(target)
            if place is None and target is not None:
                raise JournalError(f"run {lease.run} has no target {target}")
            rows.append((at, event.kind, place, encode(event)))
            if type(event) is RunEnded and lease.account == COORDINATOR:
                ended = (at, event.exit_code)
        return await self._committer.add(Batch(stream, lease.epoch, at, events, rows, ended))

    async def _commit(self, take: Callable[[], Sequence[Batch]]) -> None:
        """Writes a group; a batch that does not continue its stream fails alone."""
        pieces: dict[tuple[Stream, int], list[Batch]] = {}
        usage = NO_NEWS

        def document() -> Document:
            nonlocal usage
            pieces.clear()
            for batch in take():
                if not batch.is_settled:
                    pieces.setdefault((batch.stream, batch.epoch), []).append(batch)
            usage = self._usage.news()
            return Document([_piece(stream, epoch, batches) for (stream, epoch), batches in pieces.items()], usage)

        while True:
            try:
                await self.dialect.append(document)
            except Refused as refusal:
                for number, ((stream, epoch), batches) in enumerate(list(pieces.items())):
                    if number in refusal.found:
                        self._refused(stream, epoch, batches, *refusal.found[number])
                if len(refusal.found) == len(pieces):
                    return
            else:
                self._usage.written(usage)
                for (stream, _), batches in pieces.items():
                    self._written(stream, batches)
                return

    def _written(self, stream: Stream, batches: Sequence[Batch]) -> None:
        """They are durable."""
        for batch in batches:
            batch.written(stream.seq + 1)
            stream.seq += len(batch.rows)

    def _refused(self, stream: Stream, epoch: int, batches: Sequence[Batch], found: int, last: int) -> None:
        """Settles batches that do not continue their stream, which was found at that epoch with that last row."""
        if found == epoch and last == stream.seq + sum(len(batch.rows) for batch in batches):
            self._written(stream, batches)  # our own commit, whose answer was lost
            return
        for batch in batches:
            if found != epoch:
                batch.error = taken_over(stream.run, stream.account)
            else:
                batch.error = JournalError(
                    f"{self.dialect.place}: the state went back: {stream.seq} events of run {stream.run} were written, "
                    f"{last} are there; `orchestrator resume {stream.run}` looks for what is missing before it triggers"
                )

    @override
    async def having(self, name: str) -> Sequence[tuple[str, str]]:
        return await self.dialect.having(name)

    @override
    async def read_target(self, run: str, target: str) -> Sequence[Entry]:
        plan = await self._plan(run)
        streams = await self.dialect.events_of(plan.num, plan.places[target])
        with self._trusting_nothing(f"the events of run {run}"):
            return [
                Entry(account, seq, at + 0.0, decode(kind, target, body))
                for account, rows in streams
                for seq, at, kind, _, body in rows
            ]

    @override
    async def read(self, run: str, after: Cursor, at_most: int = 10_000) -> Sequence[Entry]:
        plan = await self._plan(run)
        streams = await self.dialect.events(plan.num, after, at_most)
        ids = plan.ids
        with self._trusting_nothing(f"the events of run {run}"):
            return [
                Entry(account, seq, at + 0.0, decode(kind, None if place is None else ids[place], body))
                for account, rows in streams
                for seq, at, kind, place, body in rows
            ]

    @override
    async def wish(self, run: str, wish: Wish) -> None:
        await self.dialect.wish(await self._number(run), wish.kind, encode(wish))

    @override
    async def wishes(self, run: str, after: int = 0) -> Sequence[tuple[int, Wish]]:
        plan = self._plans.get(run)
        rows = await self.dialect.wishes(await self._number(run) if plan is None else plan.num, after)
        if not rows:
            return []
        with self._trusting_nothing(f"the wishes of run {run}"):
            # the type is checked where a wish is acted on
            return [(number, cast(Wish, decode(kind, None, body))) for number, kind, body in rows]

    # -- leases -------------------------------------------------------------------------------------------------

    @override
    def register(self, process: Process, lease_for: float) -> Incarnation:
        return Incarnation(uuid4().hex, process, lease_for)

    @override
    async def claim(self, run: str, accounts: Sequence[str], by: Incarnation, now: float) -> Sequence[Lease]:
        plan = await self._plan(run)
        claimed_by = Claimed(NO_EPOCH, by.process.host, by.process.pid, by.onlooker, by.pace)
        fact = encode(claimed_by).partition(str(NO_EPOCH))[::2]
        while True:
            is_new = by.id not in self._heirs
            heir = self._heirs.get(by.id, by)
            found = await self.dialect.claim(plan.num, accounts, heir, now, fact, is_new)
            self._heirs[by.id] = heir
            if not isinstance(found, InTheWay):
                break
            if found.hold.is_held(now, self._is_dead):
                raise held_by_another(run, found.account, found.hold, now)
            await self.dialect.end(found.hold.incarnation)
        if found is None:
            raise expired(run, accounts[0])
        claimed, leases = self._claimed.setdefault(by.id, {}), []
        for account, granted in zip(accounts, found, strict=True):
            self._streams[run, account] = Stream(granted.stream, plan.num, run, account, granted.seq)
            leases.append(Lease(run, account, granted.epoch, granted.before.last_alive(now)))
            claimed[granted.stream] = leases[-1]
        return leases

    @override
    async def renew(self, by: Incarnation, now: float) -> None:
        old = self._heirs.get(by.id, by)
        heir = replace(old, id=uuid4().hex)
        with self._usage.riding() as usage:
            lives, held = await self.dialect.renew(old.id, heir, now, usage)
        if lives == heir.id:
            self._heirs[by.id] = heir
        lost = [lease for stream, lease in self._claimed.get(by.id, {}).items() if stream not in held]
        if lost:
            raise taken_over(lost[0].run, lost[0].account)

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        known = [(self._streams.get((lease.run, lease.account)), lease.epoch) for lease in leases]
        streams = [(stream.num, epoch) for stream, epoch in known if stream is not None]
        await self.dialect.release(streams)
        for claimed in self._claimed.values():
            for num, epoch in streams:
                if num in claimed and claimed[num].epoch == epoch:
                    del claimed[num]

    # -- principals ---------------------------------------------------------------------------------------------

    @override
    async def record_usage(self, records: Sequence[UsageRecord]) -> Sequence[int]:
        return self._usage.add(records)

    @override
    def settle(self, keys: Sequence[int], at: float | None) -> None:
        self._usage.settle(keys, at)

    @override
    async def reserve(self, principal: str, limits: Sequence[SharedLimit], at: float, until: float) -> Reserved:
        keys = self._usage.keys(len(limits))
        holders = [self._holder if limit.while_alive else "" for limit in limits]
        records = [
            (key, UsageRecord(principal, limit.name, limit.scope, until, limit.per, holder))
            for key, limit, holder in zip(keys, limits, holders, strict=True)
        ]
        with self._usage.riding() as usage:
            delay, name = await self.dialect.reserve(principal, limits, records, at, self._is_gone, usage)
        return Reserved(delay, name) if delay else Reserved(0.0, "", keys)

    def _is_gone(self, holder: str) -> bool:
        try:
            return holder != self._holder and self._is_dead(from_text(holder))
        except ValueError:  # not a process: time ends it
            return False

    async def _write_usage(self) -> None:
        usage = self._usage.news()
        if usage.records or usage.settled:
            await self.dialect.settle(usage)
            self._usage.written(usage)

    @override
    async def remember(
        self, principal: str, *, marker_proven: bool = False, frozen: Mapping[Scope, float] = {}, alias: str = ""
    ) -> None:
        await self.dialect.remember(principal, marker_proven, frozen, alias)

    @override
    async def memory(self, principal: str, since: float = math.inf) -> AccountMemory:
        found = await self.dialect.memory(principal, since)
        waiting = self._usage.of((principal, found.alias), since)
        return replace(found, usage=tuple(sorted([*found.usage, *waiting], key=attrgetter("at"))))

    @override
    async def changed_by_others(self) -> bool:
        return await self.dialect.changed_by_others()

    # -- what stands behind -------------------------------------------------------------------------------------

    async def _number(self, run: str) -> int:
        num = await self.dialect.run_number(run)
        if num is None:
            raise JournalError(f"the state has no run {run}; `orchestrator runs` lists those that there are")
        return num

    async def _plan(self, run: str) -> Places:
        if run not in self._plans:
            num = await self._number(run)
            self._plans[run] = Places(num, await self.dialect.target_ids(num))
        return self._plans[run]

    @contextmanager
    def _trusting_nothing(self, what: str) -> Iterator[None]:
        """The state may come from elsewhere: a row that we did not write is an error that says so."""
        try:
            yield
        except (TypeError, ValueError, LookupError, RecursionError) as error:
            raise damaged(self.dialect.place, f"{what}: {error}") from error


def _piece(stream: Stream, epoch: int, batches: Sequence[Batch]) -> Piece:
    rows = batches[0].rows if len(batches) == 1 else [row for batch in batches for row in batch.rows]
    ended = next((batch.ended for batch in reversed(batches) if batch.ended is not None), None)
    return Piece(stream.num, stream.run_num, epoch, stream.seq + 1, rows, ended)
