import json
from importlib.resources import files
from pathlib import Path

import anyio
import jsonschema
import pytest
from golden.story import CASES, HERE, START, read, target, told

from orchestrator.cli.live import summary
from orchestrator.core.errors import Exit, JournalError, UsageError, severest
from orchestrator.core.events import (
    CANCELED,
    AccountStopped,
    Claimed,
    Doubted,
    Ended,
    Frozen,
    Intended,
    Interrupted,
    Paused,
    Refused,
    Requested,
    RunEnded,
    RunMade,
    Sighted,
    Stopped,
    Tally,
    WaveOpened,
    Withdrawn,
    to_json,
)
from orchestrator.core.frozen import asdict, replace
from orchestrator.core.history import LEFT_BY, exit_code
from orchestrator.core.model import ACCOUNT, DEFAULT_FAIL_ON, Account, Build, BuildState, Limit, Outcome, Scope
from orchestrator.core.times import clock, duration
from orchestrator.engine.counts import Counts
from orchestrator.engine.snapshot import taken
from orchestrator.forecast.outlook import Outlook
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.report import EVENTS, render
from orchestrator.report import FORMATS as ALL
from orchestrator.report.diff import KINDS
from orchestrator.report.groups import ORDER, counts, groups, shares, to_rerun, word_of
from orchestrator.report.view import Report, Row, view
from orchestrator.report.words import link, plain, shell, short, sound

FORMATS = [name for name in ALL if name != EVENTS]  # that one shows the journal, not the report
A, B = "travis:acme/a@main", "travis:acme/b@main"
SCHEMA = json.loads((files("orchestrator.report") / "schema.json").read_text())


def seen(story) -> Report:
    return view(story.run_id, story.history, story.now)


def ended(name: str, outcome: Outcome, at: float = 1):
    return at, Ended(name, outcome, f"{outcome}_code", f"because {outcome}")


def build(state: BuildState, **times: float) -> Build:
    return Build("7", state, state.value, "12", "https://ci.example/7", "abc", "main", **times)


# -- the exit code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", Outcome)
def test_the_exit_code_follows_the_outcome(outcome):
    story = told([target(A), target(B)], ended(A, Outcome.PASSED), ended(B, outcome))
    expected = {Outcome.IN_DOUBT: Exit.IN_DOUBT}.get(outcome, Exit.FAILED if outcome in DEFAULT_FAIL_ON else Exit.OK)
    assert exit_code(story.history) == expected


def test_an_outcome_outside_fail_on_does_not_fail_the_run():
    story = told([target(A)], ended(A, Outcome.FAILED))
    assert exit_code(story.history, {Outcome.ERRORED}) == Exit.OK


def test_doubt_has_its_own_code_whatever_fail_on_says():
    story = told([target(A), target(B)], ended(A, Outcome.IN_DOUBT), ended(B, Outcome.FAILED))
    assert exit_code(story.history, set()) == Exit.IN_DOUBT
    assert exit_code(story.history, set(Outcome)) == Exit.IN_DOUBT


def test_an_open_doubt_counts_as_doubt():
    story = told([target(A)], (1, Intended(A, 1, None)), (2, Doubted(A, 1, "reset", START + 1, START + 2)))
    assert exit_code(story.history) == Exit.IN_DOUBT
    assert exit_code(story.history, left_by="timeout") == Exit.IN_DOUBT


def test_a_stopped_account_wins_over_a_failure_when_it_keeps_a_target_open():
    story = told([target(A), target(B)], ended(A, Outcome.FAILED), (2, AccountStopped("banned")))
    assert exit_code(story.history) == Exit.ACCOUNT


def test_a_stopped_account_that_keeps_nothing_open_does_not_matter():
    story = told([target(A)], ended(A, Outcome.PASSED), (2, AccountStopped("banned")))
    assert exit_code(story.history) == Exit.OK


def test_a_rule_that_left_targets_out_stops_the_run():
    story = told([target(A), target(B)], ended(A, Outcome.FAILED), (2, Stopped("max_fail", "1 of 2")))
    assert exit_code(story.history) == Exit.STOPPED


def test_a_rule_that_left_nothing_out_leaves_the_verdict_to_the_outcomes():
    story = told([target(A)], ended(A, Outcome.FAILED), (2, Stopped("max_fail", "1 of 1")))
    assert exit_code(story.history) == Exit.FAILED


def test_a_canceled_run_with_targets_left_out_has_failed():
    story = told([target(A)], (2, Stopped(CANCELED, "asked by me")))
    assert exit_code(story.history) == Exit.FAILED


