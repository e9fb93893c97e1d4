"""What a person may run next, as values: a face writes them as command lines, or as buttons."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from orchestrator.core.events import CANCELED
from orchestrator.core.frozen import Struct
from orchestrator.report.groups import IN_DOUBT, OPEN, groups
from orchestrator.report.view import Report
from orchestrator.report.words import shell


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
    found = {group.word: group.rows[0].id for group in reversed(groups(report))}
    run = report.run
    if not found:
        return
    first = found.get(IN_DOUBT) or next(iter(reversed(found.values())))
    yield Hint("why", run.id, (shell(first),), "why:    ")
    if not report.is_rehearsal:
        yield from _onwards(report, found)
    yield Hint("report", run.id, ("-o", "csv"), "all:    ")


def _onwards(report: Report, found: Collection[str]) -> Iterator[Hint]:
    run = report.run
    is_canceled = run.stopped_by == CANCELED
    if IN_DOUBT in found or (OPEN in found and not is_canceled):
        override = ("--override-stop",) if run.status == "stopped" and stopped_by_rule(report) else ()
        yield Hint("resume", run.id, override, "go on:  ")
    if set(found) - {OPEN, IN_DOUBT, "skipped"} or (OPEN in found and is_canceled):
        yield Hint("retry", run.id, (), "again:  ")


def stopped_by_rule(report: Report) -> bool:
    """Whether a rule or a person stopped the run, and no account."""
    return report.run.stopped_by is not None and not report.run.stopped_by.startswith("account ")
