"""What must hold after any schedule. The service's own count is the judge, not what the engine believes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from orchestrator.core.errors import JournalError, LeaseLost
from orchestrator.core.events import (
    Absent,
    Claimed,
    Ended,
    Intended,
    JournalWentBack,
    Refused,
    Released,
    Requested,
    Withdrawn,
    target_of,
)
from orchestrator.core.history import History, exit_code
from orchestrator.core.model import BuildState, Outcome, Target
from orchestrator.core.next_step import DOUBTS_IN_A_ROW
from orchestrator.core.options import Options
from orchestrator.core.progress import NEW, Progress, apply
from orchestrator.providers import registry
from orchestrator.providers.port import Declaration

from .doubts import doubts_hold, may_stay
from .evidence import Evidence, last_end, states
from .kinds import KINDS
from .machine import Written
from .play import Play
from .reruns import reruns_hold
from .rollouts import Checked
from .rules import keeps_rules
from .schedule import PATIENCE, Job
from .world import Row

STATES = {
    Outcome.PASSED: BuildState.PASSED,
    Outcome.FAILED: BuildState.FAILED,
    Outcome.ERRORED: BuildState.ERRORED,
    Outcome.CANCELED: BuildState.CANCELED,
    Outcome.SUPERSEDED: BuildState.SUPERSEDED,
}
UNNAMED = ("accepted", "")  # ids of requests of which the service told none
NOT_LOOKED_UP = "what its trigger needs could not be looked up"
BACKOFFS, BACKOFF = 6, 8.0  # an outage sees at most so many backoffs, and one more for each so many seconds
LOOK = 2 * PATIENCE  # seconds before a verdict, from which on its fresh look cannot have missed what had ended


def problems(result: Play) -> list[str]:
    """Everything that is wrong with a play, as sentences; empty when nothing is."""
    return list(dict.fromkeys(_all(result)))


def _all(result: Play) -> Iterator[str]:
    if result.stuck:
        yield f"the run does not end: {result.stuck}"
        return
    evidence = Evidence(result)
    yield from _failures(result)
    yield from keeps_rules(result)
    for job in result.jobs:
        for _, written in states(result, job):
            yield from _stream_order(written)
            if job.rollout is not None:
                yield from Checked(result, job).read(written)
        yield from _exit_codes(result, job)
        for target in job.targets:
            yield from _target(result, evidence, job, target)
            yield from doubts_hold(result, evidence, job, target)
    yield from reruns_hold(result, evidence)
    yield from _outage(result, evidence)
    yield from _replaced(result)


def _failures(result: Play) -> Iterator[str]:
    """A process ends with a code, or because another one has the lease or its state is gone, or it dies; never else."""
    back = result.schedule.twist.put_back
    leaves = (LeaseLost, JournalError) if back is not None and back.is_live else LeaseLost
    for driving in result.machine.driven:
        if driving.error is not None and not isinstance(driving.error, leaves):
            yield f"{driving.process.name} broke: {driving.error!r}"


# -- one target -------------------------------------------------------------------------------------------------


def _target(result: Play, evidence: Evidence, job: Job, target: Target) -> Iterator[str]:
    made = evidence.made(job.id, target)
    yield from _once(result, evidence, job, target, made)
    for _, everything in states(result, job):
        written = [one for one in everything if target_of(one.entry.event) == target.id]
        yield from _history(target, written, everything)
        if _can_be_told(result, target):
            yield from _nothing_there(target, written, [(row, row.order) for row in made])
        yield from _in_time(target, written, evidence)
    if target in result.histories[job.id].targets:
        yield from _outcome(result, evidence, job, target, made)


def _once(result: Play, evidence: Evidence, job: Job, target: Target, made: list[Row]) -> Iterator[str]:
    """One request at most; a person who says that there is none allows one more, and answers for it."""
    if not _can_be_told(result, target):
        return
    said = sorted(order for order in _absent_by_word(result, job, target))
    for _, rows in groupby(made, lambda row: sum(order < row.order for order in said)):
        rows = list(rows)
        ids = [row.id for row in rows]
        if len(ids) > 1 and not _was_unseen(result, evidence, job, rows):
            yield f"{target.id} of {job.id} has {len(ids)} requests: {', '.join(ids)}"
    old = result.schedule.jobs[0]
    site = evidence.sites[target.account]
    is_shown = KINDS[site.type].shows(site, target)  # else one target goes ahead to prove it
    if job.id == "again" and made and evidence.made(old.id, target) and not _is_known(result, old, target) and is_shown:
        yield f"{target.id} has a request of {old.id} that was not known, and {job.id} made another"
    if job.id == "again" and made:
        yield from _had_ended(result, evidence, target, evidence.made(old.id, target))


def _was_unseen(result: Play, evidence: Evidence, job: Job, rows: Sequence[Row]) -> bool:
    """Whether each further request was preceded by a look that came too early, though nothing told so.

    The journal had lost the first one, no listing showed it yet, and no other lost one had been found: what no client
    can close (docs/safety.md).
    """
    first, *more = sorted(rows, key=lambda row: row.order)
    return result.schedule.twist.put_back is not None and all(
        evidence.looked(one) < first.shown and not _knows_of_a_gap(result, evidence, job, one) for one in more
    )


def _knows_of_a_gap(result: Play, evidence: Evidence, job: Job, row: Row) -> bool:
    sent = evidence.call_of(row)
    told = [
        one for _, written in states(result, job) for one in written if isinstance(one.entry.event, JournalWentBack)
    ]
    return any(one.process == sent.process.name and one.order < sent.order for one in told)


def _can_be_told(result: Play, target: Target) -> bool:
    """Whoever goes on with a copy cannot tell what was asked for since it was made, where no marker can be found."""
    twist = result.schedule.twist
    site = result.machine.network.sites[target.account]
    is_found = target.marked and _declared(result, target).finds.can_tell and KINDS[site.type].shows(site, target)
    return is_found or (twist.disaster is None and twist.put_back is None)


def _declared(result: Play, target: Target) -> Declaration:
    return registry.declared(result.machine.network.sites[target.account].account)


def _absent_by_word(result: Play, job: Job, target: Target) -> Iterator[int]:
    for _, written in states(result, job):
        for one in written:
            event = one.entry.event
            if isinstance(event, Absent) and event.target == target.id and "a person said so" in event.evidence:
                yield one.order


def _is_known(result: Play, old: Job, target: Target) -> bool:
    return result.histories[old.id].of(target.id).request is not None


def _had_ended(result: Play, evidence: Evidence, target: Target, old: list[Row]) -> Iterator[str]:
    """What is retried by another request runs no more."""
    made_at = result.made["again"][0]
    for row in old:
        if not row.builds and not row.is_rejected:
            yield f"{target.id} is retried while its old request {row.id} is undecided"
        for build in row.builds:
            if not any(at <= made_at for at in build.ended):
                yield f"{target.id} is retried at {made_at:.1f} while its old build {build.id} runs"


def _history(target: Target, written: list[Written], everything: Sequence[Written]) -> Iterator[str]:
    """The facts about a target follow from one another."""
    progress = NEW
    for one in written:
        event, before = one.entry.event, progress
        progress = apply(before, event, one.entry.at)  # type: ignore[arg-type]  # those with a target
        if isinstance(event, Intended):
            if before.may_exist:
                yield f"{target.id} is intended again at {one.time:.1f} while a request exists or may exist"
            if before.verdict is not None:
                yield f"{target.id} is intended at {one.time:.1f} after its verdict {before.verdict.outcome}"
            if event.attempt != before.attempts + 1:
                yield f"{target.id}: attempt {event.attempt} follows attempt {before.attempts}"
        old = before.request
        if isinstance(event, Requested) and old is not None and old.id not in (event.id, *UNNAMED):
            yield f"{target.id}: its request changes from {old.id} to {event.id}"
        if not (isinstance(event, Released) and _needs_have_passed(target, everything, one)):
            yield from _verdict_stays(target, before, progress, one)


def _needs_have_passed(target: Target, everything: Sequence[Written], until: Written) -> bool:
    """Whether what was skipped for a need in doubt may go: each of its needs was settled since, and has passed."""
    passed = set[str]()
    for one in everything:
        if one.order < until.order and isinstance(one.entry.event, Ended):
            change = passed.add if one.entry.event.outcome is Outcome.PASSED else passed.discard
            change(one.entry.event.target)
    return bool(target.needs) and passed.issuperset(target.needs)


def _verdict_stays(target: Target, before: Progress, after: Progress, one: Written) -> Iterator[str]:
    old, new = before.verdict, after.verdict
    if old is None or old == new:
        return
    is_sought = new is not None and {old.outcome, new.outcome} == {Outcome.IN_DOUBT, Outcome.SKIPPED} and target.needs
    if is_sought:  # it was looked for while its need ended in doubt
        return
    if not old.outcome.is_provisional:
        yield f"{target.id}: the final outcome {old.outcome} changes at {one.time:.1f} by {one.entry.event}"
    elif new is not None and new.outcome is not old.outcome and not isinstance(one.entry.event, Refused):
        yield f"{target.id}: the outcome {old.outcome} becomes {new.outcome} at {one.time:.1f} without evidence"


def _nothing_there(target: Target, written: list[Written], made: list[tuple[Row, int]]) -> Iterator[str]:
    """Where the journal says that an attempt started nothing, no call made until then has a request, ever."""
    requested = False
    for one in written:
        event = one.entry.event
        requested = requested or isinstance(event, Requested)
        if isinstance(event, Absent) and "a person said so" in event.evidence:
            made = [(row, order) for row, order in made if order > one.order]  # the person answers for those before
        elif isinstance(event, Absent | Withdrawn | Refused) and not requested:  # else it tells of a restart
            for row, order in made:
                if order < one.order:
                    yield f"{target.id}: {event.kind} at {one.time:.1f}, but request {row.id} exists"


def _in_time(target: Target, written: list[Written], evidence: Evidence) -> Iterator[str]:
    """What had ended before the last look at it has not run out of time."""
    request = ""
    for one in written:
        event = one.entry.event
        if isinstance(event, Requested):
            request = event.id
        row = evidence.row(target, request)
        if not isinstance(event, Ended) or event.outcome is not Outcome.TIMED_OUT or row is None:
            continue
        ends = [last_end(build, one.time) for build in row.builds]
        last = max((at for some in ends for at in some), default=math.inf)
        if all(ends) and last < one.time - LOOK:
            yield f"{target.id} is timed out at {one.time:.1f} ({event.reason}); its build ended at {last:.1f}"


def _outcome(result: Play, evidence: Evidence, job: Job, target: Target, made: list[Row]) -> Iterator[str]:
    progress = result.histories[job.id].of(target.id)
    verdict = progress.verdict
    if verdict is None:
        yield from _open(result, job, target)
    own = [*made, *(evidence.made(result.schedule.jobs[0].id, target) if job.id == "again" else ())]
    request = progress.request
    is_own = request is None or request.id in UNNAMED or evidence.row(target, request.id) in own
    is_own = is_own or _is_guessed(result, job, target)
    if request is not None and not is_own and not evidence.is_named(job, target, request.id):
        yield f"{target.id} holds request {request.id}, which is not its own"
    if verdict is None:
        return
    word = any(True for _ in _absent_by_word(result, job, target))
    is_unsought = verdict.outcome is Outcome.SKIPPED and target.needs and len(result.machine.states) > 1
    is_kept = _can_be_told(result, target) and not is_unsought
    if made and request is None and verdict.outcome is not Outcome.IN_DOUBT and not word and is_kept:
        yield f"{target.id} is {verdict.outcome}, but it has request {made[0].id}: lost"
    cannot = verdict.code in ("no_restart", "not_restarted") and job.id == "again"
    if verdict.outcome is Outcome.REJECTED and not cannot and not _is_refused(result, evidence, job, target, progress):
        yield f"{target.id} is rejected, but nobody refused it"
    build = progress.build
    if verdict.outcome in STATES and build is not None and verdict.code != "accepted":
        state = "none of the service's" if evidence.build(target, progress) is None else build.state
        if state != STATES[verdict.outcome]:
            yield f"{target.id} of {job.id} is {verdict.outcome}, but its build is {state}"
    built_nothing = build is not None and build.state is BuildState.SKIPPED
    if verdict.outcome is Outcome.SKIPPED and target.skip is None and not target.needs and not built_nothing:
        yield f"{target.id} is skipped for no reason"
    is_told = verdict.reason.startswith(NOT_LOOKED_UP)
    if verdict.outcome is Outcome.TIMED_OUT and not progress.attempts and request is None and not is_told:
        yield f"{target.id} timed out, and was never asked for"


def _is_guessed(result: Play, job: Job, target: Target) -> bool:
    """Whether the service told no id and shows no marker, so that the run of that time was taken for the target's."""
    ids = [
        one.entry.event.id
        for _, written in states(result, job)
        for one in written
        if isinstance(one.entry.event, Requested) and one.entry.event.target == target.id
    ]
    return "accepted" in ids and not _declared(result, target).finds.can_tell


