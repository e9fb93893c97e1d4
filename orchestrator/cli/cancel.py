"""`orchestrator cancel`: cancels exactly the builds that a run started, and triggers no more."""

from __future__ import annotations

import click

from orchestrator.app.cancel import cancel as cancel_run
from orchestrator.app.cancel import canceled
from orchestrator.app.context import writable
from orchestrator.app.runs import named, only_open
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import SHOW
from orchestrator.core.errors import UsageError
from orchestrator.core.times import counted
from orchestrator.core.verdict import Exit
from orchestrator.journal.port import Journal, RunRow

NAMED = 20


@verb(
    click.argument("run", required=False),
    click.option("--keep-builds", is_flag=True, help="Only end the run; its builds go on."),
    shows=(SHOW,),
)
async def cancel(face: Face, run: str | None, keep_builds: bool) -> Exit:
    """Cancel exactly the builds that RUN started, and trigger no more of it.

    Builds that others started are left alone. When another process is at work on the run, that process does it.
    """
    if run is None and not face.machine.may_ask:
        raise UsageError("cancel: say which run; `orchestrator runs --open` lists them")
    async with writable(face.context) as journal:
        row = await (only_open(journal, None) if run is None else named(journal, run))
        if row.ended_at is not None:
            face.note(f"run {row.id} has ended already (exit {row.exit_code}); there is nothing to cancel")
            return Exit.OK
        what = "End this run; its builds go on" if keep_builds else "Cancel the builds of this run"
        face.confirm(f"{what}: {row.name} {row.id}, {row.targets:,} targets?")
        return await see_to_it(face, row, journal, keep_builds=keep_builds)


async def see_to_it(
    face: Face, row: RunRow, journal: Journal, *, keep_builds: bool = False, quietly: bool = False
) -> Exit:
    """Cancels a run, waits until its builds have ended, and says what could not be canceled."""
    drive = await cancel_run(row, journal, _person(), face.choices, face.context, keep_builds=keep_builds)
    if row.driven:
        face.note(f"another process is at work on {row.id}; it was asked to cancel")
    ended = await face.attend(drive, f"cancel {row.id}")
    if quietly:
        return ended.code
    found = await canceled(ended, journal)
    if found.going_on:
        face.note(f"{counted(found.going_on, 'build')} not canceled yet: the account is blocked")
    for id_, why in found.left[:NAMED]:
        face.note(f"not canceled: {id_}: {why}")
    if len(found.left) > NAMED:
        face.note(f"... and {len(found.left) - NAMED:,} more")
    face.show(ended.report, is_silent=face.flags.quiet and found.code is Exit.OK)
    if found.code is Exit.ACCOUNT:
        face.note(f"orchestrator: nothing is lost; go on with: orchestrator resume {row.id}{face.flags.suffix}")
    return found.code


def _person() -> str:
    """Who asks, for the journal."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
