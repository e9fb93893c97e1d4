"""The newest builds that the token's user has caused, over all repositories, with the ids of their requests."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.providers.port import Call, Followed, Send
from orchestrator.providers.travis.declaration import CALLS
from orchestrator.providers.travis.observe import ids_of, message_of
from orchestrator.providers.travis.pages import read_page
from orchestrator.providers.travis.words import mapping, number

_MARKER = re.compile(r"\[[A-Za-z0-9._-]{1,64}\.[a-z2-7]{8}\]")


class NewestPage(Struct, frozen=True):
    """One page.

    Args:
        ids: of its builds, newest first.
        is_last: whether nothing older follows.
    """

    entries: list[Mapping[str, Any]]
    ids: list[int]
    is_last: bool

    @property
    def floor(self) -> int:
        """Every build from this id on stands on this page or before it."""
        return 0 if self.is_last else self.ids[-1]


async def newest(send: Send, offset: int = 0) -> NewestPage:
    """A page of the listing, newest first.

    Raises:
        LookFailed: it did not come.
    """
    # Servers that do not know `representation=list` answer with whole builds: longer, and without their request.
    query = (("sort_by", "id:desc"), ("representation", "list"), ("skip_count", "true"))
    page = await read_page(send, Call("GET", "/builds", query, purpose="poll", limits=(CALLS,)), "builds", offset)
    ids = sorted((id_ for row in page.entries if (id_ := number(row.get("id")))), reverse=True)
    return NewestPage(page.entries, ids, page.next is None or not ids)


class Ranks:
    """About where in the listing a build stands; a guess that saves calls, corrected by each page that is read."""

    def __init__(self) -> None:
        self._ids: list[int] = []  # of builds that were seen, ours or not, oldest first
        self._drift = 0  # how many more stand above than were seen

    def see(self, ids: Iterable[int]) -> None:
        """Takes note of builds."""
        for id_ in ids:
            place = bisect_left(self._ids, id_)
            if place == len(self._ids) or self._ids[place] != id_:
                self._ids.insert(place, id_)

    def read(self, offset: int, page: NewestPage) -> None:
        """Takes note of a page, and of what stood above it unseen."""
        self.see(page.ids)
        if page.ids:
            self._drift += offset - self.of(page.ids[0])

    def of(self, id_: int) -> int:
        """How many builds are newer."""
        return len(self._ids) - bisect_right(self._ids, id_) + self._drift


class Owned:
    """Which of the builds in a listing are whose.

    Args:
        by_marker: whether a marker counts where no request is shown. It is the weakest sign: people copy messages.
    """

    def __init__(self, followed: Iterable[Followed], by_marker: bool) -> None:
        self._by_request: dict[int, Followed] = {}
        self._by_build: dict[str, Followed] = {}
        self._by_marker: dict[str, Followed] = {}
        for one in followed:
            self._by_request.update(dict.fromkeys(ids_of(one), one))
            if one.build is not None:
                self._by_build[one.build.id] = one
            elif one.marker is not None and by_marker:
                self._by_marker[one.marker] = one

    def whose(self, row: Mapping[str, Any]) -> Followed | None:
        """Whose build this is: its request tells where it is shown, else its id, else the marker."""
        request = number(mapping(row.get("request")).get("id"))
        if request is not None:
            return self._by_request.get(request)
        known = self._by_build.get(str(row.get("id")))
        return known or self._by_mark(message_of(row) or "")

    def _by_mark(self, message: str) -> Followed | None:
        for marker in _MARKER.findall(message) if self._by_marker else ():
            if marker in self._by_marker:
                return self._by_marker[marker]
        return None
