import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.model import ACCOUNT, Learnt, Limit, Scope
from orchestrator.limits.budget import Budget, Permit, Window

TRIGGERS = Limit("triggers", 4, 10.0)
CALLS = Limit("calls", 100, 60.0)
PER_REPO = Limit("triggers_per_repo", 2, 3600.0, "repo")
ALL = ("triggers", "calls", "triggers_per_repo")


def budget(*limits):
    return Budget(limits or (TRIGGERS, CALLS, PER_REPO), frozenset({"triggers_per_repo"}))


def test_a_window_is_free_until_its_calls_are_made():
    window = Window(TRIGGERS)
    for _ in range(4):
        assert window.wait(0.0) == 0.0
        Permit([window]).answered(1.0)
    assert window.wait(1.0) == 10.0


def test_a_call_counts_until_the_period_after_it_was_answered():
    window = Window(Limit("triggers", 1, 10.0))
    permit = Permit([window])
    assert window.wait(100.0) == math.inf
    permit.answered(103.0)
    assert window.wait(105.0) == 8.0
    assert window.wait(113.0) == 0.0


def test_a_permit_that_is_given_back_counts_nowhere():
    window = Window(Limit("triggers", 1, 10.0))
    permit = Permit([window])
    permit.give_back()
    permit.answered(0.0)
    assert window.wait(0.0) == 0.0


def test_what_the_provider_refused_does_not_count_where_only_accepted_ones_count():
    one = budget()
    one.take(ALL, "acme/a").answered(0.0, refused=True)
    one.take(ALL, "acme/a").answered(0.0)
    assert one.wait(ALL, "acme/a", 0.0) == (0.0, "")
    one.take(ALL, "acme/a").answered(0.0)
    assert one.wait(ALL, "acme/a", 0.0) == (3600.0, "triggers_per_repo 2/1h")


def test_a_repository_that_waits_holds_nobody_else_up():
    one = budget()
    for _ in range(2):
        one.take(ALL, "acme/a").answered(0.0)
    assert one.wait(ALL, "acme/a", 0.0)[0] == 3600.0
    assert one.wait(ALL, "acme/b", 0.0)[0] == 0.0
    assert one.wait_account(ALL, 0.0)[0] == 0.0


def test_a_freeze_holds_for_exactly_its_scope_and_is_never_shortened():
    one = budget()
    one.freeze(Scope("owner", "acme"), 50.0, "no credit")
    one.freeze(Scope("owner", "acme"), 20.0, "later news")
    assert one.wait(ALL, "acme/a", 10.0) == (40.0, "no credit")
    assert one.wait(ALL, "umbrella/a", 10.0)[0] == 0.0
    assert one.wait(ALL, "acme/a", 50.0)[0] == 0.0


def test_looks_leave_room_for_the_triggers_that_may_come():
    one = budget(Limit("triggers", 40, 30.0), Limit("calls", 1800, 60.0))
    for _ in range(1720):
        one.take(("calls",), None).answered(0.0)
    assert one.wait(("calls",), None, 0.0, look=True)[0] > 0.0
    assert one.wait(("calls",), None, 0.0)[0] == 0.0


def test_a_default_follows_what_the_server_reveals_in_both_directions():
    for calls in (1, 50):
        one = budget()
        assert one.learn(Learnt("triggers_per_repo", Scope.of("repo:acme/a"), calls, 3600.0), 0.0)
        for _ in range(calls):
            assert one.wait(("triggers_per_repo",), "acme/a", 0.0)[0] == 0.0
            one.take(("triggers_per_repo",), "acme/a").answered(0.0)
        assert one.wait(("triggers_per_repo",), "acme/a", 0.0)[0] == 3600.0


def test_a_written_limit_is_only_ever_tightened():
    one = budget(Limit("triggers_per_repo", 5, 3600.0, "repo", written=True))
    assert not one.learn(Learnt("triggers_per_repo", Scope.of("repo:acme/a"), 50, 3600.0), 0.0)
    assert one.learn(Learnt("triggers_per_repo", Scope.of("repo:acme/a"), 1, 3600.0), 0.0)


def test_the_last_call_of_a_repo_is_not_probed_when_the_server_said_that_none_is_left():
    one = budget()
    one.take(("triggers_per_repo",), "acme/a").answered(100.0)
    one.learn(Learnt("triggers_per_repo", Scope.of("repo:acme/a"), left=0), 100.0)
    assert one.wait(("triggers_per_repo",), "acme/a", 100.0)[0] == 3600.0


@pytest.mark.parametrize("calls", [-5, 0])
def test_a_limit_that_makes_no_sense_is_not_believed(calls):
    one = budget()
    assert not one.learn(Learnt("triggers_per_repo", Scope.of("repo:acme/a"), calls, 3600.0, left=-3), 0.0)
    assert one.wait(("triggers_per_repo",), "acme/a", 0.0)[0] == 0.0


def test_calls_of_an_earlier_process_count():
    one = budget()
    for _ in range(4):
        one.remember("triggers", ACCOUNT, 5.0)
    assert one.wait(ALL, "acme/a", 6.0)[0] == 9.0


def server_windows_hold(stamps, limit):
    """The server's own sliding window: over no period more than the limit."""
    ordered = sorted(stamps)
    return all(later - first >= limit.per for first, later in zip(ordered, ordered[limit.calls :], strict=False))


@settings(max_examples=150, deadline=None)
@given(
    calls=st.integers(1, 12),
    per=st.sampled_from([1.0, 7.0, 30.0]),
    latency=st.floats(0.001, 3.0),
    seed=st.integers(0, 2**32),
)
def test_no_window_of_the_servers_ever_sees_more_calls_than_the_limit(calls, per, latency, seed):
    """Whatever the network does, and with the server's clock running in between departure and answer."""
    dice, limit = random.Random(seed), Limit("triggers", calls, per)
    one = Budget([limit])
    now, under_way, stamps = 0.0, [], []
    for _ in range(120):
        delay = one.wait(("triggers",), None, now)[0]
        while delay > 0.0:
            answers = [at for at, _ in under_way if at <= now + delay]
            if answers:
                now = min(answers)
                index = next(n for n, (at, _) in enumerate(under_way) if at == now)
                under_way.pop(index)[1].answered(now)
            else:
                now += delay
            delay = one.wait(("triggers",), None, now)[0]
        total = dice.uniform(0.0, latency)
        stamps.append(now + dice.uniform(0.0, total))
        under_way.append((now + total, one.take(("triggers",), None)))
    assert server_windows_hold(stamps, limit)


def test_windows_of_single_repositories_do_not_pile_up():
    one = budget()
    for n in range(20_000):
        one.take(("triggers_per_repo",), f"acme/r{n}").answered(float(n))
    windows = one._windows["triggers_per_repo"]
    assert len(windows) < 9_000
    assert all(a <= b for a, b in pairwise(sorted(w.answered[0] for w in windows.values())))
