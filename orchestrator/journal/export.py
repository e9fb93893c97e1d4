"""Copies the state, or some runs of it, into one file that needs no other beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from pathlib import Path

from orchestrator.core.errors import JournalError
from orchestrator.journal.files import make_private, sync_folder
from orchestrator.journal.sql.tables import drop_run


def export(db: sqlite3.Connection, path: Path, runs: Collection[str] | None) -> None:
    """Writes the copy, 0600, durable, whole or not at all.

    Args:
        runs: ids of the runs to copy; None copies all.

    Raises:
        JournalError: there is a file at `path`; it is never overwritten.
        OSError: it cannot be written.
    """
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
            copy.execute("BEGIN")
            others = [num for num, id_ in copy.execute("SELECT num, id FROM run") if id_ not in runs]
            for num in others:
                drop_run(copy, num)
            copy.execute("COMMIT")
            copy.execute("VACUUM")
    finally:
        copy.close()
    with part.open("rb+") as file:
        os.fsync(file.fileno())
