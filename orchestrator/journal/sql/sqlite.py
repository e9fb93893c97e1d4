"""The dialect of SQLite. Each operation is one function over a connection, inside one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from typing_extensions import override

from orchestrator.core.errors import JournalError
from orchestrator.core.events import KINDS, Claimed
from orchestrator.core.model import COORDINATOR, Scope
from orchestrator.journal.files import make_private, sync_folder
from orchestrator.journal.lease import SENDS_FOR, Hold
from orchestrator.journal.port import (
    AccountMemory,
    Cursor,
    Incarnation,
    Overlap,
    Process,
    RunRow,
    SharedLimit,
    UsageRecord,
)
from orchestrator.journal.sql import Dialect, Document, Granted, Refused, Row
from orchestrator.journal.sql.connection import Database
from orchestrator.journal.sql.migrations import JOIN, migrate, objects
from orchestrator.journal.usage import ASK_AGAIN, KEPT_FOR, NO_NEWS, NOT_COUNTED, PRUNE_EVERY, UsageNews, room_at

EVENT = "INSERT INTO event (key, at, kind, target, body) VALUES (?, ?, ?, ?, ?)"
HOLD = "epoch, sent_until, one.id, one.host, one.boot, one.pid, one.started, one.heartbeat, one.lease_for, one.ended"
"""What a `Hold` is made of, from `stream LEFT JOIN incarnation AS one ON one.id = holder`."""


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

    def _learn_kinds(self, db: sqlite3.Connection) -> Mapping[str, int]:
        self._kinds.update((int(num), str(name)) for num, name in db.execute("SELECT num, name FROM kind"))
        self._numbers.update((name, num) for num, name in self._kinds.items() if name in KINDS)
        return self._numbers

    @override
    async def clock(self, boot: str, now: tuple[float, float] | None) -> float | None:
        def work(db: sqlite3.Connection) -> float | None:
            row = db.execute("SELECT began FROM boot WHERE id = ?", (boot,)).fetchone()
            if row is not None or now is None:
                return None if row is None else float(row[0])
            up, wall = now
            db.execute("INSERT INTO boot (id, began) VALUES (?, ?)", (boot, wall - up))
            db.execute("UPDATE stamp SET at = min(?, at + per) WHERE at > ?", (wall, NOT_COUNTED))
            return wall - up

        return await (self.database.read(work) if now is None else self.database.write(work))

    # -- runs ---------------------------------------------------------------------------------------------------

    @override
    async def make_run(
        self, run: RunRow, targets: Sequence[Sequence[Any]], parts: Mapping[int, str], made: Row, forbid_overlap: bool
    ) -> tuple[int, Sequence[Overlap]]:
        def work(db: sqlite3.Connection) -> tuple[int, list[Overlap]]:
            if _run_number(db, run.id) is not None:
                raise JournalError(f"run {run.id} exists already; `orchestrator resume {run.id}`, or take another id")
            overlaps = _overlaps(db, {target[0] for target in targets})
            if overlaps and forbid_overlap:
                return 0, overlaps
            num = _insert(
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
            self._write_rows(db, _add_stream(db, num, COORDINATOR), 1, [made])
            return num, overlaps

        return await self.database.write(work)

    @override
    async def run_number(self, run: str) -> int | None:
        return await self.database.read(lambda db: _run_number(db, run))

    @override
    async def runs(
        self, prefix: str, open_only: bool
    ) -> tuple[Sequence[tuple[int, RunRow]], Sequence[tuple[int, Hold]]]:
        def work(db: sqlite3.Connection) -> tuple[list[tuple[int, RunRow]], list[tuple[int, Hold]]]:
            rows = db.execute(
                "SELECT num, id, name, made_at, targets, ended_at, exit_code, parent FROM run"
                " WHERE substr(id, 1, ?) = ? AND (ended_at IS NULL OR NOT ?) ORDER BY made_at DESC, num DESC",
                (len(prefix), prefix, open_only),
            )
            found = [
                (int(num), RunRow(str(id_), str(name), float(at), int(targets), ended_at, code, False, parent))
                for num, id_, name, at, targets, ended_at, code, parent in rows
            ]
            holds = db.execute(f"SELECT run, {HOLD} FROM stream JOIN incarnation AS one ON one.id = holder")  # noqa: S608  # a constant
            return found, [(int(num), _hold(hold)) for num, *hold in holds]

        return await self.database.read(work)

    @override
    async def targets(self, run: int) -> tuple[Sequence[Sequence[Any]], Mapping[int, str]]:
        def work(db: sqlite3.Connection) -> tuple[list[Any], Mapping[int, str]]:
            rows = db.execute(
                "SELECT id, account, repo, branch, wave, place, request, rest FROM target WHERE key BETWEEN ? AND ?"
                " ORDER BY key",
                _within(run),
            ).fetchall()
            parts = db.execute("SELECT key, body FROM part WHERE key BETWEEN ? AND ?", _within(run))
            return rows, {key - run * JOIN: body for key, body in parts}

        return await self.database.read(work)

    @override
    async def target_ids(self, run: int) -> Sequence[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute("SELECT id FROM target WHERE key BETWEEN ? AND ? ORDER BY key", _within(run))
            return [str(id_) for (id_,) in rows]

        return await self.database.read(work)

    @override
    async def drop_runs(self, runs: Collection[str]) -> Sequence[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            ended = db.execute("SELECT num, id FROM run WHERE ended_at IS NOT NULL").fetchall()
            gone = {str(id_): num for num, id_ in ended if id_ in runs}
            for num in gone.values():
                drop_run(db, num)
            return list(gone)

        gone = await self.database.write(work)
        if gone:
            await self.database.vacuum()
        return gone

    @override
    async def export(self, path: Path, runs: Collection[str] | None) -> None:
        await self.database.read(lambda db: _export(db, path, runs))

    # -- events and wishes --------------------------------------------------------------------------------------

    @override
    async def append(self, take: Callable[[], Document]) -> None:
        if not self.database.try_begin():
            await self.database.begin()
        self.database.commit(lambda db: self._append(db, take()))

    def _append(self, db: sqlite3.Connection, document: Document) -> None:
        refused: dict[int, tuple[int, int]] = {}
        for number, piece in enumerate(document.pieces):
            found = end_of(db, piece.stream)
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
        numbers = self._numbers or self._learn_kinds(db)
        db.executemany(
            EVENT,
            [
                (key, at, numbers[kind], place, body)
                for key, (at, kind, place, body) in enumerate(rows, stream * JOIN + first)
            ],
        )

    @override
    async def stream(self, run: int, account: str) -> tuple[int, int] | None:
        def work(db: sqlite3.Connection) -> tuple[int, int] | None:
            row = db.execute("SELECT num FROM stream WHERE run = ? AND account = ?", (run, account)).fetchone()
            return None if row is None else (int(row[0]), end_of(db, row[0])[1])

        return await self.database.read(work)

    @override
    async def events(self, run: int, after: Cursor, at_most: int) -> Sequence[tuple[str, Sequence[tuple[Any, ...]]]]:
        def work(db: sqlite3.Connection) -> list[tuple[str, list[Any]]]:
            found, left = [], at_most
            streams = db.execute("SELECT num, account FROM stream WHERE run = ? ORDER BY num", (run,)).fetchall()
            for stream, account in streams:
                first, last = _within(stream)
                rows = db.execute(
                    "SELECT key - ?, at, kind, target, body FROM event WHERE key > ? AND key <= ? ORDER BY key LIMIT ?",
                    (first, first + after.get(account, 0), last, left),
                ).fetchall()
                if rows:
                    found.append((account, rows))
                    left -= len(rows)
            return found

        found = await self.database.read(work)
        await self._know({row[2] for _, rows in found for row in rows})
        kinds = self._kinds
        return [
            (account, [(seq, at, kinds.get(kind, str(kind)), place, body) for seq, at, kind, place, body in rows])
            for account, rows in found
        ]

    async def _know(self, kinds: Collection[Any]) -> None:
        if set(kinds) - self._kinds.keys():  # another version writes here too
            await self.database.read(self._learn_kinds)

    @override
    async def wish(self, run: int, kind: str, body: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            first, last = _within(run)
            (key,) = db.execute("SELECT max(key) FROM wish WHERE key BETWEEN ? AND ?", (first, last)).fetchone()
            row = ((key or first) + 1, (self._numbers or self._learn_kinds(db))[kind], body)
            db.execute("INSERT INTO wish (key, kind, body) VALUES (?, ?, ?)", row)

        await self.database.write(work)

    @override
    async def wishes(self, run: int, after: int) -> Sequence[tuple[int, str, str]]:
        first, last = _within(run)
        rows = await self.database.read(
            lambda db: db.execute(
                "SELECT key - ?, kind, body FROM wish WHERE key > ? AND key <= ? ORDER BY key",
                (first, first + after, last),
            ).fetchall()
        )
        if rows:
            await self._know({kind for _, kind, _ in rows})
        return [(number, self._kinds.get(kind, str(kind)), body) for number, kind, body in rows]

    # -- leases -------------------------------------------------------------------------------------------------

    @override
    async def register(self, by: Incarnation, now: float) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "DELETE FROM incarnation WHERE (ended OR heartbeat + lease_for <= ?)"
                " AND NOT EXISTS (SELECT 1 FROM stream WHERE holder = incarnation.id)",
                (now,),
            )
            _add_incarnation(db, by, now)

        await self.database.write(work)

    @override
    async def claim(
        self, run: int, account: str, by: Incarnation, now: float, fact: tuple[str, str]
    ) -> Granted | Hold | None:
        def work(db: sqlite3.Connection) -> Granted | Hold | None:
            if not _renew(db, by.id, now):
                return None
            row = db.execute(
                f"SELECT num, {HOLD} FROM stream LEFT JOIN incarnation AS one ON one.id = holder"  # noqa: S608  # a constant
                " WHERE run = ? AND account = ?",
                (run, account),
            ).fetchone()
            stream, before = (_add_stream(db, run, account), Hold()) if row is None else (int(row[0]), _hold(row[1:]))
            if not before.is_over(now):
                return before
            if before.process is not None:
                _end(db, before.incarnation)
            epoch, seq = before.epoch + 1, end_of(db, stream)[1] + 1
            db.execute("UPDATE stream SET epoch = ?, holder = ? WHERE num = ?", (epoch, by.id, stream))
            self._write_rows(db, stream, seq, [(now, Claimed.kind, None, f"{fact[0]}{epoch}{fact[1]}")])
            if account == COORDINATOR:
                db.execute("UPDATE run SET ended_at = NULL, exit_code = NULL WHERE num = ?", (run,))
            return Granted(stream, epoch, seq, before)

        return await self.database.write(work)

    @override
    async def end(self, incarnation: str) -> None:
        await self.database.write(lambda db: _end(db, incarnation))

    @override
    async def renew(self, by: str, heir: Incarnation, now: float, usage: UsageNews) -> Collection[int] | None:
        def work(db: sqlite3.Connection) -> Collection[int] | None:
            self._write_usage(db, usage)
            if _renew(db, by, now):
                return _held(db, by)
            _add_incarnation(db, heir, now)
            db.execute("UPDATE stream SET holder = ? WHERE holder = ?", (heir.id, by))
            _end(db, by)
            return None

        return await self.database.write(work)

    @override
    async def held(self, by: str) -> Collection[int]:
        return await self.database.read(lambda db: _held(db, by))

    @override
    async def release(self, streams: Sequence[tuple[int, int]]) -> None:
        await self.database.write(
            lambda db: db.executemany(
                "UPDATE stream SET holder = NULL, sent_until = (SELECT heartbeat + lease_for * ? FROM incarnation"
                " WHERE id = holder) WHERE num = ? AND epoch = ? AND holder IS NOT NULL",
                [(SENDS_FOR, stream, epoch) for stream, epoch in streams],
            )
        )

    # -- principals ---------------------------------------------------------------------------------------------

    @override
    async def reserve(
        self,
        principal: str,
        limits: Sequence[SharedLimit],
        records: Sequence[tuple[int, UsageRecord]],
        at: float,
        is_gone: Callable[[str], bool],
        usage: UsageNews,
    ) -> tuple[float, str]:
        def work(db: sqlite3.Connection) -> tuple[float, str]:
            self._write_usage(db, usage)  # what was recorded in memory counts first
            number, longest, name = _principal(db, principal), 0.0, ""
            for limit in limits:
                delay = _delay(db, number, limit, at, is_gone)
                if delay > longest:
                    longest, name = delay, limit.name
            if not longest:
                self._write_usage(db, UsageNews(records))
            return longest, name

        return await self.database.write(work)

    @override
    async def settle(self, usage: UsageNews) -> None:
        if self.database.try_begin():
            self.database.commit(lambda db: self._write_usage(db, usage))

    def _write_usage(self, db: sqlite3.Connection, usage: UsageNews) -> None:
        if usage is NO_NEWS:
            return
        numbers: dict[str, int] = {}
        for _, one in usage.records:
            if one.principal not in numbers:
                numbers[one.principal] = _principal(db, one.principal)
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
    async def usage(self, principal: str, since: float) -> Sequence[UsageRecord]:
        rows = await self.database.read(
            lambda db: db.execute(
                "SELECT stamp.name, scope, at, per FROM stamp JOIN principal ON principal.num = stamp.principal"
                " WHERE stamp.at >= ? AND principal.name = ? ORDER BY at",
                (since, principal),
            ).fetchall()
        )
        return [
            UsageRecord(principal, str(name), Scope.of(scope), float(at), float(per)) for name, scope, at, per in rows
        ]

    @override
    async def remember(self, principal: str, marker_proven: bool, frozen: Mapping[Scope, float], alias: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            number = _principal(db, principal)
            if marker_proven:
                db.execute("UPDATE principal SET marker_proven = 1 WHERE num = ?", (number,))
            if alias:
                db.execute("UPDATE principal SET alias = ? WHERE num = ?", (alias, number))
            db.executemany(
                "INSERT INTO freeze (principal, scope, until) VALUES (?, ?, ?)"
                " ON CONFLICT (principal, scope) DO UPDATE SET until = max(until, excluded.until)",
                [(number, scope, until) for scope, until in frozen.items()],
            )

        await self.database.write(work)

    @override
    async def memory(self, principal: str) -> AccountMemory:
        def work(db: sqlite3.Connection) -> AccountMemory:
            query = "SELECT num, marker_proven, alias FROM principal WHERE name = ?"
            row = db.execute(query, (principal,)).fetchone()
            if row is None:
                return AccountMemory()
            frozen = db.execute("SELECT scope, until FROM freeze WHERE principal = ?", (row[0],))
            return AccountMemory(bool(row[1]), {Scope.of(scope): float(until) for scope, until in frozen}, str(row[2]))

        return await self.database.read(work)

    @override
    async def changed_by_others(self) -> bool:
        before, self._changes = self._changes, await self.database.read(self.database.changes)
        return before != self._changes


# -- inside a transaction -------------------------------------------------------------------------------------------


def _within(num: int) -> tuple[int, int]:
    """The first and the last joined key of a run or stream."""
    return (num * JOIN, num * JOIN + JOIN - 1)


def _insert(db: sqlite3.Connection, statement: str, values: Sequence[Any]) -> int:
    """Adds a row; gives its number."""
    added = db.execute(statement, values).lastrowid
    if added is None:
        raise sqlite3.InternalError("a row was inserted without a number")
    return added


def _run_number(db: sqlite3.Connection, run: str) -> int | None:
    row = db.execute("SELECT num FROM run WHERE id = ?", (run,)).fetchone()
    return None if row is None else int(row[0])


def _overlaps(db: sqlite3.Connection, wanted: Collection[str]) -> list[Overlap]:
    """Targets that open runs hold. There are few open runs, so no index is kept for this."""
    found = []
    for num, run in db.execute("SELECT num, id FROM run WHERE ended_at IS NULL ORDER BY num").fetchall():
        held = db.execute("SELECT id FROM target WHERE key BETWEEN ? AND ? ORDER BY key", _within(num))
        found += [Overlap(run, id_) for (id_,) in held if id_ in wanted]
    return found


def drop_run(db: sqlite3.Connection, num: int) -> None:
    """Deletes a run and all that belongs to it."""
    for (stream,) in db.execute("SELECT num FROM stream WHERE run = ?", (num,)).fetchall():
        db.execute("DELETE FROM event WHERE key BETWEEN ? AND ?", _within(stream))
    for table in ("target", "part", "wish"):
        db.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", _within(num))  # noqa: S608  # names from above
    db.execute("DELETE FROM stream WHERE run = ?", (num,))
    db.execute("DELETE FROM run WHERE num = ?", (num,))


def _add_stream(db: sqlite3.Connection, run: int, account: str) -> int:
    """Adds a stream that nobody has claimed yet."""
    return _insert(
        db, "INSERT INTO stream (run, account, epoch, heartbeat, lease_for) VALUES (?, ?, 0, 0, 0)", (run, account)
    )


def end_of(db: sqlite3.Connection, stream: int) -> tuple[int, int]:
    """A stream's epoch, and the number of its last row."""
    first, last = _within(stream)
    row = db.execute(
        "SELECT epoch, (SELECT max(key) FROM event WHERE key BETWEEN ? AND ?) FROM stream WHERE num = ?",
        (first, last, stream),
    ).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1] or first) - first)


