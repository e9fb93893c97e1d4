"""The state of a target: a fold over its events, and nothing else.

A target has at most one open attempt (`asked`, or `doubt` once its answer is lost). `requested` closes
it for good; `withdrawn` and `absent` close it so that another attempt may be made. Everything the engine does next,
and everything a report says, is a function of the `Progress` that comes out of here, so a first run and a resumed
run cannot differ.
"""

from __future__ import annotations

from typing import assert_never

from orchestrator.core.causes import Cause
from orchestrator.core.events import (
    Absent,
    Canceling,
    CauseFound,
    Doubted,
    Ended,
    Intended,
    Refused,
    Released,
    Requested,
    RestartAsked,
    Restarted,
    Sighted,
    Skipped,
    TargetEvent,
    Withdrawn,
)
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Build, BuildState, Outcome, Phase, Request, unseen

NEED_NOT_PASSED = "need_not_passed"  # the code of a target that was skipped since it needs another


class Doubt(Struct, frozen=True, omit_defaults=True, gc=False):
    """A lost answer: why, and when the call can have reached the provider (wall clock).

    Args:
        skew: seconds by which the provider's clock was ahead when these times were taken; None: not known.
    """

    cause: str
    start: float
    end: float
    skew: int | None = 0


class Verdict(Struct, frozen=True, omit_defaults=True, gc=False):
    """How a target ended; `root` and `steps` as of `events.Skipped`, `builds` as of `events.Ended`."""

    outcome: Outcome
    code: str
    reason: str
    at: float
    root: str = ""
    steps: int = 0
    builds: tuple[Build, ...] = ()


class Restart(Struct, frozen=True, omit_defaults=True, gc=False):
    """The last time that a build was asked to start again.

    Args:
        asked_at: when (wall clock).
        before: the build as this run had seen it last; `unseen` where it had not.
        is_rerun: whether it had failed in this run.
    """

    before: Build
    asked_at: float
    is_rerun: bool = False


class Progress(Struct, frozen=True, gc=False):
    """What is known of one target.

    Args:
        attempts: trigger calls intended so far, and calls that were to start its build again.
        unsent: those of them that certainly never left.
        marker: the one that travels with them, where it is `carried`; else it only stands for the target in looks.
        asked_at: when the open attempt was intended; None when none is open.
        asked_skew: seconds by which the provider's clock was ahead then; None: not known.
        first_asked_at: when the first attempt that may have left was intended; `accept` counts from here.
        last_asked_at: when the last such attempt was intended.
        doubt: set when the open attempt's answer is lost.
        absences: lost attempts that started nothing, as a lookup showed.
        requested_at: when we first knew of the request.
        triggered_at: when the attempt that made the request was intended.
        builds: as last seen, in the order in which they were first seen.
        appeared_at: when the first build was first seen; `queue` counts from here.
        restart: set when its build was asked to start again; the open attempt is that call.
        reruns: how often it was started again since it had failed in this run.
        cause: why its build failed, as its log says.
    """

    attempts: int = 0
    marker: str | None = None
    released: bool = False
    asked_at: float | None = None
    asked_skew: int | None = 0
    first_asked_at: float | None = None
    doubt: Doubt | None = None
    absences: int = 0
    request: Request | None = None
    how: str = ""
    requested_at: float | None = None
    triggered_at: float | None = None
    builds: tuple[Build, ...] = ()
    appeared_at: float | None = None
    canceling_at: float | None = None
    cancel_note: str = ""
    verdict: Verdict | None = None
    last_asked_at: float | None = None
    unsent: int = 0
    restart: Restart | None = None
    reruns: int = 0
    cause: Cause | None = None
    carried: bool = True

    @property
    def is_done(self) -> bool:
        """Whether there is a verdict, provisional or not."""
        return self.verdict is not None

    @property
    def may_exist(self) -> bool:
        """Whether the provider has, or may have, a request for this target."""
        return self.request is not None or self.asked_at is not None

    @property
    def is_in_doubt(self) -> bool:
        """Whether a call may have made a request that is not known; a lost rerun is not: its build will tell."""
        is_open = self.asked_at is not None and self.request is None
        return is_open or (self.verdict is not None and self.verdict.outcome is Outcome.IN_DOUBT)

    @property
    def was_rerun(self) -> bool:
        """Whether its build was asked to start again since it had failed in this run."""
        return self.reruns > 0 or (self.restart is not None and self.restart.is_rerun)

    @property
    def is_restarting(self) -> bool:
        """Whether its build was asked to start again, and it is not known whether it did."""
        return self.asked_at is not None and self.restart is not None

    @property
    def build(self) -> Build | None:
        """The deciding build: of several one that goes on, else the one that ended worst."""
        if len(self.builds) < 2:
            return self.builds[0] if self.builds else None
        return min(self.builds, key=lambda build: _WORST_FIRST.get(build.state, -1))

    @property
    def phase(self) -> Phase:
        """How far the target has come."""
        if self.verdict is not None:
            return Phase.DONE
        if self.build is not None and self.asked_at is None:
            return Phase.QUEUED if self.build.state is BuildState.QUEUED else Phase.RUNNING
        return Phase.REQUESTED if self.may_exist else Phase.WAITING


