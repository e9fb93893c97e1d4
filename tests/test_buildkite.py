"""Buildkite: what is sent, what answers mean, how hundreds are followed by one listing, and the whole program on it."""

import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from buildkite_bench import BuildkiteService
from cli_machine import Program

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Interval, Request, Target, Trigger
from orchestrator.core.secrets import Secrets
from orchestrator.lookalike.buildkite import BuildkiteLookAlike
from orchestrator.lookalike.buildkite.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.server import serve
from orchestrator.providers import registry
from orchestrator.providers.buildkite import wire
from orchestrator.providers.buildkite.declaration import DECLARATION
from orchestrator.providers.buildkite.provider import observed
from orchestrator.providers.port import Followed
from orchestrator.testing.bench import Bench

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def bench(said=None, spec=None, **settings):
    return Bench(BuildkiteService(said, spec, **settings))


async def test_a_build_is_asked_for_with_its_marker_in_the_meta_data():
    world = bench({"env": {"A": True}, "meta_data": {"level": 3}, "message": "hello", "sha": "c0ffee"})
    trigger = await world.wish()
    await world.provider.trigger(trigger)
    assert world.calls[-1].body == {
        "commit": "c0ffee",
        "branch": "main",
        "message": "hello",
        "env": {"A": "true"},
        "meta_data": {"level": "3", "orchestrator_marker": trigger.marker, "orchestrator_run": "run"},
    }
    plain = replace(trigger, marker=None, target=replace(trigger.target, branch="dev", request={"pipeline": "other"}))
    call = wire.trigger_call(plain)
    assert call.path == "/v2/organizations/acme/pipelines/other/builds"
    assert call.body == {"commit": "HEAD", "branch": "dev", "message": "contract"}


async def many(world, count):
    """So many builds of one pipeline and run that are followed."""
    trigger = await world.wish()
    found = []
    for n in range(count):
        one = replace(trigger, marker=f"[run.{'abcdefgh'[n % 8]}{n:05d}zz]".translate(str.maketrans("0189", "abcd")))
        target = replace(one.target, id=f"t{n}")
        request = await world.provider.trigger(replace(one, target=target))
        found.append(Followed(target, request, one.marker, None, world.service.now()))
    return found


async def test_a_thousand_builds_cost_a_page_for_each_hundred():
    world = bench(concurrency=2000)
    followed = await many(world, 1000)
    for seconds, state in ((0.5, "queued"), (5.0, "running"), (10.0, "passed")):
        world.service.wait(seconds)
        sent = len(world.calls)
        seen = await world.provider.poll(followed)
        assert {observed.builds[0].state.value for observed in seen.values()} == {state}
        assert len(seen) == 1000
        assert len(world.calls) - sent == 10
    assert all(dict(call.query)["meta_data[orchestrator_run]"] == "run" for call in world.calls[-10:])


async def test_a_few_old_builds_behind_many_are_read_by_themselves():
    world = bench(concurrency=2000)
    followed = await many(world, 500)
    sent = len(world.calls)
    seen = await world.provider.poll(followed[:4])
    assert len(seen) == 4
    assert len(world.calls) - sent == 1 + 4


async def test_a_listing_that_fails_is_not_made_up_for_by_hundreds_of_calls():
    world = bench()
    followed = await many(world, 50)
    sent = len(world.calls)
    assert isinstance(await world.outcome(Answer(500), lambda: world.provider.poll(followed)), LookFailed)
    assert len(world.calls) - sent == 1
    strangers = [replace(one, marker=None) for one in followed]
    assert len(await world.provider.poll(strangers)) == 20


@pytest.mark.parametrize(
    ("row", "native", "state"),
    [
        *(({"state": word}, word, state.value) for word, state in DECLARATION.states.items()),
        ({"state": "passed", "blocked": True}, "blocked", "running"),
        ({"state": "failed", "blocked": True}, "failed", "failed"),
        ({"state": "melted"}, "melted", "running"),
        ({}, "", "running"),
    ],
)
def test_each_state_means_what_is_declared(row, native, state):
    followed = Followed(Target("t", "b", "acme/a"), None, "[r.abcdefgh]", None, 0.0)
    seen = observed(followed, {"id": "x", "number": 1, **row})
    assert (seen.builds[0].native, seen.builds[0].state.value) == (native, state)
    assert (seen.warning is not None) == (native in ("melted", ""))


