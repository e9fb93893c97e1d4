"""The engine over the look-alikes of Jenkins and Buildkite, in virtual time: once each, whatever is lost on the way."""

import random
from contextlib import asynccontextmanager
from datetime import date

import anyio
import pytest

from orchestrator import manifest as manifests
from orchestrator.app.start import made_of
from orchestrator.core.errors import Exit
from orchestrator.core.model import Outcome
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.kit.faults import KINDS
from orchestrator.providers import registry
from orchestrator.providers.port import Line
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio
EPOCH = 1_767_571_200.0
ACCOUNTS = {
    "jenkins": "{url: 'http://127.0.0.1:9', user: me}",
    "buildkite": "{limits: {calls: 900/1m, calls_per_organization: 900/1m}}",
}
MINE = {"jenkins": {}, "buildkite": {"user_calls": 10**6, "calls": 10**6}}
types = pytest.mark.parametrize("type_", ACCOUNTS)


def now():
    return EPOCH + anyio.current_time()


async def played(type_, targets, repos=30, **settings):
    """The run's history and its look-alike, once it has ended."""
    text = f"version: 1\nname: weekly\nproviders: {{{type_}: {ACCOUNTS[type_]}}}\ntargets: {targets}\n"
    read = manifests.read("m.yaml", text.encode(), declarations=registry.known(), load=lambda name: b"")
    plan = manifests.expand(read, today=date(2026, 1, 5))
    given = {"build": ["20s", "30s"], "repos": repos, "latency": "20ms", **MINE[type_], **settings}
    world, declared = registry.lookalike_of(type_).from_settings(given), registry.known()[type_]
    send, made = world.send(now, anyio.sleep, random.Random(1)), registry.load(declared.factory)

    @asynccontextmanager
    async def connect(account):
        yield Line(account, declared, send, lambda send: made(account, send, str), "hash")

    journal = MemoryJournal(now=now)
    await journal.make_run("r1", made_of(plan, {}), plan.targets, now())
    process = Process("here", "boot", 1, "1")
    engine = Engine("r1", journal, connect, Options(), now=now, process=process, random=random.Random(1))
    code = await engine.run()
    return await load(journal, "r1"), world, code


def all_of(repos):
    return "[{repos: [" + ", ".join(f"acme/svc-{n:03}" for n in range(1, repos + 1)) + "]}]"


@types
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "error_stuck"])
async def test_a_fault_of_any_kind_makes_no_second_build_and_loses_none(type_, kind):
    faults = [{"kind": kind, "share": 0.4, "methods": ["POST"]}]
    history, world, code = await played(type_, all_of(12), repos=12, faults=faults)
    assert code is Exit.OK
    assert {history.of(target.id).verdict.outcome for target in history.targets} == {Outcome.PASSED}
    assert set(world.counters.by_repo().values()) == {1}
    assert len(world.counters.accepted) == 12
    assert world.counters.faults[kind]


@types
async def test_faults_of_looks_change_no_verdict(type_):
    kinds = ("lost_before", "lost_after", "html", "garbled", "torn", "error_before")
    faults = [{"kind": kind, "share": 0.08, "methods": ["GET"]} for kind in kinds]
    shares = {"failed": 0.3}
    history, world, code = await played(type_, all_of(20), repos=20, faults=faults, shares=shares, seed=3)
    assert code is Exit.FAILED
    states = world.stats()["build_states"]
    outcomes = [history.of(target.id).verdict.outcome for target in history.targets]
    assert outcomes.count(Outcome.FAILED) == states.get("FAILURE", 0) + states.get("failed", 0) > 0
    assert len(world.counters.accepted) == 20


@types
async def test_builds_that_wait_longer_than_a_build_may_take_to_appear_are_queued(type_):
    history, _, code = await played(type_, all_of(3), repos=3, concurrency=1, build="70m")
    assert code is Exit.OK
    assert all(len(history.of(target.id).builds) == 1 for target in history.targets)
