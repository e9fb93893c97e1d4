"""The end of random rollouts is forecast: waves, soaks, needs, reruns, stop rules, builds that wait for the service."""

from random import Random
from statistics import median

import pytest
from random_rollouts import ON_ONE, estate, played

from orchestrator.core.frozen import replace

WITHIN = 0.10
PARTS, ESTATES = 4, 25


def off_by(seeds, rollouts=ON_ONE, **more):
    return median(told.off_by for seed in seeds for told in played(seed, rollouts, **more))


def test_the_end_of_a_dozen_random_rollouts_is_forecast():
    assert off_by(range(1000, 1004), 3) <= WITHIN


@pytest.mark.slow
def test_what_earlier_runs_showed_of_the_services_bound_is_what_the_end_is_forecast_by():
    crowded = [8, 16]
    assert all(estate(Random(f"estate {seed}")).concurrency == 2 for seed in crowded)
    assert off_by(crowded, 4) <= WITHIN
    assert off_by(crowded, 4, knows=lambda times: replace(times, at_once={})) > 2 * WITHIN


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_the_end_of_a_thousand_random_rollouts_is_forecast(part):
    assert PARTS * ESTATES * ON_ONE >= 1000
    assert off_by(range(part * ESTATES, (part + 1) * ESTATES)) <= WITHIN
