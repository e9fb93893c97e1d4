"""The engine over GitLab's look-alike, in virtual time."""

from itertools import pairwise

import pytest
from gitlab_bench import FREE, now, played

from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit
from orchestrator.core.events import MarkerProven, Prepared
from orchestrator.core.model import BuildState, Outcome
from orchestrator.core.rehearsal import Rehearsal
from orchestrator.lookalike.gitlab.routes import TOO_MANY
from orchestrator.lookalike.gitlab.settings import RepoSpec, Shares
from orchestrator.lookalike.kit.faults import FaultRule

pytestmark = pytest.mark.anyio

A = RepoSpec("acme/deep/a")
ONE = "[acme/deep/a@main]"


async def test_triggers_keep_both_limits_and_are_never_refused():
    specs = [RepoSpec(f"acme/r{n}") for n in range(30)]
    crowded = RepoSpec("acme/many", branches=tuple(f"b{n}" for n in range(40)))
    entry = f"[{{repos: [{', '.join(spec.slug for spec in specs)}], branches: [main]}}, {{repo: acme/many, branches: "
    history, _, world, code = await played(f"{entry}[{', '.join(crowded.branches)}]}}]", *specs, crowded)
    assert code is Exit.OK
    assert all(history.of(target.id).verdict.outcome is Outcome.PASSED for target in history.targets)
    assert set(world.counters.statuses) == {"200", "201"}
    assert world.stats()["duplicates"] == {}
    assert world.counters.worst_of_a_repo(60.0) == 25
    times = sorted(row.created_at for row in world.counters.accepted)
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[5:], strict=False))


async def test_a_project_is_looked_up_once_and_the_marker_proven_once():
    entry = "[{repo: acme/deep/a, branches: [main, dev]}, acme/b@main]"
    branches = ("main", "dev")
    _, journal, world, code = await played(entry, RepoSpec("acme/deep/a", branches=branches), RepoSpec("acme/b"))
    assert code is Exit.OK
    events = [entry.event for entry in journal.disk.entries("r1")]
    assert sum(isinstance(event, Prepared) for event in events) == 2
    assert sum(isinstance(event, MarkerProven) for event in events) == 1
    assert len(world.counters.accepted) == 3


async def test_a_lost_answer_is_settled_by_the_marker_and_makes_no_second_pipeline():
    history, _, world, code = await played(ONE, A, faults=(FaultRule("lost_after", nth=(1,)),))
    assert code is Exit.OK
    assert history.of("gitlab:acme/deep/a@main").how == "found"
    assert len(world.counters.accepted) == 1


async def test_a_lost_trigger_is_sent_again_where_no_pipeline_is_it():
    *_, world, code = await played(ONE, A, faults=(FaultRule("lost_before", nth=(1,)),))
    assert (code, len(world.counters.accepted)) == (Exit.OK, 1)


async def test_a_lost_answer_stays_in_doubt_where_variables_are_hidden():
    entry = "[{repo: acme/deep/a, timeouts: {accept: 5m}}]"
    spec = RepoSpec("acme/deep/a", hidden=True)
    history, _, world, code = await played(entry, spec, faults=(FaultRule("lost_after", nth=(1,)),))
    assert (code, len(world.counters.accepted)) == (Exit.IN_DOUBT, 1)
    assert "may be this one" in history.of("gitlab:acme/deep/a").verdict.reason


@pytest.mark.parametrize(
    ("spec", "entry", "code"),
    [
        ({"variables": False}, "{repo: acme/deep/a}", "variables_forbidden"),
        ({"filtered": True}, "{repo: acme/deep/a}", "nothing_to_build"),
        ({}, "acme/deep/a@gone", "ref_not_found"),
        ({"archived": True}, "{repo: acme/deep/a}", "archived"),
        ({"may_trigger": False}, "{repo: acme/deep/a}", "insufficient_access"),
        ({"variables": False, "inputs": ("m",)}, "{repo: acme/deep/a, marker_input: m}", "passed"),
    ],
)
async def test_what_gitlab_refuses_is_rejected_with_its_code(spec, entry, code):
    history, *_ = await played(f"[{entry}]", RepoSpec("acme/deep/a", **spec))
    assert history.of(history.targets[0].id).verdict.code == code


async def test_without_a_branch_the_default_one_is_built_and_shown():
    history, *_, code = await played("[acme/deep/a]", RepoSpec("acme/deep/a", default_branch="trunk"))
    assert code is Exit.OK
    assert history.of("gitlab:acme/deep/a").build.branch == "trunk"


async def test_the_limit_that_is_a_400_is_left_alone_for_a_minute_then_two():
    asked = []

    def over(send):
        async def refusing(call):
            if call.purpose != "trigger":
                return await send(call)
            asked.append(now())
            return Answer(400, {"message": {"base": [TOO_MANY]}}) if len(asked) < 4 else await send(call)

        return refusing

    *_, code = await played(ONE, A, over=over)
    assert code is Exit.OK
    assert [round(later - earlier) // 60 for earlier, later in pairwise(asked)] == [1, 2, 4]


async def test_a_failed_pipeline_below_fails_its_target():
    told = Rehearsal(fails=("acme/below",))
    spec = RepoSpec("acme/deep/a", starts=("acme/below",))
    history, *_, code = await played(ONE, spec, RepoSpec("acme/below"), rehearsal=told)
    progress = history.of("gitlab:acme/deep/a@main")
    assert (code, progress.verdict.outcome) == (Exit.FAILED, Outcome.FAILED)
    assert {build.state for build in progress.builds} == {BuildState.PASSED, BuildState.FAILED}
    assert progress.builds[0].id == progress.request.id


@pytest.mark.parametrize("starts", [(), ("acme/below",)])
async def test_a_rerun_starts_again_what_failed_be_it_below(starts):
    told = Rehearsal(flakes=(starts or ("acme/deep/a",)))
    specs = (RepoSpec("acme/deep/a", starts=starts), RepoSpec("acme/below"))
    history, _, world, code = await played("[{repo: acme/deep/a, reruns: 1}]", *specs, rehearsal=told)
    progress = history.of("gitlab:acme/deep/a")
    assert (code, progress.verdict.code, progress.reruns) == (Exit.OK, "passed_after_rerun", 1)
    assert len(world.counters.accepted) == 1


async def test_a_skipped_pipeline_ran_nothing():
    history, *_ = await played(ONE, A, shares=Shares(skipped=1.0))
    verdict = history.of("gitlab:acme/deep/a@main").verdict
    assert (verdict.outcome, verdict.code) == (Outcome.SKIPPED, "nothing_built")


async def test_with_trigger_tokens_alone_a_run_ends_once_all_is_accepted():
    account = "{trigger_token: 'env:TT', follow: none}"
    spec = RepoSpec("acme/deep/a", trigger_token="*")
    history, _, world, code = await played(ONE, spec, account=account)
    verdict = history.of("gitlab:acme/deep/a@main").verdict
    assert (code, verdict.outcome, verdict.code) == (Exit.OK, Outcome.PASSED, "accepted")
    assert "not followed" in verdict.reason
    assert len(world.counters.calls) == 1


async def test_a_throttle_in_the_middle_is_waited_out():
    specs = [RepoSpec(f"acme/r{n}") for n in range(30)]
    entry = f"[{{repos: [{', '.join(spec.slug for spec in specs)}]}}]"
    history, _, world, code = await played(entry, *specs, **{**FREE, "calls": 30})
    assert code is Exit.OK
    assert world.stats()["duplicates"] == {}
    assert all(history.of(target.id).verdict.outcome is Outcome.PASSED for target in history.targets)
