"""The rows of runs in the file: runs, targets, streams, leases, events; made, found, dropped.

Plain functions over a connection, inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from orchestrator.core.events import RunMade
from orchestrator.core.model import COORDINATOR, Target
from orchestrator.journal import lease_sql as holds
from orchestrator.journal.lease import Hold
from orchestrator.journal.port import Cursor, Overlap, RunRow
from orchestrator.journal.rows import Parts
from orchestrator.journal.sql.migrations import JOIN


def within(num: int) -> tuple[int, int]:
    """The first and the last joined key of a run or stream."""
    return (num * JOIN, num * JOIN + JOIN - 1)


def run_number(db: sqlite3.Connection, run: str) -> int | None:
    """The run's number; None when there is no such run."""
    row = db.execute("SELECT num FROM run WHERE id = ?", (run,)).fetchone()
    return None if row is None else int(row[0])


def overlaps(db: sqlite3.Connection, wanted: Collection[str]) -> list[Overlap]:
    """Targets that open runs hold. There are few open runs, so no index is kept for this."""
    found = []
    for num, run in db.execute("SELECT num, id FROM run WHERE ended_at IS NULL ORDER BY num").fetchall():
        held = db.execute("SELECT id FROM target WHERE key BETWEEN ? AND ? ORDER BY key", within(num))
        found += [Overlap(run, id_) for (id_,) in held if id_ in wanted]
    return found


def insert_run(
    db: sqlite3.Connection, run: str, made: RunMade, targets: Sequence[Target], at: float
) -> tuple[int, int]:
    """Adds a run with its targets; gives its number and that of its own stream."""
    num = db.execute(
        "INSERT INTO run (id, name, made_at, targets, parent) VALUES (?, ?, ?, ?, ?)",
        (run, made.name, at, len(targets), made.parent),
    ).lastrowid
    if num is None:
        raise sqlite3.InternalError("a row was inserted without a number")
    first, parts = num * JOIN, Parts()
    db.executemany(
        "INSERT INTO target (key, id, account, repo, branch, wave, place, request, rest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((first + place, *parts.row(target)) for place, target in enumerate(targets)),
    )
    db.executemany(
        "INSERT INTO part (key, body) VALUES (?, ?)", ((first + number, text) for text, number in parts.texts.items())
    )
    return num, holds.add_stream(db, num, COORDINATOR)


def target_rows(db: sqlite3.Connection, num: int) -> tuple[list[Any], Mapping[int, str]]:
    """The run's targets in plan order, as rows, and the parts that they name."""
    rows = db.execute(
        "SELECT id, account, repo, branch, wave, place, request, rest FROM target WHERE key BETWEEN ? AND ?"
        " ORDER BY key",
        within(num),
    ).fetchall()
    parts = db.execute("SELECT key, body FROM part WHERE key BETWEEN ? AND ?", within(num))
    return rows, {key - num * JOIN: body for key, body in parts}


def drop_run(db: sqlite3.Connection, num: int) -> None:
    """Deletes a run and all that belongs to it."""
    for (stream,) in db.execute("SELECT num FROM stream WHERE run = ?", (num,)).fetchall():
        db.execute("DELETE FROM event WHERE key BETWEEN ? AND ?", within(stream))
    for table in ("target", "part", "wish"):
        db.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", within(num))  # noqa: S608  # names from above
    db.execute("DELETE FROM stream WHERE run = ?", (num,))
    db.execute("DELETE FROM run WHERE num = ?", (num,))


def run_rows(db: sqlite3.Connection, prefix: str, open_only: bool, is_driven: Callable[[Hold], bool]) -> list[RunRow]:
    """Runs whose id starts with `prefix`, newest first."""
    rows = db.execute(
        "SELECT num, id, name, made_at, targets, ended_at, exit_code, parent FROM run"
        " WHERE substr(id, 1, ?) = ? AND (ended_at IS NULL OR NOT ?) ORDER BY made_at DESC, num DESC",
        (len(prefix), prefix, open_only),
    ).fetchall()
    held: set[int] = set()
    for num, *hold in db.execute(f"SELECT run, {holds.COLUMNS} FROM stream WHERE host IS NOT NULL"):  # noqa: S608  # a constant
        if is_driven(holds.of_row(hold)):
            held.add(num)
    return [
        RunRow(str(id_), str(name), float(made_at), int(targets), ended_at, exit_code, num in held, parent)
        for num, id_, name, made_at, targets, ended_at, exit_code, parent in rows
    ]


def last_seq(db: sqlite3.Connection, stream: int) -> int:
    """The number of the stream's last entry; 0 when it has none."""
    (key,) = db.execute("SELECT max(key) FROM event WHERE key BETWEEN ? AND ?", within(stream)).fetchone()
    return 0 if key is None else int(key) % JOIN


def event_rows(db: sqlite3.Connection, num: int, after: Cursor, at_most: int) -> list[tuple[str, list[Any]]]:
    """For each stream of the run the rows behind the cursor, at most so many in all."""
    found = []
    for stream, account in db.execute("SELECT num, account FROM stream WHERE run = ? ORDER BY num", (num,)).fetchall():
        first, last = within(stream)
        rows = db.execute(
            "SELECT key - ?, at, kind, target, body FROM event WHERE key > ? AND key <= ? ORDER BY key LIMIT ?",
            (first, first + after.get(account, 0), last, at_most),
        ).fetchall()
        if rows:
            found.append((account, rows))
            at_most -= len(rows)
    return found


def target_ids(db: sqlite3.Connection, num: int) -> list[str]:
    """The ids of the run's targets in plan order."""
    rows = db.execute("SELECT id FROM target WHERE key BETWEEN ? AND ? ORDER BY key", within(num))
    return [str(id_) for (id_,) in rows]


def set_ended(db: sqlite3.Connection, num: int, at: float | None, exit_code: int | None) -> None:
    """The run has ended; or, with None, is open again."""
    db.execute("UPDATE run SET ended_at = ?, exit_code = ? WHERE num = ?", (at, exit_code, num))


def add_wish(db: sqlite3.Connection, num: int, kind: int, body: str) -> None:
    """Adds a wish behind the run's others."""
    first, last = within(num)
    (key,) = db.execute("SELECT max(key) FROM wish WHERE key BETWEEN ? AND ?", (first, last)).fetchone()
    db.execute("INSERT INTO wish (key, kind, body) VALUES (?, ?, ?)", ((key or first) + 1, kind, body))


def wish_rows(db: sqlite3.Connection, num: int, after: int) -> list[tuple[int, int, str]]:
    """Number, kind and body of the run's wishes behind a number."""
    first, last = within(num)
    return db.execute(
        "SELECT key - ?, kind, body FROM wish WHERE key > ? AND key <= ? ORDER BY key", (first, first + after, last)
    ).fetchall()
