"""Plays a schedule: starts processes, lets them meet their fate, resumes, until every run has ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio

from orchestrator.errors import LeaseLost
from orchestrator.events import CancelAsked, RunMade
from orchestrator.exits import Exit
from orchestrator.history import History, load
from orchestrator.journal.memory import MemoryJournal
from orchestrator.model import Outcome
from orchestrator.provider import Call
from orchestrator.sandbox.world import World

from .backend import run
from .kernel import Kernel, Process, Stuck
from .machine import EPOCH, URL, Driving, Machine
from .network import TOKENS, Network, Sent
from .schedule import Fate, Job, Schedule

MOST_PROCESSES = 16  # for one run, of which all but the first few live unharmed
MOST_STOPS = 3  # unharmed processes in a row that left because of an account, before that is the end of it
FOR_EVER = 40_000.0
UNHARMED = Fate(pause=20.0)


@dataclass(slots=True)
class Play:
    """What came of a schedule.

    Args:
        stuck: why it did not come to an end, empty when it did.
    """

    schedule: Schedule
    machine: Machine
    world: World
    histories: dict[str, History] = field(default_factory=dict)
    stuck: str = ""
    steps: int = 0


def play(schedule: Schedule) -> Play:
    """Plays it to its end."""
    stages: list[Stage] = []

    async def main(kernel: Kernel) -> None:
        stages.append(Stage(kernel, schedule))
        await stages[0].play()

    stuck = ""
    try:
        run(main, Random(f"order {schedule.seed}"), most_time=FOR_EVER)
    except Stuck as error:
        stuck = str(error)
    result = stages[0].result
    result.stuck, result.steps = stuck or result.stuck, stages[0].kernel.steps
    return result


class Stage:
    """Where a schedule is played."""

    def __init__(self, kernel: Kernel, schedule: Schedule) -> None:
        world = World(schedule.settings, began=EPOCH)
        world.plan_faults(schedule.faults)
        self.kernel = kernel
        self.schedule = schedule
        self._jumped = 0.0
        self._network = Network(kernel, world, self._service_time, Random(f"network {schedule.seed}"))
        self._machine = Machine(kernel, schedule, self._network)
        self._director = MemoryJournal(self._machine.disk)
        self.result = Play(schedule, self._machine, world)

    def _service_time(self) -> float:
        return EPOCH + self.kernel.time + self._jumped

    async def play(self) -> None:
        """Plays everything that the schedule has."""
        self._plan_events()
        if self.schedule.proven:
            for number in range(len(self.schedule.accounts)):
                await self._director.remember(f"travis:{URL}:api.travis-ci.com/user/{77 + number}", marker_proven=True)
        async with anyio.create_task_group() as jobs:
            for job in self.schedule.jobs:
                jobs.start_soon(self._live, job)
        for driving in self._machine.driven:
            await driving.gone.wait()
        for job in self.schedule.jobs:
            self.result.histories[job.id] = await load(self._director, job.id)

    def _plan_events(self) -> None:
        kernel, schedule = self.kernel, self.schedule
        for when, by in schedule.steps:
            kernel.at(when, lambda by=by: self._step_clock(by))
        for when, by in schedule.jumps:
            kernel.at(when, lambda by=by: self._jump_service(by))
        for when, account, seconds in schedule.bans:
            kernel.at(when, lambda account=account, seconds=seconds: self._ban(account, seconds))
        for when, repo in schedule.strangers:
            kernel.at(when, lambda repo=repo: self._stranger(repo))

    def _step_clock(self, by: float) -> None:
        self._machine.clock_is_off_by += by

    def _jump_service(self, by: float) -> None:
        self._jumped += by

    def _ban(self, account: str, seconds: float) -> None:
        until = self._service_time() + self.schedule.settings.skew + seconds
        self.result.world.guard.ban(TOKENS[account], until)

    def _stranger(self, repo: str) -> None:
        body = {"request": {"message": "a stranger's", "branch": "main"}}
        call = Call("POST", f"/repo/{repo.replace('/', '%2F')}/requests", body=body)
        sent = Sent(Process("stranger"), "stranger", "POST", call.path, "a stranger's", self.kernel.time)
        self._network.travel(sent, call, _json(body), [], lambda: None)

    # -- one run ------------------------------------------------------------------------------------------------

    async def _live(self, job: Job) -> None:
        await anyio.sleep(job.starts)
        made = RunMade("nightly", None, "", accounts=self._machine.accounts())
        await self._director.make_run(job.id, made, job.targets, self._machine.now(), forbid_overlap=False)
        async with anyio.create_task_group() as tasks:
            if job.rival is not None:
                tasks.start_soon(self._rival, job, *job.rival)
            if job.cancel_at is not None:
                tasks.start_soon(self._cancel, job, job.cancel_at)
            await self._keep(job)

    async def _keep(self, job: Job) -> None:
        """Resumes until the run has ended, or cannot for a reason that its exit code tells."""
        fates, stops, driving, tries, pause = list(job.fates), 0, None, 0, 0.0
        while tries < MOST_PROCESSES:
            is_harmed = bool(fates)
            fate = fates.pop(0) if is_harmed else UNHARMED
            driving = self._machine.drive(job, fate, _was_stopped(driving))
            await self._until_it_seems_over(driving)
            stops = stops + 1 if driving.code is Exit.ACCOUNT and not is_harmed else 0
            if await self._has_ended(job, is_harmed or self.schedule.seed % 3 > 0) or stops >= MOST_STOPS:
                return
            is_held = isinstance(driving.error, LeaseLost)
            pause = 2 * pause + 5.0 if is_held else 0.0  # a clock that went back holds a dead lease for long
            tries += not is_held
            await anyio.sleep(fate.pause + pause)
        self.result.stuck = f"{job.id} has not ended after {MOST_PROCESSES} processes"

    async def _until_it_seems_over(self, driving: Driving) -> None:
        """Waits for the process's end; nobody waits for long for one that has been stopped."""
        naps = [after for after, seconds in driving.fate.stops if seconds > 20.0]
        with anyio.move_on_after(naps[0] + 10.0 if naps else None):
            await driving.gone.wait()

    async def _has_ended(self, job: Job, doubts_may_stay: bool) -> bool:
        history = await load(self._director, job.id)
        if not history.has_ended:
            return False
        verdicts = [history.of(target.id).verdict for target in job.targets]
        is_doubtful = any(verdict is not None and verdict.outcome is Outcome.IN_DOUBT for verdict in verdicts)
        looked_again = sum(driving.job is job for driving in self._machine.driven) > len(job.fates) + 1
        return doubts_may_stay or not is_doubtful or looked_again

    async def _rival(self, job: Job, after: float, fate: Fate) -> None:
        await anyio.sleep(after)
        await self._machine.drive(job, fate).gone.wait()

    async def _cancel(self, job: Job, after: float) -> None:
        await anyio.sleep(after)
        await self._director.wish(job.id, CancelAsked("a person", self._machine.now(), job.keep_builds))


def _was_stopped(driving: Driving | None) -> bool:
    return driving is not None and driving.code is Exit.STOPPED


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()
