"""Polls many requests with few calls.

Three steps, from the cheapest to the dearest, each for what the one before did not show:

1. the newest builds that the token's user has caused, 100 a call over all repositories, with the ids of their
   requests: shows which builds new requests became, and everything where few builds are followed;
2. the builds of an owner that wait or run, all in one call: a build that is still among them goes on, any other has
   ended;
3. of those that have ended: a page of listing 1 where two or more of them stand, the request itself for the others;
   the request itself, too, where one has waited longer without a build than nearly all others (it may be rejected),
   or must be fresh.

So a build costs less than one call, when it ends, beside one or two for each round. Travis does not promise that
listing 1 shows API builds; without them a request without a build is polled by step 3 in its turn, and all goes on.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from orchestrator.core.calls import Call, Send
from orchestrator.core.errors import LookFailed, RateLimited
from orchestrator.core.model import Json
from orchestrator.providers.kit.answers import mapping, number, other_question, read, rows
from orchestrator.providers.kit.listings import Listing, Page
from orchestrator.providers.port import Followed, Observation
from orchestrator.providers.travis.declaration import CALLS
from orchestrator.providers.travis.observe import NOTHING, Owned, ids_of, of_builds, of_requests, repo_of, slug_of
from orchestrator.providers.travis.wire import (
    PAGE,
    check_place,
    error_type,
    listing,
    owner_path,
    read_failed,
    repo_path,
)

FEW, KNOWN = 10, 200  # requests that were dealt with: so many tell how long that takes, and the last ones count
SOMEWHAT = 0.5  # seconds; two polls of one age are seldom just as old
ASSUMED = 2.0  # seconds that it takes as long as that is not known
LATE = 0.9  # share of them that were dealt with sooner than one that is late
SINGLES = 100  # requests read one by one in a round, fresh ones apart; the others wait for the next
VAIN = 10  # of those without a build: so many that Travis has not dealt with, and the others wait, too
MOST_PAGES = 10  # of the newest in a round, to find new builds
REACH = 80  # places on a page, of its 100, within which builds are expected; the rest is for bad guesses
MISSES = 3  # pages in a row that showed none of those expected on them, before no more are tried

# Servers that do not know `representation=list` answer with whole builds: longer, and without their request.
_NEWEST = Call(
    "GET",
    "/builds",
    (("sort_by", "id:desc"), ("representation", "list"), ("skip_count", "true")),
    purpose="poll",
    limits=(CALLS,),
)
NEWEST: Listing[int] = listing(_NEWEST, "builds", MOST_PAGES)


class NewestPage:
    """A page of the newest builds that the token's user has caused, over all repositories.

    Attributes:
        ids: of its builds, newest first.
        is_last: whether nothing older follows.
        floor: every build from this id on stands on this page or before it.
    """

    def __init__(self, page: Page[int]) -> None:
        self.entries = page.entries
        self.ids = sorted((id_ for row in page.entries if (id_ := number(row.get("id")))), reverse=True)
        self.is_last = page.next is None or not self.ids
        self.floor = 0 if self.is_last else self.ids[-1]


class Ages:
    """How old requests are when Travis deals with them: until then they have no build and are not rejected."""

    def __init__(self) -> None:
        self._empty: dict[str, float] = {}  # by target id, when a poll last showed nothing of it
        self._known: deque[float] = deque(maxlen=KNOWN)  # the same of those that were dealt with

    def see(self, one: Followed, observation: Observation) -> None:
        """Takes note of what a poll showed of a request without a build."""
        if is_dealt_with(observation):
            self._known.append(self._empty.pop(one.target.id, 0.0))
        else:
            self._empty[one.target.id] = one.age

    @property
    def usual(self) -> float:
        """The age at which nearly all have been dealt with: somewhat above that at which they still had no build."""
        known = sorted(self._known)
        return known[math.ceil(LATE * len(known)) - 1] + SOMEWHAT if len(known) >= FEW else ASSUMED


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

    def read(self, offset: int, ids: Sequence[int]) -> None:
        """Takes note of a page of builds, newest first, and of what stood above it unseen."""
        self.see(ids)
        if ids:
            self._drift += offset - self.of(ids[0])

    def of(self, id_: int) -> int:
        """How many builds are newer."""
        return len(self._ids) - bisect_right(self._ids, id_) + self._drift


@dataclass(slots=True)
class Round:
    """One round of polls.

    Args:
        open: by target id, what no listing has shown yet.
        ages: takes note of what became builds.
        listed: whether the newest builds could be read.
    """

    open: dict[str, Followed]
    ages: Ages
    observations: dict[str, Observation] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    listed: bool = False

    def record(self, one: Followed, observation: Observation) -> None:
        """What was seen of one."""
        self.observations[one.target.id] = observation
        self.open.pop(one.target.id, None)
        if one.build is None:
            self.ages.see(one, observation)

    def with_build(self) -> list[Followed]:
        """The open ones with a known build."""
        return [one for one in self.open.values() if one.build is not None]

    def without_build(self) -> list[Followed]:
        """The open ones that wait for a build."""
        return [one for one in self.open.values() if one.build is None]

    def take(self, listing: Iterable[Mapping[str, Any]], url: str, by_marker: bool = False) -> int:
        """Takes what a listing of builds shows; returns of how many."""
        owned, found = Owned(self.open.values(), by_marker), dict[str, list[Mapping[str, Any]]]()
        for row in listing:
            if (one := owned.owner_of(row)) is not None:
                found.setdefault(one.target.id, []).append(row)
        for id_, builds in found.items():
            self.record(self.open[id_], of_builds(self.open[id_], builds, url))
        return len(found)


class Poll:
    """The polls of one account. It remembers only hints that save calls; no verdict rests on them."""

    def __init__(self, send: Send, url: str) -> None:
        self._send = send
        self._url = url
        self._ranks = Ranks()
        self._ages = Ages()
        self._sought: dict[str, int] = {}  # by target id: the newest build's id when its build was last searched
        self._floor = 0  # the oldest id on the first page of the last round
        self._misses = 0
        self._turns: dict[str, int] = {}  # by target id: polls that show nothing, after which its request is read again

    async def __call__(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """One round.

        Raises:
            LookFailed: nothing at all was learnt.
            AccessRefused: the token or the URL is no good.
            RateLimited: before anything was learnt.
        """
        alone = [one for one in followed if one.fresh or len(ids_of(one)) > 1]
        apart = {one.target.id for one in alone}
        round_ = Round({one.target.id: one for one in followed if one.target.id not in apart}, self._ages)
        try:
            await self._go(round_, alone)
        except RateLimited:
            if not round_.observations:
                raise
        if round_.failures and not round_.observations:
            raise LookFailed(round_.failures[0])
        return round_.observations

    async def _go(self, round_: Round, alone: list[Followed]) -> None:
        self._ranks.see(_build_id(one) for one in round_.with_build())
        for one in round_.with_build():
            self._sought.pop(one.target.id, None)
            self._turns.pop(one.target.id, None)
        late = round_.without_build()
        if len(round_.open) > 1:
            await self._poll_newest(round_)
            await self._poll_owners(round_)
            await self._poll_pages(round_)
            late = self._late(round_)
        ended = round_.with_build()[:SINGLES]
        for one in (*alone, *ended):
            await self._poll_request(round_, one)
        vain = 0
        for one in late[: SINGLES - len(ended)]:
            await self._poll_request(round_, one)
            vain += not is_dealt_with(round_.observations.get(one.target.id, NOTHING))
            if vain == VAIN:
                break
        if round_.listed:
            for one in round_.without_build():
                round_.record(one, NOTHING)

    def _late(self, round_: Round) -> list[Followed]:
        """The requests without a build that are to be read themselves: those first that were read least, or are old."""
        usual = self._ages.usual if round_.listed else -math.inf
        late = [one for one in round_.without_build() if one.age >= usual and one.polls >= self._turn(one)]
        return sorted(late, key=lambda one: (self._turn(one), -one.age))

    def _turn(self, one: Followed) -> int:
        return self._turns.get(one.target.id, 0)

    async def _poll_newest(self, round_: Round) -> None:
        """Step 1: the first page, and as many more as may hold a build that is waited for."""
        if not round_.without_build():
            known = round_.with_build()
            far = [one for one in known if _build_id(one) < self._floor]
            if len(_by_owner(far)) >= len(_by_owner(known)):
                return  # step 2 costs as much and shows more
        top, offset = 0, 0
        for _ in range(MOST_PAGES + 2 * len(round_.open) // PAGE):
            page = await self._page(round_, offset)
            if page is None:
                return
            matched = round_.take(page.entries, self._url, by_marker=True)
            if not round_.listed:
                self._floor, top, round_.listed = page.floor, max(*page.ids, 0, 0), True
            offset += len(page.entries)
            if not self._may_be_below(page, round_.without_build(), matched):
                break
        self._sought.update((one.target.id, top) for one in round_.without_build())

    def _may_be_below(self, page: NewestPage, waiting: Iterable[Followed], matched: int) -> bool:
        """Whether an older page may show a build that is waited for.

        A request that was searched before has, if any, a build newer than all that stood there then. Any other (just
        made, or of a resumed run) has a build that is older than those of newer requests.
        """
        shown = [id_ for row in page.entries if (id_ := number(mapping(row.get("request")).get("id")))]
        for one in waiting:
            sought = self._sought.get(one.target.id)
            if sought is not None and page.floor > sought:
                return True
            if sought is None and not page.is_last and (min(ids_of(one), default=0) < min(shown) if shown else matched):
                return True
        return False

    async def _poll_owners(self, round_: Round) -> None:
        """Step 2: leaves those open that have ended."""
        for (owner, vcs), theirs in _by_owner(round_.with_build()).items():
            if owner and len(theirs) > 1:
                await self._poll_owner(round_, f"{owner_path(owner, vcs)}/active", theirs)

    async def _poll_owner(self, round_: Round, path: str, theirs: list[Followed]) -> None:
        try:
            answer = await read(self._send, Call("GET", path, purpose="poll", limits=(CALLS,)))
            body = mapping(answer.body)
            if answer.status in (404, 405):  # not every server has it: step 3 reads the requests
                return
            if answer.status != 200 or body.get("@type") != "active" or not isinstance(body.get("builds"), list):
                raise read_failed(answer, path)
            check_place(answer, path)
        except LookFailed as error:
            round_.failures.append(error.cause)
            for one in theirs:
                round_.open.pop(one.target.id)  # not polled this time
            return
        round_.take(rows(body["builds"]), self._url)

    async def _poll_pages(self, round_: Round) -> None:
        """Step 3, first half: where two or more of those that have ended stand on one page of the newest."""
        ended = sorted(round_.with_build(), key=_build_id, reverse=True)
        while ended and self._misses < MISSES:
            highest = self._ranks.of(_build_id(ended[0]))
            here = list(takewhile(lambda one: self._ranks.of(_build_id(one)) < highest + REACH, ended))  # noqa: B023  # used at once
            if len(here) > 1:
                page = await self._page(round_, max(0, highest - (PAGE - REACH) // 2))
                if page is None:
                    return
                self._misses = 0 if round_.take(page.entries, self._url) else self._misses + 1
            ended = ended[len(here) :]

    async def _page(self, round_: Round, offset: int) -> NewestPage | None:
        try:
            page = NewestPage(await NEWEST.page_at(self._send, offset))
        except LookFailed as error:
            round_.failures.append(error.cause)
            return None
        self._ranks.read(offset, page.ids)
        return page

    async def _poll_request(self, round_: Round, one: Followed) -> None:
        """Step 3: the request itself, if it shows nothing again after twice as many polls."""
        self._turns[one.target.id] = max(2, 2 * one.polls)
        vcs = None if "repo" in one.request.handle else one.target.request.get("vcs")
        lead = f"{repo_path(repo_of(one), vcs)}/request"
        bodies = []
        try:
            for id_ in ids_of(one):
                path = f"{lead}/{id_}"
                answer = await read(self._send, Call("GET", path, purpose="poll", limits=(CALLS,)))
                if answer.status == 404 and error_type(answer) == "not_found":
                    continue
                bodies.append(mapping(answer.body))
                if answer.status != 200 or bodies[-1].get("@type") != "request":
                    raise read_failed(answer, path)
                if bodies[-1].get("id", id_) != id_:
                    raise LookFailed(f"{path}: {other_question(answer, 'it shows another request').cause}")
        except LookFailed as error:
            round_.failures.append(error.cause)
            round_.open.pop(one.target.id, None)
            return
        # A request that is not there (a person named it, or it went with its repository) is left to its clock.
        nothing = Observation(warning=f"Travis shows no request {one.request.id[:40]!r}, or not to this token")
        round_.record(one, of_requests(one, bodies, self._url) if bodies else nothing)


def is_dealt_with(observation: Observation) -> bool:
    """Whether Travis has made a build of a request, or rejected it."""
    return bool(observation.builds) or observation.refusal is not None


def _by_owner(followed: Iterable[Followed]) -> dict[tuple[str, Json], list[Followed]]:
    """By owner and the place where their repositories live; no owner where we know a number only."""
    owners: dict[tuple[str, Json], list[Followed]] = {}
    for one in followed:
        owner, slash, _ = slug_of(one).partition("/")
        owners.setdefault((owner.lower() if slash else "", one.target.request.get("vcs")), []).append(one)
    return owners


def _build_id(one: Followed) -> int:
    id_ = one.build.id if one.build is not None else ""
    return int(id_) if id_.isascii() and id_.isdigit() else 0
