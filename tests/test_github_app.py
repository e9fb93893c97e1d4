"""Tokens of a GitHub App: asked for once for each owner, renewed before they end, and never shown."""

import json
import random
import re
from contextlib import contextmanager

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import start_blocking_portal
from cli_machine import Program
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, RateLimited, Rejected, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Target, Trigger
from orchestrator.core.secrets import Redactor, Secrets
from orchestrator.lookalike.github import GitHubLookAlike
from orchestrator.lookalike.github.settings import AppSpec, Installation, RepoSpec, Settings
from orchestrator.lookalike.kit.http import json_reply
from orchestrator.lookalike.kit.server import serve
from orchestrator.providers import registry
from orchestrator.providers.github import wire
from orchestrator.providers.github.app import App
from orchestrator.providers.github.provider import GitHub
from orchestrator.providers.kit.grants import PATIENCE, Granted

pytestmark = pytest.mark.anyio

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
).decode()
PUBLIC = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
AT = 1_767_574_800.0
REPOS = tuple(RepoSpec(slug) for slug in ("acme/api", "acme/web", "beta/api"))
SUSPENDED = "This installation has been suspended"
SAID = {"id": 12345, "key": "file:app.pem"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


class There:
    """The provider over an App's tokens, and the look-alike that gives them, on a clock that the test sets."""

    def __init__(self, folder, said=SAID, repos=REPOS, **settings):
        (folder / "app.pem").write_text(PEM)
        spec = {"key": PUBLIC, **settings.pop("app", {})}
        self.world = GitHubLookAlike(Settings(repos=repos, app=AppSpec(**spec), **settings))
        self.now, self.ahead = AT, 0.0  # by which the service's clock is
        self.redactor, self.hidden, self.calls, self.refuse = Redactor(), [], [], None
        secrets = Secrets({}, folder, folder, seen=self.redactor.add, gone=self.redactor.forget)
        self.account = Account("github", "github", "http://gh.test", settings={"app": said})
        inner = self.world.send(lambda: self.now + self.ahead, anyio.sleep, random.Random(1), "none")

        async def send(call):
            self.calls.append(call)
            await anyio.lowlevel.checkpoint()  # others have their turn
            if self.refuse is not None and (answer := self.refuse(call)) is not None:
                if isinstance(answer, Exception):
                    raise answer
                return answer
            return await inner(call)

        made = App(self.account, secrets)
        self.send = Granted(send, made, lambda token: wire.headers(None, token), secrets, self.hidden, lambda: self.now)
        self.provider = GitHub(self.account, self.send, secrets)

    @property
    def given(self):
        return len(self.world.tables.apps.given)

    async def trigger(self, repo="acme/api"):
        target = Target(f"github:{repo}@main", "github", repo, "main", request={"workflow": "ci.yml"})
        return await self.provider.trigger(Trigger(target, 1, "[r.abcdefgh]", "r", {"v": 1, "marker": "marker"}))

    async def refused(self, repo="acme/api"):
        with pytest.raises((AccessRefused, RateLimited, Unreachable)) as caught:
            await self.trigger(repo)
        return caught.value


def token_calls(there):
    return [call for call in there.calls if call.path.endswith("/access_tokens")]


# -- one token for each owner ----------------------------------------------------------------------------------------


async def test_callers_at_once_wait_for_one_token_and_each_owner_has_its_own(tmp_path):
    there = There(tmp_path)
    async with anyio.create_task_group() as tasks:
        for repo in ("acme/api", "ACME/web", "acme/api", "beta/api"):
            tasks.start_soon(there.trigger, repo)
    assert there.given == 2
    assert len(there.world.counters.accepted) == 4


async def test_a_token_is_renewed_before_it_ends_over_a_run_of_days(tmp_path):
    there = There(tmp_path)
    for _ in range(2 * 24 * 12):
        there.now += 300.0
        await there.trigger()
    assert 48 <= there.given <= 64
    refusals = [reason for reason in there.world.counters.refusals if "credentials" in reason]
    assert refusals == []
    assert len(there.hidden) <= 4  # and what has ended does not fill the memory


async def test_while_a_renewal_fails_the_old_token_is_used_to_its_end_and_then_nothing_leaves(tmp_path):
    there = There(tmp_path)
    await there.trigger()
    there.refuse = lambda call: Answer(502, "<html>") if call.path.endswith("access_tokens") else None
    there.now += 3300.0
    await there.trigger()
    await there.trigger()
    assert len(token_calls(there)) == 2  # it is not asked for again with each call
    there.now += 300.0
    accepted = len(there.world.counters.accepted)
    assert isinstance(await there.refused(), Unreachable)
    assert len(there.world.counters.accepted) == accepted


async def test_whoever_waited_for_a_token_that_could_not_be_had_does_not_ask_again(tmp_path):
    there = There(tmp_path)
    there.refuse = lambda call: Answer(500, "") if call.path.endswith("/installation") else None
    failures = []

    async def one():
        failures.append(await there.refused())

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(one)
    assert {type(failure) for failure in failures} == {Unreachable}
    assert sum(call.path.endswith("/installation") for call in there.calls) == 1


async def test_asking_for_a_token_is_bounded_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.providers.kit.grants.PATIENCE", 0.01)
    there = There(tmp_path, latency=(5.0, 5.0))
    assert "no token for acme was given" in str(await there.refused())
    assert PATIENCE < 30.0  # what a call may take


async def test_a_token_that_is_refused_is_renewed_once_and_its_call_started_one_run(tmp_path):
    there = There(tmp_path)
    await there.trigger()
    there.world.tables.apps._tokens.clear()  # revoked
    await there.trigger()
    assert there.given == 2
    assert len(there.world.counters.accepted) == 2


async def test_callers_at_once_whose_token_was_refused_renew_it_once(tmp_path):
    there = There(tmp_path)
    await there.trigger()
    there.world.tables.apps._tokens.clear()
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(there.trigger)
    assert there.given == 2
    assert len(there.world.counters.accepted) == 9


async def test_a_second_refusal_closes_the_owner_and_not_the_account(tmp_path):
    there = There(tmp_path)
    there.refuse = lambda call: Answer(401, {"message": "Bad credentials"}) if call.repo else None
    error = await there.refused()
    assert (error.code, str(error.scope)) == ("bad_token", "owner:acme")
    assert len([call for call in there.calls if call.repo]) == 2


# -- the signature -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-1800.0, -90.0, 0.0, 45.0, 1800.0])
async def test_a_clock_that_is_wrong_is_found_by_the_services_own(tmp_path, ahead):
    there = There(tmp_path)
    there.ahead = ahead
    await there.trigger()
    there.now += 3500.0
    await there.trigger()
    assert len(there.world.counters.accepted) == 2


async def test_a_key_that_is_not_the_apps_stops_the_account(tmp_path):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    public = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    there = There(tmp_path, app={"key": public})
    error = await there.refused()
    assert (error.code, str(error.scope)) == ("bad_key", "account")
    assert "`id` and `key`" in error.reason
    with pytest.raises(AccessRefused):
        await there.provider.whoami()


def test_the_look_alike_believes_no_signature_that_github_would_not(tmp_path):
    import jwt

    from orchestrator.lookalike.github.apps import check_signature
    from orchestrator.lookalike.kit.http import Refused

    spec = AppSpec(key=PUBLIC)

    def said(**claims):
        token = jwt.encode({"iat": int(AT - 60), "exp": int(AT + 540), "iss": "12345", **claims}, PEM, "RS256")
        try:
            check_signature(token, spec, AT)
        except Refused as refused:
            return json.loads(refused.reply.body)["message"]
        return ""

    assert said() == said(iss="12345") == ""
    assert "too far in the future" in said(exp=int(AT + 660))
    assert "must be a numeric value" in said(exp=int(AT - 1))
    assert "'Issued at'" in said(iat=int(AT + 60))
    assert said(iss="54321") == "Integration not found"


# -- installations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installation", "code", "words"),
    [
        (Installation("other"), "not_installed", "not installed for acme"),
        (Installation("acme", suspended=True), "suspended", "suspended"),
    ],
)
async def test_an_owner_without_an_installation_is_refused_alone(tmp_path, installation, code, words):
    there = There(tmp_path, app={"installations": (installation, Installation("beta"))})
    error = await there.refused()
    assert (error.code, str(error.scope)) == (code, "owner:acme")
    assert words in error.reason
    assert error.retry_after == 60.0
    await there.trigger("beta/api")


