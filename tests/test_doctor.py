"""What `doctor` finds, against a served look-alike; it triggers nothing."""

import re
import time
from contextlib import asynccontextmanager, contextmanager
from random import Random

import anyio
import pytest
from cli_machine import Program

from orchestrator.app.context import Context
from orchestrator.app.doctor import UNKNOWN, Finding, code_of, doctor
from orchestrator.app.plan import Choices, Source
from orchestrator.cli.doctor import _lines
from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit
from orchestrator.core.frozen import replace
from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Rule, Settings, numbered
from orchestrator.providers import registry
from orchestrator.providers.port import Line
from orchestrator.testing import Disk, MemoryJournal

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


def test_what_is_wrong_stands_first_with_what_to_do_about_it(program):
    with served(program, skew=90.0):
        assert program("doctor") == Exit.FAILED
    assert re.sub("differ by (89|90) s", "differ by 90 s", program.out).splitlines()[:9] == [
        "BAD   acme/off: builds are switched off",
        "      to do: activate it at the provider, or `skip` it",
        "BAD   acme/closed: the token may not trigger builds here",
        "      to do: give its user push access",
        "BAD   acme/gone: there is no such repository, or the token may not see it",
        "      to do: check its name and the token's user",
        "WARN  travis: our clocks differ by 90 s",
        "      to do: set this machine's clock; the run allows for it meanwhile",
        "ok    acme/good: active, allowed, default branch main",
    ]
    assert program.out.endswith(
        "10 checks: 3 repositories would be refused, the others are fine; nothing was triggered\n"
    )


def test_what_the_manifest_skips_is_not_looked_at(program):
    with served(program) as world:
        text = (program.folder / "orchestrator.yaml").read_text()
        for name in ("off", "closed", "gone"):
            text = text.replace(f"  - acme/{name}\n", f"  - {{repo: acme/{name}, skip: frozen}}\n")
        program.write("orchestrator.yaml", text)
        assert program("doctor") == Exit.OK
        assert len(world.counters.calls) == 3  # who we are, twice, and the one repository
    assert "3 targets that the manifest skips: not looked at" in program.out
    assert "acme/off" not in program.out


def test_an_account_of_which_all_is_skipped_is_not_asked(program):
    program.write("orchestrator.yaml", "version: 1\ntargets: [{repo: acme/a, skip: frozen}]\n")
    assert program("doctor") == Exit.OK  # no token is there
    assert "1 target that the manifest skips: not looked at" in program.out


