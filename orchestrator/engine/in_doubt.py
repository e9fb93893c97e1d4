"""Settles the rows whose answer was lost: looks for their request, and believes in its absence only when it may."""

from __future__ import annotations

from heapq import heappush

from orchestrator.core.errors import InDoubt, LookFailed, RateLimited, Unreachable
from orchestrator.core.events import Absent, Ended, Requested
from orchestrator.core.model import Interval, Outcome, Request, Trigger
from orchestrator.core.next_step import NARROWEST, Ask, Find, look_interval
from orchestrator.core.progress import Doubt
from orchestrator.engine.facts import Ledger
from orchestrator.providers.port import Provider, ShowsRequests

SKEW_MARGIN = 2.0  # seconds; the provider's Date header has whole seconds
STEP = 60.0  # seconds between two readings of the provider's clock; a listing begins earlier by more than that
STALLS = 10  # times the settle time, after which no call can still stand in the queue of a provider that stalled


class Doubts:
    """Finds out what became of lost calls."""

    def __init__(self, ledger: Ledger, looker: Provider) -> None:
        self.ledger = ledger
        self._looker = looker
        self._heard: dict[tuple[int, int], float] = {}  # by row and attempt: when a look at it was first answered
        self._heard_at: float | None = None  # when any look was

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
        began, asked = ledger.now(), self._asked(doubt)
        try:
            request = await self._looker.find(trigger, asked, ledger.known(row))
        except (InDoubt, LookFailed, RateLimited, Unreachable) as error:
            if isinstance(error, InDoubt):
                self._hear(row)
            await self._undecided(row, step, doubt, str(error))
            return
        self._hear(row)
        if request is not None:
            await self._found(row, request)
        elif self._asked(doubt).start < asked.start - STEP:  # the answer tells that the provider's clock went back
            self._again(row, ledger.now())
        elif began < (settled := self._settled(row, doubt, began)):
            self._again(row, settled)
        elif not ledger.marker_proven:
            why = "no request of this account was ever seen to carry its marker, so that its absence proves nothing"
            await self._undecided(row, step, doubt, why)
        else:
            evidence = f"a complete listing begun {began - doubt.end:.0f} s after the call ended has no such marker"
            ledger.run.observe("trigger.absent", target=target.id)
            await ledger.record(row, Absent(target.id, progress.attempts, evidence))

    def _hear(self, row: int) -> None:
        """A look was answered: whatever stood before it in the provider's queue is handled."""
        now = self.ledger.now()
        self._heard.setdefault((row, self.ledger.progress(row).attempts), now)
        self._heard_at = now if self._heard_at is None else self._heard_at

    def _settled(self, row: int, doubt: Doubt, began: float) -> float:
        """From when on a look that begins then can tell absence.

        A provider that stalls handles a call long after it ended, together with the looks that came behind it. So the
        settle time counts from the first answer to a look, which shows that the call is no longer under way.
        """
        settle = self.ledger.target(row).timeouts.settle
        if began >= doubt.end + STALLS * settle:
            return doubt.end + settle
        return max(doubt.end, self._heard[row, self.ledger.progress(row).attempts]) + settle

    # -- before the first trigger -------------------------------------------------------------------------------

    async def _look_before(self, row: int) -> None:
        """Looks for what an earlier run, or this one before its state was lost, may have asked for already."""
        ledger, now = self.ledger, self.ledger.now()
        if ledger.run.is_closed or ledger.is_shelved(row):
            ledger.rows.make_ready(row)  # with the others that are not triggered any more
            return
        if not ledger.marker_proven and not self._proves(row):
            self._again(row, now + NARROWEST)
            return
        if await self.may_be_triggered(row):
            ledger.rows.make_ready(row)

    def _proves(self, row: int) -> bool:
        """Where nobody has seen a marker yet, one row goes ahead: what the others do not find proves nothing before."""
        ledger = self.ledger
        if ledger.prover is None or ledger.progress(ledger.prover).is_done or ledger.is_shelved(ledger.prover):
            ledger.prover = row
        return ledger.prover == row

    async def may_be_triggered(self, row: int) -> bool:
        """Whether no earlier request of the row is there; where there is one, or none can tell, the row is put away."""
        ledger, target = self.ledger, self.ledger.target(row)
        marker = ledger.run.look_for[target.id]
        trigger = Trigger(target, 1, marker, ledger.run.name)
        began, skew = ledger.now(), ledger.gate.skew or 0
        asked = Interval(ledger.run.look_since + min(skew, 0), began + skew + SKEW_MARGIN)
        try:
            request = await self._looker.find(trigger, asked, ledger.known(row))
        except (InDoubt, LookFailed, RateLimited, Unreachable) as error:
            await self._cannot_tell(row, str(error))
            return False
        self._heard_at = ledger.now() if self._heard_at is None else self._heard_at
        if request is None:
            # whoever asked for it before did so until this process began, and may have been answered by nobody
            settled = max(ledger.run.since, self._heard_at) + target.timeouts.settle
            if began < settled:
                self._again(row, settled)
                return False
            ledger.looked[row] = ledger.now()
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
        skews = (doubt.skew, doubt.skew if self.ledger.gate.skew is None else self.ledger.gate.skew)
        return Interval(doubt.start + min(skews) - SKEW_MARGIN, max(end, doubt.end + doubt.skew + SKEW_MARGIN))

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
