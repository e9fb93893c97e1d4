"""How many builds of a run may be queued or running, for an owner or a label, beside other people's in a queue."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from orchestrator.core.concurrency import Cap, Concurrency, Entry, QueueRule, quiet_until
from orchestrator.core.frozen import Struct, replace
from orchestrator.limits.rules import Rule, Terms, Wait, ours

if TYPE_CHECKING:
    from orchestrator.limits.admission import Admission

LAZIEST = 8.0  # intervals, at most, between two polls of a queue that cannot be read
GROWTH = 10  # readings in which the places of a loop grow from none to all


def check_concurrency(values: Concurrency, now: float) -> None:
    """Refuses what no manifest can have made, or what this machine cannot follow.

    Raises:
        ValueError: says what is wrong, such as a time zone that is not known here.
    """
    rule = values.queue
    if any(cap.most < 1 for cap in values.caps):
        raise ValueError("a number of builds in flight below one")
    if rule is not None and not (1 <= rule.resume <= rule.below and 0 <= rule.reserve < rule.below):
        raise ValueError(f"a queue below {rule.below} with resume {rule.resume} and reserve {rule.reserve}")
    if rule is not None and not rule.every >= 1.0:
        raise ValueError(f"a look at the queue every {rule.every:g} s")
    quiet_until(values.quiet, now)


class Others(Struct, frozen=True, omit_defaults=True):
    """Other people's builds in an owner's queue, the dead ones left out."""

    running: int = 0
    waiting: int = 0

    @property
    def builds(self) -> int:
        """All of them."""
        return self.running + self.waiting


def others_in(
    queue: Sequence[Entry], ours: Iterable[str], unseen: Iterable[str], now: float, dead_after: float
) -> Others:
    """What of a queue is neither ours nor dead.

    Args:
        ours: ids of the builds of this run that are known.
        unseen: for each request of this run whose build was not seen yet, its repository: one unknown build there is
            taken for it, since it appears in the queue before it is recognised.
        now: by the clock of the queue's entries.
    """
    known, expected = frozenset(ours), Counter(unseen)
    running = waiting = 0
    for entry in queue:
        if entry.id in known or (entry.since is not None and now - entry.since > dead_after):
            continue
        if expected[entry.repo] > 0:
            expected[entry.repo] -= 1
            continue
        waiting += entry.waits
        running += not entry.waits
    return Others(running, waiting)


class Loop(Struct, frozen=True, omit_defaults=True):
    """The closed loop on one owner's queue.

    A run's own builds are always counted exactly, as the journal has them; of the others only the last look tells.
    When people make the queue longer than allowed, the run halves what it may have there and holds still until the
    queue is short again; from then on its places grow back, a tenth of the whole with every look.

    Args:
        allowed: builds of this run that may be in the queue, however much room there is.
        others: as last seen; None while the queue cannot be read: then only what the run has there itself counts.
        is_held: people made the queue too long, and it is not short yet.
    """

    rule: QueueRule
    allowed: int
    others: Others | None = None
    is_held: bool = False

    @classmethod
    def of(cls, rule: QueueRule) -> Loop:
        """Before the first look."""
        return cls(rule, rule.below)

    @property
    def places(self) -> int:
        """How many builds of this run may be in the queue now."""
        if self.is_held:
            return 0
        return max(0, min(self.allowed, self.rule.below - self._kept))

    @property
    def _kept(self) -> int:
        """Places that are other people's."""
        if self.others is None:
            return self.rule.reserve
        if self.others.waiting:
            return self.others.builds + self.rule.reserve
        return max(self.others.builds, self.rule.reserve)

    def seen(self, others: Others, ours: int) -> Loop:
        """The loop after a look.

        Args:
            ours: builds of this run in the queue, those included that were asked for and have not appeared.
        """
        rule, length = self.rule, others.builds + ours
        if length > rule.below:
            return replace(self, others=others, is_held=True, allowed=max(1, min(self.allowed, ours) // 2))
        if self.is_held and length >= rule.resume:
            return replace(self, others=others)
        grown = min(rule.below, self.allowed + max(1, rule.below // GROWTH))
        return replace(self, others=others, is_held=False, allowed=grown)

    def blind(self) -> Loop:
        """The loop after a look that failed: what other people have there is not known."""
        return replace(self, others=None, is_held=False)

    @property
    def detail(self) -> str:
        """What holds the next trigger back, for people."""
        if self.others is None:
            return "it cannot be read, so that only builds of this run are counted"
        builds = f"{self.others.builds} builds of others in it"
        if self.is_held:
            return f"{builds}, until it falls below {self.rule.resume}"
        return f"{builds}, {self.others.waiting} of them waiting" if self.others.waiting else builds


class Room:
    """The builds of this run under an owner or a label, those asked for included, and how many there may be."""

    __slots__ = ("count", "most", "name")

    def __init__(self, cap: Cap) -> None:
        self.name = str(cap)
        self.most = cap.most
        self.count = 0

    def wait(self) -> Wait:
        """What a row under this rule waits for."""
        return Wait(math.inf, self.name, detail=f"{ours(self.count)} there")


class QueueRoom(Room):
    """The queue of one owner, as the last poll showed it.

    Attributes:
        row: any row whose build would stand in it.
        read_at: when it was last polled, whatever came of it; None before the first time.
        again_at: when the next poll makes sense; an interval later the last one is no longer believed.
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
        """Takes over what a poll showed."""
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

    Where queues are not polled, the places that are certainly ours are counted.

    Attributes:
        queues: by owner, as it is counted.
    """

    def __init__(self, terms: Terms, admission: Admission) -> None:
        self._rule = terms.account.concurrency
        self._polls = terms.polls_queues
        self._admission = admission
        self._rooms: dict[str, Room] = {}
        self.queues: dict[str, QueueRoom] = {}
        self._known: dict[tuple[str, tuple[str, ...]], tuple[Room, ...]] = {}
        self._due: list[tuple[float, str]] = []

    @classmethod
    def of(cls, terms: Terms, admission: Admission) -> BuildRoom | None:
        """The rule, where the account has caps or a rule for queues."""
        return cls(terms, admission) if terms.account.concurrency.caps or terms.account.concurrency.queue else None

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
                yield Wait(
                    math.inf,
                    room.name,
                    detail=f"{room.count} builds of this run are in it{unknown}",
                    is_certain=is_full,
                )
            elif room.count >= room.most:
                yield room.wait()

    def entered(self, row: int) -> None:
        for room in self.rooms_of(row):
            room.count += 1

    def left(self, row: int) -> None:
        for room in self.rooms_of(row):
            room.count -= 1
            self._admission.give_turn(room.name)

    def moved(self, row: int, now: float) -> None:
        for room in self.rooms_of(row):
            if self._admission.has_waiting(room.name) and (
                self._admission.is_closed(row) or not self._is_full(room, now)
            ):
                self._admission.give_turn(room.name)

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
        owner, labels = self._admission.owner_of(row), self._admission.labels_of(row)
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
        """When the next poll of a queue is due; infinity where no row waits for one."""
        return self._due[0][0] if self._due else math.inf

    def due(self, now: float) -> QueueRoom | None:
        """Takes out a queue that is to be polled now."""
        return self.queues[heappop(self._due)[1]] if self._due and self._due[0][0] <= now else None
