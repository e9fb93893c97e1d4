"""Listings: read in pages to their end, and searched for the request of a lost call.

Pages are bounded, as a server may have no end. A request is recognised by its marker, which travels whole, with its
brackets, in a text that the service shows again: `Trigger.message` ends with it. A row that does not show its text yet
may be ours: while there is one, the answer is "cannot tell".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, Trigger
from orchestrator.providers.kit.answers import mapping, read, rows

MOST_ENTRIES = 500_000  # of one listing: more repositories or branches than anybody has
MOST_BYTES = 128 * 1024 * 1024  # of one listing: that of 50,000 repositories
NAMED, MOST_SHOWN = 5, 100  # of the requests that may be a lost one, in a sentence and as builds
_MARKER = re.compile(r"\[[A-Za-z0-9._-]{1,64}\.[a-z2-7]{8}\]")

_NEXT = re.compile(r'<([^<>]*)>\s*;[^<]*\brel="?next"?', re.IGNORECASE)
MOST_LINKS = 10_000  # characters of a header with links

Query = tuple[tuple[str, str], ...]
Cursor = TypeVar("Cursor", bound=Hashable)
Row = TypeVar("Row")


class Page(NamedTuple, Generic[Cursor]):
    """One page of a listing.

    Args:
        entries: the JSON objects in it.
        next: where the next page begins (an offset, a page's number, a path); None where this is the last one.
    """

    entries: list[Mapping[str, Any]]
    next: Cursor | None


class Listing(NamedTuple, Generic[Cursor]):
    """How a listing is asked for, and how its answers are read.

    Args:
        first: where it begins.
        call_at: the call for the page at a cursor.
        page_of: what the answer at a cursor holds; raises where it is no page.
        at_most: pages.
    """

    first: Cursor
    call_at: Callable[[Cursor], Call]
    page_of: Callable[[Cursor, Answer], Page[Cursor]]
    at_most: int

    async def page_at(self, send: Send, cursor: Cursor) -> Page[Cursor]:
        """One page; LookFailed where it did not come."""
        return self.page_of(cursor, await read(send, self.call_at(cursor)))


async def walk(send: Send, listing: Listing[Cursor], take: Callable[[list[Mapping[str, Any]]], bool]) -> None:
    """Hands the pages of a listing to `take`, until its end or until `take` has enough.

    Raises:
        LookFailed: a page did not come, or the listing has no end: what came before is not complete.
    """
    cursor, seen, entries, size = listing.first, {listing.first}, 0, 0
    for _ in range(listing.at_most):
        answer = await read(send, listing.call_at(cursor))
        page = listing.page_of(cursor, answer)
        entries, size = entries + len(page.entries), size + answer.size
        if take(page.entries) or page.next is None:
            return
        if page.next in seen or entries > MOST_ENTRIES or size > MOST_BYTES:
            break
        cursor = page.next
        seen.add(cursor)
    told = f"{entries} entries and {size // 2**20} MiB were read"
    raise LookFailed(f"{listing.call_at(listing.first).path}: the listing has no end ({told})")


async def entries_of(
    send: Send, listing: Listing[Cursor], pick: Callable[[Mapping[str, Any]], Any] = lambda entry: entry
) -> list[Any]:
    """All entries of a listing; errors as of `walk`.

    Args:
        pick: what of an entry is kept, as a listing may be much larger; None for nothing.
    """
    found: list[Any] = []

    def take(entries: list[Mapping[str, Any]]) -> bool:
        found.extend(picked for entry in entries if (picked := pick(entry)) is not None)
        return False

    await walk(send, listing, take)
    return found


def linked(first: Call, key: str | None, at_most: int, failed: Callable[[Answer, str], Exception]) -> Listing[Query]:
    """A listing whose answers link to the next page; the link gives its query, the path stays that of the first.

    Args:
        key: the name under which the entries stand; None: the answer is the list.
        at_most: pages.
        failed: the error for an answer that is no page.
    """

    def page_of(place: Query, answer: Answer) -> Page[Query]:
        return Page(_entries(answer, key, first.path, failed), _next(answer))

    return Listing((), lambda place: replace(first, query=place) if place else first, page_of, at_most)


def numbered(first: Call, key: str | None, at_most: int, failed: Callable[[Answer, str], Exception]) -> Listing[int]:
    """A listing whose pages have numbers, for servers that link to none; only an empty page is its end.

    Args as of `linked`.
    """

    def page_of(page: int, answer: Answer) -> Page[int]:
        entries = _entries(answer, key, first.path, failed)
        return Page(entries, page + 1 if entries else None)

    return Listing(1, lambda page: replace(first, query=(*first.query, ("page", str(page)))), page_of, at_most)


def _entries(
    answer: Answer, key: str | None, path: str, failed: Callable[[Answer, str], Exception]
) -> list[Mapping[str, Any]]:
    found = answer.body if key is None else mapping(answer.body).get(key)
    entries = rows(found)
    if answer.status != 200 or not isinstance(found, list) or len(entries) != len(found):
        raise failed(answer, path)
    return entries


def _next(answer: Answer) -> Query | None:
    found = _NEXT.search(answer.headers.get("link", "")[:MOST_LINKS])
    try:
        return None if found is None else tuple(parse_qsl(urlsplit(found[1]).query, max_num_fields=20))
    except ValueError:
        raise LookFailed("the link to the next page of a listing is none") from None


def markers_in(text: str) -> Iterator[str]:
    """Everything in the text that looks like a marker, in order."""
    return (found.group() for found in _MARKER.finditer(text))


class Search(Generic[Row]):
    """Sorts the rows of a listing: those of one lost trigger, those that may be it, and all others.

    Args:
        known: ids of requests of the same repo that are known to belong to other triggers.
        since: rows that were made before cannot be ours.
        unmarked: for the message: what a row lacks that may be ours.
        show: a row as a build, for people to look at while it may be ours; None where it has none, and gets none.

    Attributes:
        ours: rows that show the marker, by id.
        candidates: rows that may be ours, by id: without a text, or any where markers may not be shown.

    Raises:
        InDoubt: the trigger carried no marker.
    """

    def __init__(
        self,
        trigger: Trigger,
        known: Collection[str],
        since: float,
        unmarked: str = "that show no marker yet",
        show: Callable[[Row], Build | None] | None = None,
    ) -> None:
        if trigger.marker is None:
            raise InDoubt("the trigger carried no marker by which its request could be recognised")
        self._marker = trigger.marker
        self._repo = trigger.target.repo
        self._known = known
        self._since = since
        self._is_shown = trigger.is_shown
        self._unmarked = unmarked if trigger.is_shown else "of an account that was never seen to show a marker"
        self.ours: dict[str, Row] = {}
        self.candidates: dict[str, Row] = {}
        self._show = show

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
        elif (shown is None or not self._is_shown) and (made is None or made >= self._since):
            self.candidates[id_] = row

    def found(self) -> dict[str, Row]:
        """The rows that are ours, by id; empty: certainly not there, if the listing was read to its end.

        Raises:
            InDoubt: a row may be ours.
        """
        if self.candidates and not self.ours:
            ids = sorted(self.candidates, key=lambda id_: (len(id_), id_))
            named, newest = ", ".join(ids[:NAMED]), [self.candidates[id_] for id_ in ids[: -MOST_SHOWN - 1 : -1]]
            shown = () if self._show is None else map(self._show, newest)
            builds = tuple(build for build in shown if build is not None)
            page = f"; the newest: {builds[0].url}" if builds and builds[0].url else ""
            told = f"{len(ids)} request(s) of {self._repo} {self._unmarked}, which may be this one: {named}{page}"
            raise InDoubt(told, builds)
        return self.ours
