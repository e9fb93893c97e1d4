"""The GitLab provider: what it sends, and what it makes of answers."""

import pytest
from gitlab_bench import bench

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotShown, NotTriggered, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Interval, Request, Target, Trigger
from orchestrator.lookalike.gitlab.settings import RepoSpec
from orchestrator.providers import registry
from orchestrator.providers.gitlab import wire
from orchestrator.providers.gitlab.declaration import (
    DECLARATION,
    MARKER,
    account_problems,
    repo_problem,
    target_problem,
    warn,
)
from orchestrator.providers.gitlab.provider import GitLab, made

pytestmark = pytest.mark.anyio

TEXT = "[nightly.abcdefgh]"
SITE = "https://gitlab.com"
BLIND = {"token": None, "settings": {"follow": "none", "trigger_token": "env:TT"}}


@pytest.fixture
def anyio_backend():
    return "asyncio"


def a_target(branch="main", repo="acme/deep/api", **said):
    return Target(f"gitlab:{repo}", "gitlab", repo, branch, request=said)


def a_trigger(prepared=None, branch="main", marker=TEXT, repo="acme/deep/api", **said):
    return Trigger(a_target(branch, repo, **said), 1, marker, "nightly", prepared)


def call_of(trigger, reference=None):
    return wire.trigger_call(trigger, reference, lambda said: f"secret of {said}")


def a_row(**said):
    row = {"id": 910023, "iid": 412, "project_id": 77, "sha": "5c1d", "ref": "main", "status": "created"}
    return {**row, "web_url": f"{SITE}/acme/deep/api/-/pipelines/910023", **said}


def received(answer, trigger=None, url=SITE, **how):
    return wire.read_receipt(trigger or a_trigger(), answer, url, **{"by_trigger_token": False, **how})


def failure(answer, trigger=None, **how):
    with pytest.raises((NotTriggered, InDoubt)) as caught:
        received(answer, trigger, **how)
    return caught.value


def base(text):
    return Answer(400, {"message": {"base": [text]}})


# -- what is sent ---------------------------------------------------------------------------------------------------


def test_a_trigger_says_ref_variables_inputs_and_marker():
    call = call_of(a_trigger(variables={"A": "1"}, env={"B": "2"}, inputs={"level": 3, "fast": True}))
    assert call.path == "/api/v4/projects/acme%2Fdeep%2Fapi/pipeline"
    pairs = [{"key": "A", "value": "1"}, {"key": "B", "value": "2"}, {"key": MARKER, "value": TEXT}]
    assert call.body == {"ref": "main", "inputs": {"level": 3, "fast": True}, "variables": pairs}
    assert (call.limits, call.moves, call.secret) == (("triggers", "triggers_per_repo", "calls"), True, False)


def test_a_named_input_carries_the_marker_and_no_variable_does():
    body = call_of(a_trigger(inputs={"level": 3}, marker_input="batch")).body
    assert body == {"ref": "main", "inputs": {"level": 3, "batch": TEXT}}
    assert call_of(a_trigger(marker=None, marker_input="batch")).body == {"ref": "main"}
    assert call_of(a_trigger(marker=None)).body == {"ref": "main"}


def test_a_trigger_token_stands_in_the_body_of_a_call_of_its_own():
    call = call_of(a_trigger(env={"A": "1"}), "env:TT")
    assert call.path == "/api/v4/projects/acme%2Fdeep%2Fapi/trigger/pipeline"
    assert call.body == {"ref": "main", "variables": {"A": "1", MARKER: TEXT}, "token": "secret of env:TT"}
    assert call.secret


def test_a_project_is_called_by_its_number_once_that_is_known():
    assert call_of(a_trigger({"project": 77})).path == "/api/v4/projects/77/pipeline"
    assert call_of(a_trigger(repo="4711")).path == "/api/v4/projects/4711/pipeline"


def test_without_a_branch_the_default_branch_that_was_looked_up_is_triggered():
    assert call_of(a_trigger({"ref": "trunk"}, branch=None)).body["ref"] == "trunk"
    with pytest.raises(Rejected, match="which branch"):
        call_of(a_trigger({"v": 1}, branch=None))


