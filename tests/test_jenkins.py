"""Jenkins: what is sent, what answers mean, how items of the queue become builds, and the whole program against it."""

import json
import re
from base64 import b64decode
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cli_machine import Program

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Request, Target, Trigger
from orchestrator.core.secrets import Secrets
from orchestrator.lookalike.jenkins import JenkinsLookAlike
from orchestrator.lookalike.jenkins.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.http import text
from orchestrator.lookalike.kit.server import serve
from orchestrator.providers import registry
from orchestrator.providers.jenkins import wire
from orchestrator.providers.jenkins.declaration import DECLARATION, MARKER
from orchestrator.providers.jenkins.follow import native_of
from orchestrator.testing.bench import Bench, LookAlikeService

pytestmark = pytest.mark.anyio
REPOS = tuple(f"acme/svc-{n:03}" for n in range(1, 30))


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Service(LookAlikeService):
    declaration = DECLARATION
    account = Account("jenkins", "jenkins", "http://127.0.0.1:9", settings={"user": "sandbox"})
    step = 1.0

    def __init__(self, branch="main", said=None, spec=None, **settings):
        specs = tuple(RepoSpec(slug, **(spec or {})) for slug in REPOS)
        settings = {"queue": (3.0, 3.0), "build": (9.0, 9.0), "repos": specs, **settings}
        super().__init__(JenkinsLookAlike(Settings(**settings)), REPOS)
        self.branch, self.said = branch, said or {}

    def target(self):
        return replace(super().target(), branch=self.branch, request=self.said)


def bench(*args, **settings):
    return Bench(Service(*args, **settings))


async def shown(bench, one, **changes):
    """What a poll shows, and the request as it is then known."""
    seen = await bench.poll(replace(one, **changes))
    return seen, replace(one, request=seen.request or one.request, build=seen.builds[0] if seen.builds else None)


async def test_an_item_of_the_queue_becomes_a_build_under_its_number():
    world = bench()
    one = await world.follow()
    assert one.request.id == "41"
    seen, one = await shown(world, one)
    [waiting] = seen.builds
    assert (waiting.id, waiting.state, seen.request) == ("queue-41", BuildState.QUEUED, None)
    world.service.wait(4.0)
    seen, one = await shown(world, one)
    [begun] = seen.builds
    assert (begun.id, begun.number, begun.replaces, begun.state) == ("1", "1", "queue-41", BuildState.RUNNING)
    assert (seen.request.id, seen.request.handle["number"], seen.marked) == ("41", 1, True)
    world.service.wait(10.0)
    seen, one = await shown(world, one)
    assert seen.builds[0].state is BuildState.PASSED
    assert seen.builds[0].finished_at - seen.builds[0].started_at == pytest.approx(9.0, abs=0.01)
    assert seen.builds[0].url == f"http://127.0.0.1:9/job/acme/job/{one.target.repo[5:]}/1/"


async def test_a_build_is_found_by_its_item_when_the_queue_has_forgotten_it():
    world = bench(build=(900.0, 900.0))
    one = await world.follow()
    world.service.wait(400.0)
    seen, _ = await shown(world, one)
    assert seen.builds[0].id == "1"
    assert world.calls[-1].path.endswith(f"{one.target.repo[5:]}/api/json")


async def test_a_request_that_a_person_names_by_its_item_is_followed():
    world = bench("dev", spec={"branches": ("dev",), "parameters": (MARKER,)})
    one = await world.follow()
    named = replace(one, request=Request(one.request.id))
    for seconds, id_ in ((0.0, "queue-41"), (4.0, "1"), (400.0, "1")):
        world.service.wait(seconds)
        seen, _ = await shown(world, named)
        assert seen.builds[0].id == id_
    assert seen.builds[0].url.endswith("/job/dev/1/")


async def test_hundreds_are_followed_by_one_listing_of_the_queue_and_one_of_their_folder():
    world = bench()
    many = [await world.follow() for _ in range(20)]
    for seconds, state, calls in ((0.0, "queued", 1), (4.0, "running", 2), (10.0, "passed", 1)):
        world.service.wait(seconds)
        sent = len(world.calls)
        seen = await world.provider.poll(many)
        assert {observed.builds[0].state.value for observed in seen.values()} == {state}
        assert len(world.calls) - sent == calls
        many = [replace(one, request=seen[one.target.id].request or one.request) for one in many]


