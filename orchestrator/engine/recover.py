"""What a process does first with the rows of an account: what an earlier one left without an answer is in doubt."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.events import Absent, Doubted, Requested, TargetEvent
from orchestrator.core.model import Outcome, Target
from orchestrator.core.next_step import End, Nothing, next_step
from orchestrator.core.progress import Progress
from orchestrator.engine.facts import AccountRun

STEP = 5.0  # seconds by which two readings of the provider's clock differ, from which on a clock has stepped
LOST = "the process ended before the answer was journaled"


async def recover(account: AccountRun) -> None:
    """Puts every row into its place; a call that an earlier process left without an answer is in doubt."""
    lost: list[tuple[int, Sequence[TargetEvent]]] = []
    known, now = account.run.history.progress, account.now()
    for row in account.rows:
        target = account.target(row)
        progress = known.get(target.id)
        if progress is None:  # nothing was ever written about it
            account.place_new(row)
            continue
        if progress.verdict is not None and progress.verdict.outcome is not Outcome.IN_DOUBT:
            continue  # whatever is done stays so, and most of what is taken up is
        events = _said_by_a_person(account, row, target, progress) or _lost_by_a_crash(account, target, progress)
        step = next_step(target, progress, now, account.run.since)
        if events or isinstance(step, End):
            lost.append((row, events))
        elif not isinstance(step, Nothing):
            account.place(row, step)
    await account.record_all(lost)


def _lost_by_a_crash(account: AccountRun, target: Target, progress: Progress) -> Sequence[TargetEvent]:
    asked, doubt = progress.asked_at, progress.doubt
    if asked is None:
        return ()
    now, alive = account.now(), _last_alive(account)
    if doubt is not None:
        if not _has_stepped(account, doubt.skew) and not account.run.is_carried:
            return ()
        return (Doubted(target.id, progress.attempts, doubt.cause, doubt.start, now, doubt.skew),)
    is_unknown = alive is None or account.run.is_carried or _has_stepped(account, progress.asked_skew)
    end = now if alive is None or is_unknown else min(max(asked, alive), now)
    return (Doubted(target.id, progress.attempts, LOST, asked, end, progress.asked_skew),)


def _last_alive(account: AccountRun) -> float | None:
    """The latest instant at which an earlier holder of the lease can have sent a call, by our clock."""
    alive = account.lease.last_alive
    return None if alive is None else alive - account.run.clocks.steady() + account.now()


def _has_stepped(account: AccountRun, skew: int | None) -> bool:
    """Whether times that were written at that skew do not fit our clock: then only what we measure counts."""
    known = account.sender.skew
    return known is None or skew is None or abs(known - skew) > STEP


def _said_by_a_person(account: AccountRun, row: int, target: Target, progress: Progress) -> Sequence[TargetEvent]:
    options, verdict = account.run.options, progress.verdict
    if progress.asked_at is None and (verdict is None or verdict.outcome is not Outcome.IN_DOUBT):
        return ()
    if request := options.adopt_request.get(target.id):
        return (Requested(target.id, request, "adopted"),)
    if target.id in options.assume_absent:
        account.vouched.add(row)
        return (Absent(target.id, progress.attempts, "a person said so: --assume-absent"),)
    return ()