def test_the_token_travels_as_bearer_and_none_where_there_is_none():
    assert wire.headers(None, "glpat-1")["Authorization"] == "Bearer glpat-1"
    assert "Authorization" not in wire.headers(None, "")


# -- receipts and refusals ------------------------------------------------------------------------------------------


def test_the_receipt_has_the_pipeline_its_project_and_its_page():
    request = received(Answer(201, a_row()))
    assert (request.id, request.handle["project"]) == ("910023", 77)
    assert request.url == f"{SITE}/acme/deep/api/-/pipelines/910023"


@pytest.mark.parametrize(
    "trigger",
    [
        a_trigger(repo="77"),
        a_trigger(branch="refs/heads/main"),
        a_trigger({"project": 77}, repo="acme/old"),
        a_trigger(repo="ACME/Deep/api"),
    ],
)
def test_a_receipt_is_recognised_by_path_or_number(trigger):
    assert received(Answer(201, a_row()), trigger).id == "910023"


def test_below_a_path_the_receipt_shows_its_project_too():
    row = a_row(web_url="https://ci.corp/gitlab/acme/deep/api/-/pipelines/910023")
    assert received(Answer(201, row), url="https://ci.corp/gitlab").id == "910023"


def test_a_receipt_for_another_project_or_ref_is_a_doubt_unless_it_moved():
    other = a_row(web_url=f"{SITE}/acme/other/-/pipelines/910023")
    assert isinstance(failure(Answer(201, other)), InDoubt)
    assert isinstance(failure(Answer(201, a_row(ref="dev"))), InDoubt)
    assert isinstance(failure(Answer(201, a_row()), a_trigger(repo="78")), InDoubt)
    assert received(Answer(201, other, is_moved=True)).id == "910023"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Reference not found", "ref_not_found"),
        ("Missing CI config file", "no_config"),
        ("Pipeline filtered out by workflow rules.", "nothing_to_build"),
        ("Pipeline will not run for the selected trigger. The rules configuration prevented any", "nothing_to_build"),
        ("No stages / jobs for this pipeline.", "nothing_to_build"),
        ("Insufficient permissions to set pipeline variables", "variables_forbidden"),
        ("Insufficient permissions to create a new pipeline", "insufficient_access"),
        ("You do not have sufficient permission to run a pipeline on 'main'.", "insufficient_access"),
        ("Pipelines are disabled!", "pipelines_disabled"),
        ("Project is deleted!", "not_found"),
        ("jobs:build config contains unknown keys: x", "http_400"),
    ],
)
def test_a_refusal_is_told_by_gitlabs_own_words(text, code):
    for answer in (base(text), base(text.upper()), Answer(400, {"error": text})):
        found = failure(answer)
        assert (type(found), found.code) == (Rejected, code)
        assert text.lower() in found.reason.lower()


def test_that_variables_are_forbidden_comes_with_a_remedy():
    reason = failure(base("Insufficient permissions to set pipeline variables")).reason
    assert "`inputs`" in reason
    assert "`marker_input`" in reason


def test_the_400_that_is_a_limit_freezes_the_project_for_a_minute():
    found = failure(base("Too many pipelines created in the last minute. Try again later."))
    assert isinstance(found, RateLimited)
    assert (str(found.scope), found.retry_after, found.patience) == ("repo:acme/deep/api", None, 60.0)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "31"}, 31.0),
        ({"ratelimit-reset": "1767571260", "date": "Mon, 05 Jan 2026 00:00:00 GMT"}, 61.0),
        ({}, None),
    ],
)
@pytest.mark.parametrize("body", ["Retry later\n", {"message": {"error": "This endpoint has been requested"}}])
def test_a_throttle_holds_for_all_calls_until_its_window_ends(headers, wait, body):
    found = failure(Answer(429, body, headers))
    assert isinstance(found, RateLimited)
    assert (str(found.scope), found.retry_after, found.patience) == ("account", wait, 60.0)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (Answer(401, {"message": "401 Unauthorized"}), AccessRefused, "bad_token"),
        (Answer(403, {"error": "insufficient_scope", "scope": "api"}), AccessRefused, "insufficient_scope"),
        (Answer(403, "Forbidden\n"), AccessRefused, "banned"),
        (Answer(403, {"message": "403 Forbidden - reason"}), Rejected, "insufficient_access"),
        (Answer(403, "<html>"), Rejected, "http_403"),
        (Answer(404, {"message": "404 Project Not Found"}), Rejected, "not_found"),
        (Answer(422, {"message": {"field": ["is odd"]}}), Rejected, "http_422"),
    ],
)
def test_refusals_hold_as_far_as_they_are_meant(answer, kind, code):
    found = failure(answer)
    assert (type(found), found.code) == (kind, code)


