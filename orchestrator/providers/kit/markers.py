"""How the request of a lost call is recognised by its marker, and when it is certainly not there.

The marker travels whole, with its brackets, in a text that the service shows again: `Trigger.message` ends with it.
A row that does not show its text yet may be ours: while there is one, the answer is "cannot tell".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from orchestrator.core.errors import InDoubt
from orchestrator.core.model import Trigger

_MARKER = re.compile(r"\[[A-Za-z0-9._-]{1,64}\.[a-z2-7]{8}\]")

Row = TypeVar("Row")


def markers_in(text: str) -> Iterator[str]:
    """Everything in the text that looks like a marker, in order."""
    return (found.group() for found in _MARKER.finditer(text))


class Search(Generic[Row]):
    """Sorts the rows of a listing: those of one lost trigger, those that may be it, and all others.

    Args:
        known: ids of requests of the same repo that are known to belong to other triggers.
        since: rows that were made before cannot be ours.
        unmarked: for the message: what a row lacks that may be ours.

    Attributes:
        ours: rows that show the marker, by id.
        candidates: ids of rows that do not show a text and may be ours.

    Raises:
        InDoubt: the trigger carried no marker.
    """

    def __init__(
        self, trigger: Trigger, known: Collection[str], since: float, unmarked: str = "that show no marker yet"
    ) -> None:
        if trigger.marker is None:
            raise InDoubt("the trigger carried no marker by which its request could be recognised")
        self._marker = trigger.marker
        self._repo = trigger.target.repo
        self._known = known
        self._since = since
        self._unmarked = unmarked
        self.ours: dict[str, Row] = {}
        self.candidates: set[str] = set()

    def add(self, id_: str | None, shown: str | None, made: float | None, row: Row) -> None:
        """Takes note of a row.

        Args:
            id_: the request's id; without one the listing proves nothing.
            shown: the text in which the marker would stand; None where the row does not show it.
            made: when the row was made, None where that is not shown.

        Raises:
            InDoubt: such a listing proves nothing.
        """
        if not id_:
            raise InDoubt("a row of the listing has no id, so that the listing proves nothing")
        is_marked = shown is not None and self._marker in shown
        if id_ in self._known:
            if is_marked:
                raise InDoubt(f"request {id_} carries this target's marker, but was adopted for another target")
        elif is_marked:
            self.ours[id_] = row
        elif shown is None and (made is None or made >= self._since):
            self.candidates.add(id_)

    def found(self) -> dict[str, Row]:
        """The rows that are ours, by id; empty: certainly not there, if the listing was read to its end.

        Raises:
            InDoubt: a row may be ours.
        """
        if self.candidates and not self.ours:
            named = ", ".join(sorted(self.candidates, key=lambda id_: (len(id_), id_))[:5])
            count = len(self.candidates)
            raise InDoubt(f"{count} request(s) of {self._repo} {self._unmarked}, which may be this one: {named}")
        return self.ours
