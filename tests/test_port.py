"""What a provider may declare of its accounts: no token, a URL that must be written, secrets in settings."""

from typing import TypedDict

import aiohttp.web
import pytest
from manifest_helpers import KNOWN, SMALL, no_files

from orchestrator.core.calls import Call
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Findability
from orchestrator.core.secrets import Secrets
from orchestrator.manifest import ManifestError, read
from orchestrator.providers import registry
from orchestrator.providers.kit.transport import transport
from orchestrator.providers.port import Key, references_in


class Login(TypedDict):
    user: str
    password: str


OWN = replace(
    SMALL,
    type="own",
    url="",
    url_end="/api/v9",
    needs_token=False,
    token_env=None,
    settings={"login": Key(Login, "who"), "group": Key(list[str], "groups")},
    secret_settings=(("login", "password"),),
    account_problems=lambda account: [("no such group", "x", ("group",))] if "bad" in account.settings else (),
    for_account=lambda said, account: replace(said, finds=Findability.NEVER) if account.settings else said,
)


def accounts(text):
    whole = f"version: 1\n{text}targets: [{{repo: a/b, account: own}}]\n"
    return read("m.yaml", whole.encode(), declarations={**KNOWN, "own": OWN}, load=no_files)


def test_a_url_that_no_type_gives_must_be_written():
    with pytest.raises(ManifestError, match=r"m.yaml:2:18: providers.own: no `url`"):
        accounts("providers: {own: {}}\n")
    assert accounts("providers: {own: {url: 'https://ci.invalid'}}\n").accounts["own"].url == "https://ci.invalid"


def test_what_a_written_url_ends_with_beside_the_installation_is_cut():
    assert accounts("providers: {own: {url: 'https://ci.invalid/x/api/v9/'}}\n").accounts["own"].url.endswith("/x")


def test_a_secret_in_a_setting_is_a_reference_and_known_before_the_start():
    written = "providers: {own: {url: 'https://ci.invalid', login: {user: me, password: '%s'}}}\n"
    with pytest.raises(ManifestError, match=r"providers.own.login.password: .*env:NAME"):
        accounts(written % "hunter2")
    account = accounts(written % "env:PW").accounts["own"]
    assert references_in(account, OWN) == ["env:PW"]
    assert references_in(replace(account, settings={"login": "x"}), OWN) == []


def test_what_a_file_holds_is_looked_for_beside_its_manifest():
    text = "version: 1\nproviders: {own: {url: 'https://ci.invalid', login: {user: me, password: 'file:pw'}}}\n"
    found = read("deep/m.yaml", f"{text}targets: [a/b]\n".encode(), declarations={"own": OWN}, load=no_files)
    assert found.accounts["own"].settings["login"] == {"user": "me", "password": "file:deep/pw"}


def test_settings_of_one_name_may_differ_between_types():
    found = accounts("providers: {own: {url: 'https://ci.invalid', group: [a]}, small: {group: b}}\n")
    assert [one.settings["group"] for one in found.accounts.values()] == [["a"], "b"]


def test_settings_may_change_what_is_declared():
    found = accounts(
        "providers: {own: {url: 'https://ci.invalid', group: [a]}, other: {type: own, url: 'http://[::1]'}}\n"
    )
    assert [one.finds for one in found.declared.values()] == [Findability.NEVER, Findability.BY_MARKER]


def test_an_account_without_a_token_is_connected_without_one(tmp_path):
    secrets, account = Secrets({"SMALL_TOKEN": ""}, tmp_path, tmp_path), Account("own", "own", "https://ci.invalid")
    assert registry.token_of(account, OWN, secrets) is None
    with pytest.raises(UsageError, match="no token"):
        registry.token_of(account, SMALL, secrets)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_way_to_an_account_without_a_token_is_opened(tmp_path):
    lines = []
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        async with registry.connect(Account("b", "buildbot", url), Secrets({}, tmp_path, tmp_path)) as line:
            lines.append(line)
    assert lines[0].token_hash != lines[1].token_hash


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_headers_of_a_call_and_its_signature_stand_instead_of_those_of_the_account():
    seen, sizes = [], []

    async def answer(request):
        seen.append(request.headers)
        sizes.append(len(await request.read()))
        return aiohttp.web.json_response({})

    app = aiohttp.web.Application()
    app.router.add_route("*", "/x", answer)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    try:
        async with transport(Account("a", "own", url), {"X-One": "1", "X-Two": "2"}) as send:
            await send(Call("GET", "/x", headers={"X-Two": "3"}))
            await send(Call("POST", "/x", body={"a": "\u00e9"}, sign=lambda body: {"X-One": str(len(body))}))
    finally:
        await runner.cleanup()
    assert [(one["X-One"], one.getall("X-Two")) for one in seen] == [("1", ["3"]), (str(sizes[1]), ["2"])]
    assert sizes[1] > 0
