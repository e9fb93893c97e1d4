"""The numbers of targets that a verdict has, and the clauses that are made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.times import moment, rounded
from orchestrator.report.groups import groups

if TYPE_CHECKING:
    from orchestrator.report.view import Report


class Ahead(Struct, frozen=True):
    """What is still expected of a run that goes on; None where it cannot be told.

    Args:
        last_trigger: seconds until everything is sent.
        last_build: seconds until everything is over.
    """

    last_trigger: float | None = None
    last_build: float | None = None


UNKNOWN = Ahead()


class Figures(Struct, frozen=True):
    """The numbers of targets that a sentence may have.

    Args:
        bad: with a verdict that is no pass, not counting what is in doubt or was skipped.
        doubts: in doubt for good, or still looked for.
        unsent: open, and nothing was asked for.
        going_on: open, and sent.
        causes: for how many different causes the bad ones did not pass.
    """

    targets: int
    passed: int = 0
    bad: int = 0
    doubts: int = 0
    skipped: int = 0
    unsent: int = 0
    going_on: int = 0
    causes: int = 0

    @property
    def sent(self) -> int:
        """Targets of which a call left, or may have."""
        return self.targets - self.unsent - self.skipped

    @property
    def done(self) -> int:
        """Targets with a verdict."""
        return self.targets - self.unsent - self.going_on


def figures(report: Report) -> Figures:
    """The numbers of a report."""
    found: Counter[str] = Counter()
    for row in report.targets:
        if row.outcome is None:
            found["unsent" if row.phase == Phase.WAITING else "going_on"] += 1
            found["doubts"] += row.is_in_doubt
        elif row.outcome in (Outcome.PASSED, Outcome.SKIPPED):
            found[row.outcome] += 1
        else:
            found["doubts" if row.is_in_doubt else "bad"] += 1
    causes = sum(group.did_not_pass for group in groups(report))
    return Figures(len(report.targets), **found, causes=causes)


def capital(text: str) -> str:
    """The text as a sentence begins."""
    return text[:1].upper() + text[1:]


def be(number: int) -> str:
    """`1 is`, `2 are`."""
    return f"{number:,} is" if number == 1 else f"{number:,} are"


def were(number: int) -> str:
    """`1 was`, `2 were`."""
    return f"{number:,} was" if number == 1 else f"{number:,} were"


def done(found: Figures) -> str:
    """How many have a verdict, of all."""
    return f"{found.done:,} of {found.targets:,} done"


def running(found: Figures, ahead: Ahead, now: float) -> str:
    """How far a run has come that goes on, and how long it still takes; `now` by the wall clock."""
    parts = [done(found)]
    if ahead.last_trigger is not None and found.unsent:
        parts.append(f"everything is sent in about {rounded(ahead.last_trigger)}")
    if ahead.last_build is not None:
        parts.append(f"all is over at about {moment(now + ahead.last_build, now)}")
    first = f"{parts[0]}; {', '.join(parts[1:])}." if len(parts) > 1 else f"{parts[0]}."
    return " ".join([first, *trouble(found)])


def trouble(found: Figures) -> Iterator[str]:
    """What of a run that is not over needs a word."""
    if found.doubts:
        yield f"{be(found.doubts)} in doubt."
    if found.bad:
        yield f"{found.bad:,} did not pass."


def how_far(found: Figures) -> Iterator[str]:
    """How far a run came that was left."""
    if not found.unsent:
        builds = f"; {found.going_on:,} of the builds go on" if found.going_on > 1 else ""
        builds = "; one of the builds goes on" if found.going_on == 1 else builds
        yield f"All {found.sent:,} were sent{builds}." if found.sent != 1 else f"The one target was sent{builds}."
    elif not found.sent:
        yield f"None of {found.targets:,} was sent."
    else:
        builds = f"; {found.going_on:,} of their builds go on" if found.going_on > 1 else ""
        builds = "; one of their builds goes on" if found.going_on == 1 else builds
        yield f"{found.sent:,} of {found.targets:,} were sent{builds}."
    yield from trouble(found)


def how_many_passed(found: Figures) -> str:
    """How many passed, of all."""
    if found.passed == found.targets:
        return "The one target passed" if found.targets == 1 else f"All {found.targets:,} passed"
    return f"{f'{found.passed:,}' if found.passed else 'None'} of {found.targets:,} passed"
