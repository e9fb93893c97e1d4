"""One connection to the state's file: opened with care, one transaction at a time, dead after a failed sync.

Every transaction that writes runs under the lock file, without awaiting inside; waiting for the lock is polling, so
the event loop stays free. Errors of SQLite end here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import quote

import anyio

from orchestrator.core.errors import JournalError
from orchestrator.journal.files import Lock, lock_file, make_private, refuse_network
from orchestrator.journal.sql.errors import damaged, explain, is_busy, is_fatal
from orchestrator.journal.sql.migrations import APPLICATION, STEPS, Step, migrate, objects

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


class Database:
    """A connection to the state.

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
        self.read_only = read_only
        self._steps = steps
        self._broken: str | None = None
        self._is_closed = False
        self._lock: Lock | None = None
        self._identity: Identity = NOWHERE
        self._wal = path.with_name(path.name + "-wal")
        self._wal_identity: Identity = NOWHERE
        refuse_network(path)
        try:
            self._db = self._open_to_read() if read_only else self._open_to_write()
        except OSError as error:
            where = error.filename or path
            raise JournalError(
                f"{where}: {error.strerror}; the state needs a folder that this user may write"
            ) from error
        except sqlite3.Error as error:
            raise explain(error, path) from error

    # -- opening ------------------------------------------------------------------------------------------------

    def _open_to_write(self) -> sqlite3.Connection:
        make_private(self.path)
        self._lock = Lock(lock_file(self.path))
        self._identity = _identity(self.path)
        return self._connect("rw")

    def _open_to_read(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise JournalError(f"{self.path}: there is no state yet; the first `orchestrator run` makes it")
        # Without a write-ahead log in a folder where nobody can make one, nobody writes: then it needs no locks.
        frozen = not os.access(self.path.parent, os.W_OK) and not self._wal.exists()
        return self._connect("ro&immutable=1" if frozen else "ro")

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(os.path.abspath(self.path))}?mode={mode}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0.05)
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
        return db

    async def prepare(self) -> None:
        """Checks whose file it is, and makes or migrates it. Before anything else.

        Raises:
            JournalError: a foreign, newer or damaged file.
        """
        try:
            for pragma in PRAGMAS:
                self._db.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        if self.read_only:
            await self.read(self._check)
            return
        await self._alone(self._make_wal)
        if await self.read(self._check) < len(self._steps):
            await self.write(lambda db: migrate(db, self._steps))
        await self.read(self._check_shape)

    def _check(self, db: sqlite3.Connection) -> int:
        """The file's version, once it is known to be ours."""
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION and (application or version or objects(db)):
            raise JournalError(f"{self.path} belongs to another program; choose another place with --state")
        if version > len(self._steps):
            raise JournalError(
                f"{self.path} was written by a newer version (its shape is {version}, this one knows "
                f"{len(self._steps)}); upgrade, or choose another place with --state"
            )
        if self.read_only and version < len(self._steps):
            raise JournalError(
                f"{self.path} is of an older version, or not finished; "
                "the next `orchestrator run` or `resume` brings it up to date"
            )
        return int(version)

    def _check_shape(self, db: sqlite3.Connection) -> None:
        """A state may come from elsewhere: what we did not make (a trigger, a view) is not run."""
        model = sqlite3.connect(":memory:")
        try:
            migrate(model, self._steps)
            wanted = objects(model)
        finally:
            model.close()
        if odd := sorted(name for _, name in objects(db) ^ wanted):
            raise damaged(self.path, f"its tables are not ours ({', '.join(odd[:3])})")

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

    # -- transactions -------------------------------------------------------------------------------------------

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds. It must fetch all it wants, and not await."""
        patience = Patience(self.path)
        while True:
            try:
                return work(self._alive())
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise self._failed(error) from error
            except (TypeError, ValueError, OverflowError) as error:
                raise damaged(self.path, str(error)) from error
            await patience.wait()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in one transaction, durable when this returns, wholly undone when it fails."""
        await self.begin()
        return self.commit(work)

    async def begin(self) -> None:
        """Starts a transaction as soon as no other process writes; nothing is to be awaited until `commit`."""
        patience = Patience(self.path)
        while not self.try_begin():
            await patience.wait()

    def try_begin(self) -> bool:
        """Starts a transaction when nobody else writes."""
        db, lock = self._alive(), self._writable()
        if not lock.try_take():
            return False
        try:
            self._still_there()
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            lock.give_back()
            if is_busy(error):
                return False
            raise self._failed(error) from error
        except BaseException:
            lock.give_back()
            raise
        return True

    def commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in the transaction that `begin` started, and ends it."""
        try:
            result = work(self._db)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise self._failed(error) from error
        except JournalError:
            self._undo()
            raise
        except UnicodeEncodeError as error:
            self._undo()
            raise JournalError(f"{self.path}: {error.object[:80]!r} is no text that can be written as UTF-8") from error
        except BaseException:
            self._undo()
            self._broken = f"{self.path}: a commit was broken off; start again with `orchestrator resume`"
            raise
        finally:
            self._writable().give_back()
        return result

    async def _alone(self, work: Callable[[sqlite3.Connection], T], most: float = PATIENCE) -> T:
        """Runs `work` under the lock, for what SQLite does not do inside a transaction."""
        patience, lock = Patience(self.path, most), self._writable()
        while True:
            if lock.try_take():
                try:
                    return work(self._alive())
                except sqlite3.Error as error:
                    if not is_busy(error):
                        raise self._failed(error) from error
                finally:
                    lock.give_back()
            await patience.wait()

    async def vacuum(self) -> None:
        """Gives the space of deleted rows back to the disk."""

        def work(db: sqlite3.Connection) -> None:
            db.executescript("PRAGMA incremental_vacuum")  # steps to its end; `execute` would free a single page
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        await self._alone(work)

    async def close(self) -> None:
        """Closes; the last one folds the write-ahead log into the file. Closing again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        with anyio.CancelScope(shield=True), suppress(JournalError):
            await self._alone(lambda db: db.close(), CLOSING)
        self._broken = self._broken or f"{self.path} is closed"
        with suppress(sqlite3.Error):
            self._db.close()  # without the lock, when that was not to be had
        self._close_lock()

    def _close_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    # -- trouble ------------------------------------------------------------------------------------------------

    def _alive(self) -> sqlite3.Connection:
        if self._broken is not None:
            raise JournalError(self._broken)
        return self._db

    def _writable(self) -> Lock:
        if self._lock is None:
            raise JournalError(f"{self.path} was opened only to read")
        return self._lock

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

    def _failed(self, error: sqlite3.Error) -> JournalError:
        said = explain(error, self.path)
        if is_fatal(error):
            self._broken = str(said)
        return said

    def _undo(self) -> None:
        with suppress(sqlite3.Error):  # a transaction that SQLite has undone itself cannot be undone again
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


class Patience:
    """Waits between tries, longer and longer, and not for ever."""

    def __init__(self, path: Path, most: float = PATIENCE) -> None:
        self._path = path
        self._left = most
        self._most = most
        self._pause = 0.0005

    async def wait(self) -> None:
        """One pause.

        Raises:
            JournalError: the time is over.
        """
        if self._left <= 0:
            raise JournalError(
                f"{self._path}: another process has the state locked for {self._most:.0f} s; is one stopped in the "
                f"middle of a commit? `lslocks` tells which"
            )
        self._left -= self._pause
        await anyio.sleep(self._pause)
        self._pause = min(self._pause * 1.5, 0.05)


def _identity(path: Path) -> Identity:
    try:
        found = os.stat(path)
    except OSError:
        return NOWHERE
    return (found.st_dev, found.st_ino)
