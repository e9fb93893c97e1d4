"""How a run will go, before it starts."""

import itertools
import math
from collections import Counter

import pytest
from manifest_helpers import KNOWN, plan_of

from orchestrator.core.concurrency import Cap, Concurrency, QueueRule, parse_quiet
from orchestrator.core.model import Account, Build, BuildState, Limit, Plan, Target
from orchestrator.core.options import Options
from orchestrator.core.times import moment, rounded
from orchestrator.forecast import ASSUMED, Times, forecast, times_of, with_last_builds
from orchestrator.forecast.durations import LATENCY, DealtDurations
from orchestrator.forecast.polls import Polls
from orchestrator.limits.budget import Budget
from orchestrator.providers.travis.declaration import DECLARATION as TRAVIS

TEXT = """
version: 1
defaults: {branch: main}
targets:
  - {repo: acme/lib, labels: [core, base]}
  - {repo: acme/api, labels: core, needs: [acme/lib]}
  - {repo: acme/api, branch: release/2.x, name: nightly}
  - {repo: other/Web, labels: [web], needs: [acme/api, acme/lib]}
  - {repo: other/old, skip: gone}
"""
QUICK = Times(latency=0.0, accounts={"travis": (60.0,)})


def forecast_of(text, **more):
    return forecast(plan_of(text), KNOWN, **more)


def repos(count, more=""):
    return f"version: 1\n{more}\ntargets:\n" + "".join(f"  - acme/r{n}@main\n" for n in range(count))


def plan(count, repositories, labels=(), **account):
    """Targets over repositories, on an account of Travis."""
    account.setdefault("limits", TRAVIS.limits)
    targets = tuple(
        Target(f"travis:a/r{n % repositories}@b{n}", "travis", f"a/r{n % repositories}", f"b{n}", labels=labels)
        for n in range(count)
    )
    return Plan("p", targets, {"travis": Account("travis", "travis", TRAVIS.url, **account)})


def cast(count, repositories, labels=(), more=None, **account):
    return forecast(plan(count, repositories, labels, **account), {"travis": TRAVIS}, **(more or {}))


@pytest.mark.parametrize(("count", "periods"), [(1, 0), (40, 0), (41, 1), (80, 1), (81, 2), (400, 9)])
def test_the_last_trigger_leaves_after_as_many_periods_as_the_window_asks_for(count, periods):
    found = forecast_of(repos(count))
    longest = 40 / 16 * LATENCY  # so long 16 connections take for a full window
    assert periods * 30.0 <= found.last_trigger <= periods * (30.0 + LATENCY) + longest
    assert found.accounts["travis"].triggers == count


def test_the_last_build_ends_when_a_look_shows_it():
    found = cast(1, 1, more={"times": QUICK})
    assert 62.0 <= found.last_build <= 70.0


def test_the_forecast_names_the_rule_that_takes_longest():
    found = forecast_of(repos(400))
    assert found.text == "400 triggers, the last after 5 min; what takes longest is triggers 40/30s"
    assert forecast_of(repos(3)).text == "3 triggers, no limit makes them wait"


def test_each_phase_has_the_limit_that_binds_in_it():
    found = cast(300, 10)
    spans = found.accounts["travis"].spans
    hour = [("triggers 40/30s", 1), ("triggers_per_repo 10/1h", 10)]
    assert [(span.rule, span.places) for span in spans] == [*hour, *hour, hour[0]]
    assert [span.start for span in spans] == pytest.approx([0.0, 60.0, 3600.0, 3660.0, 7200.0], abs=3.0)
    assert all(before.end == after.start for before, after in itertools.pairwise(spans))
    assert spans[-1].end == pytest.approx(found.last_trigger, abs=1.0)


def test_many_branches_of_one_repo_wait_for_its_hourly_limit():
    branches = ", ".join(f"b{n}" for n in range(35))
    found = forecast_of(f"version: 1\ntargets: [acme/x, {{repo: acme/X, branches: [{branches}]}}]")
    assert found.last_trigger == pytest.approx(3 * 3600, abs=10)
    assert "acme/x: 36 triggers under triggers_per_repo 10/1h take 3 h" in found.warnings
    assert "triggers_per_repo 10/1h of acme/x" in found.text


