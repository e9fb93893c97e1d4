"""Drives one account of a run: starts what is due, one task for each call under way, and waits for what comes next."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from orchestrator.core.errors import CROWDED, AccessRefused, JournalError
from orchestrator.core.events import Tally
from orchestrator.core.model import ACCOUNT, Limit
from orchestrator.engine.coordinator import Coordinator
from orchestrator.engine.facts import AccountRun
from orchestrator.engine.follow import GROUPS, Follow
from orchestrator.engine.gate import Sender, budget_of
from orchestrator.engine.in_doubt import LostCalls, recover
from orchestrator.engine.logs import Logs
from orchestrator.engine.opening import open_gate
from orchestrator.engine.run import Heartbeat, Run, Wake
from orchestrator.engine.shared_limits import OtherProcesses
from orchestrator.engine.trigger import Triggers
from orchestrator.limits.admission import Admission, Terms
from orchestrator.limits.budget import Budget
from orchestrator.limits.concurrency import check_concurrency
from orchestrator.limits.rules import NOTHING, Wait
from orchestrator.providers.port import Line

ROWS_A_POLL = 5_000
WALL_AGAIN = 900.0  # seconds after which the wall clock is read again, where it is to tell that quiet hours end

T = TypeVar("T")


class AccountDriver:
    """Drives the rows of one account, given by their numbers in the plan."""

    def __init__(
        self,
        run: Run,
        line: Line,
        heartbeat: Heartbeat,
        rows: Sequence[int],
        coordinator: Coordinator,
        others: OtherProcesses,
    ) -> None:
        budget, terms = _terms(run, line)
        self.admission = Admission(run.history.targets, terms)
        reach = max(run.history.targets[row].timeouts.reach for row in rows)
        self.sender = Sender(
            line, budget, self.admission.traffic, run.clocks, run.random, reach=reach, heartbeat=heartbeat
        )
        self.wake = Wake()
        self.sender.tries_one_more = self.wake.set
        lease = heartbeat.leases[line.account.name]
        self.account = AccountRun(run, line, lease, rows, self.admission, self.sender, coordinator, self.wake)
        self.is_ready = False  # once the rows have been put where they wait
        self.under_way = 0  # how many tasks there are; each takes one of the account's connections
        self._run = run
        self._coordinator = coordinator
        self._others = others
        self._connections = line.account.connections
        self._triggers: Triggers | None = None  # None as long as nothing may be called
        self._waited: dict[str, float] = {}  # seconds by rule
        # how many rows are looked for before their turn, so that no permit waits for a look
        self._ahead = max(2 * self._connections, min((limit.calls for limit in self._whole_limits()), default=0))

    async def run(self) -> None:
        """Drives until the run is over; calls under way finish first."""
        async with anyio.create_task_group() as tasks:
            await self._begin(tasks)
            self.is_ready = True
            while not self._run.is_over:
                now, due = self.account.now(), math.inf
                if self._triggers is not None and not self.account.is_halted:
                    self._start_what_is_due(self._triggers, now)
                    due = self._next_due(self._triggers, now)
                if self.is_quiet:
                    self._run.settled.set()
                self._tell_connections()
                await self._sleep(now, due)

    def _tell_connections(self) -> None:
        if (left := self.sender.connections) < self._connections:
            told = {"account": self.account.name, "connections": left, "wanted": self._connections}
            self.account.notice("connections.bounded", **told, cause=CROWDED)
            self._connections = left

    async def _begin(self, tasks: TaskGroup) -> None:
        """Opens the gate, and puts the rows where they wait."""
        account = self.account
        if self._run.is_halted:
            self.sender.drain()
        try:
            gate, principal, memory = await open_gate(self.sender, self._others, self._run.id, self._run.notice)
        except AccessRefused as error:
            await account.refuse(error)
            return
        provider = account.line.provider_over(gate.send)
        self._tasks = tasks
        self._in_doubt = LostCalls(account, provider, gate.send)
        self._follow = Follow(account, provider)
        self._logs = Logs(account, provider)
        self._triggers = Triggers(account, gate, provider, self._in_doubt)
        if not account.is_halted:
            account.remember(principal, memory)
            await recover(account)

    # -- what is under way --------------------------------------------------------------------------------------

    def _start_what_is_due(self, triggers: Triggers, now: float) -> None:
        """Starts a task for all that is due, as long as there are connections."""
        account = self.account
        while account.cancels and self._has_slot:
            self._start(self._follow.cancel, account.cancels.pop())
        if account.unwanted:
            unwanted, account.unwanted = account.unwanted, []
            self._start(account.end_unwanted, unwanted)
        if account.has_idle_reruns:
            self._start(account.end_reruns, None)
        while self._has_slot and account.finds and account.finds[0][0] <= now:
            self._start(self._in_doubt.find, heappop(account.finds)[1])
        if account.polls.first <= now and self._follow.under_way < GROUPS and self._has_slot:
            for group in self._follow.groups(account.polls.take(now, ROWS_A_POLL)):
                self._follow.under_way += 1
                self._start(self._follow.poll, group)
        while self._has_slot and not account.run.is_closed and (queue := self.admission.due_queue(now)) is not None:
            self._start(self._follow.poll_queue, queue)
        while self._has_slot and (taken := triggers.take(now)) is not None:
            self._start(triggers.work, taken)
        while account.unseen and self._has_slot and self._looks_now:
            self._start(self._in_doubt.look_at_all, account.unseen.popitem(last=False)[1])
        if self._logs.is_due and self._has_slot:
            self._start(self._logs.read_next, None)

    def _next_due(self, triggers: Triggers, now: float) -> float:
        """When something can be started by time alone; infinity while only an answer can change anything."""
        if not self._has_slot:
            return math.inf
        account, wait = self.account, triggers.wait
        due = wait.until if wait.ends is None else min(wait.until, now + WALL_AGAIN)
        if account.finds:
            due = min(due, account.finds[0][0])
        if self._follow.under_way < GROUPS:
            due = min(due, account.polls.first)
        return due if account.run.is_closed else min(due, self.admission.next_poll_at)

    @property
    def _looks_now(self) -> bool:
        """Whether rows are looked for: shortly before their turn, or at once where what is found is canceled."""
        return self._run.looks_first and (self._run.is_closed or self.admission.ready < self._ahead)

    @property
    def _has_slot(self) -> bool:
        return self.under_way < self.sender.connections

    def _start(self, work: Callable[[T], Awaitable[None]], argument: T) -> None:
        self.under_way += 1
        self._tasks.start_soon(self._guarded, work, argument)

    async def _guarded(self, work: Callable[[T], Awaitable[None]], argument: T) -> None:
        """One task; `AccessRefused` stops the account without canceling the others."""
        try:
            await work(argument)
        except AccessRefused as error:
            await self.account.refuse(error)
        finally:
            self.under_way -= 1
            self.wake.set()

    async def _sleep(self, began: float, due: float) -> None:
        """Until something is due, or the account is woken; what a limit makes it wait is added up."""
        wait = self.wait
        await self.wake.wait(None if due == math.inf else max(0.0, due - began))
        if wait.is_limit and wait.rule:
            self._waited[wait.rule] = self._waited.get(wait.rule, 0.0) + self.account.now() - began

    # -- for the engine -----------------------------------------------------------------------------------------

    @property
    def wait(self) -> Wait:
        """What the next row waits for."""
        if not self.is_ready:
            return Wait(math.inf, f"{self.account.line.account.url} to say whose token it is", is_limit=False)
        return NOTHING if self._triggers is None else self._triggers.wait

    @property
    def is_quiet(self) -> bool:
        """Whether no call is under way and none will be by itself."""
        if not self.is_ready or self.under_way:
            return False
        run, account = self._run, self.account
        if account.is_halted:
            return True
        if run.leaves_builds:
            return True
        if account.cancels or account.unwanted or account.finds or account.has_idle_reruns:
            return False
        if account.unseen and run.is_closed and run.looks_first:
            return False
        if self._triggers is not None and self._logs.is_due and not run.options.detach:
            return False
        # where no target waits to be released, a detached run need not follow builds
        leaves = run.leaves_builds or (run.options.detach and self._coordinator.nothing_to_come)
        is_held = run.is_closed or (run.is_paused and run.options.detach)
        is_asked = is_held or not (self.admission.has_any or account.unseen)
        return (leaves or account.polls.first == math.inf) and is_asked

    def release(self, row: int) -> None:
        """The row may be triggered: it is put where it waits, now or with all others."""
        if self.is_ready:
            self.account.place(row)

    def drain(self) -> None:
        """Nothing that has not left yet leaves any more."""
        self.sender.drain()
        self.wake.set()

    def _whole_limits(self) -> Sequence[Limit]:
        """The limits of the whole account that count triggers."""
        limits = (self.account.budget.limits.get(name) for name in self.admission.costs)
        return [limit for limit in limits if limit is not None and limit.scope == ACCOUNT]

    def tally(self) -> Tally:
        """What this process did for the account."""
        budget = self.account.budget
        waited = {rule: round(seconds, 3) for rule, seconds in self._waited.items() if seconds}
        used = {rule: n for rule, n in budget.used.items() if n}
        return Tally(self.account.name, dict(self.sender.calls), used, waited)


def _terms(run: Run, line: Line) -> tuple[Budget, Terms]:
    """The account's limits, and what else its rules are made of.

    Raises:
        JournalError: the account's rules cannot be followed on this machine.
    """
    account, declaration, wall = line.account, line.declaration, run.clocks.wall
    try:
        check_concurrency(account.concurrency, wall())
    except ValueError as error:
        raise JournalError(f"account {account.name}: this run's limits cannot be kept here: {error}") from None
    budget = budget_of(line)
    costs = declaration.trigger_limits
    return budget, Terms(account, budget, costs, lambda now: wall(), run.options, polls_queues=True)