@pytest.mark.parametrize(("signal", "code"), LEFT_BY.items())
def test_how_a_process_leaves_and_what_failed_make_the_severest_code(signal, code):
    assert exit_code(told([target(A)]).history, left_by=signal) == code
    assert exit_code(told([target(A)], (2, Interrupted(signal))).history) == code
    failed = [target(A), target(B)], ended(A, Outcome.FAILED)
    assert exit_code(told(*failed).history, left_by=signal) == severest([code, Exit.FAILED])


def test_a_detached_run_is_well_when_everything_was_triggered():
    story = told(
        [target(A)], (1, Intended(A, 1, None)), (2, Requested(A, "5", "answered")), (3, Interrupted("detached"))
    )
    assert exit_code(story.history) == Exit.OK


# -- the view --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_json_report_is_what_its_schema_says(case):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(render(seen(read(case)), "json")), SCHEMA)


def test_the_schema_lists_exactly_the_fields_that_are_written_in_their_order():
    document = json.loads(render(seen(read("mixed")), "json"))
    assert list(document) == [it for it in SCHEMA["properties"] if it != "since"]  # only where it was asked for
    for name in ("run", "totals", "calls"):
        # `merged` only where several runs are shown as one
        assert list(document[name]) == [it for it in SCHEMA["properties"][name]["properties"] if it != "merged"]
    target_schema = SCHEMA["$defs"]["target"]["properties"]
    for row in document["targets"]:
        assert list(row) == [name for name in target_schema if name != "run"]
    assert list(target_schema) == [name for name in Row.__struct_fields__ if name not in ("target", "root")]


def test_every_target_is_a_row_in_plan_order_and_the_totals_add_up():
    for case in CASES:
        story = read(case)
        report = seen(story)
        assert [row.id for row in report.targets] == [one.id for one in story.history.targets]
        assert report.totals["targets"] == len(report.targets) == sum(report.totals.values()) - report.totals["targets"]


def test_a_row_tells_the_times_and_the_build():
    times = {"created_at": START + 5, "started_at": START + 17, "finished_at": START + 317}
    facts = (
        (1, Intended(A, 1, "[r1.x]")),
        (2, Requested(A, "31", "answered")),
        (320, Sighted(A, build(BuildState.PASSED, **times))),
        ended(A, Outcome.PASSED, 321),
    )
    (row,) = seen(told([target(A)], *facts)).targets
    assert (row.phase, row.outcome, row.marker, row.attempts) == ("done", "passed", "[r1.x]", 1)
    assert (row.request_id, row.build_id, row.build_number, row.sha) == ("31", "7", "12", "abc")
    assert (row.triggered_at, row.started_at) == ("2026-01-05T01:00:01Z", "2026-01-05T01:00:17Z")
    assert (row.finished_at, row.queued_seconds, row.run_seconds) == ("2026-01-05T01:05:17Z", 12, 300)
    assert row.builds[0].state == "passed"


def test_the_branch_that_was_built_is_shown_where_none_was_asked_for():
    story = told([target("travis:acme/a")], (1, Sighted("travis:acme/a", build(BuildState.RUNNING))))
    (row,) = seen(story).targets
    assert (row.branch, row.target.branch) == ("main", None)


def test_clocks_that_disagree_never_give_a_negative_duration():
    times = {"created_at": START + 9, "started_at": START + 5, "finished_at": START + 1}
    (row,) = seen(told([target(A)], (1, Sighted(A, build(BuildState.FAILED, **times))))).targets
    assert (row.queued_seconds, row.run_seconds) == (0, 0)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e300, -1e300])
def test_a_damaged_time_costs_only_itself(odd):
    seen_build = build(BuildState.FAILED, started_at=odd, finished_at=START)
    (row,) = seen(told([target(A)], (1, Sighted(A, seen_build)))).targets
    assert row.started_at is None
    for name in FORMATS:
        assert render(seen(told([target(A)], (1, Sighted(A, seen_build)))), name)


def test_calls_count_intents_and_the_tallies_of_all_processes():
    tally = Tally(
        "travis", {"trigger": 1, "find": 2, "poll": 3, "cancel": 4}, {"triggers 40/30s": 5}, {"triggers 40/30s": 1.25}
    )
    facts = ((1, Intended(A, 3, None)), (2, Interrupted("SIGINT", 130, (tally,))), (3, RunEnded(0, (tally,))))
    report = seen(told([target(A)], *facts))
    assert report.calls == {"trigger": 3, "find": 4, "poll": 6, "other": 8}
    assert [(one.limit, one.used, one.waited_seconds) for one in report.limits] == [
        ("triggers 40/30s", 11, 2.5),  # one of the three intents is in no tally
        ("calls 1800/1m", 1, 0.0),
        ("triggers_per_repo 10/1h", 0, 0.0),
    ]


