"""The engine over the look-alikes of Gitea and Forgejo, in virtual time; and the whole program against them."""

import json
import random
import re
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import anyio
import pytest
from cli_machine import Program

from orchestrator import manifest as manifests
from orchestrator.app.start import made_of
from orchestrator.core.errors import Exit
from orchestrator.core.model import Account, Target, Trigger
from orchestrator.core.secrets import Secrets
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.gitea import ForgejoLookAlike, GiteaLookAlike
from orchestrator.lookalike.gitea.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.http import Incoming
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.kit.settings import with_repos
from orchestrator.providers import registry
from orchestrator.providers.port import Line
from orchestrator.report.view import view
from orchestrator.testing import MemoryJournal

EPOCH = 1_767_571_200.0
KINDS = {"gitea": GiteaLookAlike, "forgejo": ForgejoLookAlike}
both = pytest.mark.parametrize("type_", KINDS)
HERE = Path(__file__).parents[1]


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys, GITEA_TOKEN="sandbox-token", FORGEJO_TOKEN="sandbox-token")


def now():
    return EPOCH + anyio.current_time()


async def played(type_, targets, *specs, **settings):
    """The run's history and look-alike, once it has ended."""
    text = (
        f"version: 1\nname: weekly\nproviders: {{{type_}: {{}}}}\ndefaults: {{workflow: ci.yml}}\ntargets: {targets}\n"
    )
    read = manifests.read("m.yaml", text.encode(), declarations=registry.known(), load=lambda name: b"")
    plan = manifests.expand(read, today=date(2026, 1, 5))
    kind = KINDS[type_]
    world = kind(kind.kind(repos=specs, **{"build": (20.0, 30.0), **settings}))
    send = world.send(now, anyio.sleep, random.Random(1))
    declared = registry.declaration(type_)

    @asynccontextmanager
    async def connect(account):
        yield Line(account, declared, send, lambda send: registry.load(declared.factory)(account, send, str), "hash")

    journal = MemoryJournal(now=now)
    await journal.make_run("r1", made_of(plan, {}), plan.targets, now())
    process = Process("here", "boot", 1, "1")
    code = await Engine("r1", journal, connect, Options(), now=now, process=process, random=random.Random(1)).run()
    return await load(journal, "r1"), world, code


@both
@pytest.mark.anyio
async def test_builds_are_triggered_once_and_followed_to_their_ends(type_):
    specs = [RepoSpec(f"acme/r{n}") for n in range(20)]
    history, world, code = await played(type_, [spec.slug for spec in specs], *specs)
    assert code is Exit.OK
    assert set(world.counters.by_repo().values()) == {1}
    assert all(history.of(target.id).build.branch == "main" for target in history.targets)


@both
@pytest.mark.anyio
async def test_a_trigger_that_was_lost_on_its_way_is_sent_again_once_the_listing_shows_no_run(type_):
    fault = FaultRule("lost_before", nth=(1,))
    *_, world, code = await played(type_, "[acme/a@main]", RepoSpec("acme/a"), faults=(fault,))
    assert (code, len(world.counters.accepted)) == (Exit.OK, 1)


@both
@pytest.mark.anyio
async def test_a_lost_answer_stays_in_doubt_and_makes_no_second_run(type_):
    fault = FaultRule("lost_after", nth=(1,))
    entry = "[{repo: acme/a, branch: main, timeouts: {accept: 5m}}]"
    history, world, code = await played(type_, entry, RepoSpec("acme/a"), faults=(fault,))
    assert (code, len(world.counters.accepted)) == (Exit.IN_DOUBT, 1)
    reason = history.of(f"{type_}:acme/a@main").verdict.reason
    assert re.search(r"may be this one: 4001; the newest: http\S+/acme/a/actions/runs/\d+", reason)
    [row] = view("r1", history, EPOCH + 3600.0).targets
    assert [build.id for build in row.builds] == ["4001"]
    assert (row.url, row.build_id, row.request_id) == (row.builds[0].url, None, None)


@both
@pytest.mark.anyio
async def test_without_a_marker_of_ours_nothing_is_looked_up(type_):
    fault = FaultRule("lost_before", nth=(1,))
    entry = "[{repo: acme/a, marker: none, timeouts: {accept: 5m}}]"
    *_, world, code = await played(type_, entry, RepoSpec("acme/a"), faults=(fault,))
    assert (code, len(world.counters.accepted)) == (Exit.IN_DOUBT, 0)


@pytest.mark.anyio
async def test_an_older_gitea_is_followed_though_it_tells_no_ids():
    *_, world, code = await played(
        "gitea", "[acme/a, acme/b@main]", RepoSpec("acme/a"), RepoSpec("acme/b"), version="1.24.0"
    )
    assert (code, len(world.counters.accepted)) == (Exit.OK, 2)


