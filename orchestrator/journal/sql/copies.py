"""Whole runs and whole states in SQLite: dropped, copied, and made in memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.core.errors import JournalError
from orchestrator.journal.files import make_private, sync_folder
from orchestrator.journal.sql.migrations import JOIN, add_kinds, migrate, objects


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
    """Deletes a run and all that belongs to it."""
    for (stream,) in db.execute("SELECT num FROM stream WHERE run = ?", (num,)).fetchall():
        db.execute("DELETE FROM event WHERE key BETWEEN ? AND ?", within(stream))
    for table in ("target", "part", "wish"):
        db.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", within(num))  # noqa: S608  # names from above
    db.execute("DELETE FROM stream WHERE run = ?", (num,))
    db.execute("DELETE FROM run WHERE num = ?", (num,))


def keep_runs(db: sqlite3.Connection, runs: Collection[str]) -> None:
    """Deletes all other runs."""
    db.execute("BEGIN")
    for num in [num for num, id_ in db.execute("SELECT num, id FROM run") if id_ not in runs]:
        drop_run(db, num)
    db.execute("COMMIT")


def export(db: sqlite3.Connection, path: Path, runs: Collection[str] | None) -> None:
    """Writes a copy into one file that needs no other beside it, 0600, durable, whole or not at all."""
    if path.exists():
        raise JournalError(f"{path} exists; an export overwrites nothing: choose another name")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    make_private(part)
    try:
        _copy(db, part, runs)
        os.link(part, path)  # unlike a rename, this fails when somebody made the file meanwhile
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


# -- in memory ------------------------------------------------------------------------------------------------------


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