def _hold(row: Sequence[Any]) -> Hold:
    """The lease in a row of HOLD."""
    epoch, sent_until, incarnation, host, boot, pid, started, heartbeat, lease_for, ended = row
    if incarnation is None:
        return Hold(int(epoch), sent_until)
    process = Process(str(host), str(boot), int(pid), str(started))
    return Hold(int(epoch), sent_until, str(incarnation), process, float(heartbeat), float(lease_for), bool(ended))


def _add_incarnation(db: sqlite3.Connection, by: Incarnation, now: float) -> None:
    process = by.process
    db.execute(
        "INSERT INTO incarnation (id, host, boot, pid, started, heartbeat, lease_for) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (by.id, process.host, process.boot, process.pid, process.started, now, by.lease_for),
    )


def _renew(db: sqlite3.Connection, incarnation: str, now: float) -> bool:
    """A heartbeat; False when it has expired, since it never comes back."""
    done = db.execute(
        "UPDATE incarnation SET heartbeat = ? WHERE id = ? AND NOT ended AND heartbeat + lease_for > ?",
        (now, incarnation, now),
    )
    return done.rowcount > 0


def _held(db: sqlite3.Connection, incarnation: str) -> Collection[int]:
    return {int(num) for (num,) in db.execute("SELECT num FROM stream WHERE holder = ?", (incarnation,))}


