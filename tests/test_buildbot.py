"""Buildbot's provider over its look-alike in memory: what is sent, what is found, what states mean."""

import json

import pytest
from buildbot_bench import HERE, bench, in_state, with_requests

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, Rejected, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Interval, Request, Target
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.providers.buildbot.declaration import STATES, account_problems, target_problem
from orchestrator.providers.buildbot.wire import printed_in, session_in
from orchestrator.providers.port import Followed

pytestmark = pytest.mark.anyio
LOGIN = {"login": {"user": "robot", "password": "env:PASSWORD"}}
CLOSED = {"closed": True, "login": "robot", "token": "contract-s3cret"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


def sent_by(bench):
    return [call for call in bench.calls if call.method == "POST"][-1].body["params"]


async def test_a_trigger_says_builders_branch_reason_properties_and_priority():
    one = bench({"properties": {"level": 3, "dry": True}, "env": {"IMAGE": "x"}, "priority": 5, "message": "hello"})
    trigger = await one.wish()
    await one.provider.trigger(trigger)
    params = sent_by(one)
    assert params["builderNames"] == [trigger.target.repo.rpartition("/")[2]]
    assert params["reason"] == f"hello {trigger.marker}"
    assert (params["branch"], params["priority"], params["orchestrator_marker"]) == ("main", 5, trigger.marker)
    free = {params[f"property{n}_name"]: params[f"property{n}_value"] for n in (1, 2, 3)}
    assert free == {
        "level": "3",
        "dry": "True",
        "IMAGE": "x",
    }  # none is declared: each goes where any name may


async def test_what_the_scheduler_declares_is_sent_as_it_is():
    one = bench({"properties": {"level": 3, "dry": True}}, parameters=("level", "dry", "orchestrator_marker"), free=0)
    await one.provider.trigger(await one.wish())
    assert {"level": 3, "dry": True}.items() <= sent_by(one).items()


@pytest.mark.parametrize(
    ("said", "settings", "code", "words"),
    [
        ({"properties": {"level": 3}}, {"free": 0}, "undeclared_parameter", "declares no parameter 'level'"),
        ({"builders": ["svc-001", "gone"]}, {}, "builder_not_found", "has no builder 'gone'"),
        ({"scheduler": "gone"}, {}, "scheduler_not_found", "known: force"),
    ],
)
async def test_what_buildbot_would_drop_without_a_word_is_refused_before_anything_is_sent(said, settings, code, words):
    one = bench(said, **settings)
    with pytest.raises(Rejected, match=words) as caught:
        await one.wish()
    assert caught.value.code == code
    with pytest.raises(Rejected):
        await one.provider.advise(one.service.target())
    assert not [call for call in one.calls if call.method == "POST"]


async def test_a_receipt_with_fewer_requests_than_builders_is_not_believed():
    one = bench({"builders": ["svc-001", "gone"]})
    trigger = replace(await bench().wish(), target=one.service.target())
    with pytest.raises(InDoubt, match="1 requests, and 2 were asked for"):
        await one.provider.trigger(trigger)


async def test_several_builders_are_one_request_and_all_of_them_must_end():
    one = bench({"builders": ["svc-001", "svc-002"]}, collapse=False)
    followed = await one.follow()
    assert len(followed.request.handle["requests"]) == 2
    followed, _ = await one.until(followed, lambda build: build.state.is_final)
    shown = await one.poll(followed)
    assert [build.state for build in shown.builds] == [BuildState.PASSED] * 2
    with pytest.raises(Rejected, match="one of several builders"):
        await one.provider.restart(followed.target, shown.builds[0])


async def test_a_request_is_a_place_in_the_queue_until_it_has_a_build():
    one = bench()
    followed = await one.follow()
    [place] = (await one.poll(followed)).builds
    assert (place.id, place.state, place.native) == (f"request-{followed.request.id}", BuildState.QUEUED, "unclaimed")
    _, seen = await one.until(followed, lambda build: build.state.is_final)
    assert seen[-1].replaces == place.id
    assert seen[-1].url == f"{HERE}/#/builders/{_builder(one, followed)}/builds/1"


def _builder(one, followed):
    return one.service.look_alike.tables.requests[int(followed.request.id) - 1].builder.id


async def test_a_merged_request_is_superseded_and_never_had_a_build():
    one = bench(queue=(30.0, 30.0))
    first = await one.follow()
    target = replace(first.target, name="again", id=f"{first.target.id}#again")
    trigger = replace(await one.wish(), target=target)
    await one.provider.trigger(trigger)
    [merged] = (await one.poll(first)).builds
    assert (merged.state, merged.native) == (BuildState.SUPERSEDED, "skipped")
    assert "merged" in merged.reason


async def test_a_build_that_was_tried_again_is_followed_in_its_last_attempt():
    one = bench()
    followed, _ = await one.until(await one.follow(), lambda build: build.state.is_final)

    def died(body):
        rows = body.get("builds") if isinstance(body, dict) else None
        return {**body, "builds": [{**rows[0], "buildid": 7, "results": 5}, *rows]} if rows else body

    one.rewrite = died
    last, first = (await one.poll(followed)).builds
    assert (last.state, first.id, first.state, first.native) == (BuildState.PASSED, "7", BuildState.SKIPPED, "retry")


@pytest.mark.parametrize("results", [7, -1, None, "x", True, 2.0])
async def test_a_result_that_is_not_known_is_no_end(results):
    one = bench()
    followed, _ = await one.until(await one.follow(), lambda build: build.state.is_final)
    one.rewrite = lambda body: with_requests(body, lambda row: {**row, **in_state("success"), "results": results})
    seen = await one.poll(followed)
    assert seen.builds[0].state is BuildState.RUNNING
    assert seen.warning


def test_every_state_of_a_request_has_its_meaning():
    assert {native for native, state in STATES.items() if not state.is_final} == {"unclaimed", "claimed", "retry"}


async def test_requests_of_a_database_that_was_lost_are_not_taken_for_ours():
    one = bench()
    followed = await one.follow()
    for change in ({"buildsetid": 77}, {"submitted_at": int(one.service.now()) + 9_000}, {"buildsetid": None}):
        one.rewrite = lambda body: with_requests(body, lambda row: {**row, **change, "complete": True, "results": 0})  # noqa: B023  # used at once
        seen = await one.poll(followed)
        assert seen.builds == ()
        assert "lost its database" in seen.warning


@pytest.mark.parametrize("ahead", [4000.0, -4000.0])
async def test_a_server_whose_clock_is_off_shows_our_requests_all_the_same(ahead):
    one = bench(skew=ahead)
    lost, asked = await one.lose("lost_after")
    there = Interval(asked.start + ahead, asked.end + ahead)
    answered, found = await one.follow(), await one.find(lost, there)
    named = Request(found.id, {})  # by a person, who tells no more
    for followed in (
        answered,
        *(Followed(lost.target, request, lost.marker, None, one.service.now()) for request in (found, named)),
    ):
        ended, _ = await one.until(followed, lambda build: build.state.is_final)
        assert ended.build.state is BuildState.PASSED


async def test_where_the_scheduler_takes_no_reason_a_marker_that_is_not_there_proves_nothing():
    one = bench(reason=False)
    trigger, asked = await one.lose("lost_after")
    assert trigger.is_shown  # the account's marker was seen before, with another scheduler
    assert isinstance(await one.find(trigger, asked), InDoubt)


async def test_a_lost_trigger_is_searched_for_by_the_server_in_one_listing():
    one = bench()
    trigger, asked = await one.lose("lost_after")
    await one.follow()
    sent = len(one.calls)
    assert isinstance(await one.find(trigger, asked), Request)
    asked_for = [dict(call.query).get("reason__contains") for call in one.calls[sent:] if "buildsets" in call.path]
    assert asked_for == [trigger.marker]


async def test_while_no_reason_is_known_to_show_a_marker_what_shows_none_may_be_ours():
    one = bench(reason=False)
    trigger, asked = await one.lose("lost_after")
    unproven = replace(trigger, is_shown=False)
    assert isinstance(await one.find(unproven, asked), InDoubt)
    nothing, then = await one.lose("lost_before")
    late = replace(then, start=then.start + 9_000, end=then.end + 9_000)
    assert await one.find(replace(nothing, is_shown=False), late) is None


async def test_a_thousand_requests_are_followed_by_a_page_for_a_hundred():
    repos = tuple(f"many/svc-{number:04}" for number in range(1000))
    one = bench(repos=repos, queue=(5.0, 5.0), build=(50.0, 50.0), concurrency=10_000)
    many = [await one.follow() for _ in repos]
    costs = []
    for wait in (0.0, 10.0, 5.0, 5.0, 60.0):
        one.service.wait(wait)
        sent = len(one.calls)
        seen = await one.provider.poll(many)
        many = [
            replace(each, build=seen[each.target.id].builds[0]) if seen[each.target.id].builds else each
            for each in many
        ]
        costs.append(len(one.calls) - sent)
    assert {each.build.state for each in many} == {BuildState.PASSED}
    assert costs == [10, 10, 5, 5, 10]
    assert all(sum(len(f"&{name}={value}") for name, value in call.query) < 8000 for call in one.calls)


async def test_a_build_is_built_again_under_another_number_and_followed_there():
    one = bench()
    followed, seen = await one.until(await one.follow(), lambda build: build.state.is_final)
    before = seen[-1]
    await one.provider.restart(followed.target, before)
    followed, seen = await one.until(followed, lambda build: not build.state.is_final)
    assert seen[-1].id != before.id
    followed, seen = await one.until(followed, lambda build: build.state.is_final)
    assert seen[-1].id not in (before.id, seen[0].id)
    assert one.service.look_alike.tables.buildsets[-1].rebuilt == int(before.id)


async def test_what_waits_is_canceled_and_what_runs_is_stopped():
    one = bench(queue=(5.0, 5.0), change=(0.0, 0.0))
    waiting = await one.follow()
    [place] = (await one.poll(waiting)).builds
    assert await one.provider.cancel(waiting.target, place)
    one.service.wait(1.0)
    [gone] = (await one.poll(waiting)).builds
    assert (gone.id, gone.state) == (place.id, BuildState.CANCELED)
    running, seen = await one.until(await one.follow(), lambda build: build.state is BuildState.RUNNING)
    assert await one.provider.cancel(running.target, seen[-1])
    assert one.calls[-1].path == f"/api/v2/builds/{seen[-1].id}"
    assert one.calls[-1].body["method"] == "stop"


async def test_of_a_build_that_was_tried_again_the_last_attempt_is_stopped():
    one = bench()
    followed, seen = await one.until(await one.follow(), lambda build: build.state is BuildState.RUNNING)

    def died(body):
        rows = body.get("builds") if isinstance(body, dict) else None
        dead = {"buildid": 7, "complete": True, "buildrequestid": int(followed.request.id)}
        return {**body, "builds": [dead, *rows]} if rows or (rows == [] and "meta" in body) else body

    one.rewrite = died
    assert await one.provider.cancel(followed.target, replace(seen[-1], id="10001"))
    assert one.calls[-1].path == f"/api/v2/builds/{seen[-1].id}"


# -- logins ---------------------------------------------------------------------------------------------------------


async def test_a_login_opens_a_session_and_its_password_goes_nowhere_else():
    one = bench(account=LOGIN, **CLOSED)
    assert (await one.provider.whoami()).login == "robot"
    await one.provider.trigger(await one.wish())
    logins = [call for call in one.calls if call.path == "/auth/login"]
    assert len(logins) == 1
    assert "Cookie" in one.calls[-1].headers
    assert not [call for call in one.calls if call.path != "/auth/login" and "Authorization" in call.headers]


async def test_a_session_that_has_ended_is_opened_anew_by_the_next_attempt():
    one = bench(account=LOGIN, **CLOSED)
    await one.provider.trigger(await one.wish())
    look_alike = one.service.look_alike
    look_alike.tables.settings = replace(look_alike.tables.settings, token="another")
    trigger = await one.wish()
    with pytest.raises(Unreachable, match="session"):
        await one.provider.trigger(trigger)
    look_alike.tables.settings = replace(look_alike.tables.settings, token="contract-s3cret")
    await one.provider.trigger(trigger)
    assert one.service.accepted(trigger.target) == 1


async def test_who_may_not_force_builds_is_told_so_and_asked_for_a_login():
    one = bench(closed=True)
    with pytest.raises(Rejected, match="give the account a `login`") as caught:
        await one.provider.trigger(await one.wish())
    assert caught.value.code == "insufficient_access"


@pytest.mark.parametrize(("settings", "words"), [(CLOSED, "does not accept the login"), ({}, "has no login")])
async def test_a_login_that_is_refused_stops_the_account(settings, words):
    one = bench(account=LOGIN, **{**settings, "token": "other"})
    with pytest.raises(AccessRefused, match=words):
        await one.provider.whoami()


async def test_a_login_that_is_not_answered_sends_no_trigger():
    one = bench(account=LOGIN, **CLOSED)
    trigger = await one.wish()
    sent = len(one.calls)
    assert isinstance(await one.outcome(InDoubt("reset"), lambda: one.provider.trigger(trigger)), Unreachable)
    assert [call.path for call in one.calls[sent:]] == ["/auth/login"]


def test_of_two_cookies_the_last_is_the_session():
    class Twice(dict):
        def items(self):
            return [("Set-Cookie", "TWISTED_SESSION=nobody; Path=/"), ("Set-Cookie", "TWISTED_SESSION=robot; Path=/")]

    assert session_in(Answer(302, "", Twice())) == "robot"
    assert session_in(Answer(200, "", Twice())) is None
    assert session_in(Answer(302, "", {"set-cookie": "other=x"})) is None


# -- manifests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "which force scheduler"),
        ({"scheduler": "s", "builders": []}, "would force all"),
        ({"scheduler": "s", "builders": ["a", "a"]}, "names one twice"),
        ({"scheduler": "s", "env": {"A": "1"}, "properties": {"A": 2}}, "both name 'A'"),
        ({"scheduler": "s", "properties": {"branch": "x"}}, "is sent already"),
        ({"scheduler": "s", "env": {"builderNames": "x"}}, "is sent already"),
    ],
)
def test_keys_that_do_not_go_together_are_a_problem(said, words):
    assert words in target_problem(Target("b:x", "b", "x", request=said))[0]


