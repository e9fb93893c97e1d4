"""The provider against the look-alike: each knows the reference from its own side."""

import json
from collections import Counter

import pytest

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, RateLimited, Rejected, Unreachable
from orchestrator.core.model import Account, BuildState, Interval, Target, Trigger, marker_of
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.http import Harm, Incoming
from orchestrator.lookalike.kit.settings import Rule
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, Shares, numbered
from orchestrator.providers.kit.bodies import value
from orchestrator.providers.port import Followed
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis
from orchestrator.providers.travis.wire import headers

pytestmark = pytest.mark.anyio

T0 = 1767574800.0


class Sandbox:
    """A world, and the provider that talks to it in memory; `now` moves when a test says so."""

    def __init__(self, token="sandbox-token", **settings):
        settings = {
            "repos": numbered(20),
            "burst": None,
            "minute": None,
            "process": (1.0, 1.0),
            "build": (60.0, 60.0),
        } | settings
        self.world = TravisLookAlike(Settings(**settings))
        self.now = T0
        self.calls = Counter()
        self.learnt = []
        account = Account("travis", "travis", f"http://127.0.0.1:8080{self.world.settings.prefix}")
        self.headers = {name.lower(): text for name, text in headers(account, token).items()}
        self.provider = Travis(account, self.send, str)

    async def send(self, call):
        self.calls[call.purpose] += 1
        body = b"" if call.body is None else json.dumps(call.body).encode()
        path = self.world.settings.prefix + call.path
        sent = {**self.headers, "content-type": "application/json"}
        reply = self.world.handle(Incoming(call.method, path, call.query, sent, body), self.now)
        if reply.effect is not None and reply.effect.harm is not Harm.SLOW:
            raise (Unreachable if reply.effect.harm is Harm.NEVER_LEFT else InDoubt)(reply.effect.harm)
        answer = Answer(reply.status, value(reply.body), {name.lower(): text for name, text in reply.headers.items()})
        self.learnt += DECLARATION.learn(call, answer)
        return answer

    async def trigger(self, repo="acme/svc-001", branch="main", marked=True, **said):
        return await self.provider.trigger(self.wish(repo, branch, marked, **said))

    def wish(self, repo="acme/svc-001", branch="main", marked=True, **said):
        target = Target(f"travis:{repo}@{branch}", "travis", repo, branch, request=said)
        return Trigger(target, 1, marker_of("nightly", "run", target.id) if marked else None, "nightly")

    async def followed(self, repo="acme/svc-001", **said):
        wish = self.wish(repo, **said)
        return Followed(wish.target, await self.provider.trigger(wish), wish.marker, None, since=self.now)

    async def find(self, wish, known=()):
        return await self.provider.find(wish, Interval(T0, T0 + 30.0), known)


async def test_a_trigger_becomes_a_build_that_passes():
    sandbox = Sandbox()
    one = await sandbox.followed(env={"IMAGE": "ubuntu:24.04"}, merge_mode="deep_merge_append")
    [row] = [each.as_json() for each in sandbox.world.counters.accepted]
    assert (str(row["id"]), row["branch"], row["message"]) == (one.request.id, "main", f"nightly {one.marker}")
    seen = []
    for _ in range(12):
        observation = (await sandbox.provider.poll([one])).get(one.target.id)
        seen += [build.state for build in observation.builds]
        sandbox.now += 10.0
    assert list(dict.fromkeys(seen)) == [BuildState.RUNNING, BuildState.PASSED]
    assert observation.marked
    assert observation.builds[0].url == f"http://127.0.0.1:8080/github/acme/svc-001/builds/{observation.builds[0].id}"


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_prefix_and_a_number_lead_to_the_same_repository(prefix):
    sandbox = Sandbox(prefix=prefix)
    facts = await sandbox.provider.inspect("ACME/svc-002")
    request = await sandbox.trigger(facts.id)
    assert sandbox.world.counters.accepted[0].as_json()["repo"] == "acme/svc-002"
    assert request.handle == {"v": 1, "repo": int(facts.id), "slug": "acme/svc-002"}


async def test_everything_a_request_may_say_arrives():
    sandbox = Sandbox()
    said = {"message": "hello", "sha": "0f3c", "tag_name": "v1", "config": {"script": ["make"]}, "merge_mode": "merge"}
    await sandbox.trigger(marked=False, **said)
    row = sandbox.world.counters.accepted[0].as_json()
    assert {key: row[key] for key in said} == said


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (RepoSpec("acme/odd", active=False), "repository_inactive"),
        (RepoSpec("acme/odd", may_trigger=False), "insufficient_access"),
        (RepoSpec("acme/odd", known=False), "not_found"),
        (RepoSpec("acme/other"), "not_found"),
    ],
)
async def test_a_refusal_has_its_code_and_leaves_no_row(spec, code):
    sandbox = Sandbox(repos=(spec,))
    with pytest.raises(Rejected) as caught:
        await sandbox.trigger("acme/odd")
    assert caught.value.code == code
    assert sandbox.world.counters.accepted == []