def test_a_wrong_trigger_token_is_told_and_words_that_may_repeat_it_are_not():
    found = failure(Answer(404, {"message": "404 Not Found"}), by_trigger_token=True)
    assert (found.code, "trigger token" in found.reason) == ("not_found", True)
    assert "s3cret" not in failure(Answer(422, {"message": "s3cret"}), by_trigger_token=True).reason
    assert "s3cret" not in failure(Answer(403, "s3cret"), by_trigger_token=True).reason


def test_every_shape_of_an_error_becomes_one_line():
    for body in (
        {"message": {"base": ["a", "b"]}},
        {"error": "a", "error_description": "b"},
        {"message": ["a", ["b"]]},
    ):
        assert wire.message(Answer(400, body)) == "a; b"


@pytest.mark.parametrize("answer", [Answer(500, {}), Answer(502, "<html>"), Answer(201, {}), Answer(200, a_row())])
def test_what_is_neither_receipt_nor_refusal_is_a_doubt(answer):
    assert isinstance(failure(answer), InDoubt)


# -- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"variables": {"A": "1"}, "env": {"A": "2"}}, "both name 'A'"),
        ({"env": {MARKER: "x"}}, "carry the marker"),
        ({"variables": {"A-B": "x"}}, "no variable's name"),
        ({"inputs": {"m": 1}, "marker_input": "m"}, "carry the marker"),
    ],
)
def test_keys_that_do_not_go_together_are_told_before_anything_is_sent(said, words):
    text, remedy = target_problem(a_target(**said))
    assert words in text
    assert remedy
    assert target_problem(a_target(env={"A": "1"}, variables={"B": "2"}, inputs={"A": 1}, marker_input="m")) is None


@pytest.mark.parametrize("repo", ["a/b", "a/b/c/d.e_f", "4711"])
def test_projects_lie_as_deep_as_they_like_or_have_a_number(repo):
    assert repo_problem(repo, {}) is None


@pytest.mark.parametrize("repo", ["a", "a/-b", "a/b.git", "a/b.", "a/b.atom", "a//b", "a/b c"])
def test_what_is_no_projects_path_is_refused(repo):
    assert "no project's path" in repo_problem(repo, {})


def test_a_trigger_token_needs_a_token_or_no_following():
    account = Account("g", "gitlab", SITE, settings={"trigger_token": "env:TT"})
    [(text, remedy, keys)] = account_problems(account)
    assert "followed" in text
    assert "follow: none" in remedy
    assert keys == ("trigger_token",)
    assert not [*account_problems(replace(account, token="env:X"))]
    assert not [*account_problems(replace(account, settings={**account.settings, "follow": "none"}))]


def test_variables_are_warned_of_where_any_is_sent():
    [of_the_marker], [of_env] = warn(a_target()), warn(a_target(env={"A": "1"}, marker_input="m"))
    assert of_env == f"`env` becomes variables; {of_the_marker}"
    assert warn(a_target(marker_input="m", inputs={"a": 1})) == []
    assert warn(replace(a_target(), marked=False)) == []


def test_the_declaration_keeps_gitlabs_limits():
    told = ["triggers 5/1s", "triggers_per_repo 25/1m", "calls 2000/1m", "projects 400/1m"]
    assert [str(limit) for limit in DECLARATION.limits] == told
    assert (DECLARATION.settle, DECLARATION.url, DECLARATION.token_env) == (30.0, SITE, "GITLAB_TOKEN")
    assert registry.declaration("gitlab") is DECLARATION


