"""What `plan` looks up ahead: branches that are not there, how long builds took; against a served look-alike."""

import json
import sqlite3
import time
from contextlib import contextmanager

import anyio
import pytest
from cli_machine import Program

from orchestrator.app import ahead
from orchestrator.core.errors import Exit
from orchestrator.lookalike.kit.http import Effect, Harm
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings
from tests.sandbox_visitor import Visitor

TARGETS = (
    "[acme/a@main, acme/a@nosuch, acme/b@release/2.x, acme/b@releas, acme/b, {repo: acme/b, tag_name: v1, branch: t}]"
)
HOUR = 3600.0
REPOS = (RepoSpec("acme/a"), RepoSpec("acme/b", branches=("release/2.x", "release/2.x-old")))


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


@contextmanager
def served(program, targets=TARGETS, more="", world=None):
    world = world or TravisLookAlike(Settings(repos=REPOS))
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(world)) as at:
        program.environ["TRAVIS_TOKEN"] = at.token
        text = f"version: 1\nproviders: {{travis: {{url: '{at.url}'{more}}}}}\ntargets: {targets}\n"
        program.write("orchestrator.yaml", text)
        yield world
    assert [request for request in world.counters.accepted if request.created_at > time.time() - HOUR] == []


def calls_of(world):
    return sum(world.counters.calls.values()) if isinstance(world.counters.calls, dict) else len(world.counters.calls)


def warnings_of(program):
    assert program("plan", "-o", "json") == Exit.OK
    return [text for text in json.loads(program.out)["warnings"] if "has not seen" in text]


def test_plan_and_doctor_tell_the_branches_that_the_service_has_not_seen(program):
    with served(program):
        (told,) = warnings_of(program)
        assert told.startswith("branches that the service has not seen: acme/a@nosuch, acme/b@releas; check the name")
        assert program("doctor") == Exit.OK
    said = " ".join(program.out.split())
    assert "WARN 2 places: the service has not seen this branch" in said
    assert "acme/a@nosuch, acme/b@releas" in said
    assert " ".join(ahead.REMEDY.split()) in said


def test_an_answer_about_a_branch_holds_for_an_hour_for_all_processes_of_the_state(program):
    with served(program) as world:
        (told,) = warnings_of(program)
        before = calls_of(world)
        assert warnings_of(program) == [told]
        assert calls_of(world) - before <= 1  # who we are


def test_at_most_so_many_branches_are_looked_up(program, monkeypatch):
    monkeypatch.setattr(ahead, "MOST", 3)
    targets = "[" + ", ".join(f"acme/a@b{number}" for number in range(9)) + "]"
    with served(program, targets):
        (told,) = warnings_of(program)
    assert told.startswith("branches that the service has not seen: acme/a@b0, acme/a@b1, acme/a@b2; ")


def test_no_branch_is_looked_up_offline_or_where_plan_must_show_first_who_gets_the_token(program):
    with served(program) as world:
        assert program("plan", "--offline", "-o", "json") == Exit.OK
        assert program("check") == Exit.OK
        assert calls_of(world) == 0
    with served(program, more=", token: 'command:cat token'") as world:
        assert warnings_of(program) == []
        assert calls_of(world) == 0


def test_plan_needs_no_token_and_no_answer(program):
    with served(program):
        del program.environ["TRAVIS_TOKEN"]
        assert warnings_of(program) == []


# -- how long builds took ---------------------------------------------------------------------------------------


def with_builds(*repos):
    """A service on which each of the repositories had a build of 20 minutes, two hours ago."""
    visitor = Visitor(repos=REPOS, build=(1200.0, 1200.0))
    visitor.world, visitor.now = TravisLookAlike(visitor.world.settings, began=time.time()), time.time() - 2 * HOUR
    for repo in repos:
        visitor.create(f"/repo/{repo.replace('/', '%2F')}", branch="main")
    visitor.later(HOUR).get("/user")
    return visitor.world


def asked_of(world):
    """The paths of calls, as they come."""
    paths, handle = [], world.handle
    world.handle = lambda call, now: [paths.append(call.path), handle(call, now)][1]
    return paths


def forecast_of(program, *words):
    assert program("plan", "-o", "json", *words) == Exit.OK
    told = json.loads(program.out)["forecast"]
    return told["last_build_seconds"], [text for text in told["supposed"] if "last builds" in text]


def test_plan_takes_durations_from_the_last_builds_of_the_provider_where_earlier_runs_tell_none(program):
    with served(program, "[acme/a@main, acme/b]", world=with_builds("acme/a")) as world:
        paths = asked_of(world)
        seconds, (told,) = forecast_of(program)
        assert told == "durations of 1 repository from the provider's last builds; a start 2 s after its trigger"
        assert 1200 < seconds < 1300
        assert paths.count("/repo/acme%2Fa/builds") == 1
        assert forecast_of(program) == (seconds, [told])
        assert paths.count("/repo/acme%2Fa/builds") == 1
        assert forecast_of(program, "--offline") == (seconds, [told])
        assert program("plan", "--offline", "--state", "other") == Exit.OK
        assert "no build is known from earlier runs: 5 min each" in program.out


def test_the_last_builds_of_at_most_so_many_repositories_are_looked_up_and_stand_for_the_others(program, monkeypatch):
    monkeypatch.setattr(ahead, "MOST", 1)
    with served(program, "[acme/b, acme/a]", world=with_builds("acme/a", "acme/b")) as world:
        paths = asked_of(world)
        seconds, (told,) = forecast_of(program)
        assert told.startswith("durations of 1 repository ")
        assert 1200 < seconds < 1300
        assert "/repo/acme%2Fa/builds" not in paths
        assert forecast_of(program)[1][0].startswith("durations of 2 repositories ")


def test_a_run_keeps_the_forecast_that_plan_has_shown(program):
    with served(program, "[acme/a, acme/b]", world=with_builds("acme/a")):
        seconds, _ = forecast_of(program)
        program.environ["TRAVIS_TOKEN"] = "wr0ng"
        assert program("run", "--run-id", "one") == Exit.ACCOUNT
    assert program("report", "one", "-o", "json") == Exit.OK
    assert program.json["forecast"]["last_build_seconds"] == pytest.approx(seconds, rel=0.05)


def test_what_was_remembered_and_cannot_be_read_is_nothing(program):
    with served(program, "[acme/a]", world=with_builds("acme/a")):
        _, (told,) = forecast_of(program)
        (state,) = program.folder.rglob("state.db")
        with sqlite3.connect(state) as db:
            changed = db.execute("UPDATE principal SET alias = '{\"acme/a\": [1e400]}' WHERE alias LIKE '{%'").rowcount
        assert changed == 1
        assert forecast_of(program)[1] == [told]


def test_what_was_learnt_before_the_patience_of_plan_ended_is_kept(program, monkeypatch):
    monkeypatch.setattr(ahead, "SHARE", 0.3)
    world = with_builds("acme/a", "acme/b")
    handle = world.handle

    def never_for_b(call, now):
        reply = handle(call, now)
        is_lost = call.path.endswith(("b/builds", "b/branches"))
        return reply._replace(effect=Effect(Harm.HANG)) if is_lost else reply

    world.handle = never_for_b
    with served(program, "[acme/a@nosuch, acme/b@nosuch]", world=world):
        for _ in range(2):
            assert forecast_of(program)[1][0].startswith("durations of 1 repository ")
            assert any("acme/a@nosuch; check" in text for text in program.json["warnings"])
