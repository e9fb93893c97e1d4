"""Reruns: what a seed draws of them, and what must hold of builds that are started again."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

from orchestrator.core.events import Absent, RestartAsked, Restarted, Sighted, Stopped, target_of
from orchestrator.core.frozen import replace
from orchestrator.core.model import BuildState, Outcome, Target
from orchestrator.core.progress import NEW, Progress, apply
from orchestrator.core.reruns import FAILED
from orchestrator.core.waves import Reruns
from orchestrator.engine.facts import ADOPTED

from .dice import Dice
from .evidence import Evidence, states
from .machine import Written
from .play import Play
from .schedule import LATEST, Job, Schedule

DRAWN = (Reruns(1), Reruns(1), Reruns(2), Reruns(2, "1"), Reruns(1, "50%"))


def with_reruns(dice: Dice, schedule: Schedule) -> Schedule:
    """The same with builds that fail more often, and are then started again."""
    reruns = dice.choice(DRAWN)
    jobs, twist = tuple(_rerun(job, reruns) for job in schedule.jobs), schedule.twist
    if twist.overlap is not None:
        twist = replace(twist, overlap=replace(twist.overlap, job=_rerun(twist.overlap.job, reruns)))
    shares = replace(schedule.settings.shares, failed=dice.choice((0.3, 0.6)))
    change = dice.choice(((0.5, 1.0), (2.0, LATEST)))  # seconds until a restart that was promised shows
    return replace(schedule, jobs=jobs, twist=twist, settings=replace(schedule.settings, shares=shares, change=change))


def _rerun(job: Job, reruns: Reruns) -> Job:
    return replace(job, targets=tuple(replace(target, reruns=reruns) for target in job.targets))


# -- what must hold ---------------------------------------------------------------------------------------------


def reruns_hold(result: Play, evidence: Evidence) -> Iterator[str]:
    """Where a build was started again too often, or an end that was not its last one was believed."""
    yield from _so_often(result, evidence)
    for job in result.jobs:
        for _, everything in states(result, job):
            of = defaultdict[str | None, list[Written]](list)
            for one in everything:
                of[target_of(one.entry.event)].append(one)
            yield from _at_most(job, everything)
            for target in job.targets:
                yield from _one(result, evidence, job, target, of[target.id])
        yield from _all_due(result, job)


def _is_told(result: Play) -> bool:
    """Whether no state ever went back, so that each restart is known to whoever drives."""
    return result.schedule.twist.disaster is None and result.schedule.twist.put_back is None


def _clocks_hold(result: Play) -> bool:
    """Whether no clock was set, so that times tell whether a build was started again."""
    schedule, disaster = result.schedule, result.schedule.twist.disaster
    return not (schedule.steps or schedule.jumps or schedule.twist.steps or (disaster is not None and disaster.clock))


def _so_often(result: Play, evidence: Evidence) -> Iterator[str]:
    """No build is started again more often than its runs may; a state that went back has forgotten some of it."""
    most: Counter[tuple[str, str]] = Counter()
    for job in result.jobs:
        again, known = result.schedule.twist.again, {one.id: one for one in job.targets}
        for build, id_ in {*_asked_for(result, job)}:
            target = known[id_]
            most[evidence.sites[target.account].world, build] += target.reruns.times
            most[evidence.sites[target.account].world, build] += (
                job.id == "again" and again is not None and again.same_commit
            )
    for row in evidence.rows if _is_told(result) and _clocks_hold(result) else ():
        for build in row.builds:
            if len(build.restarted) > (may := sum(most[row.world, id_] for id_ in (build.id, *build.tries))):
                yield f"build {build.id} was restarted {len(build.restarted)} times, and may be {may} times"


def _asked_for(result: Play, job: Job) -> Iterator[tuple[str, str]]:
    """The builds that a run asked to start again, each with its target."""
    for _, written in states(result, job):
        for one in written:
            if isinstance(one.entry.event, RestartAsked):
                yield one.entry.event.build, one.entry.event.target


def _at_most(job: Job, written: Sequence[Written]) -> Iterator[str]:
    """No more targets of a wave are started again than is written."""
    asked = {one.entry.event.target for one in written if isinstance(one.entry.event, RestartAsked)}
    for wave in job.waves:
        mine = [target for target in job.targets if target.wave == wave.number]
        most = _most(mine[0].reruns.at_most, wave.targets) if mine else math.inf
        again = sum(target.id in asked for target in mine)
        if again > most:
            yield f"{again} targets of wave {wave.name} are started again, and {most} may be"


def _most(text: str, targets: int) -> float:
    if not text:
        return math.inf
    return math.ceil(Fraction(text[:-1]) * targets / 100) if text.endswith("%") else int(text)


def _one(result: Play, evidence: Evidence, job: Job, target: Target, written: Sequence[Written]) -> Iterator[str]:
    progress, restarts = NEW, 0
    for one in written:
        event, before = one.entry.event, progress
        progress = apply(before, event, one.entry.at)  # type: ignore[arg-type]  # those with a target
        if isinstance(event, RestartAsked):
            yield from _asked(target, before, one)
        elif isinstance(event, Restarted):
            restarts += 1
        elif isinstance(event, Absent) and before.restart is not None and _clocks_hold(result):
            build = evidence.build(target, before)
            mine = [at for at in (() if build is None else build.restarted) if at > _began(result, job)]
            if mine[restarts:] and mine[restarts] <= one.time:
                yield f"{target.id}: absent at {one.time:.1f}, but its build began again at {mine[restarts]:.1f}"
        elif isinstance(event, Sighted) and event.build.state.is_final and before.how != ADOPTED:
            # what a person named may be another's
            yield from _seen(result, evidence, job, target, before, event, one, restarts)


def _asked(target: Target, before: Progress, one: Written) -> Iterator[str]:
    """A build is started again only as it has failed, before its verdict, and not while that is in doubt."""
    where = f"{target.id} is started again at {one.time:.1f}"
    if before.request is None:  # `retry --same-commit`
        return
    if before.asked_at is not None:
        yield f"{where} while it is not known what became of the last time"
    if before.verdict is not None:
        yield f"{where} after its verdict {before.verdict.outcome}"
    if before.build is None or before.build.state not in FAILED:
        yield f"{where} although its build has not failed"
    if before.reruns >= target.reruns.times:
        yield f"{where} for the {before.reruns + 1}. time"


def _began(result: Play, job: Job) -> float:
    """From when on a run may have started builds again that an earlier run made."""
    return result.made[job.id][0] if job.id == "again" else -math.inf


def _seen(
    result: Play,
    evidence: Evidence,
    job: Job,
    target: Target,
    before: Progress,
    event: Sighted,
    one: Written,
    restarts: int,
) -> Iterator[str]:
    """An end that is journaled is that of the attempt which runs: an earlier one's never ends a later one."""
    row = None if before.request is None else evidence.row(target, before.request.id)
    build = None if row is None else row.build(event.build.id)
    if build is None or event.build.state is BuildState.ACCEPTED or not _clocks_hold(result):
        return
    ends, ways = build.ended, build.ends
    nth = restarts + max(0, sum(at <= _began(result, job) for at in ends) - 1)
    over = [way for at, way in zip(ends, ways, strict=True) if at <= one.time][nth:]
    if not over:
        yield f"{event.target} is seen as {event.build.state} at {one.time:.1f}, before the end of start {nth + 1}"
        return
    may_be = over[:1] if _is_told(result) else over
    if event.build.state.value not in may_be:
        yield f"{event.target} is seen as {event.build.state} at {one.time:.1f}, but its build is {may_be[0]} by then"


def _all_due(result: Play, job: Job) -> Iterator[str]:
    """What failed was started again as often as is written, where nothing ended the triggering."""
    history, twist = result.histories[job.id], result.schedule.twist
    is_closed = any(isinstance(one.entry.event, Stopped) for _, written in states(result, job) for one in written)
    if is_closed or not _is_told(result) or twist.overlap is not None:
        return
    for target in job.targets:
        progress = history.of(target.id)
        verdict = progress.verdict
        if verdict is None or verdict.outcome not in (Outcome.FAILED, Outcome.ERRORED) or target.reruns.at_most:
            continue
        if progress.reruns < target.reruns.times and "start" not in verdict.reason:
            yield f"{target.id} is {verdict.outcome} after {progress.reruns} reruns of {target.reruns.times}"
