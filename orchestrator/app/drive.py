"""Drives a run with the engine: signals, screen and log around it, and its reports at every end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, cast

import anyio

from orchestrator.app.context import Session
from orchestrator.app.observer import Observer, Watched
from orchestrator.cli.output import files_of, note, show, tell, width, write_files
from orchestrator.core.events import RunMade
from orchestrator.core.exits import Exit
from orchestrator.core.frozen import Struct
from orchestrator.core.gc import tidy
from orchestrator.core.history import History, load
from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.port import Journal
from orchestrator.journal.process import this_process, up
from orchestrator.report import render
from orchestrator.report.view import Report, view

LOOK_EVERY = 0.25  # seconds between two looks at the engine for the live view
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Ended(Struct, frozen=True):
    """How a process left a run."""

    code: Exit
    report: Report


async def drive(
    run: str, journal: Journal, session: Session, options: Options, history: History | None = None
) -> Ended:
    """Drives until the run's end or an interruption, and writes its reports to their files.

    Args:
        history: the run's, where it was loaded already.

    Raises:
        LeaseLost: another process drives the run.
        JournalError: the state cannot be used.
    """
    tidy()
    observer = Observer(session.log, session.machine.now)
    engine = Engine(
        run,
        cast(Journal, Watched(journal, observer)),  # it delegates what it does not watch
        session.connect,
        options,
        now=session.machine.now,
        ticks=time.monotonic,  # what anyio's clock is on asyncio, without asking which loop it is: 1 us a look
        process=this_process(),
        up=up,
        random=Random(),  # noqa: S311  # jitter, no secret
        observe=observer.notice,
        history=history,
    )
    del history  # the engine holds it while it drives, and nobody afterwards
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heed_signals, engine.interrupt, session)
            tasks.start_soon(_keep_shown, engine, session)
            code = await engine.run()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole(group) from None
    finally:
        session.screen.close()
    history = engine.history
    del engine  # its rows are not needed for the report, and may be many
    return await finish(run, journal, session, code, history)


def sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group, so that callers may catch it by its kind; the group itself when there are more."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def finish(run: str, journal: Journal, session: Session, code: Exit, history: History | None = None) -> Ended:
    """Writes the run's reports to their files.

    Args:
        history: the run's, where it is known up to its last entry.

    Returns:
        The exit code, which is not 0 when a report could not be written.
    """
    history = history or await load(journal, run)
    report = view(run, history, session.machine.now())
    files = {**journaled(history.made, "reports"), **files_of(session.flags.outputs, session.machine)}
    if not write_files(report, files, session.machine) and code is Exit.OK:
        code = Exit.FAILED
    return Ended(code, report)


def conclude(ended: Ended, session: Session, *, detach: bool = False) -> Exit:
    """Prints the report, or with `--detach` the run's id, and gives the exit code back."""
    flags, code, run = session.flags, ended.code, ended.report.run.id
    is_silent = flags.quiet and code is Exit.OK
    if detach and not any(output.file is None for output in flags.outputs):
        tell(run)  # alone on stdout, so that a script can keep it
        if not is_silent:
            note(render(ended.report, "text", width=width(), behind=flags.behind).rstrip("\n"))
    else:
        show(ended.report, flags, session.machine, is_silent=is_silent)
    if code in (Exit.SIGINT, Exit.SIGTERM, Exit.TIMEOUT, Exit.ACCOUNT) and not flags.sandbox:
        note(f"orchestrator: nothing is lost; go on with: orchestrator resume {run}{flags.behind}")
    return code


def options_of(history: History, session: Session, **more: Any) -> Options:
    """The options of a run: as they were journaled with it, except where flags say something else."""
    flags, made = session.flags, history.made
    kept = made.options if made is not None else {}
    in_flight, max_fail = kept.get("in_flight"), kept.get("max_fail")
    return Options(
        in_flight=flags.in_flight or (in_flight if isinstance(in_flight, int) else None),
        max_fail=flags.max_fail or (max_fail if isinstance(max_fail, str) else None),
        timeout=flags.timeout,
        ignore_quiet=flags.ignore_quiet_hours or flags.sandbox,  # a rehearsal disturbs nobody
        fail_on=fail_on_of(made) if flags.fail_on is None else flags.fail_on,
        **more,
    )


def fail_on_of(made: RunMade | None) -> frozenset[Outcome]:
    """The outcomes that make the exit code 1, as journaled with the run."""
    words = made.options.get("fail_on") if made is not None else None
    if not isinstance(words, list):
        return DEFAULT_FAIL_ON
    return frozenset(Outcome(word) for word in words if word in tuple(Outcome))


def journaled(made: RunMade | None, name: str) -> dict[str, str]:
    """A map of texts out of the options that were journaled with the run."""
    value = made.options.get(name) if made is not None else None
    if not isinstance(value, Mapping):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


async def heed_signals(interrupt: Callable[[str], None], session: Session) -> None:
    """The first signal lets calls under way finish, the second leaves at once, the third does not even say good-bye.

    Args:
        interrupt: is told the signal's name, each time.
    """
    presses = 0
    with anyio.open_signal_receiver(*SIGNALS) as received:
        async for number in received:
            presses += 1
            name = signal.Signals(number).name
            if presses > 2:
                os._exit(Exit.SIGINT if name == "SIGINT" else Exit.SIGTERM)
            interrupt(name)
            if presses == 1:
                session.screen.say(f"{name}: no new triggers, calls under way finish; once more leaves at once")


async def _keep_shown(engine: Engine, session: Session) -> None:
    while True:
        snapshot = engine.snapshot()
        if snapshot is not None:
            session.screen.show(snapshot, session.machine.now())
        await anyio.sleep(LOOK_EVERY)
