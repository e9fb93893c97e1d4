"""`orchestrator status`: where a run stands, or how one target fared of late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.app import runs as app
from orchestrator.app.glance import Course, Fared, course
from orchestrator.app.which import is_target
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT, SELECT
from orchestrator.cli.help import argument
from orchestrator.cli.runs import EXIT_STATUS, REASONS, foreseen_lines
from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.frozen import asdict, replace
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.selection import EVERYTHING
from orchestrator.core.times import duration
from orchestrator.forecast import Expected
from orchestrator.journal.port import RunRow
from orchestrator.report.formats.text import wave_lines
from orchestrator.report.groups import counts
from orchestrator.report.hints import Hint, for_a_person, going_on
from orchestrator.report.marks import OUTCOMES, PHASES, Mark
from orchestrator.report.reasons import TURN, held_by
from orchestrator.report.states import Verdict
from orchestrator.report.verdict import verdict
from orchestrator.report.view import Report
from orchestrator.report.words import plain, seconds_between, shell, short
from orchestrator.report.wrap import Line, Piece, named, soft

SCHEMA = "orchestrator.target/1"


@verb(
    argument("run", "runs_or_targets", required=False),
    EXIT_STATUS,
    flags=(*SELECT, *OUTPUT),
    formats=TEXT,
    examples=(
        ("the latest run", "orchestrator status"),
        ("the latest of a name, for a script", "orchestrator status @nightly -o json"),
        ("how a target fared of late", "orchestrator status acme/api@main"),
    ),
)
async def status(face: Face, run: str | None, exit_status: bool) -> int:
    """Show where RUN (by default the latest) stands: how many are done, how far the others are, what they wait for.

    Of a target, OWNER/NAME[@BRANCH] or an id, the last 20 outcomes, of whatever runs: when, how long, where to look.
    """
    if run is not None and is_target(run):
        if face.choices.meant != EVERYTHING:
            raise UsageError("status: --only and the like choose among the targets of a run, and here is one target")
        return _of_target(face, await course(face.context, run), exit_status=exit_status)
    row, report = await app.report(face.context, run, face.choices.meant)
    if face.flags.stdout == "json":
        face.show(report)
    else:
        report = replace(report, suffix=face.flags.suffix)
        told = verdict(report, is_driven=row.driven)
        waits = await _next_triggers(face, row, report) if row.driven else []
        lines = [*_head(report, told, is_over=row.ended_at is not None), *_lines(report), *map(_plain, waits)]
        face.draw([*lines, *_then(face, row, report, told)], hang=2)
    return (report.run.exit_code or 0) if exit_status else Exit.OK


async def _next_triggers(face: Face, row: RunRow, report: Report) -> Sequence[str]:
    """For each account the target that is triggered next, with what it waits for, as `why` tells it."""
    turns = {one.account: one for one in reversed(report.targets) if one.outcome is None and one.code == TURN}
    lines: list[str] = []
    for account, target in turns.items():
        story = await app.why(face.context, target.id, row.id)
        expected = story.expected or Expected(None, ())
        held = held_by(story.history, story.target, story.at)
        waits = [*held, *foreseen_lines(expected, story.at, has_needs=False)]
        lines += [f"next of {account}: {plain(target.id)}", *(f"  {line}" for line in waits)] if waits else []
    return lines


def _head(report: Report, told: Verdict, *, is_over: bool) -> Iterator[Line]:
    """Which run, and the verdict on it."""
    run = report.run
    name = f"{named(run.name) or 'run'} {run.id}"
    yield [Piece(f"{told.symbol} {told.pill}", told.meaning, bold=True), Piece("  "), Piece(name, bold=True)]
    yield [Piece(told.sentence)]
    lasted = seconds_between(run.started_at, run.finished_at)
    took = "" if lasted is None else f", took {duration(lasted)}" if is_over else f", left after {duration(lasted)}"
    yield [soft(f"started {run.started_at}{took}")]


def _lines(report: Report) -> Iterator[Line]:
    done = [target for target in report.targets if target.outcome is not None]
    numbers = ", ".join(f"{number:,} {word}" for number, word in counts(replace(report, targets=done)))
    if done:
        yield _plain(f"{len(done):,} of {report.totals['targets']:,} done: {numbers}")
    phases = Counter(target.phase for target in report.targets)
    open_phases = [f"{phases[phase]:,} {phase.value}" for phase in Phase if phase is not Phase.DONE and phases[phase]]
    in_doubt = sum(target.is_in_doubt and target.outcome is None for target in report.targets)
    yield from map(_plain, wave_lines(report))
    if open_phases:
        yield _plain(f"open: {', '.join(open_phases)}" + (f" ({in_doubt:,} in doubt)" if in_doubt else ""))
    reasons = Counter(target.reason for target in report.targets if target.outcome is None and target.reason)
    yield from (_plain(f"  {number:>6,}  {short(reason or '')}") for reason, number in reasons.most_common(REASONS))
    if len(reasons) > REASONS:
        yield _plain(f"          ... and {len(reasons) - REASONS:,} other reasons")


def _plain(text: str) -> Line:
    return [Piece(text)]


def _then(face: Face, row: RunRow, report: Report, told: Verdict) -> Iterator[Line]:
    """What to do then."""
    if told.then and not told.command:
        yield [Piece(told.then)]
    if told.command:
        before, _, after = told.then.partition(told.command)
        yield [Piece(before), Piece(told.command, bold=True, whole=True), Piece(after)]
    elif row.ended_at is None:
        yield from ([Piece(hint.label), Piece(_command(hint, face), whole=True)] for hint in _next(row, report))
    if row.ended_at is not None and report.totals["targets"] > report.totals["passed"]:
        yield [Piece("Look closer: "), Piece(_command(Hint("report", row.id), face), whole=True)]


def _command(hint: Hint, face: Face) -> str:
    return replace(hint, label="").line(face.flags.suffix)


def _next(row: RunRow, report: Report) -> Iterator[Hint]:
    yield from for_a_person(report)
    if row.driven:
        yield Hint("watch", row.id, (), "follow it: ")
    elif not report.is_rehearsal:
        yield going_on(report, row.id, "go on:     ")


# -- one target ---------------------------------------------------------------------------------------------------


def _of_target(face: Face, found: Course, *, exit_status: bool) -> int:
    if face.flags.stdout == "json":
        face.json({"schema": SCHEMA, "target": found.target, "outcomes": [asdict(one) for one in found.fared]})
    else:
        face.draw(_course(face, found), hang=4)
    newest = next((one.outcome for one in found.fared if one.outcome is not None), None)
    if not exit_status or newest in (None, Outcome.PASSED, Outcome.SKIPPED):
        return Exit.OK
    return Exit.IN_DOUBT if newest == Outcome.IN_DOUBT else Exit.FAILED


def _course(face: Face, found: Course) -> Iterator[Line]:
    """How a target fared: first in numbers, then run by run, the newest first."""
    ended = [one for one in found.fared if one.outcome is not None]
    passed = sum(one.outcome == Outcome.PASSED for one in ended)
    marks = [_mark(one) for one in reversed(found.fared)]
    yield [
        Piece(f"{named(found.target)}: ", bold=True, whole=True),
        Piece(f"{passed:,} of its last {len(ended):,} outcomes passed  " if ended else "it has no outcome yet  "),
        *(Piece(mark.symbol, mark.meaning) for mark in marks),
    ]
    run_width = max((len(one.run) for one in found.fared), default=0)
    for one in found.fared:
        mark = _mark(one)
        when = f"{one.at[:16].replace('T', ' ')}Z" if one.at else "now"
        took = duration(one.seconds) if one.seconds is not None else ""
        yield [
            Piece(f"{when:<17}  "),
            Piece(f"{mark.symbol} {mark.word:<9}", mark.meaning),
            Piece(f"  {took:>7}  "),
            Piece(f"{one.run:<{run_width}}", whole=True),
            Piece("  "),
            *_where(one),
        ]
    newest = found.fared[0]
    if newest.outcome != Outcome.PASSED and newest.name:
        command = Hint("why", newest.run, (shell(found.target),)).line(face.flags.suffix)
        yield [Piece("Why: "), Piece(command, whole=True)]


def _where(one: Fared) -> Iterator[Piece]:
    """Where to look; of a run that was forgotten nothing is there."""
    if not one.name:
        yield soft("the run was forgotten")
    elif one.url:
        yield Piece(plain(one.url), url=one.url, whole=True)
    else:
        yield soft(short(one.reason or ""))


def _mark(one: Fared) -> Mark:
    if one.outcome is not None:
        return OUTCOMES[Outcome(one.outcome)]
    return PHASES.get(Phase(one.phase), PHASES[Phase.WAITING])
