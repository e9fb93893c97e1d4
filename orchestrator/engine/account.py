"""Drives one account of a run: starts what is due, one task for each call under way, and waits for what comes next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from orchestrator.core.errors import AccessRefused, LookFailed, NotTriggered
from orchestrator.core.next_step import backoff
from orchestrator.engine.concurrency import Brakes
from orchestrator.engine.facts import Ledger
from orchestrator.engine.follow import GROUPS, Looks
from orchestrator.engine.in_doubt import Doubts
from orchestrator.engine.recover import recover
from orchestrator.engine.trigger import Triggers
from orchestrator.providers.port import Principal, Provider, SaysWho

HELLO_TRIES = 3
ROWS_A_LOOK = 5_000

T = TypeVar("T")


class Driver:
    """Drives the rows of one account.

    Args:
        poke_engine: tells the engine that this driver may have become quiet.
    """

    def __init__(self, ledger: Ledger, poke_engine: Callable[[], None]) -> None:
        self.ledger = ledger
        self.is_ready = False
        looker: Provider = ledger.line.provider_over(ledger.gate.send)
        self._looker = looker
        self._doubts = Doubts(ledger, looker)
        self._brakes = Brakes(ledger, looker)
        self.triggers = Triggers(ledger, self._brakes, self._doubts.may_be_triggered)
        self._looks = Looks(ledger, looker)
        self._under_way = 0
        self._poke_engine = poke_engine
        self._wake = anyio.Event()

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Drives until `is_over` says that nothing more is to be started; calls under way finish first."""
        async with anyio.create_task_group() as tasks:
            await self._begin()
            self.is_ready = True
            while not is_over():
                self._start_what_is_due(tasks)
                self._poke_engine()
                await self._wait()

    def poke(self) -> None:
        """Something changed that may let a row go on."""
        self._wake.set()

    def is_quiet(self, nothing_to_come: bool) -> bool:
        """Whether no call is under way and none will be by itself.

        Args:
            nothing_to_come: no target waits to be released, so that a detached run need not follow builds.
        """
        if not self.is_ready or self._under_way:
            return False
        run, rows = self.ledger.run, self.ledger.rows
        if self.ledger.is_halted:
            return True
        if rows.cancels or rows.finds:
            return False
        leaves = run.leaves_builds or (run.options.detach and nothing_to_come)
        return (leaves or not rows.looks) and (run.is_closed or not rows.has_triggers)

    async def _wait(self) -> None:
        now, limit = self.ledger.now(), self.triggers.wait
        due = self._next_due(limit)
        with anyio.move_on_after(None if due is None else max(0.0, due - now)):
            await self._wake.wait()
        if limit is not None and limit[1] in self.ledger.budget.waited:
            self.ledger.budget.waited[limit[1]] += self.ledger.now() - now
        self._wake = anyio.Event()

    def _next_due(self, limit: tuple[float, str] | None) -> float | None:
        """When something can be started by time alone; None while only an answer can change anything."""
        if self.ledger.is_halted or not self._has_slot:
            return None
        at = self.ledger.rows.next_at(with_looks=self._looks.under_way < GROUPS)
        times = [at, self._brakes.next_at, None if limit is None else limit[0]]
        return min((time for time in times if time is not None), default=None)

    def _start_what_is_due(self, tasks: TaskGroup) -> None:
        ledger, rows = self.ledger, self.ledger.rows
        if ledger.is_halted:
            return
        now = ledger.now()
        rows.wake(now)
        while rows.cancels and self._has_slot:
            self._start(tasks, self._looks.cancel, rows.cancels.pop())
        while self._has_slot and (due := rows.due_find(now)) is not None:
            self._start(tasks, self._doubts.find, due)
        if self._looks.under_way < GROUPS and self._has_slot and (looks := rows.due_looks(now, ROWS_A_LOOK)):
            for group in self._looks.groups(looks):
                self._looks.under_way += 1
                self._start(tasks, self._looks.look, group)
        while self._has_slot and (owner := self._brakes.due(now)) is not None:
            self._start(tasks, self._brakes.look, owner)
        while self._has_slot and (taken := self.triggers.take()) is not None:
            self.triggers.under_way += 1
            self._start(tasks, self.triggers.work, taken)

    @property
    def _has_slot(self) -> bool:
        return self._under_way < self.ledger.line.account.connections

    def _start(self, tasks: TaskGroup, work: Callable[[T], Awaitable[None]], argument: T) -> None:
        self._under_way += 1
        tasks.start_soon(self._guarded, work, argument)

    async def _guarded(self, work: Callable[[T], Awaitable[None]], argument: T) -> None:
        """One piece of work; when the whole account is refused, the account stops and nobody's siblings fall."""
        try:
            await work(argument)
        except AccessRefused as error:
            await self.ledger.refuse(error)
        finally:
            self._under_way -= 1
            self.poke()

    async def _begin(self) -> None:
        try:
            await self.ledger.heed_earlier_ban()
            principal = await self._hello()
        except AccessRefused as error:
            await self.ledger.refuse(error)
            return
        if not self.ledger.is_halted:
            await self.ledger.know_principal(principal)
            await recover(self.ledger)

    async def _hello(self) -> Principal | None:
        """Asks who we are before anything leaves that could start a build: a dead token or a wrong URL ends here."""
        failures = 0
        while isinstance(self._looker, SaysWho) and not self.ledger.is_halted and failures < HELLO_TRIES:
            try:
                return await self._looker.whoami()
            except AccessRefused:
                raise
            except (LookFailed, NotTriggered) as error:
                failures += self.ledger.gate.is_reachable  # else it is asked until the account's time is over
                self.triggers.waiting_for = f"{self.ledger.line.account.url} to say whose token it is"
                self.ledger.run.observe("account.hello_failed", account=self.ledger.account, cause=str(error))
                await anyio.sleep(backoff(failures, self.ledger.run.random))
        if failures:
            self.ledger.assume_all_used()  # whose calls count with ours is not known
        return None
