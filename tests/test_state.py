from functools import reduce

import pytest

from orchestrator.core.events import (
    Absent,
    Doubted,
    Ended,
    Intended,
    Refused,
    Requested,
    Restarted,
    Sighted,
    Skipped,
    Withdrawn,
)
from orchestrator.core.model import Build, BuildState, Outcome, Phase
from orchestrator.core.progress import NEW, apply

T = "travis:acme/a"
ASKED = (1.0, Intended(T, 1, "m"))
LOST = (2.0, Doubted(T, 1, "reset", 1.0, 2.0))
TAKEN = (3.0, Requested(T, "7", "answered"))
PASSED = Build("b", BuildState.PASSED, "passed")


def fold(events):
    return reduce(lambda progress, fact: apply(progress, fact[1], fact[0]), events, NEW)


def test_an_intent_may_have_made_a_request_until_something_says_otherwise():
    assert fold([ASKED]).may_exist
    assert fold([ASKED, LOST]).may_exist
    assert not fold([ASKED, (2.0, Withdrawn(T, 1, "unreachable"))]).may_exist
    assert not fold([ASKED, LOST, (90.0, Absent(T, 1, "listing"))]).may_exist
    assert fold([ASKED, TAKEN]).may_exist


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ([], Phase.WAITING),
        ([ASKED], Phase.REQUESTED),
        ([ASKED, TAKEN], Phase.REQUESTED),
        ([ASKED, TAKEN, (4.0, Sighted(T, Build("b", BuildState.QUEUED, "created")))], Phase.QUEUED),
        ([ASKED, TAKEN, (4.0, Sighted(T, Build("b", BuildState.RUNNING, "started")))], Phase.RUNNING),
        ([ASKED, (2.0, Refused(T, "not_found", "no such repo"))], Phase.DONE),
        ([(1.0, Skipped(T, "frozen"))], Phase.DONE),
    ],
)
def test_the_phase_follows_from_the_facts(events, phase):
    assert fold(events).phase is phase


@pytest.mark.parametrize("outcome", list(Outcome))
def test_later_evidence_replaces_exactly_the_provisional_outcomes(outcome):
    progress = fold([ASKED, TAKEN, (9.0, Ended(T, outcome, "c", "r")), (10.0, Sighted(T, PASSED))])
    assert (progress.verdict is None) == outcome.is_provisional


def test_a_found_request_replaces_the_verdict_in_doubt():
    in_doubt = (700.0, Ended(T, Outcome.IN_DOUBT, "in_doubt", "lost"))
    progress = fold([ASKED, LOST, in_doubt, (800.0, Requested(T, "7", "found"))])
    assert progress.verdict is None
    assert progress.triggered_at == 1.0


def test_a_restart_opens_a_final_outcome_again():
    ended = (9.0, Ended(T, Outcome.FAILED, "build_failed", "build failed"))
    progress = fold([ASKED, TAKEN, (5.0, Sighted(T, PASSED)), ended, (20.0, Restarted(T, "b"))])
    assert progress.verdict is None
    assert progress.build is None
    assert progress.request is not None


def test_the_deciding_build_stays_the_one_that_was_first():
    second = Build("c", BuildState.RUNNING, "started")
    progress = fold([ASKED, TAKEN, (5.0, Sighted(T, PASSED)), (6.0, Sighted(T, second))])
    assert [build.id for build in progress.builds] == ["b", "c"]


def test_a_place_in_a_queue_gives_way_to_the_build_that_it_becomes():
    waiting = Build("queue-7", BuildState.QUEUED, "queued")
    begun = Build("12", BuildState.RUNNING, "building", replaces="queue-7")
    ended = Build("12", BuildState.PASSED, "SUCCESS", replaces="queue-7")
    progress = fold([ASKED, TAKEN, (5.0, Sighted(T, waiting)), (6.0, Sighted(T, begun)), (9.0, Sighted(T, ended))])
    assert progress.builds == (ended,)
