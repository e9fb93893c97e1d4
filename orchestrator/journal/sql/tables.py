"""The rows of the state in SQLite, found, added and dropped inside a transaction; and whole states, copied or new."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.core.errors import JournalError
from orchestrator.core.events import decode
from orchestrator.core.frozen import DAMAGES, from_json, to_json
from orchestrator.core.history import History
from orchestrator.journal.files import make_private, sync_folder
from orchestrator.journal.lease import Hold
from orchestrator.journal.outcomes import Known, newest, outcomes_of
from orchestrator.journal.port import Incarnation, Overlap, Process, SharedLimit
from orchestrator.journal.rows import targets_of
from orchestrator.journal.sql.migrations import JOIN, add_kinds, migrate, objects

ASK_AGAIN = 0.25  # seconds; a call that is not answered yet may make room at any moment
HOLD = "epoch, sent_until, one.id, one.host, one.boot, one.pid, one.started, one.heartbeat, one.lease_for, one.ended"
"""What a `Hold` is made of, from `stream LEFT JOIN incarnation AS one ON one.id = holder`."""


def within(num: int) -> tuple[int, int]:
    """The first and the last joined key of a run or stream."""
    return (num * JOIN, num * JOIN + JOIN - 1)


def insert(db: sqlite3.Connection, statement: str, values: Sequence[Any]) -> int:
    """Adds a row; gives its number."""
    added = db.execute(statement, values).lastrowid
    if added is None:
        raise sqlite3.InternalError("a row was inserted without a number")
    return added


def drop_run(db: sqlite3.Connection, num: int) -> None:
    """Deletes a run and all that belongs to it, but how its targets ended."""
    _keep_outcomes(db, num)
    for (stream,) in db.execute("SELECT num FROM stream WHERE run = ?", (num,)).fetchall():
        db.execute("DELETE FROM event WHERE key BETWEEN ? AND ?", within(stream))
    for table in ("target", "part", "wish"):
        db.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", within(num))  # noqa: S608  # names from above
    db.execute("DELETE FROM stream WHERE run = ?", (num,))
    db.execute("DELETE FROM run WHERE num = ?", (num,))


def _keep_outcomes(db: sqlite3.Connection, num: int) -> None:
    """Keeps how the targets of a run ended; of one that cannot be read there is nothing to keep."""
    with suppress(JournalError, *DAMAGES):
        run, history = _history_of(db, num)
        for target, known in outcomes_of(run, history):
            kept = newest([*outcomes(db, [target]).get(target, ()), known])
            text = json.dumps([to_json(one) for one in kept], separators=(",", ":"))
            db.execute("INSERT OR REPLACE INTO past (target, outcomes) VALUES (?, ?)", (target, text))


def outcomes(db: sqlite3.Connection, wanted: Collection[str] | None) -> Mapping[str, Sequence[Known]]:
    """What is kept of these targets, by what tells each apart; None: of all."""
    query = "SELECT target, outcomes FROM past"
    if wanted is None:
        rows = db.execute(query).fetchall()
    else:
        rows = [row for one in wanted for row in db.execute(f"{query} WHERE target = ?", (one,))]
    return {one: [from_json(Known, it) for it in json.loads(text)] for one, text in rows}


def _history_of(db: sqlite3.Connection, num: int) -> tuple[str, History]:
    """A run's id, and all that its events tell."""
    (run,) = db.execute("SELECT id FROM run WHERE num = ?", (num,)).fetchone()
    history = History(targets_of(*targets(db, num)))
    kinds = dict(db.execute("SELECT num, name FROM kind"))
    for stream, account in db.execute("SELECT num, account FROM stream WHERE run = ?", (num,)).fetchall():
        first, last = within(stream)
        query = "SELECT key - ?, at, kind, target, body FROM event WHERE key BETWEEN ? AND ? ORDER BY key"
        for seq, at, kind, place, body in db.execute(query, (first, first, last)):
            id_ = None if place is None else history.targets[place].id
            history.add(account, seq, at, decode(kinds[kind], id_, body))
    return str(run), history


def targets(db: sqlite3.Connection, num: int) -> tuple[Sequence[Sequence[Any]], Mapping[int, str]]:
    """The rows and parts of a run's targets, in plan order."""
    own, first = within(num), num * JOIN
    columns = "id, account, repo, branch, wave, place, request, rest"
    query = f"SELECT {columns} FROM target WHERE key BETWEEN ? AND ? ORDER BY key"  # noqa: S608  # a constant
    parts = db.execute("SELECT key - ?, body FROM part WHERE key BETWEEN ? AND ?", (first, *own))
    return db.execute(query, own).fetchall(), dict(parts.fetchall())


def keep_runs(db: sqlite3.Connection, runs: Collection[str]) -> None:
    """Deletes all other runs."""
    db.execute("BEGIN")
    for num in [num for num, id_ in db.execute("SELECT num, id FROM run") if id_ not in runs]:
        drop_run(db, num)
    db.execute("COMMIT")


