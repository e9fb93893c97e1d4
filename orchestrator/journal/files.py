"""Where the state's files are, and that they are private."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from orchestrator.core.errors import JournalError

NAME = "state.db"
SCHEME = "sqlite:///"
SERVER = ("postgresql://", "postgres://")
REHEARSALS = "#rehearsals"  # behind the URL of a server's state: that of rehearsals, beside it
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4",
        "ocfs2", "orangefs", "panfs", "smb2", "smb3", "smbfs",
        "fuse.afp", "fuse.ceph-fuse", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs",
        "fuse.mfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
    }
)  # fmt: skip  # one a line would be a page


def is_server(where: str) -> bool:
    """Whether the state is kept by a database server."""
    return where.startswith(SERVER)


def locate(where: str) -> Path:
    """The database that a `--state` names: a folder, `sqlite:///relative.db` or `sqlite:////absolute.db`.

    Raises:
        JournalError: another scheme, or not so many slashes.
    """
    if where.startswith(SCHEME):
        path = where.removeprefix(SCHEME)
        if path:
            return Path(path)
    elif "://" not in where and where:
        return Path(where) / NAME
    raise JournalError(
        f"--state {where}: expected a folder, sqlite:///RELATIVE/FILE.db (three slashes), "
        "sqlite:////ABSOLUTE/FILE.db (four) or postgresql://HOST/DB"
    )


def lock_file(path: Path) -> Path:
    """The lock beside a database."""
    return path.with_name(path.name + "-lock")


def is_there(path: Path) -> bool:
    """Whether the database is there.

    Raises:
        JournalError: nobody can tell, or something else is in its place.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unusable(path, error) from error
    if not stat.S_ISREG(mode):
        raise JournalError(f"{path} is no plain file; choose another place with --state")
    return True


def unusable(path: Path, error: OSError) -> JournalError:
    """The error of a place where no state can be."""
    return JournalError(
        f"{error.filename or path}: {error.strerror}; the state needs a folder that this user may write"
    )


def make_private(path: Path) -> None:
    """Makes the file, empty, 0600 in folders of 0700 whatever the umask, and sees to it that power loss keeps it.

    A file that is there already loses the rights that it gives to others.

    Raises:
        OSError: it cannot be made.
    """
    _make_folder(path.parent)
    os.close(open_private(path))
    sync_folder(path.parent)


def open_private(path: Path) -> int:
    """Opens the file, 0600 whatever the umask, and makes it where it is missing; gives its descriptor."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if os.fstat(file).st_mode & 0o777 != 0o600:
            os.chmod(path, 0o600)
    except OSError:
        os.close(file)
        raise
    return file


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(0o700)
        folder.chmod(0o700)  # mkdir's own mode is cut by the umask
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in the folder survive power loss."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_network(path: Path, mounts: Path = MOUNTS) -> None:
    """Refuses a file on a network file system: locks and memory maps that SQLite needs do not hold between machines.

    Raises:
        JournalError: it is one. Where the system has no table of mounts, nothing is refused.
    """
    try:
        table = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return
    kind = file_system_of(path, table)
    if kind in NETWORK:
        raise JournalError(
            f"{path} is on a network file system ({kind}), where SQLite's locks do not hold; "
            "choose a folder on a local disk with --state DIR or ORCHESTRATOR_STATE"
        )


def file_system_of(path: Path, table: str) -> str:
    """The kind of file system that holds the path, by a table as in /proc/self/mountinfo; empty when unknown."""
    real = os.path.realpath(path)
    best, kind = -1, ""
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, described = left.split(" "), right.split(" ")
        if len(fields) < 5:
            continue
        point = _unescaped(fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of two mounts on one point the later hides the earlier
            best, kind = len(point), described[0]
    return kind


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
