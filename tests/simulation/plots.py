"""Draws what befalls a schedule: one plot at most, and the weather.

The draws come from a stream of their own, so that what a seed's schedule was before there were plots stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.app.overlap import OVERLAPS
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome, Target
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.travis.settings import RepoSpec, Shares
from orchestrator.providers.travis.declaration import DECLARATION

from .deal import ALL, deal, on_travis
from .dice import Dice
from .reruns import with_reruns
from .rollouts import in_waves
from .schedule import TIMEOUTS, Job, Schedule, fate_of, plain_schedule_of
from .twist import Again, Disaster, Mixed, Outage, Overlap, PutBack, Twist, Words

TRAVIS = ("travis",)
PLOTS = ("none",) * 5 + ("lost", "carried", "retry", "retry", "person", "person", "overlap")
RETRIED = (
    None,
    None,
    frozenset({Outcome.IN_DOUBT}),
    frozenset({Outcome.IN_DOUBT, Outcome.FAILED, Outcome.TIMED_OUT}),
    frozenset({Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED}),
)
LOSES = ("lost_before", "lost_after", "timeout_before", "timeout_after", "error_before", "error_stuck")


# How many schedules are played in which world, drawn from a stream of its own, instead of with the plot that they had.
# A world with 0 waits for the guard against it; the package's docstring says how to let it in.
SHARES: Mapping[str, float] = {"outage": 0.02, "put-back": 0.05, "mixed": 0.05, "rollout": 0.05, "reruns": 0.05}


def schedule_of(
    seed: int, *, plain: bool = False, shares: Mapping[str, float] = SHARES, types: Sequence[str] = ALL
) -> Schedule:
    """The schedule of a seed.

    Args:
        plain: without a plot and weather.
        shares: how many have each of `SHARES`.
        types: of the services; Travis alone: as it was before there were others.
    """
    schedule = _drawn(seed, plain, shares)
    return on_travis(schedule) if types == TRAVIS else deal(schedule, types)


def _drawn(seed: int, plain: bool, shares: Mapping[str, float]) -> Schedule:
    schedule = plain_schedule_of(seed)
    if plain:
        return schedule
    dice = Dice(f"world {seed}")
    at = dice.random()
    for name, share in shares.items():
        if at < share:
            return WORLDS[name](dice, schedule)
        at -= share
    return _with_plot(seed, schedule)


def _with_plot(seed: int, schedule: Schedule) -> Schedule:
    dice = Dice(f"twist {seed}")
    plot = dice.choice(PLOTS)
    twist = Twist(
        disaster=_disaster(dice, plot),
        again=_again(dice) if plot == "retry" else None,
        words=_words(dice) if plot == "person" else None,
        overlap=_overlap(dice, schedule.jobs[0]) if plot == "overlap" else None,
        reboots=(dice.late(1.0, 60.0),) if dice.chance(0.1) else (),
        stalls=((dice.late(0.5, 60.0), dice.uniform(10.0, 90.0)),) if dice.chance(0.1) else (),
        steps=((dice.late(1.0, 60.0), dice.choice((-600.0, -40.0, -3.0, 3.0, 40.0))),) if dice.chance(0.08) else (),
    )
    if twist.disaster is not None and dice.chance(0.3):
        twist = replace(twist, again=replace(_again(dice), same_commit=False))
    schedule = replace(schedule, twist=twist)
    return _with_doubts(dice, schedule) if plot in ("retry", "person") and dice.chance(0.8) else schedule


def _disaster(dice: Dice, plot: str) -> Disaster | None:
    if plot not in ("lost", "carried"):
        return None
    at, clock = dice.late(1.0, 60.0), dice.choice((0.0, 0.0, 3.0, -3.0, 300.0, -300.0))
    if plot == "lost":
        return Disaster(at, None, clock)
    return Disaster(at, at if dice.chance(0.4) else max(0.5, at - dice.late(0.5, 30.0)), clock)


def _again(dice: Dice) -> Again:
    outcomes = dice.choice(RETRIED)
    same_commit = dice.chance(0.3) and (outcomes is None or Outcome.IN_DOUBT not in outcomes)
    fates = tuple(fate_of(dice) for _ in range(dice.choice((0, 0, 1, 2))))
    return Again(outcomes, same_commit, dice.choice((0.0, 5.0, 60.0)), fates)


def _words(dice: Dice) -> Words:
    return Words(dice.choice((1.0, 1.0, 0.5, 0.0)), dice.chance(0.4), dice.choice((0.0, 30.0, 300.0)), fate_of(dice))


def _overlap(dice: Dice, job: Job) -> Overlap:
    run = "r9"
    targets = tuple(
        replace(target, needs=(), request={"message": f"{run}-t{number} says so"})
        for number, target in enumerate(job.targets)
        if dice.chance(0.8)
    )
    fates = tuple(fate_of(dice) for _ in range(dice.choice((0, 1))))
    starts = job.starts + dice.late(0.1, 60.0)
    return Overlap(dice.choice(OVERLAPS), Job(run, targets or job.targets[:0], starts=starts, fates=fates))


def _with_doubts(dice: Dice, schedule: Schedule) -> Schedule:
    """The same with more that stays in doubt: answers lost, looks refused, little patience."""
    rules = (FaultRule(dice.choice(LOSES), dice.choice((0.4, 0.8)), between=(0.0, 120.0)), *schedule.faults)
    hurried = dice.choice((30.0, 90.0))
    jobs = tuple(
        replace(job, targets=tuple(replace(t, timeouts=replace(TIMEOUTS, accept=hurried)) for t in job.targets))
        for job in schedule.jobs
    )
    return replace(schedule, faults=rules, jobs=jobs, proven=schedule.proven and dice.chance(0.5), calm_at=120.0)


# -- worlds, each of which a guard stands against -------------------------------------------------------------


def _in_an_outage(dice: Dice, schedule: Schedule) -> Schedule:
    """One run of many repositories, and a service that does nothing wrong but for a while answers nothing."""
    repos = tuple(RepoSpec(f"acme/r{number}") for number in range(dice.choice((25, 35))))
    targets = tuple(_sole_target(schedule.accounts[0], repo.slug) for repo in repos)
    outage = Outage(
        at=dice.late(0.0, 3.0),
        seconds=dice.uniform(5.0, 40.0),
        kind=dice.choice(("error_before", "error_before", "timeout_before")),
        methods=dice.choice((("POST",), ())),
    )
    until = outage.at + outage.seconds
    return Schedule(
        seed=schedule.seed,
        settings=replace(
            schedule.settings,
            repos=repos,
            shares=Shares(failed=0.15),
            auto_cancel=False,
            latency=dice.choice(((0.01, 0.1), (0.01, 0.1), (0.05, 0.6))),
        ),
        jobs=(Job("r1", targets, fates=tuple(fate_of(dice) for _ in range(dice.choice((0, 0, 1))))),),
        accounts=schedule.accounts[:1],
        limits=DECLARATION.limits,
        calm_at=until,
        proven=dice.chance(0.3),
        faults=(FaultRule(outage.kind, methods=outage.methods, between=(outage.at, until)),),
        connections=dice.choice((2, 4, 8)),
        twist=Twist(outage=outage),
    )


def _sole_target(account: str, repo: str) -> Target:
    name = repo.partition("/")[2]
    message = {"message": f"{name} says so"}
    return Target(f"{account}:{repo}@main#{name}", account, repo, "main", name=name, timeouts=TIMEOUTS, request=message)


def _put_back(dice: Dice, schedule: Schedule) -> Schedule:
    at = dice.late(2.0, 90.0)
    back = PutBack(max(0.5, at - dice.late(0.5, 40.0)), at, dice.chance(0.4))
    # not among the steps of all worlds: an hour and more is what a look into the past has to allow for
    steps = ((dice.late(0.5, 90.0), dice.choice((-5000.0, 5000.0))),) if dice.chance(0.2) else schedule.steps
    return replace(schedule, steps=steps, twist=Twist(put_back=back))


def _mixed(dice: Dice, schedule: Schedule) -> Schedule:
    return replace(schedule, twist=Twist(mixed=Mixed(dice.choice((0.2, 0.5)), schedule.calm_at)))


def _rolled_out(dice: Dice, schedule: Schedule) -> Schedule:
    """One run in waves, with a person who approves and pauses; now and then its state is carried elsewhere."""
    plot = "carried" if dice.chance(0.2) else "none"
    twist = Twist(disaster=_disaster(dice, plot) if plot == "carried" else None)
    schedule, dice = in_waves(dice, replace(schedule, twist=twist)), Dice(f"reruns {schedule.seed}")
    return with_reruns(dice, schedule) if dice.chance(0.5) else schedule


def _rerun(dice: Dice, schedule: Schedule) -> Schedule:
    """Whatever else befalls it, with builds that are started again."""
    return with_reruns(dice, _with_plot(schedule.seed, schedule))


WORLDS: Mapping[str, Callable[[Dice, Schedule], Schedule]] = {
    "outage": _in_an_outage,
    "put-back": _put_back,
    "mixed": _mixed,
    "rollout": _rolled_out,
    "reruns": _rerun,
}
