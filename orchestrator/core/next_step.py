"""When to do what next with a target: plain arithmetic over its progress and the clocks.

Nothing here remembers anything. `next_step` sees the progress that the journal gives, so a resumed run decides as
the first one would have.
"""

from __future__ import annotations

from random import Random
from typing import TypeAlias

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Build, BuildState, Outcome, Target
from orchestrator.core.progress import Progress
from orchestrator.core.times import counted

BASE, CAP = 0.5, 30.0  # seconds; full jitter between 0 and min(CAP, BASE * 2**n)
FIRST_POLL = 1.0  # seconds from the receipt to the first poll, which waits for others that are due about then
NARROWEST, WIDEST = 5.0, 60.0  # seconds between two polls of a request
STEPS = (WIDEST, 20.0, 10.0)  # seconds between the instants on which polls fall that are further apart
DOUBTS_IN_A_ROW = 5  # lost answers in a row, after which one trigger at a time goes out
LOOKUPS_AFTER_SETTLE = 3
AFTER_RERUN, EVERY_TIME = "passed_after_rerun", "failed_every_time"  # codes of builds that were started again


class Ask(Struct, frozen=True):
    """Trigger it."""


class Find(Struct, frozen=True):
    """Look up what became of the lost call; not before `at`, and give up after `until` (wall clock)."""

    at: float
    until: float


class Poll(Struct, frozen=True):
    """Poll its request or build again; `deadline` is when its timeout ends, and `why` says what did not happen."""

    deadline: float
    why: str


class Again(Struct, frozen=True):
    """Start its build again, as it failed."""


class End(Struct, frozen=True):
    """Give the verdict."""

    outcome: Outcome
    code: str
    reason: str


class Nothing(Struct, frozen=True):
    """It is done."""


Step: TypeAlias = Ask | Find | Poll | Again | End | Nothing

_OUTCOMES = {
    BuildState.PASSED: End(Outcome.PASSED, "passed", "build passed"),
    BuildState.FAILED: End(Outcome.FAILED, "build_failed", "build failed"),
    BuildState.ERRORED: End(Outcome.ERRORED, "build_errored", "build errored"),
    BuildState.CANCELED: End(Outcome.CANCELED, "build_canceled", "build canceled"),
    BuildState.SUPERSEDED: End(Outcome.SUPERSEDED, "superseded", "another build replaced it"),
    BuildState.SKIPPED: End(Outcome.SKIPPED, "nothing_built", "the build ran nothing"),
    BuildState.ACCEPTED: End(Outcome.PASSED, "accepted", "accepted; its result is not followed"),
}


def next_step(target: Target, progress: Progress, now: float, since: float, *, again: bool = False) -> Step:
    """What to do next with a target that may be triggered.

    Args:
        now: wall clock.
        since: when this process began to drive (wall clock). A lost call is looked up for `accept` from the later of
            its time and this, so that a resume always looks it up, and triggers again where nothing was started.
        again: whether its build, if it has failed, is to be started again.
    """
    verdict = progress.verdict
    if verdict is not None and not (verdict.outcome is Outcome.IN_DOUBT and verdict.at < since):
        return Nothing()
    if progress.asked_at is not None:
        return _doubt(target, progress, since)
    if progress.request is not None:
        return Again() if again else _follow(target, progress)
    first, last = progress.first_asked_at, progress.last_asked_at or since
    if first is not None and last >= since and now - max(first, since) > target.timeouts.accept:
        return End(Outcome.TIMED_OUT, "no_build", "no build appeared: every attempt was lost on the way")
    return Ask()


def _follow(target: Target, progress: Progress) -> Step:
    build, times = progress.build, target.timeouts
    if build is None:
        asked = progress.requested_at if progress.reruns else progress.triggered_at
        return Poll(_first(asked, progress.requested_at) + times.accept, "no build appeared")
    if build.state.is_final:
        return verdict_of(build, progress)
    if build.state is BuildState.QUEUED:
        return Poll(_first(progress.appeared_at) + times.queue, "did not start")
    return Poll(_first(build.started_at, progress.appeared_at) + times.build, "did not end")


def _first(*times: float | None) -> float:
    return next((at for at in times if at is not None), 0.0)


def verdict_of(build: Build, progress: Progress) -> End:
    """The verdict that follows from a build that has ended."""
    end = _OUTCOMES[build.state]
    if progress.reruns and build.state is BuildState.PASSED:
        return End(end.outcome, AFTER_RERUN, f"build passed after {counted(progress.reruns, 'rerun')}")
    if progress.reruns and build.state is BuildState.FAILED:
        return End(end.outcome, EVERY_TIME, f"build failed {progress.reruns + 1} times")
    if build.state is BuildState.CANCELED and progress.canceling_at is not None:
        return End(end.outcome, "canceled_by_us", "canceled by this run")
    return End(end.outcome, end.code, f"{end.reason}: {build.reason}" if build.reason else end.reason)


def _doubt(target: Target, progress: Progress, since: float) -> Step:
    times, doubt = target.timeouts, progress.doubt
    lost = doubt.end if doubt is not None else progress.asked_at or 0.0
    settled = lost + times.settle
    until = max(max(lost, since) + times.accept, settled + LOOKUPS_AFTER_SETTLE * NARROWEST)
    return Find(min(settled, lost + NARROWEST), until)


TIMED_OUT_CODES = {"no build appeared": "no_build", "did not start": "not_started", "did not end": "not_ended"}


def timed_out(why: str) -> End:
    """The verdict when a timeout has ended and a fresh poll showed nothing else."""
    return End(Outcome.TIMED_OUT, TIMED_OUT_CODES[why], why)


def backoff(failures: int, random: Random) -> float:
    """Seconds before asking again after so many failures in a row: full jitter, so that many clients spread out."""
    return random.uniform(0.0, min(CAP, BASE * 2.0 ** min(failures, 10)))


def poll_interval(quiet_for: float) -> float:
    """Seconds until the next poll of something that has shown nothing new for so long; grows with age."""
    return min(WIDEST, max(NARROWEST, quiet_for / 8.0))


def next_poll(began: float, quiet_for: float) -> float:
    """When a request is polled again whose last poll began then, and that has shown nothing new for so long.

    Polls of about the same interval fall on the same instants, whenever their builds began: one listing shows them all.
    """
    interval = poll_interval(quiet_for)
    step = next((step for step in STEPS if step <= interval), NARROWEST)
    return -(-(began + NARROWEST / 2) // step) * step


def tick(at: float) -> float:
    """The instant rounded up to the next tick, so that polls that are due at about the same time share one listing."""
    return -(-at // NARROWEST) * NARROWEST