async def test_a_listing_that_fails_is_tried_again_before_hundreds_are_read_one_by_one():
    world = bench(build=(900.0, 900.0))
    many = [await world.follow() for _ in range(10)]
    world.service.wait(4.0)
    seen = await world.provider.poll(many)
    many = [replace(one, request=seen[one.target.id].request) for one in many]
    genuine = world.provider._send

    told = iter((500, 500, 404))

    async def send(call):
        return Answer(next(told)) if call.path == "/job/acme/api/json" else await genuine(call)

    world.provider._poll._send = send
    for calls in (0, 0, 0, 10):
        sent = len(world.calls)
        if calls:
            assert len(await world.provider.poll(many)) == calls
        else:
            with pytest.raises(LookFailed):
                await world.provider.poll(many)
        assert len(world.calls) - sent == calls


async def test_an_equal_item_that_waits_takes_the_trigger_in():
    marked, unmarked = bench(), bench(None, spec={"parameters": ("OTHER",)})
    for world, word in ((marked, "queued"), (unmarked, "merged")):
        trigger = await world.wish()
        first = await world.provider.trigger(trigger)
        second = await world.provider.trigger(replace(trigger, attempt=2))
        assert (first.id, world.last.status, world.service.accepted(trigger.target)) == (second.id, 303, 1)
        one = replace(await world.follow(), target=trigger.target, request=second, marker=trigger.marker)
        seen, _ = await shown(world, one)
        assert seen.builds[0].native == word
        assert (seen.builds[0].state is BuildState.SUPERSEDED) == (word == "merged")


