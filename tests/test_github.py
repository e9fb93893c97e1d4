"""The GitHub provider: what it sends, and what it makes of answers."""

import base64
import json
from pathlib import Path

import pytest
from github_bench import bench

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotTriggered, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Interval, Target, Trigger
from orchestrator.providers import registry
from orchestrator.providers.github import wire
from orchestrator.providers.github.declaration import DECLARATION, place, target_problem
from orchestrator.providers.github.observe import build_of, native_of
from orchestrator.providers.github.provider import GitHub, stored_token
from orchestrator.providers.kit.workflow import read_workflow

pytestmark = pytest.mark.anyio

MARKER = "[nightly.abcdefgh]"
RUN = 30_792_680_906


@pytest.fixture
def anyio_backend():
    return "asyncio"


def a_target(branch="main", **said):
    return Target("github:acme/api", "github", "acme/api", branch, request={"workflow": "ci.yml", **said})


def a_trigger(prepared=None, branch="main", marker=MARKER, **said):
    return Trigger(a_target(branch, **said), 1, marker, "nightly", {"v": 1, "marker": "marker", **(prepared or {})})


def an_event(**said):
    target = Target("github:acme/api", "github", "acme/api", request={"event": "rebuild", **said})
    return Trigger(target, 1, MARKER, "nightly", {"v": 1})


def receipt(repo="acme/api", run=RUN):
    lead = f"https://api.github.com/repos/{repo}/actions/runs/{run}"
    return {"workflow_run_id": run, "run_url": lead, "html_url": lead.replace("api.", "").replace("/repos", "")}


def failure(answer, trigger=None):
    with pytest.raises((NotTriggered, InDoubt)) as caught:
        wire.read_receipt(trigger or a_trigger(), answer)
    return caught.value


# -- what is sent ---------------------------------------------------------------------------------------------------


def test_a_dispatch_says_ref_inputs_as_text_and_marker():
    call = wire.trigger_call(a_trigger(inputs={"fast": True, "level": 3, "ratio": 0.5}, env={"IMAGE": "x"}))
    assert call.path == "/repos/acme/api/actions/workflows/ci.yml/dispatches"
    sent = {"fast": "true", "level": "3", "ratio": "0.5", "IMAGE": "x", "marker": MARKER}
    assert call.body == {"ref": "main", "inputs": sent, "return_run_details": True}
    assert call.limits == ("triggers", "calls", *("points",) * 5)


def test_an_older_server_is_not_asked_for_the_id_of_the_run():
    assert "return_run_details" not in wire.trigger_call(a_trigger({"old": True})).body


def test_a_marker_that_no_input_can_carry_is_not_sent():
    for trigger in (a_trigger({"marker": None}), a_trigger(marker_input="none"), a_trigger(marker=None)):
        assert "inputs" not in wire.trigger_call(trigger).body
    assert wire.trigger_call(a_trigger({"marker": None}, marker_input="batch")).body["inputs"] == {"batch": MARKER}


def test_what_the_user_sends_is_never_replaced_by_the_marker():
    assert wire.trigger_call(a_trigger(inputs={"marker": "mine"})).body["inputs"] == {"marker": "mine"}
    full = {f"i{number}": "" for number in range(25)}
    assert wire.trigger_call(a_trigger(inputs=full)).body["inputs"] == full
    assert wire.trigger_call(an_event(payload={"marker": "mine"})).body["client_payload"] == {"marker": "mine"}


def test_without_a_branch_the_default_branch_that_was_looked_up_is_dispatched():
    assert wire.trigger_call(a_trigger({"ref": "trunk"}, branch=None)).body["ref"] == "trunk"


def test_an_event_carries_payload_and_marker():
    call = wire.trigger_call(an_event(payload={"deep": {"a": [1]}}, env={"IMAGE": "x"}))
    payload = {"deep": {"a": [1]}, "IMAGE": "x", "marker": MARKER}
    assert (call.path, call.body) == (
        "/repos/acme/api/dispatches",
        {"event_type": "rebuild", "client_payload": payload},
    )


# -- receipts and refusals ------------------------------------------------------------------------------------------


def test_the_receipt_has_the_run_and_its_page():
    request = wire.read_receipt(a_trigger(), Answer(200, receipt()))
    assert (request.id, request.url) == (str(RUN), f"https://github.com/acme/api/actions/runs/{RUN}")


