"""The engine: drives one run from whatever the journal tells to its end, or to an interruption that loses nothing.

A first run and a resumed run take the same path: load the history, take the leases, put every row where it waits. A row
is the number of a target in the plan; it costs a few bytes, and a task only while a call for it is under way.

    Engine                  sets up, interrupts, leaves
      | Clocks, Heartbeat     (run)          the clocks, and the leases without which nothing is sent
      | Run                   (run)          the history that all parts read, the counts, whether to go on
      | Coordinator           (coordinator)  waves, needs, rules that stop the run, wishes: journaled as facts
      | OtherProcesses        (shared_limits) whether another process uses the state
      +-- AccountDriver       (account)      one for each account: opens its gate (opening), starts what is due
            | Admission         (limits)       which row may be triggered now; else until when, because of which rule
            | AccountRun        (facts)        appends events, folds them, places rows; `refuse` stops the account
            | Sender            (gate)         makes a call once; notices refusals, silence, limits, the server's clock
            | Budget            (limits)       the windows: hands out permits in memory
            | Gate              (gate)         reserves permits in the state, too (SharedLimits); settles each once
            +-- Work            (account)      one task for each call under way:
                  Triggers        (trigger)      a row that the admission lets go
                  LostCalls       (in_doubt)     a row whose answer was lost; `recover` finds those of a crash
                  Follow          (follow)       rows whose request is followed, builds to cancel, queues of owners
                  Logs            (logs)         logs of builds that failed, one at a time

Everything points down or to the right, and is given what it needs when it is made. What comes back comes as a value.

The way of one target:

    1. `recover` places its row: nothing was asked, so `Admission.enqueue`.
    2. `Triggers.take` asks `Admission.take(now)`: a `Candidate` (the row is busy from now on), or a `Wait`, on which
       the driver sleeps. A candidate gets its permit in memory at once.
    3. `Triggers._trigger`: what the repository needs was looked up (`prepared`); nothing was asked for before, where
       that is possible (`LostCalls.may_be_triggered`); no other process was first (`Gate.reserve`); it is not quiet.
    4. `AccountRun.append(Intended)` returns when it is durable; then the provider's one call leaves through `Sender`.
    5. The receipt: the permit is settled, and `Requested` goes into the journal with the next append. No receipt: the
       error tells whether a build may exist. If not, `Withdrawn` or `Refused`; if so, `Doubted`, and the row is looked
       for until that is settled, before it is ever asked again.
    6. Each append goes through `Run.append`: the history takes the entries in, the observer sees them, and rows that
       have a verdict go to the coordinator. Then `AccountRun.place` puts the row where its next step is waited for.
    7. `Follow.poll` sees its build, again and again, until `Sighted` gives the verdict: `Ended`.

When no driver has anything left to do, and nothing is left to decide, the run is over and the engine leaves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from random import Random
from typing import Any

import anyio

from orchestrator.core.detection import detection_of
from orchestrator.core.errors import Exit, JournalError, LeaseLost, OrchestratorError, flat
from orchestrator.core.events import Event, Interrupted, RunEnded, from_json
from orchestrator.core.frozen import asdict, replace
from orchestrator.core.history import History, exit_code
from orchestrator.core.model import COORDINATOR, Account
from orchestrator.core.options import Options as Options
from orchestrator.engine.account import AccountDriver
from orchestrator.engine.coordinator import Coordinator
from orchestrator.engine.run import BEAT, LEASE, Clocks, Heartbeat, Observer, Run, Unobserved
from orchestrator.engine.shared_limits import OtherProcesses
from orchestrator.engine.snapshot import Snapshot, taken
from orchestrator.engine.stage import Work
from orchestrator.forecast.outlook import Outlook
from orchestrator.journal.history import load, read_on
from orchestrator.journal.port import Journal, Process
from orchestrator.limits.rules import NOTHING
from orchestrator.providers.port import Line

__all__ = ["Engine", "Observer", "Options", "Snapshot"]

CANCEL_FOR = 120.0  # seconds in which a canceled run's builds are to stop, from the last one that was asked, or did
GRACE = 45.0  # seconds for calls under way after the first interrupt; each is bounded by its own time-out before


class Engine:
    """Drives one run in this process.

    Args:
        connect: opens the line to an account.
        now: wall clock, in seconds; read once, then advanced by `ticks`, so that steps of it change nothing.
        ticks: the clock by which the event loop sleeps, in seconds.
        up: seconds since the machine's boot, as the processes of one boot agree on them; `ticks` by default.
        history: the run's, where the caller has loaded it already; the engine reads on from there.
        is_new: whether this process made the run; what it takes over it looks for before it triggers.
        process: who we are, for the leases.
        observer: is shown what happens.
        redact: takes the secrets that the process knows out of a text, before it is journaled.
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
        observer: Observer | None = None,
        ticks: Callable[[], float] = anyio.current_time,
        up: Callable[[], float] | None = None,
        history: History | None = None,
        is_new: bool = True,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._redact = redact
        self._history = history
        self._is_new = is_new
        self._ticks = ticks
        self._up = up or ticks
        self._id = run
        self._journal = journal
        self._connect = connect
        self._options = options
        self._wall = now
        self._process = process
        self._random = random
        self._observer: Observer = observer or Unobserved()
        self._run: Run | None = None
        self._coordinator: Coordinator | None = None
        self._drivers: dict[str, AccountDriver] = {}
        self._signal = ""
        self._interrupted: anyio.Event | None = None
        self._scope: anyio.CancelScope | None = None
        self._leaves_at = math.inf  # when an interrupted engine leaves, whatever is under way (wall clock)
        self.code: Exit | None = None  # with which `run` ended
        self.is_handed_over = False  # whether it left the run to a process that wants to drive it

    async def run(self) -> Exit:
        """Drives until the run's end or an interruption.

        Returns:
            The exit code, as the report has it.

        Raises:
            LeaseLost: another process drives the run, or has taken it over.
            JournalError: the state cannot be used.
        """
        self._interrupted, self._scope = anyio.Event(), anyio.CancelScope()
        history = self._history or await load(self._journal, self._id)
        if history.made is None:
            raise JournalError(f"there is no run {self._id} in this state")
        clocks = await Clocks.read(self._journal, self._process, self._wall, self._ticks, self._up)
        pace, onlooker = self._options.pace(history.options), self._options.looks_on
        by = replace(self._journal.register(self._process, LEASE), onlooker=onlooker, pace=pace)
        heartbeat = Heartbeat(self._journal, by, clocks)
        try:
            await heartbeat.claim(self._id, [COORDINATOR, *history.made.accounts])
            await read_on(self._journal, self._id, history)
            self._history = None
            shown = self._observer, self._redact
            self._run = run = Run(self._id, self._journal, history, self._options, clocks, self._random, *shown)
            run.is_taken_over = not self._is_new or heartbeat.leases[COORDINATOR].epoch > 1
            run.is_halted = bool(self._signal)
            async with AsyncExitStack() as lines:
                await self._drive(run, heartbeat, lines)
            self.code = await self._leave(run, heartbeat)
            return self.code
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            with anyio.CancelScope(shield=True):
                await heartbeat.release()

    def interrupt(self, signal: str) -> None:
        """Ends this process's driving: the first time when the calls under way are answered, the second at once."""
        if self._signal and self._scope is not None:
            self._scope.cancel()
        self._signal = self._signal or signal
        if self._run is not None:
            self._run.is_halted = True
        if self._interrupted is not None:
            self._interrupted.set()
        for driver in self._drivers.values():
            driver.drain()

    @property
    def history(self) -> History | None:
        """What the journal tells of the run, as far as this process knows; None before it is loaded."""
        return None if self._run is None else self._run.history

    def snapshot(self, outlook: Outlook | None = None) -> Snapshot | None:
        """Where the run stands, None before it is loaded.

        Args:
            outlook: what was seen of its future.
        """
        run, drivers = self._run, self._drivers.values()
        if run is None:
            return None
        work = Work(
            calls=sum(driver.under_way for driver in drivers),
            is_halted=run.is_halted,
            leaves_in=max(0.0, self._leaves_at - run.now()) if self._leaves_at < math.inf else None,
            is_ready=bool(drivers) and all(driver.is_ready for driver in drivers),
            wait=next((driver.wait for driver in drivers if driver.wait.rule), NOTHING),
            triggers=run.options.trigger,
            is_canceling=run.is_canceling,
            gives_up_in=self._gives_up_in(run) if run.is_canceling else None,
        )
        return taken(self._id, run.history, run.counts, run.now(), outlook, work=work)

    # -- driving ------------------------------------------------------------------------------------------------

    async def _drive(self, run: Run, heartbeat: Heartbeat, lines: AsyncExitStack) -> None:
        coordinator = self._coordinator = Coordinator(run, heartbeat.leases[COORDINATOR])
        with self._scope or anyio.CancelScope():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_keep_alive, heartbeat)
                await self._set_up(run, heartbeat, coordinator, lines)
                await coordinator.begin()
                tasks.start_soon(self._coordinate, run, coordinator)
                tasks.start_soon(self._time_out)
                tasks.start_soon(self._bound_interrupt)
                await self._drive_accounts(run, coordinator)
                tasks.cancel_scope.cancel()

    async def _set_up(self, run: Run, heartbeat: Heartbeat, coordinator: Coordinator, lines: AsyncExitStack) -> None:
        rows: dict[str, list[int]] = {}
        for row, target in enumerate(run.history.targets):
            if run.drives(target):
                rows.setdefault(target.account, []).append(row)
        accounts = {} if run.history.made is None else run.history.made.accounts
        others = OtherProcesses(self._journal, run.clocks)
        for name, numbers in rows.items():
            line = await lines.enter_async_context(self._connect(from_json(Account, accounts.get(name))))
            self._drivers[name] = AccountDriver(run, line, heartbeat, numbers, coordinator, others)

    async def _drive_accounts(self, run: Run, coordinator: Coordinator) -> None:
        """Until no driver has anything left to do, and no decision is pending."""
        async with anyio.create_task_group() as drivers:
            for driver in self._drivers.values():
                drivers.start_soon(driver.run)
            while not self._is_over(coordinator):
                await run.settled.wait()
            run.is_over = True
            for driver in self._drivers.values():
                driver.wake.set()

    def _is_over(self, coordinator: Coordinator) -> bool:
        """Whether nothing is left to do that this process does, or waits for."""
        drivers = self._drivers.values()
        is_held = coordinator.awaits and not all(driver.account.is_halted for driver in drivers)
        return coordinator.is_idle and not is_held and all(driver.is_quiet for driver in drivers)

    async def _coordinate(self, run: Run, coordinator: Coordinator) -> None:
        while True:
            await coordinator.wake.wait(coordinator.seconds)
            decided = await coordinator.decide()
            for row in decided.released:
                if run.drives(target := run.history.targets[row]):
                    self._drivers[target.account].release(row)
            run.is_releasing = False
            for driver in self._drivers.values() if decided.is_news else ():
                if decided.cancels:
                    driver.account.cancel()
                driver.wake.set()
            if run.is_paused or len(run.history.waves) > 1:
                run.settled.set()  # what is only waited for may be over by time alone
            if decided.hands_over:
                self._hand_over()
            if run.is_canceling and not run.leaves_builds and self._is_stuck(run):
                run.notice("cancel.given_up", after=CANCEL_FOR)
                run.leaves_builds = True
                run.settled.set()

    def _is_stuck(self, run: Run) -> bool:
        """Whether nothing is left to be asked to stop, and nothing has stopped for so long."""
        return (left := self._gives_up_in(run)) is not None and left < 0.0

    def _gives_up_in(self, run: Run) -> float | None:
        """Seconds after which builds that do not stop are left; None while some are still to be asked."""
        is_asking = any(driver.account.cancels or driver.account.unseen for driver in self._drivers.values())
        return None if is_asking else run.stopping_since + CANCEL_FOR - run.now()

    def _hand_over(self) -> None:
        """Leaves the run, detached as it was, to a process that wants to drive it; looks can be repeated."""
        self.is_handed_over = True
        for _ in range(2):
            self.interrupt("detached")

    async def _time_out(self) -> None:
        if self._options.timeout is not None:
            await anyio.sleep(self._options.timeout)
            self.interrupt("timeout")

    async def _bound_interrupt(self) -> None:
        """After an interrupt the calls under way have a bounded time."""
        if self._interrupted is not None and self._scope is not None:
            await self._interrupted.wait()
            self._leaves_at = math.inf if self._run is None else self._run.now() + GRACE
            await anyio.sleep(GRACE)
            self._scope.cancel()

    # -- leaving ------------------------------------------------------------------------------------------------

    async def _leave(self, run: Run, heartbeat: Heartbeat) -> Exit:
        """Journals how this process leaves the run, and the exit code that agrees with it."""
        left_by = self._left_by(run)
        only = self._options.drives
        # Whoever detached judges later: a refused target among those that were triggered is told by `watch`.
        failures = () if self._options.detach and left_by == "detached" else self._options.failures
        code = exit_code(run.history, failures, left_by, only if left_by else None)
        tallies = tuple(driver.tally() for driver in self._drivers.values())
        seen = detection_of(run.history)
        figures = tallies, {} if seen is None else asdict(seen)
        last: Event = Interrupted(left_by, int(code), *figures) if left_by else RunEnded(int(code), *figures)
        with anyio.CancelScope(shield=True):
            await run.append(heartbeat.leases[COORDINATOR], [last], run.now())
        return exit_code(run.history, failures, left_by, only)

    def _left_by(self, run: Run) -> str:
        """Why this process leaves before the run's end; empty at its end."""
        if self._signal:
            return self._signal
        is_open = any(not run.history.of(target.id).is_done for target in run.history.targets)
        stopped = run.history.stopped
        if not is_open:
            return ""
        if stopped is not None and stopped.by_person:
            return "account" if run.is_canceling and _cannot_cancel(run) else ""
        if run.history.accounts_stopped or any(scope.kind == "owner" for _, scope in run.history.frozen):
            return "account"
        return "stopped" if stopped is not None else "detached"


async def _keep_alive(heartbeat: Heartbeat) -> None:
    while True:
        await anyio.sleep(BEAT)
        await heartbeat.beat()


def _cannot_cancel(run: Run) -> bool:
    """Whether builds go on only because their account takes no call now."""
    known = ((target, run.history.of(target.id)) for target in run.history.targets)
    return any(
        target.account in run.history.accounts_stopped and one.may_exist and not one.is_done for target, one in known
    )


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """The error that matters of several: a lost lease before others of ours, ours before anybody's."""
    errors = list(flat(group))
    for kind in (LeaseLost, OrchestratorError, Exception):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0]
