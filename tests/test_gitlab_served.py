"""GitLab's look-alike behind real sockets, and the whole program against it."""

import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cli_machine import Program

from orchestrator.core.errors import AccessRefused
from orchestrator.core.model import Account, Target, Trigger
from orchestrator.core.secrets import Secrets
from orchestrator.lookalike.gitlab import GitLabLookAlike
from orchestrator.lookalike.gitlab.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.server import serve
from orchestrator.providers import registry

pytestmark = pytest.mark.anyio
TOKEN = "sandbox-token"
FAST = {"queue": (0.05, 0.1), "build": (0.1, 0.3)}
TEXT = "[r.abcdefgh]"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys, GITLAB_TOKEN=TOKEN, TT="made-up")


@asynccontextmanager
async def provider_over(tmp_path, *specs, account=(), **settings):
    look_alike = GitLabLookAlike(Settings(repos=specs, **{**FAST, **settings}))
    async with serve(look_alike) as served:
        made = Account("gitlab", "gitlab", served.url, **{"token": "env:GITLAB_TOKEN", **dict(account)})
        secrets = Secrets({"GITLAB_TOKEN": TOKEN, "TT": "sandbox-trigger-token"}, tmp_path, tmp_path)
        async with registry.connect(made, secrets) as line:
            yield line.provider_over(line.send), look_alike


def a_target(repo="acme/deep/api", **said):
    return Target(f"gitlab:{repo}@main", "gitlab", repo, "main", request=said)


BLIND = {"token": None, "settings": {"follow": "none", "trigger_token": "env:TT"}}


@pytest.mark.parametrize("account", [{}, BLIND])
async def test_a_project_that_moved_is_triggered_under_its_old_name(tmp_path, account):
    spec = RepoSpec("acme/old", moved_to="acme/deep/new")
    async with provider_over(tmp_path, spec, account=account) as (provider, look_alike):
        target = a_target("acme/old")
        trigger = Trigger(target, 1, TEXT, "r", await provider.prepare(target) if not account else None)
        request = await provider.trigger(trigger)
        assert look_alike.counters.by_marker() == {TEXT: 1}
        assert "/acme/deep/new/-/pipelines/" in request.url
        if not account:
            assert (await provider.inspect("acme/old")).slug == "acme/deep/new"
            assert await provider.branches("acme/old") == ["main"]


async def test_below_a_path_everything_is_found(tmp_path):
    spec = RepoSpec("acme/deep/api", starts=("acme/deep/api",))
    async with provider_over(tmp_path, spec, prefix="/gitlab") as (provider, _):
        target = a_target()
        request = await provider.trigger(Trigger(target, 1, TEXT, "r", await provider.prepare(target)))
        assert "/gitlab/acme/deep/api/-/pipelines/" in request.url
        assert (await provider.whoami()).login == "sandbox"
        assert [facts.slug for facts in await provider.discover("acme")] == ["acme/deep/api"]


