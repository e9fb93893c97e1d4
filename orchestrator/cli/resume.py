"""`orchestrator resume`: goes on with an open run, from any process, without triggering anything twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import click

from orchestrator.app.context import Session, run_async
from orchestrator.app.drive import conclude, drive, finish, options_of
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import only_open, writable
from orchestrator.cli.flags import END, PACE, SHOW, Flags, common
from orchestrator.cli.output import checked
from orchestrator.cli.why import the_one
from orchestrator.core.errors import UsageError
from orchestrator.core.events import from_json
from orchestrator.core.exits import Exit
from orchestrator.core.history import History, load
from orchestrator.core.model import Account, Outcome
from orchestrator.core.progress import Progress
from orchestrator.journal.port import Journal, RunRow


@click.command("resume", short_help="Go on with an open run.")
@click.argument("run", required=False)
@click.option("--assume-absent", multiple=True, metavar="TARGET", help="In doubt: you looked, there is no build.")
@click.option("--adopt-request", multiple=True, metavar="TARGET=ID", help="In doubt: this is its request.")
@click.option("--override-stop", is_flag=True, help="Go on although a rule stopped the run.")
@click.option("--detach", is_flag=True, help="Return when nothing is left to trigger.")
@common(PACE, END, SHOW)
def command(
    flags: Flags,
    machine: Machine,
    run: str | None,
    assume_absent: tuple[str, ...],
    adopt_request: tuple[str, ...],
    override_stop: bool,
    detach: bool,
) -> int:
    """Go on with RUN (by default the only open one); nothing is triggered twice.

    It needs no manifest: the journal has the targets, accounts, limits and references to secrets.
    """
    checked(flags.outputs)

    async def main() -> Exit:
        async with writable(flags, machine) as journal:
            row = await only_open(journal, run)
            said = {"assume_absent": assume_absent, "adopt_request": adopt_request}
            return await go_on(
                row, journal, flags, machine, said, look_again=True, override_stop=override_stop, detach=detach
            )

    return run_async(main)


async def go_on(
    row: RunRow,
    journal: Journal,
    flags: Flags,
    machine: Machine,
    said: Mapping[str, tuple[str, ...]] = {},
    *,
    look_again: bool = False,
    **options: Any,
) -> Exit:
    """Goes on with a run; of one that has ended, and has no doubt to settle, prints the report.

    Args:
        said: what a person says of targets in doubt, by the flag's name.
        look_again: look once more for what an ended run left in doubt.

    Raises:
        LeaseLost: another process drives it.
    """
    history = await load(journal, row.id)
    session = Session(flags, machine, f"{row.name} {row.id}")
    settles = any(said.values()) or (look_again and await _can_be_settled(row.id, history, journal))
    if row.ended_at is not None and not settles:
        ended = await finish(row.id, journal, session, Exit(row.exit_code or 0))
        return conclude(ended, session)
    refuse_rehearsal(history)
    absent = frozenset(the_one(history.targets, name).id for name in said.get("assume_absent", ()))
    adopted = dict(_adopted(history, text) for text in said.get("adopt_request", ()))
    refuse_what_is_sure(history, absent, "--assume-absent")
    refuse_what_is_sure(history, adopted, "--adopt-request")
    if row.ended_at is not None:
        await refuse_what_is_retried(row.id, history, journal)
    resolve(history, session)
    settled = options_of(history, session, assume_absent=absent, adopt_request=adopted, **options)
    ended = await drive(row.id, journal, session, settled, history)
    return conclude(ended, session, detach=settled.detach)


def resolve(history: History, session: Session) -> None:
    """Resolves every secret of a run that was made before.

    Raises:
        UsageError: one cannot be resolved.
    """
    session.resolve(accounts_of(history), history.targets)


def refuse_rehearsal(history: History) -> None:
    """A run against the built-in sandbox cannot go on: what it had triggered went with its process.

    Raises:
        UsageError: it is one.
    """
    if history.made is not None and history.made.options.get("sandbox") is True:
        raise UsageError(
            "this was a rehearsal with --sandbox, and its sandbox ended with its process; start a new one, or serve "
            "one that stays with `orchestrator sandbox` and name its URL in the manifest"
        )


def refuse_what_is_sure(history: History, ids: Iterable[str], flag: str) -> None:
    """A person may only say what the journal leaves open: anything else would be ignored, or start a second build.

    Raises:
        UsageError: a target is not in doubt.
    """
    for id_ in ids:
        progress = history.of(id_)
        if _is_in_doubt(progress):
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
    return {target.id for target in history.targets if _is_in_doubt(history.of(target.id))}


def _is_in_doubt(progress: Progress) -> bool:
    verdict = progress.verdict
    return progress.asked_at is not None or (verdict is not None and verdict.outcome is Outcome.IN_DOUBT)


def _adopted(history: History, text: str) -> tuple[str, str]:
    name, equals, request = text.rpartition("=")
    if not equals or not name or not request:
        raise UsageError(f"--adopt-request {text}: expected TARGET=ID")
    return the_one(history.targets, name).id, request


def accounts_of(history: History) -> list[Account]:
    """The accounts that the run's targets use, as they were journaled."""
    made = history.made
    used = {target.account for target in history.targets}
    return [
        from_json(Account, raw) for name, raw in (made.accounts if made is not None else {}).items() if name in used
    ]