# -- states ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("created", BuildState.QUEUED),
        ("waiting_for_resource", BuildState.QUEUED),
        ("preparing", BuildState.QUEUED),
        ("waiting_for_callback", BuildState.QUEUED),
        ("pending", BuildState.QUEUED),
        ("running", BuildState.RUNNING),
        ("canceling", BuildState.RUNNING),
        ("manual", BuildState.RUNNING),
        ("scheduled", BuildState.RUNNING),
        ("success", BuildState.PASSED),
        ("failed", BuildState.FAILED),
        ("canceled", BuildState.CANCELED),
        ("skipped", BuildState.SKIPPED),
        ("tomorrow", BuildState.RUNNING),
        (None, BuildState.RUNNING),
    ],
)
def test_each_status_has_its_meaning_and_an_unknown_one_is_still_going(status, state):
    assert wire.native_of(status)[1] is state
    assert (wire.native_of(status)[2] is None) == (status in DECLARATION.states)


def test_a_pipeline_that_waits_says_for_what():
    assert "manual job" in wire.build_of(a_row(status="manual"))[0].reason
    assert "resource group" in wire.build_of(a_row(status="waiting_for_resource"))[0].reason
    warned = a_row(status="success", detailed_status={"group": "success-with-warnings"})
    assert "warnings" in wire.build_of(warned)[0].reason


@pytest.mark.parametrize("word", ["manual", "scheduled", "waiting_for_resource", "preparing"])
async def test_a_pipeline_that_rests_is_followed_until_it_goes_on(word):
    there = bench(spec={"rests": word})
    _, seen = await there.until(await there.follow(), lambda build: build.state.is_final)
    assert word in [build.native for build in seen]
    assert seen[-1].state is BuildState.PASSED


# -- following ------------------------------------------------------------------------------------------------------


async def followed_to_the_end(there, count):
    """How many calls it took, by path."""
    many = [await there.follow() for _ in range(count)]
    known = {one.target.id: one for one in many}
    sent, rounds = len(there.calls), 0
    while going := [one for one in known.values() if one.build is None or not one.build.state.is_final]:
        for id_, seen in (await there.provider.poll(going)).items():
            known[id_] = replace(known[id_], build=seen.builds[0])
        there.service.wait(1.0)
        rounds += 1
    return there.calls[sent:], rounds


async def test_a_pipeline_costs_three_reads_and_its_share_of_a_call_for_many():
    calls, rounds = await followed_to_the_end(bench(), 40)
    together = sum(call.path == "/api/graphql" for call in calls)
    assert 0 < together <= 2 * rounds
    assert sum(call.path.endswith("/variables") for call in calls) == 1
    assert sum(call.method == "GET" for call in calls) == 3 * 40 + 1


async def test_as_many_are_asked_for_at_once_as_the_server_allows():
    for limit, most in ((90, 10), (250, 27), (10_000, 60)):
        there = bench(complexity=limit)
        calls, _ = await followed_to_the_end(there, 70)
        sizes = [call.body["query"].count("pipeline(") for call in calls if call.path == "/api/graphql"]
        assert max(sizes[2:]) == most
        assert all(len(call.body["query"]) <= 10_000 for call in calls if call.path == "/api/graphql")


async def test_a_query_is_never_longer_than_gitlab_takes():
    there = bench(complexity=10_000)
    many = [await there.follow() for _ in range(60)]
    long = "/".join(["a" * 200] * 3)
    seen = [(await there.provider.poll([one]))[one.target.id].builds[0] for one in many]
    pages = [build.url.replace(one.target.repo, long) for build, one in zip(seen, many, strict=True)]
    many = [replace(one, build=replace(build, url=page)) for one, build, page in zip(many, seen, pages, strict=True)]
    sent = len(there.calls)
    assert len(await there.provider.poll(many)) == 60
    queries = [call.body["query"] for call in there.calls[sent:] if call.path == "/api/graphql"]
    assert len(queries) > 3
    assert max(map(len, queries)) <= 10_000