def test_of_many_only_trouble_is_told_and_the_same_once():
    fine = [Finding("ok", f"acme/r{n}", "active, allowed, default branch main") for n in range(1_180)]
    off = [Finding("repo", f"acme/off{n}", "builds are switched off", "activate it") for n in range(20)]
    lost = [
        Finding(UNKNOWN, f"acme/x{n}", f"nothing was learnt: /repo/acme/x{n}: HTTP 500", "ask again") for n in (1, 2)
    ]
    lines = list(_lines([*fine, *off, *lost, Finding("account", "lab", "no token; make one")]))
    assert lines == [
        "BAD   lab: no token",
        "      to do: make one",
        "BAD   20 repositories: builds are switched off",
        "      to do: activate it",
        f"      {', '.join(f'acme/off{n}' for n in range(10))} and 10 more in -o json",
        "BAD   2 repositories: nothing was learnt: /repo/it: HTTP 500",
        "      to do: ask again",
        "      acme/x1, acme/x2",
        "ok    1,180 repositories are there, and can be triggered",
        "1,203 checks: a run would not work; fix the BAD lines first",
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
    monkeypatch.setattr("orchestrator.app.context.REACH", 0.1)
    with served(program):
        pass
    assert program("doctor") == Exit.ACCOUNT
    assert "cannot connect" in program.out
    assert "look at the URL, the network and HTTPS_PROXY" in program.out
    assert program.out.endswith("a run would not work; fix the BAD lines first\n")


# -- many repositories at once ----------------------------------------------------------------------------------

MANY = 1_200
START = 1_767_571_200.0  # 2026-01-05T00:00:00Z


class Office(Context):
    """Reaches the look-alike in memory, in virtual time."""

    world: TravisLookAlike

    @asynccontextmanager
    async def connect(self, account):
        declared = registry.declaration(account.type)
        send = self.world.send(self.now, anyio.sleep, Random(1))
        factory = registry.load(declared.factory)
        yield Line(account, declared, send, lambda send: factory(account, send, self.secrets), "hash")


@pytest.fixture
def offices(tmp_path):
    """Doctors of many repositories, each in a process of its own, over one state."""
    world = TravisLookAlike(Settings(repos=numbered(MANY), minute=Rule(2_000, 60.0), burst=None, seed=1))
    disk, now = Disk(), lambda: START + anyio.current_time()
    lines = "".join(f"  - {repo.slug}\n" for repo in numbered(MANY))
    (tmp_path / "m.yaml").write_text(f"version: 1\nproviders: {{travis: {{token: env:T}}}}\ntargets:\n{lines}")

    def office():
        clock = anyio.current_time
        made = Office(environ={"T": world.settings.token}, cwd=tmp_path, home=tmp_path, now=now, ticks=clock, up=clock)
        made.world = world

        async def checked():
            return await doctor(Source("m.yaml"), Choices(), made, journal=MemoryJournal(disk, now=now))

        return checked

    return world, office


@pytest.mark.anyio
@pytest.mark.parametrize("later", [0.0, 1.0, 30.0])
async def test_two_doctors_keep_the_limits_that_they_share(offices, later):
    world, office = offices
    found = []

    async def check():
        found.extend(await office()())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(check)
        await anyio.sleep(later)
        tasks.start_soon(check)
    assert {one.kind for one in found} == {"ok"}
    assert len([one for one in found if "/" in one.about]) >= 2 * MANY
    assert world.counters.statuses["429"] == 0
    asked_who_we_are = 2 * 2  # before it is known whose limits these are
    assert worst_window(world.counters.calls, 60.0) <= 1_800 + asked_who_we_are


def test_a_lookup_without_an_answer_is_no_good_sign():
    findings = [
        Finding("ok", "acme/a", "active, allowed"),
        Finding(UNKNOWN, "acme/b", "the provider asks for patience"),
    ]
    *_, last = _lines(findings)
    assert last == (
        "2 checks, 1 of them got no answer: whether a run would work is not known; try again later; "
        "nothing was triggered"
    )


# -- a service that refuses, or does not answer -----------------------------------------------------------------


class Refused(Office):
    """The service refuses so many looks at repositories first."""

    refusals: float

    @asynccontextmanager
    async def connect(self, account):
        async with Office.connect(self, account) as line:

            async def send(call):
                if call.path.startswith("/repo/") and self.refusals > 0:
                    self.refusals -= 1
                    return Answer(429, {"error_type": "too_many"}, {"retry-after": "1"})
                return await line.send(call)

            yield replace(line, send=send)


async def examined(tmp_path, refusals, timeouts="{}"):
    """What is found, and how many seconds it took."""
    repos = numbered(12)
    world = TravisLookAlike(Settings(repos=repos, burst=None, seed=1))
    lines = "".join(f"  - {repo.slug}\n" for repo in repos)
    head = f"version: 1\nproviders: {{travis: {{token: env:T}}}}\ndefaults: {{timeouts: {timeouts}}}\n"
    (tmp_path / "m.yaml").write_text(f"{head}targets:\n{lines}")
    clock = anyio.current_time
    now, environ = lambda: START + clock(), {"T": world.settings.token}
    made = Refused(environ=environ, cwd=tmp_path, home=tmp_path, now=now, ticks=clock, up=clock)
    made.world, made.refusals = world, refusals
    began = clock()
    found = await doctor(Source("m.yaml"), Choices(), made, journal=MemoryJournal(Disk(), now=now))
    return [one for one in found if "/" in one.about and one.about != "disk"], clock() - began, code_of(found)


@pytest.mark.anyio
async def test_looks_that_are_refused_are_made_again_until_all_was_seen(tmp_path):
    found, _, code = await examined(tmp_path, refusals=20)
    assert {one.kind for one in found} == {"ok"}
    assert code is Exit.OK


@pytest.mark.anyio
async def test_what_could_not_be_seen_is_told_and_the_exit_code_agrees(tmp_path):
    found, took, code = await examined(tmp_path, refusals=float("inf"))
    assert {one.kind for one in found} == {UNKNOWN}
    assert code is Exit.FAILED
    assert took < 600
    assert next(_lines(found)).startswith("BAD   12 repositories: ")
    assert all(one.remedy for one in found)


def test_an_account_out_of_reach_is_waited_for_as_long_as_the_manifest_says(program):
    program.environ["TRAVIS_TOKEN"] = "t0ken"
    timeouts = "defaults: {timeouts: {reach: 100ms}}\n"
    program.write(
        "orchestrator.yaml",
        f"version: 1\nproviders: {{travis: {{url: 'http://127.0.0.1:9'}}}}\n{timeouts}targets: [acme/a]\n",
    )
    began = time.monotonic()
    assert program("doctor") == Exit.ACCOUNT
    assert time.monotonic() - began < 8
    assert "out of reach" in program.out
