"""A service that its account describes: what is sent, what is believed, what is refused before anything is sent."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from cli_machine import Program
from manifest_helpers import TODAY, no_files

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Findability, Interval, Request, Target, Trigger
from orchestrator.lookalike.webhook import USUAL, WebhookLookAlike, placed
from orchestrator.manifest import Answers as Known
from orchestrator.manifest import ManifestError, expand, read
from orchestrator.providers.port import Followed
from orchestrator.providers.webhook.declaration import DECLARATION, problems
from orchestrator.providers.webhook.description import at, in_path
from orchestrator.providers.webhook.provider import Signature, Webhook

KEY = "hook-s3cret"


@pytest.fixture
def anyio_backend():
    return "asyncio"


def service(**changes):
    """The usual description with these parts changed; None takes one out."""
    said = {**USUAL, **changes}
    return Account(
        "ci", "webhook", "http://127.0.0.1:9", "env:T", settings={k: v for k, v in said.items() if v is not None}
    )


def part(kind, **changes):
    said = {**USUAL[kind], **changes}
    return {kind: {key: value for key, value in said.items() if value is not None}}


class Line:
    """Answers with what is put in, and keeps what was sent."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), []

    async def __call__(self, call):
        self.calls.append(call)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def webhook(account, *answers):
    line = Line(*answers)
    return Webhook(account, line, lambda reference: KEY), line


TARGET = Target("ci:acme/x@main", "ci", "acme/x", "main", labels=("a", "b"), request={"env": {"A": "1", "B": "ä"}})
TRIGGER = Trigger(TARGET, 1, "[run.abcdefgh]", "nightly")
FOLLOWED = Followed(TARGET, Request("7", {"v": 1}), TRIGGER.marker, None, 0.0)


@pytest.mark.anyio
async def test_values_are_put_into_json_and_never_pasted_into_text():
    evil = replace(TARGET, repo='a"/../b?x#', branch='m","ref":"other', request={"env": {"A": '"}'}})
    provider, line = webhook(service(), Answer(202, {"run": {"id": 7}}))
    assert await provider.trigger(replace(TRIGGER, target=evil)) == Request("7", {"v": 1})
    [call] = line.calls
    assert call.path == "/build/a%22%2F..%2Fb%3Fx%23"
    assert call.body == {"ref": 'm","ref":"other', "env": {"A": '"}'}, "marker": "[run.abcdefgh]"}
    assert call.headers == {"Authorization": f"Bearer {KEY}"}
    assert (in_path(".."), in_path(".")) == ("%2E%2E", "%2E")


@pytest.mark.anyio
async def test_a_value_alone_keeps_its_kind_and_an_absent_branch_is_null():
    body = {
        "list": ["${{ target.labels }}", "${{ target.matrix }}", 5, None, True],
        "branch": "${{ target.branch }}",
        "text": "for ${{ target.owner }}/${{ target.name }} $${{ x }}",
        "message": "${{ target.message }}",
    }
    provider, line = webhook(service(**part("trigger", body=body)), Answer(200, {"run": {"id": "x-1"}}))
    lone = replace(TARGET, branch=None, matrix=(("py", "3.12"),))
    assert (await provider.trigger(replace(TRIGGER, target=lone))).id == "x-1"
    assert line.calls[0].body == {
        "list": [["a", "b"], {"py": "3.12"}, 5, None, True],
        "branch": None,
        "text": "for acme/x ${{ x }}",
        "message": None,
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, {"run": {}}), InDoubt),
        (Answer(200, "<html>login</html>"), InDoubt),
        (Answer(204, None), InDoubt),
        (Answer(302, None), InDoubt),
        (Answer(500, {"message": "oops"}), InDoubt),
        (Answer(418, {"message": "teapot"}), InDoubt),
        (Answer(401, {"message": "who?"}), AccessRefused),
        (Answer(429, None, {"retry-after": "3"}), RateLimited),
        (Answer(403, {"message": "not you"}), Rejected),
        (Answer(404, None), Rejected),
        (Answer(422, {"message": "no such ref"}), Rejected),
    ],
)
async def test_only_what_the_account_names_is_accepted_or_refused(answer, error):
    with pytest.raises(error):
        await webhook(service(), answer)[0].trigger(TRIGGER)


