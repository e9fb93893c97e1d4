"""Triggers the rows of one account: which one now, within which limits, and what came of each call."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from heapq import heappop

from orchestrator.core.errors import AccessRefused, InDoubt, NotTriggered, RateLimited, Rejected, Unreachable
from orchestrator.core.events import Doubted, Intended, Refused, Requested, Withdrawn
from orchestrator.core.model import ACCOUNT, Build, BuildState, Request, Scope, Target, Trigger
from orchestrator.core.next_step import DOUBTS_IN_A_ROW
from orchestrator.engine.concurrency import Brakes
from orchestrator.engine.facts import Ledger
from orchestrator.engine.shared_limits import CONNECTIONS
from orchestrator.limits.budget import Permit
from orchestrator.providers.port import Answer, Call, Provider, Restarts

# Seconds to leave a scope alone where a refusal does not say how long. A repo's hourly limit names no time of reset:
# ten minutes, then ask once.
REPO_PATIENCE, ACCOUNT_PATIENCE = 600.0, 60.0
ROOM_AGAIN = 0.25  # seconds after which a row looks again whether an answer has made room in its owner's limit
LOOK_AGAIN_AFTER = 10.0  # seconds for which the absence of an earlier request is believed without another look


class Worker:
    """One trigger at a time: a provider of its own, whose one call goes out on the permit that is held."""

    def __init__(self, ledger: Ledger) -> None:
        self._gate = ledger.gate
        self.provider: Provider = ledger.line.provider_over(self._send)
        self.permit = Permit(())

    async def _send(self, call: Call) -> Answer:
        return await self._gate.send_with(call, self.permit)


class Triggers:
    """Takes rows in their order and triggers them.

    Args:
        may_be_triggered: looks once more for an earlier request of a row, and puts the row away unless there is none.

    Attributes:
        wait: until when no row can be triggered because of a limit (the engine's clock), and which; None otherwise.
        waiting_for: what the next row waits for, for people.
    """

    def __init__(self, ledger: Ledger, brakes: Brakes, may_be_triggered: Callable[[int], Awaitable[bool]]) -> None:
        self.ledger = ledger
        self._brakes = brakes
        self._look_again = may_be_triggered
        self.wait: tuple[float, str] | None = None
        self.waiting_for = ""
        self.crowded = (0.0, "")  # until when other processes have used a limit up, and which
        self.under_way = 0
        self.doubts_in_a_row = 0

    def take(self) -> tuple[int, Permit] | None:
        """The next row that may be triggered now, with its permit."""
        self.wait, self.waiting_for = None, self._brakes.why
        ledger, gate = self.ledger, self.ledger.gate
        if not ledger.rows.ready or ledger.run.is_closed or ledger.is_halted or gate.posts_waiting:
            return None
        if self.under_way and (self.doubts_in_a_row >= DOUBTS_IN_A_ROW or not gate.is_reachable):
            self.waiting_for = "an answer: one trigger at a time until there is one"
            return None
        quiet, why = self._brakes.quiet()
        if quiet:
            self.wait, self.waiting_for = (ledger.now() + quiet, why), why
            return None
        in_flight = self._in_flight
        if in_flight is not None and len(ledger.rows.in_flight) >= in_flight:
            self.waiting_for = f"in_flight {in_flight}"
            return None
        now = ledger.now()
        delay, why = ledger.budget.wait_account(ledger.trigger_limits, now)
        if self.crowded[0] - now > delay:
            delay, why = self.crowded[0] - now, self.crowded[1]
        if gate.pause_until - now > delay:
            delay, why = gate.pause_until - now, f"{ledger.line.account.url} to be in reach"
        if delay > 0.0:
            self.wait, self.waiting_for = (now + delay, why), why
            return None
        return self._take_row(now)

    @property
    def _in_flight(self) -> int | None:
        said = [n for n in (self.ledger.line.account.in_flight, self.ledger.run.options.in_flight) if n is not None]
        return min(said, default=None)

    def _take_row(self, now: float) -> tuple[int, Permit] | None:
        while self.ledger.rows.ready:
            row = heappop(self.ledger.rows.ready)
            permit = self._permit(row, now)
            if self._brakes.has_scopes:
                self._brakes.go_on(row)
            if permit is not None:
                return row, permit
        return None

    def _permit(self, row: int, now: float) -> Permit | None:
        """A permit for the row, just taken out; else the row is put where it waits."""
        ledger, rows = self.ledger, self.ledger.rows
        repo = ledger.repo_of(row)
        if ledger.is_shelved(row) or row in rows.in_flight or not ledger.may_be_triggered(row):
            rows.pass_over(row)
            return None
        if repo in rows.busy:
            rows.block(row)
            return None
        if self._brakes.has_scopes and self._brakes.holds(row):
            self.waiting_for = self._brakes.why
            return None
        delay, why = ledger.budget.wait_repo(ledger.trigger_limits, repo, now)
        if delay > 0.0:
            # an owner's limit may wait for the answer to a call for another repository, which wakes nobody here
            rows.block(row, now + (ROOM_AGAIN if delay == math.inf else delay))
            self.waiting_for = why
            return None
        rows.occupy(row)
        return ledger.budget.take(ledger.trigger_limits, repo)

    async def work(self, taken: tuple[int, Permit]) -> None:
        """Triggers this row and then, while there are any, the next ones."""
        worker = Worker(self.ledger)
        following: tuple[int, Permit] | None = taken
        try:
            while following is not None:
                worker.permit = following[1]
                await self._trigger(following[0], worker)
                following = self.take()
            await self.ledger.flush()
        finally:
            self.under_way -= 1

    async def _trigger(self, row: int, worker: Worker) -> None:
        ledger, permit = self.ledger, worker.permit
        target, attempt = ledger.target(row), ledger.progress(row).attempts + 1
        marker = None if target.id in ledger.run.restarts else ledger.marker(target)
        if not await self._nothing_earlier(row):
            permit.give_back()
            ledger.rows.in_flight.discard(row)
            ledger.rows.free(row)
            return
        if await self._is_crowded(row, permit):
            return
        if self._brakes.quiet()[0]:  # it has become quiet while an earlier request was looked for
            permit.give_back()
            ledger.rows.put_back(row)
            return
        try:
            await ledger.append(Intended(target.id, attempt, marker, ledger.gate.skew))
        except BaseException:
            permit.give_back()
            raise
        left, skew = ledger.now(), ledger.gate.skew
        try:
            request = await self._ask(Trigger(target, attempt, marker, ledger.run.name), worker)
        except InDoubt as error:
            # the provider may handle it, and count it, as late as that; a server that stalls does so in a burst
            permit.answered(ledger.now() + target.timeouts.settle)
            self.doubts_in_a_row += 1
            ledger.run.observe("trigger.in_doubt", target=target.id, cause=error.cause)
            await ledger.record(row, Doubted(target.id, attempt, error.cause, left, ledger.now(), skew))
        except Unreachable as error:
            permit.give_back()
            ledger.run.observe("trigger.unreachable", target=target.id, cause=error.cause)
            await ledger.record(row, Withdrawn(target.id, attempt, "unreachable"))
        except NotTriggered as error:
            permit.answered(ledger.now(), refused=True)
            self.doubts_in_a_row = 0
            await self._not_triggered(row, target, attempt, error)
        except BaseException:
            permit.answered(ledger.now() + target.timeouts.settle)
            raise
        else:
            self.doubts_in_a_row = 0
            how = "answered" if target.id not in ledger.run.restarts else "restarted"
            permit.answered(ledger.now(), refused=how == "restarted")
            # durable with the next intent of this worker, or when it has none: one sync for both
            ledger.carry(row, Requested(target.id, request.id, how, request.handle, request.url))

    async def _ask(self, trigger: Trigger, worker: Worker) -> Request:
        """Triggers, or starts the old build again where the run was made for that."""
        old = self.ledger.run.restarts.get(trigger.target.id)
        if old is None:
            return await worker.provider.trigger(trigger)
        if not isinstance(worker.provider, Restarts):
            raise Rejected("no_restart", "the provider offers no way to start a build again")
        request, build = old
        await worker.provider.restart(trigger.target, Build(build, BuildState.FAILED, "failed"))
        return request

    async def _is_crowded(self, row: int, permit: Permit) -> bool:
        """Whether other processes have used the limits up, so that the row goes back to wait."""
        ledger, repo = self.ledger, self.ledger.repo_of(row)
        delay, name = await ledger.commons.take(permit, ledger.trigger_limits, repo, trigger=True)
        if not delay:
            return False
        permit.give_back()
        until = ledger.now() + delay
        limit = ledger.budget.limits.get(name)
        if name == CONNECTIONS:
            self.crowded = (until, f"connections {ledger.line.account.connections}, shared with other processes")
        elif limit is None:
            ledger.budget.freeze(Scope("repo", repo), until, "a trigger of another run is under way")
        elif limit.scope == ACCOUNT:
            self.crowded = (until, str(limit))
        else:
            ledger.budget.freeze(ledger.budget.scope_of(limit, repo), until, str(limit))
        ledger.rows.put_back(row)
        return True

    async def _nothing_earlier(self, row: int) -> bool:
        """Just before a trigger, whether what was looked for some time ago is still not there."""
        ledger = self.ledger
        if not ledger.must_look(row):
            return True
        looked = ledger.looked.get(row)
        if looked is not None and ledger.now() - looked < LOOK_AGAIN_AFTER:
            return True
        return await self._look_again(row)

    async def _not_triggered(self, row: int, target: Target, attempt: int, error: NotTriggered) -> None:
        ledger = self.ledger
        match error:
            case Rejected():
                await ledger.record(row, Refused(target.id, error.code, error.reason))
            case RateLimited():
                await ledger.freeze(error, REPO_PATIENCE if error.scope.kind == "repo" else ACCOUNT_PATIENCE)
                await ledger.record(row, Withdrawn(target.id, attempt, "rate_limited"))
            case AccessRefused():
                await ledger.refuse(error)
                await ledger.record(row, Withdrawn(target.id, attempt, "access_refused"))
            case _:
                await ledger.record(row, Withdrawn(target.id, attempt, "not_triggered"))