def test_a_limit_of_an_owner_counts_the_owner():
    text = "version: 1\nproviders: {small: {}}\ntargets: [a/1, a/2, a/3, b/1, b/2]"
    found = forecast_of(text)
    assert found.last_trigger == pytest.approx(60, abs=2)
    assert found.accounts["small"].binding.rule == "per_owner 2/1m"


def test_skipped_targets_cost_nothing():
    text = f"version: 1\ntargets: [{''.join(f'{{repo: acme/r{n}, skip: x}}, ' for n in range(50))}acme/a]"
    assert forecast_of(text).accounts["travis"].triggers == 1


def test_targets_wait_for_the_builds_that_they_need():
    found = forecast_of(TEXT, times=QUICK)
    lib, api, release, web, old = found.asked
    assert (lib, release, old) == (0.0, 0.0, -1.0)
    assert 60.0 < api < 75.0
    assert web == pytest.approx(2 * api, abs=5.0)
    assert (found.levels, found.accounts["travis"].binding.rule) == (2, "needs")
    assert found.text.endswith("what takes longest is the builds needed, 2 deep")


def test_what_needs_a_skipped_target_is_never_triggered():
    found = forecast_of("version: 1\ntargets: [{repo: a/a, skip: x}, {repo: a/b, needs: [a/a]}, {repo: a/c}]")
    assert list(found.asked) == [-1.0, -1.0, 0.0]


@pytest.mark.parametrize("account", [{"in_flight": 5}, {"concurrency": Concurrency(caps=(Cap("owner", 5),))}])
def test_builds_in_flight_hold_triggers_back(account):
    found = cast(20, 20, more={"times": QUICK}, **account)
    assert [sum(at <= 10.0 for at in found.asked), sum(at <= 80.0 for at in found.asked)] == [5, 10]
    assert found.last_trigger == pytest.approx(3 * 65.0, abs=15.0)
    assert "in_flight" in found.accounts["travis"].binding.rule


def test_a_cap_of_a_label_and_the_queue_of_an_owner_hold_triggers_back():
    labels = cast(9, 9, ("core",), more={"times": QUICK}, concurrency=Concurrency(caps=(Cap("label:core", 3),)))
    queue = cast(9, 9, more={"times": QUICK}, concurrency=Concurrency(queue=QueueRule(5, 4, reserve=2)))
    for found in (labels, queue):
        assert sum(at <= 10.0 for at in found.asked) == 3
        assert all(at >= 0.0 for at in found.asked)
    assert queue.accounts["travis"].binding.rule == "queue below 5 of a"


def test_the_flag_for_builds_in_flight_counts_like_the_manifest():
    assert cast(9, 9, more={"times": QUICK, "options": Options(in_flight=3)}).last_trigger > 120.0


def test_quiet_hours_put_triggers_off():
    quiet = Concurrency(quiet=(parse_quiet("08:00-18:00"),))
    eight = 8 * 3600.0
    assert cast(3, 3, concurrency=quiet, more={"start": eight}).last_trigger == pytest.approx(10 * 3600.0, abs=1.0)
    assert cast(3, 3, concurrency=quiet, more={"start": eight - 60.0}).last_trigger == pytest.approx(0.0, abs=1.0)
    half = cast(41, 41, concurrency=quiet, more={"start": eight - 10.0})
    assert half.last_trigger == pytest.approx(10.0 + 10 * 3600.0, abs=1.0)
    assert half.accounts["travis"].binding.rule == "quiet hours 08:00-18:00 UTC"


def test_few_connections_make_triggers_wait_for_answers():
    found = cast(30, 30, connections=1, more={"times": Times(latency=2.0)})
    assert found.last_trigger == pytest.approx(29 * 2.0)
    assert found.accounts["travis"].binding.rule == "connections 1"


def test_looks_are_counted_against_the_limit_of_all_calls():
    few = (Limit("triggers", 40, 30.0), Limit("calls", 4, 60.0))
    assert cast(100, 100).accounts["travis"].looks > 20
    assert cast(100, 100, limits=few).last_trigger > 90 * 60 / 4


# what would help


def test_two_accounts_halve_what_an_account_must_wait_for():
    found = cast(1000, 300)
    [two] = found.advice
    assert two.what == "two accounts"
    assert two.last_trigger == pytest.approx(found.last_trigger / 2, rel=0.05)


