"""Settles the rows whose answer was lost: looks for their request, and believes in its absence only when it may."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotShown, RateLimited, Unreachable
from orchestrator.core.events import Absent, Doubted, Ended, Requested, TargetEvent
from orchestrator.core.model import ACCOUNT, Build, Interval, Outcome, Request, Target, Trigger
from orchestrator.core.next_step import NARROWEST, Ask, End, Find, Nothing, poll_interval
from orchestrator.core.progress import Doubt, Progress
from orchestrator.engine.facts import AccountRun
from orchestrator.engine.restarts import LostRestarts
from orchestrator.engine.run import HOUR
from orchestrator.providers.port import Provider, ShowsRequests

SKEW_MARGIN = 2.0  # seconds; the provider's Date header has whole seconds
STEP = 60.0  # seconds between two readings of the provider's clock; a listing begins earlier by more than that
STEPPED = 5.0  # seconds by which two readings of the provider's clock differ, from which on a clock has stepped
LOST = "the process ended before the answer was journaled"
TAKEN_OVER = "each is looked up by its marker before it is triggered"
STALLS = 10  # times the settle time, after which no call can still stand in the queue of a provider that stalled


class _Once:
    """Sends each read once: what was answered is the answer to the same question, too."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._answers: dict[tuple[str, str, object], Answer] = {}

    async def send(self, call: Call) -> Answer:
        """Sends a call, unless it was answered before."""
        key = call.method, call.path, call.query
        if key not in self._answers:
            self._answers[key] = await self._send(call)
        return self._answers[key]


