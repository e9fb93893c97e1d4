"""What people are told of the brake: by `plan`, by `why`, and by a rehearsal at noon."""

import time

import pytest
from cli_machine import Program
from golden.story import START, target, told

from orchestrator.cli.plan import concurrency_json, concurrency_lines
from orchestrator.core.concurrency import Cap, Concurrency, QueueRule, parse_quiet
from orchestrator.core.errors import Exit
from orchestrator.core.events import Ended, Intended, Requested, RunMade, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Limit, Outcome
from orchestrator.core.options import RunOptions
from orchestrator.report.reasons import held_by

NOON = 1_767_614_400.0  # Monday 2026-01-05, 12:00 UTC
OFFICE = parse_quiet("mon-fri 08:00-18:00 Europe/Berlin")


def account(concurrency=None, share=100, in_flight=None):
    limits = (Limit("triggers", 20, 30.0, share=share),)
    return Account(
        "travis",
        "travis",
        "https://ci.invalid",
        limits=limits,
        concurrency=concurrency or Concurrency(),
        in_flight=in_flight,
    )


def test_an_account_without_a_brake_has_nothing_to_tell():
    assert list(concurrency_lines(account(), NOON)) == []


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            account(Concurrency((Cap("owner", 9), Cap("label:core", 2)))),
            "brake: in_flight_per_owner 9, in_flight_per_label 2 of core",
        ),
        (
            account(Concurrency(queue=QueueRule(9, 9))),
            "queue: triggers go while fewer than 9 builds of the owner wait or run",
        ),
        (
            account(Concurrency(queue=QueueRule(9, 6, 2))),
            "2 of these places are kept for other people; if others make it",
        ),
        (account(Concurrency(quiet=(OFFICE,))), "it is quiet now: triggers go from 2026-01-05T17:00:00Z on"),
        (account(share=50), "share: 50% of each rate, the rest is left to other machines"),
    ],
)
def test_the_plan_tells_each_part_of_the_brake(one, words):
    (line,) = concurrency_lines(one, NOON)
    assert words in line


def test_the_plan_tells_programs_until_when_it_is_quiet():
    one = account(Concurrency(quiet=(OFFICE,)), share=25)
    assert (concurrency_json(one, NOON)["quiet_until"], concurrency_json(one, NOON)["share"]) == (
        "2026-01-05T17:00:00Z",
        25,
    )
    assert concurrency_json(one, NOON + 6 * 3600)["quiet_until"] is None


def story(one, *facts, options=None):
    names = ("acme/a", "Acme/b", "beta/c", "acme/d")
    labels = (("core",), (), ("core",), ("core",))
    targets = [target(f"travis:{name}@main", labels=held) for name, held in zip(names, labels, strict=True)]
    made = RunMade("nightly", None, "", accounts={"travis": to_json(one)}, options=RunOptions(**options or {}))
    return targets, told(targets, *facts, made=made).history


def flying(*names):
    ids = [f"travis:{name}@main" for name in names]
    return [
        (n, event) for n, id_ in enumerate(ids) for event in (Intended(id_, 1, None), Requested(id_, "1", "answered"))
    ]


