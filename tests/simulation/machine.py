"""The machine on which the processes live: its wall clock, its disk, and how a process meets its end there."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio

from orchestrator.core.calls import Send
from orchestrator.core.errors import Exit
from orchestrator.core.events import Claimed, Event, to_json
from orchestrator.core.history import History
from orchestrator.core.model import Account
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.commits import Batch, Stream
from orchestrator.journal.port import Entry, Incarnation, Lease
from orchestrator.journal.port import Process as Holder
from orchestrator.journal.sql.tables import in_memory
from orchestrator.providers import registry
from orchestrator.providers.port import Line
from orchestrator.testing import Disk, MemoryJournal

from .kernel import Kernel, Process
from .kinds import Site, factory_of
from .network import Network
from .schedule import Fate, Job, Schedule

EPOCH = 1_767_571_200.0
BOOT_TAKES = 10.0  # seconds; more than a call is on its way


@dataclass(slots=True)
class Written:
    """An entry of the journal as the simulation saw it being written: when, by whom, under which epoch."""

    time: float
    process: str
    epoch: int
    entry: Entry
    order: int


IDLE: list[sqlite3.Connection] = []
"""Empty states in memory. A connection that has played before has its statements prepared: a tenth of the time."""


def give_back(disk: Disk) -> None:
    """Nobody needs the state any more."""
    disk.empty()
    IDLE.append(disk.db)


@dataclass(slots=True)
class State:
    """One state directory: its disk, and what the simulation saw being written there, by run.

    Args:
        histories: what those who do not drive have read, by run.
        since: the order from which on it is the one in use.
    """

    disk: Disk = field(default_factory=lambda: Disk(IDLE.pop() if IDLE else None))
    written: dict[str, list[Written]] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    since: int = 0

    def copy(self) -> State:
        """As `runs --export` makes it; a run that nobody has driven yet is not exported by anybody."""
        return State(self.disk.copy(self.written), self._so_far())

    def snapshot(self) -> State:
        """As a file system makes it, with leases and all."""
        return State(Disk(in_memory(self.disk.db)), self._so_far())

    def back_at(self, earlier: State, since: int) -> State:
        """The same disk, on which all is as it was in that snapshot."""
        earlier.disk.db.backup(self.disk.db)
        return State(self.disk, earlier._so_far(), since=since)

    def _so_far(self) -> dict[str, list[Written]]:
        return {run: list(written) for run, written in self.written.items()}


class WatchedJournal(MemoryJournal):
    """A journal that tells the simulation what is written, and in which a process may die at an append."""

    def __init__(self, machine: Machine, process: Process, fate: Fate) -> None:
        super().__init__(machine.state.disk, now=machine.steady)
        self._machine = machine
        self._seen = machine.state.written
        self._driver = process
        self._fate = fate

    def stay(self, state: State) -> None:
        """What is written from now on goes to that state, which lies on the same disk."""
        self._seen = state.written

    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> Sequence[Entry]:
        """As the port says; a process that dies here never returns from it."""
        is_last = self.appends == self._fate.dies_at_append
        if is_last and self._fate.before:
            self.appends += 1
            await self._end()
        entries = await super().append(lease, events, at)
        if is_last:
            await self._end()
        return entries

    async def claim(self, run: str, accounts: Sequence[str], by: Incarnation, now: float) -> Sequence[Lease]:
        """As the port says; the claims are facts, too."""
        leases = await super().claim(run, accounts, by, now)
        for lease in leases:
            seq = self._streams[run, lease.account].seq
            fact = Claimed(lease.epoch, by.process.host, by.process.pid)
            self._note(run, lease.epoch, [Entry(lease.account, seq, now, fact)])
        return leases

    def _written(self, stream: Stream, batches: Sequence[Batch]) -> None:
        super()._written(stream, batches)
        for batch in batches:
            self._note(stream.run, batch.epoch, batch.entries or ())

    def _note(self, run: str, epoch: int, entries: Sequence[Entry]) -> None:
        kernel, seen = self._machine.kernel, self._seen.setdefault(run, [])
        seen += [Written(kernel.time, self._driver.name, epoch, entry, kernel.ticket()) for entry in entries]

    async def _end(self) -> None:
        self._machine.kernel.kill(self._driver)
        await anyio.sleep_forever()


class Driving:
    """One process that drives a run, from its start to its end.

    Args:
        options: of the engine, beside those of the job and of the fate.

    Attributes:
        code: the exit code, None where it died or failed; `error` how it failed.
        facts: what the engine told, with the time.
        knows_more: whether its state was put back under it, so that the journal tells less than it knows.
    """

    def __init__(self, machine: Machine, job: Job, fate: Fate, name: str, options: Mapping[str, Any]) -> None:
        self.knows_more = False
        self.machine = machine
        self.job = job
        self.fate = fate
        self.code: Exit | None = None
        self.error: BaseException | None = None
        self.facts: list[tuple[float, str, dict[str, Any]]] = []
        self.began = machine.kernel.time
        self.gone = anyio.Event()
        self.process = Process(name, fate.dies_at_step or float("inf"), self._died)
        self.state = machine.state
        self.journal = WatchedJournal(machine, self.process, fate)
        self.engine = Engine(
            job.id,
            self.journal,
            self._connect,
            Options(
                detach=fate.detach,
                timeout=fate.timeout,
                max_fail=job.max_fail,
                in_flight=job.in_flight,
                **options,
            ),
            now=machine.now,
            process=Holder(machine.host, machine.boot, machine.pid(), name),
            up=machine.up,
            random=Random(f"{machine.schedule.seed} {name}"),
            observer=self,
            is_new=all(earlier.job.id != job.id for earlier in machine.driven),
        )

    def start(self) -> None:
        """Begins, and lets its fate take its course."""
        kernel, fate = self.machine.kernel, self.fate
        kernel.start(self._drive(), self.process, done=self._ended)
        if fate.dies_at is not None:
            kernel.at(self.began + fate.dies_at, lambda: kernel.kill(self.process))
        for after, seconds in fate.stops:
            kernel.at(self.began + after, lambda: kernel.stop(self.process))
            kernel.at(self.began + after + seconds, lambda: kernel.go_on(self.process))
        for after in fate.interrupts:
            kernel.at(self.began + after, self._interrupt)

    async def _drive(self) -> None:
        self.code = await self.engine.run()

    def _ended(self, error: BaseException | None) -> None:
        self.error = error
        self.process.is_dead = True
        self.gone.set()

    def _died(self) -> None:
        self.journal.kill(proven=self.fate.proven)
        self.gone.set()

    def _interrupt(self) -> None:
        if not self.process.is_dead and not self.process.is_stopped:
            self.engine.interrupt("SIGINT")

    def notice(self, name: str, **fields: Any) -> None:
        """What the engine tells beside the journal."""
        self.facts.append((self.machine.kernel.time, name, fields))

    def fact(self, entry: Entry) -> None:
        """What the journal holds is seen there."""

    @asynccontextmanager
    async def _connect(self, account: Account) -> AsyncIterator[Line]:
        yield line_to(self.machine.network, self.process, account)


def line_to(network: Network, process: Process, account: Account) -> Line:
    """The line of a process to an account."""
    return line_over(network.sites[account.name], account, network.line(process, account.name))


def line_over(site: Site, account: Account, send: Send) -> Line:
    """An account's line over a transport."""
    factory, said = factory_of(account.type), registry.declared(account)
    return Line(account, said, send, lambda sender: factory(account, sender, lambda _: site.token), site.token)