@pytest.mark.anyio
async def test_the_account_may_say_otherwise_what_is_accepted_and_refused():
    account = service(
        **part("trigger", accepted=[204], refused=[500], id=None), status=None, cancel=None, follow="none"
    )
    assert await webhook(account, Answer(204))[0].trigger(TRIGGER) == Request("", {"v": 1})
    with pytest.raises(Rejected, match="bad signature"):
        await webhook(account, Answer(500, {"message": "bad signature"}))[0].trigger(TRIGGER)
    with pytest.raises(InDoubt):
        await webhook(account, Answer(404))[0].trigger(TRIGGER)


@pytest.mark.anyio
async def test_what_is_not_followed_has_passed_and_a_pointer_to_nothing_is_told():
    account = service(status=None, cancel=None, find=None, follow="none")
    provider, line = webhook(account, Answer(202, "ok"))
    request = await provider.trigger(TRIGGER)
    seen = (await provider.poll([replace(FOLLOWED, request=request)]))[TARGET.id]
    assert [build.state for build in seen.builds] == [BuildState.ACCEPTED]
    assert seen.warning == "the answer names no id at /run/id"
    assert len(line.calls) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("page", ["<!DOCTYPE html><html>log in to this network</html>", "\n<html>hello</html>"])
async def test_a_page_of_somebody_else_in_place_of_an_id_is_no_acceptance(page):
    account = service(status=None, cancel=None, find=None, follow="none")
    with pytest.raises(InDoubt, match="no id at /run/id"):
        await webhook(account, Answer(200, page))[0].trigger(TRIGGER)


@pytest.mark.anyio
async def test_a_word_that_no_state_names_is_still_going_and_told():
    account = service(find=None)
    for word, state in (("ok", BuildState.PASSED), ("broken", BuildState.FAILED), ("odd", BuildState.RUNNING)):
        provider, _ = webhook(account, Answer(200, {"state": word, "web": "javascript:alert(1)"}))
        seen = (await provider.poll([FOLLOWED]))[TARGET.id]
        assert (seen.builds[0].state, seen.builds[0].url) == (state, None)
        assert (seen.warning is not None) == (word == "odd")
    for odd in (Answer(200, {}), Answer(200, []), Answer(500, {"state": "ok"}), Answer(200, {"state": {"a": 1}})):
        with pytest.raises(LookFailed):
            await webhook(account, odd)[0].poll([FOLLOWED])


@pytest.mark.anyio
async def test_states_may_be_truth_values_and_numbers():
    account = service(find=None, **part("status", states={"true": "passed", "0": "failed"}))
    for value, state in ((True, BuildState.PASSED), (0, BuildState.FAILED)):
        provider, _ = webhook(account, Answer(200, {"state": value}))
        assert (await provider.poll([FOLLOWED]))[TARGET.id].builds[0].state is state


@pytest.mark.anyio
async def test_find_proves_itself_by_a_request_that_is_known():
    shown, going = Answer(200, {"items": [{"id": 7}]}), Answer(200, {"state": "running"})
    provider, line = webhook(service(), shown, going, going)
    assert (await provider.poll([FOLLOWED]))[TARGET.id].marked is True
    assert (await provider.poll([FOLLOWED]))[TARGET.id].marked is None
    assert [call.query for call in line.calls] == [(("marker", "[run.abcdefgh]"),), (), ()]


@pytest.mark.anyio
@pytest.mark.parametrize("items", [[], [{"id": 7}, {"id": 8}], [{"id": 8}]])
async def test_find_that_shows_none_or_others_is_not_believed(items):
    answers = [Answer(200, {"items": items}), Answer(200, {"state": "running"})] * 3
    provider, _ = webhook(service(), *answers)
    assert [(await provider.poll([FOLLOWED]))[TARGET.id].marked for _ in range(3)] == [None, None, False]