async def test_an_installation_that_is_named_serves_its_own_owner_only(tmp_path):
    there = There(tmp_path, {**SAID, "installation": 77}, app={"installations": (Installation("acme", 77),)})
    await there.trigger()
    assert "that of acme, not of beta" in (await there.refused("beta/api")).reason


async def test_an_installation_that_was_made_anew_is_found_again(tmp_path):
    there = There(tmp_path)
    await there.trigger()
    apps = there.world.tables.apps
    apps.installations[9001] = apps.installations.pop(4001)
    apps._tokens.clear()
    await there.trigger()
    assert [id_ for _, id_ in there.world.tables.apps.given] == [4001, 9001]


async def test_a_limit_that_one_installation_has_met_holds_up_no_other(tmp_path):
    there = There(tmp_path, writes=2)
    for _ in range(2):
        await there.trigger()
    error = await there.refused()
    assert (type(error), str(error.scope)) == (RateLimited, "owner:acme")
    await there.trigger("beta/api")


async def test_the_runs_of_each_owner_are_followed_with_its_own_token(tmp_path):
    from github_bench import Service

    from orchestrator.providers.port import Followed

    there = There(tmp_path, queue=(100.0, 100.0))
    followed = []
    for repo in ("acme/api", "acme/web", "beta/api"):
        target = Target(f"github:{repo}@main", "github", repo, "main", request=Service().said)
        followed.append(Followed(target, await there.trigger(repo), "[r.abcdefgh]", None, there.now))
    seen = await there.provider.poll(followed)
    followed = [replace(one, build=seen[one.target.id].builds[0]) for one in followed]
    sent = len(there.calls)
    assert len(await there.provider.poll(followed)) == 3
    assert sorted((call.path, call.repo) for call in there.calls[sent:]) == [("/graphql", "acme"), ("/graphql", "beta")]


