"""Cuts a plan into waves: by its rollout, and by how long the builds of its targets took in earlier runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from orchestrator.app.context import Context, has_state
from orchestrator.core.course import Course
from orchestrator.core.errors import JournalError
from orchestrator.core.evidence import NEEDED
from orchestrator.core.frozen import replace
from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome, Plan, Target
from orchestrator.core.promotion import Promotion, Usually
from orchestrator.core.rollout import cut
from orchestrator.core.waves import FASTEST, SLOWEST, Wave
from orchestrator.journal.port import Journal

if TYPE_CHECKING:
    from orchestrator.app.plan import Planned


async def in_waves(
    plan: Plan, run: str, context: Context, journal: Journal | None = None
) -> tuple[Plan, Sequence[str]]:
    """The plan with its targets in the order of triggering, each with its wave, and with what its chains take.

    Args:
        run: the run's id, by which `order: shuffle` shuffles.
        journal: the state, where it is open already.

    Returns:
        Beside it the ids of targets that stand in a wave only because others of it need them.

    Raises:
        UsageError: two waves have one name.
    """
    has_needs = any(target.needs for target in plan.targets)
    is_by_length = plan.rollout is not None and plan.rollout.order in (FASTEST, SLOWEST)
    seconds = await _seconds(plan, context, journal) if has_needs or is_by_length else {}
    if has_needs and seconds:
        timed = (replace(it, seconds=seconds[it.id]) if it.id in seconds else it for it in plan.targets)
        plan = replace(plan, targets=tuple(timed))
    if plan.rollout is None:  # in the order of the file, whatever needs say: they hold back who must wait
        counted = sum(target.skip is None for target in plan.targets)
        return replace(plan, waves=(Wave(1, "1", counted),) if counted else ()), ()
    found = cut(plan.targets, plan.rollout, run, seconds)
    warnings = tuple(
        f"rollout: no target is left for wave {name}, so it falls away, with what it was to wait for"
        for name in found.empty
    )
    return replace(
        plan, targets=tuple(found.targets), waves=tuple(found.waves), warnings=(*plan.warnings, *warnings)
    ), found.drawn


async def with_blocks(planned: Planned, context: Context) -> Planned:
    """The same with the blocks of its waves, by earlier runs in the state, and a warning where too little is known."""
    plan = planned.plan
    if plan.rollout is None or plan.rollout.stop_when.worse_than_usual is None:
        return planned
    choices = planned.choices
    failures = choices.failures if choices.fail_on is not None else plan.fail_on or DEFAULT_FAIL_ON
    promotion = Promotion(plan.targets, plan.waves, plan.rollout, None, failures, Course())
    promotion.usually = await _usually(plan, failures, context)
    blocks = {wave.number: promotion.blocks(wave.number - 1, wave.number) for wave in plan.waves}
    unknown = [service for service, usual in promotion.usually.by_service.items() if not usual.is_known]
    warnings = tuple(
        f"worse_than_usual does not act: fewer than {NEEDED} earlier outcomes are known of {service}"
        for service in unknown[:1]
    )
    plan = replace(plan, warnings=(*plan.warnings, *warnings))
    return replace(planned, plan=plan, blocks=blocks)


async def _usually(plan: Plan, failures: Collection[Outcome], context: Context) -> Usually:
    from orchestrator.journal.outcomes import service_of
    from orchestrator.journal.pasts import usually

    accounts = context.as_run(plan.accounts)
    nothing = Usually(plan.targets, {}, {name: service_of(account) for name, account in accounts.items()})
    if not has_state(context.state_path):
        return nothing
    try:
        async with context.state_at(context.state_path, read_only=True) as journal:
            return await usually(journal, plan.targets, accounts, failures)
    except JournalError:  # `plan` needs no state: the verbs that need it tell what is wrong with it
        return nothing


async def _seconds(plan: Plan, context: Context, journal: Journal | None) -> Mapping[str, float]:
    """By id, how long the builds of targets took of which that is known."""
    from orchestrator.app.lookups import times_in, times_of_state

    if journal is None:
        times = await times_of_state(context, plan)
    else:
        times = await times_in(journal, plan.name, plan.accounts, context)
    repos = {place: median(lengths) for place, lengths in times.repos.items() if lengths}
    return dict(_known(plan.targets, repos))


def _known(targets: Sequence[Target], repos: Mapping[tuple[str, str], float]) -> Iterator[tuple[str, float]]:
    for target in targets:
        place = target.account, target.repo.lower()
        if place in repos:
            yield target.id, repos[place]