ASKED = Interval(0.0, 1.0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("items", "is_shown", "known", "found"),
    [
        ([], True, (), None),
        ([], False, (), InDoubt),
        ([{"id": 8, "text": "is [run.abcdefgh]"}], False, (), "8"),
        ([{"id": 8}], True, (), "8"),
        ([{"id": 8}], False, (), InDoubt),
        ([{"id": 8}, {"id": 9}], True, (), InDoubt),
        ([{"id": 8}], True, ("8",), None),
        ([{"id": 8, "m": ["[run.abcdefgh]"]}, {"id": 9, "m": "[run.other222]"}], False, (), "8"),
        ([{"no": "id"}], True, (), LookFailed),
        ("none", True, (), LookFailed),
    ],
)
async def test_a_lost_request_is_found_by_its_marker_or_stays_in_doubt(items, is_shown, known, found):
    provider, _ = webhook(service(), Answer(200, {"items": items}))
    asked = provider.find(replace(TRIGGER, is_shown=is_shown), ASKED, known)
    if isinstance(found, type):
        with pytest.raises(found):
            await asked
    else:
        request = await asked
        assert (request and request.id) == found


@pytest.mark.anyio
async def test_a_cancel_says_whether_the_build_had_ended():
    build = (await webhook(service(find=None), Answer(200, {"state": "running"}))[0].poll([FOLLOWED]))[TARGET.id].builds
    for status, said in ((202, True), (409, False)):
        provider, line = webhook(service(), Answer(status, {}))
        assert await provider.cancel(TARGET, build[0]) is said
        assert (line.calls[0].method, line.calls[0].path) == ("POST", "/runs/7/cancel")
    with pytest.raises(Rejected):
        await webhook(service(), Answer(404, {}))[0].cancel(TARGET, build[0])
    with pytest.raises(Rejected, match="describes no `cancel`"):
        await webhook(service(cancel=None), Answer(200))[0].cancel(TARGET, build[0])


def test_a_signature_is_over_the_bytes_and_over_the_time_where_it_is_sent():
    body = json.dumps({"a": 1}).encode()
    plain = Signature({"header": "X-Sig", "prefix": "sha256="}, KEY)
    assert plain(body) == {"X-Sig": "sha256=" + hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()}
    timed = Signature({"header": "X-Sig", "timestamp": "X-Time"}, KEY, now=lambda: 1_767_225_600.9)
    wanted = hmac.new(KEY.encode(), b"1767225600." + body, hashlib.sha256).hexdigest()
    assert timed(body) == {"X-Time": "1767225600", "X-Sig": wanted}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [("", {"a": [{"b/c": 1}], "": 2, "~": 3}), ("/a/0/b~1c", 1), ("/", 2), ("/~0", 3), ("/a/01", None), ("/a/9", None)],
)
def test_pointers_are_those_of_rfc_6901(pointer, found):
    assert at({"a": [{"b/c": 1}], "": 2, "~": 3}, pointer) == found


def test_a_look_alike_puts_a_value_where_the_pointer_leads():
    for pointer in ("", "/id", "/a/0/b", "/a~1b/c~0"):
        assert at(placed(pointer, 5, {"x": 1}), pointer) == 5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trigger": None}, "no `trigger`"),
        ({"status": None}, "how are builds followed"),
        ({"follow": "none"}, "side by side"),
        (part("trigger", path=None), "has no `path`"),
        (part("trigger", path="build"), "begins with /"),
        (part("trigger", path="/a b"), "no spaces"),
        (part("trigger", path="/${{ request.id }}"), "unknown name `request.id`"),
        (part("trigger", path="/${{ target.repos }}"), "did you mean `target.repo`"),
        (part("trigger", path="/${{ token }}"), "it would be shown"),
        (part("trigger", path="/${{ target.env }}"), "is no text"),
        (part("trigger", body={"a": "x ${{ target.labels }}"}), "is no text"),
        (part("trigger", body={"a": ["${{ oops"]}), "opens no name"),
        (part("trigger", body={"a": "${{ token }}"}), "send it in a header"),
        (part("trigger", headers={"Host": "x"}), "cannot be such a header"),
        (part("trigger", headers={"X": "a\nb"}), "cannot be such a header"),
        (part("trigger", method="FETCH"), "unknown method"),
        (part("trigger", method="GET"), "a GET has no body"),
        (part("trigger", id="run/id"), "is no JSON Pointer"),
        (part("trigger", id=None), "`trigger` has no `id`"),
        (part("trigger", accepted=[302]), "no statuses"),
        (part("trigger", accepted=[409], refused=[409]), "accepted and refused"),
        (part("trigger", body={}), "needs the marker"),
        (part("status", states={"a": "odd"}), "unknown state"),
        (part("status", states={"a": "running"}), "ends a build"),
        (part("status", state=None), "`status` has no `state`"),
        ({"sign": {"key": "env:X"}}, "`sign` has no `header`"),
    ],
)
def test_a_description_that_cannot_work_is_refused_before_anything_is_sent(changes, told):
    found = [f"{text}; {remedy}" for text, remedy, _ in problems(service(**changes))]
    assert any(told in one for one in found), found


