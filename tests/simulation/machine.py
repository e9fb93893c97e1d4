"""The machine on which the processes live: its wall clock, its disk, and how a process meets its end there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import anyio

from orchestrator.engine import Engine, Options
from orchestrator.events import Event, to_json
from orchestrator.exits import Exit
from orchestrator.journal import Entry, Lease
from orchestrator.journal import Process as Holder
from orchestrator.journal.memory import Disk, MemoryJournal
from orchestrator.model import Account
from orchestrator.provider import Line
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis

from .kernel import Kernel, Process
from .network import Network
from .schedule import Fate, Job, Schedule

EPOCH = 1_767_571_200.0
BOOT = "boot"
URL = "https://api.travis-ci.com"


@dataclass(slots=True)
class Written:
    """An entry of the journal as the simulation saw it being written: when, by whom, under which epoch."""

    time: float
    process: str
    epoch: int
    entry: Entry
    order: int


class WatchedJournal(MemoryJournal):
    """A journal that tells the simulation what is written, and in which a process may die at an append."""

    def __init__(self, disk: Disk, machine: Machine, process: Process, fate: Fate) -> None:
        super().__init__(disk, now=machine.steady)
        self._machine = machine
        self._process = process
        self._fate = fate

    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> None:
        """As the port says; a process that dies here never returns from it."""
        is_last = self.appends == self._fate.dies_at_append
        if is_last and self._fate.before:
            self.appends += 1
            await self._end()
        await super().append(lease, events, at)
        if is_last:
            await self._end()

    async def _end(self) -> None:
        self._machine.kernel.kill(self._process)
        await anyio.sleep_forever()

    def _write(self, lease: Lease, events: Sequence[Event], at: float) -> None:
        entries = self._stream(lease).entries
        before = len(entries)
        super()._write(lease, events, at)
        for entry in entries[before:]:
            self._machine.written.setdefault(lease.run, []).append(
                Written(
                    self._machine.kernel.time, self._process.name, lease.epoch, entry, self._machine.kernel.ticket()
                )
            )


class Driving:
    """One process that drives a run, from its start to its end.

    Attributes:
        code: the exit code, None where it died or failed; `error` how it failed.
        facts: what the engine told, with the time.
    """

    def __init__(self, machine: Machine, job: Job, fate: Fate, name: str, override_stop: bool) -> None:
        self.machine = machine
        self.job = job
        self.fate = fate
        self.code: Exit | None = None
        self.error: BaseException | None = None
        self.facts: list[tuple[float, str, dict[str, Any]]] = []
        self.began = machine.kernel.time
        self.gone = anyio.Event()
        self.process = Process(name, fate.dies_at_step or float("inf"), self._died)
        self.journal = WatchedJournal(machine.disk, machine, self.process, fate)
        self.engine = Engine(
            job.id,
            self.journal,
            self._connect,
            Options(
                detach=fate.detach,
                timeout=fate.timeout,
                max_fail=job.max_fail,
                in_flight=job.in_flight,
                override_stop=override_stop,
            ),
            now=machine.now,
            process=Holder("machine", BOOT, machine.pid(), name),
            up=machine.up,
            random=Random(f"{machine.schedule.seed} {name}"),
            observe=self._observe,
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

    def _observe(self, name: str, **fields: Any) -> None:
        self.facts.append((self.machine.kernel.time, name, fields))

    @asynccontextmanager
    async def _connect(self, account: Account) -> AsyncIterator[Line]:
        send = self.machine.network.line(self.process, account.name)
        yield Line(account, DECLARATION, send, lambda sender: Travis(account, sender, str), account.name)


class Machine:
    """What all processes share."""

    def __init__(self, kernel: Kernel, schedule: Schedule, network: Network) -> None:
        self.kernel = kernel
        self.schedule = schedule
        self.network = network
        self.disk = Disk()
        self.clock_is_off_by = 0.0
        self.written: dict[str, list[Written]] = {}
        self.driven: list[Driving] = []

    def now(self) -> float:
        """The wall clock, which may step."""
        return EPOCH + self.kernel.time + self.clock_is_off_by

    def up(self) -> float:
        """Seconds since the machine's boot."""
        return self.kernel.time

    def steady(self) -> float:
        """The state's clock, once a process has asked for it."""
        return self.disk.boots.get(BOOT, EPOCH) + self.up()

    def pid(self) -> int:
        """A new process's id."""
        return 1000 + len(self.driven)

    def drive(self, job: Job, fate: Fate, override_stop: bool = False) -> Driving:
        """A new process for a run."""
        driving = Driving(self, job, fate, f"{job.id}/p{len(self.driven)}", override_stop)
        self.driven.append(driving)
        driving.start()
        return driving

    def accounts(self) -> dict[str, Any]:
        """The accounts as a run has them."""
        made = {name: Account(name, "travis", URL, None, self.schedule.limits) for name in self.schedule.accounts}
        return {name: to_json(account) for name, account in made.items()}
