"""The verdict in each state, held against the sentence that a person is to read."""

import re

import pytest
from golden.story import ACCOUNTS, CASES, START, TRAVIS, read, target, told

from orchestrator.core.concurrency import parse_quiet
from orchestrator.core.errors import Exit
from orchestrator.core.events import (
    CANCELED,
    AccountStopped,
    Ended,
    Intended,
    Interrupted,
    PauseAsked,
    Refused,
    Requested,
    RunEnded,
    RunMade,
    Sighted,
    Skipped,
    Stopped,
    WaveJudged,
    WaveOpened,
    to_json,
)
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Outcome
from orchestrator.core.options import RunOptions
from orchestrator.core.waves import Rollout, StopWhen, Wave
from orchestrator.engine.counts import Counts
from orchestrator.engine.snapshot import taken
from orchestrator.report.marks import Meaning
from orchestrator.report.verdict import Ahead, State, nothing_selected, verdict, verdict_now
from orchestrator.report.view import view

NAMES = [f"travis:acme/r{n}@main" for n in range(10)]


def seen(*facts, names=NAMES, made=None, now=100.0, **fields):
    story = told([target(name, **fields) for name in names], *facts, made=made, now=now)
    return view(story.run_id, story.history, story.now)


def passed(*names, at=30):
    return [(at, Ended(name, Outcome.PASSED, "passed", "build passed")) for name in names]


def failed(*names, at=20):
    return [(at, Ended(name, Outcome.FAILED, "build_failed", "build failed")) for name in names]


def asked(*names, at=5):
    return [fact for name in names for fact in ((at, Intended(name, 1, None)), (at, Requested(name, "1", "answered")))]


def of(*facts, **more):
    return verdict(seen(*facts, **more))


def test_all_passed_is_said_in_three_words():
    found = of(*passed(*NAMES), (40, RunEnded(0)))
    assert (found.state, found.pill, found.meaning, found.symbol) == (
        State.PASSED,
        "passed · exit 0",
        Meaning.GOOD,
        "✓",
    )
    assert (found.sentence, found.then, found.command) == ("All 10 passed.", "Nothing to do.", "")


def test_one_target_is_not_all_of_them():
    assert of(*passed(NAMES[0]), (40, RunEnded(0)), names=NAMES[:1]).sentence == "The one target passed."


def test_a_forecast_stands_beside_what_was():
    made = RunMade(
        "n", "n.yaml", "", accounts=ACCOUNTS, forecast={"last_trigger_seconds": 20, "last_build_seconds": 60}
    )
    facts = [*asked(*NAMES), *[(9, Sighted(name, Build("1", BuildState.PASSED, "passed"))) for name in NAMES]]
    assert of(*facts, *passed(*NAMES), (40, RunEnded(0)), made=made).then == (
        "Nothing to do. The 30 s were 1 min in the forecast."
    )


def test_what_fail_on_allows_is_told_all_the_same():
    found = of(*passed(*NAMES[1:]), *failed(NAMES[0]), (40, RunEnded(0)))
    assert found.sentence == "9 of 10 passed; 1 did not, which fail_on allows."


def test_a_doubt_comes_before_failures_and_names_the_resume():
    doubt = (20, Ended(NAMES[0], Outcome.IN_DOUBT, "in_doubt", "no answer"))
    found = of(doubt, *failed(NAMES[1]), *passed(*NAMES[2:]), (40, RunEnded(3)))
    assert found.pill == "in doubt · exit 3"
    assert found.sentence == "8 of 10 passed. 1 is in doubt: a person has to look. 1 did not pass, for 1 cause."
    assert (found.then, found.command) == ("First: orchestrator resume r1", "orchestrator resume r1")


def test_failures_are_counted_with_their_causes_and_skips_apart():
    refused = (20, Refused(NAMES[0], "not_found", "no such repository"))
    skipped = (20, Skipped(NAMES[1], "frozen", "skip"))
    found = of(refused, skipped, *failed(NAMES[2], NAMES[3]), *passed(*NAMES[4:]), (40, RunEnded(1)))
    assert found.pill == "did not pass · exit 1"
    assert found.sentence == "6 of 10 passed; 3 did not, for 2 causes; 1 was skipped."
    assert found.then == "Build again: orchestrator retry r1"