def test_a_receipt_for_another_repository_is_a_doubt_unless_it_was_renamed():
    assert isinstance(failure(Answer(200, receipt("acme/other"))), InDoubt)
    assert wire.read_receipt(a_trigger(), Answer(200, receipt("acme/other"), is_moved=True)).id == str(RUN)


def test_an_accepted_dispatch_without_a_body_is_a_receipt_without_an_id():
    request = wire.read_receipt(a_trigger({"old": True}), Answer(204, "", {"date": "Thu, 01 Jan 1970 00:01:00 GMT"}))
    assert request.handle["sent"] == 60.0


@pytest.mark.parametrize(
    ("status", "message", "kind", "code"),
    [
        (422, "No ref found for: release/9", Rejected, "ref_not_found"),
        (422, 'Unexpected inputs provided: ["marker"]', Rejected, "unexpected_inputs"),
        (422, "Required input 'x' not provided", Rejected, "input_missing"),
        (422, "Provided value 'v' for input 'x' not in the list of allowed values", Rejected, "bad_input"),
        (422, "Workflow does not have 'workflow_dispatch' trigger", Rejected, "no_dispatch"),
        (422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow", Rejected, "workflow_disabled"),
        (403, "Cannot trigger a 'workflow_dispatch' on a disabled workflow", Rejected, "workflow_disabled"),
        (422, "Something new", Rejected, "http_422"),
        (404, "Not Found", Rejected, "not_found"),
        (403, "Resource not accessible by integration", Rejected, "insufficient_access"),
        (403, "Must have admin rights to Repository.", Rejected, "insufficient_access"),
        (403, "Resource protected by organization SAML enforcement.", Rejected, "insufficient_access"),
        (403, "Repository was archived so is read-only.", Rejected, "archived"),
        (401, "Bad credentials", AccessRefused, "bad_token"),
    ],
)
def test_a_refusal_is_told_by_githubs_own_words(status, message, kind, code):
    found = failure(Answer(status, {"message": message}))
    assert (type(found), found.code) == (kind, code)


def test_a_missing_right_names_what_the_token_would_need():
    answer = Answer(403, {"message": "Resource not accessible by personal access token"})
    found = failure(replace(answer, headers={"x-accepted-github-permissions": "actions=write"}))
    assert "actions=write" in found.reason


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    ("message", "headers", "wait"),
    [
        ("You have exceeded a secondary rate limit. Please wait.", {"retry-after": "31"}, 31.0),
        ("You have exceeded a secondary rate limit. Please wait.", {}, None),
        ("You have triggered an abuse detection mechanism.", {}, None),
        ("API rate limit exceeded for user ID 7.", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "90"}, 91.0),
        ("Nothing known", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "90"}, 91.0),
    ],
)
def test_a_limit_is_told_from_a_missing_right(status, message, headers, wait):
    found = failure(Answer(status, {"message": message}, headers))
    assert isinstance(found, RateLimited)
    assert (str(found.scope), found.retry_after) == ("account", wait)
    assert found.patience == (60.0 if "limit exceeded" not in message and "Nothing" not in message else None)


@pytest.mark.parametrize("answer", [Answer(500, {}), Answer(502, "<html>"), Answer(200, {}), Answer(204, {"a": 1})])
def test_what_is_neither_receipt_nor_refusal_is_a_doubt(answer):
    assert isinstance(failure(answer), InDoubt)


# -- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "there is no `workflow`"),
        ({"workflow": "ci.yml", "event": "x"}, "side by side"),
        ({"workflow": "ci.yml", "payload": {}}, "`payload` does not go with `workflow`"),
        ({"event": "x", "inputs": {}}, "`inputs` does not go with `event`"),
        ({"event": "x" * 101}, "100 characters"),
        ({"workflow": "ci.yml", "inputs": {"A": 1}, "env": {"A": "2"}}, "both name 'A'"),
        ({"workflow": "ci.yml", "inputs": {"m": 1}, "marker_input": "m"}, "carry the marker"),
        ({"workflow": "ci.yml", "inputs": {f"i{n}": n for n in range(26)}}, "26 of inputs"),
        ({"event": "x", "payload": {f"i{n}": n for n in range(11)}}, "11 of payload"),
        ({"workflow": "ci.yml", "inputs": {"long": "x" * 70_000}}, "GitHub takes 65,535"),
    ],
)
def test_keys_that_do_not_go_together_are_told_before_anything_is_sent(said, words):
    text, remedy = target_problem(Target("github:acme/api", "github", "acme/api", request=said))
    assert words in text
    assert remedy