def test_the_usual_description_has_no_problem_and_finds_by_marker():
    assert list(problems(service())) == []
    assert DECLARATION.for_account(DECLARATION, service()).finds is Findability.BY_MARKER
    assert DECLARATION.for_account(DECLARATION, service(find=None)).finds is Findability.NEVER


def plan_of(targets, **changes):
    said = service(**changes).settings
    text = json.dumps(
        {
            "version": 1,
            "providers": {"ci": {"type": "webhook", "url": "https://ci.invalid", **said}},
            "defaults": {"env": {"A": "1"}},
            "targets": targets,
        }
    )
    return expand(
        read("m.yaml", text.encode(), declarations={"webhook": DECLARATION}, load=no_files), Known(), today=TODAY
    )


def test_a_branch_that_is_not_sent_and_one_that_is_missing_in_a_text_are_errors():
    with pytest.raises(ManifestError, match="sends no branch"):
        plan_of(["acme/x@main"], **part("trigger", body={"marker": "${{ marker }}"}))
    with pytest.raises(ManifestError, match="there is no branch"):
        plan_of(["acme/x"], **part("trigger", path="/${{ target.branch }}"))
    assert plan_of(["acme/x"]).targets[0].branch is None


def test_env_is_ignored_in_defaults_and_refused_at_a_target_where_it_is_not_sent():
    lacking = part("trigger", body={"ref": "${{ target.branch }}", "marker": "${{ marker }}"})
    assert "env" not in plan_of(["acme/x@main"], **lacking).targets[0].request
    with pytest.raises(ManifestError, match="env"):
        plan_of([{"repo": "acme/x", "branch": "main", "env": {"A": "2"}}], **lacking)


def test_a_rehearsal_is_made_from_the_description_itself():
    account = service(**part("trigger", body={"who": "${{ target.id }}", "m": "x ${{ marker }}"}, path="/go"))
    look_alike = WebhookLookAlike.for_plan([TARGET], [account])
    assert look_alike.repos == {"acme/x": "acme/x"}


@pytest.mark.usefixtures("quick_rehearsals")
def test_the_example_is_rehearsed_whole_by_the_command_line(tmp_path, capsys):
    program = Program(tmp_path, capsys, CI_TOKEN="unused")
    example = Path(__file__).parents[1] / "manifests" / "webhook.yaml"
    code = program("run", str(example), "--sandbox", "--yes", "-q", "-o", "json=out.json")
    report = json.loads((tmp_path / "out.json").read_text())
    assert code in (0, 1), program.err
    assert {row["outcome"] for row in report["targets"]} <= {"passed", "failed"}
    assert all(row["url"].startswith("https://ci.invalid/runs/") for row in report["targets"])


def test_curl_lines_hold_a_variable_in_place_of_the_token_and_no_signature(tmp_path, capsys):
    program = Program(tmp_path, capsys, CI_TOKEN="t0p", HOOK_KEY="k3y")
    said = service(sign={"key": "env:HOOK_KEY", "header": "X-Sig"}).settings
    whole = {
        "version": 1,
        "providers": {"ci": {"type": "webhook", "url": "https://ci.invalid", "token": "env:CI_TOKEN", **said}},
        "targets": ["acme/x@main"],
    }
    (tmp_path / "m.yaml").write_text(json.dumps(whole))
    assert program("plan", "m.yaml", "-o", "curl", "--offline") == 0, program.err
    out = program.out
    assert 'Authorization: Bearer \'"$CI_TOKEN"' in out
    assert "X-Sig" not in out
    assert "a signature, which is made when it is sent" in out
    assert "t0p" not in out
