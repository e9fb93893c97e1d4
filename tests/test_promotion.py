"""The fold of a rollout by itself: what stops a run, with which numbers, and that a resumed run decides alike."""

from random import Random

import pytest

from orchestrator.core.course import Course
from orchestrator.core.events import Ended, Intended, Requested, Stopped, WaveJudged, WaveOpened
from orchestrator.core.evidence import Block
from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome, Target
from orchestrator.core.progress import NEW, apply
from orchestrator.core.promotion import Promotion
from orchestrator.core.rollout import cut
from orchestrator.core.stop_rules import Counts, Rules, allowed_failures, failed, in_a_row, max_fail, worse_than_usual
from orchestrator.core.waves import Rollout, StopWhen, WaveRule

PASSED, FAILED, DOUBT, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.IN_DOUBT, Outcome.SKIPPED


class Fold:
    """A promotion over so many targets, of which wave 1 is open."""

    def __init__(self, number, *waves, max_fail=None, **when):
        rules = StopWhen(**when)
        self.rollout = Rollout(tuple(WaveRule(wave) for wave in waves), stop_when=rules)
        plan = cut([Target(f"fake:r{n}", "fake", f"acme/r{n}") for n in range(number)], self.rollout, "r1", {})
        self.targets, self.waves, self.max_fail = plan.targets, plan.waves, max_fail
        self.progress, self.course, self.facts = {}, Course(), []
        self.course.add(WaveOpened(1), 0.0)
        self.fold = self.made()

    def made(self):
        return Promotion(self.targets, self.waves, self.rollout, self.max_fail, DEFAULT_FAIL_ON, self.course)

    def sent(self, *rows, at=1.0):
        for row in rows:
            id_ = self.targets[row].id
            known = apply(self.progress.get(id_, NEW), Intended(id_, 1, None), at)
            self.progress[id_] = apply(known, Requested(id_, "1", "answered"), at)
            self.fold.was_sent(id_, at)

    def ends(self, row, outcome, at):
        id_ = self.targets[row].id
        self.progress[id_] = apply(self.progress.get(id_, NEW), Ended(id_, outcome, "", ""), at)
        facts = self.fold.settle(id_, self.progress[id_])
        for fact in facts:
            self.course.add(fact, at)
        self.facts += facts
        return facts

    @property
    def stops(self):
        return [fact.rule for fact in self.facts if isinstance(fact, Stopped)]


def test_in_a_row_skipped_and_doubtful_targets_neither_count_nor_break():
    fold = Fold(10, "100%", in_a_row=3)
    fold.sent(*range(10))
    for row, outcome in enumerate([FAILED, FAILED, SKIPPED, DOUBT]):
        assert fold.ends(row, outcome, 10.0 + row) == []
    assert [fact.rule for fact in fold.ends(4, FAILED, 20.0)] == ["in_a_row"]


def test_in_a_row_goes_by_the_time_of_ending_however_late_that_becomes_known():
    fold = Fold(10, "100%", in_a_row=3)
    fold.sent(*range(10))
    fold.ends(0, FAILED, 10.0)
    fold.ends(1, FAILED, 12.0)
    fold.ends(2, PASSED, 13.0)
    assert [fact.rule for fact in fold.ends(3, FAILED, 11.0)] == ["in_a_row"]


def test_a_share_is_of_those_sent_without_what_was_skipped_or_is_in_doubt():
    fold = Fold(20, "100%", failed="50%", after=4)
    fold.sent(*range(8))
    for row, outcome in enumerate([DOUBT, DOUBT, FAILED, FAILED]):
        assert fold.ends(row, outcome, 10.0 + row) == []
    fold.ends(4, PASSED, 20.0)
    (stop,) = fold.ends(5, FAILED, 21.0)
    assert stop.arithmetic == "3 bad of 6 sent (50.0 %), 50% stop the run"


def test_a_share_counts_what_was_sent_until_then_and_nothing_of_later():
    fold = Fold(20, "100%", failed="50%", after=2)
    fold.sent(0, 1, 2, 3)
    fold.sent(*range(4, 20), at=11.5)
    fold.ends(0, FAILED, 10.0)
    assert fold.ends(1, FAILED, 11.0) != []


def test_a_refused_target_counts_among_those_sent():
    rules, counts = Rules(StopWhen(failed="20%", after=1)), Counts(sent=5, settled=5, bad=1)
    assert failed(rules, counts).holds


def test_a_share_of_nothing_bad_stops_nothing():
    assert not failed(Rules(StopWhen(failed="0%", after=0)), Counts(sent=9, settled=9)).holds