def test_an_event_has_no_branch():
    target = Target("github:acme/api@main", "github", "acme/api", "main", request={"event": "x"})
    assert "default branch" in target_problem(target)[0]


def test_what_is_looked_up_belongs_to_workflow_ref_and_input():
    assert place(a_target()) != place(a_target("dev"))
    assert place(a_target()) != place(
        replace(a_target(), marked=False)
    )  # which looks for no input that could carry one
    assert place(a_target()) != place(a_target(workflow="b.yml"))
    assert place(a_target()) != place(a_target(marker_input="m"))


# -- a workflow's file ----------------------------------------------------------------------------------------------


def a_file(text):
    return {"encoding": "base64", "content": base64.encodebytes(text.encode()).decode()}


SHOWING = 'run-name: "ci ${{ inputs.marker }}"\non: {workflow_dispatch: {inputs: {marker: {type: string}}}}\n'


@pytest.mark.parametrize(
    ("text", "carrier"),
    [
        (SHOWING, "marker"),
        (SHOWING.replace("marker", "orchestrator_marker"), "orchestrator_marker"),
        (SHOWING.replace("on:", '"on":'), "marker"),
        (SHOWING.replace("inputs.marker", "github.event.inputs.marker"), "marker"),
        (SHOWING.replace("inputs.marker", "inputs['marker']"), "marker"),
        (SHOWING.replace("inputs.marker", "inputs.marker_2"), None),
        (SHOWING.partition("\n")[2], None),
        ('run-name: "${{ inputs.marker }}"\non: workflow_dispatch\n', None),
        ("on: [push, workflow_dispatch]\n", None),
        ("on: {}", None),
    ],
)
def test_an_input_carries_the_marker_where_it_is_declared_and_shown(text, carrier):
    assert read_workflow(a_file(text)).carrier() == carrier


CHOOSING = """\
on:
  workflow_dispatch:
    inputs:
      level: {type: choice, options: [1, "2"], required: true, default: 1}
      image: {type: string, required: true}
"""


@pytest.mark.parametrize(
    ("text", "sent", "words"),
    [
        (CHOOSING, {"image": "x"}, None),
        (CHOOSING, {"image": "x", "level": 1}, None),
        (CHOOSING, {"image": "x", "level": "2"}, None),
        (CHOOSING, {"image": "x", "level": 3}, "does not take '3' for the input level"),
        (CHOOSING, {}, "wants the input image"),
        (CHOOSING, {"image": "x", "b": 1, "a": 2}, "does not declare a, b"),
        ("on: push\n", {}, "has no `on: workflow_dispatch`"),
        ("on: [push, workflow_dispatch]\n", {}, None),
        ("on: workflow_dispatch\n", {"a": 1}, "does not declare a"),
    ],
)
def test_inputs_that_github_would_refuse_are_told_by_the_workflows_file(text, sent, words):
    found = read_workflow(a_file(text)).problem(sent)
    assert (found is None) if words is None else (words in found[0] and found[1])


@pytest.mark.parametrize("body", [{}, {"encoding": "base64", "content": "%"}, a_file("{"), a_file("- " * 9000)])
def test_a_file_that_cannot_be_read_is_none(body):
    assert read_workflow(body) is None


async def test_the_marker_is_read_once_from_the_files_ref():
    there = bench()
    trigger = await there.wish()
    [call] = there.calls
    assert call.path.endswith("/contents/.github/workflows/ci.yml")
    assert dict(call.query) == {"ref": "main"}
    assert trigger.prepared == {"v": 1, "marker": "marker"}


@pytest.mark.parametrize("said", [{"workflow": "ci.yml", "marker_input": "batch"}, {"event": "go"}])
async def test_where_no_file_is_read_the_repository_is_asked_what_it_is_called(said):
    there = bench(said)
    trigger = await there.wish()
    assert [call.path for call in there.calls] == ["/repos/acme/svc-001"]
    assert trigger.prepared == {"v": 1}


