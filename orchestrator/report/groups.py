"""What did not pass, by outcome and reason, in the order in which it deserves attention, and what may be done next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from orchestrator.core.events import CANCELED
from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome
from orchestrator.core.next_step import AFTER_RERUN
from orchestrator.core.times import counted
from orchestrator.report.view import Report, Row
from orchestrator.report.words import plain, shell, short

IN_DOUBT = "in doubt"
OPEN = "open"
FLAKES = 20  # targets that passed only after a rerun, that are named
BACK = 10  # targets that the way back names
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


def cause_lines(report: Report, at_most: int) -> Iterator[str]:
    """The same as lines for a person, with how many logs they rest on."""
    found = causes(report)
    read, failed = sum(len(one.rows) for one in found), sum(row.outcome in FAILED for row in report.targets)
    for one in found[:at_most]:
        yield f"{len(one.rows):,} of {read:,}: {short(one.text)}"
    if len(found) > at_most:
        yield f"{counted(len(found) - at_most, 'more cause')} in -o json"
    if found and read < failed:
        yield f"by the logs of {read:,} of {counted(failed, 'failed build')}"


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


def shared_reason(row: Row) -> str:
    """Why the target did not pass, the same for all that one target took along, or whose logs say the same."""
    return f"{row.root} did not pass, and they need it" if row.root else reason_of(row)


def groups(report: Report) -> list[Group]:
    """All groups, doubtful ones first, then by outcome, the largest first."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in report.targets:
        if row.outcome != Outcome.PASSED:
            same = shared_reason(row) if row.cause is None else f"{row.reason}: {row.cause.signature}"
            found.setdefault((word_of(row), same), []).append(row)
    made = [Group(word, shared_reason(rows[0]), rows) for (word, _), rows in found.items()]
    return sorted(made, key=lambda group: (ORDER.index(group.word), -len(group.rows)))


def reason_of(row: Row) -> str:
    """Why it did not pass, with what its log says."""
    reason = row.reason or row.code or ""
    return reason if row.cause is None else f"{reason}: {row.cause.text}"


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


# -- what a person may run next, as values: a face writes them as command lines, or as buttons ---------------------


class Hint(Struct, frozen=True):
    """One command.

    Args:
        run: the run that it is about.
        words: what follows the run's id, as a shell takes it.
        label: what is written before it.
    """

    verb: str
    run: str
    words: tuple[str, ...] = ()
    label: str = ""

    def line(self, suffix: str = "") -> str:
        """The command line, with its label.

        Args:
            suffix: appended to it, such as ` --state DIR`.
        """
        return self.label + " ".join(["orchestrator", self.verb, self.run, *self.words]) + suffix


def next_steps(report: Report) -> Iterator[Hint]:
    """What can be done about a run that did not wholly pass; a rehearsal cannot go on, since its sandbox is gone."""
    found = {group.word: group.rows[0] for group in reversed(groups(report))}
    run = report.run
    if not found:
        return
    yield from for_a_person(report)
    first = found.get(IN_DOUBT) or next(iter(reversed(found.values())))
    yield Hint("why", first.run or run.id, (shell(first.id),), "why:    ")
    if not report.is_rehearsal:
        for id_ in run.merged or (run.id,):
            words = {word_of(row) for row in report.targets if row.run in ("", id_)} & set(ORDER)
            yield from _onwards(report, id_, words)
    yield from _back(report)
    yield Hint("report", run.id, (*(("--merged",) if run.merged else ()), "-o", "csv"), "all:    ")


def for_a_person(report: Report) -> Iterator[Hint]:
    """What lets a run go on that waits for a person."""
    run = report.run
    if run.waits_for == "pause":
        yield Hint("unpause", run.id, (), "unpause:   ")
    elif run.waits_for == "approval":
        wave = next((one for one in run.waves if one.opened_at is None), None)
        words = () if wave is None else ("--wave", shell(wave.name))
        yield Hint("approve", run.id, words, "open it:   ")
        yield Hint("approve", run.id, (*words, "--deny"), "or not:    ")


def _back(report: Report) -> Iterator[Hint]:
    """What takes back to the version before what a stopped rollout has built."""
    run = report.run
    built = [row for row in report.targets if row.build_id is not None]
    if run.manifest is None or len(run.waves) < 2 or not built or not is_stopped(report):
        return
    old = [word for name in run.params for word in ("-p", f"{shell(name)}=OLD")]
    only = [word for row in built[:BACK] for word in ("--only", shell(row.id))]
    some = f" ({BACK} of the {len(built):,} that were built)" if len(built) > BACK else ""
    yield Hint("run", shell(run.manifest), (*old, *only), f"back{some}:   ")


def _onwards(report: Report, id_: str, found: Collection[str]) -> Iterator[Hint]:
    """What takes one run on; of several only the newest is retried, else what a later one settled were asked again."""
    run = report.run
    is_canceled = run.stopped_by == CANCELED
    if IN_DOUBT in found or (OPEN in found and not is_canceled):
        yield going_on(report, id_, "go on:  ")
    is_newest = id_ == (run.merged or (id_,))[-1]
    if is_newest and (set(found) - {OPEN, IN_DOUBT, "skipped"} or (OPEN in found and is_canceled)):
        yield Hint("retry", id_, (), "again:  ")


def going_on(report: Report, run: str, label: str) -> Hint:
    """What goes on with the run; a rule that stopped it must be overridden for that."""
    return Hint("resume", run, ("--override-stop",) if is_stopped(report) else (), label)


def is_stopped(report: Report) -> bool:
    """Whether a rule keeps targets from being sent."""
    return report.run.status == "stopped" and stopped_by_rule(report) and report.run.stopped_by != CANCELED


def stopped_by_rule(report: Report) -> bool:
    """Whether a rule or a person stopped the run, and no account."""
    return report.run.stopped_by is not None and not report.run.stopped_by.startswith("account ")