class Machine:
    """What all processes share: one machine, and after it another.

    Attributes:
        states: each state directory that was in use, the present one last.
    """

    def __init__(self, kernel: Kernel, schedule: Schedule, network: Network) -> None:
        self.kernel = kernel
        self.schedule = schedule
        self.network = network
        self.states = [State()]
        self.host, self.boot = "machine", "boot 1"
        self.booted_at = self.ready_at = 0.0
        self.clock_is_off_by = 0.0
        self.driven: list[Driving] = []

    @property
    def state(self) -> State:
        """The state directory in use."""
        return self.states[-1]

    def now(self) -> float:
        """The wall clock, which may step."""
        return EPOCH + self.kernel.time + self.clock_is_off_by

    def up(self) -> float:
        """Seconds since the machine's boot."""
        return self.kernel.time - self.booted_at

    def steady(self) -> float:
        """The state's clock, once a process has asked for it."""
        return self.state.disk.boot(self.boot, self.now() - self.up()) + self.up()

    def reboot(self) -> None:
        """All processes die, and are proven dead by the new boot."""
        self._kill_all()
        for driving in self.driven:
            if driving.journal.is_dead:
                driving.journal.kill()
        self.boot, self.booted_at = f"boot {self.kernel.ticket()}", self.kernel.time
        self.ready_at = self.kernel.time + BOOT_TAKES

    async def ready(self) -> None:
        """Returns when the machine is there for a new process."""
        if self.ready_at > self.kernel.time:
            await anyio.sleep(self.ready_at - self.kernel.time)

    def move(self, state: State, clock: float) -> None:
        """The machine is gone; another one goes on with that state, whose clock is off by so much."""
        self._kill_all()
        state.since = self.kernel.ticket()
        self.states.append(state)
        self.host, self.boot = f"machine {len(self.states)}", f"boot {state.since}"
        self.booted_at = self.kernel.time - 1000.0
        self.clock_is_off_by = clock

    def put_back(self, earlier: State, *, is_live: bool) -> None:
        """The state is again what it was earlier; whoever is at work goes on with it, or dies before."""
        if not is_live:
            self._kill_all()
        state = self.state.back_at(earlier, self.kernel.ticket())
        give_back(earlier.disk)
        self.states.append(state)
        for driving in self.driven:
            if not driving.gone.is_set():
                driving.state = state
                driving.knows_more = True
                driving.journal.stay(state)

    def _kill_all(self) -> None:
        for driving in self.driven:
            if not driving.gone.is_set():
                self.kernel.kill(driving.process)

    def pid(self) -> int:
        """A new process's id."""
        return 1000 + len(self.driven)

    def drive(self, job: Job, fate: Fate, **options: Any) -> Driving:
        """A new process for a run."""
        driving = Driving(self, job, fate, f"{job.id}/p{len(self.driven)}", options)
        self.driven.append(driving)
        driving.start()
        return driving

    def accounts(self) -> dict[str, Any]:
        """The accounts as a run has them."""
        return {site.name: to_json(site.account) for site in self.schedule.sites}