def test_fewer_targets_of_a_repository_help_where_its_limit_binds():
    best = cast(300, 10).advice[0]
    assert best.what == "at most 10 targets of a repository (200 targets left out)"
    assert best.last_trigger < 90.0


def test_a_limit_below_the_safe_one_may_be_raised():
    low = forecast_of(repos(100, "providers: {travis: {limits: {triggers: 10/30s}}}"))
    assert "triggers 40/30s, which is safe" in [advice.what for advice in low.advice]
    assert "40/30s" not in "".join(advice.what for advice in forecast_of(repos(100)).advice)


@pytest.mark.parametrize(
    ("account", "what"),
    [
        ({"in_flight": 5}, "in_flight 10"),
        ({"concurrency": Concurrency(caps=(Cap("owner", 5),))}, "twice as much in_flight_per_owner"),
        ({"concurrency": Concurrency(quiet=(parse_quiet("00:00-06:00"),))}, "no quiet hours"),
        ({"connections": 1, "limits": ()}, "connections 2"),
    ],
)
def test_a_rule_of_ones_own_may_be_loosened(account, what):
    found = cast(40, 40, more={"times": Times(latency=2.0, accounts={"travis": (60.0,)})}, **account)
    assert found.advice[0].what == what
    assert found.advice[0].last_trigger < found.last_trigger


def test_nothing_is_advised_where_nothing_binds():
    assert forecast_of(repos(3)).advice == ()


# what is left for people


def test_what_a_run_leaves_of_the_hourly_allowance_is_told():
    uses = {(use.limit.name, use.where): use for use in cast(45, 5).accounts["travis"].uses}
    assert (uses["triggers", None].used, uses["triggers", None].allowed) == (45, 4800)
    assert (uses["triggers_per_repo", "a/r0"].used, uses["triggers_per_repo", "a/r0"].left) == (9, pytest.approx(0.1))


# warnings


def test_a_person_is_told_of_queues_repeats_and_long_waits():
    crowd = "account travis: no `in_flight` (-j): 3 builds will stand in the queue before other people's"
    assert crowd in forecast_of(repos(3)).warnings
    assert crowd not in forecast_of(repos(3), options=Options(in_flight=2)).warnings
    assert crowd not in forecast_of(repos(3, "providers: {travis: {limits: {in_flight: 2}}}")).warnings
    twice = forecast_of("version: 1\ntargets: [acme/a@x, 'travis:acme/a@x#again', acme/b]").warnings
    assert any(warning.startswith("several triggers of one branch (acme/a@x)") for warning in twice)
    slow = forecast_of(repos(200, "defaults: {timeouts: {queue: 1m}}")).warnings
    assert any("longer than `timeouts.queue` (1m)" in warning for warning in slow)


# how long builds take


def build(started, finished, created=None):
    return Build("1", BuildState.PASSED, "passed", created_at=created, started_at=started, finished_at=finished)


def test_builds_take_as_long_as_those_of_their_repository_then_of_the_account_then_what_is_assumed():
    one, two = Target("travis:a/R", "travis", "a/R"), Target("travis:a/s", "travis", "a/s")
    known = times_of([(one, build(10.0, 110.0, 4.0)), (one, build(0.0, 50.0, 0.0)), (two, build(0.0, 90.0, -8.0))])
    assert known.builds == 3
    assert known.build("travis", "a/r") == (6.0, (50.0, 100.0))
    assert known.build("travis", "b/b") == (6.0, (50.0, 90.0, 100.0))
    assert known.build("other", "b/b") == ASSUMED.build("other", "b/b") == (2.0, (300.0,))


def test_many_builds_of_an_account_are_known_by_lengths_that_are_spread_as_theirs():
    many = [(Target(f"travis:a/r{n}", "travis", f"a/r{n}"), build(0.0, float(n))) for n in range(1000)]
    assert times_of(many).accounts["travis"] == tuple(range(25, 1000, 50))


LENGTHS = (30.0, 60.0, 90.0, 300.0)