async def test_without_graphql_each_is_read_by_itself():
    there = bench(graphql=False)
    calls, _ = await followed_to_the_end(there, 3)
    assert sum(call.path == "/api/graphql" for call in calls) == 1


async def test_what_graphql_does_not_show_is_read_by_itself():
    there = bench()
    many = [await there.follow() for _ in range(3)]
    many = [replace(one, build=(await there.poll(one)).builds[0]) for one in many]
    there.rewrite = lambda body: {"data": {"p0": None, "p1": {"pipeline": None}}} if "data" in body else body
    found = await there.provider.poll(many)
    assert {id_: seen.builds[0].id for id_, seen in found.items()} == {one.target.id: one.request.id for one in many}


async def test_the_marker_is_seen_in_the_variables_or_in_the_name():
    for said, spec, marked in (
        ({}, {}, True),
        ({}, {"hidden": True}, None),
        ({}, {"hidden": True, "names": True}, True),
        ({"marker_input": "m"}, {"inputs": ("m",), "names": True}, True),
        ({"marker_input": "m"}, {"inputs": ("m",)}, None),
    ):
        there = bench(said, spec)
        assert (await there.poll(await there.follow())).marked is marked


async def test_where_variables_are_hidden_few_projects_are_asked_for_them():
    calls, _ = await followed_to_the_end(bench(spec={"hidden": True}), 40)
    assert sum(call.path.endswith("/variables") for call in calls) == 5


async def test_a_pipeline_that_is_gone_is_a_warning():
    there = bench()
    nowhere = replace(await there.follow(), request=Request("1", {"project": 77}))
    assert "no pipeline 1" in (await there.poll(nowhere)).warning


# -- pipelines below ------------------------------------------------------------------------------------------------

BELOW = RepoSpec("acme/below")


async def test_what_a_pipeline_started_counts_and_all_must_end():
    there = bench(spec={"starts": (BELOW.slug,)}, more=(BELOW,), build=(5.0, 20.0))
    one = await there.follow()
    states = set()
    for _ in range(40):
        seen = await there.poll(replace(one, build=None))
        states.add(tuple(build.state.is_final for build in seen.builds))
        there.service.wait(1.0)
    assert states >= {(False,), (True, True)}
    assert {build.url.split("/-/")[0] for build in seen.builds} == {
        "http://127.0.0.1/acme/svc-001",
        "http://127.0.0.1/acme/below",
    }


async def test_a_pipeline_below_that_may_fail_decides_nothing():
    there = bench(spec={"starts": (BELOW.slug,), "may_fail": True}, more=(BELOW,))
    _, [*_, build] = await there.until(await there.follow(), lambda build: build.state.is_final)
    assert len((await there.poll(await there.follow())).builds) == 1
    assert build.state is BuildState.PASSED


async def test_pipelines_below_those_below_are_followed_to_a_bounded_depth():
    there, asked = bench(), []

    async def send(call):
        asked.append(call.path)
        if call.path.endswith("/bridges"):
            down = {**a_row(status="success"), "id": 1000 + len(asked)}
            return Answer(200, [{"id": 1, "downstream_pipeline": down}, {"id": 2, "downstream_pipeline": None}])
        return Answer(200, a_row(status="success"))

    provider = GitLab(there.service.account, send, str)
    seen = await provider.poll([replace(await there.follow(), request=Request("910023"), marker=None)])
    [observed] = seen.values()
    assert len(observed.builds) == 4
    assert sum(path.endswith("/bridges") for path in asked) == 3


async def test_bridges_that_another_project_hides_are_none():
    there = bench()
    one, _ = await there.until(await there.follow(), lambda build: build.state.is_final)
    send = there.service.send

    async def hiding(call):
        return Answer(404, {"message": "404 Not found"}) if call.path.endswith("/bridges") else await send(call)

    found = await GitLab(there.service.account, hiding, str).poll([one])
    assert len(found[one.target.id].builds) == 1


