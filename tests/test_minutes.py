"""Build minutes: what a plan expects, what a report says was used, and what that costs."""

import json

import pytest
from cli_machine import Program
from golden.story import read

from orchestrator.core.errors import Exit
from orchestrator.core.frozen import replace
from orchestrator.core.minutes import Minutes, summed
from orchestrator.core.model import Account, Cost, Plan, Target
from orchestrator.forecast import Times
from orchestrator.report.minutes import as_json, line, used
from orchestrator.report.view import view

CHEAP = Account("ci", "travis", "https://ci.invalid", cost_per_minute=Cost(0.008, "USD"))
FREE = Account("own", "travis", "https://own.invalid")
ACCOUNTS = {"ci": CHEAP, "own": FREE}


def target(account, repo, **more):
    return Target(f"{account}:{repo}", account, repo, **more)


def test_lengths_are_summed_by_account_and_owner_the_most_first():
    found = summed([("ci", "acme", 60.0), ("own", "acme", 600.0), ("ci", "acme", 120.0)], ACCOUNTS)
    assert found == [Minutes("own", "acme", 1, 10.0), Minutes("ci", "acme", 2, 3.0, Cost(0.024, "USD"))]


def test_a_plan_expects_the_mean_of_what_earlier_builds_ran_and_leaves_out_what_is_skipped():
    times = Times(repos={("ci", "acme/a"): (60.0, 180.0)}, accounts={"ci": (300.0,)})
    targets = (target("ci", "Acme/a"), target("ci", "acme/new"), target("ci", "acme/b", skip="frozen"))
    (one, other) = times.minutes(Plan("nightly", targets, ACCOUNTS))
    assert {one.minutes, other.minutes} == {2.0, 5.0}


def test_a_plan_says_nothing_where_no_earlier_build_tells():
    assert Times().minutes(Plan("nightly", (target("ci", "acme/a"),), ACCOUNTS)) == ()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], []),
        ([Minutes("own", "acme", 1, 3.25)], ["3.2 build minutes"]),
        ([Minutes("ci", "acme", 9, 1500.0, Cost(12.0, "USD"))], ["1,500 build minutes, 12.00 USD"]),
        (
            [
                Minutes("ci", "a", 1, 90.0, Cost(0.72, "USD")),
                Minutes("own", "b", 1, 30.0),
                Minutes("own", "a", 1, 20.0),
            ],
            ["140 build minutes (a 110, b 30), 0.72 USD"],
        ),
        (
            [Minutes("own", f"o{n}", 1, 10.0) for n in range(7)],
            ["70 build minutes (o0 10, o1 10, o2 10, o3 10, 3 more)"],
        ),
    ],
)
def test_a_sentence_says_what_is_known_and_nothing_else(found, expected):
    assert list(line(found)) == expected


def test_what_is_expected_says_about():
    (text,) = line([Minutes("ci", "acme", 9, 15.0, Cost(0.12, "USD"))], "about ")
    assert text == "about 15 build minutes, about 0.12 USD"


def test_a_report_has_the_minutes_of_the_builds_whose_length_is_known():
    told = read("mixed")
    story = view(told.run_id, told.history, told.now)
    seconds = sum(row.run_seconds or 0 for row in story.targets)
    known = [row for row in story.targets if row.run_seconds is not None]
    assert sum(one.minutes for one in used(story)) == pytest.approx(seconds / 60)
    assert sum(one.builds for one in used(story)) == len(known) > 0
    paying = {name: replace(one, cost_per_minute=Cost(1.0, "EUR")) for name, one in story.accounts.items()}
    paid = replace(story, accounts=paying)
    assert all(one["cost"]["amount"] == pytest.approx(one["minutes"], abs=0.01) for one in as_json(used(paid)))


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ("{amount: 0.008, currency: USD}", None),
        ("{amount: 1, currency: eur}", None),
        ("{amount: cheap, currency: USD}", "a number"),
        ("{amount: -1, currency: USD}", "0 or more"),
        ("{amount: 1}", "currency"),
        ("0.008", "a map"),
    ],
)
def test_check_knows_what_a_cost_is(program, cost, said):
    providers = f"{{travis: {{cost_per_minute: {cost}}}}}"
    program.write("m.yaml", f"version: 1\nproviders: {providers}\ntargets: [acme/a@main]\n")
    assert program("check", "m.yaml") == (Exit.OK if said is None else Exit.USAGE)
    assert said is None or said in program.err + program.out


def test_a_plan_for_programs_has_minutes_also_where_there_are_none(program):
    program.write("m.yaml", "version: 1\ntargets: [acme/a@main]\n")
    assert program("plan", "m.yaml", "--offline", "-o", "json") == Exit.OK
    assert json.loads(program.out)["forecast"]["minutes"] == []
