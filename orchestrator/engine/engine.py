"""The engine: drives one run from whatever the journal tells to its end, or to an interruption that loses nothing.

A first run and a resumed run take the same path: load the history, take the leases, put every row into its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from random import Random
from typing import Any

import anyio

from orchestrator.core.errors import JournalError, LeaseLost, OrchestratorError
from orchestrator.core.events import CANCELED, Event, Interrupted, RunEnded, Tally, from_json
from orchestrator.core.exits import Exit
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import COORDINATOR, Account, Outcome, Phase
from orchestrator.core.verdict import exit_code
from orchestrator.engine.account import Driver
from orchestrator.engine.coordinator import Coordinator
from orchestrator.engine.facts import Ledger
from orchestrator.engine.run import BEAT, LEASE, Observe, Options, Run
from orchestrator.journal.history import load, read_on
from orchestrator.journal.port import Incarnation, Journal, Lease, Process
from orchestrator.journal.process import boot_clock
from orchestrator.providers.port import Line

__all__ = ["Engine", "Options", "Snapshot"]

GRACE = 45.0  # seconds for calls under way after the first interrupt; each is bounded by its own time-out before


class Snapshot(Struct, frozen=True):
    """Where a run stands now, for people.

    Args:
        triggered_per_minute: since this process began.
        waiting_for: the one limit or rule that the next trigger waits for.
        seconds_left: to the last trigger, as far as the run's forecast and the account's limits tell.
        accounts_stopped: account to cause.
        doubts: of those in phase `requested`, the ones whose answer was lost and that are looked for.
    """

    targets: int
    phases: Mapping[Phase, int]
    outcomes: Mapping[Outcome, int]
    triggered_per_minute: float
    waiting_for: str | None
    seconds_left: float | None
    accounts_stopped: Mapping[str, str]
    doubts: int = 0


class Engine:
    """Drives one run in this process.

    Args:
        connect: opens the line to an account.
        now: wall clock, in seconds; read once, then advanced by `ticks`, so that steps of it change nothing.
        ticks: the clock by which the event loop sleeps, in seconds.
        up: seconds since the machine's boot, as the processes of one boot agree on them; `ticks` by default.
        history: the run's, where the caller has loaded it already; the engine reads on from there.
        process: who we are, for the leases.
        observe: is told what happens.
    """

    def __init__(
        self,
        run: str,
        journal: Journal,
        connect: Callable[[Account], AbstractAsyncContextManager[Line]],
        options: Options,
        *,
        now: Callable[[], float],
        process: Process,
        random: Random,
        observe: Observe,
        ticks: Callable[[], float] = anyio.current_time,
        up: Callable[[], float] | None = None,
        history: History | None = None,
    ) -> None:
        self._history = history
        self._ticks = ticks
        self._up = up or ticks
        self._began = 0.0
        self._id = run
        self._journal = journal
        self._connect = connect
        self._options = options
        self._wall = now
        self._process = process
        self._random = random
        self._observe = observe
        self._run: Run | None = None
        self._drivers: list[Driver] = []
        self._coordinator: Coordinator | None = None
        self._incarnation: Incarnation | None = None
        self._leases: list[Lease] = []
        self._signal = ""
        self._is_over = False
        self._interrupted: anyio.Event | None = None
        self._scope: anyio.CancelScope | None = None

    async def run(self) -> Exit:
        """Drives until the run's end or an interruption.

        Returns:
            The exit code, as the report has it.

        Raises:
            LeaseLost: another process drives the run, or has taken it over.
            JournalError: the state cannot be used.
        """
        ticks = self._ticks
        offset = self._wall() - ticks()
        self._interrupted, self._scope = anyio.Event(), anyio.CancelScope()
        history = self._history or await load(self._journal, self._id)
        if history.made is None:
            raise JournalError(f"there is no run {self._id} in this state")
        self._began = await self._journal.clock(boot_clock(self._process), self._up(), self._wall())
        try:
            await self._claim([COORDINATOR, *history.made.accounts])
            await read_on(self._journal, self._id, history)
            self._history = None
            self._run = Run(
                self._id,
                self._journal,
                history,
                self._options,
                now=lambda: ticks() + offset,
                wall=self._wall,
                steady=self._steady,
                random=self._random,
                observe=self._observe,
            )
            async with AsyncExitStack() as lines:
                await self._drive(self._run, lines)
            return await self._leave(self._run)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            with anyio.CancelScope(shield=True):
                await self._journal.release(self._leases)

    def interrupt(self, signal: str) -> None:
        """Ends this process's driving: the first time when the calls under way are answered, the second at once."""
        if self._signal and self._scope is not None:
            self._scope.cancel()
        self._signal = self._signal or signal
        if self._run is not None:
            self._run.is_halted = True
        if self._interrupted is not None:
            self._interrupted.set()
        for driver in self._drivers:
            driver.ledger.gate.hush()
            driver.poke()

    @property
    def history(self) -> History | None:
        """What the journal tells of the run, as far as this process knows; None before it is loaded."""
        return None if self._run is None else self._run.history

    def snapshot(self) -> Snapshot | None:
        """Where the run stands, None before it is loaded."""
        run = self._run
        if run is None:
            return None
        minutes = max(run.now() - run.since, 1.0) / 60.0
        return Snapshot(
            targets=len(run.history.targets),
            phases={phase: n for phase, n in run.phases.items() if n},
            outcomes={outcome: n for outcome, n in run.outcomes.items() if n},
            triggered_per_minute=run.triggered / minutes,
            waiting_for=next((d.triggers.waiting_for for d in self._drivers if d.triggers.waiting_for), None),
            seconds_left=self._seconds_left(run),
            accounts_stopped={d.ledger.account: str(s) for d in self._drivers if (s := d.ledger.gate.stopped)},
            doubts=run.doubts,
        )

    def _seconds_left(self, run: Run) -> float | None:
        left = self._forecast_left(run) if run.phases[Phase.WAITING] else 0.0
        for driver in self._drivers:
            rules = [rule for rule in driver.ledger.line.account.limits if rule.scope == "account"]
            rules = [rule for rule in rules if rule.name in driver.ledger.trigger_limits]
            waiting = driver.ledger.rows.waiting()
            left = max([left, *((math.ceil(waiting / rule.calls) - 1) * rule.per for rule in rules if waiting)])
        return left

    def _forecast_left(self, run: Run) -> float:
        """What is left of the time to the last trigger that was forecast when the run was made."""
        made = run.history.made
        said = None if made is None else made.forecast.get("last_trigger_seconds")
        if not isinstance(said, int | float) or not math.isfinite(said):
            return 0.0
        return max(0.0, run.history.made_at + said - run.now())

    # -- setting up ---------------------------------------------------------------------------------------------

    async def _claim(self, streams: list[str]) -> None:
        self._incarnation = by = await self._journal.register(self._process, self._steady(), LEASE)
        for stream in streams:
            self._leases.append(await self._journal.claim(self._id, stream, by, self._steady()))

    def _steady(self) -> float:
        """The state's clock."""
        return self._up() + self._began

    async def _drive(self, run: Run, lines: AsyncExitStack) -> None:
        with self._scope or anyio.CancelScope():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._heart)
                coordinator = await self._set_up(run, lines)
                await coordinator.begin()
                for work in (coordinator.work, self._time_out, self._bound_interrupt):
                    tasks.start_soon(work)
                await self._drive_accounts()
                tasks.cancel_scope.cancel()

    async def _drive_accounts(self) -> None:
        async with anyio.create_task_group() as drivers:
            for driver in self._drivers:
                drivers.start_soon(driver.run, lambda: self._is_over)
            self._check()

    async def _set_up(self, run: Run, lines: AsyncExitStack) -> Coordinator:
        made = run.history.made
        assert made is not None  # noqa: S101  # checked when it was loaded
        rows: dict[str, list[int]] = {}
        for row, target in enumerate(run.history.targets):
            rows.setdefault(target.account, []).append(row)
        leases = {lease.account: lease for lease in self._leases}
        for name, numbers in rows.items():
            line = await lines.enter_async_context(self._connect(from_json(Account, made.accounts.get(name))))
            reach = max(run.history.targets[row].timeouts.reach for row in numbers)
            ledger = Ledger(run, line, leases[name], numbers, reach, self._poke)
            self._drivers.append(Driver(ledger, self._check))
        self._coordinator = Coordinator(
            run, leases[COORDINATOR], released=self._release, cancel=self._cancel, poke=self._poke
        )
        run.verdict_given, run.beat = self._coordinator.verdict_given, self._beat
        run.is_halted = bool(self._signal)
        return self._coordinator

    def _release(self, row: int) -> None:
        """A target may now be triggered: its driver puts it into its place."""
        assert self._run is not None  # noqa: S101  # the coordinator exists only with a run
        account = self._run.history.targets[row].account
        for driver in self._drivers:
            if driver.ledger.account == account and driver.is_ready:
                driver.ledger.place(row)

    def _cancel(self) -> None:
        """The builds that this run started are to be canceled."""
        for driver in self._drivers:
            for row in driver.ledger.followed():
                driver.ledger.cancel_soon(row)

    # -- while it runs ------------------------------------------------------------------------------------------

    def _poke(self) -> None:
        for driver in self._drivers:
            driver.poke()

    def _check(self) -> None:
        """Ends the driving when no driver has anything left to do and no decision is pending."""
        coordinator = self._coordinator
        if self._is_over or coordinator is None or not coordinator.is_idle:
            return
        if all(driver.is_quiet(coordinator.nothing_to_come) for driver in self._drivers):
            self._is_over = True
            self._poke()

    async def _heart(self) -> None:
        while True:
            await anyio.sleep(BEAT)
            await self._beat()

    async def _beat(self) -> None:
        """Tells that this process lives; fails when somebody else drives the run by now."""
        assert self._incarnation is not None  # noqa: S101  # registered before anything is driven
        await self._journal.renew(self._incarnation, self._steady())
        if self._run is not None:
            self._run.beat_at, self._run.beat_wall = self._steady(), self._wall()

    async def _time_out(self) -> None:
        if self._options.timeout is not None:
            await anyio.sleep(self._options.timeout)
            self.interrupt("timeout")

    async def _bound_interrupt(self) -> None:
        """After an interrupt the calls under way have a bounded time."""
        if self._interrupted is not None and self._scope is not None:
            await self._interrupted.wait()
            await anyio.sleep(GRACE)
            self._scope.cancel()

    # -- leaving ------------------------------------------------------------------------------------------------

    async def _leave(self, run: Run) -> Exit:
        """Journals how this process leaves the run, and the exit code that agrees with it."""
        left_by = self._left_by(run)
        code = exit_code(run.history, self._options.fail_on, left_by)
        tallies = tuple(self._tally(driver) for driver in self._drivers)
        last: Event = RunEnded(int(code), tallies) if not left_by else Interrupted(left_by, int(code), tallies)
        with anyio.CancelScope(shield=True):
            lease = next(lease for lease in self._leases if lease.account == COORDINATOR)
            at = run.now()
            await self._journal.append(lease, [last], at)
            run.history.add(COORDINATOR, run.history.cursor[COORDINATOR] + 1, at, last)
        return code

    def _left_by(self, run: Run) -> str:
        """Why this process leaves before the run's end; empty at its end."""
        if self._signal:
            return self._signal
        is_open = any(not run.history.of(target.id).is_done for target in run.history.targets)
        stopped = run.history.stopped
        if not is_open:
            return ""
        if stopped is not None and stopped.rule == CANCELED:
            return "account" if run.is_canceling and self._cannot_cancel(run) else ""
        if run.history.accounts_stopped or any(scope.kind == "owner" for _, scope in run.history.frozen):
            return "account"
        return "stopped" if stopped is not None else "detached"

    def _cannot_cancel(self, run: Run) -> bool:
        """Whether builds go on only because their account takes no call now."""
        known = ((target, run.history.of(target.id)) for target in run.history.targets)
        return any(
            target.account in run.history.accounts_stopped and one.may_exist and not one.is_done
            for target, one in known
        )

    def _tally(self, driver: Driver) -> Tally:
        budget = driver.ledger.budget
        waited = {rule: round(seconds, 3) for rule, seconds in budget.waited.items() if seconds}
        used = {rule: n for rule, n in budget.used.items() if n}
        return Tally(driver.ledger.account, dict(driver.ledger.gate.calls), used, waited)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """The error that matters of several: a lost lease before others of ours, ours before anybody's."""
    flat: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop()
        if isinstance(error, BaseExceptionGroup):
            todo.extend(error.exceptions)
        else:
            flat.append(error)
    for kind in (LeaseLost, OrchestratorError, Exception):
        for error in flat:
            if isinstance(error, kind):
                return error
    return flat[0]
