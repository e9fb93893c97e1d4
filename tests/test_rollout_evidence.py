"""When a rollout is worse than usual."""

from __future__ import annotations

import math
from itertools import product

import pytest

from orchestrator.core.evidence import Past, Usual, block_sizes, stop_numbers


def exact(chances: list[float], at_least: int) -> float:
    """The probability of so many failures, by going through all that can happen."""
    total = 0.0
    for outcome in product((0, 1), repeat=len(chances)):
        if sum(outcome) >= at_least:
            total += math.prod(p if bad else 1 - p for p, bad in zip(chances, outcome, strict=True))
    return total


def test_blocks_double_from_ten_and_take_in_the_bounds_of_waves():
    assert block_sizes((1, 37, 181, 362), 362) == [10, 20, 37, 40, 80, 160, 181, 320, 362]


def test_below_ten_targets_the_one_block_is_all_of_them():
    assert block_sizes((1, 4, 7), 7) == [7]
    assert block_sizes((), 0) == []


def test_a_bound_that_is_a_doubled_number_is_a_block_once():
    assert block_sizes((10, 20), 20) == [10, 20]


@pytest.mark.parametrize("alpha", [0.1, 0.01, 0.001])
def test_the_stop_number_is_the_least_with_a_tail_of_at_most_alpha(alpha):
    chances = [0.02, 0.5, 0.9, 0.1, 0.3, 0.05, 0.2, 0.01, 0.15, 0.4]
    found = stop_numbers(chances, [10], alpha).get(10, 11)
    assert exact(chances, found) <= alpha
    assert found == 0 or exact(chances, found - 1) > alpha


def test_a_block_that_no_number_of_failures_can_stop_has_none():
    assert stop_numbers([0.9, 0.9], [2], 0.01) == {}


def test_dropping_negligible_chances_changes_no_stop_number():
    chances = [0.05] * 2000
    tail, c = 0.0, 2001
    for k in range(2000, -1, -1):
        log = (
            math.lgamma(2001)
            - math.lgamma(k + 1)
            - math.lgamma(2001 - k)
            + k * math.log(0.05)
            + (2000 - k) * math.log(0.95)
        )
        if tail + math.exp(log) > 0.001:
            break
        tail, c = tail + math.exp(log), k
    assert stop_numbers(chances, [2000], 0.001) == {2000: c}


def test_a_target_that_is_always_red_does_not_count_as_news():
    usual = Usual([Past(3, 3)] * 40 + [Past(0, 3)] * 300)
    assert usual.chance(Past(3, 3)) > 0.85
    assert usual.chance(Past(0, 3)) < 0.06


def test_alike_targets_are_judged_by_the_rate_of_all():
    usual = Usual([Past(n % 20 == 0, 1) for n in range(400)])
    assert abs(usual.chance(Past(1, 1)) - usual.chance(Past(0, 1))) < 0.05


def test_with_few_failures_targets_count_as_alike():
    assert Usual([Past(1, 20)] * 5 + [Past(0, 20)] * 50).chance(Past(0, 20)) == pytest.approx(
        64 / 84 * _raised((1 + 5) / (20 + 1100), 1100)
    )


def _raised(rate: float, known: int) -> float:
    return rate + 1.28 * math.sqrt(rate * (1 - rate) / (20 + known))


def test_fewer_than_fifty_known_outcomes_are_not_enough_to_judge_by():
    assert not Usual([Past(1, 7)] * 7).is_known
    assert Usual([Past(1, 10)] * 5).is_known