async def test_what_a_pipeline_started_may_be_forbidden_to_read_and_its_own_end_counts():
    there = bench()
    one, _ = await there.until(await there.follow(), lambda build: build.state.is_final)
    send = there.service.send

    async def forbidding(call):
        return Answer(403, {"message": "403 Forbidden"}) if call.path.endswith("/bridges") else await send(call)

    found = await GitLab(there.service.account, forbidding, str).poll([one])
    assert [build.state for build in found[one.target.id].builds] == [BuildState.PASSED]


async def test_a_pipeline_below_is_canceled_and_started_again_in_its_own_project():
    there = bench(account={"url": "http://127.0.0.1:9/lead"})
    build = Build("7", BuildState.FAILED, "failed", url="http://x/lead/acme/deep/below/-/pipelines/7")
    for ask in (there.provider.cancel, there.provider.restart):
        await there.outcome(Answer(404, {"message": "404"}), lambda: ask(a_target(), build))  # noqa: B023  # used at once
        assert there.calls[-1].path.startswith("/api/v4/projects/acme%2Fdeep%2Fbelow/pipelines/7/")


# -- lost answers -----------------------------------------------------------------------------------------------------


async def test_a_pipeline_whose_variables_may_not_be_read_could_be_ours():
    there = bench(spec={"hidden": True})
    trigger, asked = await there.lose("lost_after")
    doubt = await there.find(trigger, asked)
    assert isinstance(doubt, InDoubt)
    assert doubt.cause.endswith("/-/pipelines/910023")


async def test_the_name_tells_where_variables_do_not():
    there = bench({"marker_input": "m"}, {"hidden": True, "names": True, "inputs": ("m",)})
    trigger, asked = await there.lose("lost_after")
    found = await there.find(trigger, asked)
    assert (found.id, found.handle["project"]) == ("910023", 77)


async def test_a_pipeline_of_another_ref_source_or_time_cannot_be_it():
    there = bench(spec={"hidden": True, "branches": ("main", "dev")})
    trigger, asked = await there.lose("lost_before")
    tables = there.service.look_alike.tables
    project = tables.projects[trigger.target.repo]
    now = there.service.now()
    for at, source, ref in ((now, "push", "main"), (now, "api", "dev"), (now - 500, "api", "main")):
        tables.start(at, project, source, ref, {}, {}, stuck=False)
    assert await there.find(trigger, asked) is None
    tables.start(there.service.now(), project, "api", "main", {}, {}, stuck=False)
    assert isinstance(await there.find(trigger, Interval(asked.start, there.service.now())), InDoubt)


async def test_variables_are_read_once_a_pipeline_and_not_of_pipelines_that_are_known():
    there = bench()
    trigger, asked = await there.lose("lost_before")
    other = await there.provider.trigger(replace(trigger, marker="[other.abcdefgh]"))
    for known, reads in (([other.id], 0), ([], 1), ([], 1)):
        assert await there.find(trigger, asked, known) is None
        assert sum(call.path.endswith("/variables") for call in there.calls) == reads


async def test_before_a_first_trigger_the_default_branch_is_looked_up_to_know_what_could_be_ours():
    there = bench(default_branch="trunk")
    trigger, asked = await there.lose("lost_before")
    unprepared = replace(trigger, prepared=None, target=replace(trigger.target, branch=None))
    assert await there.find(unprepared, asked) is None
    gone = replace(unprepared, target=replace(unprepared.target, repo="acme/gone"))
    assert isinstance(await there.outcome(Answer(404, {"message": "404 Project Not Found"}),
                                          lambda: there.provider.find(gone, asked, ())), LookFailed)  # fmt: skip


async def test_whom_a_trigger_token_lets_trigger_need_not_be_let_look():
    hidden = Answer(404, {"message": "404 Project Not Found"})
    for said, is_told_absent in (({}, True), ({"trigger_token": "env:TT"}, False)):
        there = bench(said, {"trigger_token": "*"})
        trigger, asked = await there.lose("lost_before")
        found = await there.outcome(hidden, lambda: there.provider.find(trigger, asked, ()))  # noqa: B023  # used at once
        assert isinstance(found, LookFailed)
        assert isinstance(found, NotShown) is is_told_absent


