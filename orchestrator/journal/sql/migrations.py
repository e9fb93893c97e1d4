"""The shape of the SQLite file, and how a file of an older version gets it. One function a step, forward only.

A number that joins two others is the first times 2**32 plus the second: `event.key` is stream and seq, `target.key`
run and place in the plan. SQLite appends to such a key fastest and keeps it in few bytes. A step is never edited once
it was released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

APPLICATION = int.from_bytes(b"orch", "big")
JOIN = 1 << 32  # how far the first of two joined numbers is shifted

Step = Callable[[sqlite3.Connection], None]


def make(db: sqlite3.Connection) -> None:
    """Version 1, from an empty file."""
    for statement in (
        # `ended_at` and `exit_code` repeat the last `run_ended`, so that a list of runs reads no events.
        "CREATE TABLE run (num INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
        " made_at REAL NOT NULL, targets INTEGER NOT NULL, parent TEXT, ended_at REAL, exit_code INTEGER)",
        # JSON that many targets of a run share
        "CREATE TABLE part (key INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        "CREATE TABLE target (key INTEGER PRIMARY KEY, id TEXT NOT NULL, account TEXT NOT NULL, repo TEXT NOT NULL,"
        " branch TEXT, wave INTEGER NOT NULL, place TEXT NOT NULL, request INTEGER, rest INTEGER)",
        "CREATE TABLE kind (num INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        "CREATE TABLE stream (num INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, account TEXT NOT NULL,"
        " epoch INTEGER NOT NULL, heartbeat REAL NOT NULL, lease_for REAL NOT NULL,"
        " host TEXT, boot TEXT, pid INTEGER, started TEXT, UNIQUE (run, account))",
        "CREATE TABLE event (key INTEGER PRIMARY KEY, at REAL NOT NULL, kind INTEGER NOT NULL, target INTEGER,"
        " body TEXT NOT NULL)",
        "CREATE TABLE wish (key INTEGER PRIMARY KEY, kind INTEGER NOT NULL, body TEXT NOT NULL)",
        "CREATE TABLE principal (num INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
        " marker_proven INTEGER NOT NULL DEFAULT 0)",
        "CREATE TABLE freeze (principal INTEGER NOT NULL, scope TEXT NOT NULL, until REAL NOT NULL,"
        " PRIMARY KEY (principal, scope)) WITHOUT ROWID",
        "CREATE TABLE stamp (num INTEGER PRIMARY KEY, at REAL NOT NULL, principal INTEGER NOT NULL,"
        " name TEXT NOT NULL, scope TEXT NOT NULL)",
        "CREATE INDEX stamp_by_time ON stamp (at)",
    ):
        db.execute(statement)


def keep_time(db: sqlite3.Connection) -> None:
    """Version 2: a clock for each boot, how long and for whose life a stamp counts, whose token a hash stands for."""
    db.execute("CREATE TABLE boot (id TEXT PRIMARY KEY, began REAL NOT NULL) WITHOUT ROWID")
    db.execute("ALTER TABLE stamp ADD COLUMN per REAL NOT NULL DEFAULT 3600")
    db.execute("ALTER TABLE stamp ADD COLUMN holder TEXT NOT NULL DEFAULT ''")
    # a permit beside another process asks for the newest so many of one limit: without this it reads an hour of stamps
    db.execute("CREATE INDEX stamp_by_scope ON stamp (principal, name, scope, at)")
    db.execute("ALTER TABLE principal ADD COLUMN alias TEXT NOT NULL DEFAULT ''")


STEPS: Sequence[Step] = (make, keep_time)
"""`STEPS[n]` makes version n + 1 of version n."""


def migrate(db: sqlite3.Connection, steps: Sequence[Step] = STEPS) -> int:
    """Brings the file to the newest version; inside the caller's transaction, so wholly or not at all.

    Returns:
        The version that the file had.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for step in steps[version:]:
        step(db)
    if version < len(steps):
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {len(steps)}")
    return int(version)


def objects(db: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """What the file has: kind and name of tables, indexes, views and triggers, SQLite's own apart."""
    rows = db.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    return frozenset((str(kind), str(name)) for kind, name in rows)
