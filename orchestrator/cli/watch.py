"""`orchestrator watch`: follows a run that goes on elsewhere, or was detached; never triggers."""

from __future__ import annotations

import anyio
import click

from orchestrator.app.context import Session, run_async
from orchestrator.app.drive import Ended, conclude, drive, finish, heed_signals, options_of, sole
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import exact, latest, writable
from orchestrator.cli.flags import END, SHOW, Flags, common
from orchestrator.cli.output import checked
from orchestrator.cli.resume import refuse_rehearsal, resolve
from orchestrator.core.errors import JournalError, LeaseLost
from orchestrator.core.exits import Exit
from orchestrator.core.history import History, load
from orchestrator.core.model import Outcome, Phase
from orchestrator.engine.engine import Snapshot
from orchestrator.journal.port import Journal

LOOK_EVERY = 1.0  # seconds between two looks at the journal


@click.command("watch", short_help="Follow a run that goes on elsewhere.")
@click.argument("run", required=False)
@common(END, SHOW)
def command(flags: Flags, machine: Machine, run: str | None) -> int:
    """Follow RUN (by default the latest) to its end; nothing is triggered.

    While another process is at work on it, only the state is read; when nobody is, the builds are followed from here.
    """
    checked(flags.outputs)

    async def main() -> Exit:
        async with writable(flags, machine) as journal:
            row = await latest(journal, run)
            session = Session(flags, machine, f"{row.name} {row.id}")
            return conclude(await follow(row.id, journal, session), session)

    return run_async(main)


async def follow(run: str, journal: Journal, session: Session) -> Ended:
    """Follows a run until it has ended or nothing is left that could be followed."""
    while True:
        row = await exact(journal, run)
        if row is None:
            raise JournalError(f"run {run} was taken out of the state meanwhile")
        if row.ended_at is not None:
            return await finish(run, journal, session, Exit(row.exit_code or 0))
        if not row.driven:
            try:
                return await _drive(run, journal, session)
            except LeaseLost:  # somebody was quicker: then it is enough to look on
                session.log.debug("watch.looks_on", run=run)
        interrupted = await look_on(run, journal, session)
        if interrupted:
            return await finish(run, journal, session, Exit.SIGINT if interrupted == "SIGINT" else Exit.SIGTERM)


async def _drive(run: str, journal: Journal, session: Session) -> Ended:
    history = await load(journal, run)
    refuse_rehearsal(history)
    resolve(history, session)
    return await drive(run, journal, session, options_of(history, session, trigger=False))


async def look_on(run: str, journal: Journal, session: Session) -> str:
    """Shows what another process journals, until it ends or leaves.

    Returns:
        The signal that interrupted us, empty when there was none.
    """
    interrupted: list[str] = []
    history = await load(journal, run)
    try:
        async with anyio.create_task_group() as tasks:

            def leave(signal: str) -> None:
                interrupted.append(signal)
                tasks.cancel_scope.cancel()

            tasks.start_soon(heed_signals, leave, session)
            await _until_left(run, journal, session, history)
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole(group) from None
    finally:
        session.screen.close()
    return interrupted[0] if interrupted else ""


async def _until_left(run: str, journal: Journal, session: Session, history: History) -> None:
    while True:
        row = await exact(journal, run)
        if row is None or row.ended_at is not None or not row.driven:
            return
        for entry in await journal.read(run, history.cursor):
            history.add(entry.account, entry.seq, entry.at, entry.event)
        session.screen.show(snapshot_of(history), session.machine.now())
        await anyio.sleep(LOOK_EVERY)


def snapshot_of(history: History) -> Snapshot:
    """Where a run stands, from the journal alone."""
    phases: dict[Phase, int] = {}
    outcomes: dict[Outcome, int] = {}
    for target in history.targets:
        progress = history.of(target.id)
        phases[progress.phase] = phases.get(progress.phase, 0) + 1
        if progress.verdict is not None:
            outcomes[progress.verdict.outcome] = outcomes.get(progress.verdict.outcome, 0) + 1
    known = [history.of(target.id) for target in history.targets]
    doubts = sum(one.doubt is not None and one.verdict is None for one in known)
    stopped = {account: event.cause for account, event in history.accounts_stopped.items()}
    return Snapshot(len(history.targets), phases, outcomes, 0.0, None, None, stopped, doubts)