@pytest.mark.parametrize(
    ("rule", "total", "allowed"), [("5", 100, 5), ("20%", 11, 3), ("7%", 100, 7), ("0.1%", 10, 1), ("1", 0, 1)]
)
def test_max_fail_is_a_number_or_a_share_of_all_rounded_up(rule, total, allowed):
    assert allowed_failures(rule, total) == allowed
    assert max_fail(Rules(max_fail=rule), Counts(targets=total, bad=allowed)).holds
    assert not max_fail(Rules(max_fail=rule), Counts(targets=total, bad=allowed - 1)).holds


def test_rules_that_are_not_written_say_nothing():
    for rule in (failed, in_a_row, worse_than_usual, max_fail):
        assert rule(Rules(), Counts(bad=1000, settled=1000, sent=1000, in_a_row=1000)) is None


def test_worse_than_usual_names_the_block_that_stops():
    rules = Rules(StopWhen(worse_than_usual=0.01))
    counts = Counts(blocks=[(Block(10, 4), 1), (Block(20, 6), 6)], has_block=True)
    look = worse_than_usual(rules, counts)
    assert look.holds
    assert look.arithmetic.startswith("6 of the first 20 bad, 6 stop the run")


def test_the_wave_of_the_last_target_is_judged_before_the_run_stops():
    fold = Fold(4, "2", "100%", failed="1")
    fold.sent(0, 1)
    fold.ends(0, PASSED, 10.0)
    assert [type(fact) for fact in fold.ends(1, FAILED, 11.0)] == [WaveJudged, Stopped]


def test_a_wave_of_doubts_alone_has_nothing_that_passed_and_one_of_skipped_targets_was_not_sent():
    fold = Fold(4, "1", "100%")
    judged, stop = fold.ends(0, DOUBT, 10.0)
    assert (judged.verdict, stop.rule) == ("stop", "nothing_passed")
    fold = Fold(4, "1", "100%")
    (judged,) = fold.ends(0, SKIPPED, 10.0)
    assert judged.verdict == "go"


def test_what_was_judged_is_not_judged_again():
    fold = Fold(4, "2", "100%")
    fold.sent(0, 1)
    fold.ends(0, PASSED, 10.0)
    fold.ends(1, PASSED, 11.0)
    again = fold.made()
    assert again.take_up(fold.progress) == []
    assert again.follow_up(20.0) == []
    assert again.to_open(20.0) == 2


def test_a_resumed_run_decides_as_the_first_one_would_have():
    for seed in range(300):
        dice = Random(seed)
        when = {
            "failed": dice.choice(("", "2", "40%")),
            "after": dice.choice((1, 4)),
            "in_a_row": dice.choice((None, 2, 3)),
            "nothing_passed": dice.random() < 0.5,
        }
        number = dice.choice((3, 6, 9))
        fold = Fold(number, "50%", "100%", max_fail=dice.choice((None, "3")), **when)
        first = [row for row, target in enumerate(fold.targets) if target.wave == 1]
        fold.sent(*first)
        outcomes = [(row, dice.choice((PASSED, FAILED, FAILED, DOUBT, SKIPPED)), 10.0 + row) for row in first]
        dice.shuffle(outcomes)
        outcomes.sort(key=lambda one: one[2])
        for row, outcome, at in outcomes:
            if fold.fold.is_stopped:
                break
            fold.ends(row, outcome, at)
        told, fold.course = fold.facts, Course()  # as if nothing of it had been journaled
        fold.course.add(WaveOpened(1), 0.0)
        assert fold.made().take_up(fold.progress) == told, seed


def test_after_an_override_only_what_is_settled_later_counts():
    fold = Fold(30, "20", "100%", failed="2", in_a_row=2)
    fold.sent(*range(20))
    fold.ends(0, FAILED, 10.0)
    assert fold.ends(1, FAILED, 11.0) != []
    over = fold.fold.overridden(fold.facts[-1], 2, 12.0)
    fold.course.add(over, 12.0)
    assert over.until >= 12.0
    assert fold.ends(2, FAILED, 13.0) == []
    again = fold.made()
    assert again.take_up(fold.progress) == []
    assert [fact.rule for fact in fold.ends(3, FAILED, 14.0)] == ["failed"]


def test_later_evidence_replaces_what_was_counted():
    fold = Fold(10, "100%", failed="2", in_a_row=5)
    fold.sent(*range(10))
    fold.ends(0, Outcome.TIMED_OUT, 10.0)
    fold.ends(0, PASSED, 12.0)
    assert fold.ends(1, FAILED, 13.0) == []
    assert fold.fold.counts(13.0).bad == 1
