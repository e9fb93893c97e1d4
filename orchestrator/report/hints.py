"""What a person may run next, as values: a face writes them as command lines, or as buttons."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from orchestrator.core.errors import suffixed
from orchestrator.core.events import CANCELED
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.report.groups import IN_DOUBT, OPEN, ORDER, groups, short_id, word_of
from orchestrator.report.view import Report
from orchestrator.report.words import shell

BACK = 10  # targets that the way back names


class Hint(Struct, frozen=True):
    """One command.

    Args:
        run: the run that it is about.
        words: what follows the run's id, as a shell takes it.
        label: what it is for, in a few words.
    """

    verb: str
    run: str
    words: tuple[str, ...] = ()
    label: str = ""

    def line(self, suffix: str = "") -> str:
        """The command line behind its label.

        Args:
            suffix: appended to it, such as ` --state DIR`.
        """
        return f"{self.label}: {self.typed(suffix)}" if self.label else self.typed(suffix)

    def typed(self, suffix: str = "") -> str:
        """The command line alone, with the suffix."""
        return suffixed(self.command, suffix)

    @property
    def command(self) -> str:
        """The command line alone."""
        return " ".join(["orchestrator", self.verb, self.run, *self.words])


OVERRIDE_STOP = ("--override-stop",)
REHEARSE_AGAIN = "its sandbox ends with its process; rehearse it again"


def onwards(run: str, history: History, words: tuple[str, ...] = (), label: str = "") -> Hint | None:
    """What takes on a run that no process drives: a resume; a rehearsal, which cannot go on, is begun anew.

    Every command line that advises a resume is made here, or in `going_on`, since not every run can be resumed.

    Args:
        words: what follows the run's id, where it is resumed.

    Returns:
        None for a rehearsal of what stands in no file: nothing can be typed that works.
    """
    made = history.made
    if not history.options.sandbox:
        return Hint("resume", run, words, label)
    if made is None or made.manifest is None or made.manifest == "-":
        return None
    given = [word for name, value in made.params.items() for word in ("-p", shell(f"{name}={value}"))]
    selected = map(shell, history.options.selection)
    return Hint("run", shell(made.manifest), (*given, *selected, "--sandbox"), REHEARSE_AGAIN)


def next_steps(report: Report) -> Iterator[Hint]:
    """What can be done about a run that did not wholly pass; a rehearsal cannot go on, since its sandbox is gone."""
    found = {group.word: group.rows[0] for group in reversed(groups(report))}
    run = report.run
    if not found:
        return
    yield from for_a_person(report)
    first = found.get(IN_DOUBT) or next(iter(reversed(found.values())))
    if not report.is_rehearsal:
        for id_ in run.merged or (run.id,):
            words = {word_of(row) for row in report.targets if row.run in ("", id_)} & set(ORDER)
            yield from _onwards(report, id_, words)
    yield from _back(report)
    yield Hint("why", first.run or run.id, (shell(short_id(report, first)),), "one target")
    yield Hint("report", run.id, (*(("--merged",) if run.merged else ()), "-o", "csv"), "every target")


def for_a_person(report: Report) -> Iterator[Hint]:
    """What lets a run go on that waits for a person."""
    run = report.run
    if run.waits_for == "pause":
        yield Hint("unpause", run.id, (), "let it go on")
    elif run.waits_for == "approval":
        wave = next((one for one in run.waves if one.opened_at is None), None)
        words = () if wave is None else ("--wave", shell(wave.name))
        yield Hint("approve", run.id, words, "open it")
        yield Hint("approve", run.id, (*words, "--deny"), "or not")


def _back(report: Report) -> Iterator[Hint]:
    """What takes back to the version before what a stopped rollout has built."""
    run = report.run
    built = [row for row in report.targets if row.build_id is not None]
    if run.manifest is None or len(run.waves) < 2 or not built or not is_stopped(report):
        return
    old = [word for name in run.params for word in ("-p", f"{shell(name)}=OLD")]
    only = [word for row in built[:BACK] for word in ("--only", shell(row.id))]
    some = f" ({BACK} of the {len(built):,} that were built)" if len(built) > BACK else ""
    yield Hint("run", shell(run.manifest), (*old, *only), f"back{some}")


def _onwards(report: Report, id_: str, found: Collection[str]) -> Iterator[Hint]:
    """What takes one run on; of several only the newest is retried, else what a later one settled were asked again."""
    run = report.run
    is_canceled = run.stopped_by == CANCELED
    if IN_DOUBT in found or (OPEN in found and not is_canceled):
        yield going_on(report, id_, "settle the doubts" if OPEN not in found else "go on")
    is_newest = id_ == (run.merged or (id_,))[-1]
    if is_newest and (set(found) - {OPEN, IN_DOUBT, "skipped"} or (OPEN in found and is_canceled)):
        yield Hint("retry", id_, (), "build again")


def going_on(report: Report, run: str, label: str) -> Hint:
    """What goes on with the run; a rule that stopped it must be overridden for that."""
    return Hint("resume", run, OVERRIDE_STOP if is_stopped(report) else (), label)


def is_stopped(report: Report) -> bool:
    """Whether a rule keeps targets from being sent."""
    return report.run.status == "stopped" and stopped_by_rule(report) and report.run.stopped_by != CANCELED


def stopped_by_rule(report: Report) -> bool:
    """Whether a rule or a person stopped the run, and no account."""
    return report.run.stopped_by is not None and not report.run.stopped_by.startswith("account ")
