"""Connections to SQLite: one transaction at a time, to a file or in memory; SQLite's errors end here.

A connection to the state's file is opened with care, and dead after a failed sync. Every transaction that writes runs
under the lock file, without awaiting inside; waiting for the lock is polling, so the event loop stays free.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeAlias, TypeVar
from urllib.parse import quote

import anyio
from typing_extensions import override

from orchestrator.core.errors import CROWDED, JournalError
from orchestrator.journal.files import is_there, lock_file, make_private, open_private, refuse_network, unusable
from orchestrator.journal.sql import RESTORE, damaged
from orchestrator.journal.sql.migrations import STEPS, Step, check, check_shape, migrate

if sys.platform != "win32":
    import fcntl

SQLITE_VERSION = sqlite3.sqlite_version  # of the library that is linked in, for `doctor`
T = TypeVar("T")
Identity: TypeAlias = tuple[int, int]  # device and inode

NOWHERE: Identity = (0, 0)
PATIENCE = 30.0  # seconds to wait for another process's commit
CLOSING = 2.0  # the same, when all that is left to do is to tidy up
LONGEST_VALUE = 64 << 20  # bytes; bounds what a hostile file can make us read at once
WAL_KEPT = 16 << 20  # bytes of write-ahead log that are kept for use again
OLDEST_SQLITE = (3, 24, 0)
PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "temp_store = MEMORY",
    "synchronous = FULL",
    "fullfsync = ON",  # macOS: a sync that reaches the disk; without effect elsewhere
    "checkpoint_fullfsync = ON",
    f"journal_size_limit = {WAL_KEPT}",
)

# Primary codes of SQLite, the low byte of `sqlite_errorcode`.
BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, TOOBIG, NOTADB = 5, 6, 7, 8, 10, 11, 13, 14, 18, 26
SAFE_AFTER = frozenset({BUSY, LOCKED, FULL, TOOBIG})
KEPT = "nothing that was acknowledged is lost"
REMEDIES = {
    BUSY: "another program has the state locked; end it and try again",
    LOCKED: "another program has the state locked; end it and try again",
    NOMEM: f"not enough memory; {KEPT}",
    READONLY: f"the state cannot be written: make the file and its folder writable; {KEPT}",
    IOERR: f"the disk does not take or give the state: look at the disk, its quota and `dmesg`; {KEPT}",
    FULL: f"the disk is full: free some space, then `orchestrator resume`; {KEPT}",
    CANTOPEN: "the state cannot be opened: is the folder there, and may this user write in it?",
    CORRUPT: f"the state is damaged. {RESTORE}",
    NOTADB: f"this is no state, or it is damaged from its first bytes. {RESTORE}",
    TOOBIG: "a single value is too big for the state",
}


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary code; 0 for an error of Python's own module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether trying again in a moment may do."""
    return code_of(error) in (BUSY, LOCKED)


def is_fatal(error: BaseException) -> bool:
    """Whether the connection is not to be used any more.

    After a failed write or sync it is unknown what the disk holds: the kernel may have dropped the pages, and the next
    sync would then report success.
    """
    return not isinstance(error, sqlite3.Error) or code_of(error) not in SAFE_AFTER


