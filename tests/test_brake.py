"""The arithmetic of the brake: caps, the closed loop on a queue, shares of limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.concurrency import Cap, Concurrency, Entry, QueueRule, Quiet, parse_quiet, part
from orchestrator.core.events import from_json, to_json
from orchestrator.core.model import Account, Limit
from orchestrator.limits.budget import Window
from orchestrator.limits.concurrency import Loop, Others, check_concurrency, others_in

RULE = QueueRule(below=40, resume=30, reserve=5)


def loop(allowed=40, others=None, is_held=False, rule=RULE):
    return Loop(rule, allowed, others, is_held)


CAPS = Concurrency((Cap("owner", 10), Cap("owner:acme", 20), Cap("label:core", 5), Cap("label:slow", 1)))


@pytest.mark.parametrize(
    ("owner", "labels", "wanted"),
    [
        ("acme", (), ["in_flight_per_owner 20 of acme"]),
        ("other", (), ["in_flight_per_owner 10 of other"]),
        ("acme", ("nightly", "core"), ["in_flight_per_owner 20 of acme", "in_flight_per_label 5 of core"]),
        (
            "x",
            ("slow", "core"),
            [f"in_flight_per_{cap}" for cap in ("owner 10 of x", "label 1 of slow", "label 5 of core")],
        ),
    ],
)
def test_a_target_falls_under_the_cap_of_its_owner_and_of_each_of_its_labels(owner, labels, wanted):
    assert [str(cap) for cap in CAPS.caps_of(owner, labels)] == wanted


def test_a_cap_for_one_owner_binds_nobody_else():
    assert Concurrency((Cap("owner:acme", 3),)).caps_of("other", ("acme",)) == ()


@pytest.mark.parametrize(
    ("others", "places"),
    [
        (Others(0, 0), 35),  # the reserve is kept although nobody uses it
        (Others(3, 0), 35),
        (Others(5, 0), 35),
        (Others(9, 0), 31),
        (Others(3, 1), 31),  # somebody waits: as much room again as the reserve
        (Others(9, 2), 24),
        (Others(30, 9), 0),
        (Others(500, 9), 0),
        (None, 35),  # it cannot be read: only what the run has there itself counts
    ],
)
def test_the_places_of_a_run_are_what_other_people_leave(others, places):
    assert loop(others=others).places == places


def test_people_who_make_the_queue_too_long_halve_the_runs_places_and_hold_it_until_the_queue_is_short():
    held = loop(others=Others()).seen(Others(20, 5), 20)
    assert (held.is_held, held.allowed, held.places) == (True, 10, 0)
    still = held.seen(Others(20, 0), 10)
    assert (still.is_held, still.places) == (True, 0)
    again = still.seen(Others(20, 0), 9)
    assert (again.is_held, again.allowed, again.places) == (False, 14, 14)


def test_the_places_grow_back_by_a_tenth_of_the_whole_with_every_look():
    grown = [loop(allowed=1)]
    for _ in range(12):
        grown.append(grown[-1].seen(Others(), 0))
    assert [each.allowed for each in grown] == [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 40, 40, 40]


def test_a_queue_that_the_run_itself_fills_halves_nothing():
    full = loop(others=Others(10, 0)).seen(Others(10, 0), 30)
    assert (full.is_held, full.places) == (False, 30)


def test_a_queue_that_cannot_be_read_holds_nothing_but_the_runs_own_number():
    blind = loop(allowed=8, others=Others(50, 3), is_held=True).blind()
    assert (blind.is_held, blind.places) == (False, 8)


@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(0, 60)), max_size=30),
    st.integers(1, 60),
    st.integers(0, 59),
)
def test_whatever_people_do_the_run_never_takes_a_place_of_theirs(looks, below, reserve):
    one = Loop.of(QueueRule(below, max(1, below * 3 // 4), min(reserve, below - 1)))
    for running, waiting, ours in looks:
        one = one.seen(Others(running, waiting), ours)
        assert 1 <= one.allowed <= below
        assert 0 <= one.places <= below - one.rule.reserve
        assert one.places == 0 or one.places + running + waiting <= below


@pytest.mark.parametrize(
    ("is_held", "others", "words"),
    [
        (False, Others(12, 0), "12 builds of others in it"),
        (False, Others(12, 3), "15 builds of others in it, 3 of them waiting"),
        (True, Others(45, 3), "48 builds of others in it, until it falls below 30"),
        (False, None, "it cannot be read, so that only builds of this run are counted"),
    ],
)
def test_a_person_is_told_what_the_queue_is_waited_for(is_held, others, words):
    assert loop(others=others, is_held=is_held).detail == words


NOW = 1_000_000.0
QUEUE = [
    Entry("1", "acme/a", waits=False, since=NOW - 60),
    Entry("2", "acme/a", waits=True, since=NOW - 60),
    Entry("3", "acme/b", waits=True, since=NOW - 90_000),
    Entry("4", "acme/c", waits=True, since=None),
]


@pytest.mark.parametrize(
    ("ours", "unseen", "wanted"),
    [
        ([], [], Others(1, 2)),
        (["1"], [], Others(0, 2)),
        (["3", "9"], [], Others(1, 2)),
        ([], ["acme/a"], Others(0, 2)),  # one build there is taken for the request that has none yet
        ([], ["acme/a", "acme/a", "acme/a"], Others(0, 1)),
        (["1", "2"], ["acme/c", "acme/b"], Others(0, 0)),
    ],
)
def test_a_queue_is_counted_without_our_builds_and_without_dead_ones(ours, unseen, wanted):
    assert others_in(QUEUE, ours, unseen, NOW, 86_400.0) == wanted


@pytest.mark.parametrize(
    ("calls", "share", "wanted"), [(40, 50, 20), (41, 50, 20), (10, 33, 3), (10, 5, 1), (1800, 100, 1800)]
)
def test_a_share_is_rounded_down_and_at_least_one_call(calls, share, wanted):
    assert part(calls, share) == wanted


@pytest.mark.parametrize(
    ("learnt", "wanted"),
    [
        ((20, 3600.0, None), 10),  # the server allows more than the default: half of it
        ((4, 3600.0, None), 2),
        ((0, 3600.0, None), 5),
        ((None, None, 19), 9),  # 19 left: half of 19
        ((None, None, 9), 5),
    ],
)
def test_what_a_server_reveals_is_shared_as_well(learnt, wanted):
    window = Window(Limit("triggers_per_repo", 5, 3600.0, "repo", share=50))
    window.learn(*learnt, now=0.0)
    assert window.calls == wanted


@pytest.mark.parametrize(
    ("brake", "problem"),
    [
        (Concurrency((Cap("owner", 0),)), "below one"),
        (Concurrency(queue=QueueRule(9, 10)), "queue below 9 with resume 10"),
        (Concurrency(queue=QueueRule(9, 5, 9)), "reserve 9"),
        (Concurrency(queue=QueueRule(9, 5, every=0.0)), "every 0 s"),
        (Concurrency(queue=QueueRule(9, 5, every=math.nan)), "every nan s"),
        (Concurrency(quiet=(Quiet((0,), 0, 9, "Mars/Olympus"),)), "unknown time zone 'Mars/Olympus'"),
    ],
)
def test_a_brake_from_a_damaged_journal_is_refused(brake, problem):
    with pytest.raises(ValueError, match=problem):
        check_concurrency(brake, NOW)


def test_a_brake_survives_the_journal():
    brake = Concurrency(CAPS.caps, RULE, (parse_quiet("mon-fri 08:00-18:00 Europe/Berlin"),))
    account = Account(
        "travis", "travis", "https://ci.invalid", limits=(Limit("triggers", 20, 30.0, share=50),), concurrency=brake
    )
    assert from_json(Account, to_json(account)) == account
