"""What did not pass, by outcome and cause, in the order in which it deserves attention."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.next_step import AFTER_RERUN, EVERY_TIME
from orchestrator.core.times import counted
from orchestrator.report.marks import OUTCOMES, PHASES, Mark, mark
from orchestrator.report.view import Report, Row
from orchestrator.report.words import plain

IN_DOUBT = "in doubt"
OPEN = "open"
FLAKES = 20  # targets that passed only after a rerun, that are named
FAILED = (Outcome.FAILED, Outcome.ERRORED)  # whose logs may tell why

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


class SharedCause(Struct, frozen=True):
    """Targets whose logs say the same.

    Args:
        text: a line that says it, as the log of one of them has it.
    """

    signature: str
    text: str
    rows: Sequence[Row]


def causes(report: Report) -> list[SharedCause]:
    """What the logs that were read say, the most frequent first."""
    found: dict[str, list[Row]] = {}
    for row in report.targets:
        if row.cause is not None:
            found.setdefault(row.cause.signature, []).append(row)
    made = [SharedCause(of, rows[0].cause.text if rows[0].cause else of, rows) for of, rows in found.items()]
    return sorted(made, key=lambda one: -len(one.rows))


def read_line(report: Report) -> str:
    """On how many logs the causes rest, where some were not read; empty otherwise."""
    read = sum(row.cause is not None for row in report.targets)
    failed = sum(row.outcome in FAILED for row in report.targets)
    return f"by the logs of {read:,} of {counted(failed, 'failed build')}" if 0 < read < failed else ""


class Group(Struct, frozen=True):
    """Targets that did not pass for the same cause.

    Args:
        word: the outcome as people read it; `in doubt` and `open` too.
        code: the stable word that they share.
        reason: the cause in words, the same for all.
        said: the beginning that the reasons of all of them share.
    """

    word: str
    code: str
    reason: str
    rows: Sequence[Row]
    said: str = ""

    @property
    def mark(self) -> Mark:
        """How it is shown; of what is open, how far most of it has come."""
        first = self.rows[0]
        if self.word == IN_DOUBT:
            return mark(Outcome.IN_DOUBT)
        if first.outcome is not None:
            return mark(Outcome(first.outcome))
        return mark(Phase(Counter(row.phase for row in self.rows).most_common(1)[0][0]))

    @property
    def did_not_pass(self) -> bool:
        """Whether it is a verdict, and none that leaves a target out or open."""
        return self.word not in (IN_DOUBT, OPEN, Outcome.SKIPPED.value)

    @property
    def owners(self) -> Sequence[tuple[str, int]]:
        """Whose repositories they are, the most frequent first."""
        found = Counter(row.target.owner for row in self.rows)
        return sorted(found.items(), key=lambda one: (-one[1], one[0]))

    def differs(self, row: Row) -> str:
        """What is said of this target and not of all; empty where nothing is."""
        if row.root:
            return ""
        if row.cause is not None:
            return "" if self.reason.endswith(row.cause.text) else row.cause.text
        rest = (row.reason or "").removeprefix(self.said).strip()
        is_bracketed = rest.startswith("(") and rest.endswith(")")
        return rest[1:-1] if is_bracketed else rest.lstrip(":;, ")


# By code: the words that take the place of how our own reasons begin. Of a doubt each target has its own story.
_WORDS = {
    "build_failed": ("build failed", "the build failed"),
    "build_errored": ("build errored", "the build errored"),
    "build_canceled": ("build canceled", "the build was canceled, not by this run"),
    "canceled_by_us": ("canceled by this run", "this run canceled the build"),
    "not_started": ("did not start", "the build did not start in time"),
    "not_ended": ("did not end", "the build did not end in time"),
    EVERY_TIME: ("", "the build failed every time"),
    "in_doubt": ("", "in doubt: nobody knows whether a build was started"),
}
# By code: what is said where the reasons have nothing in common.
_ELSE = {
    "skip": "skipped by the manifest",
    "needs": "waits for others that it needs",
    "frozen": "left alone for a while, as the service asks",
}
_BOUNDARY = re.compile(r" \(|: |; |, |$")


def word_of(row: Row) -> str:
    """The outcome as people read it; `open` when there is none."""
    if row.is_in_doubt:
        return IN_DOUBT
    return OPEN if row.outcome is None else row.outcome.replace("_", " ")


def groups(report: Report) -> list[Group]:
    """All groups, doubtful ones first, then by outcome, the largest first.

    Targets share a group when their outcome and its code are the same, and what their logs say or the target that they
    needed. Their reasons may differ in detail.
    """
    return grouped(report.targets)


def grouped(rows: Iterable[Row]) -> list[Group]:
    """As `groups`, of any rows."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.outcome != Outcome.PASSED:
            found.setdefault(_key(row), []).append(row)
    made = [_group(word, code, rows) for (word, code, _), rows in found.items()]
    return sorted(made, key=lambda group: (ORDER.index(group.word), -len(group.rows)))