def explain(error: sqlite3.Error, place: str) -> JournalError:
    """The error with its place and its remedy."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return JournalError(f"{place}: {_remedy(code_of(error), error)} ({name}: {error})")


def lacking(error: MemoryError | OSError, place: str) -> JournalError:
    """What the machine does not give, for which the state cannot be used any more."""
    what = "not enough memory" if isinstance(error, MemoryError) else error.strerror or str(error)
    return JournalError(f"{place}: {what}; {KEPT}")


class Database:
    """A connection to a state that is in memory; several processes of a test may share it.

    Args:
        place: where the state is, for messages.
    """

    def __init__(self, db: sqlite3.Connection, place: str) -> None:
        self._db = db
        self.place = place
        self.read_only = False
        self._broken: str | None = None
        # rows that were changed through this one of several ways to the same memory; and before its transaction
        self._own_changes = self._before = db.total_changes

    async def prepare(self) -> None:
        """Makes the state ready; before anything else. In memory it is so from its beginning."""

    # -- transactions -------------------------------------------------------------------------------------------

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds. It must fetch all it wants, and not await."""
        patience: Patience | None = None
        while True:
            try:
                return work(self.alive())
            except (sqlite3.Error, TypeError, ValueError, OverflowError, MemoryError) as error:
                patience = self.unread(error, patience)
            await patience.wait()

    def unread(self, error: Exception, patience: Patience | None) -> Patience:
        """With what patience a read that failed is tried again.

        Raises:
            JournalError: it never succeeds.
        """
        if isinstance(error, MemoryError):
            raise lacking(error, self.place) from error
        if not isinstance(error, sqlite3.Error):
            raise damaged(self.place, str(error)) from error
        if not is_busy(error):
            raise self._failed(error) from error
        return patience or Patience(self.place)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in one transaction, durable when this returns, wholly undone when it fails."""
        db = self.try_begin() or await self.begin()
        try:
            result = work(db)
        except BaseException as error:
            self.undo(error)
        self.commit()
        return result

    async def begin(self, *, shield: bool = False) -> sqlite3.Connection:
        """Starts a transaction as soon as no other process writes; nothing is to be awaited until its end.

        Args:
            shield: the cancellation of a scope does not interrupt the waiting.
        """
        patience = Patience(self.place)
        while (db := self.try_begin()) is None:
            with anyio.CancelScope(shield=shield):
                await patience.wait()
        return db

    def try_begin(self) -> sqlite3.Connection | None:
        """Starts a transaction unless another process writes: it ends with `commit` or `undo`."""
        db = self.alive()
        if not self._try_lock():
            return None
        try:
            self._still_there()
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._unlock()
            if is_busy(error):
                return None
            raise self._failed(error) from error
        except BaseException:
            self._unlock()
            raise
        self._before = db.total_changes
        return db

    def commit(self) -> None:
        """Ends the transaction: what was written is durable."""
        try:
            self._db.execute("COMMIT")
        except BaseException as error:  # it is raised again
            self.undo(error)
        self._own_changes += self._db.total_changes - self._before
        self._unlock()

    def undo(self, error: BaseException) -> NoReturn:
        """Ends the transaction, of which nothing was written, and raises what broke it."""
        try:
            with suppress(sqlite3.Error):  # a transaction that SQLite has undone itself cannot be undone again
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        finally:
            self._unlock()
        if isinstance(error, sqlite3.Error):
            raise self._failed(error) from error
        if isinstance(error, UnicodeEncodeError):
            said = f"{self.place}: {error.object[:80]!r} is no text that can be written as UTF-8"
            raise JournalError(said) from error
        if isinstance(error, MemoryError | OSError):
            lack = lacking(error, self.place)
            self._broken = str(lack)
            raise lack from error
        if not isinstance(error, JournalError):
            self._broken = f"{self.place}: a commit was broken off; start again with `orchestrator resume`"
        raise error

    async def vacuum(self) -> None:
        """Gives the space of deleted rows back."""

    def changes(self, db: sqlite3.Connection) -> int:
        """A number that is another one after others have written."""
        return db.total_changes - self._own_changes

    async def close(self) -> None:
        """Closes. Closing again does nothing. A state in memory is closed by its maker."""
        self._broken = self._broken or f"{self.place} is closed"

    # -- who may write, trouble ---------------------------------------------------------------------------------

    def _try_lock(self) -> bool:
        """Takes the right to write when it is free; never waits."""
        return not self._db.in_transaction

    def _unlock(self) -> None:
        """Gives the right to write back."""

    def _still_there(self) -> None:
        """Fails when what would be written is not what others read."""

    def alive(self) -> sqlite3.Connection:
        """The connection, as long as it can be used."""
        if self._broken is not None:
            raise JournalError(self._broken)
        return self._db

    def _failed(self, error: sqlite3.Error) -> JournalError:
        said = explain(error, self.place)
        if is_fatal(error):
            self._broken = str(said)
        return said


class File(Database):
    """A connection to the state's file.

    Args:
        path: the file; made when it is not there, unless `read_only`.
        read_only: never writes, and works while others do.
        steps: the migrations; other ones only in tests.

    Raises:
        JournalError: the file cannot be used; the message names the remedy.
    """

    def __init__(self, path: Path, *, read_only: bool = False, steps: tuple[Step, ...] = tuple(STEPS)) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise JournalError(f"SQLite {sqlite3.sqlite_version} is too old: 3.24 is needed; use a newer Python")
        self.path = path
        self._steps = steps
        self._is_closed = False
        self._lock: int | None = None  # of the lock file
        self._identity: Identity = NOWHERE
        self._wal = path.with_name(path.name + "-wal")
        self._wal_identity: Identity = NOWHERE
        refuse_network(path)
        try:
            super().__init__(self._open_to_read() if read_only else self._open_to_write(), str(path))
        except OSError as error:
            raise unusable(path, error) from error
        except sqlite3.Error as error:
            raise explain(error, str(path)) from error
        self.read_only = read_only

    # -- opening ------------------------------------------------------------------------------------------------

    def _open_to_write(self) -> sqlite3.Connection:
        is_there(self.path)
        make_private(self.path)
        self._lock = open_private(lock_file(self.path))
        self._identity = _identity(self.path)
        return self._connect("rw")

    def _open_to_read(self) -> sqlite3.Connection:
        if not is_there(self.path):
            raise JournalError(f"{self.path}: there is no state yet; the first `orchestrator run` makes it")
        # No write-ahead log, and none can be made in this folder: no process writes, so no locks are needed.
        frozen = not os.access(self.path.parent, os.W_OK) and not self._wal.exists()
        return self._connect("ro&immutable=1" if frozen else "ro")

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(os.path.abspath(self.path))}?mode={mode}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0.05)
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
        return db

    @override
    async def prepare(self) -> None:
        """Checks that the file is ours, and makes or migrates it.

        Raises:
            JournalError: a foreign, newer or damaged file.
        """
        try:
            for pragma in PRAGMAS:
                self._db.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise explain(error, self.place) from error
        if self.read_only:
            await self.read(self._check)
            return
        await self._alone(self._make_wal)
        if await self.read(self._check) < len(self._steps):
            await self.write(lambda db: migrate(db, self._steps))
        await self.read(lambda db: check_shape(db, self.place, self._steps))

    def _check(self, db: sqlite3.Connection) -> int:
        return check(db, self.place, len(self._steps), self.read_only)

    def _make_wal(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA page_count").fetchone() == (0,):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        else:
            self._check(db)
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise JournalError(
                f"{self.path}: this file system cannot hold the state (no shared memory); choose another with --state"
            )

    # -- alone --------------------------------------------------------------------------------------------------

    async def _alone(self, work: Callable[[sqlite3.Connection], T], most: float = PATIENCE) -> T:
        """Runs `work` under the lock, for what SQLite does not do inside a transaction."""
        patience = Patience(self.place, most)
        while True:
            if self._try_lock():
                try:
                    return work(self.alive())
                except sqlite3.Error as error:
                    if not is_busy(error):
                        raise self._failed(error) from error
                finally:
                    self._unlock()
            await patience.wait()

    @override
    async def vacuum(self) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.executescript("PRAGMA incremental_vacuum")  # steps to its end; `execute` would free a single page
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        await self._alone(work)

    @override
    def changes(self, db: sqlite3.Connection) -> int:
        (version,) = db.execute("PRAGMA data_version").fetchone()
        return int(version)

    @override
    async def close(self) -> None:
        """The last one folds the write-ahead log into the file."""
        if self._is_closed:
            return
        self._is_closed = True
        with anyio.CancelScope(shield=True), suppress(JournalError):
            await self._alone(lambda db: db.close(), CLOSING)
        await super().close()
        with suppress(sqlite3.Error):
            self._db.close()  # without the lock, when that was not to be had
        if self._lock is not None:
            os.close(self._lock)

    @override
    def _try_lock(self) -> bool:
        # SQLite has locks of its own, but older releases could damage a database when one connection wrote while
        # another reset the write-ahead log: such moments are kept apart. The kernel frees this one when we die.
        if self._lock is None:
            raise JournalError(f"{self.path} was opened only to read")
        if sys.platform != "win32":  # no such lock there: SQLite's own must do
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    @override
    def _unlock(self) -> None:
        if self._lock is not None and sys.platform != "win32":
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @override
    def _still_there(self) -> None:
        """SQLite would go on writing into files that were deleted."""
        if self._wal_identity == NOWHERE:
            self._wal_identity = _identity(self._wal)
        if _identity(self.path) != self._identity or _identity(self._wal) != self._wal_identity:
            self._broken = (
                f"{self.path} was deleted or replaced while in use, so nothing more can be recorded; restore it, or "
                "start with another --state and `run --run-id ID --adopt`, which looks for what was triggered already"
            )
            raise JournalError(self._broken)


class Patience:
    """Waits between tries, longer and longer, and not for ever."""

    def __init__(self, place: str, most: float = PATIENCE) -> None:
        self._place = place
        self._most = most
        self._until: float | None = None
        self._pause = 0.0005

    async def wait(self) -> None:
        """One pause.

        Raises:
            JournalError: the time is over.
        """
        now = anyio.current_time()  # a try takes its time, too
        if self._until is None:
            self._until = now + self._most
        if now >= self._until:
            raise JournalError(
                f"{self._place}: another process has the state locked for {self._most:.0f} s; is one stopped in the "
                f"middle of a commit? `lslocks` tells which"
            )
        await anyio.sleep(self._pause)
        self._pause = min(self._pause * 1.5, 0.05)


def _identity(path: Path) -> Identity:
    try:
        found = os.stat(path)
    except OSError:
        return NOWHERE
    return (found.st_dev, found.st_ino)


def _is_crowded() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _remedy(code: int, error: sqlite3.Error) -> str:
    if code == CANTOPEN and _is_crowded():
        return f"{CROWDED}; {KEPT}"
    if getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE":  # what readers share needs room, too
        code = FULL
    return REMEDIES.get(code, f"the state cannot be used: {type(error).__name__}. {RESTORE}")