@pytest.mark.parametrize(
    ("brake", "facts", "wanted"),
    [
        (Concurrency((Cap("owner:acme", 2),)), flying("acme/a"), []),
        (
            Concurrency((Cap("owner:acme", 2),)),
            flying("acme/a", "Acme/b"),
            ["held by: in_flight_per_owner 2 of acme: 2 builds of this run are queued or running there"],
        ),
        (
            Concurrency((Cap("owner", 9), Cap("label:core", 2))),
            flying("acme/a", "beta/c"),
            ["held by: in_flight_per_label 2 of core: 2 builds of this run are queued or running there"],
        ),
        (
            Concurrency(queue=QueueRule(3, 3, 1)),
            flying("acme/a", "Acme/b"),
            ["held by: queue below 3 of acme: 2 builds of this run"],
        ),
        (
            Concurrency(queue=QueueRule(9, 9)),
            flying("acme/a"),
            ["may be held by: queue below 9 of acme: 1 builds of this run"],
        ),
        (
            Concurrency(quiet=(replace(OFFICE, zone="Mars/A"),)),
            [],
            ["may be held by: quiet hours: unknown time zone 'Mars/A'"],
        ),
        (
            Concurrency(quiet=(OFFICE,)),
            [],
            ["held by: quiet hours mon-fri 08:00-18:00 Europe/Berlin: no trigger before 2026"],
        ),
    ],
)
def test_why_names_the_rule_that_holds_a_waiting_target(brake, facts, wanted):
    targets, history = story(account(brake), *facts)
    lines = list(held_by(history, targets[3], NOON))
    assert len(lines) == len(wanted)
    assert all(line.startswith(start) for line, start in zip(lines, wanted, strict=True))


def test_why_counts_only_what_has_not_ended():
    brake = Concurrency((Cap("owner", 1),))
    ended = (9, Ended("travis:acme/a@main", Outcome.PASSED, "passed", ""))
    targets, history = story(account(brake), *flying("acme/a"), ended)
    assert list(held_by(history, targets[3], NOON)) == []


def test_why_says_nothing_of_the_brake_once_the_target_is_triggered():
    targets, history = story(account(Concurrency((Cap("owner", 1),))), *flying("acme/a"))
    assert list(held_by(history, targets[0], NOON)) == []
    assert list(held_by(history, targets[3], START)) != []


@pytest.mark.parametrize(
    ("one", "options", "name"), [(account(in_flight=1), {}, "in_flight"), (account(), {"in_flight": 1}, "in_flight")]
)
def test_why_names_the_number_of_builds_in_flight(one, options, name):
    targets, history = story(one, *flying("beta/c"), options=options)
    assert list(held_by(history, targets[3], NOON)) == [
        f"held by: {name} 1: 1 builds of this run are queued or running"
    ]


BRAKED = """\
version: 1
quiet_hours: [mon-fri 08:00-18:00 UTC]
providers: {travis: {limits: {queue: 2, in_flight_per_label: {core: 1}}}}
defaults: {labels: [core]}
targets: [acme/a, acme/b]
"""


@pytest.fixture
def noon(tmp_path, capsys):
    made = Program(tmp_path, capsys)
    made.write("orchestrator.yaml", BRAKED)
    ahead = NOON - time.time()
    made.now = lambda: time.time() + ahead
    return made


def test_a_plan_at_noon_says_when_triggers_go(noon):
    assert noon("plan", "--offline") == 0
    assert "it is quiet now: triggers go from 2026-01-05T18:00:00Z on" in noon.out
    assert noon("plan", "--offline", "-o", "json") == 0
    assert noon.json["accounts"]["travis"]["quiet_until"] == "2026-01-05T18:00:00Z"


def test_a_run_at_noon_waits_until_it_leaves_and_says_what_for(noon):
    noon.environ["TRAVIS_TOKEN"] = "t"
    text = BRAKED.replace("{limits", "{url: 'http://127.0.0.1:9', limits").replace("queue: 2, ", "")
    noon.write("orchestrator.yaml", text)
    assert noon("run", "--state", "s", "--yes", "--timeout", "500ms", "--run-id", "r1") == Exit.TIMEOUT
    assert noon("why", "--state", "s", "acme/a") == 0
    assert "held by: quiet hours mon-fri 08:00-18:00 UTC: no trigger before 2026-01-05T18:00:00Z" in noon.out


@pytest.mark.slow
def test_a_rehearsal_does_not_wait_for_quiet_hours_to_end(noon):
    noon.write("orchestrator.yaml", "version: 1\nquiet_hours: [08:00-18:00 UTC]\ntargets: [acme/a, acme/b]\n")
    assert noon("run", "--sandbox", "--timeout", "100s") in (Exit.OK, Exit.FAILED)
    assert "2 targets" in noon.out
