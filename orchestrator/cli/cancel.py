"""`orchestrator cancel`: ends a run, and exactly the builds that it started."""

from __future__ import annotations

from orchestrator.app.cancel import cancel as cancel_run
from orchestrator.app.cancel import canceled
from orchestrator.app.context import writable
from orchestrator.app.runs import meant
from orchestrator.app.which import named, only_open
from orchestrator.cli.face import Face, person, verb
from orchestrator.cli.flags import OUTPUT, SELECT
from orchestrator.cli.help import Group, argument, option
from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.selection import EVERYTHING
from orchestrator.core.times import counted
from orchestrator.journal.port import Journal, RunRow

NAMED_LEFT = 20  # targets that could not be canceled


@verb(
    argument("run", "runs", required=False),
    option("--keep-builds", group=Group.STOP, is_flag=True, help="Only end the run; its builds go on."),
    flags=(*SELECT, *OUTPUT),
    examples=(
        ("all builds of the latest run", "orchestrator cancel latest"),
        ("those of one owner; the run goes on with the others", "orchestrator cancel latest --only 'acme/*'"),
        ("nothing but the run itself", "orchestrator cancel latest --keep-builds"),
    ),
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
    ended = await face.attend(drive)
    if quietly:
        return ended.code
    found = await canceled(ended, journal, only)
    if found.going_on:
        names = ", ".join(found.blocked)
        why = f"account {names} is blocked" if len(found.blocked) == 1 else f"accounts {names} are blocked"
        face.note(f"{counted(found.going_on, 'build')} not canceled yet: {why}")
    for id_, why in found.left[:NAMED_LEFT]:
        face.note(f"not canceled: {id_}: {why}")
    if len(found.left) > NAMED_LEFT:
        face.note(f"... and {len(found.left) - NAMED_LEFT:,} more")
    face.show(ended.report, is_silent=face.flags.quiet and found.code is Exit.OK)
    if found.code is Exit.ACCOUNT and not ended.report.is_rehearsal:
        face.note(f"orchestrator: nothing is lost; go on with: orchestrator resume {row.id}{face.flags.suffix}")
    return found.code
