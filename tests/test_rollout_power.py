"""`worse_than_usual` keeps its promise over simulated rollouts, and needs each of its parts for that."""

from pathlib import Path

import pytest
from rollout_power import ALPHA, EACH, ESTATES, HISTORIES, RUNS, healthy, noticed, partly_red, simulate

from orchestrator.core import evidence

PAGE = Path(__file__).parent.parent / "docs" / "rollouts.md"
ALIKE, RARE, RED, SPREAD = ESTATES


def stopped(estate, runs, factor=1.0, histories=60):
    return simulate(ESTATES[estate], runs, factor, histories).share


@pytest.mark.parametrize("estate", ESTATES)
def test_a_rollout_that_fails_as_usual_is_hardly_ever_stopped(estate):
    assert max(stopped(estate, runs) for runs in RUNS) <= 2 * ALPHA  # of few rollouts


@pytest.mark.slow
@pytest.mark.parametrize("estate", ESTATES)
@pytest.mark.parametrize("runs", RUNS)
def test_over_ten_thousand_rollouts_no_more_are_stopped_than_is_said(estate, runs):
    assert HISTORIES * EACH >= 10_000
    assert stopped(estate, runs, histories=HISTORIES) <= ALPHA


def test_what_fails_far_more_often_than_usual_is_noticed():
    assert simulate(partly_red, 3, 5.0, 40).share > 0.95
    found = simulate(ESTATES[ALIKE], 3, 3.0, 40)
    assert found.share > 0.95
    assert found.by_target < 150


def test_without_what_the_usual_rate_may_be_wrong_by_too_many_are_stopped(monkeypatch):
    monkeypatch.setattr(evidence, "UNSURE", 0.0)
    assert stopped(SPREAD, 1) > ALPHA


def test_without_sharing_the_error_between_the_blocks_too_many_are_stopped(monkeypatch):
    whole, blocks = evidence.stop_numbers, 9
    monkeypatch.setattr(evidence, "stop_numbers", lambda chances, sizes, alpha: whole(chances, sizes, alpha * blocks))
    assert stopped(RED, 3) > ALPHA


def test_without_drawing_a_target_towards_the_others_too_many_are_stopped(monkeypatch):
    monkeypatch.setattr(evidence, "_likeliest", lambda seen, rate: evidence.WEIGHTS[0])
    assert stopped(SPREAD, 2) > ALPHA


def test_without_the_history_of_each_target_little_is_noticed_where_many_are_always_red(monkeypatch):
    monkeypatch.setattr(evidence, "_likeliest", lambda seen, rate: evidence.WEIGHTS[-1])
    assert stopped(RED, 3, 3.0) < 0.1


def test_with_a_weight_fitted_to_few_failures_too_many_are_stopped(monkeypatch):
    monkeypatch.setattr(evidence, "FEW_FAILURES", 0)
    assert stopped(RARE, 2, histories=200) > ALPHA


@pytest.mark.slow
def test_the_tables_of_the_page_are_of_a_run_of_this():
    page = PAGE.read_text(encoding="utf-8")
    assert healthy() in page
    assert noticed() in page