async def test_discovery_lists_what_the_installation_reaches(tmp_path):
    there = There(tmp_path, app={"installations": (Installation("acme", selected=("acme/web",)),)})
    assert [facts.slug for facts in await there.provider.discover("acme")] == ["acme/web"]


async def test_who_we_are_and_what_we_may_do_is_told(tmp_path):
    there = There(tmp_path, app={"installations": (Installation("acme", permissions={"actions": "read"}),)})
    principal = await there.provider.whoami()
    assert (principal.id, principal.login) == ("gh.test/app/12345", "App batch-builds")
    target = Target("t", "github", "acme/api", request={"workflow": "ci.yml"})
    rights = await there.provider.rights([target])
    assert "installation 4001 of acme: actions: read; all repositories" in rights.text
    assert rights.remedy.startswith("give the App actions: write, contents: read")
    event = replace(target, request={"event": "x"})
    assert (await there.provider.rights([event])).remedy.startswith("give the App contents: write")


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path, capsys):
    (tmp_path / "app.pem").write_text(PEM)
    return Program(tmp_path, capsys)


MANIFEST = """\
version: 1
name: nightly
providers: {{github: {{url: "{url}", app: {app}, limits: {{triggers: 100/1s}}}}}}
defaults: {{workflow: ci.yml, branches: [main]}}
targets: [acme/api, acme/web, beta/api]
"""


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ("app: {id: 1, key: file:app.pem}, token: env:X", "side by side"),
        ("app: {id: many, key: file:app.pem}", "no App's id"),
        ("app: {id: 1, key: file:app.pem, installation: all}", "a number, or `auto`"),
        ("app: {id: 1, key: file:app.pem, installation: 0}", "a number, or `auto`"),
        ("app: {id: 1}", "missing key `key`"),
        ("app: {id: 1, key: file:app.pem, owner: acme}", "unknown key `owner`"),
        ("app: {id: 1, key: hunter2}", "never the secret itself"),
    ],
)
def test_an_app_that_is_written_wrongly_is_an_error_at_check(program, account, words):
    program.write("orchestrator.yaml", f"version: 1\nproviders: {{github: {{{account}}}}}\ntargets: []\n")
    assert program("check") == 2
    assert words in program.err
    assert "hunter2" not in program.err


