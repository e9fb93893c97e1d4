"""Buildbot's look-alike by itself and behind real sockets, and the whole program against it."""

import json

import pytest
from cli_machine import Program

from orchestrator.core.errors import UsageError
from orchestrator.core.model import Account, Target, Trigger
from orchestrator.core.secrets import Secrets
from orchestrator.lookalike.buildbot import BuildbotLookAlike
from orchestrator.lookalike.buildbot.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.http import Harm, Incoming
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.kit.settings import with_repos
from orchestrator.providers import registry

pytestmark = pytest.mark.anyio
AT = 1_767_574_800.0
FORCE = "/api/v2/forceschedulers/force"
FAST = {"queue": (0.05, 0.1), "build": (0.1, 0.3)}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


class Visitor:
    """Asks, a moment later each time."""

    def __init__(self, **settings):
        repos = (RepoSpec("acme/a"), RepoSpec("acme/b"))
        given = {"queue": (1.0, 1.0), "build": (2.0, 2.0), "repos": repos, **settings}
        self.world = BuildbotLookAlike(Settings(**given))
        self.now = AT

    def __call__(self, method, path, body=None, kind="application/json"):
        path, _, query = path.partition("?")
        pairs = [tuple(one.split("=")) for one in query.split("&") if one]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = self.world.handle(Incoming(method, path, pairs, {"content-type": kind}, raw), self.now)
        try:
            return reply.status, json.loads(reply.body)
        except ValueError:
            return reply.status, reply.body.decode()

    def force(self, **params):
        return self("POST", FORCE, {"jsonrpc": "2.0", "id": 7, "method": "force", "params": params})

    def rpc(self, path, method):
        return self("POST", f"/api/v2/{path}", {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}})


def test_forcing_answers_as_the_real_one_does():
    ask = Visitor()
    status, body = ask.force(builderNames=["a"], branch="main", reason="hi", unknown="dropped")
    assert (status, body["id"], body["result"][0], len(body["result"][1])) == (200, 7, 1, 1)
    assert len(ask.force()[1]["result"][1]) == 2  # none named: all of them
    assert len(ask.force(builderNames=["a", "gone"])[1]["result"][1]) == 1
    status, body = ask.force(builderNames=["gone"])
    assert (status, body["error"]["code"]) == (500, -32603)
    assert ask.force(builderNames=["a"], branch=None)[1]["error"]["code"] == -32602
    assert ask.force(builderNames=["a"], priority="x")[0] == 400
    assert ask.rpc("forceschedulers/gone", "force")[0] == 500
    assert ask.rpc("forceschedulers/force", "forc") == (200, {"id": 1, "jsonrpc": "2.0", "result": None})
    assert ask("POST", FORCE, b"{")[1]["error"]["code"] == -32700
    assert ask("POST", FORCE, {}, "text/plain")[1]["error"]["code"] == -32600
    assert ask("PUT", FORCE)[0] == 400
    _, shown = ask("GET", "/api/v2/buildsets?reason__contains=hi&field=bsid&field=reason")
    assert shown["buildsets"] == [{"bsid": 1, "reason": "A build was forced by 'nobody': hi"}]


def test_what_waits_for_the_same_is_merged_unless_it_is_switched_off():
    for collapse, results in ((True, 3), (False, -1)):
        ask = Visitor(collapse=collapse)
        ask.force(builderNames=["a"], branch="main")
        ask.force(builderNames=["a"], branch="dev")
        ask.force(builderNames=["a"], branch="main")
        rows = ask("GET", "/api/v2/buildrequests?field=results")[1]["buildrequests"]
        assert rows == [{"results": results}, {"results": -1}, {"results": -1}]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("buildrequestid__in=1&buildrequestid__in=3&field=buildrequestid", [1, 3]),
        ("buildrequestid__gt=1&field=buildrequestid&order=-buildrequestid", [3, 2]),
        ("complete=false&field=buildrequestid&field=complete&limit=1&offset=1", [2]),
        ("buildrequestid__notin=2&field=buildrequestid", [1, 3]),
    ],
)
def test_listings_are_selected_as_the_real_one_does(query, expected):
    ask = Visitor(collapse=False)
    for _ in range(3):
        ask.force(builderNames=["a"])
    rows = ask("GET", f"/api/v2/buildrequests?{query}")[1]["buildrequests"]
    assert [row["buildrequestid"] for row in rows] == expected


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("buildrequests?frob=1", 400, "unrecognized query parameter 'frob'"),
        ("buildrequests?complete=true&field=results", 400, "cannot filter on un-selected fields"),
        ("buildrequests?limit=x", 400, "invalid limit"),
        ("buildrequests?field=frob", 400, "no such field 'frob'"),
        ("builds/77", 404, "not found while getting"),
        ("frob", 404, "Invalid path: frob"),
    ],
)
def test_what_cannot_be_read_is_told_as_the_real_one_does(path, status, words):
    ask = Visitor()
    ask.force(builderNames=["a"])
    found, body = ask("GET", f"/api/v2/{path}")
    assert found == status
    assert words in body["error"]


