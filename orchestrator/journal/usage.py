"""What outlives runs: the stamps of calls against limits, and what is known of each principal."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence

from orchestrator.journal.port import ASK_AGAIN, AccountMemory, Reserved, SharedLimit, UsageRecord, room_at

STAMPS_FOR = 7200.0  # seconds; no limit looks back further
PRUNE_EVERY = 60.0
FORGOTTEN = 0.0  # the time of a stamp that counts nowhere; it goes with the next pruning


class Stamps:
    """Stamps on their way to the file, and what became of earlier ones: they ride on the next transaction.

    Keys are given out here, from a random beginning, so that no other process gives out the same.
    """

    def __init__(self) -> None:
        self.waiting: dict[int, UsageRecord] = {}
        self._settled: dict[int, float] = {}
        self._next = int.from_bytes(os.urandom(5), "big") << 22
        self._pruned_at = 0.0

    @property
    def has_news(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.waiting or self._settled)

    def add(self, stamps: Sequence[UsageRecord]) -> Sequence[int]:
        """Takes stamps along; gives their keys."""
        keys = range(self._next, self._next + len(stamps))
        self._next += len(stamps)
        self.waiting.update(zip(keys, stamps, strict=True))
        return keys

    def settle(self, keys: Sequence[int], at: float | None) -> None:
        """Takes along when calls were last counted."""
        self._settled.update(dict.fromkeys(keys, FORGOTTEN if at is None else at))

    def write(self, db: sqlite3.Connection) -> None:
        """Writes what waits, inside the caller's transaction; `written` when that is durable."""
        if self.waiting:
            self._insert(db)
        if self._settled:
            db.executemany("UPDATE stamp SET at = ? WHERE num = ?", [(at, key) for key, at in self._settled.items()])

    def _insert(self, db: sqlite3.Connection) -> None:
        numbers: dict[str, int] = {}
        for stamp in self.waiting.values():
            if stamp.principal not in numbers:
                numbers[stamp.principal] = number_of(db, stamp.principal)
        db.executemany(
            "INSERT OR REPLACE INTO stamp (num, at, principal, name, scope, per, holder) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(key, s.at, numbers[s.principal], s.name, s.scope, s.per, s.holder) for key, s in self.waiting.items()],
        )
        newest = max(stamp.at for stamp in self.waiting.values())
        if newest - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = newest
            db.execute("DELETE FROM stamp WHERE at < ?", (newest - STAMPS_FOR,))

    def written(self) -> None:
        """They are durable."""
        self.waiting.clear()
        self._settled.clear()


def clock_of(db: sqlite3.Connection, boot: str) -> float | None:
    """When that boot began, as the state's processes agreed; None when none of them has asked yet."""
    row = db.execute("SELECT began FROM boot WHERE id = ?", (boot,)).fetchone()
    return None if row is None else float(row[0])


def set_clock(db: sqlite3.Connection, boot: str, up: float, wall: float) -> float:
    """As `clock_of`, agreed on now where it was not; stamps of other boots then count for a period more."""
    began = clock_of(db, boot)
    if began is None:
        began = wall - up
        db.execute("INSERT INTO boot (id, began) VALUES (?, ?)", (boot, began))
        db.execute("UPDATE stamp SET at = min(?, at + per) WHERE at > ?", (wall, FORGOTTEN))
    return began


def number_of(db: sqlite3.Connection, principal: str) -> int:
    """The principal's number in the file, given to it when it is new."""
    db.execute("INSERT INTO principal (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (principal,))
    (number,) = db.execute("SELECT num FROM principal WHERE name = ?", (principal,)).fetchone()
    return int(number)


def stamps_of(db: sqlite3.Connection, principal: str, since: float) -> list[UsageRecord]:
    """The principal's stamps in the file, oldest first."""
    rows = db.execute(
        "SELECT stamp.name, scope, at, per FROM stamp JOIN principal ON principal.num = stamp.principal"
        " WHERE stamp.at >= ? AND principal.name = ? ORDER BY at",
        (since, principal),
    ).fetchall()
    return [UsageRecord(principal, str(name), str(scope), float(at), float(per)) for name, scope, at, per in rows]


def room(
    db: sqlite3.Connection, principal: str, shares: Sequence[SharedLimit], at: float, is_gone: Callable[[str], bool]
) -> Reserved:
    """Whether each limit has room for one more call.

    Args:
        is_gone: whether the holder of a stamp is proven dead.
    """
    number = number_of(db, principal)
    longest, name = 0.0, ""
    for share in shares:
        if share.while_alive:
            if not longest and _held(db, number, share, at, is_gone) >= share.calls:
                longest, name = ASK_AGAIN, share.name
            continue
        row = db.execute(
            "SELECT at FROM stamp WHERE at > ? AND principal = ? AND name = ? AND scope = ?"
            " ORDER BY at DESC LIMIT 1 OFFSET ?",
            (at - share.per, number, share.name, share.scope, share.calls - 1),
        ).fetchone()
        delay = room_at(None if row is None else float(row[0]), share, at)
        if delay > longest:
            longest, name = delay, share.name
    return Reserved(longest, name)


def _held(db: sqlite3.Connection, principal: int, share: SharedLimit, at: float, is_gone: Callable[[str], bool]) -> int:
    """Calls under way of processes that may be alive."""
    rows = db.execute(
        "SELECT holder, count(*) FROM stamp WHERE at > ? AND principal = ? AND name = ? AND scope = ? GROUP BY holder",
        (at, principal, share.name, share.scope),
    ).fetchall()
    return sum(int(calls) for holder, calls in rows if not is_gone(str(holder)))


def remember(
    db: sqlite3.Connection, principal: str, marker_proven: bool, frozen: Mapping[str, float], alias: str
) -> None:
    """Adds to what is known; a proof stays, and of two freezes of a scope the longer."""
    number = number_of(db, principal)
    if marker_proven:
        db.execute("UPDATE principal SET marker_proven = 1 WHERE num = ?", (number,))
    if alias:
        db.execute("UPDATE principal SET alias = ? WHERE num = ?", (alias, number))
    db.executemany(
        "INSERT INTO freeze (principal, scope, until) VALUES (?, ?, ?)"
        " ON CONFLICT (principal, scope) DO UPDATE SET until = max(until, excluded.until)",
        [(number, scope, until) for scope, until in frozen.items()],
    )


def memory_of(db: sqlite3.Connection, principal: str) -> AccountMemory:
    """What is known of a principal."""
    row = db.execute("SELECT num, marker_proven, alias FROM principal WHERE name = ?", (principal,)).fetchone()
    if row is None:
        return AccountMemory()
    frozen: Sequence[tuple[str, float]] = db.execute(
        "SELECT scope, until FROM freeze WHERE principal = ?", (row[0],)
    ).fetchall()
    return AccountMemory(bool(row[1]), {str(scope): float(until) for scope, until in frozen}, str(row[2]))
