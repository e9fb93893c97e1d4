"""`orchestrator run`: plan, trigger, follow, report; run again with the same `--run-id`, it goes on."""

from __future__ import annotations

from contextlib import AsyncExitStack

import click

from orchestrator.app.context import writable
from orchestrator.app.drive import Drive
from orchestrator.app.plan import Choices, Planned, Source, foreign_hosts, plan
from orchestrator.app.rehearse import rehearsed
from orchestrator.app.resume import resume
from orchestrator.app.runs import exact
from orchestrator.app.start import FORBID, OVERLAPS, REPLACE, edits, holders, new_id, ready, start
from orchestrator.cli.cancel import see_to_it
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import END, ENV, PACE, PICK, SHOW, run_id
from orchestrator.cli.plan import SOURCE, show
from orchestrator.core.errors import JournalError, UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.verdict import Exit
from orchestrator.journal.port import Journal, RunRow


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
    shows=(PICK, PACE, END, SHOW),
    formats=(),
)
async def run(
    face: Face,
    manifest: str | None,
    repos: tuple[str, ...],
    lines: str | None,
    given: str | None,
    overlap: str,
    adopt: bool,
    detach: bool,
    dry_run: bool,
) -> Exit:
    """Trigger a build for each target of MANIFEST (by default orchestrator.yaml), follow them, report.

    Run again with the same --run-id it goes on with that run, or prints its report; nothing is triggered twice.
    """
    source = Source(manifest, repos, lines)
    if dry_run:
        return await show(face, source, offline=False)
    face.check_formats(None)
    if adopt and not given:
        raise UsageError("--adopt: name the run whose state was lost with --run-id; its markers hold that id")
    choices = replace(face.choices, adopt=adopt, detach=detach)
    wanted = Wanted(source, choices, run_id(given) if given else None, overlap)
    async with writable(face.context) as journal, AsyncExitStack() as stack:
        row = await exact(journal, wanted.run) if wanted.run is not None else None
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
    _warn(face, planned)
    if wanted.overlap == REPLACE:
        for row in await holders(planned, journal):
            face.note(f"--overlap replace: canceling run {row.id}, and waiting until its builds have ended")
            await see_to_it(face, row, journal, quietly=True)
    overlap = FORBID if wanted.overlap == REPLACE else wanted.overlap
    try:
        started = await start(planned, run, journal, context, overlap)
    except JournalError:
        made = await exact(journal, run)
        if made is None or wanted.run is None:
            raise
        return made
    if started.left_out:
        face.note(f"{started.left_out:,} targets are left out, since other open runs hold them")
    face.log.info("run.made", run=run, targets=started.targets)
    return started.drive


def _warn(face: Face, planned: Planned) -> None:
    """Says where the token goes; of the other warnings only the number, `plan` is there to read them."""
    for name, host in () if face.flags.sandbox else foreign_hosts(planned.plan):
        face.log.warning("token.sent_elsewhere", account=name, host=host)
    for warning in planned.plan.warnings:
        face.log.debug("plan.warning", text=warning)
    if planned.plan.warnings and not face.flags.verbose:
        face.log.info("plan.warnings", number=len(planned.plan.warnings), shown_by="orchestrator plan")


async def _again(face: Face, row: RunRow, wanted: Wanted, journal: Journal) -> Exit:
    """The run of this id exists: goes on with it, or prints its report when it has ended."""
    if not face.flags.quiet:
        what = "has ended: nothing is triggered again"
        face.note(f"run {row.id} exists and {what if row.ended_at is not None else 'is open: going on with its plan'}")
    if row.ended_at is None:
        for sentence in await edits(row, wanted.source, wanted.choices, journal, face.context):
            face.note(f"  {sentence}")
    drive = await resume(row, journal, wanted.choices, face.context)
    return face.conclude(await face.attend(drive, f"{row.name} {row.id}"), detach=wanted.choices.detach)
