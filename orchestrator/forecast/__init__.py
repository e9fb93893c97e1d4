"""How a run will go, before it starts: simulated in virtual time, under the limits that the engine keeps.

What it cannot know it says: how long calls take, other people's calls and builds, and which builds will fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator.core.frozen import gc_paused
from orchestrator.core.model import Plan, Target
from orchestrator.core.options import Options
from orchestrator.forecast.advice import alternatives, sentence, slowest, supposed, warnings
from orchestrator.forecast.durations import ASSUMED, Times, times_of, with_last_builds
from orchestrator.forecast.foretold import foretold
from orchestrator.forecast.remaining import Expected, Waits, expected
from orchestrator.forecast.result import AccountForecast, Advice, Forecast, Span, Use, uses
from orchestrator.forecast.simulate import Simulation
from orchestrator.providers.port import Declaration

__all__ = [
    "ASSUMED",
    "AccountForecast",
    "Advice",
    "Expected",
    "Forecast",
    "Span",
    "Times",
    "Use",
    "Waits",
    "expected",
    "forecast",
    "foretold",
    "times_of",
    "with_last_builds",
]

WORTH = 0.95  # an alternative that takes more of the time than this is not worth a person's thought


def forecast(
    plan: Plan,
    declarations: Mapping[str, Declaration],
    options: Options = Options(),  # noqa: B008  # a frozen value
    *,
    start: float = 0.0,
    times: Times = ASSUMED,
    advise: bool = True,
) -> Forecast:
    """How a run of the plan will go.

    Args:
        declarations: by type of provider.
        start: wall clock at the start; quiet hours go by it.
        times: how long calls and builds take.
        advise: whether to try what would help; each trial costs as much as the forecast itself.
    """

    def simulate(plan: Plan) -> Simulation:
        run = Simulation(plan, declarations, options, start, times)
        run.run()
        return run

    with gc_paused():
        run = simulate(plan)
        accounts = {
            name: _of_account(plan, name, run, declarations[plan.accounts[name].type])
            for name, queue in run.queues.items()
            if queue.triggered
        }
        advice = tuple(_advice(plan, accounts, declarations, simulate)) if advise else ()
    levels = _levels(plan.targets)
    return Forecast(
        run.last_trigger,
        run.last_build,
        run.kept,
        accounts,
        levels,
        tuple(supposed(plan, times)),
        advice,
        sentence(accounts, run.last_trigger, levels),
        warnings(plan, run, declarations, options),
        run.waves,
        run.asked,
        run.steps,
        times.minutes(plan),
    )


def _of_account(plan: Plan, name: str, run: Simulation, declaration: Declaration) -> AccountForecast:
    queue = run.queues[name]
    rows = [row for row, target in enumerate(plan.targets) if target.account == name and run.asked[row] >= 0.0]
    rows.sort(key=run.asked.__getitem__)
    last = run.asked[rows[-1]]
    found = queue.binding.spans(last)
    timed = [(run.asked[row], plan.targets[row]) for row in rows]
    return AccountForecast(
        name,
        queue.triggered,
        queue.polls.made,
        last,
        max(run.ended[row] for row in rows),
        found,
        max(found, key=lambda one: one.end - one.start, default=None),
        tuple(uses(plan.accounts[name], declaration, timed)),
    )


def _advice(
    plan: Plan,
    accounts: Mapping[str, AccountForecast],
    declarations: Mapping[str, Declaration],
    simulate: Callable[[Plan], Simulation],
) -> Iterator[Advice]:
    """What would help the account that takes longest, the best first."""
    slow = slowest(list(accounts.values()))
    if slow is None:
        return
    before = max(one.last_trigger for one in accounts.values())
    tried = []
    for what, other in alternatives(plan, slow, declarations[plan.accounts[slow.account].type]):
        run = simulate(other)
        tried.append(Advice(what, run.last_trigger, run.last_build))
    yield from sorted((one for one in tried if one.last_trigger < WORTH * before), key=lambda one: one.last_trigger)


def _levels(targets: Sequence[Target]) -> int:
    """The longest chain of needs."""
    by_id = {target.id: target for target in targets}
    depth: dict[str, int] = {}
    stack = [target.id for target in targets if target.needs]
    while stack:
        here = by_id[stack[-1]]
        open_ = [need for need in here.needs if need in by_id and by_id[need].needs and need not in depth]
        if open_:
            stack += open_
            continue
        depth[stack.pop()] = 1 + max((depth.get(need, 0) for need in here.needs), default=-1)
    return max(depth.values(), default=0)