async def test_a_listing_that_goes_on_without_saying_where_proves_no_absence():
    there = bench()
    trigger, asked = await there.lose("lost_before")
    rows = [{"id": n, "created_at": "2026-01-05T01:00:00Z", "source": "push"} for n in range(1, 101)]
    for answer in (Answer(200, rows), Answer(200, rows[:3], {"x-next-page": "2"})):
        found = await there.outcome(answer, lambda: there.provider.find(trigger, asked, ()))  # used at once
        assert isinstance(found, LookFailed)
    whole = Answer(200, rows, {"x-next-page": ""})
    assert await there.outcome(whole, lambda: there.provider.find(trigger, asked, ())) is None


# -- cancel, restart, who ---------------------------------------------------------------------------------------------


async def test_a_retry_that_touches_nothing_is_told_and_not_waited_for():
    there = bench()
    one, [*_, build] = await there.until(await there.follow(), lambda build: build.state.is_final)
    there.service.wait(10.0)
    with pytest.raises(Rejected) as caught:
        await there.provider.restart(one.target, build)
    assert caught.value.code == "not_restarted"


async def test_a_canceled_pipeline_may_show_at_once_that_it_was():
    there = bench()
    one = await there.follow()
    build = (await there.poll(one)).builds[0]
    answer = Answer(200, a_row(id=int(build.id), status="canceled"))
    assert await there.outcome(answer, lambda: there.provider.cancel(one.target, build)) is True
    ended = replace(answer, body=a_row(id=int(build.id), status="success"))
    assert await there.outcome(ended, lambda: there.provider.cancel(one.target, build)) is False


async def test_whose_token_it_is_and_what_it_may():
    there = bench()
    who = await there.provider.whoami()
    assert (who.id, who.login) == ("127.0.0.1:9/user/77", "sandbox")
    assert "scopes: api" in who.detail
    assert isinstance(await there.outcome(Answer(200, "<html>"), there.provider.whoami), AccessRefused)


async def test_doctor_is_told_of_a_token_that_may_only_read_unless_a_trigger_token_triggers():
    there = bench(scopes=("read_api",))
    target = there.service.target()
    assert "read_api" in (await there.provider.whoami()).detail
    text, remedy = await there.provider.advise(target)
    assert "may not trigger" in text
    assert "`api`" in remedy
    by_trigger_token = replace(target, request={"trigger_token": "env:TT"})
    assert await there.provider.advise(by_trigger_token) is None
    with pytest.raises(AccessRefused) as caught:
        await there.provider.trigger(Trigger(target, 1, TEXT, "r", {"v": 1}))
    assert caught.value.code == "insufficient_scope"


async def test_a_project_that_is_archived_or_has_no_ci_is_refused_before_the_trigger():
    for spec in ({"archived": True}, {"builds": False}):
        there = bench(spec=spec)
        with pytest.raises(Rejected) as caught:
            await there.provider.prepare(there.service.target())
        assert caught.value.code == "archived"


async def test_doctor_is_told_of_projects_that_forbid_variables():
    there = bench({"env": {"B": "2"}}, {"variables": False})
    text, remedy = await there.provider.advise(there.service.target())
    assert "the marker's, B" in text
    assert "marker_input" in remedy
    by_input = bench({"marker_input": "m"}, {"variables": False})
    assert await by_input.provider.advise(by_input.service.target()) is None
    allowed = bench({"env": {"B": "2"}})
    assert await allowed.provider.advise(allowed.service.target()) is None


@pytest.mark.parametrize(("level", "is_told"), [(30, True), (40, False), (None, True)])
async def test_doctor_is_told_where_only_a_higher_role_may_set_variables(level, is_told):
    there = bench()
    target = there.service.target()
    row = {"id": 77, "path_with_namespace": target.repo, "ci_pipeline_variables_minimum_override_role": "maintainer"}
    row["permissions"] = {"project_access": None, "group_access": level and {"access_level": level}}
    advice = await there.outcome(Answer(200, row), lambda: there.provider.advise(target))
    assert (advice is not None) is is_told
    assert advice is None or "Maintainer" in advice[0]