async def test_a_file_that_is_not_shown_to_the_token_carries_no_marker_but_a_limit_is_no_such_answer():
    there = bench()
    target, shown = there.service.target(), there.service.send
    for answer in (Answer(404, {"message": "Not Found"}), Answer(403, {"message": "Resource not accessible by x"})):

        async def send(call, answer=answer):
            return answer if "/contents/" in call.path else await shown(call)

        there.service.send = send
        assert (await there.provider.prepare(target))["marker"] is None
    for answer, kind in ((Answer(403, {"message": "secondary rate limit"}), RateLimited), (Answer(502), LookFailed)):
        assert isinstance(await there.outcome(answer, lambda: there.provider.prepare(target)), kind)


async def test_without_a_branch_the_default_one_is_looked_up_and_an_archived_repository_refused():
    there = bench(default_branch="trunk")
    target = replace(there.service.target(), branch=None)
    assert (await there.provider.prepare(target))["ref"] == "trunk"
    archived = bench(spec={"archived": True})
    with pytest.raises(Rejected) as caught:
        await archived.provider.prepare(replace(archived.service.target(), branch=None))
    assert caught.value.code == "archived"


async def test_doctor_is_told_the_lines_to_add():
    assert await bench().provider.advise(bench().service.target()) is None
    there = bench(spec={"marker": False})
    text, remedy = await there.provider.advise(there.service.target())
    assert "ci.yml" in text
    assert "run-name" in remedy
    assert "marker: {type: string" in remedy


async def test_doctor_is_told_of_a_marker_that_is_named_and_not_declared_and_wants_none_that_is_sent():
    there = bench({"workflow": "ci.yml", "marker_input": "batch"})
    text, _ = await there.provider.advise(there.service.target())
    assert text == "workflow ci.yml does not declare batch: GitHub will refuse the dispatch"
    there = bench()
    required = SHOWING.replace("{type: string}", "{type: string, required: true}")
    there.rewrite = lambda body: {**body, **a_file(required)} if "content" in body else body
    assert await there.provider.advise(there.service.target()) is None


# -- states ---------------------------------------------------------------------------------------------------------


def a_row(**said):
    return {"id": RUN, "status": "completed", "conclusion": "success", "updated_at": "2026-03-01T10:05:00Z", **said}


@pytest.mark.parametrize(
    ("status", "conclusion", "state"),
    [
        ("queued", None, BuildState.QUEUED),
        ("pending", None, BuildState.QUEUED),
        ("waiting", None, BuildState.RUNNING),
        ("in_progress", "success", BuildState.RUNNING),
        ("completed", "success", BuildState.PASSED),
        ("completed", "neutral", BuildState.PASSED),
        ("completed", "failure", BuildState.FAILED),
        ("completed", "timed_out", BuildState.FAILED),
        ("completed", "cancelled", BuildState.CANCELED),
        ("completed", "skipped", BuildState.SKIPPED),
        ("completed", "startup_failure", BuildState.ERRORED),
        ("completed", "action_required", BuildState.ERRORED),
        ("completed", "stale", BuildState.ERRORED),
        ("completed", "tomorrow", BuildState.ERRORED),
        ("completed", None, BuildState.RUNNING),
        ("tomorrow", None, BuildState.RUNNING),
    ],
)
def test_a_conclusion_counts_only_once_the_run_is_completed(status, conclusion, state):
    assert native_of(status, conclusion)[1] is state


def test_a_run_that_waits_for_a_person_says_so():
    assert "approval" in build_of(a_row(status="waiting", conclusion=None), None)[0].reason


def test_a_run_ends_when_it_was_last_updated():
    build, _ = build_of(a_row(run_started_at="2026-03-01T10:00:00Z"), None)
    assert build.finished_at - build.started_at == 300.0


# -- following ------------------------------------------------------------------------------------------------------


async def test_a_run_costs_two_reads_and_its_share_of_one_call_a_round():
    there = bench()
    many = [await there.follow() for _ in range(30)]
    known = {one.target.id: one for one in many}
    sent, rounds = len(there.calls), 0
    while any(one.build is None or not one.build.state.is_final for one in known.values()):
        going = [one for one in known.values() if one.build is None or not one.build.state.is_final]
        for id_, seen in (await there.provider.poll(going)).items():
            known[id_] = replace(known[id_], build=seen.builds[0])
        there.service.wait(1.0)
        rounds += 1
    calls = there.calls[sent:]
    assert sum(call.path == "/graphql" for call in calls) <= rounds
    assert sum(call.method == "GET" for call in calls) == 60