async def test_a_request_that_a_person_names_by_its_number_is_followed_and_canceled():
    world = bench()
    one = await world.follow()
    seen = await world.poll(replace(one, request=Request("1")))
    assert seen.builds[0].id == one.request.id
    assert await world.provider.cancel(one.target, seen.builds[0])


async def test_a_build_that_a_newer_one_replaced_is_superseded():
    world = bench(spec={"skips": True}, queue=(60.0, 60.0))
    trigger = await world.wish()
    request = await world.provider.trigger(trigger)
    await world.provider.trigger(replace(trigger, marker="[other.abcdefgh]"))
    seen = await world.poll(Followed(trigger.target, request, trigger.marker, None, 0.0))
    assert seen.builds[0].state is BuildState.SUPERSEDED
    assert "newer build" in seen.builds[0].reason


async def test_jobs_that_failed_run_again_in_the_same_build_and_show_their_log():
    world = bench()
    one, [*_, build] = await world.until(await world.follow("acme/fails"), lambda build: build.state.is_final)
    log = await world.provider.logs(one.target, build, 1000)
    assert (log.job, log.exit) == ("make test", 1)
    assert "exited with status 1" in log.text
    await world.provider.restart(one.target, build)
    seen = await world.poll(one)
    assert (seen.builds[0].id, seen.builds[0].state) == (build.id, BuildState.QUEUED)
    with pytest.raises(Rejected, match="no failed jobs"):
        await world.provider.restart(one.target, seen.builds[0])


@pytest.mark.parametrize(
    ("spec", "code"),
    [({"may_trigger": False}, "insufficient_access"), ({"archived": True}, "invalid"), ({"only": ("dev",)}, "invalid")],
)
async def test_refusals_of_a_trigger(spec, code):
    world = bench(spec=spec)
    trigger = await world.wish()
    with pytest.raises(Rejected) as caught:
        await world.provider.trigger(trigger)
    assert caught.value.code == code
    assert world.service.accepted(trigger.target) == 0


async def test_a_pipeline_that_is_not_there_is_refused_before_anything_is_sent():
    world = bench({"pipeline": "none"})
    with pytest.raises(Rejected) as caught:
        await world.wish()
    assert caught.value.code == "not_found"


async def test_a_limit_is_waited_for_as_long_as_the_exhausted_window_says():
    world = bench()
    trigger = await world.wish()
    spent = {"ratelimit-user-remaining": "0", "ratelimit-user-reset": "17", "ratelimit-remaining": "9"}
    told = {**spent, "ratelimit-reset": "59"}
    answer = Answer(429, {"message": "slow down", "scope": "rest_user", "reset": 12}, told)
    found = await world.outcome(answer, lambda: world.provider.trigger(trigger))
    assert isinstance(found, RateLimited)
    assert (str(found.scope), found.retry_after) == ("account", 18.0)


async def test_a_receipt_is_believed_only_where_it_shows_what_was_asked_for():
    world = bench()
    trigger = await world.wish()
    await world.provider.trigger(trigger)
    good = world.last
    for changes in (
        {"url": "https://api.buildkite.com/v2/organizations/acme/pipelines/other/builds/1"},
        {"url": "nonsense"},
        {"meta_data": {"orchestrator_marker": "[run.zzzzzzzz]"}},
        {"number": "1"},
        {"id": None},
    ):
        answer = replace(good, body={**good.body, **changes})
        found = await world.outcome(answer, lambda: world.provider.trigger(trigger))
        assert isinstance(found, InDoubt), changes
    hidden = replace(good, body={**good.body, "meta_data": {}})
    assert (await world.outcome(hidden, lambda: world.provider.trigger(trigger))).id == good.body["id"]


async def test_another_build_than_the_one_that_was_asked_for_is_not_believed():
    world = bench()
    one = await world.follow()
    await world.poll(one)
    for changes in ({"number": 77, "id": "x"}, {"url": "https://x/v2/organizations/acme/pipelines/other/builds/1"}):
        answer = replace(world.last, body={**world.last.body, **changes})
        assert isinstance(await world.outcome(answer, lambda: world.provider.poll([one])), LookFailed)


async def test_without_a_marker_a_lost_answer_stays_in_doubt():
    world = bench()
    trigger, asked = await world.lose("lost_after")
    assert isinstance(await world.find(replace(trigger, is_shown=False, marker="[x.abcdefgh]"), asked), InDoubt)
    later = Interval(asked.end + 900.0, asked.end + 901.0)
    assert await world.find(replace(trigger, is_shown=False, marker="[x.abcdefgh]"), later) is None