@pytest.mark.parametrize(
    ("rule", "arithmetic", "rollout", "options", "word"),
    [
        ("max_fail", "1 of 10 targets did not pass; 1 stop the run", None, {"max_fail": "5%"}, "by max-fail 5%"),
        ("max_fail", "3 of 10 targets did not pass; 3 stop the run", None, {"max_fail": "5%"}, "by max-fail"),
        ("failed", "2 bad of 4 sent (50.0 %), 20% stop the run", {"failed": "20%"}, {}, "by failed 20%"),
        ("in_a_row", "3 bad in a row, 3 stop the run", {"in_a_row": 3}, {}, "by 3 in a row"),
    ],
)
def test_a_stop_names_its_rule_as_it_was_written(rule, arithmetic, rollout, options, word):
    made = RunMade(
        "nightly",
        "nightly.yaml",
        "",
        accounts=ACCOUNTS,
        rollout=None if rollout is None else Rollout(stop_when=StopWhen(**rollout)),
        options=RunOptions(**options),
    )
    found = of(
        *asked(NAMES[0]), *failed(NAMES[0]), (30, Stopped(rule, arithmetic)), (31, Interrupted("stopped", 5)), made=made
    )
    assert found.pill == f"stopped {word} · exit 5"
    assert found.sentence == f"{arithmetic}. 9 were not sent."
    assert found.then == "Go on all the same: orchestrator resume r1 --override-stop"


def test_a_ban_says_until_when_in_whole_minutes_and_that_nothing_is_lost():
    cause = (
        "Travis has banned this token; nothing more is sent; find out what else uses the token, and resume in an hour"
    )
    stop = (60, AccountStopped(cause, START + 3661, "banned"))
    found = of(*asked(*NAMES[:2]), *passed(*NAMES[:2]), stop, (61, Interrupted("account", 4)))
    assert (found.pill, found.meaning, found.symbol) == ("banned · exit 4", Meaning.BAD, "⊘")
    assert found.sentence == (
        "Travis CI has banned account travis until 02:02 UTC. 2 of 10 were sent, 8 were not; nothing is lost."
    )
    assert found.then == "After 02:02 UTC: orchestrator resume r1. Find out what else uses the token."


def test_a_dead_token_is_mended_first():
    stop = (60, AccountStopped("Travis does not accept the token (HTTP 403); renew it, and resume", None, "bad_token"))
    found = of(stop, (61, Interrupted("account", 4)))
    assert found.pill == "token refused · exit 4"
    assert found.sentence.startswith("Account travis: Travis does not accept the token (HTTP 403).")
    assert found.then == "Renew it, then: orchestrator resume r1"


def test_two_accounts_that_stopped_are_both_named():
    accounts = {**ACCOUNTS, "gh": to_json(Account("gh", "github", "https://api.github.com", "env:GH_TOKEN"))}
    story = told(
        [target(NAMES[0]), target("gh:acme/x@main")], made=RunMade("nightly", "nightly.yaml", "", accounts=accounts)
    )
    story.history.add("travis", 1, START, AccountStopped("no; later", START + 600, "banned"))
    story.history.add(
        "gh", 1, START, AccountStopped("the token lacks the scope `repo`; make one", None, "insufficient_scope")
    )
    story.history.add("", 9, START + 60, Interrupted("account", 4))
    found = verdict(view("r1", story.history, START + 100))
    assert found.pill == "2 accounts stopped · exit 4"
    assert (
        "Travis CI has banned account travis until 01:10 UTC; account gh: the token lacks the scope `repo`."
        in found.sentence
    )
    assert found.command == "orchestrator resume r1"


def test_ctrl_c_says_how_far_it_came_and_what_goes_on():
    found = of(*asked(*NAMES[:4]), *passed(NAMES[0]), (30, Interrupted("SIGINT", 130)))
    assert found.pill == "interrupted · exit 130"
    assert found.sentence == "Ctrl-C after 30 s. 4 of 10 were sent; 3 of their builds go on."
    assert found.then == "Go on: orchestrator resume r1"


def test_a_time_out_is_the_persons_own():
    found = of(*asked(*NAMES[:4]), (30, Interrupted("timeout", 8)))
    assert found.pill == "out of time · exit 8"
    assert (
        found.sentence
        == "The time that --timeout gives was over after 30 s. 4 of 10 were sent; 4 of their builds go on."
    )


def test_a_canceled_run_names_who_canceled_it():
    gone = [(30, Ended(name, Outcome.CANCELED, "canceled_before_trigger", "asked by ann@box")) for name in NAMES[1:]]
    found = of(*passed(NAMES[0]), (20, Stopped(CANCELED, "asked by ann@box")), *gone, (40, RunEnded(1)))
    assert found.pill == "canceled · exit 1"
    assert found.sentence.startswith("Canceled by ann@box.")
    assert found.command == "orchestrator retry r1"


def test_a_run_that_goes_on_says_how_far_and_until_when():
    report = seen(*asked(*NAMES[:4]), *passed(*NAMES[:2]), *failed(NAMES[2]))
    found = verdict(report, ahead=Ahead(180, 2100))
    assert (found.pill, found.exit_code) == ("running", None)
    assert found.sentence == (
        "3 of 10 done; everything is sent in about 3 min, all is over at about 01:36 UTC. 1 did not pass."
    )
    assert found.then == "As of 01:01 UTC."
    assert verdict(report).sentence == "3 of 10 done. 1 did not pass."


