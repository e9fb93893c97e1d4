"""What a process does first with the rows of an account: what an earlier one left without an answer is in doubt."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.events import Absent, Doubted, Requested, TargetEvent
from orchestrator.core.model import Outcome
from orchestrator.core.next_step import End, Nothing
from orchestrator.engine.facts import AccountRun

STEP = 5.0  # seconds by which two readings of the provider's clock differ, from which on a clock has stepped
LOST = "the process ended before the answer was journaled"


async def recover(account: AccountRun) -> None:
    """Puts every row into its place; a call that an earlier process left without an answer is in doubt."""
    lost: list[tuple[int, Sequence[TargetEvent]]] = []
    for row in account.rows:
        if (verdict := account.progress(row).verdict) is not None and verdict.outcome is not Outcome.IN_DOUBT:
            continue  # whatever is done stays so, and most of what is taken up is
        events = _said_by_a_person(account, row) or _lost_by_a_crash(account, row)
        if events:
            lost.append((row, events))
        elif isinstance(step := account.step(row), End):
            lost.append((row, ()))
        elif not isinstance(step, Nothing):
            account.place(row, step)
    await account.record_all(lost)


def _lost_by_a_crash(account: AccountRun, row: int) -> Sequence[TargetEvent]:
    target, progress = account.target(row), account.progress(row)
    asked, doubt = progress.asked_at, progress.doubt
    if asked is None:
        return ()  # nearly all of them: no clock is read for these
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


def _said_by_a_person(account: AccountRun, row: int) -> Sequence[TargetEvent]:
    target, progress, options = account.target(row), account.progress(row), account.run.options
    verdict = progress.verdict
    if progress.asked_at is None and (verdict is None or verdict.outcome is not Outcome.IN_DOUBT):
        return ()
    if request := options.adopt_request.get(target.id):
        return (Requested(target.id, request, "adopted"),)
    if target.id in options.assume_absent:
        account.vouched.add(row)
        return (Absent(target.id, progress.attempts, "a person said so: --assume-absent"),)
    return ()
