"""How long runs with needs take, beside a list schedule by longest remaining path that knows nothing of ours."""

from __future__ import annotations

import heapq
import random
from functools import cache
from typing import NamedTuple

import pytest
from fake_service import FAKE, FakeService, Script, make_run, targets
from simulation.backend import run as in_virtual_time
from test_engine import engine

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Limit, Plan, Target
from orchestrator.core.rollout import turns
from orchestrator.forecast import Times, forecast
from orchestrator.journal.history import load
from orchestrator.testing import MemoryJournal

GRAPHS = 200
LENGTHS = (60.0, 120.0, 300.0, 900.0)  # seconds that builds run
WITHIN = 1.05
FREE = Limit("triggers", 1000, 1.0)


class Graph(NamedTuple):
    """What a run is made of.

    Args:
        needs: for each target what it needs, by number.
        runs: seconds that the build of each target runs.
        machines: builds that may run at once.
        rate: of triggers.
    """

    needs: list[tuple[int, ...]]
    runs: list[float]
    machines: int
    rate: Limit = FREE


def graph(seed: int) -> Graph:
    """A graph with builds that take equally long, or not, under one limit or two."""
    chance = random.Random(seed)
    count, most = chance.randint(10, 60), chance.randint(1, 4)
    needs = [
        tuple(chance.sample(range(max(0, n - 15), n), min(n, 15, chance.randint(0, most))))
        if chance.random() < 0.8
        else ()
        for n in range(count)
    ]
    lengths = LENGTHS if seed % 2 else (300.0,)
    rate = chance.choice((FREE, Limit("triggers", 2, 120.0)))
    return Graph(needs, [chance.choice(lengths) for _ in needs], chance.randint(2, 8), rate)


def list_schedule(it: Graph, took: dict[float, float]) -> float:
    """When the last build ends, where each free machine takes what has the longest path before it.

    Args:
        took: seconds from a trigger to the knowledge of the end, by those that the build runs.
    """
    lasts = [took[runs] for runs in it.runs]
    path = list(lasts)
    for n in reversed(range(len(lasts))):
        for need in it.needs[n]:
            path[need] = max(path[need], lasts[need] + path[n])
    missing = [len(set(one)) for one in it.needs]
    ready = [(-path[n], n) for n, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    began: list[float] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < it.machines and sum(now - at < it.rate.per for at in began) < it.rate.calls:
            n = heapq.heappop(ready)[1]
            began.append(now)
            heapq.heappush(running, (now + lasts[n], n))
        free = began[-it.rate.calls] + it.rate.per if len(began) >= it.rate.calls else now
        if ready and len(running) < it.machines and free > now and (not running or free < running[0][0]):
            now = free
            continue
        now, done = heapq.heappop(running)
        for n, one in enumerate(it.needs):
            if done in one:
                missing[n] -= 1
                if not missing[n]:
                    heapq.heappush(ready, (-path[n], n))
    return now


def planned(it: Graph) -> tuple[Target, ...]:
    made = targets(*(f"acme/r{n}" for n in range(len(it.needs))))
    wanted = [
        replace(one, needs=tuple(made[need].id for need in it.needs[n]), seconds=it.runs[n])
        for n, one in enumerate(made)
    ]
    random.Random(len(wanted)).shuffle(wanted)
    return tuple(wanted)


def cast(it: Graph) -> float:
    account = Account("fake", "fake", FAKE.url, limits=(it.rate,), in_flight=it.machines)
    lengths = {("fake", f"acme/r{n}"): (runs,) for n, runs in enumerate(it.runs)}
    times = Times(latency=0.0, queued={"fake": 0.0}, repos=lengths)
    plan = Plan("p", planned(it), {"fake": account})
    return forecast(plan, {"fake": FAKE}, times=times, advise=False).last_build


def driven(it: Graph) -> float:
    took: list[float] = []

    async def main(kernel) -> None:
        service = FakeService({f"acme/r{n}": Script(runs=runs) for n, runs in enumerate(it.runs)})
        journal = MemoryJournal(now=service.now)
        began = service.now()
        await make_run(journal, planned(it), at=began, in_flight=it.machines, limits=(it.rate,))
        await engine(journal, service).run()
        history = await load(journal, "r1")
        took.append(max(history.of(target.id).verdict.at for target in history.targets) - began)

    in_virtual_time(main, random.Random(1), most_time=1e9)
    return took[0]


@cache
def alone(run) -> dict[float, float]:
    """How long one target takes, from its trigger to the poll that shows the end of its build."""
    return {runs: run(Graph([()], [runs], 1)) for runs in LENGTHS}


def too_long(run, seeds) -> dict[int, float]:
    """The graphs that take longer than they should, and by how much."""
    found = {seed: run(graph(seed)) / list_schedule(graph(seed), alone(run)) for seed in seeds}
    return {seed: over for seed, over in found.items() if over > WITHIN}


def test_what_the_longest_chain_needs_comes_first_and_else_the_order_of_the_plan():
    wanted = [replace(one, seconds=0.0) for one in planned(Graph([(), (0,), (1,), (), (3,), (), ()], [1.0] * 7, 1))]
    order = [wanted[row].repo for row in turns(wanted)]
    assert order[0] == "acme/r0"
    assert set(order[1:3]) == {"acme/r1", "acme/r3"}
    rest = [one.repo for one in wanted if one.repo not in order[:3]]
    assert order[3:] == rest


def test_a_chain_is_as_long_as_its_builds_take_where_earlier_runs_showed_that():
    first, second, long, short = targets("acme/a", "acme/b", "acme/c", "acme/d")
    after = replace(second, needs=(first.id,), seconds=60.0)
    wanted = (short, replace(first, seconds=60.0), after, replace(long, seconds=900.0))
    assert [wanted[row].repo for row in turns(wanted)] == ["acme/c", "acme/a", "acme/d", "acme/b"]


def test_a_chain_that_goes_on_in_a_later_wave_is_no_reason_to_go_first():
    first, second, third, lone = targets("acme/a", "acme/b", "acme/c", "acme/z")
    chain = (replace(second, needs=(first.id,), wave=2), replace(third, needs=(second.id,), wave=2))
    assert turns((lone, first, *chain)) == [2, 0, 1, 3]


def test_without_needs_the_order_is_that_of_the_plan():
    long, short = targets("acme/b", "acme/a")
    assert turns((replace(short, seconds=1.0), replace(long, seconds=2.0))) == range(2)


def test_a_forecast_run_takes_hardly_longer_than_a_list_schedule():
    assert too_long(cast, range(GRAPHS)) == {}


def test_a_few_runs_take_hardly_longer_than_a_list_schedule():
    assert too_long(driven, range(4)) == {}


@pytest.mark.slow
def test_a_run_takes_hardly_longer_than_a_list_schedule():
    assert too_long(driven, range(GRAPHS)) == {}