def test_each_length_is_dealt_out_as_often_as_the_others_and_always_in_the_same_order():
    first, second = (
        [deal.build("travis", "a/r")[1] for _ in range(40)]
        for deal in (DealtDurations(Times(accounts={"travis": LENGTHS})) for _ in range(2))
    )
    assert first == second
    assert Counter(first) == dict.fromkeys(LENGTHS, 10)
    assert len({tuple(first[n : n + 4]) for n in range(0, 40, 4)}) > 1


@pytest.mark.parametrize(("past", "rest"), [(0.0, set(LENGTHS)), (75.0, {90.0, 300.0}), (400.0, {400.0})])
def test_a_build_that_goes_on_ends_no_sooner_than_now(past, rest):
    deal = DealtDurations(Times(accounts={"travis": LENGTHS}))
    assert {deal.build("travis", "a/r", past)[1] for _ in range(20)} == rest


def test_builds_with_times_that_cannot_be_are_left_out():
    one = Target("travis:a/R", "travis", "a/R")
    assert times_of([(one, build(None, 5.0)), (one, build(9.0, 5.0)), (one, build(9.0, 4e9))]).builds == 0
    place = ("travis", "a/r")
    assert with_last_builds(Times(), {place: (4e9, -1.0)}) == Times()
    assert with_last_builds(Times(), {place: (4e9, 60.0)}).repos == {place: (60.0,)}


def test_what_is_assumed_is_said():
    assert "no build is known from earlier runs: 5 min each, started 2 s after the trigger" in cast(1, 1).supposed
    known = cast(1, 1, more={"times": Times(accounts={"travis": (60.0,)}, builds=7)}).supposed
    assert known[0] == "builds run as long as those of earlier runs did (7 builds in this state)"
    assert any("other people's builds" in each for each in known)
    beside = cast(1, 1, more={"times": Times(beside=("r1", "r2"))}).supposed
    assert "runs that go on in this state are not counted (r1, r2): of the same account, all take longer" in beside


# size


def test_the_cost_of_a_forecast_grows_as_the_number_of_targets():
    small, large = (cast(count, count // 3, more={"advise": False}).steps for count in (1_000, 10_000))
    assert large <= 10.5 * small


def test_the_cost_of_a_forecast_grows_as_the_number_of_targets_whoever_owns_them():
    def steps(count):
        targets = tuple(Target(f"travis:o{n // 2}/r{n}", "travis", f"o{n // 2}/r{n}") for n in range(count))
        account = Account("travis", "travis", TRAVIS.url, limits=TRAVIS.limits)
        found = forecast(Plan("p", targets, {"travis": account}), {"travis": TRAVIS}, advise=False)
        assert found.accounts["travis"].looks <= 30.0 * found.last_build  # the limit of all calls
        return found.steps

    first, second, third = (
        steps(4_000),
        steps(8_000),
        steps(12_000),
    )  # looks need a while until they are as many as may be
    assert third - second <= 1.05 * (second - first) <= 1.05 * 3 * 4_000


@pytest.mark.parametrize("calls", [1, 3, 50])
def test_looks_that_are_taken_in_one_go_are_no_more_than_their_limit_allows(calls):
    account = Account("travis", "travis", TRAVIS.url, limits=(Limit("calls", calls, 60.0),))
    looks = Polls(account, TRAVIS, Budget(account.limits))
    for row in range(400):
        looks.follow(row, f"o{row // 2}", 400)
    assert looks.round(0.0) == pytest.approx(60.0)
    assert looks.made == calls - calls // 4  # the rest is kept for triggers


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (45, "45 s"), (600, "10 min"), (7200, "2 h"), (9000, "2 h 30 min"), (100000, "1 d 4 h")],
)
def test_durations_are_said_for_people(seconds, text):
    assert rounded(seconds) == text


def test_instants_are_said_for_people():
    at = 1767574800.0  # 2026-01-05T01:00:00Z
    assert moment(at + 61, at) == "01:01 UTC"
    assert moment(at + 61, at, is_end=True) == "01:02 UTC"
    assert moment(at + 86400, at) == "2026-01-06 01:00 UTC"
    assert moment(math.inf, at) == "an unknown time"


def test_no_forecast_waits_for_ever():
    assert math.isfinite(
        cast(50, 1, concurrency=Concurrency(caps=(Cap("owner", 1),)), more={"times": QUICK}).last_build
    )