def overlaps_with(
    db: sqlite3.Connection, wanted: Mapping[str, str], names: Mapping[str, Mapping[str, str]]
) -> list[Overlap]:
    """Targets that open runs hold, by their `names` there. There are few open runs, so no index is kept for this."""
    found = []
    for num, run in db.execute("SELECT num, id FROM run WHERE ended_at IS NULL ORDER BY num").fetchall():
        known = names.get(run, wanted)
        held = db.execute("SELECT id FROM target WHERE key BETWEEN ? AND ? ORDER BY key", within(num)) if known else ()
        found += [Overlap(run, known[id_]) for (id_,) in held if id_ in known]
    return found


def add_stream(db: sqlite3.Connection, run: int, account: str) -> int:
    """Adds a stream without a holder."""
    return insert(
        db, "INSERT INTO stream (run, account, epoch, heartbeat, lease_for) VALUES (?, ?, 0, 0, 0)", (run, account)
    )


def end_of(db: sqlite3.Connection, stream: int) -> tuple[int, int]:
    """A stream's epoch, and the number of its last row."""
    first, last = within(stream)
    row = db.execute(
        "SELECT epoch, (SELECT max(key) FROM event WHERE key BETWEEN ? AND ?) FROM stream WHERE num = ?",
        (first, last, stream),
    ).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1] or first) - first)


def leases(db: sqlite3.Connection) -> Mapping[int, list[Hold]]:
    """By number of the run, the leases that are not given back."""
    found: dict[int, list[Hold]] = {}
    for num, *hold in db.execute(f"SELECT run, {HOLD} FROM stream JOIN incarnation AS one ON one.id = holder"):  # noqa: S608  # a constant
        found.setdefault(num, []).append(_hold(hold))
    return found


def lease_of(db: sqlite3.Connection, run: int, account: str) -> tuple[int, Hold]:
    """The number of a stream, which is added where it is missing, and its lease."""
    row = db.execute(
        f"SELECT num, {HOLD} FROM stream LEFT JOIN incarnation AS one ON one.id = holder"  # noqa: S608  # a constant
        " WHERE run = ? AND account = ?",
        (run, account),
    ).fetchone()
    return (add_stream(db, run, account), Hold()) if row is None else (int(row[0]), _hold(row[1:]))


def _hold(row: Sequence[Any]) -> Hold:
    """The lease in a row of HOLD."""
    epoch, sent_until, incarnation, host, boot, pid, started, heartbeat, lease_for, ended = row
    if incarnation is None:
        return Hold(int(epoch), sent_until)
    process = Process(str(host), str(boot), int(pid), str(started))
    return Hold(int(epoch), sent_until, str(incarnation), process, float(heartbeat), float(lease_for), bool(ended))


def drop_expired(db: sqlite3.Connection, now: float) -> None:
    """Deletes incarnations that are over and hold nothing."""
    db.execute(
        "DELETE FROM incarnation WHERE (ended OR heartbeat + lease_for <= ?)"
        " AND NOT EXISTS (SELECT 1 FROM stream WHERE holder = incarnation.id)",
        (now,),
    )


def add_incarnation(db: sqlite3.Connection, by: Incarnation, now: float) -> None:
    """Adds an incarnation, whose first heartbeat is now."""
    process = by.process
    db.execute(
        "INSERT INTO incarnation (id, host, boot, pid, started, heartbeat, lease_for) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (by.id, process.host, process.boot, process.pid, process.started, now, by.lease_for),
    )


def renew(db: sqlite3.Connection, incarnation: str, now: float) -> bool:
    """A heartbeat; False when it has expired, since it never comes back."""
    done = db.execute(
        "UPDATE incarnation SET heartbeat = max(heartbeat, ?) WHERE id = ? AND NOT ended AND heartbeat + lease_for > ?",
        (now, incarnation, now),
    )
    return done.rowcount > 0


def end(db: sqlite3.Connection, incarnation: str) -> None:
    """Ends an incarnation whatever the clock says."""
    db.execute("UPDATE incarnation SET ended = 1 WHERE id = ?", (incarnation,))


def principal_number(db: sqlite3.Connection, name: str) -> int:
    """The principal's number in the file, given to it when it is new."""
    row = db.execute("SELECT num FROM principal WHERE name = ?", (name,)).fetchone()
    return insert(db, "INSERT INTO principal (name) VALUES (?)", (name,)) if row is None else int(row[0])


def delay_of(
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
    if row is None:  # fewer calls than the limit allows
        return 0.0
    delay = float(row[0]) + limit.per - at
    return min(ASK_AGAIN, delay) if row[0] > at else delay  # in the future: that call has no answer yet


# -- whole states -----------------------------------------------------------------------------------------------------


def export(db: sqlite3.Connection, path: Path, runs: Collection[str] | None) -> None:
    """Writes a copy into one file that needs no other beside it, 0600, durable, whole or not at all."""
    if path.exists():
        raise JournalError(f"{path} exists; an export overwrites nothing: choose another name")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    make_private(part)
    try:
        _copy(db, part, runs)
        os.link(part, path)  # unlike a rename, this fails when the file was made meanwhile
    except FileExistsError as error:
        raise JournalError(f"{path} exists; an export overwrites nothing: choose another name") from error
    finally:
        part.unlink()
    sync_folder(path.parent)


def _copy(db: sqlite3.Connection, part: Path, runs: Collection[str] | None) -> None:
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