def test_the_uses_of_limits_agree_with_the_calls_when_processes_were_killed_or_calls_never_left():
    tally = Tally("travis", {"trigger": 1}, {"triggers 40/30s": 1, "calls 1800/1m": 1}, {"in_flight 1": 180.0})
    facts = (
        (1, Intended(A, 1, None)),
        (2, Withdrawn(A, 1, "unreachable")),
        (3, Intended(A, 2, None)),
        (4, Requested(A, "1", "answered")),  # by a process that was killed then
        (5, Intended(B, 1, None)),
        (6, Requested(B, "2", "answered")),
        (7, RunEnded(0, (tally,))),
    )
    report = seen(told([target(A), target(B)], *facts))
    assert report.calls["trigger"] == 2
    assert {one.limit: one.used for one in report.limits} == {
        "triggers 40/30s": 2,
        "calls 1800/1m": 2,
        "triggers_per_repo 10/1h": 2,
        "in_flight 1": 0,
    }
    assert "waited: 3 min for in_flight 1 of travis" in render(report, "text")


def test_a_limit_that_was_learnt_on_the_way_is_reported_as_well():
    tally = Tally("travis", used={"triggers_per_repo 20/1h": 4})
    report = seen(told([target(A)], (1, RunEnded(0, (tally,)))))
    assert report.limits[-1].limit == "triggers_per_repo 20/1h"


@pytest.mark.parametrize(
    ("facts", "status", "by"),
    [
        ([], "running", None),
        ([(1, Interrupted("detached"))], "detached", None),
        ([(1, Interrupted("SIGTERM", 143))], "interrupted", "SIGTERM"),
        ([(1, Interrupted("timeout", 8))], "interrupted", "timeout"),
        ([(1, AccountStopped("banned")), (2, Interrupted("account", 4))], "stopped", "account travis"),
        (
            [(1, Frozen(Scope.of("owner:acme"), START + 9, "no credit")), (2, Interrupted(ACCOUNT, 4))],
            "stopped",
            "account travis",
        ),
        ([(1, Stopped("max_fail", "1 of 2")), (2, Interrupted("stopped", 5))], "stopped", "max_fail"),
        ([(1, Interrupted("SIGINT", 130)), (2, RunEnded(0))], "ended", None),
    ],
)
def test_the_status_tells_how_the_run_was_left(facts, status, by):
    run = seen(told([target(A)], *facts)).run
    assert (run.status, run.stopped_by) == (status, by)
    assert (run.finished_at is None) == (status in ("running", "detached"))


def test_a_run_that_is_taken_up_again_is_running():
    story = told([target(A)], (1, Interrupted("SIGINT", 130)))
    story.history.add("", 3, START + 2, Claimed(2, "host", 7))
    assert seen(story).run.status == "running"


def test_a_damaged_account_is_a_clear_error():
    story = told([target(A)], made=RunMade("n", None, "", accounts={"travis": {"type": 7}}))
    with pytest.raises(JournalError, match="damaged Account"):
        seen(story)


# -- what an open target waits for -----------------------------------------------------------------------------------

DOUBT = [(1, Intended(A, 1, None)), (2, Doubted(A, 1, "reset", START, START + 2))]