def _is_refused(result: Play, evidence: Evidence, job: Job, target: Target, progress: Progress) -> bool:
    """Whether the service refused the trigger, the restart, or the request, or can be seen to take none there."""
    row = evidence.row(target, progress.request.id) if progress.request else None
    if (row is not None and row.is_rejected) or target.repo in evidence.sites[target.account].odd:
        return True
    others = [sent for sent in evidence.by_order.values() if sent.run == job.id and sent.purpose == "trigger"]
    return any(sent.refused for sent in (*evidence.asked(job, target), *(one for one in others if not one.said)))


def _open(result: Play, job: Job, target: Target) -> Iterator[str]:
    """An open target is told by the exit code, except where a person ended the run and keeps its builds."""
    history = result.histories[job.id]
    if history.exit_code in (None, 0) and job.cancel_at is None and result.schedule.twist.overlap is None:
        yield f"{target.id} is open, and the exit code is {history.exit_code}"


def _outage(result: Play, evidence: Evidence) -> Iterator[str]:
    """What an outage may spend is bounded, and all is well after it."""
    outage = result.schedule.twist.outage
    if outage is None:
        return
    spent: dict[tuple[str, str], set[str]] = {}
    for sent in result.machine.network.log:
        if sent.said and outage.at <= sent.left < outage.at + outage.seconds and sent.fault == outage.kind:
            spent.setdefault((sent.process.name, sent.account), set()).add(sent.said)
    for (process, account), targets in spent.items():
        connections = result.machine.network.sites[account].connections
        if len(targets) > DOUBTS_IN_A_ROW + connections + BACKOFFS + outage.seconds / BACKOFF:
            yield f"{process} spends {len(targets)} targets in an outage of {outage.seconds:.0f} s"
    for run, history in result.histories.items():
        job = next(job for job in result.jobs if job.id == run)
        clear = [target for target in history.targets if not may_stay(result, evidence, job, target)]
        doubtful = [target.id for target in clear if _is_in_doubt(history, target)]
        if doubtful:
            yield f"{len(doubtful)} targets of {run} are in doubt at the end, for an outage: {doubtful[0]}"


