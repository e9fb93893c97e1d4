"""What must hold after any schedule. The service's own count is the judge, not what the engine believes."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.engine.run import Options
from orchestrator.errors import LeaseLost
from orchestrator.events import (
    Absent,
    Claimed,
    Intended,
    Refused,
    Requested,
    Withdrawn,
    target_of,
)
from orchestrator.model import Outcome, Target
from orchestrator.report.verdict import exit_code
from orchestrator.sandbox.counts import worst_window
from orchestrator.sandbox.rows import Request
from orchestrator.state import NEW, Progress, apply

from .machine import Written
from .network import Sent
from .play import Play
from .schedule import Job

SLACK = 1e-6
CLOCKS = 1.0  # seconds; a Date header has no less
STATES = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.ERRORED: "errored",
    Outcome.CANCELED: "canceled",
}


def problems(result: Play) -> list[str]:
    """Everything that is wrong with a play, as sentences; empty when nothing is."""
    return list(dict.fromkeys(_all(result)))


def _all(result: Play) -> Iterator[str]:
    if result.stuck:
        yield f"the run does not end: {result.stuck}"
        return
    yield from _failures(result)
    yield from _limits(result)
    yield from _bans(result)
    for job in result.schedule.jobs:
        yield from _stream_order(result.machine.written.get(job.id, []))
        yield from _exit_codes(result, job)
        for target in job.targets:
            yield from _target(result, job, target)


def _failures(result: Play) -> Iterator[str]:
    """A process ends with a code, or because another one has the lease, or it dies; it never breaks."""
    for driving in result.machine.driven:
        if driving.error is not None and not isinstance(driving.error, LeaseLost):
            yield f"{driving.process.name} broke: {driving.error!r}"


# -- one target -------------------------------------------------------------------------------------------------


def _target(result: Play, job: Job, target: Target) -> Iterator[str]:
    tag = str(target.request["message"])
    asked = [sent for sent in result.machine.network.log if sent.tag.startswith(tag)]
    made = [row for row in result.world.counts.accepted if (row.said or "").startswith(tag)]
    written = [one for one in result.machine.written.get(job.id, []) if target_of(one.entry.event) == target.id]
    if len(made) > 1:
        yield f"{target.id} has {len(made)} requests: {', '.join(str(row.id) for row in made)}"
    yield from _history(target, written)
    yield from _nothing_there(target, written, [(row, _caller(result, row, asked)) for row in made])
    yield from _outcome(result, job, target, asked, made)


def _history(target: Target, written: list[Written]) -> Iterator[str]:
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
        if isinstance(event, Requested) and before.request is not None and before.request.id != event.id:
            yield f"{target.id}: its request changes from {before.request.id} to {event.id}"
        yield from _verdict_stays(target, before, progress, one)


def _verdict_stays(target: Target, before: Progress, after: Progress, one: Written) -> Iterator[str]:
    old, new = before.verdict, after.verdict
    if old is None or old == new:
        return
    if not old.outcome.is_provisional:
        yield f"{target.id}: the final outcome {old.outcome} changes at {one.time:.1f} by {one.entry.event}"
    elif new is not None and new.outcome is not old.outcome and not isinstance(one.entry.event, Refused):
        yield f"{target.id}: the outcome {old.outcome} becomes {new.outcome} at {one.time:.1f} without evidence"


def _nothing_there(target: Target, written: list[Written], made: list[tuple[Request, Sent | None]]) -> Iterator[str]:
    """Where the journal says that an attempt started nothing, no call made until then has a request, ever."""
    requested = False
    for one in written:
        event = one.entry.event
        requested = requested or isinstance(event, Requested)
        if isinstance(event, Absent | Withdrawn) or (isinstance(event, Refused) and not requested):
            for row, caller in made:
                if caller is None or caller.order < one.order:
                    yield f"{target.id}: {event.kind} at {one.time:.1f}, but request {row.id} exists"


def _caller(result: Play, row: Request, asked: list[Sent]) -> Sent | None:
    """The call that made a request, at once or late."""
    known = next((sent for sent in asked if sent.request == row.id), None)
    if known is not None:
        return known
    settings = result.schedule.settings
    waits = [rule.seconds for rule in result.schedule.faults if rule.kind == "applied_late" and rule.seconds]
    return next(
        (
            sent
            for sent in asked
            if sent.fault == "applied_late"
            and any(abs(sent.at_service + settings.skew + wait - row.created_at) < 0.001 for wait in waits)
        ),
        None,
    )


def _outcome(result: Play, job: Job, target: Target, asked: list[Sent], made: list[Request]) -> Iterator[str]:
    progress = result.histories[job.id].of(target.id)
    verdict = progress.verdict
    ids = {str(row.id) for row in made}
    if progress.request is not None and progress.request.id not in ids:
        yield f"{target.id} holds request {progress.request.id}, which is not its own"
    if verdict is None:
        yield from _open(result, job, target, made)
        return
    if made and progress.request is None and verdict.outcome is not Outcome.IN_DOUBT:
        yield f"{target.id} is {verdict.outcome}, but it has request {made[0].id}: lost"
    if verdict.outcome is Outcome.REJECTED:
        rejected = any(sent.refused for sent in asked) or any(row.result == "rejected" for row in made)
        if not rejected:
            yield f"{target.id} is rejected, but nobody refused it"
    if verdict.outcome in STATES:
        states = [
            build.state for row in made for build in row.builds if progress.build and str(build.id) == progress.build.id
        ]
        if states != [STATES[verdict.outcome]]:
            yield f"{target.id} is {verdict.outcome}, but its build is {states}"
    if verdict.outcome is Outcome.SKIPPED and target.skip is None and not target.needs:
        yield f"{target.id} is skipped for no reason"


def _open(result: Play, job: Job, target: Target, made: list[Request]) -> Iterator[str]:
    """An open target is told by the exit code, except where a person ended the run and keeps its builds."""
    history = result.histories[job.id]
    if history.exit_code in (None, 0) and job.cancel_at is None:
        yield f"{target.id} is open, and the exit code is {history.exit_code}"


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
    """The process that left last says what the journal says."""
    history = result.histories[job.id]
    codes = [driving.code for driving in result.machine.driven if driving.job is job and driving.code is not None]
    if codes and history.exit_code is not None and exit_code(history, Options().fail_on) != history.exit_code:
        yield f"{job.id}: exit code {history.exit_code}, but its history says {exit_code(history, Options().fail_on)}"


# -- the rules of the service -----------------------------------------------------------------------------------


def _limits(result: Play) -> Iterator[str]:
    schedule = result.schedule
    if schedule.jumps:
        return  # the service's clock is read every 30 s: what was stamped just before a jump is misjudged
    ours = [sent for sent in result.machine.network.log if sent.arrived is not None]
    slack = SLACK
    if len(schedule.jobs) > 1:  # what two runs share is counted from when a call leaves, by clocks of whole seconds
        slack = schedule.settings.latency[1] / 2 + CLOCKS
    for account in schedule.accounts:
        times = sorted(sent.at_service for sent in ours if sent.account == account and sent.method == "POST")
        for limit in schedule.limits:
            if limit.name == "triggers" and (worst := worst_window(times, limit.per - slack)) > limit.calls:
                yield f"{account}: {worst} POSTs within {limit}"


def _bans(result: Play) -> Iterator[str]:
    """A process that was told of a ban makes no further call."""
    told: dict[tuple[str, str], float] = {}
    for sent in result.machine.network.log:
        if sent.is_ban and sent.answered is not None:
            key = sent.process.name, sent.account
            told[key] = min(sent.answered, told.get(key, sent.answered))
    for sent in result.machine.network.log:
        since = told.get((sent.process.name, sent.account))
        if since is not None and sent.left > since:
            yield f"{sent.process.name} calls {sent.path} at {sent.left:.1f}, banned since {since:.1f}"
