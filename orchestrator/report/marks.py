"""The one table of symbols and colours: terminal, text, Markdown and page take them from here, and nobody has others.

Colour is meaning, the symbol is the outcome: failed, errored and timed out share a colour and have three symbols, so
that eyes which see no red, and black print, lose nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from orchestrator.core.model import Outcome, Phase


class Meaning(StrEnum):
    """What a colour says."""

    GOOD = "good"
    BAD = "bad"
    REFUSED = "refused"
    DOUBT = "doubt"
    BUSY = "busy"
    WAITING = "waiting"
    IDLE = "idle"


class Colour(NamedTuple):
    """A meaning's colour: the name that a terminal knows, and what a page draws on light and on dark paper."""

    terminal: str  # as rich names it
    sgr: str  # the same as the parameters of an SGR sequence
    light: str
    dark: str


COLOURS: dict[Meaning, Colour] = {
    Meaning.GOOD: Colour("green", "32", "#23824a", "#4cc07a"),
    Meaning.BAD: Colour("red", "31", "#c22f3a", "#f2707a"),
    Meaning.REFUSED: Colour("yellow", "33", "#8f5b00", "#d9a23a"),
    Meaning.DOUBT: Colour("magenta", "35", "#8a2fb0", "#cb86ea"),
    Meaning.BUSY: Colour("blue", "34", "#2a6fc4", "#6aa9f0"),
    Meaning.WAITING: Colour("blue", "34", "#a9c6ea", "#2f4f78"),
    Meaning.IDLE: Colour("bright_black", "90", "#858e97", "#7c858e"),
}


class Mark(NamedTuple):
    """How an outcome or a phase is shown: its word, its symbol (one cell), the letter of a bar without colour."""

    word: str
    symbol: str
    letter: str
    meaning: Meaning

    @property
    def colour(self) -> Colour:
        """The colour of what it means."""
        return COLOURS[self.meaning]


# In the order in which they are shown: what a person must look at first stands at the left of every bar.
OUTCOMES: dict[Outcome, Mark] = {
    Outcome.IN_DOUBT: Mark("in doubt", "?", "?", Meaning.DOUBT),
    Outcome.FAILED: Mark("failed", "\u00d7", "x", Meaning.BAD),
    Outcome.ERRORED: Mark("errored", "!", "!", Meaning.BAD),
    Outcome.TIMED_OUT: Mark("timed out", "\u25d4", "o", Meaning.BAD),
    Outcome.REJECTED: Mark("rejected", "\u2298", "/", Meaning.REFUSED),
    Outcome.CANCELED: Mark("canceled", "\u2013", "-", Meaning.IDLE),
    Outcome.SUPERSEDED: Mark("superseded", "\u21aa", "^", Meaning.IDLE),
    Outcome.SKIPPED: Mark("skipped", "\u00b7", ".", Meaning.IDLE),
    Outcome.PASSED: Mark("passed", "\u2713", "=", Meaning.GOOD),
}
PHASES: dict[Phase, Mark] = {
    Phase.RUNNING: Mark("running", "\u25cb", "r", Meaning.BUSY),
    Phase.QUEUED: Mark("queued", "\u25cc", "q", Meaning.WAITING),
    Phase.REQUESTED: Mark("requested", "\u25cc", "q", Meaning.WAITING),
    Phase.WAITING: Mark("not sent", " ", " ", Meaning.IDLE),
}


def mark(key: Outcome | Phase) -> Mark:
    """The mark of an outcome, or of the phase of what has none yet (not `Phase.DONE`, which always has an outcome)."""
    return OUTCOMES[key] if isinstance(key, Outcome) else PHASES[key]
