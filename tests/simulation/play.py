"""Plays a schedule: starts processes, lets them meet their fate, resumes, until every run has ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio

from orchestrator.app.overlap import without
from orchestrator.core.calls import Call
from orchestrator.core.errors import Exit, LeaseLost, OrchestratorError
from orchestrator.core.events import CancelAsked, RunMade
from orchestrator.core.frozen import replace
from orchestrator.core.history import History
from orchestrator.core.model import Outcome, Target, Trigger
from orchestrator.core.options import RunOptions
from orchestrator.journal.history import load, read_on
from orchestrator.providers.port import Prepares
from orchestrator.testing import MemoryJournal

from .backend import run
from .kernel import Kernel, Process, Stuck
from .kinds import STRANGER, Site
from .machine import EPOCH, Driving, Machine, State, give_back, line_over
from .network import Network
from .past import proofs
from .people import Person, Said, said_by
from .rollouts import Steered, steer
from .schedule import Fate, Job, Schedule
from .twist import PutBack
from .world import World

MOST_PROCESSES = 16  # for one run, of which all but the first few live unharmed
MOST_STOPS = 3  # unharmed processes in a row that left because of an account, before that is the end of it
FOR_EVER = 40_000.0
UNHARMED = Fate(pause=20.0)


@dataclass(slots=True)
class Play:
    """What came of a schedule.

    Args:
        jobs: the runs that were made; `histories` of them at the end.
        worlds: the services, by name.
        made: when each was made first, and at which order.
        said: what people said of targets in doubt.
        stuck: why it did not come to an end, empty when it did.
    """

    schedule: Schedule
    machine: Machine
    worlds: dict[str, World]
    jobs: list[Job] = field(default_factory=list)
    histories: dict[str, History] = field(default_factory=dict)
    made: dict[str, tuple[float, int]] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    steered: list[Steered] = field(default_factory=list)
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
    for disk in {id(state.disk): state.disk for state in result.machine.states}.values():
        give_back(disk)
    result.stuck, result.steps = stuck or result.stuck, stages[0].kernel.steps
    return result


class Stage:
    """Where a schedule is played."""

    def __init__(self, kernel: Kernel, schedule: Schedule) -> None:
        sites, worlds = {site.name: site for site in schedule.sites}, dict[str, World]()
        for site in schedule.sites:
            if site.world not in worlds:
                worlds[site.world] = World(site, EPOCH, lambda: kernel.time)
                worlds[site.world].like.plan_faults(schedule.faults)
        self.kernel = kernel
        self.schedule = schedule
        self.network = Network(kernel, sites, worlds, Random(f"network {schedule.seed}"), schedule.twist)
        self.machine = Machine(kernel, schedule, self.network)
        self.result = Play(schedule, self.machine, worlds)
        self._person = Person(self)
        self._directors: dict[int, MemoryJournal] = {}

    @property
    def journal(self) -> MemoryJournal:
        """The state in use, for those who do not drive."""
        state = self.machine.state
        if id(state) not in self._directors:
            self._directors[id(state)] = MemoryJournal(state.disk, now=self.machine.steady)
        return self._directors[id(state)]

    async def play(self) -> None:
        """Plays everything that the schedule has."""
        self._plan_events()
        await self._prove()
        async with anyio.create_task_group() as jobs:
            for job in self.schedule.jobs:
                jobs.start_soon(self._live, job)
            if self.schedule.twist.overlap is not None:
                jobs.start_soon(self._person.overlap, self.schedule.twist.overlap)
        for driving in self.machine.driven:
            await driving.gone.wait()
        driven = {each.job.id: each.state for each in self.machine.driven if each.job.id in each.state.written}
        for run_id, state in driven.items():
            self.result.histories[run_id] = await _known(MemoryJournal(state.disk), state, run_id)

    async def _prove(self) -> None:
        targets = [target for job in self.schedule.jobs for target in job.targets]
        for site in self.schedule.sites if self.schedule.proven else ():
            for proof in proofs(site, targets):
                await self.journal.remember(proof, marker_proven=True)

    def _plan_events(self) -> None:
        kernel, schedule, twist = self.kernel, self.schedule, self.schedule.twist
        for when, by in schedule.steps:
            kernel.at(when, lambda by=by: self._step_clock(by))
        for when, by in (*schedule.jumps, *twist.steps):
            kernel.at(when, lambda by=by: [world.step(by) for world in self.result.worlds.values()])
        for when, account, seconds in schedule.bans:
            kernel.at(when, lambda account=account, seconds=seconds: self._ban(account, seconds))
        for when, account, repo in schedule.strangers:
            kernel.at(when, lambda account=account, repo=repo: self._stranger(account, repo))
        for when in twist.reboots:
            kernel.at(when, self.machine.reboot)
        if twist.disaster is not None:
            self._plan_disaster()
        if twist.put_back is not None:
            self._plan_put_back(twist.put_back)

    def _plan_disaster(self) -> None:
        disaster, machine, copies = self.schedule.twist.disaster, self.machine, []
        assert disaster is not None
        if disaster.copied is not None:
            self.kernel.at(disaster.copied, lambda: copies.append(machine.state.copy()))
        fresh = type(machine.state)
        self.kernel.at(disaster.at, lambda: machine.move(copies[0] if copies else fresh(), disaster.clock))

    def _plan_put_back(self, back: PutBack) -> None:
        machine, snapshots = self.machine, []

        def put_back() -> None:
            if all(snapshots[0].disk.has(run) for run in self.result.made):  # else a run would be gone, and made anew
                machine.put_back(snapshots[0], is_live=back.is_live)

        self.kernel.at(back.copied, lambda: snapshots.append(machine.state.snapshot()))
        self.kernel.at(back.at, put_back)

    def _step_clock(self, by: float) -> None:
        self.machine.clock_is_off_by += by

    def _ban(self, account: str, seconds: float) -> None:
        site = self.network.sites[account]
        world = self.result.worlds[site.world]
        world.like.bans.ban(site.token, world.now() + world.settings.skew + seconds)

    def _stranger(self, account: str, repo: str) -> None:
        site, process = self.network.sites[account], Process("stranger")
        if site.type == "travis":
            body = {"request": {"message": "a stranger's", "branch": "main"}}
            call = Call("POST", f"/repo/{repo.replace('/', '%2F')}/requests", body=body)
            sent, headers = self.network.sent(process, account, call), self.network.headers(site, STRANGER)
            self.network.travel(sent, call, headers, [], lambda: None)
        else:
            self.kernel.start(self._strange(site, repo, process), process)

    async def _strange(self, site: Site, repo: str, process: Process) -> None:
        """What somebody else asks for, by the same way."""
        target = self._like_one(site, repo)
        if target is None:
            return
        send = self.network.line(process, site.name, STRANGER)
        provider = line_over(replace(site, token=STRANGER), site.account, send).provider_over(send)
        with suppress(OrchestratorError):
            prepared = await provider.prepare(target) if isinstance(provider, Prepares) else None
            await provider.trigger(Trigger(target, 1, None, "a stranger's", prepared))

    def _like_one(self, site: Site, repo: str) -> Target | None:
        """A target of that repository as somebody else would have it."""
        every = [target for job in self.schedule.jobs for target in job.targets if target.account == site.name]
        target = next(iter(every), None)
        if target is None:
            return None
        request = json.loads(json.dumps(dict(target.request)).replace(said_by(target), "a stranger's"))
        return replace(target, id="strange", repo=repo, marked=False, request=request)

    # -- one run ------------------------------------------------------------------------------------------------

    async def _live(self, job: Job) -> None:
        await anyio.sleep(job.starts)
        await self._make(job)
        async with anyio.create_task_group() as steering:
            if job.rollout is not None:
                steering.start_soon(steer, self, job)
            async with anyio.create_task_group() as tasks:
                if job.rival is not None:
                    tasks.start_soon(self._rival, job, *job.rival)
                if job.cancel_at is not None:
                    tasks.start_soon(self._cancel, job, job.cancel_at)
                await self.keep(job)
            if (back := self.schedule.twist.put_back) is not None:
                await anyio.sleep(max(0.0, back.at - self.kernel.time))
            if len(self.machine.states) > 1 and not await self._has_ended(job, doubts_may_stay=True):
                await self.keep(replace(job, fates=()))  # a copy knows less: a rival took it up, or nobody yet
            steering.cancel_scope.cancel()
        if job is self.schedule.jobs[0]:
            await self._person.look_back(job)

    async def _make(self, job: Job) -> None:
        """Makes the run; where it was made before and is lost with its state, it adopts what it had asked for."""
        if self.machine.state.disk.has(job.id):
            return
        targets, options = job.targets, RunOptions()
        if job.id in self.result.made:
            unmarked = {target.id for target in targets if not target.marked}
            targets, options = tuple(without(targets, unmarked)), RunOptions(adopt=True)
        accounts = self.machine.accounts()
        made = RunMade("nightly", None, "", accounts=accounts, options=options, rollout=job.rollout, waves=job.waves)
        await self.journal.make_run(job.id, made, targets, self.machine.now(), forbid_overlap=False)
        self.note_made(job)

    def note_made(self, job: Job) -> None:
        """A run was made."""
        if job.id not in self.result.made:
            self.result.made[job.id] = self.kernel.time, self.kernel.ticket()
            self.result.jobs.append(job)

    async def keep(self, job: Job) -> None:
        """Resumes until the run has ended, or cannot for a reason that its exit code tells."""
        fates, stops, driving, tries, pause = list(job.fates), 0, None, 0, 0.0
        while tries < MOST_PROCESSES:
            is_harmed = bool(fates)
            fate = fates.pop(0) if is_harmed else UNHARMED
            await self.machine.ready()
            await self._make(job)
            said = await self._person.speak(job, is_early=True) if driving is not None else {}
            driving = self.machine.drive(job, fate, override_stop=_was_stopped(driving), **said)
            await self._until_it_seems_over(driving)
            stops = stops + 1 if driving.code is Exit.ACCOUNT and not is_harmed else 0
            if await self._has_ended(job, is_harmed or self.schedule.seed % 3 > 0) or stops >= MOST_STOPS:
                return
            is_held = isinstance(driving.error, LeaseLost)
            pause = 2 * pause + 5.0 if is_held else 0.0  # a clock that went back holds a dead lease for long
            tries += not is_held
            await anyio.sleep(fate.pause + pause)
        self.result.stuck = f"{job.id} has not ended after {MOST_PROCESSES} processes"

    async def tell(self, job: Job, fate: Fate, options: Mapping[str, Any]) -> None:
        """One process with these options, and then whatever it takes to the run's end."""
        await self.machine.ready()
        driving = self.machine.drive(job, fate, **options)
        await self._until_it_seems_over(driving)
        if not await self._has_ended(job, doubts_may_stay=True):
            await self.keep(replace(job, fates=()))

    async def _until_it_seems_over(self, driving: Driving) -> None:
        """Waits for the process's end; nobody waits for long for one that has been stopped."""
        naps = [after for after, seconds in driving.fate.stops if seconds > 20.0]
        with anyio.move_on_after(naps[0] + 10.0 if naps else None):
            await driving.gone.wait()

    async def history(self, job: Job) -> History | None:
        """What the state in use tells of the run, if it knows it; the same one grows each time."""
        state = self.machine.state
        return await _known(self.journal, state, job.id) if state.disk.has(job.id) else None

    async def _has_ended(self, job: Job, doubts_may_stay: bool) -> bool:
        history = await self.history(job)
        if history is None or not history.has_ended:
            return False
        verdicts = [history.of(target.id).verdict for target in job.targets]
        is_doubtful = any(verdict is not None and verdict.outcome is Outcome.IN_DOUBT for verdict in verdicts)
        looked_again = sum(driving.job is job for driving in self.machine.driven) > len(job.fates) + 1
        return doubts_may_stay or not is_doubtful or looked_again

    async def _rival(self, job: Job, after: float, fate: Fate) -> None:
        await anyio.sleep(after)
        await self.machine.ready()
        if self.machine.state.disk.has(job.id):
            await self.machine.drive(job, fate).gone.wait()

    async def _cancel(self, job: Job, after: float) -> None:
        await anyio.sleep(after)
        if self.machine.state.disk.has(job.id):
            await self.journal.wish(job.id, CancelAsked("a person", self.machine.now(), job.keep_builds))


async def _known(journal: MemoryJournal, state: State, run: str) -> History:
    if (history := state.histories.get(run)) is None:
        history = state.histories[run] = await load(journal, run)
    else:
        await read_on(journal, run, history)
    return history


def _was_stopped(driving: Driving | None) -> bool:
    return driving is not None and driving.code is Exit.STOPPED
