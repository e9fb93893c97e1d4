"""The gate of an account: every call leaves through here, within the limits that all processes share, or not at all.

`Sender` makes one call once and notices what that tells; `Gate` gives out the permits. A run sends through them, and
so does everybody who calls without one: `gate_for` in `engine.opening`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from random import Random

import anyio

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, Crowded, NotTriggered, TooLate, Unreachable, Unreadable
from orchestrator.core.events import LimitLearnt
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Learnt, Scope
from orchestrator.core.next_step import DOUBTS_IN_A_ROW, WIDEST, backoff
from orchestrator.core.times import period
from orchestrator.engine.run import Clocks, Heartbeat
from orchestrator.engine.shared_limits import CONNECTIONS, TURN, SharedLimits
from orchestrator.limits.budget import Budget, Permit
from orchestrator.limits.headers import retry_after, server_time
from orchestrator.limits.rules import Traffic
from orchestrator.providers.port import Line

LOST_FOR = 60.0  # seconds after a lost answer in which the provider may still handle, and count, the call
MOST_LATE = 10  # times in a row that a lease is looked at again for one call, before that waits for its turn again
MOST_NEWS = 100  # changes of one rule that are journaled: a server that tells another with every answer fills no disk
ONE_MORE_AFTER = 100  # answers, after which one connection more is tried than this machine gave before
SKEW_EVERY = 30.0  # seconds between two readings of the provider's clock


def budget_of(line: Line) -> Budget:
    """The windows of an account's limits."""
    said = line.declaration
    return Budget(line.account.limits, said.accepted_limits, said.harmless_refusals, said.fold_case)


