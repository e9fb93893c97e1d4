import importlib.metadata
import subprocess
import sys

import pytest
from cli_machine import Program

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account
from orchestrator.core.secrets import Secrets
from orchestrator.providers import registry
from orchestrator.providers.port import (
    Cancels,
    Discovers,
    Inspects,
    Key,
    ListsBranches,
    Restarts,
    SaysWho,
    ShowsLogs,
    ShowsQueue,
)
from orchestrator.providers.travis.declaration import DECLARATION


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Point:
    value = "somewhere:DECLARATION"

    def __init__(self, name, load):
        self.name, self.load = name, load


def install(monkeypatch, *points):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: list(points))


@pytest.fixture(autouse=True)
def fresh():
    """What is installed is read once in a process; here it changes from test to test."""
    registry._foreign.cache_clear()
    yield
    registry._foreign.cache_clear()


@pytest.mark.parametrize("type_", registry.PROVIDERS)
def test_a_type_is_known_without_importing_http(type_):
    code = (
        "import sys; from orchestrator.providers import registry; registry.declaration('" + type_ + "');"
        "print([m for m in ('aiohttp', 'anyio', 'structlog', 'ssl', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LOADED = """
import runpy, sys
sys.argv = ["orchestrator", *sys.argv[1:]]
try:
    runpy.run_module("orchestrator", run_name="__main__")
finally:
    names = [name for name in sys.modules if name.startswith(("orchestrator.providers.", "orchestrator.lookalike"))]
    print(*names, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["check", "--help"], ["sandbox", "--help"], ["check"], ["plan", "--offline"]]
)
def test_no_provider_is_loaded_that_is_not_named(tmp_path, words):
    """So that it costs nothing how many there are."""
    type_ = [*registry.PROVIDERS][1]
    text = f"version: 1\nproviders: {{ci: {{type: {type_}}}}}\ndefaults: {{workflow: a.yml}}\ntargets: [acme/a]\n"
    (tmp_path / "orchestrator.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    own, rest = f"orchestrator.providers.{type_}", set(done.stderr.split())
    named = {own, f"{own}.declaration"} if "--help" not in words else set()
    assert rest - {"orchestrator.providers.port", "orchestrator.providers.registry"} == named


@pytest.mark.parametrize("declared", registry.known().values(), ids=lambda declared: declared.type)
def test_every_provider_is_where_its_declaration_says(declared):
    assert declared.type in registry.PROVIDERS
    for reference in (declared.factory, declared.headers, declared.lookalike, declared.token_fallback):
        if reference is not None:
            assert callable(registry.load(reference))
    names = {limit.name for limit in declared.limits}
    assert set(declared.trigger_limits) <= names
    assert declared.accepted_limits <= set(declared.trigger_limits)


def test_a_foreign_provider_is_found_by_its_entry_point(monkeypatch):
    foreign = replace(DECLARATION, type="concourse")
    install(monkeypatch, Point("other", lambda: 1 / 0), Point("concourse", lambda: foreign))
    assert registry.declaration("concourse") is foreign


TEN = {f"type{n}": f"nowhere.at.all{n}:DECLARATION" for n in range(10)}


@pytest.mark.parametrize("words", ["--help", "run --help", "check m.yaml", "plan --offline m.yaml"])
def test_a_declaration_that_no_manifest_names_is_not_loaded(monkeypatch, tmp_path, capsys, words):
    monkeypatch.setattr(registry, "PROVIDERS", {**TEN, **registry.PROVIDERS})
    install(monkeypatch, Point("other", lambda: 1 / 0))
    program = Program(tmp_path, capsys)
    program.write("m.yaml", "version: 1\ntargets: [acme/widget]\n")
    assert program(*words.split()) == 0


def test_a_manifest_loads_the_types_that_it_names_and_no_other(monkeypatch, tmp_path, capsys):
    foreign = replace(DECLARATION, type="concourse")
    monkeypatch.setattr(registry, "PROVIDERS", TEN)
    install(monkeypatch, Point("other", lambda: 1 / 0), Point("concourse", lambda: foreign))
    program = Program(tmp_path, capsys)
    program.write("m.yaml", "version: 1\nproviders: {ci: {type: concourse}}\ntargets: [acme/widget]\n")
    assert program("check", "m.yaml") == 0


def test_a_misspelt_type_is_told_the_nearest_of_those_that_are_installed(monkeypatch, tmp_path, capsys):
    install(monkeypatch, Point("concourse", lambda: 1 / 0))
    program = Program(tmp_path, capsys)
    program.write("m.yaml", "version: 1\nproviders: {ci: {type: concurse}}\ntargets: [acme/widget]\n")
    assert program("check", "m.yaml") == 2
    assert "unknown provider type `concurse`" in program.err
    assert "concourse" in program.err


def test_the_schema_knows_the_keys_of_every_installed_provider(monkeypatch, tmp_path, capsys):
    foreign = replace(DECLARATION, type="concourse", keys={"resource": Key(str, "what to check")})
    install(monkeypatch, Point("concourse", lambda: foreign))
    program = Program(tmp_path, capsys)
    assert program("schema") == 0
    properties = program.json["$defs"]["Target"]["properties"]
    assert {"resource", "tag_name"} <= properties.keys()


def test_a_type_without_a_lookalike_is_not_rehearsed(monkeypatch, tmp_path, capsys):
    foreign = replace(DECLARATION, type="concourse", lookalike=None)
    install(monkeypatch, Point("concourse", lambda: foreign))
    program = Program(tmp_path, capsys)
    program.write("m.yaml", "version: 1\nproviders: {ci: {type: concourse}}\ntargets: [acme/widget]\n")
    assert program("run", "m.yaml", "--sandbox", "-q") == 2
    assert "account ci: there is no look-alike of concourse" in program.err


def test_a_rehearsal_is_against_the_lookalike_that_the_declaration_names(monkeypatch, tmp_path, capsys):
    foreign = replace(DECLARATION, type="concourse", lookalike="nowhere.at.all:Nothing")
    install(monkeypatch, Point("concourse", lambda: foreign))
    program = Program(tmp_path, capsys)
    program.write("m.yaml", "version: 1\nproviders: {ci: {type: concourse}}\ntargets: [acme/widget]\n")
    assert program("run", "m.yaml", "--sandbox", "-q") == 2
    assert "provider type 'concourse': nowhere.at.all:Nothing cannot be imported" in program.err


def test_an_unknown_type_names_those_there_are(monkeypatch):
    install(monkeypatch, Point("concourse", lambda: None))
    there = ", ".join([*registry.PROVIDERS, "concourse"])
    with pytest.raises(UsageError, match=f"unknown provider type 'tomorrow'; there are: {there}"):
        registry.declaration("tomorrow")


def test_a_foreign_provider_joins_the_known_ones_when_it_is_asked_for(monkeypatch):
    foreign = replace(DECLARATION, type="concourse")
    install(monkeypatch, Point("concourse", lambda: foreign))
    known = registry.known()
    assert list(known) == list(registry.PROVIDERS)
    assert known.get("tomorrow") is None
    assert known.get("concourse") is foreign
    assert list(known) == [*registry.PROVIDERS, "concourse"]
    assert list(registry.known()) == list(registry.PROVIDERS)


@pytest.mark.parametrize("given", [None, object(), DECLARATION])
def test_an_entry_point_that_gives_no_declaration_of_its_type_is_refused(monkeypatch, given):
    install(monkeypatch, Point("concourse", lambda: given))
    with pytest.raises(UsageError, match="is not its declaration"):
        registry.declaration("concourse")


def test_a_package_that_cannot_be_imported_is_named(monkeypatch):
    def load():
        raise ImportError("no module named concourse")

    install(monkeypatch, Point("concourse", load))
    with pytest.raises(UsageError, match=r"somewhere:DECLARATION cannot be imported .*reinstall"):
        registry.declaration("concourse")


def account(**kwargs):
    return Account("travis", "travis", kwargs.pop("url", "https://api.travis-ci.com"), **kwargs)


def token(secrets, **kwargs):
    return registry.token_of(account(**kwargs), DECLARATION, secrets).reveal()


CLIENT_FILE = """
default_endpoint: https://api.travis-ci.com/
endpoints:
  https://api.travis-ci.com/:
    access_token: from-the-client
  https://travis.corp.example/api:
    access_token: from-enterprise
    enterprise: true
"""


def client_file(folder, text=CLIENT_FILE):
    folder.mkdir(exist_ok=True)
    (folder / "config.yml").write_text(text)
    return folder


def test_the_token_as_written_comes_before_the_variable_and_the_variable_before_the_client(tmp_path):
    client_file(tmp_path / ".travis")
    secrets = Secrets({"TRAVIS_TOKEN": "from-variable", "MINE": "as-written"}, home=tmp_path, cwd=tmp_path)
    assert token(secrets, token="env:MINE") == "as-written"
    assert token(secrets) == "from-variable"
    assert token(Secrets({}, home=tmp_path, cwd=tmp_path)) == "from-the-client"


@pytest.mark.parametrize("url", ["https://travis.corp.example/api", "https://travis.corp.example/api/"])
def test_the_clients_token_is_that_of_the_endpoint_however_its_url_ends(tmp_path, url):
    client_file(tmp_path / ".travis")
    assert token(Secrets({}, home=tmp_path, cwd=tmp_path), url=url) == "from-enterprise"


def test_the_clients_folder_may_stand_elsewhere(tmp_path):
    folder = client_file(tmp_path / "elsewhere")
    environ = {"TRAVIS_CONFIG_PATH": str(folder)}
    assert token(Secrets(environ, home=tmp_path / "home", cwd=tmp_path)) == "from-the-client"


@pytest.mark.parametrize("text", ["", "endpoints: 3", "endpoints: {https://other.example: {access_token: x}}", "[1]"])
def test_without_any_token_the_message_names_the_places(tmp_path, text):
    client_file(tmp_path / ".travis", text)
    with pytest.raises(UsageError, match=r"account travis: no token .*export TRAVIS_TOKEN, or write `token: env:NAME`"):
        token(Secrets({}, home=tmp_path, cwd=tmp_path))


@pytest.mark.parametrize(
    "text", ["endpoints: [secret-token", "&a !!python/object:os.system secret-token", "[" * 5000, "x" * 2**21]
)
def test_a_file_that_the_client_did_not_write_is_refused_without_being_quoted(tmp_path, text):
    client_file(tmp_path / ".travis", text)
    with pytest.raises(UsageError, match=r"config\.yml: is not what the travis client writes") as caught:
        token(Secrets({}, home=tmp_path, cwd=tmp_path))
    assert "secret-token" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.anyio
async def test_an_account_is_connected_with_all_that_the_engine_needs(tmp_path):
    secrets = Secrets({"TRAVIS_TOKEN": "s3cr3t"}, home=tmp_path, cwd=tmp_path)
    async with registry.connect(account(url="http://127.0.0.1:9"), secrets) as line:
        provider = line.provider_over(line.send)
        for ability in (
            Cancels,
            Discovers,
            Inspects,
            ListsBranches,
            ShowsQueue,
            Restarts,
            SaysWho,
            ShowsLogs,
        ):
            assert isinstance(provider, ability)
        assert line.declaration is DECLARATION
        assert "s3cr3t" not in repr(line)
        assert len(line.token_hash) == 32


@pytest.mark.anyio
async def test_a_missing_token_is_told_before_anything_is_opened(tmp_path):
    with pytest.raises(UsageError):
        async with registry.connect(account(), Secrets({}, home=tmp_path, cwd=tmp_path)):
            raise AssertionError("connected without a token")
