"""How long runs with needs take, beside a list schedule by longest remaining path that knows nothing of ours."""

from __future__ import annotations

import heapq
import random

import pytest
from fake_service import FAKE, FakeService, Script, make_run, targets
from test_engine import engine

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Plan, Target
from orchestrator.core.rollout import turns
from orchestrator.forecast import Times, forecast
from orchestrator.journal.history import load
from orchestrator.testing import MemoryJournal

GRAPHS = 200
RUNS = 300.0  # seconds that a build runs
WITHIN = 1.05


def graph(seed: int, largest: int = 60) -> list[tuple[int, ...]]:
    """For each target what it needs, by number."""
    chance = random.Random(seed)
    count, most = chance.randint(10, largest), chance.randint(1, 4)
    return [
        tuple(chance.sample(range(max(0, n - 15), n), min(n, 15, chance.randint(0, most))))
        if chance.random() < 0.8
        else ()
        for n in range(count)
    ]


def list_schedule(needs: list[tuple[int, ...]], machines: int, took: float) -> float:
    """When the last build ends, where each free machine takes what has the longest path before it."""
    path = [1] * len(needs)
    for n in reversed(range(len(needs))):
        for need in needs[n]:
            path[need] = max(path[need], path[n] + 1)
    missing = [len(set(one)) for one in needs]
    ready = [(-path[n], n) for n, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < machines:
            heapq.heappush(running, (now + took, heapq.heappop(ready)[1]))
        now, done = heapq.heappop(running)
        for n, one in enumerate(needs):
            if done in one:
                missing[n] -= 1
                if not missing[n]:
                    heapq.heappush(ready, (-path[n], n))
    return now


def planned(needs: list[tuple[int, ...]]) -> tuple[Target, ...]:
    made = targets(*(f"acme/r{n}" for n in range(len(needs))))
    shuffled = [replace(one, needs=tuple(made[need].id for need in needs[n])) for n, one in enumerate(made)]
    random.Random(len(needs)).shuffle(shuffled)
    return tuple(shuffled)


def test_what_the_longest_chain_needs_comes_first_and_else_the_order_of_the_plan():
    wanted = planned([(), (0,), (1,), (), (3,), (), ()])
    order = [wanted[row].repo for row in turns(wanted)]
    assert order[:3] in (["acme/r0", "acme/r1", "acme/r3"], ["acme/r0", "acme/r3", "acme/r1"])
    rest = [one.repo for one in wanted if one.repo not in order[:3]]
    assert order[3:] == rest


def test_a_chain_that_goes_on_in_a_later_wave_is_no_reason_to_go_first():
    first, second, third, lone = targets("acme/a", "acme/b", "acme/c", "acme/z")
    chain = (replace(second, needs=(first.id,), wave=2), replace(third, needs=(second.id,), wave=2))
    assert turns((lone, first, *chain)) == [2, 0, 1, 3]


def test_without_needs_the_order_is_that_of_the_plan():
    assert turns(targets("acme/b", "acme/a")) == range(2)


def test_a_forecast_run_takes_hardly_longer_than_a_list_schedule():
    times = Times(latency=0.0, queued={"fake": 0.0}, accounts={"fake": (RUNS,)})

    def cast(needs, machines):
        account = Account("fake", "fake", FAKE.url, in_flight=machines)
        plan = Plan("p", planned(needs), {"fake": account})
        return forecast(plan, {"fake": FAKE}, times=times, advise=False).last_build

    alone = cast([()], 1)  # from the trigger to the poll that shows the end
    for seed in range(GRAPHS):
        needs, machines = graph(seed), random.Random(seed).randint(2, 8)
        assert cast(needs, machines) <= WITHIN * list_schedule(needs, machines, alone)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_run_takes_hardly_longer_than_a_list_schedule():
    async def run(needs, machines):
        service = FakeService({f"acme/r{n}": Script(runs=RUNS) for n in range(len(needs))})
        journal = MemoryJournal(now=service.now)
        began = service.now()
        await make_run(journal, planned(needs), at=began, in_flight=machines)
        await engine(journal, service).run()
        history = await load(journal, "r1")
        return max(history.of(target.id).verdict.at for target in history.targets) - began

    alone = await run([()], 1)
    for seed in range(GRAPHS):
        needs, machines = graph(seed, 25), random.Random(seed).randint(2, 8)
        assert await run(needs, machines) <= WITHIN * list_schedule(needs, machines, alone)