def test_too_long_a_line_is_answered_with_nothing_at_all():
    ask = Visitor()
    reply = ask.world.handle(Incoming("GET", "/api/v2/builds", [("buildid__in", "1234567")] * 900, {}, b""), AT)
    assert reply.effect.harm is Harm.RESET


def test_cancel_stop_and_rebuild_are_answered_whatever_happens():
    ask = Visitor(change=(0.0, 0.0))
    ask.force(builderNames=["a"])
    assert ask.rpc("buildrequests/99", "cancel") == (200, {"id": 1, "jsonrpc": "2.0", "result": None})
    assert ask.rpc("builds/99", "stop")[0] == 200
    assert ask.rpc("builds/99", "rebuild")[0] == 500
    assert (ask.rpc("builds/99", "frob")[0], ask.rpc("buildrequests/1", "frob")[0]) == (501, 500)
    ask.now += 60.0
    [build] = ask("GET", "/api/v2/builds")[1]["builds"]
    assert ask.rpc(f"builds/{build['buildid']}", "rebuild")[1]["result"] == [2, {str(build["builderid"]): 2}]
    assert ask("GET", "/api/v2/buildsets/2")[0] == 404  # only listings of them are known here
    rebuilt = ask("GET", f"/api/v2/buildsets?rebuilt_buildid={build['buildid']}")[1]["buildsets"]
    assert [row["reason"] for row in rebuilt] == ["rebuild"]


def test_settings_are_checked():
    assert len(with_repos(Settings, {"repos": 3}).repos) == 3
    assert with_repos(Settings, {"repos": [{"slug": "x", "builder": "y"}, "acme/z"]}).repos[1].name == "z"
    with pytest.raises(UsageError, match="unknown key `frob`"):
        with_repos(Settings, {"frob": 1})


async def test_a_session_is_opened_over_sockets_although_its_redirect_leads_elsewhere(tmp_path):
    look_alike = BuildbotLookAlike(
        Settings(repos=(RepoSpec("acme/a"),), closed=True, login="robot", token="pass", **FAST)
    )
    async with serve(look_alike) as served:
        login = {"login": {"user": "robot", "password": "env:PASSWORD"}}
        account = Account("buildbot", "buildbot", served.url, settings=login)
        async with registry.connect(account, Secrets({"PASSWORD": "pass"}, tmp_path, tmp_path)) as line:
            provider = line.provider_over(line.send)
            assert (await provider.whoami()).login == "robot"
            target = Target("buildbot:acme/a", "buildbot", "acme/a", request={"scheduler": "force"})
            await provider.trigger(Trigger(target, 1, "[r.abcdefgh]", "r"))
    assert look_alike.counters.by_marker() == {"[r.abcdefgh]": 1}


MANIFEST = """\
version: 1
name: nightly
providers: {ci: {type: buildbot, url: "https://ci.corp.example/api/v2", login: {user: me, password: env:NOWHERE}}}
defaults: {scheduler: nightly, message: hello}
targets: [acme/a, acme/b@main, {repo: some thing, builders: [x, y], properties: {level: 3}}]
"""


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_triggers_follows_and_reports(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("run", "--sandbox", "-q", "-o", "json") in (0, 1), program.err
    report = program.json
    assert report["totals"]["targets"] == 3
    assert report["totals"]["open"] == report["totals"]["in_doubt"] == report["totals"]["rejected"] == 0
    assert [target["id"] for target in report["targets"]][2] == "ci:some%20thing"
    assert all(target["build_id"] != target["request_id"] for target in report["targets"])


def test_plan_names_the_secret_and_needs_none(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("plan", "--offline") == 0
    assert "https://ci.corp.example, secret env:NOWHERE" in program.out
    assert "limits: none; 8 connections" in program.out


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{ci: {type: buildbot}}", "no `url`"),
        ("{ci: {type: buildbot, url: 'https://x', token: env:A}}", "Buildbot has no tokens"),
        ("{ci: {type: buildbot, url: 'https://x', login: {user: me, password: hunter2}}}", "never the secret itself"),
        ("{ci: {type: buildbot, url: 'https://x', login: {user: me}}}", "password"),
    ],
)
def test_what_is_wrong_with_an_account_is_told(program, written, words):
    program.write("m.yaml", f"version: 1\nproviders: {written}\ntargets: [{{repo: a, scheduler: s}}]\n")
    assert program("check", "m.yaml") == 2
    assert words in program.err
    assert "hunter2" not in program.err


@pytest.mark.parametrize("repo", ["a@b@c", "'x:y'", "' '", '"a\\tb"', "a/" + "x" * 300])
def test_a_name_that_no_id_can_hold_is_refused(program, repo):
    text = "version: 1\nproviders: {ci: {type: buildbot, url: 'https://x'}}\n"
    text += f"targets: [{{repo: {repo}, scheduler: s}}]\n"
    program.write("m.yaml", text)
    assert program("check", "m.yaml") == 2
    assert "targets[0].repo" in program.err


def test_init_writes_a_manifest_that_is_fine(program):
    assert program("init", "--type", "buildbot", "new") == 0
    assert program("check", "new/orchestrator.yaml") == 0
    assert program("plan", "new/orchestrator.yaml", "--offline") == 0
