"""Which doubts may stay: those of calls that were lost, where what the service shows cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from orchestrator.core.events import AccountStopped, Ended, MarkerProven
from orchestrator.core.model import Findability, Outcome, Target
from orchestrator.providers import registry

from .evidence import Evidence, states
from .kinds import KINDS
from .machine import Written
from .play import Play
from .schedule import SETTLE, Job


def doubts_hold(result: Play, evidence: Evidence, job: Job, target: Target) -> Iterator[str]:
    """Where a target ends in doubt although nothing was lost, or although a look had to settle it."""
    verdict = result.histories[job.id].of(target.id).verdict
    if verdict is None or verdict.outcome is not Outcome.IN_DOUBT:
        return
    if not _is_any_lost(result, evidence, job, target):
        yield f"{target.id} of {job.id} is in doubt, and no answer was lost"
    for _, written in states(result, job):
        ends = [one for one in written if isinstance(one.entry.event, Ended) and one.entry.event.target == target.id]
        is_due = ends and _is_calm(result, ends[-1], written)
        if is_due and not may_stay(result, evidence, job, target, ends[-1].order):
            where = f"{target.id} of {job.id} is in doubt at {ends[-1].time:.1f}"
            yield f"{where}, and the service could tell: {verdict.reason}"


def may_stay(result: Play, evidence: Evidence, job: Job, target: Target, until: float = inf) -> bool:
    """Whether what the service shows leaves it open what became of a lost call; `until` is an order."""
    site = evidence.sites[target.account]
    finds = registry.declared(site.account).finds
    if finds is Findability.NEVER or not target.marked or target.repo in site.odd:  # which perhaps shows nothing
        return True
    is_proven = finds is not Findability.HEURISTIC and _is_proven(result, job, target, until)
    is_any = site.type == "buildbot"  # which does not tell builders apart
    rows = [row for row in evidence.rows if row.world == site.world and (is_any or row.slug == target.repo)]
    if is_proven and not KINDS[site.type].hides(site, target):
        return any(not row.builds for row in rows)  # Travis shows no message of what it has not processed
    return bool(rows) or site.type == "webhook"  # which shows nothing but what carries the marker


def _is_any_lost(result: Play, evidence: Evidence, job: Job, target: Target) -> bool:
    """Whether an answer to a trigger of the target was lost, with its process or with the state that had it."""
    if len(result.machine.states) > 1 or job.id in ("again", "r9"):  # which look for what an earlier run has lost
        return True
    left = {driving.process.name for driving in result.machine.driven if driving.code is not None}
    calls = evidence.asked(job, target)
    return not calls or any(sent.fault or not sent.is_answered or sent.process.name not in left for sent in calls)


def _is_proven(result: Play, job: Job, target: Target, until: float) -> bool:
    """Whether the marker of the target's requests was seen until then where it is to be found."""
    site = result.machine.network.sites[target.account]
    kind = KINDS[site.type]
    if result.schedule.proven and kind.shows(site, target):
        return True
    place = kind.declared.place(target)
    proof = f"{target.repo} {place}" if place else ""
    proven = [
        one.entry.event.place
        for _, written in states(result, job)
        for one in written
        if one.order < until and one.entry.account == site.name and isinstance(one.entry.event, MarkerProven)
    ]
    return proof in proven


def _is_calm(result: Play, end: Written, written: Sequence[Written]) -> bool:
    """Whether whoever gave it up had looked in peace: nothing failed, no clock was set, nobody was shut out."""
    schedule, twist = result.schedule, result.schedule.twist
    if schedule.steps or schedule.jumps or schedule.bans or twist.steps or twist.stalls or twist.words:
        return False
    if len(result.machine.states) > 1 or any(isinstance(one.entry.event, AccountStopped) for one in written):
        return False
    began = next(driving.began for driving in result.machine.driven if driving.process.name == end.process)
    return began >= schedule.calm_at and end.time >= began + 3 * SETTLE
