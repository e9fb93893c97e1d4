"""Bugs to be put in on purpose, to see that the oracle finds each. The engine has no switch for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrator.app import resume
from orchestrator.core import promotion, reruns, restart
from orchestrator.core.course import Course
from orchestrator.core.errors import InDoubt, LookFailed, RateLimited, Unreachable
from orchestrator.core.events import Absent, Approved, Ended, Event, Intended, target_of
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, Target, Trigger
from orchestrator.core.next_step import Find, Poll, timed_out
from orchestrator.core.progress import Progress
from orchestrator.core.restart import Became
from orchestrator.core.stop_rules import Look
from orchestrator.core.waves import Reruns, Wave
from orchestrator.engine import follow, restarts
from orchestrator.engine.coordinator import Coordinator
from orchestrator.engine.facts import AccountRun
from orchestrator.engine.follow import Follow
from orchestrator.engine.in_doubt import LostCalls
from orchestrator.engine.shared_limits import SharedLimits
from orchestrator.engine.trigger import Triggers
from orchestrator.journal.sql import Document, sqlite, tables
from orchestrator.limits.admission import Candidate
from orchestrator.limits.budget import Permit
from orchestrator.limits.rules import Traffic
from orchestrator.providers.travis import wire

from .patch import patched
from .planted_types import BUGS_OF_TYPES


@contextmanager
def intent_after_the_call() -> Iterator[None]:
    """The intent is journaled together with the answer, not before the call."""
    late: dict[tuple[int, str], Intended] = {}
    append = AccountRun.append

    async def append_late(self: AccountRun, *events: Event, at: float | None = None) -> None:
        late.update({(id(self), event.target): event for event in events if isinstance(event, Intended)})
        rest = [event for event in events if not isinstance(event, Intended)]
        told = [target_of(event) for event in (*(event for _, event in self._deferred), *rest)]
        intents = [late.pop((id(self), target)) for target in told if target and (id(self), target) in late]
        rows = {target.id: row for row, target in enumerate(self.run.history.targets)}
        self._deferred[:0] = [(rows[event.target], event) for event in intents]
        await append(self, *rest, at=at)

    with patched(AccountRun, append=append_late):
        yield


@contextmanager
def find_before_the_settle_time() -> Iterator[None]:
    """The first look that finds nothing is believed, however soon after the call."""
    find = LostCalls.find

    async def hasty(self: LostCalls, row: int) -> None:
        account = self.account
        progress, step = account.progress(row), account.step(row)
        doubt = progress.doubt
        if (
            doubt is None
            or not isinstance(step, Find)
            or not account.can_find(row)
            or not await account.shows_marker(row)
        ):
            await find(self, row)
            return
        trigger = Trigger(account.target(row), progress.attempts, progress.marker, account.run.name)
        try:
            request = await self._provider.find(trigger, self._asked(doubt), account.known(row))
        except (InDoubt, LookFailed, RateLimited, Unreachable) as error:
            await self._undecided(row, step, doubt, str(error))
            return
        if request is not None:
            await self._found(row, request)
        else:
            await account.record(row, Absent(account.target(row).id, progress.attempts, "hasty"))

    with patched(LostCalls, find=hasty):
        yield


@contextmanager
def epoch_not_checked() -> Iterator[None]:
    """An append is written whoever holds the lease by now."""
    end_of = tables.end_of
    append = sqlite.Sqlite._append

    def blind(self: sqlite.Sqlite, db: Any, document: Document) -> None:
        pieces = []
        for piece in document.pieces:
            epoch, last = end_of(db, piece.stream)
            pieces.append(piece._replace(epoch=epoch, first=last + 1))
        append(self, db, document._replace(pieces=pieces))

    with patched(sqlite.Sqlite, _append=blind):
        yield


@contextmanager
def clock_without_a_look() -> Iterator[None]:
    """A clock that has run out ends its target without a fresh look."""
    poll = Follow.poll

    async def decide(self: Follow, rows: Sequence[int]) -> None:
        left = []
        for row in rows:
            step = self.account.step(row)
            if isinstance(step, Poll) and self.account.now() >= step.deadline:
                end = timed_out(step.why)
                target = self.account.target(row).id
                await self.account.record(row, Ended(target, end.outcome, end.code, end.reason))
            else:
                left.append(row)
        await poll(self, left)

    with patched(Follow, poll=decide):
        yield


@contextmanager
def adopt_without_a_look() -> Iterator[None]:
    """What was asked for before a state was lost or copied is not looked for."""
    with patched(AccountRun, must_look=lambda self, row: False):
        yield


@contextmanager
def take_over_without_a_look() -> Iterator[None]:
    """What an earlier process may have asked for without the journal telling of it is not looked for."""
    with patched(AccountRun, _is_taken_over=lambda self, target: False):
        yield


@contextmanager
def retry_without_markers() -> Iterator[None]:
    """A retried run is not told what the old one may have asked for."""
    with patched(resume, old_marker=lambda history, old, target: None):
        yield


@contextmanager
def limits_not_shared() -> Iterator[None]:
    """Each process counts its own calls only."""

    async def take(self: SharedLimits, *args: Any, **more: Any) -> tuple[float, str]:
        return 0.0, ""

    with patched(SharedLimits, take=take):
        yield


@contextmanager
def any_receipt_is_ours() -> Iterator[None]:
    """A receipt is believed whatever it echoes."""
    with patched(wire, check_receipt=lambda trigger, answer, **shown: None):
        yield


@contextmanager
def an_outage_without_a_brake() -> Iterator[None]:
    """However many triggers are not answered, the next ones go out as before."""
    with patched(Traffic, unanswered=lambda self, now, random: None):
        yield


@contextmanager
def a_wave_before_its_verdict() -> Iterator[None]:
    """A wave opens as soon as the one before was opened."""

    def following(self: Course, waves: Sequence[Wave]) -> int | None:
        last = max(self.waves, default=0)
        return last + 1 if last < len(waves) else None

    with patched(Course, following=following):
        yield


@contextmanager
def triggers_while_paused() -> Iterator[None]:
    """A pause holds the next wave only."""
    read_wishes = Coordinator._read_wishes

    async def read(self: Coordinator) -> None:
        await read_wishes(self)
        self._run.is_paused = False

    with patched(Coordinator, _read_wishes=read):
        yield


@contextmanager
def triggers_after_a_stop() -> Iterator[None]:
    """A stop is journaled, and nobody heeds it."""
    decide = Coordinator._decide

    def go_on(self: Coordinator, facts: Sequence[Event]) -> None:
        decide(self, facts)
        self._run.is_closed = False

    with patched(Coordinator, _decide=go_on):
        yield


@contextmanager
def approved_by_nobody() -> Iterator[None]:
    """A wave does not wait for the person who is to approve it."""
    with patched(Course, approval=lambda self, wave: Approved("nobody", 0.0, wave)):
        yield


@contextmanager
def a_wave_of_nothing_passed() -> Iterator[None]:
    """The next wave opens although nothing of the one before has passed."""
    with patched(promotion, nothing_passed=lambda *counted: Look("nothing_passed", False, True, "")):
        yield


@contextmanager
def a_rerun_by_a_new_request() -> Iterator[None]:
    """A build that failed is not started again: another one is asked for."""
    with patched(AccountRun, old=lambda self, row: self.run.restarts.get(self.target(row).id)):
        yield


@contextmanager
def reruns_after_a_stop() -> Iterator[None]:
    """A stop ends the triggering of new requests only."""
    take, may_leave = Triggers.take, Triggers._may_leave

    def is_due(self: AccountRun, row: int, target: Target, progress: Progress) -> bool:
        return progress.asked_at is None and self.run.places.take(target, progress)

    def take_reruns(self: Triggers, now: float) -> tuple[Candidate, Permit] | None:
        is_closed, self._run.is_closed = self._run.is_closed, self._run.is_closed and not self._account.reruns
        try:
            return take(self, now)
        finally:
            self._run.is_closed = is_closed

    async def let_leave(self: Triggers, candidate: Candidate, permit: Permit) -> bool:
        if candidate.row not in self._account.reruns:
            return await may_leave(self, candidate, permit)
        return not await self._gate.reserve(permit, candidate.costs, candidate.repo, trigger=True)

    with (
        patched(AccountRun, _is_rerun_due=is_due, has_idle_reruns=False),
        patched(Triggers, take=take_reruns, _may_leave=let_leave),
    ):
        yield


@contextmanager
def an_old_end_ends_the_new_start() -> Iterator[None]:
    """A build that was started again is believed to have ended as long as it still shows how it had."""
    with patched(follow, _is_since=lambda restart, build: True):
        yield


@contextmanager
def reruns_without_an_end() -> Iterator[None]:
    """A build is started again once more than is written."""

    as_written = reruns.is_wanted

    def is_wanted(target: Target, progress: Progress) -> bool:
        most = target.reruns.times
        return as_written(replace(target, reruns=Reruns(most + 1)) if most else target, progress)

    with patched(reruns, is_wanted=is_wanted):
        yield


@contextmanager
def reruns_of_a_whole_wave() -> Iterator[None]:
    """However many of a wave failed, all are started again."""
    with patched(reruns.Places, _most=lambda self, target: math.inf):
        yield


@contextmanager
def a_lost_restart_is_asked_again_at_once() -> Iterator[None]:
    """A look at a build whose restart was lost is believed before the call must have arrived."""

    def hasty(before: Build, seen: Sequence[Build], asked_at: float, **times: float) -> Became:
        return restart.became(before, seen, asked_at, **{**times, "settled": -math.inf})

    with patched(restarts, became=hasty):
        yield


BUGS: Mapping[str, Callable[[], Any]] = {
    "intent-after-the-call": intent_after_the_call,
    "find-before-the-settle-time": find_before_the_settle_time,
    "epoch-not-checked": epoch_not_checked,
    "clock-without-a-look": clock_without_a_look,
    "adopt-without-a-look": adopt_without_a_look,
    "take-over-without-a-look": take_over_without_a_look,
    "retry-without-markers": retry_without_markers,
    "limits-not-shared": limits_not_shared,
    "any-receipt-is-ours": any_receipt_is_ours,
    "an-outage-without-a-brake": an_outage_without_a_brake,
    "a-wave-before-its-verdict": a_wave_before_its_verdict,
    "triggers-while-paused": triggers_while_paused,
    "triggers-after-a-stop": triggers_after_a_stop,
    "approved-by-nobody": approved_by_nobody,
    "a-wave-of-nothing-passed": a_wave_of_nothing_passed,
    "a-rerun-by-a-new-request": a_rerun_by_a_new_request,
    "reruns-after-a-stop": reruns_after_a_stop,
    "an-old-end-ends-the-new-start": an_old_end_ends_the_new_start,
    "reruns-without-an-end": reruns_without_an_end,
    "reruns-of-a-whole-wave": reruns_of_a_whole_wave,
    "a-lost-restart-is-asked-again-at-once": a_lost_restart_is_asked_again_at_once,
    **BUGS_OF_TYPES,
}