async def test_five_hundred_runs_are_one_call():
    there = bench()
    one = await there.follow()
    seen = await there.poll(one, fresh=False)
    one = replace(one, build=seen.builds[0])
    many = [replace(one, target=replace(one.target, id=f"t{n}")) for n in range(450)]
    sent = len(there.calls)
    assert len(await there.provider.poll(many)) == 450
    assert [call.path for call in there.calls[sent:]] == ["/graphql"]


async def test_without_graphql_a_run_that_has_not_changed_costs_an_answer_without_a_body():
    there = bench(graphql=False)
    one = await there.follow()
    one = replace(one, build=(await there.poll(one, fresh=False)).builds[0])
    for status in (200, 304, 304):
        observed = await there.poll(one, fresh=False)
        assert (observed.builds[0], observed.marked) == (one.build, True)
        assert there.last.status == status


async def test_what_graphql_does_not_answer_is_read_by_itself():
    there = bench()
    one = await there.follow()
    one = replace(one, build=(await there.poll(one, fresh=False)).builds[0])
    there.rewrite = lambda body: {"data": None, "errors": [{"type": "RATE_LIMITED"}]} if "data" in body else body
    assert (await there.poll(one, fresh=False)).builds


async def test_the_marker_is_seen_in_the_title():
    there = bench()
    assert (await there.poll(await there.follow())).marked is True
    silent = bench({"workflow": "ci.yml", "marker_input": "x"}, {"marker": False})
    assert (await silent.poll(await silent.follow())).marked is False


# -- servers that tell no id, and events ------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", [True, False])
async def test_the_run_of_a_server_that_tells_no_id_is_found_in_the_listing(marker):
    there = bench(None, {"marker": marker}, url="http://127.0.0.1:9/api/v3", version="3.19")
    there.service.look_alike.settings = replace(there.service.look_alike.settings, prefix="/api/v3")
    one, builds = await there.until(await there.follow(), lambda build: build.state.is_final)
    assert one.request.id == builds[-1].id
    assert {"/meta"} <= {call.path for call in there.calls}


async def test_a_server_that_no_longer_takes_the_older_version_is_asked_in_the_newer_one():
    there = bench(versions=("2026-03-10",))
    one, builds = await there.until(await there.follow(), lambda build: build.state.is_final)
    assert one.request.id == builds[-1].id
    assert [answer for answer in there.service.look_alike.counters.statuses if answer == "422"] == []
    refused = there.service.look_alike.counters.statuses["400"]
    assert refused == 1  # it is remembered


async def test_a_trigger_that_meets_the_end_of_a_version_started_nothing_and_is_asked_again():
    there = bench(versions=("2026-03-10",))
    trigger = replace(a_trigger(), target=there.service.target())  # nothing was read before
    with pytest.raises(NotTriggered, match="2022-11-28"):
        await there.provider.trigger(trigger)
    assert (await there.provider.trigger(trigger)).id == str(RUN)


async def test_two_runs_without_a_marker_are_not_told_apart():
    there = bench(None, {"marker": False}, url="http://127.0.0.1:9/api/v3", version="3.19")
    there.service.look_alike.settings = replace(there.service.look_alike.settings, prefix="/api/v3")
    one = await there.follow()
    await there.provider.trigger(Trigger(one.target, 1, None, "x", {"old": True}))
    there.service.wait(70.0)
    observed = await there.poll(one)
    assert observed.builds == ()
    assert "2 runs" in observed.warning


async def test_an_event_is_over_when_no_more_runs_can_come_and_all_have_ended():
    there = bench({"event": "rebuild"}, {"workflows": ("a.yml", "b.yml")})
    one = await there.follow()
    there.service.wait(20.0)
    early = await there.poll(one)
    assert not any(build.state.is_final for build in early.builds)
    there.service.wait(60.0)
    late = await there.poll(replace(one, request=early.request or one.request))
    assert [build.state for build in late.builds] == [BuildState.PASSED] * 2


async def test_an_event_that_starts_nothing_shows_nothing():
    there = bench({"event": "rebuild"}, {"events": ("other",)})
    one = await there.follow()
    there.service.wait(90.0)
    assert (await there.poll(one)).builds == ()


# -- lost answers -----------------------------------------------------------------------------------------------------


