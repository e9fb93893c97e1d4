"""Polls many requests with few calls: two hundred in a listing, and their builds only where something has changed.

A request whose build was started again (`rebuild`) stays as it ended: what came of it is another request, in a buildset
that names the old build. It is looked for where the build that is followed is none of the request's own, or has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.core.calls import Send
from orchestrator.core.errors import LookFailed, RateLimited
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build
from orchestrator.providers.buildbot import wire
from orchestrator.providers.buildbot.observe import BUILD_FIELDS, QUEUED, REQUEST_FIELDS, Seen, at
from orchestrator.providers.kit.answers import number
from orchestrator.providers.port import Followed, Observation

CLOCKS = 120.0  # seconds by which clocks may differ
BUILD_PROPERTIES = (("property", "branch"), ("property", "got_revision"))
STRANGER = (
    "request {id} is another one, or gone: Buildbot has lost its database, or forgot old builds; what became of ours "
    "is not known"
)

Row = Mapping[str, Any]


class Poll:
    """The polls of one account. It remembers only whose marker was seen: no verdict rests on it."""

    def __init__(self, send: Send, url: str) -> None:
        self._send = send
        self._url = url
        self._reasons: set[str] = set()  # targets whose reason was read

    async def __call__(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """One round; LookFailed, AccessRefused or RateLimited where nothing at all was learnt."""
        seen: dict[str, Observation] = {}
        failures: list[str] = []
        try:
            for part in _parts(sorted(followed, key=lambda one: not one.fresh)):
                try:
                    seen |= await self._look(part)
                except LookFailed as error:
                    failures.append(error.cause)
        except RateLimited:
            if not seen:
                raise
        if failures and not seen:
            raise LookFailed(failures[0])
        return seen

    async def _look(self, part: Sequence[Followed]) -> Mapping[str, Observation]:
        ids = [id_ for one in part for id_ in requests_of(one)]
        asked = wire.any_of("buildrequestid", ids)
        rows = {row["buildrequestid"]: row for row in await self._rows("buildrequests", REQUEST_FIELDS, asked)}
        ours = {one.target.id: [rows[id_] for id_ in requests_of(one) if _is_of(rows.get(id_), one)] for one in part}
        marked = await self._marked(part, ours)
        wanted = [row["buildrequestid"] for one in part for row in ours[one.target.id] if _is_news(row, one)]
        builds = await self._builds(wanted)
        found: dict[str, Observation] = {}
        restarted: list[tuple[Followed, list[Row]]] = []
        for one in part:
            shown = ours[one.target.id]
            if len(shown) < len(requests_of(one)) or not shown:
                found[one.target.id] = Observation(warning=STRANGER.format(id=one.request.id[:40]))
                continue
            requests = [Seen(row, builds.get(row["buildrequestid"], ()), self._url) for row in shown]
            found[one.target.id] = replace(_observed(one, requests, wanted), marked=marked.get(one.target.id))
            own = [build for request in requests for build in request.builds]
            if _is_restarted(one, requests, own):
                restarted.append((one, own))
        return {**found, **await self._rebuilds(restarted)}

    async def _rows(self, what: str, fields: Sequence[str], pairs: wire.Pairs) -> list[Row]:
        """The rows that some filter selects; none where there is no filter."""
        pairs = list(pairs)
        return await wire.listed(self._send, what, fields, pairs) if pairs else []

    async def _builds(self, requests: Sequence[int]) -> Mapping[int, list[Row]]:
        """The builds of requests, oldest first."""
        found: dict[int, list[Row]] = {}
        if requests:
            asked = [*wire.any_of("buildrequestid", requests), *BUILD_PROPERTIES]
            for row in sorted(await self._rows("builds", BUILD_FIELDS, asked), key=lambda row: int(row["buildid"])):
                found.setdefault(number(row.get("buildrequestid")) or 0, []).append(row)
        return {id_: list({row["buildid"]: row for row in each}.values()) for id_, each in found.items()}

    async def _marked(self, part: Sequence[Followed], ours: Mapping[str, list[Row]]) -> Mapping[str, bool]:
        """Whether the reasons of requests that are new here show their marker; asked once for each."""
        new = [one for one in part if one.marker and one.target.id not in self._reasons and ours[one.target.id]]
        asked = wire.any_of("bsid", (ours[one.target.id][0]["buildsetid"] for one in new))
        reasons = {row["bsid"]: row.get("reason") for row in await self._rows("buildsets", ("bsid", "reason"), asked)}
        self._reasons |= {one.target.id for one in new}
        return {one.target.id: str(one.marker) in str(reasons.get(ours[one.target.id][0]["buildsetid"])) for one in new}

    async def _rebuilds(self, restarted: Sequence[tuple[Followed, list[Row]]]) -> Mapping[str, Observation]:
        """What came of builds that were started again, where anything did: the newest of each."""
        olds = {build["buildid"]: one for one, own in restarted for build in own}
        fields = ("bsid", "rebuilt_buildid")
        sets: dict[int, Followed] = {}
        for row in await self._rows("buildsets", fields, wire.any_of("rebuilt_buildid", olds)):
            if (one := olds.get(row.get("rebuilt_buildid"))) is not None:
                sets[row["bsid"]] = one
        newest = {one.target.id: bsid for bsid, one in sorted(sets.items())}
        rows = await self._rows("buildrequests", REQUEST_FIELDS, wire.any_of("buildsetid", newest.values()))
        builds = await self._builds([row["buildrequestid"] for row in rows])
        found = {}
        for row in rows:
            if (followed := sets.get(number(row.get("buildsetid")) or 0)) is not None:
                shown, warning = Seen(row, builds.get(row["buildrequestid"], ()), self._url).shown()
                found[followed.target.id] = Observation(tuple(shown), warning=warning)
        return found


def requests_of(one: Followed) -> list[int]:
    """The numbers of the target's buildrequests."""
    known = one.request.handle.get("requests")
    listed = [number(id_) for id_ in known] if isinstance(known, list | tuple) else []
    own = number(int(one.request.id)) if one.request.id.isascii() and one.request.id.isdigit() else None
    return list(dict.fromkeys(id_ for id_ in (listed or [own]) if id_ is not None))