def _end(db: sqlite3.Connection, incarnation: str) -> None:
    db.execute("UPDATE incarnation SET ended = 1 WHERE id = ?", (incarnation,))


def _principal(db: sqlite3.Connection, name: str) -> int:
    """The principal's number in the file, given to it when it is new."""
    query = "SELECT num FROM principal WHERE name = ?"
    row = db.execute(query, (name,)).fetchone()
    if row is None:
        return _insert(db, "INSERT INTO principal (name) VALUES (?)", (name,))
    return int(row[0])


def _delay(
    db: sqlite3.Connection, principal: int, limit: SharedLimit, at: float, is_gone: Callable[[str], bool]
) -> float:
    """Seconds until the limit has room for one more call."""
    if limit.while_alive:
        rows = db.execute(
            "SELECT holder, count(*) FROM stamp WHERE at > ? AND principal = ? AND name = ? AND scope = ?"
            " GROUP BY holder",
            (at, principal, limit.name, limit.scope),
        ).fetchall()
        held = sum(int(calls) for holder, calls in rows if not is_gone(str(holder)))
        return ASK_AGAIN if held >= limit.calls else 0.0
    row = db.execute(
        "SELECT at FROM stamp WHERE at > ? AND principal = ? AND name = ? AND scope = ?"
        " ORDER BY at DESC LIMIT 1 OFFSET ?",
        (at - limit.per, principal, limit.name, limit.scope, limit.calls - 1),
    ).fetchone()
    return room_at(None if row is None else float(row[0]), limit, at)


