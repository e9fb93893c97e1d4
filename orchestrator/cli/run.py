"""The verbs that drive a run: `run` and `retry` make one; `resume` and `watch` take one up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import click

from orchestrator.app.ahead import looked_ahead, remembered
from orchestrator.app.context import writable
from orchestrator.app.drive import Drive
from orchestrator.app.lookups import times_in
from orchestrator.app.names import refuse_twins
from orchestrator.app.onlookers import let_go
from orchestrator.app.overlap import FORBID, OVERLAPS, REPLACE, holders
from orchestrator.app.plan import Choices, Planned, Source, forecast_of, foreign_hosts, plan
from orchestrator.app.rehearse import rehearsed
from orchestrator.app.resume import choose, refuse_another_parent
from orchestrator.app.resume import resume as resume_run
from orchestrator.app.resume import retry as retry_run
from orchestrator.app.start import edits, forget_rehearsal, new_id, ready, start
from orchestrator.app.which import exact, latest, only_open
from orchestrator.cli.brief import brief
from orchestrator.cli.cancel import see_to_it
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import ENDS, ENV, OUTPUT, PACE, PARAMS, REHEARSE, SELECT
from orchestrator.cli.help import Group, argument, option
from orchestrator.cli.plan import SOURCE, show
from orchestrator.cli.values import outcomes, run_id
from orchestrator.core.errors import Exit, JournalError, UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Outcome
from orchestrator.core.times import clock, counted
from orchestrator.journal.port import Journal, RunRow
from orchestrator.report.hints import Hint
from orchestrator.report.words import shell

NAMED = 10  # targets that are left out for one reason
DETACH = option(
    "--detach", group=Group.STOP, is_flag=True, help="Return when nothing is left to trigger; print the run's id."
)


class Wanted(Struct, frozen=True):
    """What one `run` is to do."""

    source: Source
    choices: Choices
    run: str | None
    overlap: str


@verb(
    *SOURCE,
    option(
        "given",
        "--run-id",
        group=Group.SAFETY,
        unset="a new one",
        envvar=f"{ENV}RUN_ID",
        metavar="ID",
        help="The run's id; with it, running again is safe.",
    ),
    option(
        "--overlap",
        group=Group.SAFETY,
        type=click.Choice(OVERLAPS),
        default=FORBID,
        envvar=f"{ENV}OVERLAP",
        help="When another open run holds a target.",
    ),
    option("--adopt", group=Group.SAFETY, is_flag=True, help="The state was lost: look for this run's markers first."),
    option("-n", "--dry-run", group=Group.SAFETY, is_flag=True, help="The same as the verb plan."),
    DETACH,
    flags=(*PARAMS, *SELECT, *PACE, *ENDS, *REHEARSE, *OUTPUT),
    formats=(),
    examples=(
        ("all of orchestrator.yaml, with a page to look at", "orchestrator run -o html=report.html"),
        ("a rehearsal: nothing leaves this machine", "orchestrator run --sandbox"),
        ("some of it, few builds at once", "orchestrator run --only 'acme/*' -j 20"),
        ("every night, from cron: again is safe", "orchestrator run -q --run-id nightly-$(date +%F)"),
        ("a list, without a manifest", "orchestrator run --from repos.txt"),
        ("stop when it goes wrong", "orchestrator run --max-fail 5%"),
    ),
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
        return face.conclude(await face.attend(what), detach=detach)


async def _started(face: Face, wanted: Wanted, journal: Journal, stack: AsyncExitStack) -> Drive | RunRow:
    """Plans and makes the run; another process may have made it a moment before. The plan is gone with this call."""
    run = wanted.run or new_id(face.machine.now())
    planned, context = await rehearsed(
        await plan(wanted.source, wanted.choices, face.context, run=run, journal=journal), face.context, stack
    )
    ready(planned, context)
    if not context.sandbox:
        planned = await _asked(face, planned, journal)
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


async def _asked(face: Face, planned: Planned, journal: Journal) -> Planned:
    """The plan with what is known of its branches, once a person has seen it and said yes, where one is asked."""
    context, question = face.context, planned.needs_confirmation
    if question is None or not face.asks:
        return planned.warned(await remembered(planned.plan, journal, context.now()))
    times = await times_in(journal, planned.plan.name, planned.plan.accounts, context)
    ahead = await looked_ahead(planned.plan, times, context)
    planned = planned.warned(ahead.warnings)
    cast = forecast_of(planned, ahead.times, context, advise=False)
    face.ask_below(brief(planned.plan, cast, ahead.logins, context.now()))
    face.confirm(question)
    return planned


async def _replaced(face: Face, planned: Planned, journal: Journal) -> list[RunRow]:
    """Cancels the runs that hold targets and that processes drive; those that nobody drives are only ended."""
    await refuse_twins(planned.plan, face.context, journal)  # as `start` does: nothing is canceled for what is refused
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
    if not warnings or face.flags.verbose:
        return
    if face.draws:  # which leaves no room for a log
        face.note(f"{counted(len(warnings), 'warning')}, shown by: {_plan_line(face, source)}")
    else:
        face.log.info("plan.warnings", number=len(warnings), shown_by=_plan_line(face, source))


async def _again(face: Face, row: RunRow, wanted: Wanted, journal: Journal) -> Exit:
    """The run of this id exists: goes on with it, or prints its report when it has ended."""
    differences = await edits(row, wanted.source, wanted.choices, journal, face.context, wanted.overlap)
    _tell_of(face, row)
    for sentence in differences:
        face.note(f"  {sentence}")
    drive = await resume_run(row, journal, wanted.choices, face.context)
    return face.conclude(await face.attend(drive), detach=wanted.choices.detach)


def _tell_of(face: Face, row: RunRow) -> None:
    ended = f"has ended: nothing is triggered again (it ended at {clock(row.ended_at)}, exit {row.exit_code})"
    face.note(f"run {row.id} exists and {ended if row.ended_at is not None else 'is open: going on with its plan'}")


@verb(
    argument("run", "runs", required=False),
    flags=OUTPUT,
    examples=(("a run that a CI job or another terminal drives", "orchestrator watch latest"),),
)
async def watch(face: Face, run: str | None) -> Exit:
    """Follow RUN (by default the latest) to its end; nothing is triggered.

    While another process is at work on it, only the state is read. When nobody is, the builds are followed from here as
    soon as every target was sent; before that somebody must resume the run, and it says so.
    """
    async with writable(face.context) as journal:
        row = await latest(journal, run)
        drive = Drive(row.id, journal, face.choices, face.context, looks_on=True)
        return face.conclude(await face.attend(drive))


@verb(
    argument("run", "runs", required=False),
    option(
        "--assume-absent",
        group=Group.SAFETY,
        multiple=True,
        metavar="TARGET",
        completes="targets",
        help="In doubt: you looked, there is no build.",
    ),
    option(
        "--adopt-request",
        group=Group.SAFETY,
        multiple=True,
        metavar="TARGET=ID",
        completes="requests",
        help="In doubt: this is its request.",
    ),
    option("--override-stop", group=Group.STOP, is_flag=True, help="Go on although a rule stopped the run."),
    DETACH,
    flags=(*SELECT, *PACE, *ENDS, *OUTPUT),
    examples=(
        ("the only open run", "orchestrator resume"),
        ("the latest of a name, slower", "orchestrator resume @nightly --rate 10/30s"),
        ("although a rule stopped it", "orchestrator resume latest --override-stop"),
        ("settle a doubt: that is its request", "orchestrator resume latest --adopt-request acme/api@main=31337"),
    ),
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
        return face.conclude(await face.attend(drive), detach=detach)


@verb(
    argument("run", "runs", required=False),
    option(
        "--outcome",
        group=Group.WHAT,
        metavar="LIST",
        completes="outcomes",
        help="Only targets with these outcomes.",
        unset="all but passed and in_doubt",
    ),
    option("--same-commit", group=Group.WHAT, is_flag=True, help="Restart the old builds instead of making new ones."),
    option(
        "new",
        "--run-id",
        group=Group.SAFETY,
        unset="a new one",
        envvar=f"{ENV}RUN_ID",
        metavar="ID",
        help="The new run's id; with it, running again is safe.",
    ),
    DETACH,
    flags=(*SELECT, *PACE, *ENDS, *OUTPUT),
    examples=(
        ("what did not pass in the latest run", "orchestrator retry"),
        ("only what failed, on the same commits", "orchestrator retry @nightly --outcome failed --same-commit"),
        ("what is in doubt: looked up first, then triggered", "orchestrator retry latest --outcome in_doubt"),
    ),
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
            return face.conclude(await face.attend(going_on), detach=detach)
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
        return face.conclude(await face.attend(drive), detach=detach)