def _parts(followed: Sequence[Followed]) -> Iterable[list[Followed]]:
    """Those that one listing can show together."""
    part: list[Followed] = []
    size = 0
    for one in followed:
        count = max(1, len(requests_of(one)))
        if part and size + count > wire.TOGETHER:
            yield part
            part, size = [], 0
        part.append(one)
        size += count
    if part:
        yield part


def _is_of(row: Row | None, one: Followed) -> bool:
    """Whether a row is the one that was asked for: a Buildbot that lost its database counts from 1 again.

    Its clock may differ from ours by any time; older journals do not tell by when it was there by Buildbot's own. What
    a person named is believed.
    """
    if row is None or number(row.get("buildsetid")) is None:
        return False
    handle, made = one.request.handle, at(row.get("submitted_at"))
    if "buildset" not in handle:
        return True
    by = at(handle.get("by")) or one.since
    return handle["buildset"] == row["buildsetid"] and (made is None or made <= by + CLOCKS)


def _is_news(row: Row, one: Followed) -> bool:
    """Whether the builds of a request are to be read: it has ended, or none is known, or it must be fresh."""
    is_begun = row.get("claimed") is True or row.get("complete") is True
    return is_begun and (one.fresh or row.get("complete") is True or not _is_known(one))


def _is_known(one: Followed) -> bool:
    """Whether the build of its one request was seen, and goes on."""
    build = one.build
    is_build = build is not None and not build.id.startswith(QUEUED) and not build.state.is_final
    return is_build and len(requests_of(one)) == 1


def _observed(one: Followed, requests: Sequence[Seen], read_: Sequence[int]) -> Observation:
    """What the requests of a target show; nothing of those that are as they were."""
    builds: list[Build] = []
    warnings = []
    for request in requests:
        if request.id in read_ or request.row.get("claimed") is not True:
            shown, warning = request.shown()
            builds += shown
            warnings += [] if warning is None else [warning]
    return Observation(tuple(builds), warning=warnings[0] if warnings else None)


def _is_restarted(one: Followed, requests: Sequence[Seen], own: Sequence[Row]) -> bool:
    """Whether the build that is followed cannot be the one that the request shows."""
    if one.build is None or not own or not all(each.is_complete for each in requests):
        return False
    known = {*(str(row["buildid"]) for row in own), *(f"{QUEUED}{request.id}" for request in requests)}
    return one.build.id not in known or one.build.state.is_final or one.build.url is None