@pytest.mark.parametrize("id_", ["12345", "Iv1.0123456789abcdef", "Iv23liAbCdEfGhIjKlMn"])
def test_check_reads_no_key_and_takes_both_kinds_of_ids(program, id_):
    (program.folder / "app.pem").unlink()
    program.write(
        "orchestrator.yaml", MANIFEST.format(url="https://api.github.com", app=f"{{id: {id_}, key: file:app.pem}}")
    )
    assert program("check") == 0, program.err
    assert program("plan", "--offline") == 0, program.err
    assert "secret file:app.pem" in program.out
    assert "triggers 100/1s of each owner, points 900/1m of each owner" in program.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no private key in PEM"),
        (PUBLIC, "is no private key in PEM"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "no RSA key without a passphrase"),
    ],
)
def test_a_key_that_is_none_is_told_before_anything_is_sent(program, text, words):
    (program.folder / "app.pem").write_text(text)
    program.write("orchestrator.yaml", MANIFEST.format(url="http://127.0.0.1:9", app=json.dumps(SAID)))
    assert program("run", "--yes") == 2
    assert words in program.err
    assert "file:" in program.err


def test_no_program_is_run_for_a_key_before_plan_has_shown_it(program):
    app = json.dumps({**SAID, "key": "command:touch ran"})
    program.write("orchestrator.yaml", MANIFEST.format(url="http://127.0.0.1:9", app=app))
    assert program("plan") == 0
    assert "secret command:touch ..." in program.out
    assert not (program.folder / "ran").exists()


def test_without_the_package_that_signs_the_way_to_it_is_told(program, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jwt", None)
    program.write("orchestrator.yaml", MANIFEST.format(url="http://127.0.0.1:9", app=json.dumps(SAID)))
    assert program("run", "--yes") == 2
    assert "batch-trigger-orchestrator[github-app]" in program.err


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_needs_no_key(program):
    (program.folder / "app.pem").unlink()
    program.write("orchestrator.yaml", MANIFEST.format(url="https://api.github.com", app=json.dumps(SAID)))
    assert program("run", "--sandbox", "-q", "-o", "json") in (0, 1)
    assert program.json["totals"]["open"] == program.json["totals"]["rejected"] == 0


# -- whole runs --------------------------------------------------------------------------------------------------------


@contextmanager
def served(build=(2.5, 2.6), **app):
    settings = Settings(repos=REPOS, app=AppSpec(key=PUBLIC, **app), queue=(0.1, 0.2), build=build, points=10**6)
    look_alike = GitHubLookAlike(settings)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(look_alike)) as there:
        yield there.url, look_alike