async def test_the_hourly_limit_is_learnt_before_and_when_it_refuses():
    sandbox = Sandbox(hourly=2)
    await sandbox.trigger()
    await sandbox.trigger()
    with pytest.raises(RateLimited) as caught:
        await sandbox.trigger()
    assert caught.value.scope == "repo:acme/svc-001"
    assert [(learnt.calls, learnt.left) for learnt in sandbox.learnt] == [(None, 1), (None, 0), (2, 0)]


async def test_a_dead_token_stops_the_account():
    with pytest.raises(AccessRefused) as caught:
        await Sandbox(token="wrong").trigger()
    assert caught.value.code == "bad_token"


async def test_a_ban_stops_the_account():
    sandbox = Sandbox(burst=Rule(3, 30.0, 3600.0))
    for n in range(1, 4):
        await sandbox.trigger(f"acme/svc-00{n}")
    with pytest.raises(AccessRefused) as caught:
        await sandbox.provider.whoami()
    assert (caught.value.code, caught.value.retry_after) == ("banned", 3600.0)


async def test_the_throttle_lasts_to_the_servers_next_minute():
    sandbox = Sandbox(minute=Rule(2, 60.0))
    sandbox.now += 48.0
    await sandbox.provider.whoami()
    await sandbox.provider.whoami()
    with pytest.raises(RateLimited) as caught:
        await sandbox.provider.whoami()
    assert caught.value.retry_after == 13.0


LOST_AFTER = ["lost_after", "timeout_after", "error_after", "html_after", "torn", "garbled"]
LOST_BEFORE = ["lost_before", "timeout_before", "error_before", "html", "portal"]


@pytest.mark.parametrize("kind", LOST_AFTER)
async def test_a_request_whose_answer_was_lost_is_found(kind):
    sandbox = Sandbox(faults=(FaultRule(kind, nth=(1,)),))
    wish = sandbox.wish()
    with pytest.raises(InDoubt):
        await sandbox.provider.trigger(wish)
    with pytest.raises(InDoubt, match="without a commit"):
        await sandbox.find(wish)
    sandbox.now += 5.0
    assert (await sandbox.find(wish)).id == str(sandbox.world.counters.accepted[0].id)


@pytest.mark.parametrize("kind", LOST_BEFORE)
async def test_a_call_that_did_nothing_is_found_absent(kind):
    sandbox = Sandbox(faults=(FaultRule(kind, nth=(1,)),))
    wish = sandbox.wish()
    with pytest.raises(InDoubt):
        await sandbox.provider.trigger(wish)
    assert await sandbox.find(wish) is None
    assert sandbox.world.counters.accepted == []


async def test_a_call_that_the_server_applies_late_is_found_when_it_is_there():
    sandbox = Sandbox(faults=(FaultRule("applied_late", nth=(1,), seconds=50.0),))
    wish = sandbox.wish()
    with pytest.raises(InDoubt):
        await sandbox.provider.trigger(wish)
    assert await sandbox.find(wish) is None  # which is why nobody believes it before the settle time
    sandbox.now += 55.0
    assert await sandbox.find(wish) is not None


@pytest.mark.parametrize(
    ("fault", "shares"),
    [("error_stuck", Shares()), ("lost_after", Shares(rejected_blind=1.0)), ("torn", Shares(never_processed=1.0))],
)
async def test_a_row_that_never_gets_a_commit_stays_a_candidate_for_ever(fault, shares):
    sandbox = Sandbox(shares=shares, faults=(FaultRule(fault, nth=(1,)),))
    wish = sandbox.wish()
    with pytest.raises(InDoubt):
        await sandbox.provider.trigger(wish)
    for _ in range(5):
        sandbox.now += 600.0
        with pytest.raises(InDoubt, match="without a commit"):
            await sandbox.find(wish)


async def test_a_server_whose_clock_is_ahead_is_looked_at_in_its_time():
    sandbox = Sandbox(skew=5000.0, faults=(FaultRule("lost_after", nth=(1,)),))
    wish = sandbox.wish()
    with pytest.raises(InDoubt):
        await sandbox.provider.trigger(wish)
    sandbox.now += 5.0
    found = await sandbox.provider.find(wish, Interval(T0 + 5000.0, T0 + 5030.0), ())
    assert found is not None


async def test_others_requests_of_a_busy_repository_do_not_hide_ours():
    sandbox = Sandbox(hourly=500, repos=(RepoSpec("acme/svc-001", branches=("main", "next")),))
    for _ in range(150):
        await sandbox.trigger(marked=False, message="by hand")
    sandbox.world.plan_faults([FaultRule("lost_after")])
    wish = sandbox.wish(branch="next")
    with pytest.raises(InDoubt):
        await sandbox.provider.trigger(wish)
    sandbox.world.plan_faults([])
    for _ in range(150):
        await sandbox.trigger(marked=False, message="by hand")
    sandbox.now += 5.0
    assert (await sandbox.find(wish)).id == str(sandbox.world.counters.accepted[150].id)
    known = {str(each.id) for each in sandbox.world.counters.accepted}
    with pytest.raises(InDoubt, match="was adopted for another target"):
        await sandbox.find(wish, known)


