"""The newest builds that the token's user has caused, over all repositories, with the ids of their requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.provider import Call, Followed, Send
from orchestrator.providers.travis.declaration import CALLS
from orchestrator.providers.travis.pages import read_page
from orchestrator.providers.travis.sight import ids_of, message_of
from orchestrator.providers.travis.words import mapping, number

_MARKER = re.compile(r"\[[A-Za-z0-9._-]{1,64}\.[a-z2-7]{8}\]")


class Newest:
    """The listing, read page by page, newest first.

    Attributes:
        lowest: the oldest build's id on the page read last; 0 when that was the last page.
        floor: `lowest` of the first page: every later build stands on it.
        highest: the newest build's id.
    """

    def __init__(self, send: Send) -> None:
        self.lowest = self.floor = self.highest = 0
        self.pages = 0
        self.is_over = False
        self._send = send
        self._offset = 0

    async def more(self) -> list[Mapping[str, Any]]:
        """The next page.

        Raises:
            LookFailed: it did not come.
        """
        # Servers that do not know `representation=list` answer with whole builds: longer, and without their request.
        query = (("sort_by", "id:desc"), ("representation", "list"), ("skip_count", "true"))
        call = Call("GET", "/builds", query, purpose="poll", limits=(CALLS,))
        page = await read_page(self._send, call, "builds", self._offset)
        ids = [id_ for row in page.entries if (id_ := number(row.get("id")))]
        self.is_over = page.next is None or not ids
        self.lowest = 0 if self.is_over else min(ids)
        self.highest = max([self.highest, *ids])
        self.pages += 1
        if self.pages == 1:
            self.floor = self.lowest
        self._offset = page.next or 0
        return page.entries


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