@both
@pytest.mark.anyio
async def test_no_report_shows_a_marker_since_none_is_sent(type_):
    history, *_ = await played(type_, "[{repo: acme/a, branch: main}]", RepoSpec("acme/a"))
    [row] = view("r1", history, 0.0).targets
    assert (row.outcome, row.marker) == ("passed", None)


@pytest.mark.anyio
async def test_a_dispatch_cancels_what_an_earlier_one_started():
    entries = "[{repo: acme/a, branch: main}, {repo: acme/a, branch: main, name: two}]"
    history, _, code = await played("gitea", entries, RepoSpec("acme/a"))
    assert code is Exit.FAILED
    assert [history.of(target.id).verdict.outcome.value for target in history.targets] == ["canceled", "passed"]


# -- over sockets -----------------------------------------------------------------------------------------------------


@both
def test_a_repository_that_was_renamed_is_triggered_under_its_old_name(type_, tmp_path):
    async def play():
        kind = KINDS[type_]
        look_alike = kind(kind.kind(repos=(RepoSpec("acme/old", moved_to="acme/new"),)))
        async with serve(look_alike) as served:
            account = Account(type_, type_, served.url, token="env:T")
            async with registry.connect(account, Secrets({"T": served.token}, tmp_path, tmp_path)) as line:
                provider = line.provider_over(line.send)
                target = Target("t", type_, "acme/old", "main", request={"workflow": "ci.yml"})
                request = await provider.trigger(Trigger(target, 1, "[r.abcdefgh]", "r", {"v": 1}))
                assert look_alike.counters.by_repo() == {"acme/new": 1}
                assert request.id == "4001"
                assert (await provider.inspect("acme/old")).slug == "acme/new"

    anyio.run(play)


MANIFEST = """\
version: 1
name: nightly
providers: {gitea: {url: "https://git.corp.example/api/v1/"}, forgejo: {}}
defaults: {workflow: ci.yml, message: only where there is one}
targets:
  - {repos: [acme/a, acme/b], account: gitea, branches: [main, dev]}
  - {repo: acme/c, account: forgejo, inputs: {level: 3}}
"""


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_of_both_triggers_follows_and_reports(program, quick_polls):
    program.write("orchestrator.yaml", MANIFEST)
    told = ("--sandbox-fails", "acme/c", "--sandbox-slow", "acme/**=50ms")
    assert program("run", "--sandbox", *told, "-q", "-o", "json") == 1
    report = program.json
    assert [one["outcome"] for one in report["targets"]] == ["passed"] * 4 + ["failed"]
    for target in report["targets"]:
        assert target["build_id"] == target["request_id"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/acme/./actions/runs/\d+", target["url"])
        assert target["sha"]


def test_the_end_of_the_api_is_cut_from_the_url(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("plan", "--offline", "-o", "curl") == 0
    assert "https://git.corp.example/api/v1/repos/acme/a/actions/workflows/ci.yml/dispatches" in program.out
    assert "api/v1/api" not in program.out


def test_plan_warns_of_targets_that_would_cancel_each_other(program):
    entries = "[{repo: acme/a, branch: main}, {repo: acme/a, branch: main, name: two%s}]"
    text = MANIFEST.partition("defaults")[0] + "defaults: {workflow: ci.yml, account: gitea}\ntargets: " + entries
    program.write("orchestrator.yaml", text % "")
    assert program("plan", "--offline") == 0
    assert "will cancel builds of this run when later targets are triggered (gitea:acme/a@main)" in program.out
    assert "auto-cancel" not in program.out
    program.write("orchestrator.yaml", text % ", needs: ['gitea:acme/a@main']")
    assert program("plan", "--offline") == 0
    assert "will cancel builds of this run" not in program.out


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{repo: acme/x}", "there is no `workflow`"),
        ("{repo: acme/x, workflow: a.yml, sha: '0123456'}", "unknown key `sha`"),
        ("{repo: acme/x, workflow: a.yml, message: hi}", "unknown key `message`"),
        ("{repo: acme/x, workflow: a/b.yml}", "no file's name"),
        ("{repo: acme/x/y, workflow: a.yml}", "no repository's name"),
    ],
)
@both
def test_what_cannot_be_sent_is_an_error_at_check(program, type_, entry, words):
    program.write("orchestrator.yaml", f"version: 1\nproviders: {{{type_}: {{}}}}\ntargets: [{entry}]\n")
    assert program("check") == 2
    assert words in program.err
    assert "orchestrator.yaml:3" in program.err