@pytest.mark.parametrize(
    ("fields_of_target", "facts", "code"),
    [
        ({}, [], "turn"),
        ({}, [(1, Intended(A, 1, None))], "in_doubt"),
        ({}, DOUBT, "in_doubt"),
        ({}, [(1, Requested(A, "1", "answered"))], "no_build_yet"),
        ({}, [(1, Sighted(A, build(BuildState.QUEUED)))], "build_queued"),
        ({}, [(1, Sighted(A, build(BuildState.RUNNING)))], "build_running"),
        ({}, [*DOUBT, (3, AccountStopped("banned"))], "account_stopped"),
        ({}, [(1, Stopped("max_fail", "1 of 1"))], "run_stopped"),
        ({}, [(1, Stopped(CANCELED, "asked by me"))], "run_canceled"),
        ({}, [(1, Stopped("max_fail", "1 of 1")), (2, Stopped("", "overridden"))], "turn"),
        ({"needs": (B,)}, [], "needs"),
        ({"needs": (B,)}, [ended(B, Outcome.PASSED)], "turn"),
        ({"wave": 2}, [], "wave"),
        ({"wave": 2}, [(1, WaveOpened(2))], "turn"),
        ({}, [(1, Frozen(Scope.of("repo:acme/a"), START + 60, "10/1h"))], "frozen"),
        ({}, [(1, Frozen(Scope.of("owner:acme"), START + 60, "no credit"))], "frozen"),
        ({}, [(1, Frozen(Scope.of("repo:acme/a"), START + 4, "10/1h"))], "turn"),
        ({}, [(1, Frozen(Scope.of("repo:acme/other"), START + 60, "10/1h"))], "turn"),
        ({}, [(1, Interrupted("SIGINT"))], "not_triggered"),
    ],
)
def test_an_open_target_says_what_it_waits_for(fields_of_target, facts, code):
    story = told([target(A, **fields_of_target), target(B)], *facts, now=5)
    row = seen(story).targets[0]
    assert (row.outcome, row.code) == (None, code)
    assert row.reason


def limited(*limits, **fields):
    made = Account("travis", "travis", "https://api.travis-ci.com", limits=limits, **fields)
    return RunMade("nightly", None, "", accounts={"travis": to_json(made)})


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (limited(Limit("triggers", 2, 30.0)), "waits for its turn"),
        (limited(Limit("triggers", 1, 30.0)), "waits for triggers 1/30s"),
        (
            limited(Limit("triggers", 1, 30.0), Limit("triggers_per_repo", 1, 3600.0, "repo")),
            "waits for triggers_per_repo 1/1h",
        ),
        (limited(Limit("triggers", 1, 30.0), in_flight=1), "waits for in_flight 1"),
    ],
)
def test_a_target_that_waits_for_its_turn_names_the_rule_that_holds_it_longest(made, reason):
    again = target("travis:acme/a@next", branch="next")
    facts = [(1, Intended(A, 1, None)), (2, Requested(A, "1", "answered"))]
    told_ = told([target(A), again], *facts, made=made, now=5)
    row = seen(told_).targets[1]
    assert (row.code, row.reason) == ("turn", reason)
    outlook = Outlook(told_.history, {"travis": DECLARATION})
    anyio.run(outlook.look, told_.now)
    live = summary(taken("r1", told_.history, Counts(told_.history), told_.now, outlook))
    assert (reason.removeprefix("waits for ") in live) is (row.reason != "waits for its turn")


def test_a_lost_answer_is_told_although_the_account_stopped():
    row = seen(told([target(A)], *DOUBT, (3, AccountStopped("banned")), now=5)).targets[0]
    assert row.reason == (
        "account travis stopped: banned; the answer to its trigger was lost, "
        "and a resume looks for its request before it asks again"
    )


# -- groups ----------------------------------------------------------------------------------------------------------


def test_doubt_comes_first_and_passed_is_a_number():
    report = seen(read("mixed"))
    assert next(word for _, word in counts(report)) == "in doubt"
    assert groups(report)[0].word == "in doubt"
    assert all(row.outcome != "passed" for group in groups(report) for row in group.rows)


def test_every_outcome_has_its_place_in_the_order():
    for outcome in Outcome:
        (row,) = seen(told([target(A)], ended(A, outcome))).targets
        assert word_of(row) in (*ORDER, "passed")


@pytest.mark.parametrize(
    ("sizes", "at_most", "expected"),
    [([], 5, []), ([3], 5, [3]), ([100, 2, 2], 10, [6, 2, 2]), ([9, 9, 9], 2, [1, 1, 0]), ([0, 4], 3, [0, 3])],
)
def test_a_large_group_does_not_hide_the_others(sizes, at_most, expected):
    assert shares(sizes, at_most) == expected


def test_what_may_still_have_a_build_is_never_offered_for_a_rerun():
    names = [
        f"travis:acme/{name}@main" for name in ("passed", "failed", "doubt", "lost", "running", "open", "skip", "need")
    ]
    wanted = [target(name, skip="frozen" if "skip" in name else None) for name in names]
    facts = [
        ended(names[0], Outcome.PASSED),
        ended(names[1], Outcome.FAILED),
        ended(names[2], Outcome.IN_DOUBT),
        (1, Intended(names[3], 1, None)),
        (1, Requested(names[4], "1", "answered")),
        ended(names[6], Outcome.SKIPPED),
        ended(names[7], Outcome.SKIPPED),
    ]
    safe, unsafe = to_rerun(seen(told(wanted, *facts)).targets)
    assert [row.id for row in safe] == [names[1], names[5], names[7]]
    assert [row.id for row in unsafe] == names[2:5]


