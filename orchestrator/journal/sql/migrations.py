"""The shape of the SQLite file, and how a file of an older version gets it. One function a step, forward only.

A number that joins two others is the first times 2**32 plus the second: `event.key` is stream and seq, `target.key`
run and place in the plan. SQLite appends to such a key fastest and keeps it in few bytes. A step is never edited once
it was released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from orchestrator.core.errors import JournalError
from orchestrator.core.events import KINDS
from orchestrator.journal.sql import damaged

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
    """Version 2: a clock per boot; period and holder of usage records (`stamp`); principals of token hashes."""
    db.execute("CREATE TABLE boot (id TEXT PRIMARY KEY, began REAL NOT NULL) WITHOUT ROWID")
    db.execute("ALTER TABLE stamp ADD COLUMN per REAL NOT NULL DEFAULT 3600")
    db.execute("ALTER TABLE stamp ADD COLUMN holder TEXT NOT NULL DEFAULT ''")
    # a permit beside another process asks for the newest so many of one limit: without this it reads an hour of stamps
    db.execute("CREATE INDEX stamp_by_scope ON stamp (principal, name, scope, at)")
    db.execute("ALTER TABLE principal ADD COLUMN alias TEXT NOT NULL DEFAULT ''")


def hold_by_incarnation(db: sqlite3.Connection) -> None:
    """Version 3: a lease is a holder, an incarnation of a process with one row for all its streams.

    The columns of a lease in `stream` are left as they are, for one reader: a process of an older version that has the
    file open. Its appends are refused once its stream was taken over, as ever. Its heartbeat, of which no process would
    learn, is refused at once and in words; it then sends nothing more, long before its lease is over.
    """
    db.execute(
        "CREATE TABLE incarnation (id TEXT PRIMARY KEY, host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,"
        " started TEXT NOT NULL, heartbeat REAL NOT NULL, lease_for REAL NOT NULL, ended INTEGER NOT NULL DEFAULT 0)"
        " WITHOUT ROWID"
    )
    db.execute("ALTER TABLE stream ADD COLUMN holder TEXT")
    db.execute("ALTER TABLE stream ADD COLUMN sent_until REAL")
    db.execute("CREATE INDEX stream_by_holder ON stream (holder) WHERE holder IS NOT NULL")
    db.execute(
        "INSERT INTO incarnation SELECT lower(hex(randomblob(16))), host, boot, pid, started, max(heartbeat),"
        " max(lease_for), 0 FROM stream WHERE host IS NOT NULL GROUP BY host, boot, pid, started"
    )
    db.execute(
        "UPDATE stream SET sent_until = heartbeat + lease_for / 3.0, holder = (SELECT id FROM incarnation WHERE"
        " (incarnation.host, incarnation.boot, incarnation.pid, incarnation.started)"
        " = (stream.host, stream.boot, stream.pid, stream.started)) WHERE epoch > 0"
    )
    db.execute(
        "CREATE TRIGGER older_version BEFORE UPDATE OF heartbeat ON stream BEGIN SELECT RAISE(ABORT,"
        " 'a newer version of this program uses the state now; go on with `orchestrator resume` of that version'); END"
    )


def keep_outcomes(db: sqlite3.Connection) -> None:
    """Version 4: how each target ended lately, kept when its runs are forgotten, and carried by an export."""
    db.execute("CREATE TABLE past (target TEXT PRIMARY KEY, outcomes TEXT NOT NULL) WITHOUT ROWID")


STEPS: Sequence[Step] = (make, keep_time, hold_by_incarnation, keep_outcomes)
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


def add_kinds(db: sqlite3.Connection) -> None:
    """Gives each kind of event that this version has a number."""
    db.executemany("INSERT INTO kind (name) VALUES (?) ON CONFLICT (name) DO NOTHING", [(name,) for name in KINDS])


def objects(db: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """What the file has: kind and name of tables, indexes, views and triggers, SQLite's own apart."""
    rows = db.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    return frozenset((str(kind), str(name)) for kind, name in rows)


def check(db: sqlite3.Connection, place: str, known: int, read_only: bool) -> int:
    """The file's version, once it is certain that it is ours.

    Args:
        known: the newest version that this program knows.

    Raises:
        JournalError: it is not ours, or newer, or too old for one that only reads.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION and (application or version or objects(db)):
        raise JournalError(f"{place} belongs to another program; choose another place with --state")
    if version > known:
        raise JournalError(
            f"{place} was written by a newer version (its shape is {version}, this one knows {known}); "
            "upgrade, or choose another place with --state"
        )
    if read_only and version < known:
        raise JournalError(
            f"{place} is of an older version, or not finished; "
            "the next `orchestrator run` brings it up to date, or `orchestrator resume`"
        )
    return int(version)


def check_shape(db: sqlite3.Connection, place: str, steps: Sequence[Step]) -> None:
    """A state may come from elsewhere: what we did not make (a trigger, a view) is not run."""
    model = sqlite3.connect(":memory:")
    try:
        migrate(model, steps)
        wanted = objects(model)
    finally:
        model.close()
    if odd := sorted(name for _, name in objects(db) ^ wanted):
        raise damaged(place, f"its tables are not ours ({', '.join(odd[:3])})")
