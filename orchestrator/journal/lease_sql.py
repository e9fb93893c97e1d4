"""Leases in the file: found, claimed, changed. Plain functions over a connection, inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.journal.lease import Hold
from orchestrator.journal.port import Lease, Process

COLUMNS = "epoch, heartbeat, lease_for, host, boot, pid, started"


def add_stream(db: sqlite3.Connection, num: int, account: str) -> int:
    """Adds a stream that nobody has claimed yet; gives its number."""
    added = db.execute(
        "INSERT INTO stream (run, account, epoch, heartbeat, lease_for) VALUES (?, ?, 0, 0, 0)", (num, account)
    ).lastrowid
    if added is None:
        raise sqlite3.InternalError("a row was inserted without a number")
    return added


def stream_of(db: sqlite3.Connection, num: int, account: str) -> tuple[int, Hold] | None:
    """A stream's number and its lease; None when nobody ever claimed it."""
    row = db.execute(
        f"SELECT num, {COLUMNS} FROM stream WHERE run = ? AND account = ?",  # noqa: S608  # a constant
        (num, account),
    ).fetchone()
    return None if row is None else (int(row[0]), of_row(row[1:]))


def of_row(row: Sequence[Any]) -> Hold:
    """The lease in a row of COLUMNS."""
    epoch, heartbeat, lease_for, host, boot, pid, started = row
    holder = None if host is None else Process(str(host), str(boot), int(pid), str(started))
    return Hold(int(epoch), holder, float(heartbeat), float(lease_for))


def put(db: sqlite3.Connection, stream: int, hold: Hold) -> None:
    """Writes the lease of a stream."""
    by = hold.holder
    holder = (None, None, None, None) if by is None else (by.host, by.boot, by.pid, by.started)
    db.execute(
        "UPDATE stream SET epoch = ?, heartbeat = ?, lease_for = ?, host = ?, boot = ?, pid = ?, started = ?"
        " WHERE num = ?",
        (hold.epoch, hold.heartbeat, hold.lease_for, *holder, stream),
    )


def epoch_of(db: sqlite3.Connection, stream: int) -> int:
    """The epoch of the stream's lease; 0 when the stream was dropped."""
    row = db.execute("SELECT epoch FROM stream WHERE num = ?", (stream,)).fetchone()
    return 0 if row is None else int(row[0])


def change(db: sqlite3.Connection, leases: Sequence[Lease], new: Callable[[Hold], Hold]) -> list[Lease]:
    """Changes the leases that are still their holders'; gives those that are not."""
    lost = []
    for lease in leases:
        row = db.execute("SELECT num FROM run WHERE id = ?", (lease.run,)).fetchone()
        found = None if row is None else stream_of(db, row[0], lease.account)
        if found is None or found[1].epoch != lease.epoch:
            lost.append(lease)
        else:
            put(db, found[0], new(found[1]))
    return lost