class Sender:
    """Makes calls of one account, each once, and notices what became of them.

    Args:
        reach: how long the account may be out of reach, in seconds, before it stops.
        heartbeat: the leases without which nothing may be sent; None where nothing that is sent changes anything.

    Attributes:
        anonymous: stands for the user that the provider counts, as long as only the token is known.
        stopped: why nothing more is sent.
        is_heard: whether an answer could ever be read, and `unreadable`, how many could not before the first.
        calls: those made, by purpose.
        news: limits that answers revealed and that are not journaled yet.
        room: set when an answer may have made room.
    """

    def __init__(
        self,
        line: Line,
        budget: Budget,
        traffic: Traffic,
        clocks: Clocks,
        random: Random,
        *,
        reach: float,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.line = line
        self.budget = budget
        self.traffic = traffic
        self.clocks = clocks
        self.random = random
        self.anonymous = f"{line.declaration.type}:{line.account.url}:{line.token_hash}"
        self.stopped: AccessRefused | None = None
        self.tries_one_more: Callable[[], object] = _nothing  # called when one connection more is tried
        self.is_draining = False
        self.login = ""  # as whom the provider knows us, once it was asked
        self.is_heard = False
        self.unreadable = 0
        self.calls: Counter[str] = Counter()
        self.news: list[LimitLearnt] = []
        self.room = anyio.Event()
        self.wants_room = False
        self._now = clocks.now
        self.reach = reach
        self._heartbeat = heartbeat
        self._revealed: Counter[tuple[str, str]] = Counter()
        self._under_way = 0
        self._answered = 0  # calls since this machine last refused or was last tried with one connection more
        self._failures = 0
        self._lost_since: float | None = None
        self._skew = 0.0
        self._skew_at = -math.inf

    @property
    def skew(self) -> int | None:
        """Seconds by which the provider's clock is ahead of ours; None before the first answer."""
        return None if self._skew_at == -math.inf else round(self._skew)

    def drain(self) -> None:
        """Wakes all who wait for a permit; what has not left yet fails with `Unreachable`."""
        self.is_draining = True
        self.room.set()

    async def send(self, call: Call, permit: Permit) -> Answer:
        """Makes the call for which the permit is held; the errors of `core.calls.Send`."""
        for _ in range(MOST_LATE - 1):
            with suppress(TooLate):
                return await self._send(call, permit)
        return await self._send(call, permit)

    async def _send(self, call: Call, permit: Permit) -> Answer:
        if self.stopped is not None:
            raise self.stopped
        if self._heartbeat is not None:
            if call.changes:
                call = replace(call, ready=self._heartbeat.hold)
            await self._heartbeat.check()
        permit.has_left = True
        self.calls[call.purpose] += 1
        began = self._now()
        beside, self._under_way = self._under_way, self._under_way + 1
        try:
            answer = await self.line.send(call)
        except TooLate:
            permit.has_left = False
            self.calls[call.purpose] -= 1
            raise
        except Unreachable as error:
            permit.has_left = False
            if not (isinstance(error, Crowded) and self._makes_do(beside)):
                self._lost(error, began)
            raise
        except Unreadable:
            self.unreadable += not self.is_heard
            raise
        finally:
            self._under_way -= 1
            if self.wants_room:
                self.wants_room = False
                self.room.set()
        self.is_heard = True
        if self.traffic.connections < self.line.account.connections:
            self._answered += 1
            if self._answered >= ONE_MORE_AFTER:
                self.traffic.connections, self._answered = self.traffic.connections + 1, 0
                self.tries_one_more()
        if self._lost_since is not None:
            self._failures, self._lost_since, self.traffic.is_reachable = 0, None, True
        self._notice(call, answer)
        return answer

    @property
    def connections(self) -> int:
        """Calls that may be under way: the account's, or as many as this machine gives."""
        return int(min(self.line.account.connections, self.traffic.connections))

    def _makes_do(self, beside: int) -> bool:
        """Whether it goes on with the connections that this machine gave, where it refused one more beside those."""
        self.traffic.connections, self._answered = max(1, min(self.connections, beside)), 0
        return beside > 0

    def silent_too_long(self, cause: str) -> AccessRefused | None:
        """The end of the account, where its last triggers were not answered for as long as it may be out of reach."""
        since = self.traffic.silent_since
        if since is None or self.traffic.doubts_in_a_row < DOUBTS_IN_A_ROW or self._now() - since < self.reach:
            return None
        waited = period(round(self._now() - since))
        return AccessRefused("unreachable", f"{self.line.account.url} answered no trigger for {waited}: {cause}")

    def _lost(self, error: Unreachable, began: float) -> None:
        now = self._now()
        if self._lost_since is None:
            self._lost_since, self.traffic.is_reachable = began, False
        if now - self._lost_since >= self.reach:
            waited = period(round(now - self._lost_since))
            raise AccessRefused(
                "unreachable", f"{self.line.account.url} was out of reach for {waited}: {error.cause}"
            ) from None
        self._failures += 1
        pause = min(backoff(self._failures, self.random), self.reach - (now - self._lost_since))
        self.traffic.pause_until = max(self.traffic.pause_until, now + max(pause, 0.0))

    def _notice(self, call: Call, answer: Answer) -> None:
        """What the answer tells of limits, and of the provider's clock."""
        now, declaration = self._now(), self.line.declaration
        if answer.status >= 500 and (wait := retry_after(answer.headers)):
            # no longer than the account may be out of reach: then it is asked once more, and told
            if call.purpose == "trigger":
                self.traffic.trigger_after = max(self.traffic.trigger_after, now + min(wait, self.reach))
            else:
                self.traffic.look_after = max(self.traffic.look_after, now + min(wait, self.reach, WIDEST))
        if self.budget.limits and (learnt := declaration.learn(call, answer)):
            self.learn(learnt, now, call.limits)
        if self.budget.sought:
            refused = declaration.is_refused(answer)
            self._reveal(self.budget.tried(call.limits, call.repo and self.budget.name(call.repo), refused, now))
        if now - self._skew_at >= SKEW_EVERY or call.purpose == "find":  # what a find tells rests on the clock
            theirs = server_time(answer.headers)
            if theirs is not None:
                self._skew, self._skew_at = theirs - now, now

    def learn(self, learnt: Iterable[Learnt], now: float, under_way: tuple[str, ...] = ()) -> None:
        """Takes over what an answer reveals of limits.

        Args:
            under_way: the limits that count the call that was answered as under way.
        """
        self._reveal(one for one in learnt if self.budget.learn(one, now, under_way.count(one.name)))

    def _reveal(self, learnt: Iterable[Learnt]) -> None:
        for one in learnt:
            self._revealed[one.scope, one.name] += 1
            if self._revealed[one.scope, one.name] <= MOST_NEWS:
                self.news.append(LimitLearnt(one.scope, self.budget.written(one)))


def _nothing() -> None:
    pass


class Gate:
    """Gives out permits, in the order in which calls came, and settles them.

    Args:
        shared: the limits as other processes draw on them; None before the provider's user is known.
    """

    def __init__(self, sender: Sender, shared: SharedLimits | None) -> None:
        self.sender = sender
        self.budget = sender.budget
        self.traffic = sender.traffic
        self._shared = shared
        self._now = sender.clocks.now
        self._turns: dict[tuple[tuple[str, ...], str | None], anyio.Lock] = {}
        self._lines: dict[tuple[str, ...], anyio.Lock] = {}

    async def send(self, call: Call) -> Answer:
        """Sends a poll, a cancel or the like once it has its permit; the errors of `core.calls.Send`."""
        permit = await self._permit(call)
        try:
            answer = await self.sender.send(call, permit)
        except BaseException as error:
            self.settle(permit, error)
            raise
        self.settle(permit)
        return answer

    def settle(
        self, permit: Permit, error: BaseException | None = None, *, late: float = LOST_FOR, refused: bool = False
    ) -> None:
        """Counts a call by what became of it. Each permit is settled here, once.

        Args:
            error: how it ended; None where it was answered.
            late: where the answer was lost, seconds from now for which the provider may still come to count it.
            refused: an answer that does not count where only accepted calls do.
        """
        if not permit.has_left:
            permit.give_back()
            at = None
        else:
            refused = refused or isinstance(error, NotTriggered)
            at = self._now() if error is None or refused else self._now() + late
            permit.answered(at, refused)
        if self._shared is not None:
            self._shared.settle(permit, at, refused)

    async def reserve(
        self, permit: Permit, names: tuple[str, ...], repo: str | None, *, trigger: bool = False, look: bool = False
    ) -> float:
        """Takes the permit for all processes to see.

        Returns:
            Seconds to wait where the state refuses, since other processes were first; what they used is known from
            then on, and the permit is to be settled.
        """
        if self._shared is None:
            return 0.0
        delay, name = await self._shared.take(permit, names, repo, trigger=trigger, look=look)
        if delay:
            self._heed_others(name, repo, self._now() + delay, trigger=trigger)
        return delay

    def _heed_others(self, name: str, repo: str | None, until: float, *, trigger: bool) -> None:
        limit = self.budget.limits.get(name)
        if limit is not None and limit.scope != ACCOUNT:
            self.budget.freeze(self.budget.scope_of(limit, repo), until, str(limit))
        elif not trigger:
            return  # only this call waits
        elif name == TURN and repo is not None:
            self.budget.freeze(Scope("repo", repo), until, "a trigger of another run is under way")
        elif name == CONNECTIONS:
            rule = f"connections {self.sender.line.account.connections}, shared with other processes"
            self.traffic.refused = (until, rule)
        else:
            self.traffic.refused = (until, str(limit))

    async def _permit(self, call: Call) -> Permit:
        """A permit for a call, in the order in which the calls came.

        What holds up its repository alone is waited for in a line of its own, so that no other call stands behind it;
        as long as nothing does, all repositories stand in one line.
        """
        repo = None if call.repo is None else self.budget.name(call.repo)
        writes = call.changes
        self.traffic.writes_waiting += writes
        try:
            if (call.limits, repo) not in self._turns and not self._delay_alone(call, repo):
                async with self._line(call.limits):
                    if permit := await self._next(call, repo, writes=writes):
                        return permit
            async with self._turn(call.limits, repo):
                while True:
                    while delay := self._delay_alone(call, repo):
                        await self._until(delay)
                    async with self._line(call.limits):
                        if permit := await self._next(call, repo, writes=writes):
                            return permit
        finally:
            self.traffic.writes_waiting -= writes

    def _line(self, names: tuple[str, ...]) -> anyio.Lock:
        """The line of all calls that count against these limits."""
        line = self._lines.get(names)
        if line is None:
            line = self._lines[names] = anyio.Lock(fast_acquire=True)
        return line

    @asynccontextmanager
    async def _turn(self, names: tuple[str, ...], repo: str | None) -> AsyncIterator[None]:
        """One at a time, first come first served; an empty line takes no memory."""
        key = names, repo
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = anyio.Lock(fast_acquire=True)
        try:
            async with turn:
                yield
        finally:
            if not turn.locked() and self._turns.get(key) is turn:
                del self._turns[key]

    async def _next(self, call: Call, repo: str | None, *, writes: bool) -> Permit | None:
        """The permit for the next call; None where its repository alone is held up in the meantime."""
        while not self._delay_alone(call, repo):
            if delay := self._delay(call, repo, writes=writes):
                await self._until(delay)
                continue
            permit = self.budget.take(call.limits, repo)
            try:
                delay = await self.reserve(permit, call.limits, repo, look=not writes)
            except BaseException as error:
                self.settle(permit, error)
                raise
            if not delay:
                return permit
            self.settle(permit)
            if not self._delay_alone(call, repo):
                await self._until(delay)
        return None

    def _delay_alone(self, call: Call, repo: str | None) -> float:
        """Seconds for which only calls for this repository, or for its owner, are to wait."""
        now = self._go_on()
        if repo is None:
            return 0.0
        whole, _ = self.budget.frozen(None, now)
        delay, _ = self.budget.wait_repo(call.limits, repo, now)
        return delay if delay > whole else 0.0

    def _delay(self, call: Call, repo: str | None, *, writes: bool) -> float:
        now = self._go_on()
        limited, _ = self.budget.wait(call.limits, repo, now, look=not writes)
        look_after = -math.inf if writes else self.traffic.look_after
        return max(limited, self.traffic.pause_until - now, look_after - now, 0.0)

    def _go_on(self) -> float:
        """Now, as long as calls may leave at all."""
        if self.sender.stopped is not None:
            raise self.sender.stopped
        if self.sender.is_draining:
            raise Unreachable("not sent: the run is being interrupted")
        return self._now()

    async def _until(self, delay: float) -> None:
        """Waits so long, or, where only an answer under way can make room, until there is one."""
        sender = self.sender
        if sender.room.is_set():
            sender.room = anyio.Event()
        sender.wants_room = sender.wants_room or delay == math.inf
        with anyio.move_on_after(delay):
            await sender.room.wait()