def _is_in_doubt(history: History, target: Target) -> bool:
    verdict = history.of(target.id).verdict
    return verdict is not None and verdict.outcome is Outcome.IN_DOUBT


def _replaced(result: Play) -> Iterator[str]:
    """A run that replaced another one has its targets to itself."""
    overlap = result.schedule.twist.overlap
    if overlap is None or overlap.rule == "allow" or overlap.job.id not in result.made:
        return
    targets = {target.id for job in result.jobs if job.id == overlap.job.id for target in job.targets}
    for job in result.jobs:
        for _, written in states(result, job):
            for one in written:
                late = one.order > result.made[overlap.job.id][1] and isinstance(one.entry.event, Intended)
                if late and job.id != overlap.job.id and target_of(one.entry.event) in targets:
                    yield f"{job.id} intends {target_of(one.entry.event)} at {one.time:.1f}, which another run holds"


# -- the run, the journal ---------------------------------------------------------------------------------------


def _stream_order(written: list[Written]) -> Iterator[str]:
    """Streams are dense, epochs rise, and nobody writes under an old one."""
    last: dict[str, tuple[int, int]] = {}
    for one in written:
        stream, event = one.entry.account, one.entry.event
        seq, epoch = last.get(stream, (one.entry.seq - 1 if stream else 1, 0))
        if one.entry.seq != seq + 1:
            yield f"stream {stream!r} goes from {seq} to {one.entry.seq}"
        if one.epoch < epoch or (isinstance(event, Claimed) and one.epoch <= epoch):
            yield f"stream {stream!r}: {one.process} writes {event.kind} at {one.time:.1f} under old epoch {one.epoch}"
        last[stream] = (one.entry.seq, max(epoch, one.epoch))


def _exit_codes(result: Play, job: Job) -> Iterator[str]:
    """The process that left last says what the journal says, unless that was put back under it."""
    history = result.histories[job.id]
    left = [driving for driving in result.machine.driven if driving.job.id == job.id and driving.code is not None]
    if not left or left[-1].knows_more or history.exit_code is None:
        return
    if (said := exit_code(history, Options().failures)) != history.exit_code:
        yield f"{job.id}: exit code {history.exit_code}, but its history says {said}"
