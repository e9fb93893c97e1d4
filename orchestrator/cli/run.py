"""The verbs that drive a run: `run` and `retry` make one; `resume`, `watch` and `cancel` take one up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import click

from orchestrator.app.cancel import cancel as cancel_run
from orchestrator.app.cancel import canceled
from orchestrator.app.context import writable
from orchestrator.app.drive import Drive
from orchestrator.app.onlookers import let_go
from orchestrator.app.overlap import FORBID, OVERLAPS, REPLACE, holders
from orchestrator.app.plan import Choices, Planned, Source, foreign_hosts, plan
from orchestrator.app.rehearse import rehearsed
from orchestrator.app.resume import choose, refuse_another_parent
from orchestrator.app.resume import resume as resume_run
from orchestrator.app.resume import retry as retry_run
from orchestrator.app.runs import meant
from orchestrator.app.start import edits, forget_rehearsal, new_id, ready, start
from orchestrator.app.which import exact, latest, named, only_open
from orchestrator.cli.face import Face, person, verb
from orchestrator.cli.flags import ENDS, ENV, OUTPUT, PACE, PARAMS, REHEARSE, SELECT, outcomes, run_id
from orchestrator.cli.plan import SOURCE, show
from orchestrator.core.errors import Exit, JournalError, UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Outcome
from orchestrator.core.selection import EVERYTHING
from orchestrator.core.times import clock, counted
from orchestrator.journal.port import Journal, RunRow
from orchestrator.report.hints import Hint
from orchestrator.report.words import shell

NAMED = 10  # targets that are left out for one reason
NAMED_LEFT = 20  # targets that could not be canceled


class Wanted(Struct, frozen=True):
    """What one `run` is to do."""

    source: Source
    choices: Choices
    run: str | None
    overlap: str


@verb(
    *SOURCE,
    click.option(
        "given", "--run-id", envvar=f"{ENV}RUN_ID", metavar="ID", help="The run's id; with it, running again is safe."
    ),
    click.option(
        "--overlap",
        type=click.Choice(OVERLAPS),
        default=FORBID,
        envvar=f"{ENV}OVERLAP",
        help="When another open run holds a target.",
    ),
    click.option("--adopt", is_flag=True, help="The state was lost: look for this run's markers first."),
    click.option("--detach", is_flag=True, help="Return when nothing is left to trigger; print the run's id."),
    click.option("-n", "--dry-run", is_flag=True, help="The same as the verb plan."),
    flags=(*PARAMS, *SELECT, *PACE, *ENDS, *REHEARSE, *OUTPUT),
    formats=(),
)
async def run(
    face: Face,
    manifest: str | None,
    repos: tuple[str, ...],
    lines: str | None,
    like: str | None,
    given: str | None,
    overlap: str,
    adopt: bool,
    detach: bool,
    dry_run: bool,
) -> Exit:
    """Trigger a build for each target of MANIFEST (by default orchestrator.yaml), follow them, report.

    Run again with the same --run-id it goes on with that run, or prints its report; nothing is triggered twice.
    """
    source = Source(manifest, repos, lines, like)
    if dry_run:
        return await show(face, source, offline=False)
    face.check_formats(None)
    if adopt and not given:
        raise UsageError("--adopt: name the run whose state was lost with --run-id; its markers hold that id")
    choices = replace(face.choices, adopt=adopt, detach=detach)
    wanted = Wanted(source, choices, run_id(given) if given is not None else None, overlap)
    async with writable(face.context) as journal, AsyncExitStack() as stack:
        row = await exact(journal, wanted.run) if wanted.run is not None else None
        if row is not None and await forget_rehearsal(row, journal, face.context):
            row = None
        what = row or await _started(face, wanted, journal, stack)
        if isinstance(what, RunRow):
            return await _again(face, what, wanted, journal)
        return face.conclude(await face.attend(what, f"{source.title} {what.run_id}"), detach=detach)


async def _started(face: Face, wanted: Wanted, journal: Journal, stack: AsyncExitStack) -> Drive | RunRow:
    """Plans and makes the run; another process may have made it a moment before. The plan is gone with this call."""
    run = wanted.run or new_id(face.machine.now())
    planned, context = await rehearsed(
        await plan(wanted.source, wanted.choices, face.context, run=run, journal=journal), face.context, stack
    )
    ready(planned, context)
    if not context.sandbox:
        face.confirm(planned.needs_confirmation)
    for name, host in () if face.flags.sandbox else foreign_hosts(planned.plan):
        face.log.warning("token.sent_elsewhere", account=name, host=host)
    driven = await _replaced(face, planned, journal) if wanted.overlap == REPLACE and not context.sandbox else []
    try:
        started = await start(planned, run, journal, context, wanted.overlap, driven)
    except JournalError:
        made = await exact(journal, run)
        if made is None or wanted.run is None:
            raise
        return made
    _warn(face, started.warnings, wanted.source)
    if started.left_out:
        face.note(f"{started.left_out:,} targets are left out, since other open runs hold them")
    for ended in started.ended:
        face.log.info("run.replaced", run=ended, by=run)
    face.log.info("run.made", run=run, targets=started.targets)
    return started.drive


async def _replaced(face: Face, planned: Planned, journal: Journal) -> list[RunRow]:
    """Cancels the runs that hold targets and that processes drive; those that nobody drives are only ended."""
    held = [one.row for one in await holders(planned.plan.accounts, planned.plan.targets, journal) if one.names]
    for row in held:
        await let_go(row.id, journal, face.context)
    found = await holders(planned.plan.accounts, planned.plan.targets, journal)
    driven = [one.row for one in found if one.names and one.row.driven]
    for row in driven:
        face.note(f"--overlap replace: canceling run {row.id}, and waiting until its builds have ended")
        await see_to_it(face, row, journal, quietly=True)
    return driven


def _plan_line(face: Face, source: Source) -> str:
    """The command that plans the same."""
    choices = face.choices
    params = [word for name, value in choices.params.items() for word in ("-p", f"{name}={value}")]
    words = ["orchestrator", "plan", *source.words, *params, *choices.picked]
    return " ".join(map(shell, words)) + face.flags.suffix


def _warn(face: Face, warnings: Sequence[str], source: Source) -> None:
    """Of the warnings only the number, `plan` is there to read them."""
    for warning in warnings:
        face.log.debug("plan.warning", text=warning)
    if warnings and not face.flags.verbose:
        face.log.info("plan.warnings", number=len(warnings), shown_by=_plan_line(face, source))


async def _again(face: Face, row: RunRow, wanted: Wanted, journal: Journal) -> Exit:
    """The run of this id exists: goes on with it, or prints its report when it has ended."""
    differences = await edits(row, wanted.source, wanted.choices, journal, face.context, wanted.overlap)
    _tell_of(face, row)
    for sentence in differences:
        face.note(f"  {sentence}")
    drive = await resume_run(row, journal, wanted.choices, face.context)
    return face.conclude(await face.attend(drive, f"{row.name} {row.id}"), detach=wanted.choices.detach)


def _tell_of(face: Face, row: RunRow) -> None:
    ended = f"has ended: nothing is triggered again (it ended at {clock(row.ended_at)}, exit {row.exit_code})"
    face.note(f"run {row.id} exists and {ended if row.ended_at is not None else 'is open: going on with its plan'}")


@verb(click.argument("run", required=False), flags=OUTPUT)
async def watch(face: Face, run: str | None) -> Exit:
    """Follow RUN (by default the latest) to its end; nothing is triggered.

    While another process is at work on it, only the state is read. When nobody is, the builds are followed from here as
    soon as every target was sent; before that somebody must resume the run, and it says so.
    """
    async with writable(face.context) as journal:
        row = await latest(journal, run)
        drive = Drive(row.id, journal, face.choices, face.context, looks_on=True)
        return face.conclude(await face.attend(drive, f"{row.name} {row.id}"))


@verb(
    click.argument("run", required=False),
    click.option("--assume-absent", multiple=True, metavar="TARGET", help="In doubt: you looked, there is no build."),
    click.option("--adopt-request", multiple=True, metavar="TARGET=ID", help="In doubt: this is its request."),
    click.option("--override-stop", is_flag=True, help="Go on although a rule stopped the run."),
    click.option("--detach", is_flag=True, help="Return when nothing is left to trigger."),
    flags=(*SELECT, *PACE, *ENDS, *OUTPUT),
)
async def resume(
    face: Face,
    run: str | None,
    assume_absent: tuple[str, ...],
    adopt_request: tuple[str, ...],
    override_stop: bool,
    detach: bool,
) -> Exit:
    """Go on with RUN (by default the only open one); nothing is triggered twice.

    It needs no manifest: the journal has the targets, accounts, limits and references to secrets.
    """
    async with writable(face.context) as journal:
        row = await only_open(journal, run)
        drive = await resume_run(
            row,
            journal,
            replace(face.choices, override_stop=override_stop, detach=detach),
            face.context,
            assume_absent=assume_absent,
            adopt_request=adopt_request,
            look_again=True,
            selection=face.choices.meant,
        )
        return face.conclude(await face.attend(drive, f"{row.name} {row.id}"), detach=detach)


@verb(
    click.argument("run", required=False),
    click.option("--outcome", metavar="LIST", help="Only targets with these outcomes (default: all but passed)."),
    click.option("--same-commit", is_flag=True, help="Restart the old builds instead of making new ones."),
    click.option("new", "--run-id", envvar=f"{ENV}RUN_ID", metavar="ID", help="The new run's id."),
    click.option("--detach", is_flag=True, help="Return when nothing is left to trigger."),
    flags=(*SELECT, *PACE, *ENDS, *OUTPUT),
)
async def retry(
    face: Face, run: str | None, outcome: str | None, same_commit: bool, new: str | None, detach: bool
) -> Exit:
    """Start a new run of every target of RUN (by default the latest) that did not pass.

    Targets in doubt are left out, since they may have a build; with --outcome in_doubt their old markers are looked
    for first, and once more just before a new trigger. What the manifest skips is left out too.
    """
    wanted = outcomes(outcome, "--outcome") if outcome is not None else None
    if same_commit and wanted is not None and Outcome.IN_DOUBT in wanted:
        raise UsageError("retry: --same-commit starts old builds again; a target in doubt has none that is known")
    given = run_id(new) if new is not None else None
    new = given or new_id(face.machine.now())
    async with writable(face.context) as journal:
        if given is not None and (made := await exact(journal, given)) is not None:
            await refuse_another_parent(made, run, journal)
            _tell_of(face, made)
            going_on = await resume_run(made, journal, replace(face.choices, detach=detach), face.context)
            return face.conclude(await face.attend(going_on, f"{made.name} {given}"), detach=detach)
        row = await latest(journal, run)
        selection = face.choices.meant
        chosen = await choose(row, wanted, journal, face.context, same_commit=same_commit, selection=selection)
        for why, ids in chosen.left_out.items():
            more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
            face.note(f"left out, since {why}: {', '.join(ids[:NAMED])}{more}")
        face.confirm(chosen.needs_confirmation)
        drive = await retry_run(chosen, new, journal, replace(face.choices, detach=detach), face.context)
        face.note(f"run {new}: {len(chosen.targets):,} of {row.targets:,} targets of {row.id}")
        if chosen.history.options.reports:
            merged = Hint("report", new, ("--merged", "-o", "FORMAT=FILE")).line(face.flags.suffix)
            face.note(f"the report files of {row.id} are left as they are; both runs as one: {merged}")
        return face.conclude(await face.attend(drive, f"{row.name} {new}"), detach=detach)


@verb(
    click.argument("run", required=False),
    click.option("--keep-builds", is_flag=True, help="Only end the run; its builds go on."),
    flags=(*SELECT, *OUTPUT),
)
async def cancel(face: Face, run: str | None, keep_builds: bool) -> Exit:
    """Cancel exactly the builds that RUN started, and trigger no more of it.

    With --only and the like only these are canceled, or never triggered, and the run goes on with the others. Builds
    that others started are left alone. When another process is at work on the run, that process does it.
    """
    if run is None and not face.machine.may_ask:
        raise UsageError("cancel: say which run; `orchestrator runs --open` lists them")
    async with writable(face.context) as journal:
        row = await (only_open(journal, None) if run is None else named(journal, run))
        if keep_builds and face.choices.meant != EVERYTHING:
            raise UsageError("cancel: --keep-builds ends the whole run; it does not go with --only and the like")
        if row.ended_at is not None:
            face.note(f"run {row.id} has ended already (exit {row.exit_code}); there is nothing to cancel")
            return Exit.NOT_STARTED
        only = await meant(row, journal, face.choices.meant)
        what = "End this run; its builds go on" if keep_builds else "Cancel the builds of this run"
        some = f"{len(only):,} of " if only else ""
        face.confirm(f"{what}: {row.name} {row.id}, {some}{row.targets:,} targets?")
        return await see_to_it(face, row, journal, keep_builds=keep_builds, only=only)


async def see_to_it(
    face: Face,
    row: RunRow,
    journal: Journal,
    *,
    keep_builds: bool = False,
    quietly: bool = False,
    only: tuple[str, ...] = (),
) -> Exit:
    """Cancels a run, waits until its builds have ended, and says what could not be canceled."""
    drive = await cancel_run(row, journal, person(), face.choices, face.context, keep_builds=keep_builds, only=only)
    if row.driven:
        face.note(f"another process is at work on {row.id}; it was asked to cancel")
    ended = await face.attend(drive, f"cancel {row.id}")
    if quietly:
        return ended.code
    found = await canceled(ended, journal, only)
    if found.going_on:
        face.note(f"{counted(found.going_on, 'build')} not canceled yet: the account is blocked")
    for id_, why in found.left[:NAMED_LEFT]:
        face.note(f"not canceled: {id_}: {why}")
    if len(found.left) > NAMED_LEFT:
        face.note(f"... and {len(found.left) - NAMED_LEFT:,} more")
    face.show(ended.report, is_silent=face.flags.quiet and found.code is Exit.OK)
    if found.code is Exit.ACCOUNT:
        face.note(f"orchestrator: nothing is lost; go on with: orchestrator resume {row.id}{face.flags.suffix}")
    return found.code
