"""`orchestrator cancel`: cancels exactly the builds that a run started, and triggers no more."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress

import click

from orchestrator.app.context import Session, run_async
from orchestrator.app.drive import Ended, drive, options_of
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import named, only_open, writable
from orchestrator.cli.flags import SHOW, Flags, common
from orchestrator.cli.output import checked, note, show
from orchestrator.cli.prompts import ask
from orchestrator.cli.resume import refuse_rehearsal, resolve
from orchestrator.cli.watch import follow
from orchestrator.core.errors import LeaseLost, UsageError
from orchestrator.core.events import CancelAsked
from orchestrator.core.exits import Exit
from orchestrator.core.history import History, load
from orchestrator.journal.port import Journal, RunRow
from orchestrator.report.words import counted

NAMED = 20


@click.command("cancel", short_help="Cancel the builds that a run started.")
@click.argument("run", required=False)
@click.option("--keep-builds", is_flag=True, help="Only end the run; its builds go on.")
@common(SHOW)
def command(flags: Flags, machine: Machine, run: str | None, keep_builds: bool) -> int:
    """Cancel exactly the builds that RUN started, and trigger no more of it.

    Builds that others started are left alone. When another process is at work on the run, that process does it.
    """
    checked(flags.outputs)
    if run is None and not machine.may_ask:
        raise UsageError("cancel: say which run; `orchestrator runs --open` lists them")

    async def main() -> Exit:
        async with writable(flags, machine) as journal:
            row = await (only_open(journal, None) if run is None else named(journal, run))
            if row.ended_at is not None:
                note(f"run {row.id} has ended already (exit {row.exit_code}); there is nothing to cancel")
                return Exit.OK
            what = "End this run; its builds go on" if keep_builds else "Cancel the builds of this run"
            ask(f"{what}: {row.name} {row.id}, {row.targets:,} targets?", flags, machine)
            session = Session(flags, machine, f"cancel {row.id}")
            ended = await cancel(row, journal, session, keep_builds=keep_builds)
            code = verdict(await load(journal, row.id), ended.code)
            show(ended.report, flags, machine, is_silent=flags.quiet and code is Exit.OK)
            if code is Exit.ACCOUNT:
                note(f"orchestrator: nothing is lost; go on with: orchestrator resume {row.id}{flags.behind}")
            return code

    return run_async(main)


async def cancel(row: RunRow, journal: Journal, session: Session, *, keep_builds: bool = False) -> Ended:
    """Wishes the run canceled, and sees to it: from here, or by waiting for the process that is at work on it."""
    history = await load(journal, row.id)
    if not row.driven:
        _refuse_what_cannot_be(history, session)
    by = f"{_user()}@{socket.gethostname()}"
    await journal.wish(row.id, CancelAsked(by, session.machine.now(), keep_builds))
    if not row.driven:
        with suppress(LeaseLost):  # somebody took it up meanwhile, and will see the wish
            return await drive(row.id, journal, session, options_of(history, session, trigger=False))
    note(f"another process is at work on {row.id}; it was asked to cancel")
    return await follow(row.id, journal, session)


def _refuse_what_cannot_be(history: History, session: Session) -> None:
    refuse_rehearsal(history)
    resolve(history, session)


def verdict(history: History, code: Exit) -> Exit:
    """0 when all that could be canceled is; 1 names what could not; what is more severe stays."""
    going_on = sum(one.may_exist and not one.is_done for one in history.progress.values())
    if code is Exit.ACCOUNT and going_on:
        note(f"{counted(going_on, 'build')} not canceled yet, since the account takes no call now")
    if code not in (Exit.OK, Exit.FAILED, Exit.STOPPED):
        return code
    left = [(id_, one.cancel_note) for id_, one in history.progress.items() if one.cancel_note]
    for id_, why in left[:NAMED]:
        note(f"not canceled: {id_}: {why}")
    if len(left) > NAMED:
        note(f"... and {len(left) - NAMED:,} more")
    return Exit.FAILED if left else Exit.OK


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return "somebody"
