"""`orchestrator run`: plan, trigger, follow, report; run again with the same `--run-id`, it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import click

from orchestrator.app.context import Session, run_async
from orchestrator.app.create_run import FORBID, OVERLAPS, REPLACE, SKIP, made_of, make_run, new_id
from orchestrator.app.drift import differences
from orchestrator.app.drive import conclude, drive, options_of
from orchestrator.app.load_plan import Source, plan_of, source_flags
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import exact, writable
from orchestrator.app.rehearse import rehearsed
from orchestrator.cli import plan as plan_verb
from orchestrator.cli.cancel import cancel
from orchestrator.cli.flags import END, ENV, PACE, PICK, SHOW, Flags, common, run_id
from orchestrator.cli.output import checked, files_of, note
from orchestrator.cli.prompts import ask, foreign_hosts, token_commands
from orchestrator.cli.resume import go_on
from orchestrator.core.errors import JournalError, UsageError
from orchestrator.core.exits import Exit
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import load
from orchestrator.core.model import DEFAULT_FAIL_ON, Json, Plan
from orchestrator.journal.port import Journal, RunRow
from orchestrator.manifest import Manifest
from orchestrator.report.words import counted

MANY = 100  # targets above which a person is asked


class Wanted(Struct, frozen=True):
    """What one `run` is to do, besides the common flags."""

    source: Source
    run: str | None
    overlap: str
    detach: bool
    adopt: bool = False


@click.command("run", short_help="Plan, trigger, follow, report.")
@source_flags
@click.option("--run-id", envvar=f"{ENV}RUN_ID", metavar="ID", help="The run's id; with it, running again is safe.")
@click.option(
    "--overlap",
    type=click.Choice(OVERLAPS),
    default=FORBID,
    envvar=f"{ENV}OVERLAP",
    help="When another open run holds a target.",
)
@click.option("--adopt", is_flag=True, help="The state was lost: look for this run's markers first.")
@click.option("--detach", is_flag=True, help="Return when nothing is left to trigger; print the run's id.")
@click.option("-n", "--dry-run", is_flag=True, help="The same as the verb plan.")
@common(PICK, PACE, END, SHOW)
def command(
    flags: Flags,
    machine: Machine,
    manifest: str | None,
    repos: tuple[str, ...],
    lines: str | None,
    overlap: str,
    adopt: bool,
    detach: bool,
    dry_run: bool,
    **given: str | None,
) -> int:
    """Trigger a build for each target of MANIFEST (by default orchestrator.yaml), follow them, report.

    Run again with the same --run-id it goes on with that run, or prints its report; nothing is triggered twice.
    """
    source = Source(manifest, repos, lines)
    if dry_run:
        return plan_verb.show(source, flags, machine, offline=False)
    checked(flags.outputs)
    run = run_id(text) if (text := given["run_id"]) else None
    if adopt and run is None:
        raise UsageError("--adopt: name the run whose state was lost with --run-id; its markers hold that id")
    wanted = Wanted(source, run, overlap, detach, adopt)

    async def main() -> Exit:
        async with writable(flags, machine) as journal:
            row = await exact(journal, run) if run is not None else None
            if row is not None:
                return await _again(row, wanted, journal, flags, machine)
            return await _start(wanted, journal, flags, machine)

    return run_async(main)


async def _again(row: RunRow, wanted: Wanted, journal: Journal, flags: Flags, machine: Machine) -> Exit:
    """The run of this id exists: goes on with it, or prints its report when it has ended."""
    if not flags.quiet:
        what = "has ended: nothing is triggered again"
        note(f"run {row.id} exists and {what if row.ended_at is not None else 'is open: going on with its plan'}")
    if row.ended_at is None:
        await _tell_edits(row, wanted, journal, flags, machine)
    return await go_on(row, journal, flags, machine, detach=wanted.detach)


async def _tell_edits(row: RunRow, wanted: Wanted, journal: Journal, flags: Flags, machine: Machine) -> None:
    """Says what the manifest says by now that the run will not do."""
    for sentence in differences(await load(journal, row.id), wanted.source, flags, machine, row.id):
        note(f"  {sentence}")


async def _start(wanted: Wanted, journal: Journal, flags: Flags, machine: Machine) -> Exit:
    run = wanted.run or new_id(machine.now())
    async with _planned(wanted, run, flags, machine) as (plan, session):
        session.resolve(plan.accounts.values(), plan.targets)
        _ask(plan, flags, machine)
        _warn(plan, session)
        if wanted.adopt:
            refuse_unmarked(plan)
        try:
            plan = await _made(run, plan, wanted, journal, session)
        except JournalError:
            row = await exact(journal, run)
            if row is None or wanted.run is None:
                raise
            return await _again(row, wanted, journal, flags, machine)  # somebody was quicker by a moment
        session.log.info("run.made", run=run, targets=len(plan.targets))
        del plan  # from here on the journal's targets count, and two of each would cost a large run its memory
        history = await load(journal, run)
        options = options_of(history, session, detach=wanted.detach)
        return conclude(await drive(run, journal, session, options, history), session, detach=wanted.detach)


@asynccontextmanager
async def _planned(wanted: Wanted, run: str, flags: Flags, machine: Machine) -> AsyncIterator[tuple[Plan, Session]]:
    """The plan and the session that it is driven with; with `--sandbox` its accounts lead to a look-alike."""
    title = wanted.source.title(run)
    if not flags.sandbox:
        session = Session(flags, machine, title)
        yield await _plan(wanted, run, flags, machine, session), session
        return
    async with rehearsed(wanted.source, flags, machine, run) as (plan, manifest, environ):
        refuse_unsupported(manifest)
        yield plan, Session(flags, machine, title, environ)


async def _plan(wanted: Wanted, run: str, flags: Flags, machine: Machine, session: Session) -> Plan:
    """The plan alone: what was read to make it is not kept while the run is driven."""
    plan, manifest = await plan_of(wanted.source, flags, machine, run, session)
    refuse_unsupported(manifest)
    return plan


def refuse_unsupported(manifest: Manifest | None) -> None:
    """Nothing is silently ignored.

    Raises:
        UsageError: the manifest has a key that is understood and not acted on yet.
    """
    if manifest is not None and manifest.unsupported:
        raise UsageError("\n".join(manifest.unsupported))


def refuse_unmarked(plan: Plan) -> None:
    """What carries no marker cannot be adopted.

    Raises:
        UsageError: the plan has such targets.
    """
    unmarked = [target.id for target in plan.targets if not target.marked]
    if unmarked:
        raise UsageError(
            f"--adopt: {counted(len(unmarked), 'target')} with `marker: none` could not be recognised, {unmarked[0]} "
            "for one; leave them out with --exclude, and look at the provider yourself"
        )


async def _made(run: str, plan: Plan, wanted: Wanted, journal: Journal, session: Session) -> Plan:
    cast = await plan_verb.forecast_at_start(plan, journal, session.flags, session.machine)
    options = {**_kept(plan, session), **({"adopt": True} if wanted.adopt else {})}
    flags, made = session.flags, made_of(plan, options, forecast=cast)
    if wanted.overlap == REPLACE:
        await _replace(plan, journal, session)
    overlap = FORBID if wanted.overlap == REPLACE else wanted.overlap
    targets = await make_run(run, made, plan.targets, journal, session.machine.now(), overlap, flags.behind)
    if overlap == SKIP and len(targets) < len(plan.targets):
        note(f"{len(plan.targets) - len(targets):,} targets are left out, since other open runs hold them")
    return replace(plan, targets=tuple(targets))


def _kept(plan: Plan, session: Session) -> Mapping[str, Json]:
    """What of the command line belongs to the run itself, so that a resume keeps to it."""
    flags, machine = session.flags, session.machine
    fail_on = flags.fail_on if flags.fail_on is not None else (plan.fail_on or DEFAULT_FAIL_ON)
    written = {str(machine.cwd / path): name for name, path in plan.reports.items()}
    kept: dict[str, Json] = {
        "fail_on": sorted(fail_on),
        "reports": {**written, **files_of(flags.outputs, machine)},
        "in_flight": flags.in_flight,
        "max_fail": flags.max_fail,
        "sandbox": flags.sandbox or None,
    }
    return {name: value for name, value in kept.items() if value not in (None, {})}


async def _replace(plan: Plan, journal: Journal, session: Session) -> None:
    """Cancels every other open run that holds one of the targets."""
    wanted = {target.id for target in plan.targets}
    for row in await journal.runs(open_only=True):
        if any(target.id in wanted for target in await journal.targets(row.id)):
            note(f"--overlap replace: canceling run {row.id}, and waiting until its builds have ended")
            await cancel(row, journal, session)


def _ask(plan: Plan, flags: Flags, machine: Machine) -> None:
    """What a person at a terminal is asked before anything is sent."""
    if flags.sandbox:
        return
    said = [f"it runs {command}" for command in token_commands(plan)]
    said += [f"account {name} sends its token to {host}" for name, host in foreign_hosts(plan)]
    if len(plan.targets) > MANY or said:
        reasons = f" ({'; '.join(said)})" if said else ""
        ask(f"Trigger {counted(len(plan.targets), 'build')}{reasons}?", flags, machine)


def _warn(plan: Plan, session: Session) -> None:
    """Says where the token goes; of the other warnings only the number, `plan` is there to read them."""
    for name, host in () if session.flags.sandbox else foreign_hosts(plan):
        session.log.warning("token.sent_elsewhere", account=name, host=host)
    for warning in plan.warnings:
        session.log.debug("plan.warning", text=warning)
    if plan.warnings and not session.flags.verbose:
        session.log.info("plan.warnings", number=len(plan.warnings), shown_by="orchestrator plan")
