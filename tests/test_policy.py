import random
from functools import reduce

import pytest

from orchestrator.core.events import Absent, Doubted, Ended, Intended, Requested, Sighted, Withdrawn
from orchestrator.core.model import Build, BuildState, Outcome, Target, Timeouts
from orchestrator.core.next_step import (
    Ask,
    End,
    Find,
    Nothing,
    Poll,
    backoff,
    next_step,
    poll_interval,
    tick,
    timed_out,
)
from orchestrator.core.progress import NEW, apply

TIMES = Timeouts(settle=60.0, accept=600.0, queue=3600.0, build=1800.0)
TARGET = Target("t:acme/a", "t", "acme/a", timeouts=TIMES)


def after(*events):
    return fold(events)


def step(progress, now=0.0, since=0.0):
    return next_step(TARGET, progress, now, since)


def fold(events):
    return reduce(lambda progress, fact: apply(progress, fact[1], fact[0]), events, NEW)


def test_a_new_target_is_asked_for():
    assert step(NEW) == Ask()


def test_a_withdrawn_attempt_is_asked_again_and_counts_towards_no_clock():
    progress = after((0.0, Intended(TARGET.id, 1, "m")), (1.0, Withdrawn(TARGET.id, 1, "rate_limited")))
    assert step(progress, now=1e9) == Ask()


def test_attempts_that_kept_getting_lost_end_with_the_accept_time():
    progress = after((0.0, Intended(TARGET.id, 1, "m")), (90.0, Absent(TARGET.id, 1, "listing")))
    assert step(progress, now=599.0) == Ask()
    assert step(progress, now=601.0) == End(
        Outcome.TIMED_OUT, "no_build", "no build appeared: every attempt was lost on the way"
    )


def test_a_lost_answer_is_looked_for_soon_and_for_the_accept_time_from_the_later_of_loss_and_start():
    progress = after((0.0, Intended(TARGET.id, 1, "m")), (10.0, Doubted(TARGET.id, 1, "reset", 0.0, 10.0)))
    assert step(progress) == Find(15.0, 610.0)
    assert step(progress, since=5000.0) == Find(15.0, 5600.0)


def test_looking_never_ends_before_the_settle_time_and_three_looks():
    short = Target("t:acme/a", "t", "acme/a", timeouts=Timeouts(settle=60.0, accept=1.0))
    progress = after((0.0, Intended(TARGET.id, 1, "m")), (0.0, Doubted(TARGET.id, 1, "reset", 0.0, 0.0)))
    assert next_step(short, progress, 0.0, 0.0) == Find(5.0, 75.0)


def test_a_verdict_in_doubt_is_taken_up_by_a_later_process_only():
    progress = after(
        (0.0, Intended(TARGET.id, 1, "m")),
        (1.0, Doubted(TARGET.id, 1, "reset", 0.0, 1.0)),
        (700.0, Ended(TARGET.id, Outcome.IN_DOUBT, "in_doubt", "")),
    )
    assert step(progress, since=0.0) == Nothing()
    assert isinstance(step(progress, since=800.0), Find)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (None, Poll(600.0, "no build appeared")),
        (Build("1", BuildState.QUEUED, "created"), Poll(3602.0, "did not start")),
        (Build("1", BuildState.RUNNING, "started", started_at=50.0), Poll(1850.0, "did not end")),
        (Build("1", BuildState.RUNNING, "started"), Poll(1802.0, "did not end")),
        (Build("1", BuildState.PASSED, "passed"), End(Outcome.PASSED, "passed", "build passed")),
        (Build("1", BuildState.FAILED, "failed"), End(Outcome.FAILED, "build_failed", "build failed")),
    ],
)
def test_a_request_is_followed_by_the_clock_of_its_phase(build, expected):
    events = [(0.0, Intended(TARGET.id, 1, "m")), (1.0, Requested(TARGET.id, "7", "answered"))]
    if build is not None:
        events.append((2.0, Sighted(TARGET.id, build)))
    assert step(after(*events)) == expected


@pytest.mark.parametrize("state", [state for state in BuildState if state.is_final])
def test_every_final_state_of_a_build_has_its_verdict(state):
    progress = after((0.0, Requested(TARGET.id, "7", "answered")), (1.0, Sighted(TARGET.id, Build("1", state, "x"))))
    end = step(progress)
    assert isinstance(end, End)
    assert end.outcome.value == ("passed" if state is BuildState.ACCEPTED else state.value)


@pytest.mark.parametrize("why", ["no build appeared", "did not start", "did not end"])
def test_every_clock_has_its_words(why):
    assert timed_out(why).outcome is Outcome.TIMED_OUT


def test_asking_again_waits_with_full_jitter_up_to_half_a_minute():
    dice = random.Random(0)
    waits = [[backoff(n, dice) for _ in range(200)] for n in range(12)]
    assert all(max(some) <= min(30.0, 0.5 * 2**n) for n, some in enumerate(waits))
    assert max(waits[-1]) > 25.0
    assert min(waits[-1]) < 5.0


def test_looks_grow_rarer_with_age_and_share_their_ticks():
    assert poll_interval(0.0) == 5.0
    assert poll_interval(200.0) == 25.0
    assert poll_interval(1e6) == 60.0
    assert {tick(at) for at in (10.1, 12.0, 15.0)} == {15.0}
