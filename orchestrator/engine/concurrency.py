"""The brake on the CI at work: counts a run's builds by owner and label, looks at queues, holds rows back.

A row that must wait stands under the name of the one rule that holds it, and costs nothing there. Whenever a build
ends, or a look at a queue tells of room, one row is let go; when it is taken, or waits for something else by then, the
next one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any

from orchestrator.core.errors import AccessRefused, JournalError, LookFailed, NotTriggered
from orchestrator.engine.facts import Ledger
from orchestrator.limits.concurrency import Brake, Cap, Entry, Loop, Others, QueueRule, others_in
from orchestrator.limits.quiet_hours import quiet_until
from orchestrator.providers.port import MeasuresQueue, Provider, ShowsQueue
from orchestrator.report.words import clock

ASK_AGAIN = 900.0  # seconds after which the wall's clock is read again, where it is to tell that quiet hours end
LAZIEST = 8.0  # intervals, at most, between two looks at a queue that cannot be read


def _checked(ledger: Ledger) -> Brake:
    brake = ledger.line.account.brake
    try:
        brake.check(ledger.run.wall())
    except ValueError as error:
        raise JournalError(f"account {ledger.account}: this run's limits cannot be kept here: {error}") from None
    return brake


class Scope:
    """What one rule counts: builds of this run under an owner or a label, those asked for included."""

    __slots__ = ("count", "most", "name")

    def __init__(self, cap: Cap) -> None:
        self.name = str(cap)
        self.most = cap.most
        self.count = 0

    @property
    def why(self) -> str:
        """What the next row waits for, for people."""
        return self.name


class Queue(Scope):
    """The queue of one owner, as the last look showed it.

    Attributes:
        row: any row whose build would stand in it.
        read_at: when it was last looked at, whatever came of it; None before the first look.
        again_at: when the next look makes sense; an interval later what the last one told is no longer believed.
        is_asked: whether a look is wanted or under way.
    """

    __slots__ = ("again_at", "failures", "is_asked", "loop", "owner", "read_at", "row")

    def __init__(self, rule: QueueRule, owner: str, row: int) -> None:
        super().__init__(Cap(f"queue:{owner}", 0))
        self.name = f"queue of {owner}"
        self.owner = owner
        self.row = row
        self.loop = Loop.of(rule)
        self.read_at: float | None = None
        self.again_at = -math.inf
        self.is_asked = False
        self.failures = 0

    @property
    def why(self) -> str:
        """See `Scope.why`."""
        return (
            f"a look at the {self.name}"
            if self.read_at is None
            else f"{self.loop.rule} of {self.owner}: {self.loop.detail}"
        )

    def seen(self, others: Others, now: float) -> None:
        """Takes over what a look told."""
        self.loop, self.failures = self.loop.seen(others, self.count), 0
        self._looked(now, 1.0)

    def unread(self, now: float) -> None:
        """The look failed: only what this run has there counts until one succeeds."""
        self.loop, self.failures = self.loop.blind(), self.failures + 1
        self._looked(now, min(2.0**self.failures, LAZIEST))

    def _looked(self, now: float, intervals: float) -> None:
        self.read_at, self.again_at = now, now + intervals * self.loop.rule.every
        self.most, self.is_asked = self.loop.places, False


class InFlight(set[int]):
    """Rows whose build is queued or running, or may be, counted under each rule."""

    def __init__(self, scopes_of: Callable[[int], Iterable[Scope]], left: Callable[[Scope], None]) -> None:
        super().__init__()
        self._scopes_of = scopes_of
        self._left = left

    def add(self, row: int) -> None:
        """Counts the row, once."""
        if row not in self:
            super().add(row)
            for scope in self._scopes_of(row):
                scope.count += 1

    def discard(self, row: Any) -> None:
        """Counts the row no longer."""
        if row in self:
            super().discard(row)
            for scope in self._scopes_of(row):
                scope.count -= 1
                self._left(scope)


class Brakes:
    """Holds the rows of one account back.

    Args:
        looker: the provider, over the gate: looks at queues keep to the account's limits as other looks do.
    """

    def __init__(self, ledger: Ledger, looker: Provider) -> None:
        self._ledger = ledger
        self._looker = looker
        self._rule = _checked(ledger)
        self._scopes: dict[str, Scope] = {}
        self._queues: dict[str, Queue] = {}
        self._known: dict[tuple[str, tuple[str, ...]], tuple[Scope, ...]] = {}
        self._due: list[tuple[float, str]] = []
        self._held_by: Scope | None = None
        self._told_until = -math.inf
        self.has_scopes = bool(self._rule.caps or self._rule.queue)
        if self.has_scopes:
            ledger.rows.in_flight = InFlight(self._scopes_of, self._let_go)

    # -- quiet hours --------------------------------------------------------------------------------------------

    def quiet(self) -> tuple[float, str]:
        """Seconds until it makes sense to look at the clock again, and what is waited for; zero outside quiet hours."""
        if not self._rule.quiet or self._ledger.run.options.ignore_quiet:
            return 0.0, ""
        now = self._ledger.run.wall()
        until, quiet = quiet_until(self._rule.quiet, now)
        if quiet is None:
            return 0.0, ""
        if until > self._told_until:
            self._told_until = until
            self._ledger.run.observe("quiet.began", account=self._ledger.account, hours=str(quiet), until=clock(until))
        return min(until - now, ASK_AGAIN), f"quiet hours to end at {clock(until)} ({quiet})"

    # -- builds of this run, and the queues of owners -----------------------------------------------------------

    @property
    def why(self) -> str:
        """What the row waits for that was held last, for people; empty while none is held."""
        held_by = self._held_by
        return held_by.why if held_by is not None and self._has_rows(held_by) else ""

    def holds(self, row: int) -> bool:
        """Whether a rule holds the row, just taken out, back; it then stands under that rule."""
        for scope in self._scopes_of(row):
            if self._is_full(scope):
                self._hold(row, scope)
                return True
        return False

    def go_on(self, row: int) -> None:
        """The row, taken out before, has found its place: whoever waits under the same rules has a turn, given room."""
        for scope in self._scopes_of(row):
            if self._has_rows(scope) and (self._ledger.is_shelved(row) or not self._is_full(scope)):
                self._ledger.rows.give_turn(scope.name)

    def _hold(self, row: int, scope: Scope) -> None:
        self._held_by = scope
        self._ledger.rows.hold(row, scope.name)
        self._ledger.rows.pass_over(row)

    def _let_go(self, scope: Scope) -> None:
        if self._has_rows(scope) and not self._is_full(scope):
            self._ledger.rows.give_turn(scope.name)

    def _has_rows(self, scope: Scope) -> bool:
        return scope.name in self._ledger.rows.blocked

    def _is_full(self, scope: Scope) -> bool:
        """Whether a row under the rule must wait; ask only for a row that is there, since it may cost a look."""
        if not isinstance(scope, Queue):
            return scope.count >= scope.most
        now = self._ledger.now()
        is_unknown = scope.read_at is None or now > scope.again_at + scope.loop.rule.every
        is_full = is_unknown or scope.count >= scope.most
        if is_full or now >= scope.again_at:
            self._want(scope)
        return is_full

    def _scopes_of(self, row: int) -> tuple[Scope, ...]:
        target = self._ledger.target(row)
        owner = self._ledger.gate.scope_name(target.owner) or ""
        found = self._known.get((owner, target.labels))
        if found is None:
            scopes = [self._scope(cap) for cap in self._rule.caps_of(owner, target.labels)]
            found = tuple(scopes) if self._rule.queue is None else (*scopes, self._queue(self._rule.queue, owner, row))
            self._known[owner, target.labels] = found
        return found

    def _scope(self, cap: Cap) -> Scope:
        return self._scopes.setdefault(cap.scope, Scope(cap))

    def _queue(self, rule: QueueRule, owner: str, row: int) -> Queue:
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = Queue(rule, owner, row)
        return queue

    # -- looks at queues ----------------------------------------------------------------------------------------

    def _want(self, queue: Queue) -> None:
        if not queue.is_asked:
            queue.is_asked = True
            heappush(self._due, (max(self._ledger.now(), queue.again_at), queue.owner))

    @property
    def next_at(self) -> float | None:
        """When the next look at a queue is due; None when nobody waits for one."""
        return self._due[0][0] if self._due and not self._ledger.run.is_closed else None

    def due(self, now: float) -> str | None:
        """Takes out the owner of a queue that is to be looked at now."""
        at = self.next_at
        return heappop(self._due)[1] if at is not None and at <= now else None

    async def look(self, owner: str) -> None:
        """One look at an owner's queue."""
        queue, ledger = self._queues[owner], self._ledger
        try:
            others = await self._others(queue)
        except AccessRefused:
            queue.unread(ledger.now())
            raise
        except (LookFailed, NotTriggered) as error:
            if not queue.failures and not ledger.is_halted:
                ledger.run.observe("queue.unread", account=ledger.account, owner=owner, cause=str(error))
            queue.unread(ledger.now())
        else:
            queue.seen(others, ledger.now())
            ledger.run.observe(
                "queue.seen",
                owner=owner,
                others=others.builds,
                waiting=others.waiting,
                ours=queue.count,
                may=queue.most,
            )
        finally:
            if self._has_rows(queue):
                ledger.rows.give_turn(queue.name)  # to see whether there is room, and to be held again where not

    async def _others(self, queue: Queue) -> Others:
        """Other people's builds in the queue.

        Raises:
            LookFailed: it cannot be told.
        """
        ledger, looker, rule = self._ledger, self._looker, queue.loop.rule
        if isinstance(looker, ShowsQueue):
            before, _ = self._ours(queue)  # one that ends while the answer is on its way is ours too
            entries = self._folded(await looker.queue(ledger.target(queue.row)))
            ours, unseen = self._ours(queue)
            theirs = ledger.now() + (ledger.gate.skew or 0)
            return others_in(entries, [*before, *ours], unseen, theirs, rule.dead_after)
        if isinstance(looker, MeasuresQueue):
            return Others(running=max(0, await looker.queue_depth(queue.owner) - queue.count))
        raise LookFailed(f"{ledger.line.declaration.title} does not show its queue")

    def _folded(self, entries: Iterable[Entry]) -> list[Entry]:
        name = self._ledger.gate.scope_name
        return [Entry(entry.id, name(entry.repo) or "", entry.waits, entry.since) for entry in entries]

    def _ours(self, queue: Queue) -> tuple[list[str], list[str]]:
        """The builds of this run in the queue by id, and the repositories of requests without a build so far."""
        ledger = self._ledger
        ours: list[str] = []
        unseen: list[str] = []
        for row in ledger.rows.in_flight:
            if queue in self._scopes_of(row):
                builds = ledger.progress(row).builds
                ours += [build.id for build in builds]
                unseen += [] if builds else [ledger.repo_of(row)]
        return ours, unseen