class LostCalls:
    """Finds out what became of lost calls."""

    def __init__(self, account: AccountRun, provider: Provider, send: Send) -> None:
        self.account = account
        self._provider = provider
        self._send = send
        self._restarts = LostRestarts(account, provider)
        self._heard: dict[tuple[int, int], float] = {}  # by row and attempt: when a look at it was first answered
        self._heard_at: float | None = None  # when any look was

    async def find(self, row: int) -> None:
        """One look for the request of a lost call."""
        account = self.account
        progress, step = account.progress(row), account.step(row)
        doubt = progress.doubt
        if isinstance(step, Ask):
            await self._look_before(row)
        if doubt is None or not isinstance(step, Find):
            return
        if (restart := account.restart(row)) is not None:
            await self._restarts.look(row, step, doubt, restart)
            return
        if not account.can_find(row):
            await self._give_up(row, "it carries no marker by which it could be recognised")
            return
        target = account.target(row)
        shows, prepared = await account.shows_marker(row), account.prepared.get(account.prepared_key(row))
        trigger = Trigger(target, progress.attempts, progress.marker, account.run.name, prepared, shows)
        began, asked = account.now(), self._asked(doubt)
        try:
            request = await self._provider.find(trigger, asked, account.known(row))
        except (AccessRefused, InDoubt, LookFailed, RateLimited, Unreachable) as error:
            await self._refused(error)
            if isinstance(error, InDoubt):
                self._heard_one(row)
            await self._undecided(row, step, doubt, error)
            return
        self._heard_one(row)
        if request is not None:
            await self._found(row, request)
        elif self._asked(doubt).start < asked.start - STEP:  # the answer tells that the provider's clock went back
            self.account.find_at(row, account.now())
        elif began < (settled := self._settled(row, doubt, began)):
            self.account.find_at(row, settled)
        else:
            missing = "such marker" if shows else "row of that time that could be it"
            evidence = f"a complete listing begun {began - doubt.end:.0f} s after the call ended has no {missing}"
            account.notice("trigger.absent", target=target.id)
            if target.id not in account.run.look_for and not account.run.went_back:  # else another call may be there
                account.looked[row] = began
            await account.record(row, Absent(target.id, progress.attempts, evidence))

    def _heard_one(self, row: int) -> None:
        """A look was answered: whatever stood before it in the provider's queue is handled."""
        now = self.account.now()
        self._heard.setdefault((row, self.account.progress(row).attempts), now)
        self._heard_at = now if self._heard_at is None else self._heard_at

    def _settled(self, row: int, doubt: Doubt, began: float) -> float:
        """From when on a look that begins then can tell absence.

        A provider that stalls handles a call long after it ended, together with the looks that came behind it. So the
        settle time counts from the first answer to a look, which shows that the call is no longer under way.
        """
        settle = self.account.target(row).timeouts.settle
        if began >= doubt.end + STALLS * settle:
            return doubt.end + settle
        return max(doubt.end, self._heard[row, self.account.progress(row).attempts]) + settle

    # -- before the first trigger -------------------------------------------------------------------------------

    async def _look_before(self, row: int) -> None:
        """Looks for what an earlier run, or this one before its state was lost, may have asked for already."""
        account, now = self.account, self.account.now()
        if self._is_closed(row):
            account.admission.enqueue(row)
            return
        is_kept = account.target(row).id in account.run.look_for
        if is_kept and not await account.shows_marker(row) and not self._proves(row) and not self._is_disproved(row):
            self.account.find_at(row, now + NARROWEST)
            return
        if await self.may_be_triggered(row):
            account.admission.enqueue(row)

    def _proves(self, row: int) -> bool:
        """Until a marker was seen, one row goes ahead: what the others do not find proves nothing before.

        If nothing came of it, another one goes. If its request is there and shows no marker, none does: each would be a
        build that may be there already.
        """
        account, proof = self.account, self.account.proof(row)
        prover = account.provers.get(proof)
        if prover is None or (self._is_over(prover) and not account.progress(prover).may_exist):
            account.provers[proof] = row
        return account.provers[proof] == row

    def _is_disproved(self, row: int) -> bool:
        """Whether the row that went ahead is over, and its request never showed the marker."""
        prover = self.account.provers.get(self.account.proof(row))
        return prover is not None and prover != row and self._is_over(prover)

    def _is_over(self, row: int) -> bool:
        return self.account.progress(row).is_done or self.account.admission.is_closed(row)

    async def look_at_all(self, rows: Sequence[int]) -> None:
        """Looks for rows of one repository that were taken over from the journal: one listing serves them all."""
        account = self.account
        provider = account.line.provider_over(_Once(self._send).send)
        absent = [row for row in rows if self._is_closed(row) or await self.may_be_triggered(row, provider)]
        for row in absent if not account.run.is_closed else ():
            account.admission.enqueue(row)

    def _is_closed(self, row: int) -> bool:
        """Whether the row is not triggered any more, and so goes with the others of which that is so."""
        return not self.account.run.looks_first or self.account.admission.is_closed(row)

    async def may_be_triggered(self, row: int, provider: Provider | None = None) -> bool:
        """Whether no earlier request of the row is there; where there is one, or none can tell, the row is put away.

        Args:
            provider: looks in place of the account's.
        """
        account, target, run = self.account, self.account.target(row), self.account.run
        kept = run.look_for.get(target.id)
        marker = account.marker(target) if kept is None else kept
        shows = await account.shows_marker(row) or self._proves(row)
        prepared = account.prepared.get(account.prepared_key(row))
        trigger = Trigger(target, 1, marker, run.name, prepared, shows)
        began, skew = account.now(), account.sender.skew or 0
        since = run.look_since if kept is not None else run.history.made_at - HOUR
        asked = Interval(since + min(skew, 0), began + skew + SKEW_MARGIN)
        try:
            request = await (provider or self._provider).find(trigger, asked, account.known(row))
        except (AccessRefused, InDoubt, LookFailed, RateLimited, Unreachable) as error:
            await self._refused(error)
            if isinstance(error, NotShown) and kept is None:  # then its trigger is refused, too
                account.looked[row] = began
                return True
            await self._cannot_tell(row, error)
            return False
        self._heard_at = account.now() if self._heard_at is None else self._heard_at
        if request is None:
            # an earlier process may have asked for it until this one began, and its call may not be handled yet
            settled = max(run.since, self._heard_at) + target.timeouts.settle
            if began < settled and (kept is not None or run.went_back):
                self.account.find_at(row, settled)
                return False
            account.looked[row] = account.now()
            return True
        account.run.stopping_since = account.now()  # where it is to be canceled, that counts from here
        await self._found(row, request, marker)
        if kept is None:
            await account.notice_gap()
        return False

    async def _cannot_tell(self, row: int, why: Exception) -> None:
        account, now = self.account, self.account.now()
        target = account.target(row)
        account.notice("find.undecided", target=target.id, cause=str(why))
        if now - account.run.since > target.timeouts.accept:
            reason = f"it is not known whether an earlier run asked for it: {why}; resume looks again"
            await account.record(row, Ended(target.id, Outcome.IN_DOUBT, "in_doubt", reason, _may_be(why)))
            return
        self.account.find_at(row, now + poll_interval(now - account.run.since) + account.run.random.uniform(0.0, 1.0))

    # -- after a lost answer ------------------------------------------------------------------------------------

    def _asked(self, doubt: Doubt) -> Interval:
        """When the call may have reached the provider, by its clock as it was then: either clock may have stepped."""
        end = self.account.now() + (self.account.sender.skew or 0) + SKEW_MARGIN
        if doubt.skew is None:
            return Interval(0.0, end)
        skews = (doubt.skew, doubt.skew if self.account.sender.skew is None else self.account.sender.skew)
        return Interval(doubt.start + min(skews) - SKEW_MARGIN, max(end, doubt.end + doubt.skew + SKEW_MARGIN))

    async def _found(self, row: int, request: Request, marker: str | None = None) -> None:
        account, target = self.account, self.account.target(row)
        account.notice("request.found", target=target.id, id=request.id)
        await account.prove_marker(row)
        await account.record(row, Requested(target.id, request.id, "found", request.handle, request.url, marker))

    async def _refused(self, error: Exception) -> None:
        """A look that was refused for a whole owner stops that owner; the account's refusal goes on."""
        if isinstance(error, AccessRefused):
            if error.scope == ACCOUNT:
                raise error
            await self.account.refuse(error)

    async def _undecided(self, row: int, step: Find, doubt: Doubt, why: Exception) -> None:
        account = self.account
        now = account.now()
        account.notice("find.undecided", target=account.target(row).id, cause=str(why))
        if now >= step.until:
            await self._give_up(row, str(why), _may_be(why))
            return
        wait = poll_interval(now - doubt.end) + account.run.random.uniform(0.0, 1.0)
        settled = doubt.end + account.target(row).timeouts.settle
        # A look just after the settle time is the first that can tell absence: do not sleep past it.
        soonest = settled if now < settled < now + wait else now + wait
        self.account.find_at(row, min(step.until, soonest))

    async def _give_up(self, row: int, why: str, builds: tuple[Build, ...] = ()) -> None:
        """Stops looking; a person, or a later resume, can still settle it."""
        provider, target = self._provider, self.account.target(row)
        where = provider.requests_page(target) if isinstance(provider, ShowsRequests) else "the provider"
        doubt = self.account.progress(row).doubt
        cause = doubt.cause if doubt is not None else "the answer was lost"
        remedy = f"look at {where}, then `resume --adopt-request TARGET=ID` or `resume --assume-absent TARGET`"
        reason = f"answer lost ({cause}) and not found again: {why}; {remedy}"
        await self.account.record(row, Ended(target.id, Outcome.IN_DOUBT, "in_doubt", reason, builds))