@pytest.mark.parametrize(
    ("rejects", "code", "scope"),
    [
        ("Could not authorize build request for acme/svc-001.", "no_credit", "owner:acme"),
        ("Build config did not create any jobs.", "no_jobs", None),
    ],
)
async def test_a_rejected_request_is_refused_with_its_reason(rejects, code, scope):
    sandbox = Sandbox(repos=(RepoSpec("acme/svc-001", rejects=rejects),))
    one = await sandbox.followed()
    sandbox.now += 5.0
    refusal = (await sandbox.provider.poll([one]))[one.target.id].refusal
    assert (refusal.code, refusal.scope, refusal.reason) == (code, scope, rejects)


async def test_a_build_without_a_result_is_seen():
    sandbox = Sandbox(shares=Shares(no_result=1.0))
    one = await sandbox.followed()
    sandbox.now += 5.0
    assert (await sandbox.provider.poll([one]))[one.target.id].builds


async def test_cancel_and_restart_do_as_they_say():
    sandbox = Sandbox()
    one = await sandbox.followed()
    sandbox.now += 5.0
    [build] = (await sandbox.provider.poll([one]))[one.target.id].builds
    assert await sandbox.provider.cancel(one.target, build) is True
    sandbox.now += 5.0
    [build] = (await sandbox.provider.poll([one]))[one.target.id].builds
    assert build.state is BuildState.CANCELED
    assert await sandbox.provider.cancel(one.target, build) is False
    await sandbox.provider.restart(one.target, build)
    sandbox.now += 100.0
    [again] = (await sandbox.provider.poll([one]))[one.target.id].builds
    assert (again.id, again.state) == (build.id, BuildState.PASSED)
    assert len(sandbox.world.counters.accepted) == 1


async def test_what_there_is_can_be_asked():
    sandbox = Sandbox(
        repos=(*numbered(250, ("acme", "corp")), RepoSpec("acme/off", active=False)), branches=("main", "a/b")
    )
    assert (await sandbox.provider.whoami()).login == "sandbox"
    found = await sandbox.provider.discover("acme")
    assert len(found) == 126
    assert [facts.slug for facts in found if not facts.active] == ["acme/off"]
    assert sandbox.calls["other"] == 3
    assert set(await sandbox.provider.branches("acme/svc-001")) == {"main", "a/b"}
    facts = await sandbox.provider.inspect("acme/svc-001")
    assert (facts.active, facts.may_trigger, facts.default_branch) == (True, True, "main")
    assert await sandbox.provider.inspect("acme/nothing") is None
    with pytest.raises(Rejected):
        await sandbox.provider.branches("acme/nothing")


async def test_the_queue_and_the_logs_can_be_asked():
    sandbox = Sandbox(concurrency=1, shares=Shares(failed=1.0))
    followed = [await sandbox.followed(f"acme/svc-00{n}") for n in range(1, 4)]
    sandbox.now += 5.0
    assert len(await sandbox.provider.queue(followed[0].target)) == 3
    sandbox.now += 100.0
    observations = await sandbox.provider.poll(followed)
    done = next(build for observation in observations.values() for build in observation.builds if build.state.is_final)
    shown = await sandbox.provider.logs(followed[0].target, done, 1000)
    assert shown.job == f"{done.number}.1"
    assert 0 < len(shown.text) <= 1000
    assert shown.url == done.url


@pytest.mark.parametrize(("total", "longest"), [(20, 60.0), pytest.param(1000, 300.0, marks=pytest.mark.slow)])
async def test_the_builds_of_one_owner_are_followed_within_budget(total, longest):
    """Triggered at 40 in 30 s, a round of looks every 5 s: at most 1.2 calls a build and one a round."""
    sandbox = Sandbox(
        repos=numbered(total),
        concurrency=total // 10,
        process=(1.0, 20.0),
        build=(30.0, 300.0),
        shares=Shares(failed=0.1),
    )
    followed, ended, looks, rounds = {}, Counter(), Counter(), 0
    while sum(ended.values()) < total:
        rounds += 1
        for spec in sandbox.world.settings.repos[len(sandbox.world.counters.accepted) : rounds * 20 // 3]:
            one = await sandbox.followed(spec.slug)
            followed[one.target.id] = one
        observations = await sandbox.provider.poll(list(followed.values()))
        for id_, one in list(followed.items()):
            build = next(iter(observations[id_].builds), one.build) if id_ in observations else one.build
            looks[id_] = looks[id_] + 1 if build == one.build else 0
            followed[id_] = Followed(
                one.target, one.request, one.marker, build, one.since, looks[id_], age=sandbox.now - one.since
            )
            if build is not None and build.state.is_final:
                ended[build.native] += 1
                del followed[id_]
        sandbox.now += 5.0
    assert ended.keys() == {"passed", "failed"}
    assert sandbox.calls["poll"] <= 1.2 * total + rounds
