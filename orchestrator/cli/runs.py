"""The verbs that read the state: `runs` (which forgets old ones, too), `why`, `report` and `diff`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import click

from orchestrator.app import runs as app
from orchestrator.app.context import readable, writable
from orchestrator.app.glance import glances
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT, SELECT
from orchestrator.cli.help import Group, argument, option
from orchestrator.cli.listing import for_programs, lines_of
from orchestrator.cli.values import duration as seconds_of
from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.times import clock, counted, duration
from orchestrator.forecast import Expected
from orchestrator.journal.port import RunRow
from orchestrator.report import FORMATS
from orchestrator.report.diff import as_json, as_text, compare
from orchestrator.report.reasons import unmet_needs
from orchestrator.report.why import explain
from orchestrator.report.words import shell

REASONS = 8
LISTED = 20  # runs that a person sees at once
MOVED = (
    "is open, and moves with the file: resume it there and no more here (each looks up what the other one triggered)"
)
DRIVEN = "; end the process that drives it first"
EXIT_STATUS = option("--exit-status", group=Group.OUTPUT, is_flag=True, help="Exit with the run's own code.")


@verb(
    argument("run", "runs", required=False),
    option("--open", "only_open", is_flag=True, help="Only those that have not ended."),
    option(
        "--last",
        metavar="N",
        type=click.IntRange(min=1),
        unset="20, with -o json all",
        help="Only the last N that were made.",
    ),
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
        ("those of one name, more of them", "orchestrator runs @nightly --last 100"),
        ("forget what ended a month ago", "orchestrator runs --prune 30d"),
        ("take one to another machine", "orchestrator runs latest --export run.db"),
    ),
)
async def runs(
    face: Face, run: str | None, only_open: bool, last: int | None, prune: str | None, export: str | None
) -> None:
    """List the runs in the state, newest first; RUN narrows them down, for --prune too: a part of an id, or @NAME."""
    given = [
        flag for flag, it in (("--open", only_open), ("--last", last), ("--prune", prune), ("--export", export)) if it
    ]
    if len(given) > 1 and given != ["--open", "--last"]:
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
        at_most = last if last is not None else LISTED if face.flags.stdout != "json" else None
        await _list(face, await app.runs(face.context, run or "", open_only=only_open), at_most)


async def _prune(face: Face, prefix: str, age: float) -> None:
    """Lists what is to be forgotten, and forgets it once a person at a terminal has said yes."""
    async with writable(face.context) as journal:
        rows = await app.old_runs(journal, prefix, face.machine.now() - age)
        if rows:
            if not face.flags.quiet:
                await _list(face, rows)
            face.confirm(f"Forget {counted(len(rows), 'run')}?", done="nothing was forgotten")
        face.note(f"{await journal.drop_runs([row.id for row in rows]):,} runs forgotten")


async def _list(face: Face, rows: Sequence[RunRow], at_most: int | None = None) -> None:
    """Lists runs.

    Args:
        at_most: of the newest; None: all.
    """
    shown = rows[:at_most]
    async with readable(face.context, rows[0].id) if rows else nullcontext() as journal:
        found = [] if journal is None else await glances(shown, journal, face.machine.now())
        every = [] if journal is None else await journal.runs()
    if face.flags.stdout == "json":
        face.json([for_programs(one) for one in found])
    elif not found:
        face.tell("no runs")
    else:
        face.draw(lines_of(found, every, face.machine.now(), face.columns), hang=4)
    if len(rows) > len(shown):
        face.note(f"{len(shown):,} of {len(rows):,} runs, the newest; --last N lists more")


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
