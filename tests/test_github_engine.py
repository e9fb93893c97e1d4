"""The engine over GitHub's look-alike, in virtual time."""

import random
from collections import Counter
from contextlib import asynccontextmanager
from datetime import date
from itertools import pairwise

import anyio
import pytest

from orchestrator import manifest as manifests
from orchestrator.app.start import made_of
from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit
from orchestrator.core.events import MarkerProven, Prepared, Sighted
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, BuildState, Causes, Outcome
from orchestrator.core.next_step import NARROWEST
from orchestrator.core.progress import NEW, apply
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.github import SECONDARY, GitHubLookAlike
from orchestrator.lookalike.github.settings import RepoSpec, Settings, Shares
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.providers.github.provider import GitHub
from orchestrator.providers.port import Line
from orchestrator.providers.registry import known
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio
EPOCH = 1_767_571_200.0


def now():
    return EPOCH + anyio.current_time()


async def played(targets, *specs, over=lambda send: send, options=None, **settings):
    """The run's history, journal and look-alike, once it has ended; `over` stands between it and the engine."""
    text = f"version: 1\nname: weekly\nproviders: {{github: {{}}}}\ntargets: {targets}\n"
    read = manifests.read("m.yaml", text.encode(), declarations=known(), load=lambda name: b"")
    plan = manifests.expand(read, today=date(2026, 1, 5))
    world = GitHubLookAlike(Settings(repos=specs, **{"build": (20.0, 30.0), **settings}))
    send = over(world.send(now, anyio.sleep, random.Random(1)))

    @asynccontextmanager
    async def connect(account):
        yield Line(account, known()["github"], send, lambda send: GitHub(account, send, str), "hash")

    journal = MemoryJournal(now=now)
    await journal.make_run("r1", made_of(plan, {}), plan.targets, now())
    process = Process("here", "boot", 1, "1")
    engine = Engine("r1", journal, connect, options or Options(), now=now, process=process, random=random.Random(1))
    code = await engine.run()
    return await load(journal, "r1"), journal, world, code


async def test_triggers_are_a_second_apart_and_never_refused():
    specs = [RepoSpec(f"acme/r{n}") for n in range(40)]
    entry = f"[{{repos: [{', '.join(spec.slug for spec in specs)}], workflow: ci.yml, branches: [main]}}]"
    history, _, world, code = await played(entry, *specs)
    assert code is Exit.OK
    assert all(history.of(target.id).verdict.outcome is Outcome.PASSED for target in history.targets)
    times = sorted(run.created_at for run in world.counters.accepted)
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))
    assert set(world.counters.statuses) == {"200"}
    assert world.stats()["duplicates"] == {}


@pytest.mark.slow
async def test_a_thousand_runs_are_followed_with_few_calls_of_graphql_and_two_reads_each():
    count, calls = 1000, Counter()
    specs = [RepoSpec(f"acme/r{n}") for n in range(count)]
    entry = f"[{{repos: [{', '.join(spec.slug for spec in specs)}], workflow: ci.yml, branches: [main]}}]"

    def over(send):
        async def counted(call):
            kinds = {"graphql": "graphql", "/jobs": "log", "/actions/runs/": "run"}
            calls[next((kind for part, kind in kinds.items() if part in call.path), "other")] += 1
            return await send(call)

        return counted

    world_of = {"build": (600.0, 1800.0), "concurrency": count, "shares": Shares(failed=0.05)}
    logs = Options(causes=Causes())
    history, _, world, code = await played(entry, *specs, over=over, options=logs, **world_of)
    assert code is Exit.FAILED
    lives = [history.of(target.id).verdict.at - history.of(target.id).requested_at for target in history.targets]
    assert calls["graphql"] <= 0.05 * sum(lives) / NARROWEST
    assert calls["log"] > len(history.targets) * 0.05
    assert calls["run"] + calls["log"] <= 2.2 * count
    assert not {"403", "429"} & set(world.counters.statuses)


