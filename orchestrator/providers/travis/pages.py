"""Travis' paginated listings, read to their end and bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.core.errors import InDoubt, LookFailed, Unreachable
from orchestrator.core.frozen import Struct, replace
from orchestrator.providers.port import Answer, Call, Send
from orchestrator.providers.travis.words import error_type, look_failed, mapping, rows

PAGE = 100  # the most that Travis gives at once


class NotThere(LookFailed):
    """What the listing is about does not exist, or this token may not see it."""


class Page(Struct, frozen=True):
    """One page of a listing.

    Args:
        entries: the JSON objects in it.
        next: the offset of the next page, None where this is the last one.
    """

    entries: list[Mapping[str, Any]]
    next: int | None


async def look(send: Send, call: Call) -> Answer:
    """Sends a call that only reads: where its answer is lost, the look has failed and nothing is in doubt.

    Raises:
        LookFailed: no answer came.
    """
    try:
        return await send(call)
    except (InDoubt, Unreachable) as error:
        cause = error.cause
    raise LookFailed(f"{call.path}: {cause}")


async def walk(send: Send, call: Call, key: str, at_most: int, take: Callable[[list[Mapping[str, Any]]], bool]) -> None:
    """Hands the pages of a listing to `take`, until its end or until `take` has enough.

    Args:
        call: without `limit` and `offset`.
        key: the name under which the entries stand, and the listing's `@type`.
        at_most: pages, as a server may have no end.

    Raises:
        LookFailed: a page did not come, or the listing has no end: what came before is not complete.
    """
    offset = 0
    for _ in range(at_most):
        page = await read_page(send, call, key, offset)
        if take(page.entries) or page.next is None:
            return
        if page.next <= offset:
            break
        offset = page.next
    raise LookFailed(f"{call.path}: the listing has no end")


async def read_page(send: Send, call: Call, key: str, offset: int) -> Page:
    """One page.

    Args:
        offset: 0 for the first.

    Raises:
        LookFailed: it did not come.
    """
    asked = (*call.query, ("limit", str(PAGE)), *((("offset", str(offset)),) if offset else ()))
    answer = await look(send, replace(call, query=asked))
    body = mapping(answer.body)
    if answer.status == 404 and error_type(answer) == "not_found":
        raise NotThere(f"{call.path}: not found, or this token may not see it")
    if answer.status != 200 or body.get("@type") != key or not isinstance(body.get(key), list):
        raise look_failed(answer, call.path)
    entries = rows(body[key])
    if len(entries) != len(body[key]):
        raise LookFailed(f"{call.path}: the listing holds what is no entry")
    return Page(entries, _next(body, len(entries), offset, call.path))


def _next(body: Mapping[str, Any], length: int, offset: int, path: str) -> int | None:
    """Where the next page begins. With `skip_count` a next page is always promised: a page that is not full ends it."""
    pagination = mapping(body.get("@pagination"))
    limit = pagination.get("limit")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
        raise LookFailed(f"{path}: a listing without @pagination cannot be known to be complete")
    if length < limit or pagination.get("is_last") is True:
        return None
    there = mapping(pagination.get("next")).get("offset")
    if "next" in pagination and pagination["next"] is None:
        return None
    return there if isinstance(there, int) and not isinstance(there, bool) else offset + length
