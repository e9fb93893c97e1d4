"""The use cases for programs: async functions, values in and values out, and an observer for who wants to look on.

It is what the command line does, without a terminal: nothing is printed and nobody is asked. The functions run under
asyncio and under trio. What goes wrong is one of `orchestrator.core.errors`; each says whether anything was sent.

    from orchestrator import api

    ended = await api.start(api.Source("orchestrator.yaml"), run="nightly-2026-01-05")
    print(ended.code, ended.report.totals)

A run is named by its id, and with one `start` may be called again after whatever happened: it goes on with that run,
or gives the report of what has ended. Canceling the task of `start` or `follow` is like a crash: nothing is lost, and
`follow(run, drives=True)` goes on. To leave in peace, set `leave`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from orchestrator.app import cancel as canceling
from orchestrator.app import plan as planning
from orchestrator.app import resume as resuming
from orchestrator.app import runs as stored
from orchestrator.app import start as starting
from orchestrator.app.cancel import Canceled
from orchestrator.app.context import Context, Observer, writable
from orchestrator.app.drive import Drive, Ended, sole
from orchestrator.app.overlap import FORBID, SKIP
from orchestrator.app.plan import Choices, Planned, Source
from orchestrator.app.rehearse import rehearsed
from orchestrator.app.start import AnotherPlan
from orchestrator.app.which import exact, named
from orchestrator.core.errors import Exit, NotStarted, UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome
from orchestrator.core.selection import EVERYTHING, Selection
from orchestrator.engine.engine import Snapshot
from orchestrator.report import pieces, render, write
from orchestrator.report.view import Report

__all__ = [
    "FORBID",
    "SKIP",
    "AnotherPlan",
    "Canceled",
    "Choices",
    "Context",
    "Ended",
    "Exit",
    "Observer",
    "Outcome",
    "Planned",
    "Report",
    "Selection",
    "Snapshot",
    "Source",
    "cancel",
    "context",
    "follow",
    "plan",
    "render",
    "report",
    "start",
]

LEAVE = "SIGTERM"  # what a run is told that was asked to leave: the exit code is that of a signal


def context(
    *,
    state: str | None = None,
    sandbox: bool = False,
    observer: Observer | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Context:
    """What the functions below may see of this computer; one serves any number of calls.

    Args:
        state: the state's path; by default the one place of the user, which the command line has, too.
        sandbox: whether runs are rehearsals against a look-alike, in a state of their own.
        observer: gets facts, notices and snapshots (see `Observer`); it must not block.
        environ: where variables are looked up, secrets and proxies among them; by default this process's.
        folder: where relative paths begin; by default the working directory.
    """
    return Context(
        environ=dict(os.environ if environ is None else environ),
        cwd=folder or Path.cwd(),
        home=Path.home(),
        state=state,
        sandbox=sandbox,
        observer=observer,
    )


async def plan(
    source: Source, choices: Choices | None = None, *, context: Context | None = None, offline: bool = False
) -> Planned:
    """The targets of a manifest as they would be triggered; asks providers only what the manifest leaves open.

    Args:
        offline: ask nobody, and resolve no secret: what only a provider knows is left as it is written.

    Raises:
        UsageError: the manifest is wrong, or a secret cannot be resolved.
        NotStarted: nothing is selected, or `expect` is not met.
    """
    return await planning.plan(source, choices or Choices(), context or _here(), offline=offline)


async def start(
    source: Source,
    choices: Choices | None = None,
    *,
    run: str | None = None,
    overlap: str = FORBID,
    confirm: Callable[[Planned], Awaitable[bool]] | None = None,
    leave: anyio.Event | None = None,
    context: Context | None = None,
) -> Ended:
    """Plans a run, makes it and drives it to its end (with `Choices(detach=True)`: until nothing is left to trigger).

    Args:
        run: the run's id. If a run of it exists it is gone on with, as it was made (the observer's notices
            `run.differs` say what is asked for otherwise by now), and one that has ended stays as it ended.
        overlap: when another open run holds a target: `forbid` refuses, `skip` leaves it out.
        confirm: asked before anything is sent, with the very plan that would be started.
        leave: once it is set nothing more is triggered, calls under way finish, and the run stays open.

    Raises:
        UsageError: as `plan`; or `overlap` is another word.
        NotStarted: as `plan`; `confirm` said no; or another open run holds a target (`Held`, which names it).
        AnotherPlan: the run has ended, and what is asked for now is not what it was made of.
        LeaseLost: another process drives the run.
        JournalError: the state cannot be used.
    """
    choices, context = choices or Choices(), context or _here()
    if overlap not in (FORBID, SKIP):
        raise UsageError(f"overlap: {overlap!r}; here there are {FORBID} and {SKIP}: to replace a run, cancel it first")
    async with writable(context) as journal, AsyncExitStack() as stack:
        if run is not None and (row := await exact(journal, run)) is not None:
            for sentence in await starting.edits(row, source, choices, journal, context, overlap):
                context.observer.notice("run.differs", run=row.id, text=sentence)
            return await _driven(await resuming.resume(row, journal, choices, context), leave, context)
        run = run or starting.new_id(context.now())
        planned = await planning.plan(source, choices, context, run=run, journal=journal)
        planned, reached = await rehearsed(planned, context, stack)
        starting.ready(planned, reached)
        if confirm is not None and not await confirm(planned):
            raise NotStarted("not confirmed; nothing was sent")
        started = await starting.start(planned, run, journal, reached, overlap)
        return await _driven(started.drive, leave, reached)


async def follow(
    run: str, *, drives: bool = False, leave: anyio.Event | None = None, context: Context | None = None
) -> Ended:
    """Follows a run to its end, whoever drives it.

    Args:
        run: its id, or a beginning of it that no other has.
        drives: go on with a run that nobody drives, and trigger what is left of it; else nothing is triggered here.
        leave: as of `start`.

    Raises:
        UsageError: there is no such run, or a secret cannot be resolved.
        LeaseLost: it was to be driven, and another process does.
        JournalError: the state cannot be used.
    """
    context = context or _here()
    async with writable(context) as journal:
        row = await named(journal, run)
        if drives:
            return await _driven(
                await resuming.resume(row, journal, Choices(), context, look_again=True), leave, context
            )
        return await _driven(Drive(row.id, journal, Choices(), context, looks_on=True), leave, context)


async def cancel(
    run: str,
    by: str,
    *,
    keep_builds: bool = False,
    selection: Selection = EVERYTHING,
    context: Context | None = None,
) -> tuple[Canceled, Report]:
    """Cancels exactly the builds that a run started, triggers no more of it, and waits until they have ended.

    Args:
        by: who wants it so; it is journaled.
        keep_builds: only end the run.
        selection: the targets to cancel, while the run goes on with the others.

    Returns:
        What came of it, and the run's report. Of a run that has ended there was nothing to cancel: its own exit code.

    Raises:
        UsageError: there is no such run, or a secret cannot be resolved.
        NotStarted: nothing is selected.
        JournalError: the state cannot be used.
    """
    context = context or _here()
    async with writable(context) as journal:
        row = await named(journal, run)
        if row.ended_at is not None:
            _, found = await stored.report(context, row.id)
            return Canceled(Exit.NOT_STARTED), found
        only = await stored.meant(row, journal, selection)
        if keep_builds and only:
            raise UsageError("keep_builds ends the whole run; it does not go with a selection")
        drive = await canceling.cancel(row, journal, by, Choices(), context, keep_builds=keep_builds, only=only)
        ended = await _driven(drive, None, context)
        return await canceling.canceled(ended, journal, only), ended.report


async def report(
    run: str | None = None,
    *,
    selection: Selection = EVERYTHING,
    merged: bool = False,
    context: Context | None = None,
) -> Report:
    """The report of a run, by default of the latest, at any time; `render(report, "html")` writes it in a format.

    Args:
        selection: the targets that it is about.
        merged: the run and all its retries as one.

    Raises:
        UsageError: there is no such run.
        NotStarted: nothing is selected.
        JournalError: the state cannot be used.
    """
    _, found = await stored.report(context or _here(), run, selection, merged=merged)
    return found


def _here() -> Context:
    return context()


async def _driven(what: Drive | Ended, leave: anyio.Event | None, context: Context) -> Ended:
    """Drives or follows, and writes the report files that the run or its manifest names."""
    ended = await _to_its_end(what, leave) if isinstance(what, Drive) else what
    is_whole = True
    for path, name in ended.files.items():
        try:
            write(pieces(ended.report, name), path)
        except OSError as error:
            is_whole = False
            context.observer.notice("report.unwritten", path=path, format=name, error=error.strerror or str(error))
    return ended if is_whole or ended.code is not Exit.OK else replace(ended, code=Exit.FAILED)


async def _to_its_end(drive: Drive, leave: anyio.Event | None) -> Ended:
    async def heed() -> None:
        if leave is not None:
            await leave.wait()
            drive.interrupt(LEAVE)

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heed)
            ended = await drive.run()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole(group) from None
    return ended
