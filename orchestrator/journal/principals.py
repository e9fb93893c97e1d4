"""What outlives runs: the stamps of calls against limits, and what is known of each principal."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from orchestrator.journal import SHARE_MARGIN, AccountMemory, Share, Stamp

STAMPS_FOR = 7200.0  # seconds; no limit looks back further
PRUNE_EVERY = 60.0


class Stamps:
    """Stamps on their way to the file: they ride on the next transaction."""

    def __init__(self) -> None:
        self.waiting: list[Stamp] = []
        self._pruned_at = 0.0

    def write(self, db: sqlite3.Connection) -> None:
        """Writes what waits, inside the caller's transaction; `written` when that is durable."""
        if not self.waiting:
            return
        numbers: dict[str, int] = {}
        for stamp in self.waiting:
            if stamp.principal not in numbers:
                numbers[stamp.principal] = number_of(db, stamp.principal)
        db.executemany(
            "INSERT INTO stamp (at, principal, name, scope) VALUES (?, ?, ?, ?)",
            [(stamp.at, numbers[stamp.principal], stamp.name, stamp.scope) for stamp in self.waiting],
        )
        newest = max(stamp.at for stamp in self.waiting)
        if newest - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = newest
            db.execute("DELETE FROM stamp WHERE at < ?", (newest - STAMPS_FOR,))

    def written(self) -> None:
        """They are durable."""
        self.waiting.clear()


def number_of(db: sqlite3.Connection, principal: str) -> int:
    """The principal's number in the file, given to it when it is new."""
    db.execute("INSERT INTO principal (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (principal,))
    (number,) = db.execute("SELECT num FROM principal WHERE name = ?", (principal,)).fetchone()
    return int(number)


def stamps_of(db: sqlite3.Connection, principal: str, since: float) -> list[Stamp]:
    """The principal's stamps in the file, oldest first."""
    rows = db.execute(
        "SELECT stamp.name, scope, at FROM stamp JOIN principal ON principal.num = stamp.principal"
        " WHERE stamp.at >= ? AND principal.name = ? ORDER BY at",
        (since, principal),
    ).fetchall()
    return [Stamp(principal, str(name), str(scope), float(at)) for name, scope, at in rows]


def reserve(db: sqlite3.Connection, principal: str, shares: Sequence[Share], at: float) -> tuple[float, str]:
    """Stamps one call for each limit, inside the caller's transaction, unless one has no room."""
    number = number_of(db, principal)
    longest, name = 0.0, ""
    for share in shares:
        row = db.execute(
            "SELECT at FROM stamp WHERE at > ? AND principal = ? AND name = ? AND scope = ?"
            " ORDER BY at DESC LIMIT 1 OFFSET ?",
            (at - share.per - SHARE_MARGIN, number, share.name, share.scope, share.calls - 1),
        ).fetchone()
        if row is not None and (delay := float(row[0]) + share.per + SHARE_MARGIN - at) > longest:
            longest, name = delay, share.name
    if not longest:
        db.executemany(
            "INSERT INTO stamp (at, principal, name, scope) VALUES (?, ?, ?, ?)",
            [(at, number, share.name, share.scope) for share in shares],
        )
    return longest, name


def remember(db: sqlite3.Connection, principal: str, marker_proven: bool, frozen: Mapping[str, float]) -> None:
    """Adds to what is known; a proof stays, and of two freezes of a scope the longer."""
    number = number_of(db, principal)
    if marker_proven:
        db.execute("UPDATE principal SET marker_proven = 1 WHERE num = ?", (number,))
    db.executemany(
        "INSERT INTO freeze (principal, scope, until) VALUES (?, ?, ?)"
        " ON CONFLICT (principal, scope) DO UPDATE SET until = max(until, excluded.until)",
        [(number, scope, until) for scope, until in frozen.items()],
    )


def memory_of(db: sqlite3.Connection, principal: str) -> AccountMemory:
    """What is known of a principal."""
    row = db.execute("SELECT num, marker_proven FROM principal WHERE name = ?", (principal,)).fetchone()
    if row is None:
        return AccountMemory()
    frozen: Sequence[tuple[str, float]] = db.execute(
        "SELECT scope, until FROM freeze WHERE principal = ?", (row[0],)
    ).fetchall()
    return AccountMemory(bool(row[1]), {str(scope): float(until) for scope, until in frozen})
