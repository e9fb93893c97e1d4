"""Starts a run: makes it in the journal, unless another open run holds its targets; tells what was edited since."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from orchestrator import manifest as manifests
from orchestrator.app import lookups
from orchestrator.app.context import Context
from orchestrator.app.drive import Drive
from orchestrator.app.names import refuse_twins
from orchestrator.app.overlap import FORBID, SKIP, Left, end, make_instead
from orchestrator.app.plan import (
    Choices,
    Planned,
    Source,
    ad_hoc,
    forecast_kept,
    read_manifest,
    selected,
    today,
    warnings_of,
)
from orchestrator.core.errors import NotStarted, UsageError
from orchestrator.core.events import RunMade, from_json, to_json
from orchestrator.core.frozen import Struct
from orchestrator.core.model import DEFAULT_FAIL_ON, Account, Json, Plan, Target
from orchestrator.core.options import RunOptions
from orchestrator.core.times import counted
from orchestrator.hooks.notify import checked as check_notify
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal, RunRow
from orchestrator.manifest import Answers
from orchestrator.report.words import plain

FEW = 5
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # no look-alike characters


class Started(Struct, frozen=True):
    """A run that was made; nothing is sent before its `drive` is run; other runs hold what was left out (`skip`).

    Args:
        ended: open runs that nobody drove, and that were ended for this one.
        warnings: what a person should know of the plan.
    """

    run: str
    targets: int
    left_out: int
    drive: Drive
    ended: Sequence[str] = ()
    warnings: Sequence[str] = ()


def new_id(now: float) -> str:
    """An id that sorts by time and is unique: `20260105T010000Z-k3f9`."""
    at = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{at}-{''.join(secrets.choice(_LETTERS) for _ in range(4))}"


async def start(
    planned: Planned,
    run: str,
    journal: Journal,
    context: Context,
    overlap: str = FORBID,
    replaces: Sequence[RunRow] = (),
) -> Started:
    """Makes the run of a plan.

    Args:
        run: its id (`new_id`).
        overlap: `forbid` refuses to start, `allow` does not mind, `skip` leaves out what another open run holds,
            `replace` ends those that nobody drives.
        replaces: the runs that were canceled for this one.

    Raises:
        UsageError: a secret cannot be resolved, the plan holds what is not acted on, or two names of one repository.
        LookFailed, AccessRefused: as `refuse_twins`.
        Held: other open runs hold targets.
        JournalError: there is a run of this id.
    """
    ready(planned, context)
    plan = planned.plan
    await refuse_twins(plan, context, journal)
    times = await lookups.times_in(journal, plan.name, plan.accounts, context)
    cast, foreseen = forecast_kept(planned, times, context)
    made = made_of(plan, _kept(planned, context), forecast=cast)
    targets, ended = await make_instead(run, made, plan.targets, journal, context, overlap, replaces)
    drive = Drive(run, journal, planned.choices, context, is_new=True, times=times)
    return Started(run, len(targets), len(plan.targets) - len(targets), drive, ended, warnings_of(plan, foreseen))


async def forget_rehearsal(row: RunRow, journal: Journal, context: Context) -> bool:
    """Forgets an open run that was a rehearsal, since its sandbox ended with its process; whether it was one.

    Raises:
        LeaseLost: its process is at work.
    """
    history = await load(journal, row.id)
    if row.ended_at is not None or not history.options.sandbox:
        return False
    await end(Left(row, history), "its sandbox ended with its process", journal, context)
    return await journal.drop_runs([row.id]) > 0


def _kept(planned: Planned, context: Context) -> RunOptions:
    """What of the choices belongs to the run itself, so that a resume keeps to it."""
    plan, choices = planned.plan, planned.choices
    chosen = {name: getattr(choices, name) for name in RunOptions.__struct_fields__}
    written = {str(context.cwd / path): name for name, path in plan.reports.items()}
    chosen["reports"] = {**written, **choices.reports}
    chosen["fail_on"] = (
        choices.fail_on if choices.fail_on is not None else tuple(sorted(plan.fail_on or DEFAULT_FAIL_ON))
    )
    chosen["notify"] = (*(() if context.sandbox else plan.notify), *choices.notify)  # a rehearsal disturbs nobody
    chosen |= {"sandbox": context.sandbox, "selection": choices.picked, "causes": plan.causes}
    return RunOptions(**chosen)


def ready(planned: Planned, context: Context) -> None:
    """Refuses what could not be started, as `start` does: a face calls it before it asks a person.

    Raises:
        UsageError: a secret cannot be resolved, or the plan holds what could not be recognised.
    """
    plan = planned.plan
    context.resolve(plan.accounts.values(), plan.targets)
    for one in _kept(planned, context).notify:
        check_notify(one, context.secrets)
    unmarked = [target.id for target in plan.targets if not target.marked] if planned.choices.adopt else []
    if unmarked:
        raise UsageError(
            f"--adopt: {counted(len(unmarked), 'target')} with `marker: none` could not be recognised, {unmarked[0]} "
            "for one; leave them out with --exclude, and look at the provider yourself"
        )


def made_of(
    plan: Plan, options: RunOptions, parent: str | None = None, forecast: Mapping[str, Json] | None = None
) -> RunMade:
    """The first event of a run of this plan; it holds all that a resume needs but the targets."""
    return RunMade(
        name=plan.name,
        manifest=plan.manifest,
        digest=plan.digest,
        params=plan.params,
        accounts={name: to_json(account) for name, account in plan.accounts.items()},
        limits={name: [str(limit) for limit in account.limits] for name, account in plan.accounts.items()},
        parent=parent,
        options=options,
        forecast=forecast or {},
        rollout=plan.rollout,
        waves=plan.waves,
    )


# -- a run that exists, and what was edited since ---------------------------------------------------------------


class AnotherPlan(NotStarted):
    """The run of this id has ended, and what is asked for now is not what it was made of."""

    def __init__(self, run: str, differences: Sequence[str]) -> None:
        self.run, self.differences = run, differences
        head = f"run {run} has ended, and its plan was another; nothing was triggered:"
        ways = (
            f"its report: `orchestrator report {run}`\na new run: the same command with another --run-id, or with none"
        )
        super().__init__("\n  ".join([head, *differences]) + f"\n{ways}")


async def edits(
    row: RunRow, source: Source, choices: Choices, journal: Journal, context: Context, overlap: str = FORBID
) -> list[str]:
    """Sentences about what an open run does not do, although it is asked for now; empty when they agree.

    A run goes on with the plan that was journaled when it was made; a person who edited the manifest in between must
    be told what will not happen. No provider is asked: where targets depend on one, what is known without it counts.

    Raises:
        AnotherPlan: the run has ended.
        UsageError, NotStarted: it has, and there is no plan to compare with.
    """
    history = await load(journal, row.id)
    made, has_ended = history.made, row.ended_at is not None
    if made is None or (has_ended and source.is_missing(context)):  # nothing is asked for but what came of the run
        return []
    try:
        plan, is_whole = await _plan_now(source, choices, context, row.id, journal)
    except (UsageError, NotStarted) as error:
        if has_ended:
            raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [f"the manifest cannot be compared with the run's plan: {plain(first)}"]
    found = [
        *_params(made, plan.params),
        *_targets(history.targets, plan, source.title, is_whole=is_whole, skips=overlap == SKIP),
    ]
    if not is_whole:
        found += _unlike(made, plan, choices, source)
    if has_ended and found:
        raise AnotherPlan(row.id, found)
    return found if has_ended else [*found, *_limits(made, plan.accounts)]


async def _plan_now(
    source: Source, choices: Choices, context: Context, run: str, journal: Journal
) -> tuple[Plan, bool]:
    """What would be planned, and whether that is all of it: what only a provider knows is left out."""
    if source.is_ad_hoc:
        return selected(await ad_hoc(source, context, journal), None, choices, context), True
    manifest = read_manifest(source, choices, context, run=run)
    known = lookups.invented(manifest) if context.sandbox else Answers(offline=True)
    is_whole = context.sandbox or not manifests.questions(manifest)
    plan = manifests.expand(manifest, known, today=today(context))
    return selected(plan, manifest, choices, context) if is_whole else plan, is_whole


def _unlike(made: RunMade, plan: Plan, choices: Choices, source: Source) -> Iterator[str]:
    """What differs where a provider would have to be asked for the rest."""
    if plan.digest != made.digest:
        yield f"{source.title} was edited since the run was made"
    if choices.picked != made.options.selection:
        before, after = (" ".join(words) or "everything" for words in (made.options.selection, choices.picked))
        yield f"this run has {before}, not {after}"


def _params(made: RunMade, now: Mapping[str, Json]) -> Iterator[str]:
    for name in sorted(made.params.keys() | now.keys()):
        before, after = (repr(params[name]) if name in params else "not set" for params in (made.params, now))
        if before != after:
            yield f"parameter {name} is {before} in this run, not {after}"


def _limits(made: RunMade, now: Mapping[str, Account]) -> Iterator[str]:
    for name, account in now.items():
        if (kept := made.accounts.get(name)) is None:
            continue
        before, keeps = from_json(Account, kept), f"account {name}: this run keeps the"
        if _caps(before) != _caps(account):
            yield f"{keeps} `in_flight` and `queue` that it was made with; -j lowers them"
        if before.concurrency.quiet != account.concurrency.quiet:
            yield f"{keeps} quiet hours that it was made with; --ignore-quiet-hours leaves them"


def _caps(account: Account) -> tuple[object, ...]:
    return account.in_flight, account.concurrency.caps, account.concurrency.queue


def _targets(ours: Sequence[Target], now: Plan, file: str, *, is_whole: bool, skips: bool) -> Iterator[str]:
    """What came, went and changed; `skips`: some were left out, since other runs held them."""
    known, wanted = {target.id: target for target in ours}, {target.id: target for target in now.targets}
    if not skips and is_whole and (new := [id_ for id_ in wanted if id_ not in known]):
        yield f"{file}: {counted(len(new), 'target')} of it {_is(new)} not in this run: {_named(new)}"
    if is_whole and (gone := [id_ for id_ in known if id_ not in wanted]):
        yield f"{file}: {counted(len(gone), 'target')} of this run {_is(gone)} no longer in it: {_named(gone)}"
    both = known.keys() & wanted.keys()
    other = [id_ for id_ in known if id_ in both and to_json(known[id_].request) != to_json(wanted[id_].request)]
    if other:
        yield f"{file}: {counted(len(other), 'target')} would be asked for otherwise by now: {_named(other)}"


def _is(ids: Sequence[str]) -> str:
    return "is" if len(ids) == 1 else "are"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - FEW:,} more" if len(ids) > FEW else ""
    return ", ".join(ids[:FEW]) + more
