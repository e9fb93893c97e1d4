"""The dialect of SQLite. Each operation is a function over a connection, run in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from typing_extensions import override

from orchestrator.core.errors import JournalError
from orchestrator.core.events import KINDS, Claimed
from orchestrator.core.model import COORDINATOR, Scope
from orchestrator.journal.lease import SENDS_FOR, Hold
from orchestrator.journal.outcomes import Known
from orchestrator.journal.port import (
    AccountMemory,
    Cursor,
    Incarnation,
    Overlap,
    RunRow,
    SharedLimit,
    UsageRecord,
)
from orchestrator.journal.sql import (
    NO_NEWS,
    NOT_COUNTED,
    Dialect,
    Document,
    Granted,
    InTheWay,
    Refused,
    Row,
    UsageNews,
    tables,
)
from orchestrator.journal.sql.connection import Database
from orchestrator.journal.sql.migrations import JOIN, add_kinds

KEPT_FOR = 7200.0  # seconds; no limit looks back further
PRUNE_EVERY = 60.0

P = ParamSpec("P")
T = TypeVar("T")


def _reads(
    work: Callable[Concatenate[Sqlite, sqlite3.Connection, P], T],
) -> Callable[Concatenate[Sqlite, P], Coroutine[Any, Any, T]]:
    """Makes an operation of a function that fetches all it wants."""

    @wraps(work)
    async def operation(self: Sqlite, /, *args: P.args, **named: P.kwargs) -> T:
        database, patience = self.database, None
        while True:
            try:
                return work(self, database.alive(), *args, **named)
            except (sqlite3.Error, TypeError, ValueError, OverflowError, MemoryError) as error:
                patience = database.unread(error, patience)
            await patience.wait()

    return operation


def _writes(
    work: Callable[Concatenate[Sqlite, sqlite3.Connection, P], T],
) -> Callable[Concatenate[Sqlite, P], Coroutine[Any, Any, T]]:
    """Makes an operation of a function that writes: durable when it returns, wholly undone when it fails."""

    @wraps(work)
    async def operation(self: Sqlite, /, *args: P.args, **named: P.kwargs) -> T:
        database = self.database
        db = database.try_begin() or await database.begin()
        try:
            found = work(self, db, *args, **named)
        except BaseException as error:
            database.undo(error)
        database.commit()
        return found

    return operation


class Sqlite(Dialect):
    """One process's way to a state in SQLite.

    Args:
        like: another way to the same one, whose knowledge of the file's kinds is taken over.
    """

    def __init__(self, database: Database, like: Sqlite | None = None) -> None:
        self.database = database
        # of kinds: each file has its own, so that a new kind needs no migration
        self._numbers: dict[str, int] = {} if like is None else like._numbers
        self._kinds: dict[int, str] = {} if like is None else like._kinds
        self._pruned_at = 0.0
        self._changes = 0

    @property
    @override
    def place(self) -> str:
        return self.database.place

    @override
    async def prepare(self) -> None:
        await self.database.prepare()
        await self.database.read(self._learn_kinds)
        if len(self._numbers) < len(KINDS) and not self.database.read_only:
            await self.database.write(add_kinds)
            await self.database.read(self._learn_kinds)
        await self.changed_by_others()

    @override
    async def aclose(self) -> None:
        await self.database.close()

    @override
    @_reads
    def changed_by_others(self, db: sqlite3.Connection) -> bool:
        before, self._changes = self._changes, self.database.changes(db)
        return before != self._changes

    def _learn_kinds(self, db: sqlite3.Connection) -> Mapping[str, int]:
        self._kinds.update((int(num), str(name)) for num, name in db.execute("SELECT num, name FROM kind"))
        self._numbers.update((name, num) for num, name in self._kinds.items() if name in KINDS)
        return self._numbers

    def _known(self, db: sqlite3.Connection, kinds: Collection[Any]) -> Mapping[int, str]:
        """The names of kinds by number; an unknown one is of another version that writes here too."""
        if set(kinds) - self._kinds.keys():
            self._learn_kinds(db)
        return self._kinds

    @override
    @_reads
    def clock(self, db: sqlite3.Connection, boot: str) -> float | None:
        row = db.execute("SELECT began FROM boot WHERE id = ?", (boot,)).fetchone()
        return None if row is None else float(row[0])

    @override
    @_writes
    def set_clock(self, db: sqlite3.Connection, boot: str, up: float, wall: float) -> float:
        if db.execute("INSERT INTO boot (id, began) VALUES (?, ?) ON CONFLICT DO NOTHING", (boot, wall - up)).rowcount:
            db.execute("UPDATE stamp SET at = min(?, at + per) WHERE at > ?", (wall, NOT_COUNTED))
        (began,) = db.execute("SELECT began FROM boot WHERE id = ?", (boot,)).fetchone()
        return float(began)

    # -- runs ---------------------------------------------------------------------------------------------------

    @override
    @_writes
    def make_run(
        self,
        db: sqlite3.Connection,
        run: RunRow,
        targets: Sequence[Sequence[Any]],
        parts: Mapping[int, str],
        made: Row,
        forbid_overlap: bool,
        names: Mapping[str, Mapping[str, str]],
    ) -> tuple[int, Sequence[Overlap]]:
        if db.execute("SELECT 1 FROM run WHERE id = ?", (run.id,)).fetchone():
            raise JournalError(f"run {run.id} exists already; `orchestrator resume {run.id}`, or take another id")
        overlaps = tables.overlaps_with(db, {target[0]: target[0] for target in targets}, names)
        if overlaps and forbid_overlap:
            return 0, overlaps
        num = tables.insert(
            db,
            "INSERT INTO run (id, name, made_at, targets, parent) VALUES (?, ?, ?, ?, ?)",
            (run.id, run.name, run.made_at, run.targets, run.parent),
        )
        db.executemany(
            "INSERT INTO target (key, id, account, repo, branch, wave, place, request, rest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((num * JOIN + place, *target) for place, target in enumerate(targets)),
        )
        numbered = [(num * JOIN + number, body) for number, body in parts.items()]
        db.executemany("INSERT INTO part (key, body) VALUES (?, ?)", numbered)
        self._write_rows(db, tables.add_stream(db, num, COORDINATOR), 1, [made])
        return num, overlaps

    @override
    @_reads
    def run_number(self, db: sqlite3.Connection, run: str) -> int | None:
        row = db.execute("SELECT num FROM run WHERE id = ?", (run,)).fetchone()
        return None if row is None else int(row[0])

    @override
    @_reads
    def runs(self, db: sqlite3.Connection, prefix: str, open_only: bool) -> Sequence[tuple[RunRow, Sequence[Hold]]]:
        holds = tables.leases(db)
        rows = db.execute(
            "SELECT num, id, name, made_at, targets, ended_at, exit_code, parent FROM run"
            " WHERE substr(id, 1, ?) = ? AND (ended_at IS NULL OR NOT ?) ORDER BY made_at DESC, num DESC",
            (len(prefix), prefix, open_only),
        )
        return [
            (RunRow(str(id_), str(name), float(at), int(targets), ended, code, False, parent), holds.get(num, ()))
            for num, id_, name, at, targets, ended, code, parent in rows
        ]

    @override
    @_reads
    def targets(self, db: sqlite3.Connection, run: int) -> tuple[Sequence[Sequence[Any]], Mapping[int, str]]:
        return tables.targets(db, run)

    @override
    @_reads
    def having(self, db: sqlite3.Connection, name: str) -> Sequence[tuple[str, str]]:
        rows = db.execute(
            "SELECT id, name FROM run WHERE num IN (SELECT DISTINCT key / ? FROM target"
            " WHERE instr(lower(id), lower(?)) OR instr(lower(repo), lower(?))) ORDER BY made_at DESC, num DESC",
            (JOIN, name, name),
        )
        return [(str(id_), str(title)) for id_, title in rows]

    @override
    @_reads
    def target_ids(self, db: sqlite3.Connection, run: int) -> Sequence[str]:
        rows = db.execute("SELECT id FROM target WHERE key BETWEEN ? AND ? ORDER BY key", tables.within(run))
        return [str(id_) for (id_,) in rows]

    @override
    @_reads
    def outcomes(self, db: sqlite3.Connection, wanted: Collection[str] | None) -> Mapping[str, Sequence[Known]]:
        return tables.outcomes(db, wanted)

    @override
    async def drop_runs(self, runs: Collection[str]) -> Sequence[str]:
        if gone := await self._drop(runs):
            await self.database.vacuum()
        return gone

    @_writes
    def _drop(self, db: sqlite3.Connection, runs: Collection[str]) -> Sequence[str]:
        ended = db.execute("SELECT num, id FROM run WHERE ended_at IS NOT NULL").fetchall()
        gone = {str(id_): num for num, id_ in ended if id_ in runs}
        for num in gone.values():
            tables.drop_run(db, num)
        return list(gone)

    @override
    @_reads
    def export(self, db: sqlite3.Connection, path: Path, runs: Collection[str] | None) -> None:
        tables.export(db, path, runs)

    # -- events and wishes --------------------------------------------------------------------------------------

    @override
    async def append(self, take: Callable[[], Document]) -> None:
        database = self.database
        db = database.try_begin() or await database.begin(shield=True)
        try:
            self._append(db, take())
        except BaseException as error:
            database.undo(error)
        database.commit()

    def _append(self, db: sqlite3.Connection, document: Document) -> None:
        refused = {}
        for number, piece in enumerate(document.pieces):
            found = tables.end_of(db, piece.stream)
            if found != (piece.epoch, piece.first - 1):
                refused[number] = found
        if refused:
            raise Refused(refused)
        for piece in document.pieces:
            self._write_rows(db, piece.stream, piece.first, piece.rows)
            if piece.ended is not None:
                db.execute("UPDATE run SET ended_at = ?, exit_code = ? WHERE num = ?", (*piece.ended, piece.run))
        self._write_usage(db, document.usage)

    def _write_rows(self, db: sqlite3.Connection, stream: int, first: int, rows: Sequence[Row]) -> None:
        numbers, start = self._numbers or self._learn_kinds(db), stream * JOIN + first
        db.executemany(
            "INSERT INTO event (key, at, kind, target, body) VALUES (?, ?, ?, ?, ?)",
            [(key, at, numbers[kind], place, body) for key, (at, kind, place, body) in enumerate(rows, start)],
        )

    @override
    @_reads
    def events(
        self, db: sqlite3.Connection, run: int, after: Cursor, at_most: int
    ) -> Sequence[tuple[str, Sequence[tuple[Any, ...]]]]:
        found = []
        streams = db.execute("SELECT num, account FROM stream WHERE run = ? ORDER BY num", (run,)).fetchall()
        for stream, account in streams:
            first, last = tables.within(stream)
            rows = db.execute(
                "SELECT key - ?, at, kind, target, body FROM event WHERE key > ? AND key <= ? ORDER BY key LIMIT ?",
                (first, first + after.get(account, 0), last, at_most),
            ).fetchall()
            if rows:
                kinds = self._known(db, {row[2] for row in rows})
                named = [(seq, at, kinds.get(kind, str(kind)), place, body) for seq, at, kind, place, body in rows]
                found.append((account, named))
                at_most -= len(rows)
        return found

    @override
    @_reads
    def events_of(
        self, db: sqlite3.Connection, run: int, place: int
    ) -> Sequence[tuple[str, Sequence[tuple[Any, ...]]]]:
        found = []
        streams = db.execute("SELECT num, account FROM stream WHERE run = ? ORDER BY num", (run,)).fetchall()
        columns = "key - ?, at, kind, target, body"
        query = f"SELECT {columns} FROM event WHERE key BETWEEN ? AND ? AND target = ? ORDER BY key"  # noqa: S608
        for stream, account in streams:
            own = tables.within(stream)
            rows = db.execute(query, (own[0], *own, place)).fetchall()
            kinds = self._known(db, {row[2] for row in rows})
            found.append((account, [(seq, at, kinds.get(kind, str(kind)), *rest) for seq, at, kind, *rest in rows]))
        return found

    @override
    @_writes
    def wish(self, db: sqlite3.Connection, run: int, kind: str, body: str) -> None:
        first, last = tables.within(run)
        (key,) = db.execute("SELECT max(key) FROM wish WHERE key BETWEEN ? AND ?", (first, last)).fetchone()
        row = ((key or first) + 1, (self._numbers or self._learn_kinds(db))[kind], body)
        db.execute("INSERT INTO wish (key, kind, body) VALUES (?, ?, ?)", row)

    @override
    @_reads
    def wishes(self, db: sqlite3.Connection, run: int, after: int) -> Sequence[tuple[int, str, str]]:
        first, last = tables.within(run)
        query = "SELECT key - ?, kind, body FROM wish WHERE key > ? AND key <= ? ORDER BY key"
        rows = db.execute(query, (first, first + after, last)).fetchall()
        kinds = self._known(db, {kind for _, kind, _ in rows})
        return [(number, kinds.get(kind, str(kind)), body) for number, kind, body in rows]

    # -- leases -------------------------------------------------------------------------------------------------

    @override
    @_writes
    def claim(
        self,
        db: sqlite3.Connection,
        run: int,
        accounts: Sequence[str],
        by: Incarnation,
        now: float,
        fact: tuple[str, str],
        is_new: bool,
    ) -> Sequence[Granted] | InTheWay | None:
        if is_new:
            tables.drop_expired(db, now)
            tables.add_incarnation(db, by, now)
        elif not tables.renew(db, by.id, now):
            return None
        found = [(account, *tables.lease_of(db, run, account)) for account in accounts]
        for account, _, before in found:
            if not before.is_over(now):
                return InTheWay(account, before)
        return [self._grant(db, run, *one, by, now, fact) for one in found]

    def _grant(
        self,
        db: sqlite3.Connection,
        run: int,
        account: str,
        stream: int,
        before: Hold,
        by: Incarnation,
        now: float,
        fact: tuple[str, str],
    ) -> Granted:
        tables.end(db, before.incarnation)
        epoch, seq = before.epoch + 1, tables.end_of(db, stream)[1] + 1
        db.execute("UPDATE stream SET epoch = ?, holder = ? WHERE num = ?", (epoch, by.id, stream))
        self._write_rows(db, stream, seq, [(now, Claimed.kind, None, f"{fact[0]}{epoch}{fact[1]}")])
        if account == COORDINATOR:
            db.execute("UPDATE run SET ended_at = NULL, exit_code = NULL WHERE num = ?", (run,))
        return Granted(stream, epoch, seq, before)

    @override
    @_writes
    def end(self, db: sqlite3.Connection, incarnation: str) -> None:
        tables.end(db, incarnation)

    @override
    @_writes
    def renew(
        self, db: sqlite3.Connection, by: str, heir: Incarnation, now: float, usage: Callable[[], UsageNews]
    ) -> tuple[str, Collection[int]]:
        self._write_usage(db, usage())
        lives = by
        if not tables.renew(db, by, now):
            lives = heir.id
            tables.add_incarnation(db, heir, now)
            db.execute("UPDATE stream SET holder = ? WHERE holder = ?", (heir.id, by))
            tables.end(db, by)
        return lives, {int(num) for (num,) in db.execute("SELECT num FROM stream WHERE holder = ?", (lives,))}

    @override
    @_writes
    def release(self, db: sqlite3.Connection, streams: Sequence[tuple[int, int]]) -> None:
        db.executemany(
            "UPDATE stream SET holder = NULL, sent_until = (SELECT heartbeat + lease_for * ? FROM incarnation"
            " WHERE id = holder) WHERE num = ? AND epoch = ? AND holder IS NOT NULL",
            [(SENDS_FOR, stream, epoch) for stream, epoch in streams],
        )

    # -- principals ---------------------------------------------------------------------------------------------

    @override
    @_writes
    def reserve(
        self,
        db: sqlite3.Connection,
        principal: str,
        limits: Sequence[SharedLimit],
        records: Sequence[tuple[int, UsageRecord]],
        at: float,
        is_gone: Callable[[str], bool],
        usage: Callable[[], UsageNews],
    ) -> tuple[float, str]:
        self._write_usage(db, usage())  # what was recorded in memory counts first
        number, longest, name = tables.principal_number(db, principal), 0.0, ""
        for limit in limits:
            delay = tables.delay_of(db, number, limit, at, is_gone)
            if delay > longest:
                longest, name = delay, limit.name
        if not longest:
            self._write_usage(db, UsageNews(records))
        return longest, name

    @override
    async def settle(self, usage: UsageNews) -> None:
        database = self.database
        if (db := database.try_begin()) is None:
            return
        try:
            self._write_usage(db, usage)
        except BaseException as error:
            database.undo(error)
        database.commit()

    def _write_usage(self, db: sqlite3.Connection, usage: UsageNews) -> None:
        if usage is NO_NEWS:
            return
        numbers = {name: tables.principal_number(db, name) for name in {one.principal for _, one in usage.records}}
        if usage.records:
            db.executemany(
                "INSERT INTO stamp (num, at, principal, name, scope, per, holder) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(key, r.at, numbers[r.principal], r.name, r.scope, r.per, r.holder) for key, r in usage.records],
            )
            newest = max(record.at for _, record in usage.records)
            if newest - self._pruned_at >= PRUNE_EVERY:
                self._pruned_at = newest
                db.execute("DELETE FROM stamp WHERE at < ?", (newest - KEPT_FOR,))
        if usage.settled:
            db.executemany("UPDATE stamp SET at = ? WHERE num = ?", [(at, key) for key, at in usage.settled])

    @override
    @_writes
    def remember(
        self,
        db: sqlite3.Connection,
        principal: str,
        marker_proven: bool,
        frozen: Mapping[Scope, float],
        alias: str,
    ) -> None:
        number = tables.principal_number(db, principal)
        if marker_proven:
            db.execute("UPDATE principal SET marker_proven = 1 WHERE num = ?", (number,))
        if alias:
            db.execute("UPDATE principal SET alias = ? WHERE num = ?", (alias, number))
        db.executemany(
            "INSERT INTO freeze (principal, scope, until) VALUES (?, ?, ?)"
            " ON CONFLICT (principal, scope) DO UPDATE SET until = max(until, excluded.until)",
            [(number, scope, until) for scope, until in frozen.items()],
        )

    @override
    @_reads
    def memory(self, db: sqlite3.Connection, principal: str, since: float) -> AccountMemory:
        query = "SELECT num, name, marker_proven, alias FROM principal WHERE name = ?"
        rows = db.execute(query, (principal,)).fetchall()
        alias = str(rows[0][3]) if rows else ""
        if alias:
            rows += db.execute(query, (alias,)).fetchall()
        frozen: dict[Scope, float] = {}
        records: list[UsageRecord] = []
        for num, name, _, _ in rows:
            for scope, until in db.execute("SELECT scope, until FROM freeze WHERE principal = ?", (num,)):
                frozen[Scope.of(scope)] = max(float(until), frozen.get(Scope.of(scope), 0.0))
            calls = db.execute("SELECT name, scope, at, per FROM stamp WHERE at >= ? AND principal = ?", (since, num))
            records += [UsageRecord(name, str(rule), Scope.of(at), float(t), float(per)) for rule, at, t, per in calls]
        return AccountMemory(any(row[2] for row in rows), frozen, alias, records)
