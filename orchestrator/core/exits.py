"""Exit codes, and which one wins when several apply."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


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