async def test_where_no_marker_is_shown_a_row_of_the_time_keeps_the_doubt_and_none_ends_it():
    there = bench(None, {"marker": False})
    trigger, asked = await there.lose("lost_before")
    unshown = replace(trigger, is_shown=False)
    assert await there.find(unshown, asked) is None
    await there.provider.trigger(replace(trigger, marker=None))
    assert isinstance(await there.find(unshown, Interval(asked.start, there.service.now())), InDoubt)


async def test_runs_of_another_branch_workflow_or_event_cannot_be_it():
    there = bench(None, {"marker": False, "workflows": ("ci.yml", "b.yml"), "branches": ("main", "dev")})
    trigger, asked = await there.lose("lost_before")
    tables, repo = there.service.look_alike.tables, there.service.look_alike.tables.repos[trigger.target.repo]
    now = there.service.now()
    for file, event, branch in (("b.yml", "workflow_dispatch", "main"), ("ci.yml", "push", "main"),
                                ("ci.yml", "workflow_dispatch", "dev")):  # fmt: skip
        tables.start(now, repo, file, event, branch, {}, stuck=False)
    assert await there.find(replace(trigger, is_shown=False), asked) is None


# -- cancel, restart, who ---------------------------------------------------------------------------------------------


async def test_a_run_that_goes_on_although_it_was_canceled_is_canceled_by_force():
    there = bench(change=(50.0, 50.0))
    one = await there.follow()
    build = (await there.poll(one)).builds[0]
    await there.provider.cancel(one.target, build)
    await there.provider.cancel(one.target, build)
    assert [call.path.rpartition("/")[2] for call in there.calls[-2:]] == ["cancel", "force-cancel"]


@pytest.mark.parametrize(
    ("state", "what"), [("failed", "rerun-failed-jobs"), ("errored", "rerun"), ("passed", "rerun")]
)
async def test_only_what_failed_is_started_again(state, what):
    there = bench()
    one, [*_, build] = await there.until(await there.follow(), lambda build: build.state.is_final)
    await there.outcome(Answer(201, {}), lambda: there.provider.restart(one.target, replace(build, state=state)))
    assert there.calls[-1].path.endswith(f"/{what}")


async def test_a_run_that_goes_on_already_is_as_good_as_started_again():
    there = bench()
    one, [*_, build] = await there.until(await there.follow(), lambda build: build.state.is_final)
    running = Answer(403, {"message": "This workflow is already running"})
    assert await there.outcome(running, lambda: there.provider.restart(one.target, build)) is None
    old = Answer(403, {"message": "This workflow run cannot be retried"})
    assert isinstance(await there.outcome(old, lambda: there.provider.restart(one.target, build)), Rejected)


async def test_the_token_of_an_app_has_no_user():
    there = bench()
    answer = Answer(403, {"message": "Resource not accessible by integration"})
    assert await there.outcome(answer, there.provider.whoami) is None
    assert isinstance(await there.outcome(Answer(200, "<html>"), there.provider.whoami), AccessRefused)


async def test_topics_are_labels_and_archived_repositories_are_not_active():
    there = bench(None, {"topics": ("core",), "archived": True})
    found = await there.provider.discover("acme")
    assert {(facts.labels, facts.active) for facts in found} == {(("core",), False)}


# -- where ------------------------------------------------------------------------------------------------------------


def test_graphql_of_an_enterprise_server_stands_beside_its_api():
    sent = []

    async def send(call):
        sent.append(call)
        raise InDoubt("enough")

    for url, where in (
        ("https://ci.corp/api/v3", ("/api/graphql", True)),
        ("https://api.github.com", ("/graphql", False)),
    ):
        provider = GitHub(Account("g", "github", url), send, str)
        assert provider._poll._graphql == where
    page = GitHub(Account("g", "github", "https://ci.corp/api/v3"), send, str).requests_page(a_target())
    assert page == "https://ci.corp/acme/api/actions"


@pytest.mark.parametrize(("status", "old"), [("3.20.1", True), ("3.21.0", False), ("4.0", False)])
async def test_an_enterprise_server_says_its_version_once(status, old):
    there = bench(url="http://127.0.0.1:9/api/v3")
    shown = {"installed_version": status, "id": 7, "full_name": "acme/api"}
    target = a_target(marker_input="none")
    for _ in range(2):
        found = await there.outcome(Answer(200, shown), lambda: there.provider.prepare(target))
        assert found.get("old", False) is old
    assert [call.path for call in there.calls] == ["/meta", "/repos/acme/api", "/repos/acme/api"]


