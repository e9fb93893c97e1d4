"""GitHub's look-alike behind real sockets, and the whole program against it."""

import json
import re
import socket
from base64 import b64encode
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cli_machine import Program

from orchestrator.core.errors import AccessRefused
from orchestrator.core.model import Account, Target, Trigger
from orchestrator.core.secrets import Secrets
from orchestrator.lookalike.github import GitHubLookAlike
from orchestrator.lookalike.github.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.server import serve
from orchestrator.providers import registry
from orchestrator.providers.kit.workflow import LINES, read_workflow

pytestmark = pytest.mark.anyio
TOKEN = "sandbox-token"
FAST = {"queue": (0.05, 0.1), "build": (0.1, 0.3), "writes": 10**6, "points": 10**6}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys, GH_TOKEN=TOKEN)


@asynccontextmanager
async def provider_over(tmp_path, *specs, **settings):
    look_alike = GitHubLookAlike(Settings(repos=specs, **{**FAST, **settings}))
    async with serve(look_alike) as served:
        account = Account("github", "github", served.url, token="env:GH_TOKEN")
        secrets = Secrets({"GH_TOKEN": TOKEN}, tmp_path, tmp_path)
        async with registry.connect(account, secrets) as line:
            yield line.provider_over(line.send), look_alike


def a_target(repo="acme/api", **said):
    return Target(f"github:{repo}@main", "github", repo, "main", request={"workflow": "ci.yml", **said})


