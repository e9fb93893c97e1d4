"""Listings in pages, read to their end and bounded: a server may have no end."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import LookFailed
from orchestrator.providers.kit.answers import read

MOST_ENTRIES = 500_000  # of one listing: more repositories or branches than anybody has

Cursor = TypeVar("Cursor", bound=Hashable)


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
        """One page.

        Raises:
            LookFailed: it did not come.
        """
        return self.page_of(cursor, await read(send, self.call_at(cursor)))


async def walk(send: Send, listing: Listing[Cursor], take: Callable[[list[Mapping[str, Any]]], bool]) -> None:
    """Hands the pages of a listing to `take`, until its end or until `take` has enough.

    Raises:
        LookFailed: a page did not come, or the listing has no end: what came before is not complete.
    """
    cursor, seen, entries = listing.first, {listing.first}, 0
    for _ in range(listing.at_most):
        page = await listing.page_at(send, cursor)
        entries += len(page.entries)
        if take(page.entries) or page.next is None:
            return
        if page.next in seen or entries > MOST_ENTRIES:
            break
        cursor = page.next
        seen.add(cursor)
    raise LookFailed(f"{listing.call_at(listing.first).path}: the listing has no end")


async def entries_of(send: Send, listing: Listing[Cursor]) -> list[Mapping[str, Any]]:
    """All entries of a listing; errors as of `walk`."""
    found: list[Mapping[str, Any]] = []

    def take(entries: list[Mapping[str, Any]]) -> bool:
        found.extend(entries)
        return False

    await walk(send, listing, take)
    return found