def _key(row: Row) -> tuple[str, str, str]:
    word, code = word_of(row), row.code or ""
    if row.root:
        return word, code, row.root
    if row.cause is not None:
        return word, code, row.cause.signature
    apart = {"account_stopped": row.account, "wave": str(row.wave)}  # each has a sentence of its own
    return word, code, apart.get(code, "")


def _group(word: str, code: str, rows: Sequence[Row]) -> Group:
    first = rows[0]
    if first.root:
        return Group(word, code, f"{first.root} did not pass, and they need it", rows)
    said = _beginning([row.reason or "" for row in rows])
    begins, words = _WORDS.get(code, ("", ""))
    if words and not begins:
        said = ""
    rest = said.removeprefix(begins) if words and said.startswith(begins) else said
    reason = f"{words}{rest}" if words else said or _ELSE.get(code) or code.replace("_", " ") or "no reason is known"
    if first.cause is not None:
        reason = f"{reason}: {first.cause.text}"
    return Group(word, code, reason, rows, said)


def _beginning(reasons: Sequence[str]) -> str:
    """The longest whole part with which all of them begin."""
    shortest = min(reasons, key=len)
    ends = [found.start() for found in _BOUNDARY.finditer(shortest)]
    for end in reversed(ends):
        start = shortest[:end]
        if all(one.startswith(start) and _BOUNDARY.match(one, end) for one in set(reasons)):
            return start
    return ""


def reason_of(row: Row) -> str:
    """Why it did not pass, with what its log says."""
    reason = row.reason or row.code or ""
    return reason if row.cause is None else f"{reason}: {row.cause.text}"


def short_id(report: Report, row: Row) -> str:
    """The target's id without the account, where all have the same one and the rest says it: verbs take both."""
    is_needed = len(report.accounts) > 1 or "#" in row.id or not row.id.startswith(f"{row.account}:")
    return row.id if is_needed else row.id.removeprefix(f"{row.account}:")


def flakes(report: Report) -> list[Row]:
    """The targets that passed only after their build was started again."""
    return [row for row in report.targets if row.code == AFTER_RERUN]


def flake_line(report: Report) -> str:
    """The same as a line for a person; empty where there is none."""
    found = flakes(report)
    named = ", ".join(plain(row.id) for row in found[:FLAKES])
    more = f" and {len(found) - FLAKES:,} more" if len(found) > FLAKES else ""
    return f"flaky: {counted(len(found), 'target')} passed only after a rerun: {named}{more}" if found else ""


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


def tally(report: Report) -> list[tuple[Mark, int]]:
    """How many there are of each outcome, and of what is open how far it has come, in the order of a bar."""
    found: Counter[Outcome | Phase] = Counter()
    for row in report.targets:
        if row.is_in_doubt:
            found[Outcome.IN_DOUBT] += 1
        else:
            found[Phase(row.phase) if row.outcome is None else Outcome(row.outcome)] += 1
    keys: list[Outcome | Phase] = [*OUTCOMES, *PHASES]
    return [(mark(key), found[key]) for key in keys if found[key]]


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
