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
from orchestrator.core.events import Intended, MarkerProven, Prepared, Sighted
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, BuildState, Causes, Outcome, Scope
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
from orchestrator.providers.registry import declared, known
from orchestrator.report.story import sentence_of
from orchestrator.report.view import view
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio
EPOCH = 1_767_571_200.0


def now():
    return EPOCH + anyio.current_time()


async def played(targets, *specs, over=lambda send: send, options=None, keys="", **settings):
    """The run's history, journal and look-alike, once it has ended; `over` stands between it and the engine.

    Args:
        keys: of the account.
    """
    text = f"version: 1\nname: weekly\nproviders: {{github: {{{keys}}}}}\ntargets: {targets}\n"
    read = manifests.read("m.yaml", text.encode(), declarations=known(), load=lambda name: b"")
    plan = manifests.expand(read, today=date(2026, 1, 5))
    world = GitHubLookAlike(Settings(repos=specs, **{"build": (20.0, 30.0), **settings}))
    send = over(world.send(now, anyio.sleep, random.Random(1)))

    @asynccontextmanager
    async def connect(account):
        yield Line(
            account, declared(account), send, lambda send: GitHub(replace(account, token="env:T"), send, str), "hash"
        )

    journal = MemoryJournal(now=now)
    await journal.make_run("r1", made_of(plan, {}), plan.targets, now())
    process = Process("here", "boot", 1, "1")
    engine = Engine("r1", journal, connect, options or Options(), now=now, process=process, random=random.Random(1))
    code = await engine.run()
    return await load(journal, "r1"), journal, world, code


APP = "app: {id: 1, key: file:app.pem}"


async def test_each_installation_of_an_app_has_its_own_rates():
    """A second between the triggers of an owner, whatever others do, and no call beyond what its points allow."""
    slugs = [f"{owner}/r{n}" for owner in ("acme", "beta", "gamma") for n in range(20)]
    wanted = "[" + ", ".join(f"{{repo: {slug}, branch: main, workflow: ci.yml}}" for slug in slugs) + "]"
    specs = [RepoSpec(slug) for slug in slugs]
    under_way, most_at_once = Counter(), Counter()

    def over(send):
        async def sent(call):
            owner = call.repo.partition("/")[0] if call.purpose == "trigger" else ""
            under_way[owner] += 1
            most_at_once.update({owner: max(0, under_way[owner] - most_at_once[owner])} if owner else {})
            answer = await send(call)
            under_way[owner] -= 1
            return answer

        return sent

    _, _, world, code = await played(wanted, *specs, over=over, keys=APP, points=10**6, latency=(0.05, 0.3))
    assert code == 0
    times = {owner: [] for owner in ("acme", "beta", "gamma")}
    for run in world.counters.accepted:
        times[run.slug.partition("/")[0]].append(run.created_at)
    for made in times.values():
        assert len(made) == 20
        assert all(later - earlier >= 0.95 for earlier, later in pairwise(made))  # as they arrive
    whole = [at for made in times.values() for at in made]
    assert max(whole) - min(whole) < 30.0  # one after the other they would take a minute
    assert most_at_once == {"acme": 1, "beta": 1, "gamma": 1}


async def test_what_one_owner_is_refused_for_holds_up_no_look_at_the_builds_of_others():
    slugs = [f"{owner}/r{n}" for owner in ("acme", "beta", "gamma", "delta", "eps", "zeta") for n in range(2)]
    wanted = "[" + ", ".join(f"{{repo: {slug}, branch: main, workflow: ci.yml}}" for slug in slugs) + "]"
    closed = {"beta", "gamma", "delta", "eps"}  # as many as there are polls at once

    def over(send):
        async def sent(call):
            owner = (call.repo or "").partition("/")[0]
            if owner in closed and "dispatches" not in call.path and call.purpose == "poll":
                await anyio.sleep(0.1)
                scope = Scope("owner", owner)
                message = {"message": "API rate limit exceeded for installation ID 7."}
                headers = {"x-ratelimit-remaining": "0", "retry-after": "1800"}
                return Answer(403, message, headers, scope=scope) if now() < EPOCH + 3000.0 else await send(call)
            return await send(call)

        return sent

    history, *_ = await played(wanted, *[RepoSpec(slug) for slug in slugs], over=over, keys=APP, points=10**6)
    ends = {target.repo: history.progress[target.id].verdict.at - EPOCH for target in history.targets}
    assert all(at < 120.0 for slug, at in ends.items() if slug.partition("/")[0] not in closed)
    assert all(at > 1800.0 for slug, at in ends.items() if slug.partition("/")[0] in closed)


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


@pytest.mark.parametrize("marker", [True, False])
async def test_reports_and_why_show_a_marker_only_where_it_was_sent(marker):
    history, journal, world, code = await played(
        "[{repo: acme/a, workflow: ci.yml}]", RepoSpec("acme/a", marker=marker)
    )
    assert code is Exit.OK
    [row] = view("r1", history, now()).targets
    [intended] = [one.event for one in journal.disk.entries("r1") if isinstance(one.event, Intended)]
    assert (row.marker is not None) is ("marked" in sentence_of(intended)) is intended.carried is marker
    assert dict(world.counters.by_marker()) == ({row.marker: 1} if marker else {})


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