async def test_a_repository_that_was_renamed_is_triggered_and_followed_under_its_old_name(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/old", moved_to="acme/new")) as (provider, look_alike):
        target = a_target("acme/old")
        prepared = await provider.prepare(target)
        request = await provider.trigger(Trigger(target, 1, "[r.abcdefgh]", "r", prepared))
        assert look_alike.counters.by_marker() == {"[r.abcdefgh]": 1}
        assert "/acme/new/actions/runs/" in request.url
        assert (await provider.inspect("acme/old")).slug == "acme/new"
        assert await provider.branches("acme/old") == ["main"]


async def test_a_redirect_to_another_host_gets_no_token(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/old", moved_to="acme/new")) as (provider, look_alike):
        elsewhere = GitHubLookAlike(Settings())
        async with serve(elsewhere) as there:
            genuine = look_alike.answer

            def strange(call, now, stuck):
                return genuine(call._replace(headers={**call.headers, "host": there.url[7:]}), now, stuck)

            look_alike.answer = strange
            with pytest.raises(AccessRefused) as caught:
                await provider.inspect("acme/old")
            assert caught.value.code == "redirected"
            assert len(elsewhere.counters.calls) == 0


def test_calls_in_absolute_form_are_answered(program):
    async def ask():
        from anyio import to_thread

        async with serve(GitHubLookAlike(Settings(repos=(RepoSpec("acme/api"),)))) as served:
            port = int(served.url.rpartition(":")[2])
            lines = ["GET http://api.github.localhost/repos/acme/api?a=1 HTTP/1.1", "Host: api.github.localhost"]
            lines += [f"Authorization: token {TOKEN}", "User-Agent: gh", "Connection: close", "", ""]

            def talk():
                with socket.create_connection(("127.0.0.1", port)) as line:
                    line.sendall("\r\n".join(lines).encode())
                    return b"".join(iter(lambda: line.recv(65536), b"")).decode()

            return await to_thread.run_sync(talk)

    import anyio

    said = anyio.run(ask)
    assert said.startswith("HTTP/1.1 200")
    assert json.loads(said.partition("\r\n\r\n")[2])["url"] == "http://api.github.localhost/repos/acme/api"


MANIFEST = """\
version: 1
name: nightly
providers: {github: {type: github, limits: {triggers: 1000/1s, points: 9000/1m}}}
defaults: {workflow: ci.yml, message: only where there is one}
targets: [acme/a, acme/b@main, {repo: acme/c, branches: [main, dev], inputs: {level: 3}}]
"""


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_triggers_follows_and_reports(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("run", "--sandbox", "-q", "-o", "json") in (0, 1)
    report = program.json
    assert report["totals"]["targets"] == 4
    assert report["totals"]["open"] == report["totals"]["in_doubt"] == report["totals"]["rejected"] == 0
    for target in report["targets"]:
        assert target["provider"] == "github"
        assert target["build_id"] == target["request_id"]
        assert target["branch"] in ("main", "dev")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/acme/./actions/runs/\d+", target["url"])
        assert target["sha"]
    assert report["targets"][0]["id"] == "github:acme/a"
    assert {row["limit"] for row in report["limits"]} == {
        "triggers 1000/1s",
        "points 9000/1m",
        "calls 5000/1h",
        "searches 30/1m",
    }


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{repo: acme/x}", "there is no `workflow`"),
        ("{repo: acme/x, workflow: a.yml, event: b}", "side by side"),
        ("{repo: acme/x, event: b, branch: main}", "default branch"),
        ("{repo: acme/x, workflow: a.yml, sha: '0123456'}", "unknown key `sha`"),
        ("{repo: acme/x, workflow: a.yml, message: hi}", "unknown key `message`"),
        ("{repo: acme/x/y, workflow: a.yml}", "no repository's name"),
    ],
)
def test_what_cannot_be_sent_is_an_error_at_check(program, entry, words):
    program.write("orchestrator.yaml", f"version: 1\nproviders: {{github: {{}}}}\ntargets: [{entry}]\n")
    assert program("check") == 2
    assert words in program.err
    assert "orchestrator.yaml:3" in program.err


def test_several_rules_of_a_kind_replace_those_of_the_provider(program):
    limits = "limits: {triggers: [1/2s, 100/1h], triggers_at_once: 2}"
    text = f"version: 1\nproviders: {{github: {{{limits}}}}}\ndefaults: {{workflow: a.yml}}\ntargets: [acme/x]\n"
    program.write("orchestrator.yaml", text)
    assert program("plan", "--offline", "-o", "json") == 0
    assert program("plan", "--offline") == 0
    assert "triggers 1/2s, triggers 100/1h, points 900/1m" in program.out
    assert "above the provider's default" not in program.out
    program.write("orchestrator.yaml", text.replace("[1/2s, 100/1h]", "5/1s"))
    assert program("plan", "--offline") == 0
    assert "triggers 5/1s is above the provider's default triggers 500/1h" in program.out


def test_init_writes_a_manifest_and_a_workflow_that_shows_the_marker(program):
    assert program("init", "--type", "github") == 0
    assert program("check") == 0
    assert "inputs.marker" in (program.folder / ".github/workflows/ci.yml").read_text()
    assert program("init", "--type", "github") == 2
    assert program("init", "elsewhere", "--type", "gitea-from-tomorrow") == 2


def test_the_plan_as_curl_asks_for_what_would_be_sent(program):
    program.write(
        "orchestrator.yaml", MANIFEST.replace("workflow: ci.yml", "event: rebuild").partition("[")[0] + "[acme/d]"
    )
    assert program("plan", "--offline", "-o", "curl") == 0
    assert '"Authorization: Bearer "' in program.out.replace("'", '"')
    assert "/repos/acme/d/dispatches" in program.out


PAGES = ("docs/github.md", "docs/how-to/github.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[1] / page).read_text("utf-8"), re.DOTALL)
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_manifests_of_the_pages_are_accepted(program, block):
    program.write("repos.txt", "acme/a\nacme/b@dev\n")
    program.write("orchestrator.yaml", block)
    assert program("check") == 0, program.err
    assert program("plan", "--sandbox") == 0, program.err


def test_the_lines_that_the_page_shows_are_those_that_doctor_prints(program):
    page = (Path(__file__).parents[1] / "docs/github.md").read_text("utf-8")
    assert f"```\n{LINES}\n```" in page
    assert read_workflow({"encoding": "base64", "content": b64encode(LINES.encode()).decode()}).carrier() == "marker"
