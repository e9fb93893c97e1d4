"""Goes on with a run from any process; or makes a new one, linked to it, of what did not pass. Nothing starts twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from orchestrator.app.context import Context
from orchestrator.app.drive import Drive, Ended, accounts_of, ended, refuse_rehearsal, resolve
from orchestrator.app.lookups import times_in
from orchestrator.app.overlap import Held, make_instead, old_marker
from orchestrator.app.plan import MANY, Choices, Planned, forecast_kept
from orchestrator.app.runs import meant, the_one
from orchestrator.app.waves import in_waves
from orchestrator.app.which import named
from orchestrator.core.errors import JournalError, NotStarted, UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import History
from orchestrator.core.model import Json, Notify, Outcome, Plan, Target
from orchestrator.core.names import SAME_REPOSITORY
from orchestrator.core.options import OldBuild
from orchestrator.core.progress import Progress
from orchestrator.core.selection import EVERYTHING, Selection, some
from orchestrator.engine.run import look_since
from orchestrator.hooks.notify import checked as check_notify
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal, RunRow
from orchestrator.providers.port import Followed
from orchestrator.report.words import shell


async def resume(
    row: RunRow,
    journal: Journal,
    choices: Choices,
    context: Context,
    *,
    assume_absent: Sequence[str] = (),
    adopt_request: Sequence[str] = (),
    look_again: bool = False,
    selection: Selection = EVERYTHING,
) -> Drive | Ended:
    """Goes on with a run; one that has ended, and has nothing in doubt to settle, stays as it ended.

    Args:
        assume_absent, adopt_request: what a person says of targets in doubt; the request as `TARGET=ID`.
        look_again: look up once more what an ended run left in doubt.
        selection: the targets to go on with; the others stay as they are.

    Raises:
        UsageError: what a person says is not in doubt, or is settled elsewhere; a secret cannot be resolved.
        NotStarted: nothing is selected.
    """
    only = await meant(row, journal, selection)
    history = await load(journal, row.id)
    settles = bool(assume_absent or adopt_request)
    settles = settles or (look_again and await _can_be_settled(row.id, history, journal))
    if row.ended_at is not None and not settles:
        return await ended(row.id, history, row.exit_code, choices, context, journal)
    refuse_rehearsal(history)
    absent = frozenset(the_one(history.targets, name, row.id).id for name in assume_absent)
    adopted = dict(_adopted(history, text) for text in adopt_request)
    refuse_what_is_sure(history, absent, "--assume-absent", row.id)
    refuse_what_is_sure(history, adopted, "--adopt-request", row.id)
    if row.ended_at is not None:
        await refuse_what_is_retried(row.id, history, journal)
    resolve(history, context)
    drives = frozenset((*only, *absent, *adopted)) if only else None
    choices = replace(choices, assume_absent=absent, adopt_request=adopted, drives=drives)
    return Drive(row.id, journal, choices, context, history=history)


def refuse_what_is_sure(history: History, ids: Iterable[str], flag: str, run: str = "RUN") -> None:
    """A person may only say what the journal leaves open: anything else would be ignored, or start a second build.

    Raises:
        UsageError: a target is not in doubt.
    """
    for id_ in ids:
        progress = history.of(id_)
        if progress.is_in_doubt:
            continue
        known = f"its request is {progress.request.id}" if progress.request else "no answer of it was lost"
        raise UsageError(
            f"{flag} {id_}: not in doubt, {known}; leave the flag out (see `orchestrator why {run} {shell(id_)}`)"
        )


async def refuse_what_is_retried(run: str, history: History, journal: Journal) -> None:
    """What a later run has asked for again is settled there: the old run would look for its own marker only.

    Raises:
        UsageError: a target in doubt was retried.
    """
    for other, held in await _retried(run, history, journal):
        raise UsageError(
            f"run {other} has retried {held}, and may have a build of it: this run would start one more; "
            f"see `orchestrator why {other} {shell(held)}`, and settle it there"
        )


async def _can_be_settled(run: str, history: History, journal: Journal) -> bool:
    """Whether a target is in doubt that no later run has asked for again."""
    is_doubtful = any(history.of(target.id).is_in_doubt for target in history.targets)
    return is_doubtful and not await _retried(run, history, journal)


async def _retried(run: str, history: History, journal: Journal) -> list[tuple[str, str]]:
    """The runs that asked for a target in doubt again, each with every one of them."""
    later = [row.id for row in await journal.runs() if row.parent == run]
    return [
        (other, target.id)
        for other in later
        for target in await journal.targets(other)
        if history.of(target.id).is_in_doubt
    ]


def _adopted(history: History, text: str) -> tuple[str, str]:
    name, equals, request = text.rpartition("=")
    if not equals or not name or not request:
        raise UsageError(f"--adopt-request {text}: expected TARGET=ID")
    return the_one(history.targets, name).id, request


async def refuse_another_parent(row: RunRow, run: str | None, journal: Journal) -> None:
    """A retry that was made already goes on, or shows what came of it; its id stands for nothing else.

    Raises:
        NotStarted: the run of this id is no retry, or one of another run than that which is named.
    """
    parent = None if run is None else (await named(journal, run)).id
    if row.parent is None or parent not in (None, row.parent):
        what = f"is a retry of {row.parent}" if row.parent else "is no retry"
        raise NotStarted(f"run {row.id} exists, and {what}; nothing was triggered: take another --run-id")


class Chosen(Struct, frozen=True):
    """What is to be triggered again; and why some are not, each reason with their ids."""

    old: str
    name: str
    history: History
    targets: Sequence[Target]
    left_out: Mapping[str, Sequence[str]]
    same_commit: bool = False

    @property
    def needs_confirmation(self) -> str | None:
        """What a person should say yes to before it is started; None where it is little."""
        return f"Trigger {len(self.targets):,} builds again?" if len(self.targets) > MANY else None


async def choose(
    row: RunRow,
    wanted: Collection[Outcome] | None,
    journal: Journal,
    context: Context,
    *,
    same_commit: bool = False,
    selection: Selection = EVERYTHING,
) -> Chosen:
    """What of a run is to be triggered again; providers are asked whether old builds still run.

    Args:
        wanted: outcomes; None: whatever did not pass, but what is in doubt.
        same_commit: only those that have a build which can be started again.
        selection: which of them are meant.

    Raises:
        NotStarted: nothing is selected.
        UsageError: the run was a rehearsal, or a secret cannot be resolved.
        AccessRefused, LookFailed: a provider did not answer.
    """
    history = await load(journal, row.id)
    refuse_rehearsal(history)
    targets, left_out = await chosen(history, wanted, journal, context, same_commit, selection)
    accounts = {account.name: account for account in accounts_of(history)}
    context.resolve([accounts[name] for name in {target.account for target in targets}], targets)
    return Chosen(row.id, row.name, history, targets, left_out, same_commit)


async def retry(what: Chosen, new: str, journal: Journal, choices: Choices, context: Context) -> Drive:
    """Makes the new run; nothing is sent before the drive that is returned is run.

    Raises:
        NotStarted: there is nothing to retry.
        Held: an open run holds one of the targets.
    """
    if not what.targets:
        onwards = "" if what.history.has_ended else f"; `orchestrator resume {what.old}` goes on with what is open"
        raise NotStarted(f"nothing to retry: no target of that run has such an outcome; nothing was sent{onwards}")
    for one in choices.notify:
        check_notify(one, context.secrets)
    accounts = {account.name: account for account in accounts_of(what.history)}
    rollout = None if what.history.made is None else what.history.made.rollout
    plan = Plan(what.name, tuple(what.targets), accounts, rollout=rollout)
    plan, _ = await in_waves(plan, new, context, journal)
    planned = Planned(plan, choices)
    cast, _ = forecast_kept(planned, await times_in(journal, what.name, accounts, context), context)
    await make(
        new, what.old, what.history, plan, journal, context, what.same_commit, cast, choices.reports, choices.notify
    )
    return Drive(new, journal, choices, context, is_new=True)


async def chosen(
    history: History,
    wanted: Collection[Outcome] | None,
    journal: Journal,
    context: Context,
    same_commit: bool = False,
    selection: Selection = EVERYTHING,
) -> tuple[Sequence[Target], Mapping[str, Sequence[str]]]:
    """The targets of a `Chosen`, and what it leaves out."""
    among = some(history.targets, replace(selection, first=None), "; nothing was sent")
    found = [target for target in among if _did_not_pass(history, target, wanted)]
    still_open = [] if history.has_ended else [t.id for t in found if not _is_settled(history.of(t.id))]
    found = [target for target in found if target.id not in set(still_open)]
    unmarked = [t.id for t in found if history.of(t.id).doubt is not None and history.of(t.id).marker is None]
    twins = [t.id for t in found if (verdict := history.of(t.id).verdict) and verdict.code == SAME_REPOSITORY]
    without_build = [t.id for t in found if same_commit and history.of(t.id).build is None and t.id not in twins]
    found = [target for target in found if target.id not in {*twins, *unmarked, *without_build}]
    running = await _still_running(history, found, journal, context)
    found = [target for target in found if target.id not in running][: selection.first]
    found, unmet = _with_needs(history, found)
    left_out = {
        "they are open in that run, which goes on with them": still_open,
        "they are other targets of the run, under another name of the repository": twins,
        "they are in doubt and carried no marker that could be looked for": unmarked,
        "they have no build that could be started again": without_build,
        "what they need did not pass and is not retried": unmet,
        "their old builds still run": running,
    }
    return found, {why: ids for why, ids in left_out.items() if ids}


def _is_settled(progress: Progress) -> bool:
    """Whether the run has done with the target, whatever comes."""
    return progress.verdict is not None and not progress.verdict.outcome.is_provisional


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


def _with_needs(history: History, found: Sequence[Target]) -> tuple[list[Target], list[str]]:
    """The targets with the needs that are among them, and the ids of those whose need neither passed nor is retried."""
    kept = {target.id: target for target in found}
    passed = {id_ for id_, one in history.progress.items() if one.verdict and one.verdict.outcome is Outcome.PASSED}
    unmet: list[str] = []
    while gone := [t.id for t in kept.values() if any(need not in kept and need not in passed for need in t.needs)]:
        unmet.extend(gone)
        for id_ in gone:
            del kept[id_]
    return [replace(t, needs=tuple(need for need in t.needs if need in kept)) for t in kept.values()], unmet


async def _still_running(history: History, targets: Sequence[Target], journal: Journal, context: Context) -> list[str]:
    """Those whose old build goes on, as the provider tells now; a build that ended meanwhile may be made again."""
    doubtful = [target for target in targets if _may_run(history, target)]
    running: list[str] = []
    for account in accounts_of(history):
        mine = [_followed(history, target) for target in doubtful if target.account == account.name]
        if not mine:
            continue
        async with context.gate(account, journal) as caller:
            observations = await caller.patiently(partial(caller.provider.poll, mine))
        for one in mine:
            seen = observations.get(one.target.id)
            if seen is None or (seen.refusal is None and not (seen.builds and seen.builds[0].state.is_final)):
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
    plan: Plan,
    journal: Journal,
    context: Context,
    same_commit: bool,
    forecast: Mapping[str, Json] | None = None,
    reports: Mapping[str, str] = {},  # never changed
    notify: Sequence[Notify] = (),
) -> None:
    """Makes the new run of the plan in the journal; the reports of the old one stay as that wrote them.

    Raises:
        Held: an open run holds one of the targets.
    """
    if history.made is None:
        raise JournalError(f"run {old} has no beginning in this state")
    # without what holds for the old run only
    kept = replace(history.options, reports=reports or {}, adopt=False, selection=())
    kept = replace(kept, notify=tuple(notify)) if notify else kept
    kept = replace(kept, look_for={}, look_since=None, restart={})
    targets = plan.targets
    known = {target.id: history.of(target.id) for target in targets}
    if same_commit:
        builds = {
            id_: OldBuild(one.request, one.build.id, one.build)
            for id_, one in known.items()
            if one.request and one.build
        }
        kept = replace(kept, restart=builds)
    elif look_for := {t.id: marker for t in targets if (marker := old_marker(history, old, t)) is not None}:
        kept = replace(kept, look_for=look_for, look_since=look_since(history))
    made = replace(history.made, parent=old, options=kept, forecast=forecast or {}, waves=plan.waves)
    try:
        await make_instead(new, made, targets, journal, context)
    except Held as error:
        raise Held(error.overlaps, driven=error.driven, chooses=False) from None