def add_kinds(db: sqlite3.Connection) -> None:
    """Gives each kind of event that this version has a number."""
    db.executemany("INSERT INTO kind (name) VALUES (?) ON CONFLICT (name) DO NOTHING", [(name,) for name in KINDS])


# -- in memory, copies -------------------------------------------------------------------------------------------------


@cache
def _empty() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    migrate(db)
    add_kinds(db)
    return db


def in_memory(like: sqlite3.Connection | None = None) -> sqlite3.Connection:
    """A state in memory: an empty one, or a copy."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    (like or _empty()).backup(db)
    return db


def forget(db: sqlite3.Connection) -> None:
    """Deletes all rows of a state in memory."""
    tables = [name for kind, name in objects(db) if kind == "table" and name != "kind"]
    for table in (*tables, "sqlite_sequence"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608  # names of our tables


def _export(db: sqlite3.Connection, path: Path, runs: Collection[str] | None) -> None:
    """Writes a copy into one file that needs no other beside it, 0600, durable, whole or not at all."""
    if path.exists():
        raise JournalError(f"{path} exists; an export overwrites nothing: choose another name")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    make_private(part)
    try:
        _copy_to(db, part, runs)
        os.link(part, path)  # unlike a rename, this fails when somebody made the file meanwhile
    except FileExistsError as error:
        raise JournalError(f"{path} exists; an export overwrites nothing: choose another name") from error
    finally:
        part.unlink()
    sync_folder(path.parent)


def _copy_to(db: sqlite3.Connection, part: Path, runs: Collection[str] | None) -> None:
    copy = sqlite3.connect(part, isolation_level=None)
    try:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()  # all in one file, no log beside it
        copy.execute("PRAGMA synchronous = FULL")
        if runs is not None:
            keep_runs(copy, runs)
            copy.execute("VACUUM")
    finally:
        copy.close()
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def keep_runs(db: sqlite3.Connection, runs: Collection[str]) -> None:
    """Deletes all other runs."""
    db.execute("BEGIN")
    for num in [num for num, id_ in db.execute("SELECT num, id FROM run") if id_ not in runs]:
        drop_run(db, num)
    db.execute("COMMIT")
