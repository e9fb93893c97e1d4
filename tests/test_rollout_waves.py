"""How the targets of a run are cut into waves."""

from __future__ import annotations

import random

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.core.model import Target
from orchestrator.core.rollout import Cut, cut, falls
from orchestrator.core.waves import Rollout, WaveRule

CANARY = (WaveRule("1"), WaveRule("10%"), WaveRule("50%"), WaveRule("100%"))


def made(count: int, needs: dict[int, tuple[int, ...]] | None = None, labels: dict[int, tuple[str, ...]] | None = None):
    return [
        Target(
            f"t{n}",
            "a",
            f"acme/r{n}",
            needs=tuple(f"t{m}" for m in (needs or {}).get(n, ())),
            labels=(labels or {}).get(n, ()),
        )
        for n in range(count)
    ]


def sizes(found: Cut) -> list[int]:
    counts = [wave.targets for wave in found.waves]
    assert counts == [len(ids(found, wave.number)) for wave in found.waves]
    return counts


def ids(found: Cut, wave: int = 1) -> list[str]:
    """Of the targets of a wave, in the order of triggering."""
    return [target.id for target in found.targets if target.wave == wave and target.skip is None]


def cut_of(targets, *rules: WaveRule, order: str = "file", seconds=None) -> Cut:
    return cut(targets, Rollout(tuple(rules), order), "run-1", seconds or {})


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (10, [1, 1, 3, 5]), (61, [1, 6, 24, 30]), (362, [1, 36, 144, 181])],
)
def test_bounds_are_cumulative_rounded_up_and_each_wave_has_at_least_one_target(count, expected):
    assert sizes(cut_of(made(count), *CANARY)) == expected


def test_a_share_is_exact_however_it_is_written():
    assert sizes(cut_of(made(1000), WaveRule("0.1%"), WaveRule("100%"))) == [1, 999]


def test_what_no_wave_holds_stands_in_a_last_one_named_rest():
    found = cut_of(made(10), WaveRule("2"))
    assert [(wave.name, wave.targets) for wave in found.waves] == [("1", 2), ("rest", 8)]


def test_without_waves_there_is_one():
    assert sizes(cut_of(made(7))) == [7]


def test_no_targets_make_no_wave():
    assert cut_of([], *CANARY).waves == []


def test_what_is_skipped_counts_in_no_share_and_stands_in_the_first_wave():
    targets = [*made(10), Target("frozen", "a", "acme/frozen", skip="until March")]
    found = cut_of(targets, WaveRule("50%"), WaveRule("100%"))
    assert sizes(found) == [5, 5]
    assert [t.wave for t in found.targets if t.skip] == [1]


def test_a_wave_by_labels_draws_forward_what_its_targets_need():
    found = cut_of(
        made(6, needs={4: (2,), 2: (1,)}, labels={4: ("canary",)}), WaveRule(labels=("canary",), name="canary")
    )
    assert ids(found) == ["t1", "t2", "t4"]
    assert found.drawn == ["t1", "t2"]
    assert ids(found, 2) == ["t0", "t3", "t5"]


def test_a_wave_by_labels_without_targets_falls_away_and_is_named():
    found = cut_of(made(3), WaveRule(labels=("canary",), name="canary"), WaveRule("100%", name="all"))
    assert ([wave.number for wave in found.waves], found.waves[0].name, found.empty) == ([1], "all", ["canary"])


def test_no_target_stands_in_an_earlier_wave_than_its_needs_or_before_them():
    chance = random.Random(7)
    for _ in range(100):
        count = chance.randint(1, 60)
        needs = {n: tuple(chance.sample(range(n), min(n, chance.randint(0, 3)))) for n in range(count)}
        labels = {n: ("canary",) for n in range(count) if chance.random() < 0.1}
        targets = made(count, needs, labels)
        chance.shuffle(targets)
        found = cut_of(targets, WaveRule(labels=("canary",)), *CANARY, order="shuffle")
        place = {t.id: number for number, t in enumerate(found.targets)}
        wave = {t.id: t.wave for t in found.targets}
        assert sorted(place) == sorted(t.id for t in targets)
        for target in targets:
            assert all(place[need] < place[target.id] and wave[need] <= wave[target.id] for need in target.needs)


def test_the_first_in_order_whose_needs_are_placed_is_next():
    found = cut_of(made(4, needs={0: (3,)}))
    assert ids(found) == ["t1", "t2", "t3", "t0"]


def test_shuffling_depends_on_run_and_target_alone():
    one, other = (ids(cut_of(targets, order="shuffle")) for targets in (made(50), made(50)[::-1]))
    assert one == other != [t.id for t in made(50)]


def test_without_a_history_a_target_counts_as_the_median_of_the_known():
    seconds = {"t0": 30.0, "t1": 10.0, "t3": 20.0}
    assert ids(cut_of(made(4), order="fastest", seconds=seconds)) == ["t1", "t2", "t3", "t0"]
    assert ids(cut_of(made(4), order="slowest", seconds=seconds)) == ["t0", "t2", "t3", "t1"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("50%", "10%", True), ("20", "10", True), ("1", "10%", False), ("50%", "10", False), ("10%", "10.0%", False)],
)
def test_a_bound_falls_below_one_of_its_own_kind_alone(before, after, expected):
    assert falls(before, after) == expected


def test_two_waves_of_one_name_are_an_error():
    with pytest.raises(UsageError, match="two waves are named a"):
        cut_of(made(10), WaveRule("1", name="a"), WaveRule("100%", name="a"))


def test_nothing_waits_behind_the_last_wave():
    found = cut(made(10), Rollout(CANARY, approve=True, soak=60.0), "r", {})
    assert [(wave.approve, wave.soak) for wave in found.waves] == [(True, 60.0)] * 3 + [(False, 0.0)]
