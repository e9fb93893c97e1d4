"""The gate of an account: every call of a run leaves through here, within the limits, or not at all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from random import Random

import anyio

from orchestrator.core.errors import AccessRefused, InDoubt, Unreachable
from orchestrator.core.model import ACCOUNT, Learnt, period
from orchestrator.core.next_step import backoff
from orchestrator.engine.shared_limits import Commons
from orchestrator.limits.budget import Budget, Permit
from orchestrator.providers.port import Answer, Call, Line

LOST_FOR = 60.0  # seconds after a lost answer in which the provider may still handle, and count, the call
MOST_NEWS = 100  # changes of one rule that are journaled: a server that tells another with every answer fills no disk
SKEW_EVERY = 30.0  # seconds between two readings of the provider's clock


class Gate:
    """Sends calls of one account.

    Args:
        line: how the account is reached.
        budget: its limits.
        now: seconds; wall clock that never steps.
        reach: how long the account may be out of reach, in seconds, before it stops.
        alive: raises LeaseLost when this process may no longer act on the account.
    """

    def __init__(
        self,
        line: Line,
        budget: Budget,
        *,
        now: Callable[[], float],
        reach: float,
        random: Random,
        alive: Callable[[], Awaitable[None]],
        learnt: Callable[[Learnt, str], None],
    ) -> None:
        self.line = line
        self.budget = budget
        self.stopped: AccessRefused | None = None
        self.calls: Counter[str] = Counter()
        self._news: Counter[tuple[str, str]] = Counter()
        self.pause_until = 0.0
        self.posts_waiting = 0
        self.commons: Commons | None = None
        self._now = now
        self._reach = reach
        self._random = random
        self._alive = alive
        self._learnt = learnt
        self._failures = 0
        self._lost_since: float | None = None
        self._skew = 0.0
        self._skew_at = -math.inf
        self._turns: dict[tuple[tuple[str, ...], str | None], anyio.Lock] = {}
        self._lines: dict[tuple[str, ...], anyio.Lock] = {}
        self._room = anyio.Event()
        self._wants_room = False
        self._is_hushed = False
        self._fold = line.declaration.fold_case

    @property
    def is_reachable(self) -> bool:
        """Whether the last call that was tried left this machine."""
        return self._lost_since is None

    @property
    def skew(self) -> int | None:
        """Seconds by which the provider's clock is ahead of ours; None as long as no answer has told it."""
        return None if self._skew_at == -math.inf else round(self._skew)

    async def send(self, call: Call) -> Answer:
        """Sends a look, a cancel or the like once its permits are free; the errors of `provider.Send`."""
        permit = await self._permit(call)
        return await self.send_with(call, permit, settle=True)

    async def send_with(self, call: Call, permit: Permit, settle: bool = False) -> Answer:
        """Sends a call whose permit is held.

        Args:
            settle: settle the permit here; the caller of a trigger does so itself, since only it can tell whether
                the call was refused.
        """
        if self.stopped is not None:
            permit.give_back()
            raise self.stopped
        try:
            await self._alive()
        except BaseException:
            permit.give_back()
            raise
        self.calls[call.purpose] += 1
        try:
            answer = await self.line.send(call)
        except Unreachable as error:
            permit.give_back()
            self._lost(error)
            raise
        except InDoubt:
            if settle:
                permit.answered(self._now() + LOST_FOR)
            raise
        except BaseException:
            permit.answered(self._now() + LOST_FOR)
            raise
        finally:
            if self._wants_room:
                self._wants_room = False
                self._room.set()
        self._failures, self._lost_since = 0, None
        now = self._now()
        if settle:
            permit.answered(now)
        self._learn(call, answer, now, settle)
        return answer

    async def _permit(self, call: Call) -> Permit:
        """A permit for a call, in the order in which the calls came.

        What holds up its repository alone is waited for in a line of its own, so that no other call stands behind it;
        as long as nothing does, all repositories stand in one line.
        """
        repo, posts = self.scope_name(call.repo), call.method != "GET"
        self.posts_waiting += posts
        try:
            if (call.limits, repo) not in self._turns and not self._delay_alone(call, repo):
                async with self._line(call.limits):
                    if permit := await self._next(call, repo, posts):
                        return permit
            async with self._turn(call.limits, repo):
                while True:
                    while delay := self._delay_alone(call, repo):
                        await self._until(delay)
                    async with self._line(call.limits):
                        if permit := await self._next(call, repo, posts):
                            return permit
        finally:
            self.posts_waiting -= posts

    def _line(self, names: tuple[str, ...]) -> anyio.Lock:
        """The line of all calls that count against these limits."""
        line = self._lines.get(names)
        if line is None:
            line = self._lines[names] = anyio.Lock(fast_acquire=True)
        return line

    @asynccontextmanager
    async def _turn(self, names: tuple[str, ...], repo: str | None) -> AsyncIterator[None]:
        """One at a time, first come first served; a line in which nobody stands takes no memory."""
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

    async def _next(self, call: Call, repo: str | None, posts: bool) -> Permit | None:
        """The permit for the call whose turn it is; None where its repository alone is held up by now."""
        while not self._delay_alone(call, repo):
            if delay := self._delay(call, repo, posts):
                await self._until(delay)
                continue
            permit = self.budget.take(call.limits, repo)
            try:
                delay = await self._shared(call, repo, permit, posts)
            except BaseException:
                permit.give_back()
                raise
            if not delay:
                return permit
            permit.give_back()
            if not self._delay_alone(call, repo):
                await self._until(delay)
        return None

    async def _shared(self, call: Call, repo: str | None, permit: Permit, posts: bool) -> float:
        """Takes the permit for other processes to see; seconds to wait, where it must."""
        if self.commons is None:
            return 0.0
        delay, name = await self.commons.take(permit, call.limits, repo, look=not posts)
        limit = self.budget.limits.get(name)
        if delay and limit is not None and limit.scope != ACCOUNT:
            self.budget.freeze(self.budget.scope_of(limit, repo), self._now() + delay, str(limit))
        return delay

    def _delay_alone(self, call: Call, repo: str | None) -> float:
        """Seconds for which only calls for this repository, or for its owner, are to wait."""
        now = self._go_on()
        if repo is None:
            return 0.0
        whole, _ = self.budget.frozen(None, now)
        delay, _ = self.budget.wait_repo(call.limits, repo, now)
        return delay if delay > whole else 0.0

    def _delay(self, call: Call, repo: str | None, posts: bool) -> float:
        now = self._go_on()
        limited, _ = self.budget.wait(call.limits, repo, now, look=not posts)
        return max(limited, self.pause_until - now, 0.0)

    def _go_on(self) -> float:
        """Now, as long as calls may leave at all."""
        if self.stopped is not None:
            raise self.stopped
        if self._is_hushed:
            raise Unreachable("not sent: the run is being interrupted")
        return self._now()

    async def _until(self, delay: float) -> None:
        """Waits so long, or, where only an answer under way can make room, until there is one."""
        if self._room.is_set():
            self._room = anyio.Event()
        self._wants_room = self._wants_room or delay == math.inf
        with anyio.move_on_after(delay):
            await self._room.wait()

    def hush(self) -> None:
        """Whoever waits for a permit gives up: nothing that has not left yet leaves any more."""
        self._is_hushed = True
        self._room.set()

    def scope_name(self, repo: str | None) -> str | None:
        """The repository's name under which its limits are counted."""
        if repo is None or not self._fold or (folded := repo.lower()) == repo:
            return repo  # the very text, so that it is in memory once
        return folded

    def _lost(self, error: Unreachable) -> None:
        now = self._now()
        if self._lost_since is None:
            self._lost_since = now
        elif now - self._lost_since >= self._reach:
            waited = period(round(now - self._lost_since))
            raise AccessRefused(
                "unreachable", f"{self.line.account.url} was out of reach for {waited}: {error.cause}"
            ) from None
        self._failures += 1
        pause = min(backoff(self._failures, self._random), self._reach - (now - self._lost_since))
        self.pause_until = max(self.pause_until, now + max(pause, 0.0))

    def _learn(self, call: Call, answer: Answer, now: float, is_settled: bool) -> None:
        news = []
        for learnt in self.line.declaration.learn(call, answer) if self.budget.limits else ():
            under_way = 0 if is_settled else call.limits.count(learnt.name)
            if self.budget.learn(learnt, now, under_way):
                news.append(learnt)
        if self.budget.sought:
            repo, refused = self.scope_name(call.repo), self.line.declaration.is_refused(answer)
            news += self.budget.tried(call.limits, repo, refused, now)
        for learnt in news:
            self._news[learnt.scope, learnt.name] += 1
            if self._news[learnt.scope, learnt.name] <= MOST_NEWS:
                self._learnt(learnt, call.repo or "")
        is_due = now - self._skew_at >= SKEW_EVERY or call.purpose == "find"  # what a find tells rests on the clock
        if is_due and (date := answer.headers.get("date")):
            with suppress(ValueError, TypeError, OverflowError):  # a date that is no date says nothing
                self._skew, self._skew_at = parsedate_to_datetime(date).timestamp() - now, now
