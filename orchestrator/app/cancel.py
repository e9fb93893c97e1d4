"""Cancels a run, or targets of it: asks whoever drives it, or sees to it where nobody does; and what came of it."""

from __future__ import annotations

from orchestrator.app.context import Context
from orchestrator.app.drive import Drive, Ended, resolve
from orchestrator.app.overlap import Left, end
from orchestrator.app.plan import Choices
from orchestrator.core.errors import Exit
from orchestrator.core.events import ASKED, CancelAsked
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.progress import Progress
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal, RunRow


class Canceled(Struct, frozen=True):
    """What came of it: 0 when all that could be canceled is, 1 when something could not; what is more severe stays.

    Args:
        left: targets that could not be canceled, each with the reason.
        going_on: builds that go on only because their account is blocked, and `blocked`, the names of such accounts.
    """

    code: Exit
    left: tuple[tuple[str, str], ...] = ()
    going_on: int = 0
    blocked: tuple[str, ...] = ()


async def cancel(
    row: RunRow,
    journal: Journal,
    who: str,
    choices: Choices,
    context: Context,
    *,
    keep_builds: bool = False,
    only: tuple[str, ...] = (),
) -> Drive:
    """Asks the driver of an open run to cancel what it started; the drive that is returned sees to it, or waits for it.

    Args:
        keep_builds: only end the run; its builds go on.
        only: ids of the targets to cancel, while the run goes on; empty: all.

    Raises:
        UsageError: a secret cannot be resolved.
    """
    if not row.driven:
        history = await load(journal, row.id)
        # With an account that was stopped nothing can be looked up; else the journal may have lost what was sent.
        is_cut_off = history.options.sandbox or history.accounts_stopped
        if (left := Left(row, history)).holds_nothing and is_cut_off:
            await journal.wish(row.id, CancelAsked(who, context.now(), keep_builds))
            await end(left, f"{ASKED}{who}", journal, context)
            return Drive(row.id, journal, choices, context, follows=True)
        resolve(history, context)
    await journal.wish(row.id, CancelAsked(who, context.now(), keep_builds, only))
    choices = replace(choices, drives=frozenset(only)) if only else choices
    return Drive(row.id, journal, choices, context, follows=True)


async def canceled(ended: Ended, journal: Journal, only: tuple[str, ...] = ()) -> Canceled:
    """What came of canceling, once its drive has ended."""
    history = await load(journal, ended.report.run.id)
    progress = {id_: history.of(id_) for id_ in only or history.progress}
    going_on = sum(map(_is_open, progress.values()))
    if going_on and history.has_ended and not (history.stopped is not None and history.stopped.keeps_builds):
        return Canceled(Exit.FAILED, tuple((id_, _why_open(one)) for id_, one in progress.items() if _is_open(one)))
    going_on = going_on if ended.code is Exit.ACCOUNT else 0
    if ended.code not in (Exit.OK, Exit.FAILED, Exit.STOPPED):
        return Canceled(ended.code, going_on=going_on, blocked=tuple(history.accounts_stopped) if going_on else ())
    left = tuple((id_, one.cancel_note) for id_, one in progress.items() if one.cancel_note)
    return Canceled(Exit.FAILED if left else Exit.OK, left)


def _is_open(progress: Progress) -> bool:
    return progress.may_exist and not progress.is_done


def _why_open(progress: Progress) -> str:
    """Why a canceled run's target did not stop, and where to see it."""
    if progress.build is None:
        return f"no build to cancel appeared: {progress.request.url or ''}" if progress.request else "in doubt"
    return f"its build did not stop: {progress.build.url or progress.build.id}"
