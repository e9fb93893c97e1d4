"""What SQLite's errors mean for a person, and whether the connection may be used afterwards."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from orchestrator.core.errors import JournalError

# Primary codes of SQLite, the low byte of `sqlite_errorcode`.
BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, TOOBIG, NOTADB = 5, 6, 8, 10, 11, 13, 14, 18, 26
SAFE_AFTER = frozenset({BUSY, LOCKED, FULL, TOOBIG})
KEPT = "nothing that was acknowledged is lost"


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary code; 0 for an error of Python's own module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether trying again in a moment may do."""
    return code_of(error) in (BUSY, LOCKED)


def is_fatal(error: BaseException) -> bool:
    """Whether the connection is not to be used any more.

    After a failed write or sync nobody knows what the disk holds: the kernel may have dropped the pages, and the next
    sync would then report success.
    """
    return not isinstance(error, sqlite3.Error) or code_of(error) not in SAFE_AFTER


def explain(error: sqlite3.Error, path: Path) -> JournalError:
    """The error with its place and its remedy."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return JournalError(f"{path}: {_remedy(code_of(error), error)} ({name}: {error})")


def damaged(path: Path, what: str) -> JournalError:
    """The error of a file whose rows are not what this program writes."""
    return JournalError(f"{path}: the state is damaged: {what}. {RESTORE}")


RESTORE = (
    "Keep the file and those beside it for a look, restore a copy (`orchestrator runs --export` makes one), or start "
    "with another --state and `run --run-id ID --adopt`, which looks for what was triggered already"
)


def _remedy(code: int, error: sqlite3.Error) -> str:
    match code:
        case 5 | 6:  # BUSY, LOCKED
            return "another program has the state locked; end it and try again"
        case 8:  # READONLY
            return f"the state cannot be written: make the file and its folder writable; {KEPT}"
        case 10:  # IOERR
            return f"the disk does not take or give the state: look at the disk, its quota and `dmesg`; {KEPT}"
        case 13:  # FULL
            return f"the disk is full: free some space, then `orchestrator resume`; {KEPT}"
        case 14:  # CANTOPEN
            return "the state cannot be opened: is the folder there, and may this user write in it?"
        case 11:  # CORRUPT
            return f"the state is damaged. {RESTORE}"
        case 26:  # NOTADB
            return f"this is no state, or it is damaged from its first bytes. {RESTORE}"
        case 18:  # TOOBIG
            return "a single value is too big for the state"
        case _:
            return f"the state cannot be used: {type(error).__name__}. {RESTORE}"
