"""Finds the request of a lost answer again, by the marker in its commit's message.

Travis has no idempotency key and its rows do not say who sent them: until a row has a commit, nothing in it tells
whose it is. Such a row is a candidate, whatever its state or result, and while there is one the answer is "cannot
tell". "Certainly not there" needs every page since the call, in the server's time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.core.errors import InDoubt, LookFailed
from orchestrator.core.model import Interval, Request, Trigger
from orchestrator.providers.port import Call, Send
from orchestrator.providers.travis.declaration import CALLS
from orchestrator.providers.travis.pages import NotThere, walk
from orchestrator.providers.travis.wire import repo_path, request_of
from orchestrator.providers.travis.words import instant, mapping, number, stamp

WIDER = 120.0  # seconds before the call from which rows are read: clocks differ, and rows show whole seconds
MOST_PAGES = 20  # of 100 rows; more requests of one repository within the time of a doubt are beyond telling


async def find(send: Send, trigger: Trigger, asked: Interval, known: Collection[str], url: str) -> Request | None:
    """The request that the lost call made, or None: certainly not there.

    Raises:
        InDoubt: it cannot be told, now or ever.
        LookFailed: a page did not come.
    """
    marker, target = trigger.marker, trigger.target
    if marker is None:
        raise InDoubt("the trigger carried no marker by which its request could be recognised")
    since = asked.start - WIDER
    call = Call(
        "GET",
        f"{repo_path(target.repo, target.request.get('vcs'))}/requests",
        query=(("skip_count", "true"), ("from", stamp(since))),
        purpose="find",
        limits=(CALLS,),
    )
    # No upper bound: a proxy may deliver a call after we gave it up.
    ours: dict[int, Mapping[str, Any]] = {}
    candidates: set[int] = set()

    def take(entries: list[Mapping[str, Any]]) -> bool:
        for row in entries:
            _sort(row, marker, known, since, ours, candidates)
        return _is_past(entries, since)

    try:
        await walk(send, call, "requests", MOST_PAGES, take)
    except NotThere as error:
        raise LookFailed(_nowhere(target.repo)) from error
    if ours:
        return _adopt(ours, trigger, url)
    if candidates:
        raise InDoubt(_unclear(target.repo, candidates))
    return None


def _sort(
    row: Mapping[str, Any],
    marker: str,
    known: Collection[str],
    since: float,
    ours: dict[int, Mapping[str, Any]],
    candidates: set[int],
) -> None:
    """Puts a row among ours or among the candidates, or drops it because it is certainly not ours."""
    id_ = number(row.get("id"))
    if id_ is None:
        raise InDoubt("a row of the listing has no id, so that the listing proves nothing")
    kind = row.get("event_type")
    message = mapping(row.get("commit")).get("message")
    if str(id_) in known:
        if isinstance(message, str) and marker in message:
            raise InDoubt(f"request {id_} carries this target's marker, but was adopted for another target")
        return
    if isinstance(kind, str) and kind != "api":
        return
    if isinstance(message, str):
        if marker in message:
            ours[id_] = row
        return
    made = instant(row.get("created_at"))
    if made is None or made >= since:
        candidates.add(id_)


def _is_past(entries: list[Mapping[str, Any]], since: float) -> bool:
    """Whether the listing has gone beyond the interval: some servers do not know `from`. Rows are newest first."""
    made = instant(entries[-1].get("created_at")) if entries else None
    return made is not None and made < since


def _adopt(ours: dict[int, Mapping[str, Any]], trigger: Trigger, url: str) -> Request:
    """The request that came first; had there been several, all their builds are reported."""
    first, *more = sorted(ours)
    request = request_of(trigger.target, first, mapping(ours[first].get("repository")), url)
    if not more:
        return request
    return Request(request.id, {**request.handle, "also": more}, request.url)


def _nowhere(repo: str) -> str:
    """Travis tells "no such repository" and "not for this token" by the same answer: it may have been there before."""
    return (
        f"Travis shows this token no repository {repo}; where that was so all along, the call started nothing "
        "(--assume-absent), else the token lost its access: give it back, and resume"
    )


def _unclear(repo: str, candidates: set[int]) -> str:
    shown = ", ".join(str(id_) for id_ in sorted(candidates)[:5])
    return f"{len(candidates)} request(s) of {repo} without a commit, which may be this one: {shown}"
