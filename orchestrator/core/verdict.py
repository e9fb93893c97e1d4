"""Exit codes, and the one of a run: a function of the journal, so that the report and the process always agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome, Target

if TYPE_CHECKING:  # a verb that reads no journal needs the codes alone
    from orchestrator.core.history import History
    from orchestrator.core.progress import Progress


class Exit(IntEnum):
    """What the exit code of a verb means; the README has the long form."""

    OK = 0
    FAILED = 1
    USAGE = 2
    IN_DOUBT = 3
    ACCOUNT = 4
    STOPPED = 5
    NOT_STARTED = 6
    STATE = 7
    TIMEOUT = 8
    BUG = 70
    SIGINT = 130
    SIGTERM = 143


SEVEREST_FIRST = (
    Exit.BUG,
    Exit.SIGINT,
    Exit.SIGTERM,
    Exit.STATE,
    Exit.ACCOUNT,
    Exit.STOPPED,
    Exit.IN_DOUBT,
    Exit.TIMEOUT,
    Exit.FAILED,
    Exit.OK,
)


def severest(codes: Iterable[Exit]) -> Exit:
    """The code that wins; OK when there is none."""
    return min(codes, key=SEVEREST_FIRST.index, default=Exit.OK)


# The exit code for why a process left a run; `detached` leaves everything in order.
LEFT_BY = {
    "SIGINT": Exit.SIGINT,
    "SIGTERM": Exit.SIGTERM,
    "SIGHUP": Exit.SIGTERM,  # a closed terminal counts as a polite request to leave
    "account": Exit.ACCOUNT,
    "stopped": Exit.STOPPED,
    "timeout": Exit.TIMEOUT,
}


def exit_code(history: History, fail_on: Collection[Outcome] = DEFAULT_FAIL_ON, left_by: str = "") -> Exit:
    """The code for a run that has ended, or that a process leaves; the severest reason wins.

    Args:
        fail_on: outcomes that make it 1.
        left_by: why the process leaves (`events.Interrupted.signal`); empty: what the journal says.
    """
    return severest(_reasons(history, fail_on, left_by))


def _reasons(history: History, fail_on: Collection[Outcome], left_by: str) -> Iterator[Exit]:
    signal = left_by or (history.interrupted.signal if history.interrupted else "")
    if signal in LEFT_BY:
        yield LEFT_BY[signal]
    for target in history.targets:
        yield _of(history, target, history.of(target.id), fail_on)


def _of(history: History, target: Target, progress: Progress, fail_on: Collection[Outcome]) -> Exit:
    if progress.verdict is None:
        return _of_open(history, target, progress)
    if progress.verdict.outcome is Outcome.IN_DOUBT:
        return Exit.IN_DOUBT
    return Exit.FAILED if progress.verdict.outcome in fail_on else Exit.OK


def _of_open(history: History, target: Target, progress: Progress) -> Exit:
    """Why an open target is open; OK when nothing but time is in its way."""
    if target.account in history.accounts_stopped:
        return Exit.ACCOUNT
    if history.stopped is not None and not progress.may_exist:
        return Exit.FAILED if history.stopped.by_person else Exit.STOPPED
    return Exit.IN_DOUBT if progress.doubt is not None else Exit.OK