# -- words -----------------------------------------------------------------------------------------------------------


def test_an_unknown_format_names_those_that_exist():
    with pytest.raises(UsageError, match="junit"):
        render(seen(read("passed")), "pdf")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_renders_a_run_without_targets(name):
    assert isinstance(render(seen(told([])), name), str)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (751, "12 min 31 s"), (11100, "3 h 5 min"), (187200, "2 d 4 h"), (-3, "0 s")],
)
def test_a_duration_has_two_units(seconds, text):
    assert duration(seconds) == text


def test_text_from_outside_stays_on_its_line_and_steers_no_terminal():
    assert plain("a\x1b[31mb\r\nc\u202ed\x9b5m") == "a [31mb c d 5m"
    assert len(short("x" * 1000)) == 300
    assert shell("a'b[c]#d") == "'a'\"'\"'b[c]#d'"


@pytest.mark.parametrize("url", [None, "javascript:alert(1)", "data:text/html,x", "//evil", " https://x", "ftp://x"])
def test_only_web_addresses_are_links(url):
    assert link(url) is None


def test_a_link_cannot_leave_its_attribute():
    assert link("https://x/a\"><b onclick='1'> \n") == "https://x/abonclick=1"


def test_half_a_surrogate_pair_from_a_server_can_be_written():
    story = told([target(A)], (1, Refused(A, "code", "bad \ud800 text")))
    for name in FORMATS:
        render(seen(story), name).encode()
    assert sound("\ud800") == "?"


def test_times_without_a_place_in_a_calendar_are_left_out():
    assert clock(None) == clock(float("nan")) == clock(1e20) == ""


# -- documentation ---------------------------------------------------------------------------------------------------

DOCS = (Path(__file__).parent.parent / "docs" / "reports.md").read_text(encoding="utf-8")


def test_the_documentation_names_every_format_field_and_kind_of_change():
    names = [*ALL, *SCHEMA["$defs"]["target"]["properties"], *SCHEMA["properties"]["run"]["properties"], *KINDS]
    names += [*SCHEMA["properties"]["totals"]["properties"], *SCHEMA["properties"]["calls"]["properties"]]
    assert [name for name in names if f"`{name}`" not in DOCS] == []


@pytest.mark.parametrize(("case", "name"), [("mixed", "text"), ("running", "why")])
def test_the_examples_in_the_documentation_are_real(case, name):
    kept = (HERE / case / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    (block,) = [block for block in DOCS.split("```")[1::2] if block.strip().splitlines()[0] in kept]
    assert [line for line in block.strip().splitlines() if line not in (*kept, "...")] == []


def test_how_late_the_ends_of_builds_were_known_is_a_figure_of_the_run():
    ids = [f"travis:acme/{n}@main" for n in range(10)]
    facts = [(100 + n, event) for n, id_ in enumerate(ids) for event in (
        Sighted(id_, build(BuildState.PASSED, finished_at=START + 99)),
        Ended(id_, Outcome.PASSED, "passed", "build passed"),
    )]  # fmt: skip
    report = seen(told([target(id_) for id_ in ids], *facts))
    assert asdict(report.run.detection_seconds) == {"median": 5.0, "p90": 9.0, "max": 10.0}
    assert json.loads(render(report, "json"))["run"]["detection_seconds"]["p90"] == 9.0
    assert seen(told([target(A)])).run.detection_seconds is None


def test_a_request_that_was_taken_and_then_rejected_counts_from_its_receipt():
    facts = [(2, Requested(A, "1", "answered")), (6, Refused(A, "branch_excluded", "excluded"))]
    at_once = [(7, Refused(B, "not_found", "there is no such repository"))]
    facts += at_once + [(at, Ended(name, Outcome.REJECTED, "", "")) for at, name in ((6, A), (7, B))]
    report = seen(told([target(A), target(B)], *facts))
    assert asdict(report.run.detection_seconds) == {"median": 4.0, "p90": 4.0, "max": 4.0}


def test_a_fact_keeps_when_it_was_written_beside_when_a_person_asked_for_it():
    story = told([target(A)], (5, Paused("me", START + 3)))
    report = replace(seen(story), facts=[("r1", entry) for entry in story.entries])
    fact = json.loads(render(report, EVENTS).splitlines()[-1])
    assert (fact["event"], fact["at"], fact["asked_at"]) == ("paused", clock(START + 5), START + 3)
