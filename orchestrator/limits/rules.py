"""The rules for which a trigger may have to wait, each written once. A new one is a class, named in `RULES`.

A rule only ever answers with a `Wait`. The admission asks all of them in order; the engine sleeps on the answer, the
forecast advances its clock by it, and `why`, the reports and the live view print it. Time is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sized
from heapq import heappop, heappush
from typing import Protocol

from orchestrator.core.concurrency import Cap, QueueRule
from orchestrator.core.events import Options
from orchestrator.core.frozen import Struct
from orchestrator.core.model import ACCOUNT, Account
from orchestrator.core.next_step import DOUBTS_IN_A_ROW
from orchestrator.core.times import clock
from orchestrator.limits.budget import Budget
from orchestrator.limits.concurrency import Loop, Others
from orchestrator.limits.quiet_hours import quiet_until

ROOM_AGAIN = 0.25  # seconds after which a target asks again whether an answer has made room in its owner's limit
LAZIEST = 8.0  # intervals, at most, between two polls of a queue that cannot be read


class Wait(Struct, frozen=True):
    """Why nothing, or not this target, may be triggered now, and until when.

    Args:
        until: when it makes sense to ask again (the admission's clock); infinity: once a call is answered or a build
            ends.
        rule: its short name, the same for all that it binds: `triggers 40/30s`, `in_flight 20`; empty: none binds.
        place: the repository that it holds back; empty where it holds the whole account, or its name tells whom.
        detail: more for a person.
        ends: the wall clock at which the rule itself lets go, where it goes by that.
        is_certain: False where only the process at work can tell whether it holds.
    """

    until: float
    rule: str
    place: str = ""
    detail: str = ""
    ends: float | None = None
    is_certain: bool = True

    def __str__(self) -> str:
        rule = f"{self.place}: {self.rule}" if self.place else self.rule
        return f"{rule}: {self.detail}" if self.detail else rule


NOTHING = Wait(math.inf, "")


class Terms(Struct, frozen=True):
    """What the rules of an account are made of.

    Args:
        costs: the names of the limits that a trigger counts against.
        wall: the wall clock at an instant of the admission's clock.
        options: what the run was made with, and what the process that drives it was given.
        polls_queues: whether somebody asks the provider how long queues are.
    """

    account: Account
    budget: Budget
    costs: tuple[str, ...]
    wall: Callable[[float], float]
    options: Options = Options()
    polls_queues: bool = False


class Traffic:
    """How calls of the account fare at the moment; whoever sends them keeps it up to date.

    Attributes:
        under_way: triggers that may have left and have no answer yet.
        doubts_in_a_row: how many of the last ones lost their answer.
        is_reachable: whether the last call that was tried left this machine.
        pause_until: until when nothing is sent, since the provider was out of reach.
        writes_waiting: calls that change something and wait for their permit; they go before triggers.
        refused: until when the state refuses triggers of the account, since other processes used a limit up, and which.
    """

    __slots__ = ("doubts_in_a_row", "is_reachable", "pause_until", "refused", "under_way", "writes_waiting")

    def __init__(self) -> None:
        self.under_way = self.doubts_in_a_row = self.writes_waiting = 0
        self.is_reachable = True
        self.pause_until = -math.inf
        self.refused = (-math.inf, "")


class Index(Protocol):
    """What rules know of the targets of an account."""

    traffic: Traffic

    @property
    def in_flight(self) -> Sized:
        """The rows whose build is queued or running, or may be."""
        ...

    def repo_of(self, row: int) -> str:
        """The row's repository, as limits count it."""
        ...

    def owner_of(self, row: int) -> str:
        """The row's owner, as limits count it."""
        ...

    def labels_of(self, row: int) -> tuple[str, ...]:
        """The row's labels."""
        ...

    def is_closed(self, row: int) -> bool:
        """Whether the row is not triggered any more, since its owner was refused."""
        ...

    def has_waiting(self, rule: str) -> bool:
        """Whether a row waits under the rule."""
        ...

    def give_turn(self, rule: str) -> None:
        """The first row that waits under the rule is asked about again."""
        ...


class Rule:
    """One reason to wait. A rule overrides what it needs; what it does not override costs nothing."""

    def account(self, now: float) -> Wait | None:
        """Why nothing of the account may be triggered now."""

    def target(self, row: int, now: float) -> Wait | None:
        """Why this row may not be triggered now.

        A wait with a place is over at its `until`; one without a place ends when the rule gives the turn itself.
        """

    def explain(self, row: int, now: float) -> Iterator[Wait]:
        """Everything that this rule has against the row now, for people."""
        found = (self.account(now), self.target(row, now))
        yield from (wait for wait in found if wait is not None)

    def taken(self, row: int, now: float) -> None:
        """The row's trigger leaves."""

    def moved(self, row: int, now: float) -> None:
        """The row, whose turn it was, has left or waits for something else: who stands behind it may have a turn."""

    def entered(self, row: int) -> None:
        """From now on the row's build may be queued or running."""

    def left(self, row: int) -> None:
        """The row's build is neither queued nor running any more."""


Make = Callable[[Terms, Index], Rule | None]


class Calls(Rule):
    """Triggers stand back while calls fare badly, and never take more connections than there are."""

    def __init__(self, terms: Terms, index: Index) -> None:
        self._traffic = index.traffic
        self._connections = terms.account.connections
        self._url = terms.account.url

    def account(self, now: float) -> Wait | None:
        traffic = self._traffic
        if traffic.under_way >= self._connections:
            return Wait(math.inf, f"connections {self._connections}")
        if traffic.writes_waiting:
            return Wait(math.inf, "a call that changes something goes first")
        if traffic.under_way and (traffic.doubts_in_a_row >= DOUBTS_IN_A_ROW or not traffic.is_reachable):
            return Wait(math.inf, "an answer: one trigger at a time until there is one")
        if traffic.pause_until > now:
            return Wait(traffic.pause_until, f"{self._url} to be in reach")
        if traffic.refused[0] > now:
            return Wait(*traffic.refused)
        return None


class QuietHours(Rule):
    """Hours in which no trigger is sent, by the wall clock as it is now."""

    def __init__(self, terms: Terms) -> None:
        self._hours = terms.account.concurrency.quiet
        self._wall = terms.wall
        self._loud = -1.0  # a minute outside quiet hours, which begin at whole ones

    @classmethod
    def of(cls, terms: Terms, index: Index) -> QuietHours | None:
        """The rule, where there are quiet hours."""
        return cls(terms) if terms.account.concurrency.quiet and not terms.options.ignore_quiet_hours else None

    def account(self, now: float) -> Wait | None:
        wall = self._wall(now)
        if wall // 60.0 == self._loud:
            return None
        until, quiet = quiet_until(self._hours, wall)
        if quiet is None:
            self._loud = wall // 60.0
            return None
        return Wait(now + until - wall, f"quiet hours {quiet}", detail=f"no trigger before {clock(until)}", ends=until)

    def explain(self, row: int, now: float) -> Iterator[Wait]:
        try:
            yield from super().explain(row, now)
        except ValueError as error:  # the run was made on a machine that knows more time zones
            yield Wait(math.inf, "quiet hours", detail=str(error), is_certain=False)


class InFlight(Rule):
    """At most so many builds of the account queued or running, over all owners."""

    def __init__(self, most: int, index: Index) -> None:
        self._most = most
        self._index = index

    @classmethod
    def of(cls, terms: Terms, index: Index) -> InFlight | None:
        """The rule, where the account or `-j` says a number: the smaller one holds."""
        most = min((n for n in (terms.account.in_flight, terms.options.in_flight) if n is not None), default=None)
        return None if most is None else cls(most, index)

    def account(self, now: float) -> Wait | None:
        count = len(self._index.in_flight)
        if count < self._most:
            return None
        return Wait(math.inf, f"in_flight {self._most}", detail=_ours(count))


class RateLimits(Rule):
    """So many triggers in a period, for the account, an owner or a repository; and scopes that are left alone."""

    def __init__(self, terms: Terms, index: Index) -> None:
        self._budget = terms.budget
        self._costs = terms.costs
        self._index = index

    def account(self, now: float) -> Wait | None:
        delay, rule = self._budget.wait_account(self._costs, now)
        return Wait(now + delay, rule) if delay > 0.0 else None

    def target(self, row: int, now: float) -> Wait | None:
        repo = self._index.repo_of(row)
        delay, rule = self._budget.wait_repo(self._costs, repo, now)
        if delay <= 0.0:
            return None
        # an owner's limit may wait for the answer to a call for another repository, which wakes nobody here
        return Wait(now + (ROOM_AGAIN if delay == math.inf else delay), rule, repo)

    def explain(self, row: int, now: float) -> Iterator[Wait]:
        repo, owner = self._index.repo_of(row), self._index.owner_of(row)
        delay, cause = self._budget.frozen(repo, now)
        if delay > 0.0:
            yield Wait(now + delay, cause, repo)
        for limit, wait in self._budget.waits(self._costs, repo, now):
            place = "" if limit.scope == ACCOUNT else owner if limit.scope == "owner" else repo
            yield Wait(now + wait, str(limit), place)


class Room:
    """The builds of this run under an owner or a label, those asked for included, and how many there may be."""

    __slots__ = ("count", "most", "name")

    def __init__(self, cap: Cap) -> None:
        self.name = str(cap)
        self.most = cap.most
        self.count = 0

    def wait(self) -> Wait:
        """What a row under this rule waits for."""
        return Wait(math.inf, self.name, detail=f"{_ours(self.count)} there")


class QueueRoom(Room):
    """The queue of one owner, as the last poll showed it.

    Attributes:
        row: any row whose build would stand in it.
        read_at: when it was last polled, whatever came of it; None before the first time.
        again_at: when the next poll makes sense; an interval later what the last one told is no longer believed.
        is_wanted: whether a poll is wanted or under way.
    """

    __slots__ = ("again_at", "failures", "is_wanted", "loop", "owner", "read_at", "row")

    def __init__(self, rule: QueueRule, owner: str, row: int) -> None:
        super().__init__(Cap(f"queue:{owner}", 0))
        self.name = f"{rule} of {owner}"
        self.owner = owner
        self.row = row
        self.loop = Loop.of(rule)
        self.most = self.loop.places
        self.read_at: float | None = None
        self.again_at = -math.inf
        self.is_wanted = False
        self.failures = 0

    def wait(self) -> Wait:
        """What a row under this rule waits for."""
        detail = "it is being read" if self.read_at is None else self.loop.detail
        return Wait(math.inf, self.name, detail=detail)

    def seen(self, others: Others, now: float) -> None:
        """Takes over what a poll told."""
        self.loop, self.failures = self.loop.seen(others, self.count), 0
        self._polled(now, 1.0)

    def unread(self, now: float) -> None:
        """The poll failed: only what this run has there counts until one succeeds."""
        self.loop, self.failures = self.loop.blind(), self.failures + 1
        self._polled(now, min(2.0**self.failures, LAZIEST))

    def _polled(self, now: float, intervals: float) -> None:
        self.read_at, self.again_at = now, now + intervals * self.loop.rule.every
        self.most, self.is_wanted = self.loop.places, False


class BuildRoom(Rule):
    """So many builds of this run for each owner or label, and a closed loop on the owner's whole queue.

    Where nobody polls queues, the places that are certainly ours are counted.

    Attributes:
        queues: by owner, as it is counted.
    """

    def __init__(self, terms: Terms, index: Index) -> None:
        self._rule = terms.account.concurrency
        self._polls = terms.polls_queues
        self._index = index
        self._rooms: dict[str, Room] = {}
        self.queues: dict[str, QueueRoom] = {}
        self._known: dict[tuple[str, tuple[str, ...]], tuple[Room, ...]] = {}
        self._due: list[tuple[float, str]] = []

    @classmethod
    def of(cls, terms: Terms, index: Index) -> BuildRoom | None:
        """The rule, where the account has caps or a rule for queues."""
        return cls(terms, index) if terms.account.concurrency.caps or terms.account.concurrency.queue else None

    def target(self, row: int, now: float) -> Wait | None:
        for room in self.rooms_of(row):
            if self._is_full(room, now):
                return room.wait()
        return None

    def explain(self, row: int, now: float) -> Iterator[Wait]:
        for room in self.rooms_of(row):
            if isinstance(room, QueueRoom):
                is_full = room.count >= room.most
                unknown = "" if is_full else "; how many are other people's, the process at work tells (live view, -v)"
                yield Wait(math.inf, room.name, detail=f"{_builds(room.count)} are in it{unknown}", is_certain=is_full)
            elif room.count >= room.most:
                yield room.wait()

    def entered(self, row: int) -> None:
        for room in self.rooms_of(row):
            room.count += 1

    def left(self, row: int) -> None:
        for room in self.rooms_of(row):
            room.count -= 1
            self._index.give_turn(room.name)

    def moved(self, row: int, now: float) -> None:
        for room in self.rooms_of(row):
            if self._index.has_waiting(room.name) and (self._index.is_closed(row) or not self._is_full(room, now)):
                self._index.give_turn(room.name)

    def _is_full(self, room: Room, now: float) -> bool:
        """Whether a row under the rule must wait; ask only for a row that is there, since it may cost a poll."""
        if not isinstance(room, QueueRoom) or not self._polls:
            return room.count >= room.most
        is_unknown = room.read_at is None or now > room.again_at + room.loop.rule.every
        is_full = is_unknown or room.count >= room.most
        if not room.is_wanted and (is_full or now >= room.again_at):
            room.is_wanted = True
            heappush(self._due, (max(now, room.again_at), room.owner))
        return is_full

    def rooms_of(self, row: int) -> tuple[Room, ...]:
        """All under which the row falls."""
        owner, labels = self._index.owner_of(row), self._index.labels_of(row)
        found = self._known.get((owner, labels))
        if found is None:
            rooms = [self._rooms.setdefault(cap.scope, Room(cap)) for cap in self._rule.caps_of(owner, labels)]
            if self._rule.queue is not None:
                rooms.append(self.queues.setdefault(owner, QueueRoom(self._rule.queue, owner, row)))
            found = self._known[owner, labels] = tuple(rooms)
        return found

    # -- polls of queues ----------------------------------------------------------------------------------------

    @property
    def next_at(self) -> float:
        """When the next poll of a queue is due; infinity where nobody waits for one."""
        return self._due[0][0] if self._due else math.inf

    def due(self, now: float) -> QueueRoom | None:
        """Takes out a queue that is to be polled now."""
        return self.queues[heappop(self._due)[1]] if self._due and self._due[0][0] <= now else None


RULES: list[Make] = [Calls, QuietHours.of, InFlight.of, BuildRoom.of, RateLimits]
"""All of them, in the order in which they are asked."""


def _builds(count: int) -> str:
    return f"{count} builds of this run"


def _ours(count: int) -> str:
    return f"{_builds(count)} are queued or running"
