"""How a run may stand, and the verdict on it as a value; `verdict.py` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchestrator.core.errors import Exit
from orchestrator.core.frozen import Struct
from orchestrator.report.marks import Meaning


class State(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    WAITING = "waiting"  # for a person, a soak, or quiet hours; nothing is under way
    DETACHED = "detached"
    LEFT = "left"  # its process died
    PASSED = "passed"
    IN_DOUBT = "in_doubt"
    FAILED = "failed"
    STOPPED = "stopped"
    ACCOUNT = "account"  # an account refused us, or several did
    TIMEOUT = "timeout"
    CANCELED = "canceled"
    INTERRUPTED = "interrupted"
    EMPTY = "empty"  # nothing was selected


_SHOWN: Mapping[State, tuple[Meaning, str]] = {
    State.RUNNING: (Meaning.BUSY, "\u25cb"),
    State.WAITING: (Meaning.WAITING, "\u25cc"),
    State.DETACHED: (Meaning.BUSY, "\u25cb"),
    State.LEFT: (Meaning.IDLE, "\u2013"),
    State.PASSED: (Meaning.GOOD, "\u2713"),
    State.IN_DOUBT: (Meaning.DOUBT, "?"),
    State.FAILED: (Meaning.BAD, "\u00d7"),
    State.STOPPED: (Meaning.REFUSED, "\u2298"),
    State.ACCOUNT: (Meaning.BAD, "\u2298"),
    State.TIMEOUT: (Meaning.IDLE, "\u25d4"),
    State.CANCELED: (Meaning.IDLE, "\u2013"),
    State.INTERRUPTED: (Meaning.IDLE, "\u2013"),
    State.EMPTY: (Meaning.IDLE, "\u00b7"),
}


BY_EXIT: Mapping[int, State] = {  # how a run stands of which no more is known than how its process ended
    Exit.OK: State.PASSED,
    Exit.FAILED: State.FAILED,
    Exit.IN_DOUBT: State.IN_DOUBT,
    Exit.ACCOUNT: State.ACCOUNT,
    Exit.STOPPED: State.STOPPED,
    Exit.TIMEOUT: State.TIMEOUT,
}


def shown(state: State) -> tuple[Meaning, str]:
    """What its colour says, and its symbol of one cell."""
    return _SHOWN[state]


class Verdict(Struct, frozen=True):
    """What a person reads first.

    Args:
        word: two or three words, such as `in doubt`, `stopped by max-fail 5%`, `banned`.
        exit_code: of the process that ended or left the run; None while it goes on.
        sentence: what happened, with exact numbers.
        then: what to do, with the command; empty where nothing is to be done.
        command: the command line within `then`; empty where it has none.
    """

    state: State
    word: str
    exit_code: int | None
    sentence: str
    then: str = ""
    command: str = ""

    @property
    def meaning(self) -> Meaning:
        """What its colour says."""
        return _SHOWN[self.state][0]

    @property
    def symbol(self) -> str:
        """One cell."""
        return _SHOWN[self.state][1]

    @property
    def pill(self) -> str:
        """The word, with the exit code where there is one."""
        return self.word if self.exit_code is None else f"{self.word} \u00b7 exit {self.exit_code}"
