"""Cancels exactly the builds that a run started, and triggers no more of it."""

from __future__ import annotations

from orchestrator.app.context import Context
from orchestrator.app.drive import Drive, Ended, refuse_rehearsal, resolve
from orchestrator.app.plan import Choices
from orchestrator.core.events import CancelAsked
from orchestrator.core.frozen import Struct
from orchestrator.core.verdict import Exit
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal, RunRow


class Canceled(Struct, frozen=True):
    """What came of it.

    Args:
        code: 0 when all that could be canceled is, 1 when something could not; what is more severe stays.
        left: targets that could not be canceled, each with the reason.
        going_on: builds that go on only because their account is blocked.
    """

    code: Exit
    left: tuple[tuple[str, str], ...] = ()
    going_on: int = 0


async def cancel(
    row: RunRow, journal: Journal, who: str, choices: Choices, context: Context, *, keep_builds: bool = False
) -> Drive:
    """Asks the driver of an open run to cancel what it started; the drive that is returned sees to it.

    While another process drives the run (`row.driven`), the drive only waits for that one.

    Args:
        who: the person who asks, for the journal.
        keep_builds: only end the run; its builds go on.

    Raises:
        UsageError: the run was a rehearsal, or a secret cannot be resolved.
    """
    if not row.driven:
        history = await load(journal, row.id)
        refuse_rehearsal(history)
        resolve(history, context)
    await journal.wish(row.id, CancelAsked(who, context.now(), keep_builds))
    return Drive(row.id, journal, choices, context, follows=True)


async def canceled(ended: Ended, journal: Journal) -> Canceled:
    """What came of canceling, once its drive has ended."""
    progress = (await load(journal, ended.report.run.id)).progress
    going_on = sum(one.may_exist and not one.is_done for one in progress.values())
    going_on = going_on if ended.code is Exit.ACCOUNT else 0
    if ended.code not in (Exit.OK, Exit.FAILED, Exit.STOPPED):
        return Canceled(ended.code, going_on=going_on)
    left = tuple((id_, one.cancel_note) for id_, one in progress.items() if one.cancel_note)
    return Canceled(Exit.FAILED if left else Exit.OK, left)
