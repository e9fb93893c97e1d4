"""The forecast as people and programs get it: from `plan`, in the report, from what earlier runs showed."""

import json

import pytest
from cli_machine import Program, context_of
from golden.story import ACCOUNTS, START, target, told
from leases import claim

from orchestrator.app import resume
from orchestrator.app.lookups import REHEARSED_AT_ONCE, REHEARSED_BY_TYPE, times_in
from orchestrator.core.events import Ended, Intended, Requested, RunMade, Sighted, from_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Outcome, Plan
from orchestrator.journal.history import load
from orchestrator.lookalike.kit.life import LifeSettings
from orchestrator.lookalike.travis.settings import demo
from orchestrator.report import render
from orchestrator.report.view import view
from orchestrator.testing import MemoryJournal

MANIFEST = """
version: 1
providers: {travis: {token: env:T}}
targets:
  - {repo: acme/api, branches: [a, b, c, d, e, f, g, h, i, j, k, l]}
  - acme/web
"""
A, B = "travis:acme/a@main", "travis:acme/b@main"
CAST = {"last_trigger_seconds": 61.0, "last_build_seconds": 400.0}


@pytest.fixture
def program(tmp_path, capsys):
    made = Program(tmp_path, capsys, T="x")
    made.write("orchestrator.yaml", MANIFEST)
    return made


def test_a_plan_says_what_binds_when_what_helps_and_what_is_left_for_people(program):
    assert program("plan", "--offline") == 0
    for line in (
        "forecast: 13 triggers, the last after 1 h; what takes longest is triggers_per_repo 10/1h of acme/api",
        "  last build: ends after about 1 h 5 min",
        "  waits for: triggers_per_repo 10/1h of acme/api from 2 s to 1 h",
        "acme/api: nothing of triggers_per_repo 10/1h",
        "  suggestion: at most 10 targets of a repository (2 targets left out): 2 s instead of 1 h",
        "  assumes: no build is known from earlier runs: 5 min each, started 2 s after the trigger",
    ):
        assert line in program.out, program.out


def test_a_plan_says_the_same_to_programs(program):
    assert program("plan", "--offline", "-o", "json") == 0
    cast, account = program.json["forecast"], program.json["accounts"]["travis"]
    assert cast["seconds"] == cast["last_trigger_seconds"] == account["seconds"] == pytest.approx(3602.5, abs=2.0)
    assert cast["last_build_seconds"] > cast["last_trigger_seconds"] + 300.0
    assert (cast["triggers"], account["triggers"]) == (13, 13)
    assert cast["advice"][0].keys() == {"what", "last_trigger_seconds", "last_build_seconds"}
    [phase] = account["phases"]
    assert (phase["limit"], phase["where"], phase["places"]) == ("triggers_per_repo 10/1h", "acme/api", 1)
    [busiest] = [one for one in account["allowance"] if one["where"] == "acme/api"]
    assert (busiest["used"], busiest["allowed"], busiest["left"]) == (10, 10, 0.0)


def test_quiet_hours_that_are_ignored_put_nothing_off(program):
    program.write("q.yaml", MANIFEST.replace("token: env:T", "token: env:T, limits: {quiet_hours: '00:00-23:59'}"))
    assert program("plan", "q.yaml", "--offline", "--ignore-quiet-hours", "-o", "json") == 0
    assert program.json["forecast"]["seconds"] < 3700.0


@pytest.mark.slow  # builds of some seconds, in real time
def test_a_rehearsal_is_forecast_with_as_many_builds_at_once_as_its_look_alike_runs(program):
    """What it runs at once is a setting of the look-alike: jobs, of which a build has one or two."""
    settings = demo()
    least, most = settings.jobs
    assert REHEARSED_BY_TYPE["travis"] == settings.concurrency / ((least + most) / 2)
    assert LifeSettings().concurrency == REHEARSED_AT_ONCE
    program.write("many.yaml", "version: 1\ntargets:\n" + "".join(f"  - acme/r{n}@main\n" for n in range(240)))
    assert program("plan", "many.yaml", "--sandbox", "--rate", "240/1s", "-o", "json") == 0
    found = program.json["forecast"]
    assert 25 < found["last_build_seconds"] < 60  # 240 builds of 5 s, 40 at once; without a bound it were 7
    assert "the sandbox runs about 40 builds of acme at once" in found["supposed"]
    program.write("few.yaml", "version: 1\nrollout: {stop_when: {worse_than_usual: true}}\ntargets: [acme/r1@main]\n")
    assert program("plan", "few.yaml", "--sandbox") == 0
    assert "assumes: builds fail as usual, so that worse_than_usual stops nothing" in program.out
    assert "builds of acme at once" not in program.out.partition("waves:")[0]


@pytest.mark.slow  # builds of some seconds, in real time
def test_a_rehearsal_keeps_what_was_forecast_and_the_next_plan_knows_its_builds(program):
    program.write("one.yaml", "version: 1\ntargets: [acme/a]\n")
    program("run", "one.yaml", "--sandbox", "-o", "json")
    cast = program.json["forecast"]
    assert cast["last_build_seconds"] > 0.0
    assert cast["actual_last_build_seconds"] == pytest.approx(cast["last_build_seconds"], abs=15.0)
    program("plan", "one.yaml", "--sandbox")
    assert "builds run as long as those of earlier runs did (1 build in this state)" in program.out