@pytest.mark.slow  # over sockets, in real time
def test_a_run_outlives_its_tokens_and_shows_none_of_its_secrets(program):
    with served(lasts=31.0) as (url, look_alike):
        program.write("orchestrator.yaml", MANIFEST.format(url=url, app=json.dumps(SAID)))
        assert program("run", "--yes", "-v", "-o", "json=report.json", "-o", "html=report.html") == 0, program.err
    given = look_alike.tables.apps.given
    assert {id_ for _, id_ in given} == {4001, 4002}
    assert len(given) >= 4  # each is used for a second
    everything = program.out + program.err
    for path in program.folder.rglob("*"):
        if path.is_file() and path.name != "app.pem":
            everything += path.read_bytes().decode("latin-1")
    assert "github:acme/web@main" in everything
    for secret in (*look_alike.tables.apps._tokens, *PEM.splitlines()[1:-1]):
        assert secret not in everything
    assert not re.search(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ", everything)


@pytest.mark.slow
def test_an_owner_that_is_refused_while_its_builds_go_on_holds_up_no_other(program):
    with served((0.5, 0.6)) as (url, look_alike):
        genuine, apps, runs = look_alike.answer, look_alike.tables.apps, look_alike.tables.runs

        def suspending(call, now, stuck):
            """From when all are triggered until the builds of the others have ended, and were seen to."""
            others = [run for run in runs.values() if run.slug.startswith("acme/")]
            is_over = all(run.id in seen for run in others) and look_alike.counters.refusals[SUSPENDED]
            is_closed = len(runs) == 3 and not is_over
            apps.installations[4002] = Installation("beta", suspended=is_closed)
            if is_closed:
                apps._tokens = {token: one for token, one in apps._tokens.items() if one[0] == 4001}
            reply = genuine(call, now, stuck)
            seen.update(run.id for run in others if str(run.id) in call.path and b'"completed"' in reply.body)
            return reply

        look_alike.answer, seen = suspending, set()
        program.write("orchestrator.yaml", MANIFEST.format(url=url, app=json.dumps(SAID)))
        assert program("run", "--yes", "-o", "json") == 0
    assert {target["outcome"] for target in program.json["targets"]} == {"passed"}
    assert program.err.count("is suspended") == 1  # it is told once, not with each look


@pytest.mark.slow  # over sockets, in real time
def test_an_owner_that_is_refused_does_not_stop_the_others(program):
    with served((0.5, 0.6), installations=(Installation("acme"),)) as (url, _):
        program.write("orchestrator.yaml", MANIFEST.format(url=url, app=json.dumps(SAID)))
        assert program("run", "--yes", "-o", "json") == 4
        assert {target["repo"]: target["outcome"] for target in program.json["targets"]} == {
            "acme/api": "passed",
            "acme/web": "passed",
            "beta/api": None,
        }
        assert program("doctor") == 1
        assert "installation 4001 of acme: actions: write, contents: write; all repositories" in program.out
        assert program.out.count("BAD") == 1
        assert "not installed for beta" in program.out


def test_what_an_answer_repeats_of_a_token_is_blotted_out(tmp_path):
    """A server that shows what it was sent, in a refusal that ends in the report."""

    async def ask():
        settings = Settings(repos=REPOS, app=AppSpec(key=PUBLIC))
        look_alike = GitHubLookAlike(settings)
        genuine = look_alike.answer

        def chatty(call, now, stuck):
            if call.path.endswith("/dispatches"):
                return json_reply(422, {"message": f"you sent {call.headers['authorization']}"})
            return genuine(call, now, stuck)

        look_alike.answer = chatty
        (tmp_path / "app.pem").write_text(PEM)
        async with serve(look_alike) as there:
            account = Account("github", "github", there.url, settings={"app": SAID})
            async with registry.connect(account, Secrets({}, tmp_path, tmp_path)) as line:
                provider = line.provider_over(line.send)
                target = Target("t", "github", "acme/api", "main", request={"workflow": "ci.yml"})
                with pytest.raises(Rejected) as caught:
                    await provider.trigger(Trigger(target, 1, None, "r", {"v": 1}))
                return caught.value.reason

    assert "you sent Bearer ***" in anyio.run(ask)


def test_a_rate_of_the_command_line_holds_for_each_owner_too(program):
    program.write("orchestrator.yaml", MANIFEST.format(url="https://api.github.com", app=json.dumps(SAID)))
    assert program("plan", "--offline", "--rate", "2/5s") == 0
    assert "triggers 2/5s of each owner" in program.out
    assert "at most" not in program.out  # a limit of owners is none of single repositories
