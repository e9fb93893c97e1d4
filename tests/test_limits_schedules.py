"""The limiter against servers that know nothing of it: jitter, skewed clocks, several rules, costs, lost answers."""

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from reference_window import ServerRule, broken, soonest

from orchestrator.core.model import Limit
from orchestrator.limits.budget import Budget
from orchestrator.limits.window import Permit

FAST, ALL = 250, 10_000
TIMEOUT, LOST_FOR = 30.0, 60.0


@dataclass
class Schedule:
    """What a server is like and what happens to the calls; all of it follows from the seed."""

    dice: random.Random
    rules: list[ServerRule]
    kinds: list[tuple[int, ...]]  # for each kind of call its cost under each rule
    worst: float
    spiky: bool
    faulty: bool
    start: float
    skew: float
    calls: int
    made: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)
    stamps: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)
    longest: float = 0.0

    def latency(self):
        if self.spiky and self.dice.random() < 0.9:
            return self.dice.uniform(0.0, self.worst / 20)
        return self.dice.uniform(0.0, self.worst)


def schedule(seed):
    dice = random.Random(f"limits {seed}")
    rules = [
        ServerRule(f"rule{n}", dice.randint(3, 20), dice.choice([1.0, 5.0, 30.0, 60.0]), dice.random() < 0.5)
        for n in range(dice.choice([1, 1, 2, 3]))
    ]
    kinds = [tuple(dice.choice([1, 1, 1, 2, 3]) for _ in rules) for _ in range(dice.choice([1, 1, 2]))]
    start, skew = 1_767_571_200.0 + dice.uniform(0.0, 1e6), dice.choice([0.0, dice.uniform(-1e5, 1e5)])
    return Schedule(
        dice, rules, kinds, dice.uniform(0.01, 3.0), dice.random() < 0.5, dice.random() < 0.2, start, skew, 120
    )


def run(one, answered=Permit.answered):
    """Makes the calls as early as the limiter lets them go, as many at a time as it likes."""
    budget = Budget([Limit(rule.name, rule.calls, rule.per) for rule in one.rules])
    now, under_way = one.start, []
    for n in range(one.calls):
        cost = one.dice.choice(one.kinds)
        names = tuple(rule.name for rule, each in zip(one.rules, cost, strict=True) for _ in range(each))
        while delay := budget.wait(names, None, now)[0]:
            if under_way and under_way[0][0] <= now + delay:
                now, _, until, permit = heappop(under_way)
                answered(permit, until)
            else:
                now += delay
        permit = budget.take(names, None)
        call(one, n, now, cost, permit, under_way)
    return one


def call(one, n, now, cost, permit, under_way):
    fate = one.dice.random() if one.faulty else 1.0
    if fate < 0.05:  # it never left
        permit.give_back()
    elif fate < 0.1:  # no answer; the server handles it some time
        over = now + TIMEOUT
        one.stamps.append((one.dice.uniform(now, over + LOST_FOR) + one.skew, cost))
        heappush(under_way, (over, n, over + LOST_FOR, permit))
    else:
        latency = one.latency()
        one.longest = max(one.longest, latency)
        one.made.append((now - one.start, cost))
        one.stamps.append((one.dice.uniform(now, now + latency) + one.skew, cost))
        heappush(under_way, (now + latency, n, now + latency, permit))


def overdrawn(one):
    return [rule for n, rule in enumerate(one.rules) if broken(rule, [(at, cost[n]) for at, cost in one.stamps])]


def use_of_possible(one):
    """The time for all calls, when each answer takes as long as the longest did, over the time that it took."""
    return soonest(one.rules, [cost for _, cost in one.made], one.longest) / one.made[-1][0]


def prove(seeds):
    uses = []
    for seed in seeds:
        one = run(schedule(seed))
        assert not overdrawn(one), f"schedule {seed} was refused"
        if not one.faulty:
            uses.append(use_of_possible(one))
            assert uses[-1] >= 0.97, f"schedule {seed} used {uses[-1]:.1%} of what is possible"
    assert len(uses) > len(seeds) / 2


def test_no_schedule_is_refused_and_nearly_all_that_is_possible_is_used():
    prove(range(FAST))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_schedules_are_not_refused_and_use_nearly_all_that_is_possible(part):
    prove(range(part * ALL // 10, (part + 1) * ALL // 10))


def test_the_server_would_notice_a_limiter_that_counts_from_the_departure():
    def from_departure(permit, at):
        permit.answered(at - one.dice.uniform(0.0, one.worst))

    seen = 0
    for seed in range(60):
        one = schedule(seed)
        seen += bool(overdrawn(run(one, from_departure)))
    assert seen > 10


def test_the_server_would_notice_a_limiter_that_wastes_time():
    def late(permit, at):
        permit.answered(at + 0.2)

    one = schedule(1)
    one.rules, one.kinds, one.faulty, one.worst = [ServerRule("rule0", 5, 1.0, aligned=False)], [(1,)], False, 0.1
    assert use_of_possible(run(one, late)) < 0.97


@pytest.mark.parametrize(("latency", "calls", "per"), [(0.3, 40, 30.0), (3.0, 40, 30.0), (0.1, 10, 3600.0)])
def test_of_travis_own_windows_all_that_is_possible_is_used(latency, calls, per):
    """They are fixed, and start at multiples of the period since the epoch."""
    one = Schedule(
        random.Random(7),
        [ServerRule("posts", calls, per, aligned=True)],
        [(1,)],
        latency,
        False,
        False,
        1.7e9,
        11.3,
        2000,
    )
    run(one)
    assert not overdrawn(one)
    assert len(one.made) >= 0.97 * calls * one.made[-1][0] / (per + latency)