@pytest.mark.usefixtures("quick_rehearsals")
def test_targets_of_one_job_with_other_parameters_are_judged_apart(program):
    text = MANIFEST.partition("defaults")[0] + "targets: [acme/a, {repo: acme/a, name: b, parameters: {NOPE: x}}]\n"
    program.write("orchestrator.yaml", text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("orchestrator.lookalike.jenkins.settings.keys_of", lambda value: ())
        assert program("run", "--sandbox", "-q", "-o", "json") == 1
    assert [target["code"] for target in program.json["targets"]] == ["passed", "undeclared_parameters"]


async def test_an_item_and_a_build_are_canceled_also_where_one_became_the_other():
    world = bench()
    one = await world.follow()
    seen, one = await shown(world, one)
    assert await world.provider.cancel(one.target, seen.builds[0])
    world.service.wait(2.0)
    seen, one = await shown(world, one)
    assert (seen.builds[0].id, seen.builds[0].state) == ("queue-41", BuildState.CANCELED)
    one = await world.follow()
    seen, one = await shown(world, one)
    world.service.wait(4.0)
    assert await world.provider.cancel(one.target, seen.builds[0])
    assert world.calls[-1].path.endswith("/1/stop")
    world.service.wait(2.0)
    seen, _ = await shown(world, one)
    assert (seen.builds[0].native, seen.builds[0].state) == ("ABORTED", BuildState.CANCELED)


@pytest.mark.parametrize(
    ("row", "native", "state"),
    [
        ({"building": True, "result": None}, "building", "running"),
        ({"building": True, "result": "FAILURE"}, "building", "running"),
        ({"building": False, "result": None}, "building", "running"),
        ({}, "building", "running"),
        *(
            ({"building": False, "result": word}, word, state)
            for word, state in DECLARATION.states.items()
            if word.isupper()
        ),
        ({"building": False, "result": "MELTED"}, "MELTED", "running"),
    ],
)
def test_a_result_counts_once_the_build_is_over(row, native, state):
    word, found, warning = native_of(row)
    assert (word, found.value) == (native, state)
    assert (warning is not None) == (native == "MELTED")


@pytest.mark.parametrize(
    ("name", "branch", "path"),
    [
        ("acme/widget", None, "/job/acme/job/widget"),
        ("a b/c", None, "/job/a%20b/job/c"),
        ("acme/widget", "feature/x", "/job/acme/job/widget/job/feature%252Fx"),
    ],
)
def test_a_job_stands_in_its_folders_and_a_branch_in_its_job(name, branch, path):
    assert wire.job_path(name, branch) == path


async def test_a_branch_goes_to_the_job_of_the_branch_or_to_its_parameter():
    multi = bench("feature/x", spec={"branches": ("main", "feature/x"), "parameters": (MARKER,)})
    trigger = await multi.wish()
    await multi.provider.trigger(trigger)
    [row] = multi.service.look_alike.counters.accepted
    assert (row.branch, row.sent) == ("feature/x", {MARKER: trigger.marker})
    plain = bench("feature/x")
    await plain.provider.trigger(await plain.wish())
    assert plain.service.look_alike.counters.accepted[0].sent["BRANCH"] == "feature/x"
    mine = bench("main", {"parameters": {"BRANCH": "mine", "DRY": True}}, {"parameters": ("BRANCH", "DRY", MARKER)})
    await mine.provider.trigger(await mine.wish())
    assert mine.service.look_alike.counters.accepted[0].sent.items() >= {"BRANCH": "mine", "DRY": "true"}.items()


@pytest.mark.parametrize(
    ("branch", "said", "spec", "code"),
    [
        ("main", {}, {"parameters": (MARKER,)}, "branch_not_taken"),
        (None, {"env": {"IMAGE": "x"}}, {}, "undeclared_parameters"),
        (None, {}, {"branches": ("main",)}, "branch_missing"),
        ("dev", {}, {"branches": ("main",)}, "not_found"),
        (None, {"job": "acme"}, {}, "not_a_job"),
        (None, {"job": "acme/none"}, {}, "not_found"),
        (None, {}, {"active": False}, "disabled"),
    ],
)
async def test_what_jenkins_would_drop_or_not_find_is_refused_before_anything_is_sent(branch, said, spec, code):
    world = bench(branch, said, spec)
    with pytest.raises(Rejected) as caught:
        await world.wish()
    assert caught.value.code == code
    assert all(call.method == "GET" for call in world.calls)


@pytest.mark.parametrize(
    ("spec", "code"),
    [({"may_trigger": False}, "insufficient_access"), ({"vetoed": True}, "vetoed")],
)
async def test_refusals_of_a_trigger(spec, code):
    world = bench(None, spec=spec)
    trigger = await world.wish()
    with pytest.raises(Rejected) as caught:
        await world.provider.trigger(trigger)
    assert caught.value.code == code
    assert world.service.accepted(trigger.target) == 0


async def test_a_job_without_parameters_is_started_without():
    world = bench(None, spec={"parameters": ()})
    await world.provider.trigger(await world.wish())
    assert world.calls[-1].path.endswith("/build")
    assert world.calls[-1].body == {"delay": "0sec"}


@pytest.mark.parametrize("location", ["", "/queue/item/x/", "/queue/item/0/", "/queue/item/7/x", "\x1b/queue/item/7/"])
async def test_a_receipt_without_an_item_is_none(location):
    world = bench()
    trigger = await world.wish()
    found = await world.outcome(Answer(201, "", {"location": location}), lambda: world.provider.trigger(trigger))
    assert isinstance(found, InDoubt)


async def test_a_build_that_carries_another_marker_is_not_taken():
    world = bench()
    one = await world.follow()
    strange = replace(one, marker="[other.abcdefgh]")
    seen, _ = await shown(world, strange)
    assert (seen.builds, seen.marked) == ((), False)
    assert "another trigger's marker" in seen.warning


async def test_absence_is_proven_only_where_no_number_is_missing():
    world = bench()
    trigger, asked = await world.lose("lost_before")
    assert await world.find(trigger, asked) is None

    def changed(**changes):
        return lambda body: {**body, **changes} if isinstance(body, dict) and "allBuilds" in body else body

    world.rewrite = changed(nextBuildNumber=2)
    assert "build" in str(await world.find(trigger, asked))
    await world.provider.trigger(replace(trigger, marker="[other.abcdefgh]"))
    world.service.wait(20.0)
    world.rewrite = changed()
    assert await world.find(trigger, asked) is None
    world.rewrite = changed(nextBuildNumber=None)
    assert isinstance(await world.find(trigger, asked), InDoubt)
    world.rewrite = changed(nextBuildNumber=3)
    assert await world.find(trigger, asked) is None  # it was made later than the call can have come


async def test_without_a_marker_a_build_of_that_time_may_be_ours():
    world = bench(None, spec={"parameters": ("OTHER",)})
    trigger, asked = await world.lose("lost_after")
    assert isinstance(await world.find(trigger, asked), InDoubt)
    trigger, asked = await world.lose("lost_before")
    assert await world.find(trigger, asked) is None


async def test_a_password_gets_a_crumb_and_a_new_one_when_it_is_refused():
    world = bench(crumbs=True)
    trigger = await world.wish()
    await world.provider.trigger(trigger)
    assert world.calls[-1].headers.keys() == {"Jenkins-Crumb", "Cookie"}
    refused = Answer(403, "No valid crumb was included in the request")
    assert isinstance(await world.outcome(refused, lambda: world.provider.trigger(trigger)), RateLimited)
    sent = len(world.calls)
    await world.provider.trigger(await world.wish())
    assert [call.path for call in world.calls[sent:] if "crumb" in call.path] == ["/crumbIssuer/api/json"]


@pytest.mark.parametrize(
    "answer", [Answer(200, {"crumb": "a\nb", "crumbRequestField": "X Y"}), Answer(500), Answer(200, [])]
)
async def test_a_crumb_that_is_none_is_not_sent(answer):
    world = bench()
    target = world.service.target()
    genuine = world.provider._send

    async def send(call):
        return answer if "crumbIssuer" in call.path else await genuine(call)

    world.provider._send = send
    with pytest.raises(LookFailed):
        await world.provider.prepare(target)


async def test_of_a_long_console_the_end_is_read():
    world = bench(rehearsal=told(REPOS[0], "x" * 5000 + "\nthe end"))
    one, [*_, build] = await world.until(await world.follow(), lambda build: build.state.is_final)
    assert build.state is BuildState.FAILED
    log = await world.provider.logs(one.target, build, 200)
    assert "the end" in log.text
    first, last = (int(dict(call.query)["start"]) for call in world.calls[-2:])
    assert first == 0
    assert last > 4000


def told(repo, text):
    from orchestrator.core.rehearsal import Rehearsal

    return Rehearsal(fails=(repo,), log={repo: text})


def test_user_and_token_are_basic_credentials():
    account = Account("j", "jenkins", "https://ci.invalid", settings={"user": "me"})
    kind, basic = wire.headers(account, "t0ken")["Authorization"].split()
    assert (kind, b64decode(basic)) == ("Basic", b"me:t0ken")


# -- behind real sockets --------------------------------------------------------------------------------------------


@asynccontextmanager
async def provider_over(tmp_path, *specs, token="sandbox-token", **settings):
    look_alike = JenkinsLookAlike(Settings(repos=specs, **settings))
    async with serve(look_alike) as served:
        account = Account("jenkins", "jenkins", served.url, token="env:TOKEN", settings={"user": "sandbox"})
        async with registry.connect(account, Secrets({"TOKEN": token}, tmp_path, tmp_path)) as line:
            yield line.provider_over(line.send), look_alike


@pytest.mark.parametrize("crumbs", [False, True])
async def test_over_sockets_a_trigger_is_queued_merged_and_canceled(tmp_path, crumbs):
    async with provider_over(tmp_path, RepoSpec("acme/a"), queue=(60.0, 60.0), crumbs=crumbs) as (provider, world):
        target = Target("jenkins:acme/a@main", "jenkins", "acme/a", "main")
        trigger = Trigger(target, 1, "[r.abcdefgh]", "r", await provider.prepare(target))
        first, again = await provider.trigger(trigger), await provider.trigger(trigger)
        assert first.id == again.id
        assert world.counters.by_marker() == {"[r.abcdefgh]": 1}
        from orchestrator.providers.port import Followed

        seen = await provider.poll([Followed(target, first, trigger.marker, None, 0.0)])
        assert await provider.cancel(target, seen[target.id].builds[0])


async def test_a_wrong_token_is_seen_at_once(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/a"), token="wrong") as (provider, _):
        with pytest.raises(AccessRefused):
            await provider.whoami()


async def test_credentials_that_a_server_repeats_are_blotted_out(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/a")) as (provider, world):
        target = Target("jenkins:acme/a@main", "jenkins", "acme/a", "main")
        trigger = Trigger(target, 1, "[r.abcdefgh]", "r", await provider.prepare(target))
        world.answer = lambda call, now, stuck: text(418, f"you sent {call.headers['authorization']}")
        with pytest.raises(Rejected) as caught:
            await provider.trigger(trigger)
        assert "you sent Basic ***" in caught.value.reason


MANIFEST = """\
version: 1
name: nightly
providers: {ci: {type: jenkins, url: "https://ci.corp.example/jenkins", user: me}}
defaults: {env: {IMAGE: "a b&c"}}
targets: [acme/a, acme/b@main, {repo: acme/c, job: platform/c, branches: [main, dev], parameters: {LEVEL: 3}}]
"""


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys, JENKINS_TOKEN="sandbox-token")


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_triggers_follows_and_reports(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("run", "--sandbox", "-q", "-o", "json") in (0, 1)
    totals = program.json["totals"]
    assert (totals["targets"], totals["open"], totals["in_doubt"], totals["rejected"]) == (4, 0, 0, 0)
    for target in program.json["targets"]:
        assert target["build_id"] == target["build_number"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/job/(acme/job/[ab]|platform/job/c)/\d/", target["url"])
        assert [build["id"] for build in target["builds"]] == [target["build_id"]]
    assert program("doctor", "--sandbox") == 0, program.out


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{repo: acme/x, message: hi}", "unknown key `message`"),
        ("{repo: acme/x, env: {A: b}, parameters: {A: c}}", "both name 'A'"),
        (f"{{repo: acme/x, env: {{{MARKER}: b}}}}", "carry the marker"),
        ("{repo: acme/x, job: 'a//b'}", "no job's name"),
        ("{repo: acme/x, reruns: 1}", "reruns"),
    ],
)
def test_what_cannot_be_sent_is_an_error_at_check(program, entry, words):
    program.write("orchestrator.yaml", MANIFEST.partition("defaults")[0] + f"targets: [{entry}]\n")
    assert program("check") == 2
    assert words in program.err


def test_an_account_names_its_server_and_its_user(program):
    program.write("orchestrator.yaml", "version: 1\nproviders: {jenkins: {}}\ntargets: [acme/x]\n")
    assert program("check") == 2
    assert "no `url`" in program.err
    assert "no `user`" in program.err


def test_the_plan_as_curl_has_the_user_and_a_form(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("plan", "--offline", "-o", "curl") == 0
    line = program.out.splitlines()[0]
    assert '-u me:"$JENKINS_TOKEN"' in line
    assert "--data-urlencode 'IMAGE=a b&c'" in line
    assert "https://ci.corp.example/jenkins/job/acme/job/a/buildWithParameters" in line


def test_init_writes_a_manifest_to_start_from(program):
    assert program("init", "--type", "jenkins") == 0
    assert program("check") == 0, program.err
    assert "type: jenkins" in (program.folder / "orchestrator.yaml").read_text()


PAGES = ("docs/jenkins.md", "docs/how-to/jenkins.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[1] / page).read_text("utf-8"), re.DOTALL)
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_manifests_of_the_pages_are_accepted(program, block):
    program.write("jobs.txt", "acme/a\nacme/b\n")
    program.write("orchestrator.yaml", block)
    assert program("check") == 0, program.err
    assert program("plan", "--sandbox") == 0, program.err


def test_the_look_alike_shows_what_a_tree_asks_for():
    from orchestrator.lookalike.jenkins.shapes import parse

    value = {"_class": "X", "a": 1, "b": [{"c": n, "d": 2} for n in range(9)], "e": lambda: {"f": 1, "g": 2}}
    assert parse("a,b[c]{1,3},e[g]").pick(value) == {"_class": "X", "a": 1, "b": [{"c": 1}, {"c": 2}], "e": {"g": 2}}
    assert parse("jobs[name,builds[c]{0,2}]").pick({"jobs": [{"name": "x", "builds": value["b"]}]}) == {
        "jobs": [{"name": "x", "builds": [{"c": 0}, {"c": 1}]}]
    }
    assert json.dumps(parse("]]{,}[[").pick(value))