def test_the_token_is_the_variable_of_actions_or_what_gh_has(tmp_path):
    assert stored_token("https://api.github.com", {"GITHUB_TOKEN": "ghs_1"}, tmp_path).reveal() == "ghs_1"
    gh = tmp_path / "gh"
    gh.write_text('#!/bin/sh\n[ "$*" = "auth token --hostname github.com" ] && echo gho_2\n')
    gh.chmod(0o700)
    environ = {"PATH": f"{tmp_path}:/bin:/usr/bin"}
    assert stored_token("https://api.github.com", environ, tmp_path).reveal() == "gho_2"
    assert stored_token("https://ci.corp/api/v3", environ, tmp_path) is None


def test_the_declaration_keeps_githubs_advice():
    assert [str(limit) for limit in DECLARATION.limits] == [
        "triggers 1/1s",
        "triggers 500/1h",
        "points 900/1m",
        "calls 5000/1h",
        "searches 30/1m",
    ]
    assert (DECLARATION.triggers_at_once, DECLARATION.connections, DECLARATION.settle) == (1, 16, 60.0)
    assert registry.declaration("github") is DECLARATION


# -- what the real service said ---------------------------------------------------------------------------------------

DATA = Path(__file__).parent / "data" / "github-recorded.jsonl"
RECORDED = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
RUNS = [one["workflow_run"] for one in RECORDED if "workflow_run" in one]
JOBS = [one["workflow_job"] for one in RECORDED if "workflow_job" in one]


@pytest.mark.parametrize("row", RUNS, ids=range(len(RUNS)))
def test_a_recorded_run_is_read(row):
    build, warning = build_of(row, None)
    assert (build.id, build.number, build.branch) == (str(row["id"]), str(row["run_number"]), row["head_branch"])
    assert warning is None
    assert build.state.is_final is (row["status"] == "completed" and row["conclusion"] is not None)
    assert build.created_at is not None


def test_recorded_ends_have_their_outcomes():
    ends = {row["conclusion"]: build_of(row, None)[0].state for row in RUNS if row["status"] == "completed"}
    assert ends == {"success": BuildState.PASSED, "action_required": BuildState.ERRORED}


async def test_a_recorded_job_that_failed_is_the_one_whose_log_is_read():
    there = bench()
    one = await there.follow()
    build = (await there.poll(one)).builds[0]
    failed, sent = next(job for job in JOBS if job["conclusion"] == "failure"), []

    async def send(call):
        sent.append(call)
        if call.path.endswith("/logs"):
            return Answer(200, "make: *** [all] Error 2\nend\n")
        return Answer(200, {"total_count": len(JOBS), "jobs": JOBS})

    log = await GitHub(there.service.account, send, str).logs(one.target, build, 1000)
    assert (log.job, log.text, log.url) == (failed["name"], "make: *** [all] Error 2\nend\n", failed["html_url"])
    assert [call.leaves for call in sent] == [False, True]


async def test_doctor_is_told_of_inputs_that_the_workflow_does_not_declare():
    there = bench({"workflow": "ci.yml", "inputs": {"a": 1}, "env": {"B": "2"}}, {"inputs": ("a",)})
    text, remedy = await there.provider.advise(there.service.target())
    assert "does not declare B" in text
    assert remedy


async def test_a_doubt_names_the_newest_run_that_may_be_it():
    there = bench(None, {"marker": False})
    trigger, asked = await there.lose("lost_after")
    doubt = await there.find(replace(trigger, is_shown=False), asked)
    assert doubt.cause.endswith(f"/actions/runs/{RUN}")


async def test_before_a_first_trigger_a_workflow_that_shows_no_marker_proves_no_absence():
    for marker, kind in ((False, InDoubt), (True, type(None))):
        there = bench(None, {"marker": marker})
        trigger, asked = await there.lose("lost_before")
        await there.provider.trigger(replace(trigger, marker=None))  # of somebody, without a marker
        assert isinstance(await there.find(replace(trigger, prepared=None), asked), kind)


def test_a_workflow_that_would_fill_the_memory_is_none_that_can_be_read():
    merges = "\n".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))
    bomb = base64.b64encode(f"a0: &a0 {{k: 1}}\n{merges}\n".encode()).decode()
    assert read_workflow({"encoding": "base64", "content": bomb}) is None