# the report


def story(*facts, cast=CAST):
    made = RunMade("n", None, "", forecast=cast)
    return told([target(A), target(B)], *facts, made=made)


def ended(second, name):
    build = Build("1", BuildState.PASSED, "passed")
    return [
        (second, Intended(name, 1, None)),
        (second, Requested(name, "1", "answered")),
        (second + 50, Sighted(name, build)),
        (second + 50, Ended(name, Outcome.PASSED, "passed", "")),
    ]


def report_of(made):
    return view(made.run_id, made.history, made.now)


def test_a_report_tells_what_was_forecast_beside_what_happened():
    told_ = report_of(story(*ended(1, A), *ended(63, B)))
    document = json.loads(render(told_, "json"))
    assert document["forecast"] == {
        **CAST,
        "actual_last_trigger_seconds": pytest.approx(63.0, abs=1.0),
        "actual_last_build_seconds": pytest.approx(113.0, abs=1.0),
    }
    trigger, build = "1 min 3 s, 1 min 1 s were forecast", "1 min 53 s, 6 min 40 s were forecast"
    line = f"forecast: last trigger after {trigger}; last build after {build}"
    assert line in " ".join(render(told_, "text").split())


def test_what_is_still_to_come_is_not_compared():
    document = json.loads(render(report_of(story(*ended(1, A))), "json"))
    assert document["forecast"]["actual_last_trigger_seconds"] is None
    assert document["forecast"]["actual_last_build_seconds"] is None
    assert "were forecast" not in render(report_of(story(*ended(1, A))), "text")


@pytest.mark.parametrize("cast", [{}, {"last_trigger_seconds": "soon", "last_build_seconds": -1}, {"other": [1]}])
def test_a_forecast_that_is_none_is_left_out(cast):
    report = report_of(story(*ended(1, A), cast=cast))
    assert report.forecast is None
    assert '"forecast": null' in render(report, "json")


# what earlier runs showed


@pytest.mark.anyio
async def test_the_builds_of_earlier_runs_of_the_same_service_are_read_from_the_journal():
    from orchestrator.journal.port import Process

    journal = MemoryJournal(now=lambda: START)
    await journal.make_run("one", RunMade("n", None, "", accounts=ACCOUNTS), [target(A)], START)
    lease = await claim(journal, "one", "travis", Process("h", "b", 1, "1"), START, 30.0)
    build = Build("1", BuildState.PASSED, "passed", created_at=START, started_at=START + 5.0, finished_at=START + 95.0)
    await journal.append(lease, [Intended(A, 1, None), Requested(A, "1", "answered"), Sighted(A, build)], START)
    there = from_json(Account, ACCOUNTS["travis"])
    for name in ("travis", "night"):  # whatever the account is called by now
        times = await times_in(journal, "n", {name: replace(there, name=name)}, context_of())
        assert (times.builds, times.build(name, "acme/a")) == (1, (5.0, (90.0,)))
        assert times.beside == ("one",)
    other = {"travis": replace(there, url="https://travis.corp.example")}
    times = await times_in(journal, "n", other, context_of())
    assert (times.builds, times.beside) == (0, ())


@pytest.mark.anyio
@pytest.mark.parametrize("cast", [{"last_trigger_seconds": 1.0, "last_build_seconds": 2.0}, None])
async def test_a_retry_never_takes_over_the_forecast_of_the_old_run(cast):
    journal, one = MemoryJournal(), target(A)
    context = context_of(now=lambda: START)
    await resume.make("r2", "r1", story(*ended(1, A)).history, Plan("n", (one,), {}), journal, context, False, cast)
    assert (await load(journal, "r2")).made.forecast == (cast or {})


# what is told before the start


@pytest.mark.parametrize("rate", [(), ("--rate", "4000/s")])
def test_run_counts_as_many_warnings_as_plan_shows(program, rate):
    program.write("orchestrator.yaml", "version: 1\ntargets: [acme/a@x, 'travis:acme/a@x#two', acme/b]\n")
    assert program("plan", "--sandbox", "--offline", "-o", "json", *rate) == 0
    warnings = program.json["warnings"]
    assert any("is above the provider's default triggers 40/30s" in one for one in warnings) is bool(rate)
    assert program("run", "--sandbox", "--detach", *rate) == 0
    assert f"plan.warnings number={len(warnings)} " in program.err


def test_a_rate_above_the_default_is_told_by_run_and_one_below_takes_the_warning_back(program):
    text = "version: 1\nproviders: {travis: {type: travis, limits: {triggers: 400/30s}}}\ntargets: [acme/a]\n"
    program.write("orchestrator.yaml", text)
    assert program("run", "--sandbox", "--detach") == 0
    assert "limit triggers 400/30s is above the provider's default triggers 40/30s" in program.err
    assert program("run", "--sandbox", "--detach", "--rate", "30/30s") == 0
    assert "is above" not in program.err
    assert program("plan", "--sandbox", "--offline", "--rate", "30/30s") == 0
    assert "is above" not in program.out
