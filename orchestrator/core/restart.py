"""What became of a build that was asked to start again: one decision, for `retry --same-commit` and for `reruns`.

A restart makes nothing new that a listing could miss: the build itself shows whether it happened. So a lost answer
needs no marker, and is settled wherever the build can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from orchestrator.core.model import Build

READINGS_DIFFER = 3.0  # seconds, at most, between two readings of a clock that tells whole seconds


class Became(StrEnum):
    """What is known of a restart whose answer was lost."""

    RESTARTED = "restarted"
    UNCHANGED = "unchanged"  # nothing was started, nor will be: it may be asked again
    UNSETTLED = "unsettled"  # look again
    UNREADABLE = "unreadable"  # it was looked at for long enough: its outcome stays the one it had


def shows_restart(before: Build, seen: Build, asked_at: float) -> bool:
    """Whether a build was seen as it can only be once it was started again.

    Args:
        before: the build as it was seen last before it was asked.
        asked_at: when it was asked. All times are by our clock.
    """
    if not seen.state.is_final:
        return True
    if (seen.state, seen.started_at, seen.finished_at) == (before.state, before.started_at, before.finished_at):
        return False
    # an end before that is of a start that we had not seen, or of a build of which we knew no times
    return seen.finished_at is None or seen.finished_at > asked_at - READINGS_DIFFER


def is_another(before: Build, seen: Build, asked_at: float) -> bool:
    """Whether it is a build that the restart made, where the service makes a new one of another id."""
    return seen.id != before.id and seen.created_at is not None and seen.created_at > asked_at - READINGS_DIFFER


def is_later(before: Build | None, seen: Build) -> bool:
    """Whether a build has ended once more since it was seen to end; both by the provider's clock, so to the second."""
    if before is None or before.id != seen.id or before.finished_at is None or seen.finished_at is None:
        return False
    began, again = before.started_at, seen.started_at
    return before.finished_at < seen.finished_at and (began is None or again is None or began < again)


def became(
    before: Build, seen: Sequence[Build], asked_at: float, *, began: float, settled: float, until: float
) -> Became:
    """What a look at the builds of the request tells of a restart whose answer was lost; times by our clock.

    Args:
        seen: the request's builds; without that which was asked to start again where it could not be read.
        began: when the look began.
        settled: from when on a look that begins then shows what the lost call did.
        until: how long it is looked at.
    """
    if any(is_another(before, build, asked_at) for build in seen):
        return Became.RESTARTED
    found = next((build for build in seen if build.id == before.id), None)
    if found is None:
        return Became.UNREADABLE if began >= until else Became.UNSETTLED
    if shows_restart(before, found, asked_at):
        return Became.RESTARTED
    return Became.UNCHANGED if began >= settled else Became.UNSETTLED
