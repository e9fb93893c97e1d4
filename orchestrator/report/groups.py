"""What did not pass, grouped by outcome and reason, in the order in which it deserves attention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome
from orchestrator.report.view import Report, Row

IN_DOUBT = "in doubt"
OPEN = "open"

# Doubt first: it is the one thing that a person has to settle. What was left out on purpose comes last.
ORDER = (
    IN_DOUBT,
    Outcome.FAILED.value,
    Outcome.ERRORED.value,
    "timed out",
    Outcome.REJECTED.value,
    Outcome.CANCELED.value,
    Outcome.SUPERSEDED.value,
    OPEN,
    Outcome.SKIPPED.value,
)


class Group(Struct, frozen=True):
    """Targets that did not pass in the same way for the same reason."""

    word: str
    reason: str
    rows: Sequence[Row]


def word_of(row: Row) -> str:
    """The outcome as people read it; `open` when there is none."""
    if row.is_in_doubt:
        return IN_DOUBT
    return OPEN if row.outcome is None else row.outcome.replace("_", " ")


def groups(report: Report) -> list[Group]:
    """All groups, doubtful ones first, then by outcome, the largest first."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in report.targets:
        if row.outcome != Outcome.PASSED:
            found.setdefault((word_of(row), row.reason or row.code or ""), []).append(row)
    made = [Group(word, reason, rows) for (word, reason), rows in found.items()]
    return sorted(made, key=lambda group: (ORDER.index(group.word), -len(group.rows)))


def shares(sizes: Sequence[int], at_most: int) -> list[int]:
    """How many of each group to show, so that a large one does not hide the others and `at_most` is used up.

    Groups that come first are served first when there are more groups than places.
    """
    given = [0] * len(sizes)
    left = at_most
    waiting = [number for number, size in enumerate(sizes) if size]
    while left and waiting:
        each = max(1, left // len(waiting))
        for number in waiting:
            more = min(each, sizes[number] - given[number], left)
            given[number] += more
            left -= more
        waiting = [number for number in waiting if given[number] < sizes[number]]
    return given


def counts(report: Report) -> Iterator[tuple[int, str]]:
    """Numbers with their words for a headline: doubt first, passed after what did not, zeros left out."""
    tally = dict.fromkeys((*ORDER, Outcome.PASSED.value), 0)
    for row in report.targets:
        tally[word_of(row)] += 1
    skipped = tally.pop(Outcome.SKIPPED.value)
    tally[Outcome.SKIPPED.value] = skipped
    yield from ((number, word) for word, number in tally.items() if number)


def to_rerun(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """What did not pass, divided into what may be triggered again and what may already have a build.

    Targets that the manifest skips are in neither: they were left out on purpose.
    """
    safe: list[Row] = []
    unsafe: list[Row] = []
    for row in rows:
        if row.outcome == Outcome.PASSED or row.target.skip is not None:
            continue
        may_run = row.is_in_doubt or (row.outcome is None and row.request_id is not None)
        (unsafe if may_run else safe).append(row)
    return safe, unsafe