_WORST_FIRST = {
    state: rank
    for rank, state in enumerate(
        (
            BuildState.FAILED,
            BuildState.ERRORED,
            BuildState.CANCELED,
            BuildState.SUPERSEDED,
            BuildState.PASSED,
            BuildState.ACCEPTED,
            BuildState.SKIPPED,
        )
    )
}

NEW = Progress()


def apply(progress: Progress, event: TargetEvent, at: float) -> Progress:
    """The progress after one more fact about the target.

    Args:
        at: when the fact was written (wall clock).
    """
    match event:  # the frequent ones first: each case that does not fit costs as much as a field
        case Sighted(build=build):
            first_seen = progress.appeared_at
            return replace(
                progress,
                builds=_with_build(progress.builds, build),
                appeared_at=at if first_seen is None else first_seen,
                verdict=_unless_provisional(progress.verdict),
            )
        case Intended(attempt=attempt, marker=marker, skew=skew, carried=carried):
            first = progress.first_asked_at
            return replace(
                progress,
                attempts=attempt,
                marker=marker,
                carried=carried,
                asked_at=at,
                asked_skew=skew,
                first_asked_at=at if first is None else first,
                last_asked_at=at,
                doubt=None,
            )
        case RestartAsked(build=build_id, attempt=attempt):
            first = progress.first_asked_at
            return replace(
                progress,
                attempts=attempt,
                asked_at=at,
                asked_skew=None,
                first_asked_at=at if first is None else first,
                last_asked_at=at,
                doubt=None,
                verdict=None,
                restart=Restart(_one(progress.builds, build_id), at, progress.request is not None),
            )
        case Requested(id=id_, handle=handle, url=url, how=how, marker=marker):
            asked = at if progress.asked_at is None else progress.asked_at
            return replace(
                progress,
                request=Request(id_, handle, url),
                marker=marker or progress.marker,
                how=how,
                requested_at=at if progress.requested_at is None else progress.requested_at,
                triggered_at=asked if progress.triggered_at is None else progress.triggered_at,
                asked_at=None,
                doubt=None,
                verdict=_unless_provisional(progress.verdict),
            )
        case Ended(outcome=outcome, code=code, reason=reason, builds=builds):
            return replace(progress, verdict=Verdict(outcome, code, reason, at, builds=builds))
        case Released():
            return replace(progress, released=True, verdict=_unless_of_needs(progress.verdict))
        case Withdrawn(cause=cause):
            first = progress.first_asked_at if progress.absences else None
            unsent = progress.unsent + (cause == "unreachable")
            return replace(progress, asked_at=None, doubt=None, first_asked_at=first, unsent=unsent)
        case Doubted(cause=cause, from_=start, to=end, skew=skew):
            return replace(progress, doubt=Doubt(cause, start, end, skew))
        case Absent():
            return replace(
                progress,
                asked_at=None,
                doubt=None,
                absences=progress.absences + 1,
                verdict=_unless_provisional(progress.verdict),
            )
        case Refused(code=code, reason=reason):
            return replace(progress, asked_at=None, doubt=None, verdict=Verdict(Outcome.REJECTED, code, reason, at))
        case Restarted():
            return replace(
                progress,
                builds=(),
                appeared_at=None,
                verdict=None,
                canceling_at=None,
                requested_at=at,
                triggered_at=_restarted_at(progress, at),
                reruns=progress.reruns + (progress.restart is not None and progress.restart.is_rerun),
                asked_at=None,
                doubt=None,
                cause=None,
            )
        case CauseFound():
            return replace(progress, cause=event.cause)
        case Canceling(note=note):
            return replace(progress, canceling_at=at, cancel_note=note)
        case Skipped(code=code, reason=reason, root=root, steps=steps):
            return replace(progress, verdict=Verdict(Outcome.SKIPPED, code, reason, at, root, steps))
        case _:
            assert_never(event)


def _restarted_at(progress: Progress, at: float) -> float | None:
    """When the call was made that counts as the trigger; that of a rerun does not."""
    if progress.restart is None:
        return at
    return progress.triggered_at if progress.restart.is_rerun else progress.restart.asked_at


def _unless_provisional(verdict: Verdict | None) -> Verdict | None:
    return None if verdict is not None and verdict.outcome.is_provisional else verdict


def _unless_of_needs(verdict: Verdict | None) -> Verdict | None:
    return None if verdict is not None and verdict.code == NEED_NOT_PASSED else verdict


def _one(builds: tuple[Build, ...], id_: str) -> Build:
    return next((build for build in builds if build.id == id_), unseen(id_))


def _with_build(before: tuple[Build, ...], build: Build) -> tuple[Build, ...]:
    """The builds with one as last seen: the deciding one stays first."""
    if build.replaces is not None:
        before = tuple(known for known in before if known.id != build.replaces)
    if not before or (len(before) == 1 and before[0].id == build.id):
        return (build,)
    others = tuple(known for known in before if known.id != build.id)
    return (*others, build) if before[0].id != build.id else (build, *others)