async def test_groups_are_discovered_by_keys_with_their_subgroups_and_people_too():
    there = bench(more=(RepoSpec("acme/deep/er/x", topics=("core",)), RepoSpec("acme/old", archived=True)))
    found = {facts.slug: facts for facts in await there.provider.discover("acme")}
    assert found["acme/deep/er/x"].labels == ("core",)
    assert "acme/old" not in found
    assert [dict(call.query).get("pagination") for call in there.calls] == ["keyset"] * len(there.calls)
    sent = []

    async def send(call):
        sent.append(call.path)
        return Answer(404, {"message": "404 Group Not Found"}) if "groups" in call.path else Answer(200, [])

    assert await GitLab(there.service.account, send, str).discover("jane") == []
    assert sent == ["/api/v4/groups/jane/projects", "/api/v4/users/jane/projects"]


async def test_the_log_is_that_of_a_job_that_may_not_fail():
    there, sent = bench(), []
    jobs = [{"id": 3, "name": "lint", "status": "failed", "allow_failure": True, "web_url": "https://x/3"},
            {"id": 2, "name": "test", "status": "failed", "web_url": "https://x/2"}]  # fmt: skip

    async def send(call):
        sent.append(call)
        return Answer(200, "boom\nERROR: Job failed\n") if call.path.endswith("/trace") else Answer(200, jobs)

    build = Build("7", BuildState.FAILED, "failed", url="http://127.0.0.1:9/acme/b/-/pipelines/7")
    log = await GitLab(there.service.account, send, str).logs(a_target(), build, 1000)
    assert (log.job, log.text, log.url) == ("test", "boom\nERROR: Job failed\n", "https://x/2")
    assert sent[1].path == "/api/v4/projects/acme%2Fb/jobs/2/trace"


async def test_last_builds_are_told_by_one_call():
    there = bench()
    one, _ = await there.until(await there.follow(), lambda build: build.state.is_final)
    sent = len(there.calls)
    assert await there.provider.durations(one.target, 5) == [10.0]
    assert len(there.calls) == sent + 1
    nothing = Answer(404, {"message": "404 Project Not Found"})
    assert isinstance(await there.outcome(nothing, lambda: there.provider.durations(one.target, 5)), Rejected)


async def test_a_branch_may_be_a_tag_or_not_be_there():
    there = bench(spec={"branches": ("main", "release/2.x")})
    target = there.service.target()
    for branch, is_there in (("release/2.x", True), ("refs/heads/main", True), ("gone", False)):
        assert await there.provider.sees_branch(replace(target, branch=branch)) is is_there


# -- trigger tokens alone ---------------------------------------------------------------------------------------------


async def test_with_trigger_tokens_alone_what_was_accepted_is_the_end_and_a_lost_answer_stays_in_doubt():
    there = bench(account=BLIND, spec={"trigger_token": "contract-s3cret"})
    one = await there.follow()
    [build] = (await there.poll(one)).builds
    assert build.state is BuildState.ACCEPTED
    assert [call.path.rpartition("/projects/")[2] for call in there.calls] == ["acme%2Fsvc-001/trigger/pipeline"]
    trigger, asked = await there.lose("lost_after")
    assert isinstance(await there.find(trigger, asked), InDoubt)


async def test_a_wrong_trigger_token_refuses_its_target():
    there = bench({"trigger_token": "env:OTHER"}, account=BLIND)
    with pytest.raises(Rejected) as caught:
        await there.follow()
    assert caught.value.code == "not_found"


def test_only_an_account_without_a_token_lacks_the_abilities_that_read():
    blind = Account("g", "gitlab", SITE, **BLIND)
    assert not isinstance(made(blind, None, str), GitLab)
    assert isinstance(made(replace(blind, token="env:X"), None, str), GitLab)
    assert not registry.declared(blind).needs_token


async def test_with_a_token_and_no_following_nothing_is_polled_but_a_lost_answer_is_found():
    there = bench(account={"settings": {"follow": "none"}})
    one = await there.follow()
    sent = len(there.calls)
    assert (await there.poll(one)).builds[0].state is BuildState.ACCEPTED
    assert len(there.calls) == sent
    trigger, asked = await there.lose("lost_after")
    assert isinstance(await there.find(trigger, asked), Request)
