"""When a target of a run that goes on will be triggered: the same simulation, begun where the run stands."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core.frozen import Struct, from_json
from orchestrator.core.history import History
from orchestrator.core.model import ACCOUNT, Account, Plan, Target
from orchestrator.core.progress import Progress
from orchestrator.forecast.durations import Times
from orchestrator.forecast.simulate import Past, Simulation
from orchestrator.providers.port import Declaration


class Waits(Struct, frozen=True):
    """One rule that a waiting target waits for.

    Args:
        rule: the limit or the rule of the brake.
        whom: whom it binds: `of acme/api`, `of account travis`.
        next_at: when it lets the next one through (wall clock); None where only the end of a build can tell.
        before: how many other targets wait for it and come first.
    """

    rule: str
    whom: str
    next_at: float | None
    before: int


class Expected(Struct, frozen=True):
    """What is expected for a waiting target.

    Args:
        at: when its trigger leaves, about (wall clock); None where no end is in observation.
        waits: the limits that hold it back now, the narrowest first.
    """

    at: float | None
    waits: tuple[Waits, ...]


def expected(
    history: History, target: Target, declarations: Mapping[str, Declaration], now: float, times: Times
) -> Expected:
    """What a waiting target waits for, and until when, about.

    Args:
        declarations: by type of provider.
        now: wall clock.
        times: how long calls and builds take.
    """
    made = history.made
    if made is None:
        return Expected(None, ())
    accounts = {name: from_json(Account, one) for name, one in made.accounts.items()}
    plan = Plan(made.name, tuple(history.targets), accounts)
    most = made.options.get("in_flight")
    past = {row: one for row, each in enumerate(plan.targets) if (one := _past(history.of(each.id), now)) is not None}
    run = Simulation(plan, declarations, most if isinstance(most, int) else None, now, times, past)
    for (account, scope), freeze in history.frozen.items():
        if account in run.lanes and freeze.until > now:
            run.lanes[account].freeze(scope, freeze.until - now, freeze.cause)
    row = plan.targets.index(target)
    waits = tuple(_waits(run, plan, row, now))
    run.run(until=row)
    asked = run.asked[row]
    return Expected(now + asked if asked >= 0.0 else None, waits)


def _past(progress: Progress, now: float) -> Past | None:
    """What has happened to a target so far; None where it waits."""
    if not progress.may_exist:
        last = progress.last_asked_at
        asked = None if last is None else last - now
        return Past(asked, is_over=True, is_met=False, is_refused=True) if progress.is_done else None
    asked = progress.triggered_at or progress.asked_at or now
    build = progress.build
    started = None if build is None or build.started_at is None else build.started_at - now
    is_met = progress.verdict is not None and progress.verdict.outcome == "passed"
    return Past(asked - now, is_over=progress.is_done, is_met=is_met, started=started)


def _waits(run: Simulation, plan: Plan, row: int, now: float) -> list[Waits]:
    target = plan.targets[row]
    lane = run.lanes[target.account]
    waiting = [n for n in range(row) if plan.targets[n].account == target.account and run.is_waiting(n)]
    found = []
    for limit, delay in lane.waits_of(row):
        if limit.scope == ACCOUNT:
            found.append(Waits(str(limit), f"of account {target.account}", now + delay, len(waiting)))
            continue
        place = lane.owner_of if limit.scope == "owner" else lane.repo_of
        before = sum(place(n) == place(row) for n in waiting)
        found.append(Waits(str(limit), f"of {place(row)}", now + delay, before))
    return sorted(found, key=lambda one: one.whom.startswith("of account "))