async def test_trigger_tokens_alone_send_no_other_token(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/deep/api"), account=BLIND) as (provider, look_alike):
        await provider.trigger(Trigger(a_target(), 1, TEXT, "r"))
        assert look_alike.counters.statuses == {"201": 1}
        assert look_alike.counters.accepted[0].source == "trigger"


async def test_the_number_of_a_project_is_as_good_as_its_path(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/deep/api")) as (provider, _):
        target = a_target("77")
        assert (await provider.trigger(Trigger(target, 1, TEXT, "r", await provider.prepare(target)))).id


async def test_a_dead_token_stops_the_account(tmp_path):
    async with provider_over(tmp_path, RepoSpec("acme/deep/api"), token="another") as (provider, _):
        with pytest.raises(AccessRefused):
            await provider.whoami()


MANIFEST = """\
version: 1
name: nightly
providers: {gitlab: {limits: {triggers: 1000/1s}}}
targets: [acme/a, acme/deep/er/b@main, {repo: acme/c, branches: [main, dev], inputs: {level: 3}, marker_input: m}]
"""


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_triggers_follows_and_reports(program):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("run", "--sandbox", "-q", "-o", "json") in (0, 1)
    report = program.json
    assert report["totals"]["targets"] == 4
    assert report["totals"]["open"] == report["totals"]["in_doubt"] == report["totals"]["rejected"] == 0
    for target in report["targets"]:
        assert target["provider"] == "gitlab"
        assert target["build_id"] == target["request_id"]
        assert target["branch"] in ("main", "dev")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/acme/.*/-/pipelines/\d+", target["url"])
        assert target["sha"]
    assert "triggers_per_repo 25/1m" in {row["limit"] for row in report["limits"]}


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_with_trigger_tokens_alone_ends_when_all_is_accepted(program):
    account = "{gitlab: {trigger_token: env:TT, follow: none}}"
    program.write("orchestrator.yaml", f"version: 1\nproviders: {account}\ntargets: [acme/a@main]\n")
    assert program("run", "--sandbox", "-q", "-o", "json") == 0
    assert [target["code"] for target in program.json["targets"]] == ["accepted"]


@pytest.mark.parametrize(
    ("account", "entry", "words"),
    [
        ("{}", "{repo: acme/x, sha: '0123456'}", "unknown key `sha`"),
        ("{}", "{repo: acme/x, message: hi}", "unknown key `message`"),
        ("{}", "{repo: acme/-x}", "no project's path"),
        ("{}", "{repo: acme/x, env: {A: '1'}, variables: {A: '2'}}", "both name 'A'"),
        ("{}", "{repo: acme/x, trigger_token: glptt-1}", "env:NAME"),
        ("{trigger_token: glptt-1, follow: none}", "acme/x", "env:NAME"),
        ("{trigger_token: env:TT}", "acme/x", "follow: none"),
        ("{follow: never}", "acme/x", "follow"),
    ],
)
def test_what_cannot_be_sent_is_an_error_at_check(program, account, entry, words):
    program.write("orchestrator.yaml", f"version: 1\nproviders: {{gitlab: {account}}}\ntargets: [{entry}]\n")
    assert program("check") == 2
    assert words in program.err
    assert "orchestrator.yaml:" in program.err


def test_the_plan_as_curl_asks_for_what_would_be_sent(program):
    account = "{url: 'https://ci.corp/gitlab/api/v4', trigger_token: env:TT, follow: none}"
    program.write("orchestrator.yaml", f"version: 1\nproviders: {{gitlab: {account}}}\ntargets: [acme/a@main]\n")
    assert program("plan", "--offline", "-o", "curl") == 0
    assert "https://ci.corp/gitlab/api/v4/projects/acme%2Fa/trigger/pipeline" in program.out
    assert '"$TT"' in program.out
    assert "Authorization" not in program.out


def test_init_writes_a_manifest_that_is_fine(program):
    assert program("init", "--type", "gitlab") == 0
    assert program("check") == 0


def test_doctor_says_which_projects_forbid_variables(program, tmp_path):
    program.write("orchestrator.yaml", MANIFEST)
    assert program("doctor", "--sandbox") == 0
    assert "scopes: api" in program.out
    assert "3 repositories are there, and can be triggered" in program.out


PAGES = ("docs/gitlab.md", "docs/how-to/gitlab.md")
ROOT = Path(__file__).parents[1]
WHOLE = "\n".join((ROOT / page).read_text("utf-8") for page in PAGES)
BLOCKS = re.findall(r"^```yaml\n(.*?)```", WHOLE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_manifests_of_the_pages_are_accepted(program, block):
    program.write("repos.txt", "acme/a\nacme/deep/b@dev\n4711\n")
    program.write("orchestrator.yaml", block)
    assert program("check") == 0, program.err
    assert program("plan", "--sandbox") == 0, program.err
