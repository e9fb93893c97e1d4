"""Settles the rows whose answer was lost: looks for their request, and believes in its absence only when it may."""

from __future__ import annotations

from heapq import heappush

from orchestrator.engine.ledger import Ledger
from orchestrator.errors import InDoubt, LookFailed, RateLimited, Unreachable
from orchestrator.events import Absent, Ended, Requested
from orchestrator.model import Interval, Outcome, Request, Trigger
from orchestrator.policy import NARROWEST, Ask, Find, look_interval
from orchestrator.provider import Provider, ShowsRequests
from orchestrator.state import Doubt

SKEW_MARGIN = 2.0  # seconds; the provider's Date header has whole seconds


class Doubts:
    """Finds out what became of lost calls."""

    def __init__(self, ledger: Ledger, looker: Provider) -> None:
        self.ledger = ledger
        self._looker = looker

    async def find(self, row: int) -> None:
        """One look for the request of a lost call."""
        ledger = self.ledger
        progress, step = ledger.progress(row), ledger.step(row)
        doubt = progress.doubt
        if isinstance(step, Ask):
            await self._look_before(row)
        if doubt is None or not isinstance(step, Find):
            return
        if not ledger.can_find(row):
            await self._give_up(row, "it carries no marker by which it could be recognised")
            return
        target = ledger.target(row)
        trigger = Trigger(target, progress.attempts, progress.marker, ledger.run.name)
        began = ledger.now()
        try:
            request = await self._looker.find(trigger, self._asked(doubt), ledger.known(row))
        except (InDoubt, LookFailed, RateLimited, Unreachable) as error:
            await self._undecided(row, step, doubt, str(error))
            return
        if request is not None:
            await self._found(row, request)
        elif began < doubt.end + target.timeouts.settle:
            self._again(row, doubt.end + target.timeouts.settle)
        elif not ledger.marker_proven:
            why = "no request of this account was ever seen to carry its marker, so that its absence proves nothing"
            await self._undecided(row, step, doubt, why)
        else:
            evidence = f"a complete listing begun {began - doubt.end:.0f} s after the call ended has no such marker"
            ledger.run.observe("trigger.absent", target=target.id)
            await ledger.record(row, Absent(target.id, progress.attempts, evidence))

    # -- before the first trigger -------------------------------------------------------------------------------

    async def _look_before(self, row: int) -> None:
        """Looks for what an earlier run, or this one before its state was lost, may have asked for already."""
        ledger, now = self.ledger, self.ledger.now()
        if not ledger.marker_proven and not self._proves(row):
            self._again(row, now + NARROWEST)
            return
        if await self.may_be_triggered(row):
            ledger.rows.make_ready(row)

    def _proves(self, row: int) -> bool:
        """Where nobody has seen a marker yet, one row goes ahead: what the others do not find proves nothing before."""
        ledger = self.ledger
        if ledger.prover is None or ledger.progress(ledger.prover).is_done:
            ledger.prover = row
        return ledger.prover == row

    async def may_be_triggered(self, row: int) -> bool:
        """Whether no earlier request of the row is there; where there is one, or none can tell, the row is put away."""
        ledger, target = self.ledger, self.ledger.target(row)
        marker = ledger.run.look_for[target.id]
        trigger = Trigger(target, 1, marker, ledger.run.name)
        asked = Interval(0.0, ledger.now() + (ledger.gate.skew or 0) + SKEW_MARGIN)
        try:
            request = await self._looker.find(trigger, asked, ledger.known(row))
        except (InDoubt, LookFailed, RateLimited, Unreachable) as error:
            await self._cannot_tell(row, str(error))
            return False
        ledger.looked[row] = ledger.now()
        if request is None:
            return True
        ledger.run.observe("request.found", target=target.id, id=request.id)
        await ledger.prove_marker()
        found = Requested(target.id, request.id, "found", request.handle, request.url, marker)
        await ledger.record(row, found)
        return False

    async def _cannot_tell(self, row: int, why: str) -> None:
        ledger, now = self.ledger, self.ledger.now()
        target = ledger.target(row)
        ledger.run.observe("find.undecided", target=target.id, cause=why)
        if now - ledger.run.since > target.timeouts.accept:
            reason = f"it cannot be told whether an earlier run asked for it: {why}; resume looks again"
            await ledger.record(row, Ended(target.id, Outcome.IN_DOUBT, "in_doubt", reason))
            return
        self._again(row, now + look_interval(now - ledger.run.since) + ledger.run.random.uniform(0.0, 1.0))

    # -- after a lost answer ------------------------------------------------------------------------------------

    def _asked(self, doubt: Doubt) -> Interval:
        """When the call may have reached the provider, by its clock as it was then: either clock may have stepped."""
        end = self.ledger.now() + (self.ledger.gate.skew or 0) + SKEW_MARGIN
        if doubt.skew is None:
            return Interval(0.0, end)
        return Interval(doubt.start + doubt.skew - SKEW_MARGIN, max(end, doubt.end + doubt.skew + SKEW_MARGIN))

    async def _found(self, row: int, request: Request) -> None:
        ledger, target = self.ledger, self.ledger.target(row)
        ledger.run.observe("request.found", target=target.id, id=request.id)
        await ledger.prove_marker()
        await ledger.record(row, Requested(target.id, request.id, "found", request.handle, request.url))

    async def _undecided(self, row: int, step: Find, doubt: Doubt, why: str) -> None:
        ledger = self.ledger
        now = ledger.now()
        ledger.run.observe("find.undecided", target=ledger.target(row).id, cause=why)
        if now >= step.until:
            await self._give_up(row, why)
            return
        wait = look_interval(now - doubt.end) + ledger.run.random.uniform(0.0, 1.0)
        settled = doubt.end + ledger.target(row).timeouts.settle
        # A look just after the settle time is the first that can tell absence: do not sleep past it.
        soonest = settled if now < settled < now + wait else now + wait
        self._again(row, min(step.until, soonest))

    async def _give_up(self, row: int, why: str) -> None:
        looker, target = self._looker, self.ledger.target(row)
        where = looker.requests_page(target) if isinstance(looker, ShowsRequests) else "the provider"
        await self.ledger.end_in_doubt(row, why, where)

    def _again(self, row: int, at: float) -> None:
        heappush(self.ledger.rows.finds, (at, row))