async def test_two_workflows_of_one_repository_are_prepared_and_proven_apart():
    spec = RepoSpec("acme/a", workflows=("ci.yml", "b.yml"))
    entry = "[{repo: acme/a, workflow: ci.yml}, {repo: acme/a, workflow: b.yml, name: b}]"
    _, journal, world, code = await played(entry, spec)
    assert code is Exit.OK
    events = [entry.event for entry in journal.disk.entries("r1")]
    assert len({event.repo for event in events if isinstance(event, Prepared)}) == 2
    assert len({event.place for event in events if isinstance(event, MarkerProven)}) == 2
    assert sorted(run.workflow for run in world.counters.accepted) == ["b.yml", "ci.yml"]


async def test_an_event_is_followed_to_the_end_of_all_that_it_started():
    history, *_, code = await played("[{repo: acme/a, event: go}]", RepoSpec("acme/a", workflows=("a.yml", "b.yml")))
    assert code is Exit.OK
    progress = history.of("github:acme/a")
    assert progress.request.id == min(build.id for build in progress.builds)
    assert {build.state for build in progress.builds} == {BuildState.PASSED}
    assert len(progress.builds) == 2


async def test_a_lost_answer_is_settled_by_the_marker_and_makes_no_second_run():
    fault = FaultRule("lost_after", nth=(1,))
    history, _, world, code = await played("[{repo: acme/a, workflow: ci.yml}]", RepoSpec("acme/a"), faults=(fault,))
    assert code is Exit.OK
    assert history.of("github:acme/a").how == "found"
    assert len(world.counters.accepted) == 1


async def test_a_lost_answer_without_a_marker_stays_in_doubt_where_a_run_could_be_it():
    fault = FaultRule("lost_after", nth=(1,))
    entry = "[{repo: acme/a, workflow: ci.yml, timeouts: {accept: 5m}}]"
    history, _, world, code = await played(entry, RepoSpec("acme/a", marker=False), faults=(fault,))
    assert code is Exit.IN_DOUBT
    assert len(world.counters.accepted) == 1
    assert "may be this one" in history.of("github:acme/a").verdict.reason


async def test_a_lost_trigger_without_a_marker_is_sent_again_where_no_run_could_be_it():
    fault = FaultRule("lost_before", nth=(1,))
    entry = "[{repo: acme/a, workflow: ci.yml}]"
    *_, world, code = await played(entry, RepoSpec("acme/a", marker=False), faults=(fault,))
    assert (code, len(world.counters.accepted)) == (Exit.OK, 1)


async def test_a_run_that_ran_nothing_is_skipped():
    history, *_, code = await played(
        "[{repo: acme/a, workflow: ci.yml}]", RepoSpec("acme/a"), shares=Shares(skipped=1.0)
    )
    verdict = history.of("github:acme/a").verdict
    assert (code, verdict.outcome, verdict.code) == (Exit.OK, Outcome.SKIPPED, "nothing_built")


def test_of_several_builds_all_must_end_and_the_worst_decides():
    progress = NEW
    going = Build("1", BuildState.RUNNING, "in_progress")
    for build in (going, replace(going, id="2"), replace(going, id="2", state=BuildState.FAILED)):
        progress = apply(progress, Sighted("t", build), 0.0)
    assert progress.build.id == "1"
    progress = apply(progress, Sighted("t", replace(going, state=BuildState.PASSED)), 0.0)
    assert progress.build.state is BuildState.FAILED
    for state, worst in ((BuildState.CANCELED, "canceled"), (BuildState.ERRORED, "errored")):
        seen = apply(progress, Sighted("t", replace(going, id="2", state=state)), 0.0)
        assert seen.build.state == worst


async def test_a_secondary_limit_without_a_time_is_left_alone_for_a_minute_then_two():
    asked = []

    def over(send):
        async def refusing(call):
            if call.purpose != "trigger":
                return await send(call)
            asked.append(now())
            return Answer(403, {"message": SECONDARY}) if len(asked) < 4 else await send(call)

        return refusing

    *_, code = await played("[{repo: acme/a, workflow: ci.yml}]", RepoSpec("acme/a"), over=over)
    assert code is Exit.OK
    assert [round(later - earlier) // 60 for earlier, later in pairwise(asked)] == [1, 2, 4]
