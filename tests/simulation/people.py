"""What people do beside starting and resuming: retry, say what they know of doubts, start a run that overlaps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.app import resume
from orchestrator.app.overlap import FORBID, REPLACE, make_run
from orchestrator.app.resume import refuse_what_is_sure
from orchestrator.core.errors import NotStarted, OrchestratorError
from orchestrator.core.events import CancelAsked, RunMade
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import History
from orchestrator.core.model import Account, Plan, Target
from orchestrator.engine.opening import Caller, gate_for
from orchestrator.engine.run import Clocks
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal
from orchestrator.journal.port import Process as Holder

from .dice import Dice
from .kernel import Process
from .machine import line_to
from .network import SAYS
from .schedule import Fate, Job
from .twist import Again, Overlap, Words

if TYPE_CHECKING:
    from .play import Stage

NOWHERE = "999999"  # the id of a request that there is not
PATIENCE = 600.0  # seconds for which somebody waits for another run to be canceled


class Said(Struct, frozen=True):
    """What a person said of a target in doubt.

    Args:
        order: among calls and entries of the journal.
        adopted: the request's id; None: that there is none.
    """

    order: int
    run: str
    target: str
    adopted: str | None


class Person:
    """Whoever sits before the stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._dice = Dice(f"person {stage.schedule.seed}")
        self.now, self.ticks, self.up = stage.machine.now, anyio.current_time, stage.machine.up  # as a `Context` has it
        self.sandbox = False

    async def look_back(self, job: Job) -> None:
        """After a run: what the schedule has for it."""
        twist = self._stage.schedule.twist
        if twist.words is not None:
            await self._settle(job, twist.words)
        if twist.again is not None:
            await self._retry(job, twist.again)

    # -- doubts -------------------------------------------------------------------------------------------------

    async def _settle(self, job: Job, words: Words) -> None:
        await anyio.sleep(words.pause)
        for fate in (words.fate, Fate()):
            if options := await self.speak(job):
                await self._stage.tell(job, fate, options)

    async def speak(self, job: Job, *, is_early: bool = False) -> Mapping[str, Any]:
        """What the next process is told of targets in doubt; nothing where the schedule has nobody who speaks."""
        words = self._stage.schedule.twist.words
        if words is None or (is_early and not words.is_early) or (history := await self._stage.history(job)) is None:
            return {}
        absent, adopted = set(), {}
        for target in history.targets:
            if history.of(target.id).is_in_doubt and self._dice.chance(0.8):
                request = self._known_of(job, target, is_right=self._dice.chance(words.right))
                said = Said(self._stage.kernel.ticket(), job.id, target.id, request)
                self._stage.result.said.append(said)
                if request is None:
                    absent.add(target.id)
                else:
                    adopted[target.id] = request
        refuse_what_is_sure(history, absent, "--assume-absent")
        refuse_what_is_sure(history, adopted, "--adopt-request")
        return {"assume_absent": frozenset(absent), "adopt_request": adopted} if absent or adopted else {}

    def _known_of(self, job: Job, target: Target, *, is_right: bool) -> str | None:
        """What the person believes: the id of the target's request, or None for none."""
        stage = self._stage
        rows = stage.result.worlds[stage.network.sites[target.account].world].rows()
        calls = {sent.order for sent in stage.network.log if sent.run == job.id and sent.said == said_by(target)}
        own = [row.id for row in rows if row.order in calls]
        if is_right:
            return own[0] if own else None
        others = [row.id for row in rows if row.id not in own and row.slug == target.repo]
        return self._dice.choice([*others, NOWHERE]) if not own or self._dice.chance(0.5) else None

    # -- retry --------------------------------------------------------------------------------------------------

    async def _retry(self, job: Job, again: Again) -> None:
        await anyio.sleep(again.pause)
        stage = self._stage
        if not stage.machine.state.disk.has(job.id):
            return
        history = await load(stage.journal, job.id)
        try:
            targets = await self._chosen(history, again)
            new = Job("again", tuple(targets), fates=again.fates)
            plan = Plan("again", tuple(targets), {})
            await resume.make(new.id, job.id, history, plan, stage.journal, self, again.same_commit)  # type: ignore[arg-type]
        except NotStarted:
            return
        stage.note_made(new)
        await stage.keep(new)

    async def _chosen(self, history: History, again: Again) -> Sequence[Target]:
        """As the command chooses; tried again when the looks at old builds fail."""
        for _ in range(10):
            try:
                targets, _ = await resume.chosen(history, again.outcomes, self._stage.journal, self, again.same_commit)  # type: ignore[arg-type]
                break
            except OrchestratorError:
                await anyio.sleep(30.0)
        else:
            raise NotStarted("the service does not tell which builds still run")
        if not targets:
            raise NotStarted("nothing to retry")
        return targets

    @asynccontextmanager
    async def gate(self, account: Account, journal: Journal) -> AsyncIterator[Caller]:
        """As a `Context` has it."""
        stage, name = self._stage, f"a person/{self._stage.kernel.ticket()}"
        machine, line = stage.machine, line_to(stage.network, Process(name), account)
        holder = Holder(machine.host, machine.boot, machine.pid(), name)
        clocks = await Clocks.read(journal, holder, machine.now, anyio.current_time, machine.up)
        async with gate_for(line, journal, clocks, Random(name)) as caller:
            yield caller

    # -- overlap ------------------------------------------------------------------------------------------------

    async def overlap(self, overlap: Overlap) -> None:
        """Starts a run of targets that another one may hold."""
        stage, job = self._stage, overlap.job
        await anyio.sleep(job.starts)
        if not job.targets:
            return
        made = RunMade("nightly", None, "", accounts=stage.machine.accounts())
        try:
            if overlap.rule == REPLACE:
                await self._cancel_others(job)
            rule = FORBID if overlap.rule == REPLACE else overlap.rule
            targets = await make_run(job.id, made, job.targets, stage.journal, stage.machine.now(), rule)
        except NotStarted:
            return
        job = replace(job, targets=tuple(targets))
        stage.note_made(job)
        await stage.keep(job)

    async def _cancel_others(self, job: Job) -> None:
        """As `--overlap replace` does: with a process of its own, or by waiting for the one that is at work."""
        stage, wanted = self._stage, {target.id for target in job.targets}
        for row in await stage.journal.runs(open_only=True):
            if not any(target.id in wanted for target in await stage.journal.targets(row.id)):
                continue
            await stage.journal.wish(row.id, CancelAsked("a person", stage.machine.now()))
            other = next(other for other in stage.result.jobs if other.id == row.id)
            if not row.driven:
                await stage.machine.drive(other, Fate(), trigger=False).gone.wait()
            await self._wait_for_end(other)

    async def _wait_for_end(self, job: Job) -> None:
        with anyio.move_on_after(PATIENCE):
            while (history := await self._stage.history(job)) is not None and not history.has_ended:  # noqa: ASYNC110  # the journal tells nobody
                await anyio.sleep(5.0)


def said_by(target: Target) -> str:
    """What a target says wherever it is triggered."""
    found = SAYS.search(str(target.request))
    assert found is not None
    return found.group()
