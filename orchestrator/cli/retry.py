"""`orchestrator retry`: a new run, linked to an old one, of what did not pass there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import click

from orchestrator.app.context import Session, run_async
from orchestrator.app.create_run import make_run, new_id
from orchestrator.app.drive import conclude, drive, options_of
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import latest, writable
from orchestrator.app.pacing import Pace
from orchestrator.cli.flags import END, PACE, SHOW, Flags, common, outcomes, run_id
from orchestrator.cli.output import checked, note
from orchestrator.cli.plan import forecast_at_start
from orchestrator.cli.prompts import ask
from orchestrator.cli.resume import accounts_of, refuse_rehearsal
from orchestrator.core.errors import JournalError, NotStarted, UsageError
from orchestrator.core.events import to_json
from orchestrator.core.exits import Exit
from orchestrator.core.frozen import replace
from orchestrator.core.history import History, load
from orchestrator.core.model import Json, Outcome, Plan, Target, marker_of
from orchestrator.engine.run import look_since
from orchestrator.journal.port import Journal
from orchestrator.providers.port import Followed

OF_ONE_RUN = ("adopt", "look_for", "look_since", "restart")  # options that hold for the old run only
MANY = 100  # targets above which a person is asked
NAMED = 10


@click.command("retry", short_help="Start a new run of what did not pass.")
@click.argument("run", required=False)
@click.option("--outcome", metavar="LIST", help="Only targets with these outcomes (default: all but passed).")
@click.option("--same-commit", is_flag=True, help="Restart the old builds instead of making new ones.")
@click.option("--run-id", envvar="ORCHESTRATOR_RUN_ID", metavar="ID", help="The new run's id.")
@click.option("--detach", is_flag=True, help="Return when nothing is left to trigger.")
@common(PACE, END, SHOW)
def command(
    flags: Flags,
    machine: Machine,
    run: str | None,
    outcome: str | None,
    same_commit: bool,
    detach: bool,
    **more: str | None,
) -> int:
    """Start a new run of every target of RUN (by default the latest) that did not pass.

    Targets in doubt are left out, since they may have a build; with --outcome in_doubt their old markers are looked
    for first, and once more just before a new trigger. What the manifest skips is left out too.
    """
    checked(flags.outputs)
    wanted = outcomes(outcome, "--outcome") if outcome is not None else None
    if same_commit and wanted is not None and Outcome.IN_DOUBT in wanted:
        raise UsageError("retry: --same-commit starts old builds again; a target in doubt has none that is known")
    given = more["run_id"]
    new = run_id(given) if given else new_id(machine.now())

    async def main() -> Exit:
        async with writable(flags, machine) as journal:
            row = await latest(journal, run)
            history = await load(journal, row.id)
            refuse_rehearsal(history)
            session = Session(flags, machine, f"{row.name} {new}")
            targets = await chosen(history, wanted, session, same_commit)
            accounts = {account.name: account for account in accounts_of(history)}
            session.resolve([accounts[name] for name in {target.account for target in targets}], targets)
            if len(targets) > MANY:
                ask(f"Trigger {len(targets):,} builds again?", flags, machine)
            cast = await forecast_at_start(Plan(row.name, tuple(targets), accounts), journal, flags, machine)
            await make(new, row.id, history, targets, journal, session, same_commit, cast)
            note(f"run {new}: {len(targets):,} of {len(history.targets):,} targets of {row.id}")
            made = await load(journal, new)
            options = options_of(made, session, detach=detach)
            return conclude(await drive(new, journal, session, options, made), session, detach=detach)

    return run_async(main)


async def chosen(
    history: History, wanted: Collection[Outcome] | None, session: Session, same_commit: bool = False
) -> Sequence[Target]:
    """The targets to be triggered again.

    Args:
        same_commit: only those that have a build which can be started again.

    Raises:
        NotStarted: there are none.
    """
    found = [target for target in history.targets if _did_not_pass(history, target, wanted)]
    found = _that_can_be(history, found, same_commit)
    running = await _still_running(history, found, session)
    found = [target for target in found if target.id not in running]
    found = list(_with_needs(history, found))
    _tell("their old builds still run", running)
    if not found:
        raise NotStarted("nothing to retry: no target of that run has such an outcome; nothing was sent")
    return found


def _that_can_be(history: History, found: Sequence[Target], same_commit: bool) -> list[Target]:
    """Those that can be told apart from what may be there, or, with `same_commit`, that have a build."""
    unmarked = [t.id for t in found if history.of(t.id).doubt is not None and history.of(t.id).marker is None]
    _tell("they are in doubt and carried no marker that could be looked for", unmarked)
    without_build = [t.id for t in found if same_commit and history.of(t.id).build is None]
    _tell("they have no build that could be started again", without_build)
    return [target for target in found if target.id not in {*unmarked, *without_build}]


def _did_not_pass(history: History, target: Target, wanted: Collection[Outcome] | None) -> bool:
    progress = history.of(target.id)
    if target.skip is not None:
        return False
    if progress.doubt is not None:
        return wanted is not None and Outcome.IN_DOUBT in wanted
    if progress.verdict is None:
        return wanted is None
    outcome = progress.verdict.outcome
    return outcome in wanted if wanted is not None else outcome not in (Outcome.PASSED, Outcome.IN_DOUBT)


def _with_needs(history: History, found: Iterable[Target]) -> Iterable[Target]:
    """The targets with the needs that are among them; one whose need neither passed nor is retried is left out."""
    kept = {target.id: target for target in found}
    passed = {id_ for id_, one in history.progress.items() if one.verdict and one.verdict.outcome is Outcome.PASSED}
    lost: list[str] = []
    while True:
        gone = [t.id for t in kept.values() if any(need not in kept and need not in passed for need in t.needs)]
        if not gone:
            break
        lost.extend(gone)
        for id_ in gone:
            del kept[id_]
    _tell("what they need did not pass and is not retried", lost)
    return [replace(t, needs=tuple(need for need in t.needs if need in kept)) for t in kept.values()]


async def _still_running(history: History, targets: Sequence[Target], session: Session) -> list[str]:
    """Those whose old build goes on, as the provider tells now; a build that ended meanwhile may be made again."""
    doubtful = [target for target in targets if _may_run(history, target)]
    running: list[str] = []
    for account in accounts_of(history):
        mine = [_followed(history, target) for target in doubtful if target.account == account.name]
        if not mine:
            continue
        async with session.connect(account) as line:
            observations = await line.provider_over(Pace(line, session.machine.now).send).poll(mine)
        for one in mine:
            observation = observations.get(one.target.id)
            if observation is None or (
                observation.refusal is None and not (observation.builds and observation.builds[0].state.is_final)
            ):
                running.append(one.target.id)
    return running


def _may_run(history: History, target: Target) -> bool:
    progress = history.of(target.id)
    if progress.request is None or (progress.verdict and progress.verdict.outcome is Outcome.REJECTED):
        return False
    return progress.build is None or not progress.build.state.is_final


def _followed(history: History, target: Target) -> Followed:
    progress = history.of(target.id)
    assert progress.request is not None  # noqa: S101  # `_may_run` said so
    return Followed(
        target, progress.request, progress.marker, progress.build, progress.requested_at or history.made_at, fresh=True
    )


async def make(
    new: str,
    old: str,
    history: History,
    targets: Sequence[Target],
    journal: Journal,
    session: Session,
    same_commit: bool,
    cast: Mapping[str, Json] | None = None,
) -> None:
    """Makes the new run in the journal.

    Args:
        cast: how long it is to take, for its report to compare with what happens.

    Raises:
        NotStarted: an open run holds one of the targets.
    """
    if history.made is None:
        raise JournalError(f"run {old} has no beginning in this state")
    kept = {key: value for key, value in history.made.options.items() if key not in OF_ONE_RUN}
    known = {target.id: history.of(target.id) for target in targets}
    if same_commit:
        kept["restart"] = {
            id_: {"request": to_json(one.request), "build": one.build.id} for id_, one in known.items() if one.build
        }
    elif look_for := {t.id: marker for t in targets if (marker := _old_marker(history, old, t)) is not None}:
        kept["look_for"], kept["look_since"] = look_for, look_since(history)
    made = replace(history.made, parent=old, options=kept, forecast=cast or {})
    await make_run(new, made, targets, journal, session.machine.now(), behind=session.flags.behind)


def _old_marker(history: History, old: str, target: Target) -> str | None:
    """What an earlier trigger of the target may have carried; None where it is known that none is open."""
    progress, made = history.of(target.id), history.made
    if progress.doubt is not None or made is None:
        return progress.marker
    if progress.request is not None or (progress.verdict and progress.verdict.outcome is not Outcome.IN_DOUBT):
        return None
    before = made.options.get("look_for")
    if isinstance(before, Mapping) and target.id in before:
        return str(before[target.id])  # the old run, itself a retry, did not come to know
    is_unknown = bool(made.options.get("adopt")) or len(history.hosts) > 1
    return marker_of(made.name, old, target.id) if is_unknown and target.marked else None


def _tell(why: str, ids: Sequence[str]) -> None:
    if ids:
        more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
        note(f"left out, since {why}: {', '.join(ids[:NAMED])}{more}")