def test_a_run_whose_process_died_says_so():
    found = verdict(seen(*asked(*NAMES[:4])), is_driven=False)
    assert found.word == "nobody drives it"
    assert found.sentence == "Its process died. 4 of 10 were sent; 4 of their builds go on."
    assert found.command == "orchestrator resume r1"


def test_a_detached_run_names_the_watch():
    found = of(*asked(*NAMES), *passed(NAMES[0]), (30, Interrupted("detached", 0)))
    assert found.pill == "detached · exit 0"
    assert found.sentence == "All 10 were sent; 9 of the builds go on, and nobody follows them."
    assert found.command == "orchestrator watch r1"


WAVES = (Wave(1, "canary", 2, approve=True), Wave(2, "rest", 8))


def waved(*facts, waves=WAVES, now=100.0):
    made = RunMade("nightly", "nightly.yaml", "", accounts=ACCOUNTS, waves=waves, rollout=Rollout())
    targets = [target(name, wave=1 if n < 2 else 2) for n, name in enumerate(NAMES)]
    opened = (1, WaveOpened(1, "canary", 2))
    story = told(targets, opened, *asked(*NAMES[:2]), *passed(*NAMES[:2]), *facts, made=made, now=now)
    return story


def test_a_wave_that_waits_for_a_person_names_the_approval():
    story = waved((40, WaveJudged(1, "go", "", "")))
    found = verdict(view("r1", story.history, story.now))
    assert (found.state, found.word) == (State.WAITING, "waits for approval")
    assert found.sentence == "Wave 2 (rest) waits for a person to approve it. 2 of 10 done."
    assert found.then == "Open it: orchestrator approve r1 --wave rest"


def test_a_soak_says_when_the_next_wave_opens():
    story = waved((40, WaveJudged(1, "go", "", "")), waves=(Wave(1, "canary", 2, soak=1800.0), WAVES[1]))
    found = verdict(view("r1", story.history, story.now))
    assert found.word == "soaks"
    assert found.sentence == "Wave 2 (rest) opens at 01:31 UTC, when the soak is over. 2 of 10 done."


def test_a_pause_names_who_paused_and_how_it_goes_on():
    story = waved()
    story.history.course.wished(1, PauseAsked("ann", START))
    found = verdict(view("r1", story.history, story.now))
    assert (found.word, found.sentence) == ("paused", "Paused by ann. 2 of 10 done.")
    assert found.command == "orchestrator unpause r1"


def test_quiet_hours_say_until_when_nothing_is_sent():
    quiet = replace(TRAVIS, concurrency=replace(TRAVIS.concurrency, quiet=(parse_quiet("00:00-06:00 UTC"),)))
    made = RunMade("nightly", "nightly.yaml", "", accounts={"travis": to_json(quiet)})
    found = of(made=made)
    assert (found.state, found.word) == (State.WAITING, "waits for quiet hours to end")
    assert found.sentence == "Nothing is sent until 06:00 UTC, when quiet hours end. 0 of 10 done."


def test_nothing_selected_is_told_with_what_was_asked():
    found = nothing_selected("--only 'acme/svc-9*' fits none of the 362 targets of orchestrator.yaml")
    assert found.pill == "nothing selected · exit 6"
    assert found.sentence == "--only 'acme/svc-9*' fits none of the 362 targets of orchestrator.yaml."
    assert found.then == "Nothing was sent."


def test_a_rehearsal_names_no_resume():
    made = RunMade("nightly", "nightly.yaml", "", accounts=ACCOUNTS, options=RunOptions(sandbox=True))
    found = of((30, Interrupted("SIGINT", 130)), made=made)
    assert (found.command, found.then) == ("", "It was a rehearsal; nothing is left that could go on.")


def test_a_snapshot_gives_the_sentence_of_the_report():
    facts = [*asked(*NAMES[:4]), *passed(*NAMES[:2]), *failed(NAMES[2])]
    story = told([target(name) for name in NAMES], *facts, now=100.0)
    snapshot = taken("r1", story.history, Counts(story.history), story.now)
    assert verdict_now(snapshot, story.now).sentence == "3 of 10 done. 1 did not pass."


@pytest.mark.parametrize("case", CASES)
def test_every_exit_code_of_every_journal_has_its_sentences_and_nothing_steers_a_terminal(case):
    story = read(case)
    report = view(story.run_id, story.history, story.now)
    for code in Exit:
        for driven in (True, False):
            found = verdict(
                replace(report, run=replace(report.run, exit_code=int(code), status="ended")), is_driven=driven
            )
            text = f"{found.pill} {found.sentence} {found.then}"
            assert not re.search("[\x00-\x1f\x7f-\x9f\u202e\u200b]", text)
            assert found.sentence.endswith(".")
            assert "  " not in text
            assert found.command in found.then
