"""What a process does first with the rows of an account: what an earlier one left without an answer is in doubt."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.events import Absent, Doubted, Requested, TargetEvent
from orchestrator.core.model import Outcome
from orchestrator.core.next_step import End, Nothing
from orchestrator.engine.facts import Ledger

STEP = 5.0  # seconds by which two readings of the provider's clock differ, from which on a clock has stepped
LOST = "the process ended before the answer was journaled"


async def recover(ledger: Ledger) -> None:
    """Puts every row into its place; a call that an earlier process left without an answer is in doubt."""
    lost: list[tuple[int, Sequence[TargetEvent]]] = []
    for row in ledger.all_rows:
        if (verdict := ledger.progress(row).verdict) is not None and verdict.outcome is not Outcome.IN_DOUBT:
            continue  # whatever is done stays so, and most of what is taken up is
        events = _said_by_a_person(ledger, row) or _lost_by_a_crash(ledger, row)
        if events:
            lost.append((row, events))
        elif isinstance(step := ledger.step(row), End):
            lost.append((row, ()))
        elif not isinstance(step, Nothing):
            ledger.place(row, step)
    await ledger.record_all(lost)


def _lost_by_a_crash(ledger: Ledger, row: int) -> Sequence[TargetEvent]:
    target, progress = ledger.target(row), ledger.progress(row)
    asked, doubt = progress.asked_at, progress.doubt
    if asked is None:
        return ()  # nearly all of them: no clock is read for these
    now, alive = ledger.now(), _last_alive(ledger)
    if doubt is not None:
        if not _has_stepped(ledger, doubt.skew) and not ledger.run.is_carried:
            return ()
        return (Doubted(target.id, progress.attempts, doubt.cause, doubt.start, now, doubt.skew),)
    is_unknown = alive is None or ledger.run.is_carried or _has_stepped(ledger, progress.asked_skew)
    end = now if alive is None or is_unknown else min(max(asked, alive), now)
    return (Doubted(target.id, progress.attempts, LOST, asked, end, progress.asked_skew),)


def _last_alive(ledger: Ledger) -> float | None:
    """The latest instant at which an earlier holder of the lease can have sent a call, by our clock."""
    alive = ledger.lease.last_alive
    return None if alive is None else alive - ledger.run.steady() + ledger.now()


def _has_stepped(ledger: Ledger, skew: int | None) -> bool:
    """Whether times that were written at that skew do not fit our clock: then only what we measure counts."""
    known = ledger.gate.skew
    return known is None or skew is None or abs(known - skew) > STEP


def _said_by_a_person(ledger: Ledger, row: int) -> Sequence[TargetEvent]:
    target, progress, options = ledger.target(row), ledger.progress(row), ledger.run.options
    verdict = progress.verdict
    if progress.asked_at is None and (verdict is None or verdict.outcome is not Outcome.IN_DOUBT):
        return ()
    if request := options.adopt_request.get(target.id):
        return (Requested(target.id, request, "adopted"),)
    if target.id in options.assume_absent:
        ledger.vouched.add(row)
        return (Absent(target.id, progress.attempts, "a person said so: --assume-absent"),)
    return ()
