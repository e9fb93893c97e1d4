"""Finds the request of a lost answer again, by the marker in its commit's message.

Travis has no idempotency key, and its rows do not name their sender: until a row has a commit, it may be ours. Such a
row is a candidate, whatever its state or result, and while there is one the answer is "cannot tell". "Certainly not
there" needs every page since the call, in the server's time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.core.calls import Call, Send
from orchestrator.core.errors import LookFailed
from orchestrator.core.model import Interval, Request, Trigger
from orchestrator.providers.kit.answers import instant, mapping, number, timestamp
from orchestrator.providers.kit.listings import Search, walk
from orchestrator.providers.travis.declaration import CALLS
from orchestrator.providers.travis.wire import NotThere, listing, repo_path, request_of

WIDER = 120.0  # seconds before the call from which rows are read: clocks differ, and rows show whole seconds
MOST_PAGES = 20  # of 100 rows; more requests of one repository within the time of a doubt are beyond telling


async def find(send: Send, trigger: Trigger, asked: Interval, known: Collection[str], url: str) -> Request | None:
    """The request that the lost call made, or None: certainly not there.

    Raises:
        InDoubt: it cannot tell, now or ever.
        LookFailed: a page did not come.
    """
    target, since = trigger.target, asked.start - WIDER
    search = Search[Mapping[str, Any]](trigger, known, since, "without a commit")
    call = Call(
        "GET",
        f"{repo_path(target.repo, target.request.get('vcs'))}/requests",
        query=(("skip_count", "true"), ("from", timestamp(since))),
        purpose="find",
        limits=(CALLS,),
    )

    # No upper bound: a proxy may deliver a call after we gave it up.
    def take(entries: list[Mapping[str, Any]]) -> bool:
        for row in entries:
            _add(row, search, known)
        return _is_past(entries, since)

    try:
        await walk(send, listing(call, "requests", MOST_PAGES), take)
    except NotThere as error:
        raise LookFailed(_nowhere(target.repo)) from error
    ours = {int(id_): row for id_, row in search.found().items()}
    return _adopted(ours, trigger, url) if ours else None


def _add(row: Mapping[str, Any], search: Search[Mapping[str, Any]], known: Collection[str]) -> None:
    """Hands a row to the search, unless it is that of a push or a schedule."""
    id_, kind = number(row.get("id")), row.get("event_type")
    if id_ is not None and str(id_) not in known and isinstance(kind, str) and kind != "api":
        return
    message = mapping(row.get("commit")).get("message")
    shown = message if isinstance(message, str) else None
    search.add(None if id_ is None else str(id_), shown, instant(row.get("created_at")), row)


def _is_past(entries: list[Mapping[str, Any]], since: float) -> bool:
    """Whether the listing has gone beyond the interval: some servers do not know `from`. Rows are newest first."""
    made = instant(entries[-1].get("created_at")) if entries else None
    return made is not None and made < since


def _adopted(ours: dict[int, Mapping[str, Any]], trigger: Trigger, url: str) -> Request:
    """The request that came first; had there been several, all their builds are reported."""
    first, *more = sorted(ours)
    request = request_of(trigger.target, first, mapping(ours[first].get("repository")), url)
    if not more:
        return request
    return Request(request.id, {**request.handle, "also": more}, request.url)


def _nowhere(repo: str) -> str:
    """Travis gives the same answer for "no such repository" and "not for this token": it may have been there before."""
    return (
        f"Travis shows this token no repository {repo}; where that was so all along, the call started nothing "
        "(--assume-absent), else the token lost its access: give it back, and resume"
    )
