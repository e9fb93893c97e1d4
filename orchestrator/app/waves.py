"""Cuts a plan into waves: by its rollout, and by how long the builds of its targets took in earlier runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from orchestrator.app.context import Context
from orchestrator.core.frozen import replace
from orchestrator.core.model import Plan, Target
from orchestrator.core.rollout import cut
from orchestrator.core.waves import FASTEST, SLOWEST, Wave
from orchestrator.journal.port import Journal


async def in_waves(
    plan: Plan, run: str, context: Context, journal: Journal | None = None
) -> tuple[Plan, Sequence[str]]:
    """The plan with its targets in the order of triggering, each with its wave.

    Args:
        run: the run's id, by which `order: shuffle` shuffles.
        journal: the state, where it is open already.

    Returns:
        Beside it the ids of targets that stand in a wave only because others of it need them.

    Raises:
        UsageError: two waves have one name.
    """
    if plan.rollout is None:  # in the order of the file, whatever needs say: they hold back who must wait
        counted = sum(target.skip is None for target in plan.targets)
        return replace(plan, waves=(Wave(1, "1", counted),) if counted else ()), ()
    seconds = await _seconds(plan, context, journal) if plan.rollout.order in (FASTEST, SLOWEST) else {}
    found = cut(plan.targets, plan.rollout, run, seconds)
    warnings = tuple(
        f"rollout: no target is left for wave {name}, so it falls away, with what it was to wait for"
        for name in found.empty
    )
    return replace(
        plan, targets=tuple(found.targets), waves=tuple(found.waves), warnings=(*plan.warnings, *warnings)
    ), found.drawn


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
