"""Goes on with a run from any process, without triggering anything twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from orchestrator.app.context import Context
from orchestrator.app.drive import Drive, Ended, ended, refuse_rehearsal, resolve
from orchestrator.app.plan import Choices
from orchestrator.app.runs import the_one
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.history import History
from orchestrator.core.model import Outcome
from orchestrator.core.progress import Progress
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal, RunRow


async def resume(
    row: RunRow,
    journal: Journal,
    choices: Choices,
    context: Context,
    *,
    assume_absent: Sequence[str] = (),
    adopt_request: Sequence[str] = (),
    look_again: bool = False,
) -> Drive | Ended:
    """Goes on with a run; one that has ended, and has nothing in doubt to settle, stays as it ended.

    Args:
        assume_absent: targets in doubt of which a person says that they have no build.
        adopt_request: `TARGET=ID`: the request of a target in doubt, as a person says.
        look_again: look up once more what an ended run left in doubt.

    Raises:
        UsageError: what a person says is not in doubt, or is settled elsewhere; a secret cannot be resolved.
    """
    history = await load(journal, row.id)
    settles = bool(assume_absent or adopt_request)
    settles = settles or (look_again and await _can_be_settled(row.id, history, journal))
    if row.ended_at is not None and not settles:
        return ended(row.id, history, row.exit_code, choices, context)
    refuse_rehearsal(history)
    absent = frozenset(the_one(history.targets, name).id for name in assume_absent)
    adopted = dict(_adopted(history, text) for text in adopt_request)
    refuse_what_is_sure(history, absent, "--assume-absent")
    refuse_what_is_sure(history, adopted, "--adopt-request")
    if row.ended_at is not None:
        await refuse_what_is_retried(row.id, history, journal)
    resolve(history, context)
    choices = replace(choices, assume_absent=absent, adopt_request=adopted)
    return Drive(row.id, journal, choices, context, history=history)


def refuse_what_is_sure(history: History, ids: Iterable[str], flag: str) -> None:
    """A person may only say what the journal leaves open: anything else would be ignored, or start a second build.

    Raises:
        UsageError: a target is not in doubt.
    """
    for id_ in ids:
        progress = history.of(id_)
        if is_in_doubt(progress):
            continue
        known = f"its request is {progress.request.id}" if progress.request else "no answer of it was lost"
        raise UsageError(f"{flag} {id_}: not in doubt, {known}; leave the flag out (see `orchestrator why {id_}`)")


async def refuse_what_is_retried(run: str, history: History, journal: Journal) -> None:
    """What a later run has asked for again is settled there: the old run would look for its own marker only.

    Raises:
        UsageError: a target in doubt was retried.
    """
    for other, held in await _retried(run, _doubtful(history), journal):
        raise UsageError(
            f"run {other} has retried {held}, and may have a build of it: this run would start one more; "
            f"see `orchestrator why {other} {held}`, and settle it there"
        )


async def _can_be_settled(run: str, history: History, journal: Journal) -> bool:
    """Whether a target is in doubt that no later run has asked for again."""
    doubtful = _doubtful(history)
    return bool(doubtful) and not await _retried(run, doubtful, journal)


async def _retried(run: str, doubtful: Collection[str], journal: Journal) -> list[tuple[str, str]]:
    """The runs that asked for one of these targets again, each with the first of them."""
    found = []
    for other in await journal.runs():
        held = [t.id for t in await journal.targets(other.id) if t.id in doubtful] if other.parent == run else []
        found += [(other.id, held[0])] if held else []
    return found


def _doubtful(history: History) -> set[str]:
    return {target.id for target in history.targets if is_in_doubt(history.of(target.id))}


def is_in_doubt(progress: Progress) -> bool:
    """Whether a call of the target may have started a build that is not known."""
    verdict = progress.verdict
    return progress.asked_at is not None or (verdict is not None and verdict.outcome is Outcome.IN_DOUBT)


def _adopted(history: History, text: str) -> tuple[str, str]:
    name, equals, request = text.rpartition("=")
    if not equals or not name or not request:
        raise UsageError(f"--adopt-request {text}: expected TARGET=ID")
    return the_one(history.targets, name).id, request