def _may_be(error: Exception) -> tuple[Build, ...]:
    """The builds that a look showed, and that may be what a lost call started."""
    return error.builds if isinstance(error, InDoubt) else ()


# -- what an earlier process left -------------------------------------------------------------------------------------


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
            account.failed(row)
            continue  # whatever is done stays so, and most of what is taken up is
        events = _said_by_a_person(account, row, target, progress) or _lost_by_a_crash(account, target, progress)
        step = account.step_after(row, progress, now)
        if events or isinstance(step, End):
            lost.append((row, events))
        elif not isinstance(step, Nothing):
            account.place(row, step)
    if targets := sum(map(len, account.unseen.values())):
        account.notice("targets.taken_over", account=account.name, targets=targets, next=TAKEN_OVER)
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
    return known is None or skew is None or abs(known - skew) > STEPPED


def _said_by_a_person(account: AccountRun, row: int, target: Target, progress: Progress) -> Sequence[TargetEvent]:
    options = account.run.options
    if not progress.is_in_doubt:
        return ()
    if request := options.adopt_request.get(target.id):
        return (Requested(target.id, request, "adopted"),)
    if target.id in options.assume_absent:
        account.vouched.add(row)
        return (Absent(target.id, progress.attempts, "a person said so: --assume-absent"),)
    return ()
