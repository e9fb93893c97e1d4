"""The kinds of events as numbers: each file has its own table of them, so that a new kind needs no migration."""

from __future__ import annotations

import sqlite3
from typing import Any

from orchestrator.core.events import KINDS, Event, decode


class Kinds:
    """The file's numbers of kinds, as far as known here."""

    def __init__(self) -> None:
        self.numbers: dict[type[Any], int] = {}
        self.names: dict[int, str] = {}

    @property
    def are_complete(self) -> bool:
        """Whether the file has a number for each kind of this version."""
        return len(self.numbers) == len(KINDS)

    def learn(self, db: sqlite3.Connection) -> None:
        """Reads the file's table."""
        self.names = {int(num): str(name) for num, name in db.execute("SELECT num, name FROM kind")}
        self.numbers = {KINDS[name]: num for num, name in self.names.items() if name in KINDS}

    def add(self, db: sqlite3.Connection) -> None:
        """Adds what this version has beyond the file's."""
        db.executemany("INSERT INTO kind (name) VALUES (?) ON CONFLICT (name) DO NOTHING", [(name,) for name in KINDS])
        self.learn(db)

    def event(self, kind: int, target: str | None, body: str) -> Event:
        """The event in a row.

        Raises:
            KeyError: the number is not known (here, or yet).
            JournalError: the row is damaged, or of a newer version.
        """
        return decode(self.names[kind], target, body)
