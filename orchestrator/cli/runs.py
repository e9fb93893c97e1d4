"""The verbs that read the state: `runs` (which forgets old ones, too), `status`, `why`, `report` and `diff`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext

from orchestrator.app import runs as app
from orchestrator.app.context import readable, writable
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT, SELECT
from orchestrator.cli.help import Group, argument, option
from orchestrator.cli.values import duration as seconds_of
from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.events import CANCELED
from orchestrator.core.frozen import replace
from orchestrator.core.model import Phase
from orchestrator.core.times import clock, counted, duration
from orchestrator.forecast import Expected
from orchestrator.journal.port import RunRow
from orchestrator.report import FORMATS
from orchestrator.report.diff import as_json, as_text, compare
from orchestrator.report.formats.text import headline, wave_lines
from orchestrator.report.groups import counts
from orchestrator.report.hints import Hint, for_a_person, going_on
from orchestrator.report.reasons import TURN, held_by, unmet_needs
from orchestrator.report.view import Report
from orchestrator.report.why import explain
from orchestrator.report.words import plain, seconds_between, shell, short

REASONS = 8
MOVED = (
    "is open, and moves with the file: resume it there and no more here (each looks up what the other one triggered)"
)
DRIVEN = "; end the process that drives it first"
EXIT_STATUS = option("--exit-status", group=Group.OUTPUT, is_flag=True, help="Exit with the run's own code.")


@verb(
    argument("run", "runs", required=False),
    option("--open", "only_open", is_flag=True, help="Only those that have not ended."),
    option("--prune", metavar="30d", help="Forget runs that ended longer ago than that."),
    option(
        "--export",
        metavar="FILE",
        completes="files",
        help="Write the state (or only RUN) into one file, for another machine.",
    ),
    flags=OUTPUT,
    formats=TEXT,
    examples=(
        ("what there is", "orchestrator runs"),
        ("those of one name", "orchestrator runs @nightly"),
        ("forget what ended a month ago", "orchestrator runs --prune 30d"),
        ("take one to another machine", "orchestrator runs latest --export run.db"),
    ),
)
async def runs(face: Face, run: str | None, only_open: bool, prune: str | None, export: str | None) -> None:
    """List the runs in the state, newest first; RUN narrows them down, for --prune too: a part of an id, or @NAME."""
    given = [flag for flag, it in (("--open", only_open), ("--prune", prune), ("--export", export)) if it]
    if len(given) > 1:
        raise UsageError(f"runs: {' and '.join(given)} do not go together")
    if prune is not None:
        await _prune(face, run or "", seconds_of(prune, "--prune"))
    elif export is not None:
        file = face.context.path(export)
        rows = await app.export(face.context, file, run)
        there = f"orchestrator runs{f' {run}' if run else ''} --state {shell(f'sqlite:///{file.name}')}"
        face.note(f"{counted(len(rows), 'run')} in {file}; in its folder, on whatever machine: {there}")
        for row in [row for row in rows if row.ended_at is None][:REASONS]:
            face.note(f"{row.id} {MOVED}{DRIVEN if row.driven else ''}")
    else:
        await _list(face, await app.runs(face.context, run or "", open_only=only_open))


async def _prune(face: Face, prefix: str, age: float) -> None:
    """Lists what is to be forgotten, and forgets it once a person at a terminal has said yes."""
    async with writable(face.context) as journal:
        rows = await app.old_runs(journal, prefix, face.machine.now() - age)
        if rows:
            if not face.flags.quiet:
                await _list(face, rows)
            face.confirm(f"Forget {counted(len(rows), 'run')}?", done="nothing was forgotten")
        face.note(f"{await journal.drop_runs([row.id for row in rows]):,} runs forgotten")


async def _list(face: Face, rows: Sequence[RunRow]) -> None:
    async with readable(face.context, rows[0].id) if rows else nullcontext() as journal:
        cancelers = {} if journal is None else await app.canceled_by(rows, journal)
        waiting = {} if journal is None else await app.waiting(rows, journal, face.machine.now())
    if face.flags.stdout == "json":
        face.json([_row(row, cancelers.get(row.id), waiting.get(row.id)) for row in rows])
    else:
        face.tell("\n".join(_table(rows, cancelers, waiting)))


def _row(row: RunRow, canceled_by: str | None, waits: str | None) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "status": _status(row),
        "made_at": clock(row.made_at),
        "ended_at": clock(row.ended_at) or None,
        "targets": row.targets,
        "exit_code": row.exit_code,
        "parent": row.parent,
        "canceled_by": canceled_by,
        "waits": waits,
    }


def _status(row: RunRow) -> str:
    if row.ended_at is not None:
        return "ended"
    return "driven" if row.driven else "open"


def _table(rows: Sequence[RunRow], cancelers: Mapping[str, str], waiting: Mapping[str, str]) -> Iterator[str]:
    if not rows:
        yield "no runs"
        return
    width = max(len(row.id) for row in rows)
    for row in rows:
        end = f"exit {row.exit_code}" if row.ended_at is not None else ""
        parent = f"  retry of {row.parent}" if row.parent else ""
        by = f"  canceled by {plain(cancelers[row.id])}" if row.id in cancelers else ""
        waits = f"  {plain(waiting[row.id])}" if row.id in waiting else ""
        name = f"{plain(row.name)}{parent}{by}{waits}"
        yield f"{row.id:<{width}}  {_status(row):<6}  {end:<8}  {row.targets:>7,} targets  {name}"


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
    """Show where RUN (by default the latest) stands: how many are done, how far the others are, what they wait for."""
    row, report = await app.report(face.context, run, face.choices.meant)
    if face.flags.stdout == "json":
        face.show(report)
    else:
        hints = [hint.line(face.flags.suffix) for hint in _next(row, report)]
        waits = await _next_triggers(face, row, report) if row.driven else []
        face.tell_lines([*_lines(row, report), *waits, *hints])
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


def _lines(row: RunRow, report: Report) -> Iterator[str]:
    run = report.run
    yield f"{plain(run.name) or 'run'} {run.id}: {_standing(row, report)}"
    lasted = seconds_between(run.started_at, run.finished_at)
    yield f"started {run.started_at}" + (f", left after {duration(lasted)}" if lasted is not None else "")
    done = [target for target in report.targets if target.outcome is not None]
    numbers = ", ".join(f"{number:,} {word}" for number, word in counts(replace(report, targets=done)))
    yield f"{len(done):,} of {report.totals['targets']:,} done: " + (numbers or "nothing yet")
    phases = Counter(target.phase for target in report.targets)
    open_phases = [f"{phases[phase]:,} {phase.value}" for phase in Phase if phase is not Phase.DONE and phases[phase]]
    in_doubt = sum(target.is_in_doubt and target.outcome is None for target in report.targets)
    yield from wave_lines(report)
    if open_phases:
        yield f"open: {', '.join(open_phases)}" + (f" ({in_doubt:,} in doubt)" if in_doubt else "")
    reasons = Counter(target.reason for target in report.targets if target.outcome is None and target.reason)
    yield from (f"  {number:>6,}  {short(reason or '')}" for reason, number in reasons.most_common(REASONS))
    if len(reasons) > REASONS:
        yield f"          ... and {len(reasons) - REASONS:,} other reasons"


def _standing(row: RunRow, report: Report) -> str:
    status, is_canceled = report.run.status, report.run.stopped_by == CANCELED
    canceled = f"{CANCELED} ({plain(report.run.stopped_why or '')})"
    if row.ended_at is not None:
        return f"{canceled if is_canceled else 'ended'}, exit {row.exit_code}"
    driver = "a process is at work on it"
    if status == "waiting":
        return f"{headline(report)}; {driver if row.driven else 'nobody drives it'}"
    if row.driven:
        return f"being {canceled}; {driver}" if is_canceled else driver
    return {"running": "nobody is at work on it: its process died", "detached": "detached"}.get(status, status)


def _next(row: RunRow, report: Report) -> Iterator[Hint]:
    if row.ended_at is None:
        yield from for_a_person(report)
    if row.ended_at is None and row.driven:
        yield Hint("watch", row.id, (), "follow it")
    elif row.ended_at is None and not report.is_rehearsal:
        yield going_on(report, row.id, "go on")
    elif report.totals["targets"] > report.totals["passed"]:
        yield Hint("report", row.id, (), "report")


@verb(
    argument("words", "runs_or_targets", nargs=-1, required=True, metavar="[RUN] TARGET"),
    EXIT_STATUS,
    flags=OUTPUT,
    formats=TEXT,
    examples=(
        ("a target of the latest run", "orchestrator why acme/api@main"),
        ("one of an earlier run", "orchestrator why @nightly 'travis:acme/api@main[python=3.12]'"),
    ),
)
async def why(face: Face, words: tuple[str, ...], exit_status: bool) -> int:
    """Tell what happened to TARGET in RUN (by default the latest), and what it waits for.

    TARGET is an id as reports have it, or repo@branch, or a repo.
    """
    if len(words) > 2:
        raise UsageError(f"why: expected [RUN] TARGET, found {len(words)} words; quote ids that hold spaces")
    story = await app.why(face.context, words[-1], words[0] if len(words) == 2 else None)
    has_needs = any(unmet_needs(story.history, story.target))
    foreseen = list(foreseen_lines(story.expected, story.at, has_needs=has_needs)) if story.expected else []
    found = explain(
        story.target, story.entries, story.history, story.at, story.run, foreseen, is_driven=story.is_driven
    )
    if face.flags.stdout == "json":
        face.json(found.for_programs(face.flags.suffix))
    else:
        face.tell_lines(found.for_people(face.flags.suffix))
    return (story.exit_code or 0) if exit_status else Exit.OK


def foreseen_lines(found: Expected, now: float, *, has_needs: bool) -> Iterator[str]:
    """The limits that hold a waiting target back and when it is expected to be triggered, a line each.

    Args:
        has_needs: whether other targets must pass first.
    """
    for one in found.waits:
        others = "it is the next" if not one.before else f"before it {counted(one.before, 'other')}"
        yield f"waits for {one.rule} {one.subject}: next at {clock(one.next_at)}; {others}"
    if found.at is None:
        return
    needs = ", if all that it needs passes" if has_needs else ""
    yield f"expected at about {clock(found.at)} (in {duration(max(0.0, found.at - now))}){needs}"


@verb(
    argument("run", "runs", required=False),
    option(
        "--merged",
        group=Group.OUTPUT,
        is_flag=True,
        help="RUN and all its retries as one: each target as the last run left it.",
    ),
    option(
        "--against",
        group=Group.OUTPUT,
        metavar="RUN|previous",
        help="Tell, too, what changed since another run; previous: what RUN retries, else the last of its name.",
    ),
    EXIT_STATUS,
    flags=(*SELECT, *OUTPUT),
    examples=(
        ("the latest run", "orchestrator report"),
        ("a page, and a file for the CI server", "orchestrator report latest -o html=report.html -o junit=report.xml"),
        ("what failed, as a list", "orchestrator report @nightly -o list"),
    ),
    terms=[("Formats", [(name, one.help) for name, one in FORMATS.items()])],
)
async def report(face: Face, run: str | None, merged: bool, against: str | None, exit_status: bool) -> int:
    """Render the report of RUN (by default the latest) in any format: -o FORMAT[=FILE]."""
    _, found = await app.report(face.context, run, face.choices.meant, merged=merged, against=against)
    is_whole = face.write(found, face.flags.files(face.machine.cwd))
    if not face.flags.output or face.flags.stdout is not None:
        face.show(found, files=face.flags.files(face.machine.cwd) if is_whole else {})
    return ((found.run.exit_code or 0) if exit_status else Exit.OK) if is_whole else Exit.FAILED


@verb(
    argument("before", "runs", metavar="A"),
    argument("after", "runs", metavar="B"),
    EXIT_STATUS,
    flags=(*SELECT, *OUTPUT),
    formats=TEXT,
    examples=(("the latest run against Monday's", "orchestrator diff nightly-2026-01-05 latest"),),
)
async def diff(face: Face, before: str, after: str, exit_status: bool) -> int:
    """Tell what is newly failing, fixed, still failing, new and gone in run B, compared with run A.

    A retry is compared together with the runs that it retried.
    """
    selection = face.choices.meant
    first = await app.settled(face.context, before, selection, may_be_empty=True)
    second = await app.settled(face.context, after, selection, may_be_empty=bool(first.targets))
    changes = compare(first, second)
    if face.flags.stdout == "json":
        face.tell(as_json(changes).rstrip("\n"))
    else:
        face.tell(as_text(changes, look=face.look(sys.stdout)).rstrip("\n"))
    return (second.run.exit_code or 0) if exit_status else Exit.OK