def test_a_token_is_a_problem_as_there_is_none():
    account = Account("b", "buildbot", HERE, token="env:X")
    assert [keys for _, _, keys in account_problems(account)] == [("token",)]


def test_of_a_log_what_the_command_printed_is_left_and_its_exit_code():
    log = "Builder: a\nmake test\n in dir /x\n using PTY: False\nmake: *** Error 2\nprogram finished with exit code 2\n"
    assert printed_in(f"{log}elapsedTime=1.5\n") == ("make: *** Error 2\n", 2)
    assert printed_in("anything") == ("anything", None)


async def test_a_listing_whose_rows_have_no_number_proves_nothing():
    one = bench()
    trigger, asked = await one.lose("lost_after")
    one.rewrite = lambda body: {**body, "buildsets": [{"reason": "x"}]} if "buildsets" in json.dumps(body) else body
    with pytest.raises(LookFailed):
        await one.find(trigger, asked)


async def test_a_fault_may_be_for_one_repository_although_paths_name_schedulers_only():
    one = bench()
    one.service.look_alike.plan_faults([FaultRule("lost_before", repo="acme/svc-002")])
    await one.provider.trigger(await one.wish())
    with pytest.raises(InDoubt):
        await one.provider.trigger(await one.wish())


async def test_nothing_is_read_for_nobody():
    one = bench()
    assert await one.provider.poll([]) == {}
    nobody = Followed(one.service.target(), Request("x"), None, None, 0.0)
    assert "not known" in (await one.provider.poll([nobody]))[nobody.target.id].warning
