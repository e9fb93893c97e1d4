"""What `doctor` finds, against a served look-alike; it triggers nothing."""

import re
from contextlib import contextmanager

import anyio
import pytest
from cli_machine import Program

from orchestrator.app import pacing
from orchestrator.core.exits import Exit
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings

REPOS = (
    RepoSpec("acme/off", active=False),
    RepoSpec("acme/closed", may_trigger=False),
    RepoSpec("acme/gone", known=False),
    RepoSpec("acme/good"),
)


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


@contextmanager
def served(program, **settings):
    world = TravisLookAlike(Settings(repos=REPOS, **settings))
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(world)) as at:
        program.environ["TRAVIS_TOKEN"] = at.token
        lines = "".join(f"  - {repo.slug}\n" for repo in REPOS)
        program.write("orchestrator.yaml", f"version: 1\nproviders: {{travis: {{url: '{at.url}'}}}}\ntargets:\n{lines}")
        yield world
    assert world.counters.accepted == []


def test_what_is_wrong_stands_last_with_what_to_do_about_it(program):
    with served(program, skew=90.0):
        assert program("doctor") == Exit.FAILED
    assert re.sub("differ by (89|90) s", "differ by 90 s", program.out).splitlines()[-6:] == [
        "ok    travis: limits: triggers 40/30s, calls 1800/1m, triggers_per_repo 10/1h; 16 connections",
        "WARN  travis: our clocks differ by 90 s; set this machine's clock; the run allows for it meanwhile",
        "BAD   acme/off: builds are switched off; activate it at the provider, or `skip` it",
        "BAD   acme/closed: the token may not trigger builds here; give its user push access",
        "BAD   acme/gone: there is no such repository, or the token may not see it; check its name",
        "10 checks: 3 repositories would be refused, the others are fine; nothing was triggered",
    ]


def test_all_is_well_for_those_that_are_selected(program):
    with served(program):
        assert program("doctor", "--only", "acme/good") == Exit.OK
        assert "ok    acme/good: active, allowed, default branch main" in program.out
        assert program("doctor", "--only", "acme/good", "-q") == Exit.OK
        assert program.out == ""


def test_a_dead_token_is_found_and_no_repository_is_asked(program):
    with served(program) as world:
        program.environ["TRAVIS_TOKEN"] = "wr0ng-t0ken"
        assert program("doctor") == Exit.ACCOUNT
        assert len(world.counters.calls) == 1
    assert "Travis does not accept the token" in program.out
    assert "wr0ng" not in program.out + program.err


def test_nobody_at_the_address_is_told_with_where_to_look(program, monkeypatch):
    monkeypatch.setattr(pacing, "PAUSE", 0.001)  # it tries four times
    with served(program):
        pass
    assert program("doctor") == Exit.ACCOUNT
    assert "cannot connect" in program.out
    assert "look at the URL, the network and HTTPS_PROXY" in program.out
    assert program.out.endswith("a run would not work; fix the BAD lines first\n")