# -- behind real sockets --------------------------------------------------------------------------------------------


@asynccontextmanager
async def provider_over(tmp_path, *specs, path="", **settings):
    look_alike = BuildkiteLookAlike(Settings(repos=specs, **settings))
    async with serve(look_alike) as served:
        account = Account("buildkite", "buildkite", served.url + path, token="env:TOKEN")
        async with registry.connect(account, Secrets({"TOKEN": "sandbox-token"}, tmp_path, tmp_path)) as line:
            yield line.provider_over(line.send), look_alike


async def test_over_sockets_a_build_is_made_followed_and_canceled(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/a"), queue=(60.0, 60.0)) as (provider, world):
        target = Target("buildkite:acme/a@main", "buildkite", "acme/a", "main")
        request = await provider.trigger(Trigger(target, 1, "[r.abcdefgh]", "r", None))
        assert world.counters.by_marker() == {"[r.abcdefgh]": 1}
        seen = await provider.poll([Followed(target, request, "[r.abcdefgh]", None, 0.0)])
        assert seen[target.id].marked
        assert await provider.cancel(target, seen[target.id].builds[0])
        assert (await provider.whoami()).detail == "sandbox"


async def test_the_limit_of_the_user_is_met_in_headers_and_in_words(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/a"), user_calls=2) as (provider, _):
        await provider.inspect("acme/a")
        await provider.inspect("acme/a")
        with pytest.raises(RateLimited) as caught:
            await provider.inspect("acme/a")
        assert 0.0 < caught.value.retry_after <= 62.0


async def test_a_wrong_url_is_no_buildkite(tmp_path):
    async with provider_over(tmp_path, path="/elsewhere") as (provider, _):
        with pytest.raises(AccessRefused):
            await provider.whoami()


MANIFEST = """\
version: 1
name: nightly
providers: {buildkite: {type: buildkite, limits: {calls: 5000/1m, calls_per_organization: 5000/1m}}}
defaults: {message: hello, env: {IMAGE: x}}
targets: [acme/a, acme/b@main, {repo: acme/c, pipeline: c-release, branches: [main, dev], meta_data: {level: 3}}]
"""


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys, BUILDKITE_TOKEN="sandbox-token")


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_triggers_follows_and_reports(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("run", "--sandbox", "-q", "-o", "json") in (0, 1)
    totals = program.json["totals"]
    assert (totals["targets"], totals["open"], totals["in_doubt"], totals["rejected"]) == (4, 0, 0, 0)
    for target in program.json["targets"]:
        assert target["build_id"] == target["request_id"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/acme/(a|b|c-release)/builds/\d", target["url"])
        assert target["branch"] in ("main", "dev")
    assert program("doctor", "--sandbox") == 0, program.out


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{repo: acme/x/y}", "no pipeline"),
        ("{repo: acme/x, pipeline: 'a/b'}", "no pipeline"),
        ("{repo: acme/x, meta_data: {orchestrator_run: b}}", "ours to set"),
        ("{repo: acme/x, workflow: b}", "unknown key `workflow`"),
    ],
)
def test_what_cannot_be_sent_is_an_error_at_check(program, entry, words):
    program.write("orchestrator.yaml", f"version: 1\nproviders: {{buildkite: {{}}}}\ntargets: [{entry}]\n")
    assert program("check") == 2
    assert words in program.err


def test_the_plan_as_curl_asks_for_what_would_be_sent(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("plan", "--offline", "-o", "curl") == 0
    assert "https://api.buildkite.com/v2/organizations/acme/pipelines/c-release/builds" in program.out
    program.write("orchestrator.yaml", MANIFEST.replace("type: buildkite", "url: 'https://api.buildkite.com/v2'"))
    assert program("plan", "--offline", "-o", "curl") == 0
    assert "/v2/v2" not in program.out


def test_init_writes_a_manifest_to_start_from(program):
    assert program("init", "--type", "buildkite") == 0
    assert program("check") == 0, program.err


PAGES = ("docs/buildkite.md", "docs/how-to/buildkite.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[1] / page).read_text("utf-8"), re.DOTALL)
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_manifests_of_the_pages_are_accepted(program, block):
    program.write("pipelines.txt", "acme/a\nacme/b@dev\n")
    program.write("orchestrator.yaml", block)
    assert program("check") == 0, program.err
    assert program("plan", "--sandbox") == 0, program.err