def test_reruns_are_an_error_where_the_service_has_none(program):
    text = "version: 1\nproviders: {%s: {}}\ntargets: [{repo: a/b, workflow: c.yml, reruns: 1}]\n"
    program.write("orchestrator.yaml", text % "forgejo")
    assert program("check") == 2
    program.write("orchestrator.yaml", text % "gitea")
    assert program("check") == 0


@both
def test_init_writes_a_manifest_and_a_workflow(program, type_):
    assert program("init", "--type", type_) == 0
    assert program("check") == 0
    assert "workflow_dispatch" in (program.folder / f".{type_}/workflows/ci.yml").read_text()


@pytest.mark.parametrize("name", ["gitea.yaml", "forgejo.yaml"])
def test_the_example_is_accepted(program, name):
    program.write("orchestrator.yaml", (HERE / "manifests" / name).read_text("utf-8"))
    assert program("plan", "--sandbox") == 0, program.err


PAGES = ("docs/gitea.md", "docs/how-to/gitea.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```yaml\n(version.*?)```", (HERE / page).read_text("utf-8"), re.DOTALL)
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_manifests_of_the_pages_are_accepted(program, block):
    program.write("repos.txt", "acme/a\nacme/b@dev\n")
    program.write("orchestrator.yaml", block)
    assert program("check") == 0, program.err
    assert program("plan", "--sandbox") == 0, program.err


# -- the look-alike by itself -----------------------------------------------------------------------------------------


class Visitor:
    """Asks, a moment later each time."""

    def __init__(self, kind=GiteaLookAlike, **settings):
        spec = RepoSpec("acme/api", **settings.pop("spec", {}))
        given = {"repos": (spec,), "queue": (1.0, 1.0), "build": (2.0, 2.0), **settings}
        self.world = kind(kind.kind(**given))
        self.now = EPOCH
        self.headers = {}

    def __call__(self, method, path, body=None, token="sandbox-token"):
        path, _, query = path.partition("?")
        pairs = [tuple(one.split("=")) for one in query.split("&") if one]
        raw = b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": f"token {token}", "host": "git.test"}
        reply = self.world.handle(Incoming(method, f"/api/v1{path}", pairs, headers, raw), self.now)
        self.headers = reply.headers
        return reply.status, json.loads(reply.body) if reply.body[:1] in b"{[" and reply.body else reply.body


DISPATCH = "/repos/acme/api/actions/workflows/ci.yml/dispatches"


@pytest.mark.parametrize(
    ("body", "spec", "status"),
    [
        ({"ref": "gone"}, {}, 404),
        ({}, {}, 422),
        ({"ref": "main"}, {"disabled": True}, 403),
        ({"ref": "main"}, {"archived": True}, 403),
        ({"ref": "main"}, {"may_trigger": False}, 403),
        ({"ref": "main"}, {"actions": False}, 404),
        ({"ref": "main"}, {"workflows": ("b.yml",)}, 404),
    ],
)
def test_a_dispatch_is_checked_as_the_servers_do(body, spec, status):
    assert Visitor(spec=spec)("POST", DISPATCH, body)[0] == status
    wanted = 400 if status == 422 else status
    assert Visitor(ForgejoLookAlike, spec=spec)("POST", DISPATCH, body)[0] == wanted
    assert Visitor()("GET", "/user", token="wrong")[0] == 401


def test_each_tells_the_run_where_it_is_asked_for_in_its_own_way():
    asked = f"{DISPATCH}?return_run_details=true"
    assert Visitor()("POST", asked, {"ref": "main"})[1]["workflow_run_id"] == 4001
    assert Visitor()("POST", DISPATCH, {"ref": "main", "return_run_info": True})[0] == 204
    assert Visitor(version="1.26.9")("POST", asked, {"ref": "main"})[0] == 204
    body = {"ref": "main", "return_run_info": True}
    assert Visitor(ForgejoLookAlike)("POST", DISPATCH, body) == (201, {"id": 4001, "run_number": 1, "jobs": ["build"]})
    assert Visitor(ForgejoLookAlike)("POST", asked, {"ref": "main"})[0] == 204


def test_inputs_that_are_not_declared_are_dropped_without_a_word():
    ask = Visitor(spec={"inputs": ("level",)})
    ask("POST", DISPATCH, {"ref": "main", "inputs": {"level": "3", "other": "x"}})
    assert ask.world.counters.accepted[0].sent == {"level": "3"}


def test_settings_are_read_and_odd_ones_refused():
    found = with_repos(Settings, {"repos": 2, "time_scale": 10})
    assert [spec.slug for spec in found.repos] == ["acme/svc-001", "acme/svc-002"]
    assert found.scaled().build == (3.0, 30.0)
    with pytest.raises(Exception, match="twice"):
        with_repos(Settings, {"repos": ["a/b", "A/b"]})
