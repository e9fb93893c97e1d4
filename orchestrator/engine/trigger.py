"""Triggers the rows of one account: from a row's turn to the provider's receipt, straight down the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import (
    AccessRefused,
    InDoubt,
    LookFailed,
    NotTriggered,
    RateLimited,
    Rejected,
    Unreachable,
)
from orchestrator.core.events import (
    Doubted,
    Ended,
    Intended,
    Prepared,
    Refused,
    Requested,
    RestartAsked,
    Restarted,
    TargetEvent,
    Withdrawn,
)
from orchestrator.core.model import Outcome, Request, Target, Trigger
from orchestrator.core.next_step import backoff, verdict_of
from orchestrator.core.options import OldBuild
from orchestrator.core.times import clock
from orchestrator.engine.facts import RESTARTED, AccountRun
from orchestrator.engine.gate import Gate
from orchestrator.engine.in_doubt import LostCalls
from orchestrator.engine.twins import Twins
from orchestrator.limits.admission import Candidate, Wait
from orchestrator.limits.budget import Permit
from orchestrator.limits.rules import NOTHING
from orchestrator.providers.port import Prepares, Provider, Restarts, carries_marker

STRANGERS = 5  # repositories in a row refused in words not the provider's own, at which the account is meant
PAUSED = Wait(math.inf, "a person to unpause the run", is_limit=False)
LOOK_AGAIN_AFTER = 10.0  # seconds for which the absence of an earlier request is believed without another look


class Worker:
    """One trigger at a time: a provider of its own, with one call that leaves on the permit that is held."""

    def __init__(self, gate: Gate, account: AccountRun) -> None:
        self._sender = gate.sender
        self.provider: Provider = account.line.provider_over(self._send)
        self.permit = Permit(())

    async def _send(self, call: Call) -> Answer:
        return await self._sender.send(call, self.permit)


class Triggers:
    """Asks the admission for rows and triggers them.

    Attributes:
        wait: why no row could be triggered when that was last asked.
    """

    def __init__(self, account: AccountRun, gate: Gate, provider: Provider, in_doubt: LostCalls) -> None:
        self._account = account
        self._run = account.run
        self._admission = account.admission
        self._gate = gate
        self._sender = gate.sender
        self._in_doubt = in_doubt
        self._prepares = provider if isinstance(provider, Prepares) else None
        self._unprepared: dict[str, int] = {}  # by place, how often what its triggers need could not be looked up
        self._twins = Twins(account)
        self._strangers = set[str]()  # repositories that were refused so since the provider itself last answered
        self._unprepared_since: dict[str, float] = {}
        self._quiet_until = -math.inf
        self.wait = NOTHING

    def take(self, now: float) -> tuple[Candidate, Permit] | None:
        """The next row that may be triggered now, with its permit."""
        account, admission, run = self._account, self._admission, self._run
        self.wait = NOTHING
        if run.is_closed or run.is_halted or run.is_releasing or self._sender.stopped is not None:
            return None
        if run.is_paused:
            self.wait = PAUSED if admission.has_any else NOTHING
            return None
        while isinstance(found := admission.take(now), Candidate):
            if account.may_be_triggered(found.row):
                return found, admission.budget.take(found.costs, found.repo)
            admission.traffic.under_way -= 1
            admission.over(found.row)
        self.wait = found
        if found.ends is not None and found.ends > self._quiet_until:
            self._quiet_until = found.ends
            run.notice("quiet.began", account=account.name, hours=found.rule, until=clock(found.ends))
        return None

    async def work(self, taken: tuple[Candidate, Permit]) -> None:
        """Triggers this row and then, while there are any, the next ones."""
        worker, following = Worker(self._gate, self._account), taken
        while True:
            candidate, worker.permit = following
            try:
                await self._trigger(candidate, worker)
            finally:
                self._admission.traffic.under_way -= 1
            if (more := self.take(self._run.now())) is None:
                break
            following = more
        await self._account.flush()

    async def _trigger(self, candidate: Candidate, worker: Worker) -> None:
        account, gate, row, permit = self._account, self._gate, candidate.row, worker.permit
        place = account.prepared_key(row)
        if self._prepares is not None and place not in account.prepared:
            gate.settle(permit)  # what is looked up takes permits of its own
            await account.flush()  # a lookup may take long, and what is deferred is not durable yet
            await self._prepare(row, place, self._prepares)
            return
        if (twin := self._twins.of(row, place)) is not None:
            gate.settle(permit)
            await account.record(row, twin)
            return
        target, attempt = account.target(row), account.progress(row).attempts + 1
        old, is_rerun = account.old(row), account.progress(row).request is not None
        marker = None if old is not None else account.marker(target)
        trigger = Trigger(target, attempt, marker, self._run.name, account.prepared.get(place))
        carried = marker is None or carries_marker(worker.provider, trigger)
        asked: TargetEvent = Intended(target.id, attempt, marker, self._sender.skew, carried)
        if old is not None:
            asked = RestartAsked(target.id, old.build, attempt)
        try:
            if not await self._may_leave(candidate, permit):
                gate.settle(permit)
                return
            await account.append(asked)
        except BaseException as error:
            gate.settle(permit, error)
            raise
        left, skew = account.now(), self._sender.skew
        try:
            request = await self._ask(trigger, old, worker.provider)
        except BaseException as error:
            # where the answer is lost, the provider may handle it, and count it, as late as the settle time tells
            gate.settle(permit, error, late=target.timeouts.settle)
            if not isinstance(error, InDoubt | NotTriggered):
                raise
            await self._not_answered(row, target, attempt, error, left, skew)
        else:
            gate.settle(permit, refused=old is not None)
            self._strangers.clear()
            self._admission.traffic.answered()
            # durable with the next intent of this worker, or when it has none: one sync for both
            how = "answered" if old is None else RESTARTED
            receipt: list[TargetEvent] = [] if old is None else [Restarted(target.id, old.build, attempt)]
            if not is_rerun:
                receipt.insert(0, Requested(target.id, request.id, how, request.handle, request.url))
            account.defer(row, *receipt)

    async def _ask(self, trigger: Trigger, old: OldBuild | None, provider: Provider) -> Request:
        """Triggers, or starts a build again in place of that."""
        if old is None:
            return await provider.trigger(trigger)
        if not isinstance(provider, Restarts):
            raise Rejected("no_restart", "the provider offers no way to start a build again")
        await provider.restart(trigger.target, old.as_seen)
        return old.request

    async def _not_answered(
        self, row: int, target: Target, attempt: int, error: InDoubt | NotTriggered, left: float, skew: int | None
    ) -> None:
        """The trigger brought no receipt: what that means for the target, and for others.

        Args:
            left: when it left, and `skew`, how far the provider's clock was ahead then.
        """
        account, traffic = self._account, self._admission.traffic
        if isinstance(error, InDoubt):
            now = account.now()
            traffic.unanswered(now, self._run.random)
            account.notice("trigger.in_doubt", target=target.id, cause=error.cause)
            await account.record(row, Doubted(target.id, attempt, error.cause, left, now, skew))
            if (silent := self._sender.silent_too_long(error.cause)) is not None:
                await account.refuse(silent)
            return
        if isinstance(error, Unreachable):
            account.notice("trigger.unreachable", target=target.id, cause=error.cause)
            await account.record(row, Withdrawn(target.id, attempt, "unreachable"))
            return
        traffic.answered()
        error = self._meant(error, target)
        match error:
            case Rejected():
                await account.record(row, *self._refused(row, target, attempt, error))
            case RateLimited():
                await account.freeze(error)
                await account.record(row, Withdrawn(target.id, attempt, "rate_limited"))
            case AccessRefused():
                await account.refuse(error)
                await account.record(row, Withdrawn(target.id, attempt, "access_refused"))
            case _:
                await account.record(row, Withdrawn(target.id, attempt, "not_triggered"))

    def _refused(self, row: int, target: Target, attempt: int, error: Rejected) -> Sequence[TargetEvent]:
        """The provider refused it for good; a build that it does not start again has the outcome that it had."""
        progress = self._account.progress(row)
        build = progress.build
        if progress.request is None or build is None or not build.state.is_final:
            return (Refused(target.id, error.code, error.reason),)
        end = verdict_of(build, progress)
        reason = f"{end.reason}; it could not be started again: {error.reason}"
        return Withdrawn(target.id, attempt, "refused"), Ended(target.id, end.outcome, end.code, reason)

    def _meant(self, error: NotTriggered, target: Target) -> NotTriggered:
        """The refusal, or that of the whole account, where a stranger has refused several repositories in a row."""
        if not isinstance(error, Rejected) or not error.is_foreign:
            self._strangers.clear()
            return error
        self._strangers.add(target.repo.lower())
        if len(self._strangers) < STRANGERS:
            return error
        reason = f"{error.reason}, and {STRANGERS} repositories in a row; check the account's `url` and the proxy"
        return AccessRefused("access_refused", reason)

    # -- before it leaves ---------------------------------------------------------------------------------------

    async def _may_leave(self, candidate: Candidate, permit: Permit) -> bool:
        """Whether nothing was asked for before, and no other process was first; else the row is put away."""
        account, admission, row, repo = self._account, self._admission, candidate.row, candidate.repo
        if account.must_look(row) and not await self._is_still_absent(row):
            if account.may_be_asked(row):
                admission.over(row)
            return False
        if await self._gate.reserve(permit, candidate.costs, repo, trigger=True):
            admission.put_back(row)
            return False
        if admission.quiet(account.now()) is not None:  # it has become quiet while an earlier request was looked for
            admission.put_back(row)
            return False
        if self._run.is_closed or self._run.is_paused:  # meanwhile, too
            admission.put_back(row)
            return False
        return True

    async def _is_still_absent(self, row: int) -> bool:
        """Just before a trigger, whether what was looked for some time ago is still not there."""
        account, looked = self._account, self._account.looked.get(row)
        if looked is not None:
            is_kept = account.target(row).id in self._run.look_for  # then another run, or a lost one, may still ask
            if not is_kept or account.now() - looked < LOOK_AGAIN_AFTER:
                return True
        return await self._in_doubt.may_be_triggered(row)

    async def _prepare(self, row: int, place: str, provider: Prepares) -> None:
        """Looks up what the triggers of a place need, once; the row waits for its turn again."""
        account, target, repo = self._account, self._account.target(row), self._admission.repo_of(row)
        try:
            what = await provider.prepare(target)
        except Rejected as error:
            await account.record(row, Refused(target.id, error.code, error.reason))
        except RateLimited as error:
            await account.freeze(error)
            self._admission.put_back(row)
        except AccessRefused:
            self._admission.put_back(row)
            raise
        except (LookFailed, InDoubt, NotTriggered) as error:
            failures = self._unprepared[place] = self._unprepared.get(place, 0) + 1
            until = account.now() + backoff(failures, self._run.random)
            account.notice("prepare.failed", target=target.id, cause=str(error))
            first = self._unprepared_since.setdefault(place, account.now())
            if account.now() - first > target.timeouts.accept:
                why = f"what its trigger needs could not be looked up: {error}"
                await account.record(row, Ended(target.id, Outcome.TIMED_OUT, "no_build", why))
                return
            self._admission.wait_until(row, Wait(until, "a look at what its triggers need", repo, is_limit=False))
        else:
            await account.append(Prepared(place, what))
            account.prepared[place] = what
            self._admission.put_back(row)
