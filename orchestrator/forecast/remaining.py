"""When a target of a run that goes on will be triggered: the same simulation, begun where the run stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator.core.frozen import Struct
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import Plan, Target
from orchestrator.core.options import Options
from orchestrator.core.progress import Progress
from orchestrator.core.selection import override_limits
from orchestrator.forecast.decisions import Standing
from orchestrator.forecast.durations import ASSUMED, Times
from orchestrator.forecast.simulate import Past, Simulation
from orchestrator.limits.admission import Wait
from orchestrator.limits.budget import read_rule
from orchestrator.providers.port import Declaration

LOOK = "the look for what an earlier run may have asked for"


class Waits(Struct, frozen=True):
    """One rule that a waiting target waits for.

    Args:
        rule: the limit, or another rule that lets it go by time alone.
        subject: what it binds: `of acme/api`, `of account travis`.
        next_at: when it lets the next one through (wall clock); None where only the end of a build can tell.
        before: how many other targets wait for it and come first.
    """

    rule: str
    subject: str
    next_at: float | None
    before: int


class Expected(Struct, frozen=True):
    """What is expected for a waiting target.

    Args:
        at: when its trigger leaves, about (wall clock); None where no end is in sight, or a person is waited for.
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
    if history.made is None:
        return Expected(None, ())
    run = standing(history, declarations, now, times)
    row = history.targets.index(target)
    waits = _waits(run, history.targets, row, now)
    if (until := history.looked_for_until(target)) > now:
        waits.append(Waits(LOOK, f"of {target.repo}", until, 0))
    run.run(until=row)
    asked = run.asked[row]
    is_known = asked >= 0.0 and not history.course.is_up_to_a_person(history.waves, target.wave)
    return Expected(max(now + asked, until) if is_known else None, tuple(waits))


def reasons(
    history: History, declarations: Mapping[str, Declaration], now: float
) -> Callable[[Target], Iterator[Wait]]:
    """By waiting target, all that holds it back now, in the order in which it is asked; times are seconds from now.

    Args:
        history: of a run that was made.
    """
    run = standing(history, declarations, now, ASSUMED)
    rows = {target.id: row for row, target in enumerate(history.targets)}
    return lambda target: run.queues[target.account].admission.reasons(rows[target.id], 0.0)


def standing(
    history: History, declarations: Mapping[str, Declaration], now: float, times: Times, deal: int = 0
) -> Simulation:
    """The simulated run, at the instant to which the journal has come; its clock begins now."""
    made = history.made
    assert made is not None  # noqa: S101  # the callers look
    pace = history.pace
    plan = Plan(made.name, tuple(history.targets), accounts_in(made), rollout=made.rollout, waves=made.waves)
    plan = override_limits(plan, {name or None: rate for name, rate in pace.rates.items()})
    in_flight = made.options.in_flight if pace.in_flight is None else pace.in_flight
    options = Options.over(made.options, in_flight=in_flight, ignore_quiet_hours=pace.ignore_quiet_hours)
    past = {row: one for row, each in enumerate(plan.targets) if (one := _past(history.of(each.id), now)) is not None}
    standing = Standing(history.progress, history.course, history.stopped is not None)
    run = Simulation(plan, declarations, options, now, times, past, standing, deal)
    for (account, *_), known in history.learnt.items():
        if account in run.queues and (learnt := read_rule(known.scope, known.rule)) is not None:
            run.queues[account].budget.learn(learnt, 0.0)
    for (account, scope), freeze in history.frozen.items():
        if account in run.queues and freeze.until > now:
            run.queues[account].budget.freeze(scope, freeze.until - now, freeze.cause)
    return run


def _past(progress: Progress, now: float) -> Past | None:
    """What has happened to a target so far; None where it waits."""
    if not progress.may_exist:
        last = progress.last_asked_at
        asked = None if last is None else last - now
        return Past(asked, is_over=True, is_refused=True) if progress.is_done else None
    asked = progress.triggered_at or progress.asked_at or now
    build = progress.build
    started = None if build is None or build.started_at is None else build.started_at - now
    return Past(asked - now, is_over=progress.is_done, started=started)


def _waits(run: Simulation, targets: Sequence[Target], row: int, now: float) -> list[Waits]:
    """The rules that will let the target go by time alone, the narrowest first."""
    account = targets[row].account
    admission = run.queues[account].admission
    waiting = [n for n in range(row) if targets[n].account == account and run.is_waiting(n)]
    found = []
    for wait in admission.reasons(row, 0.0):
        if wait.until == math.inf or wait.ends is not None:
            continue
        if wait.place:
            before = sum(wait.place in (admission.repo_of(n), admission.owner_of(n)) for n in waiting)
            found.append(Waits(wait.rule, f"of {wait.place}", now + wait.until, before))
        else:
            found.append(Waits(wait.rule, f"of account {account}", now + wait.until, len(waiting)))
    return sorted(found, key=lambda one: one.subject.startswith("of account "))
