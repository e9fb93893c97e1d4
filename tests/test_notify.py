"""Messages about a run: which moments are worth one, who gets it, how it is signed, and what a failed one changes."""

import hashlib
import hmac
import json
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import anyio
import pytest
from cli_machine import Program, context_of
from fake_service import Script
from web import Page, Server

from orchestrator.app.plan import Choices
from orchestrator.app.resume import resume
from orchestrator.app.which import exact
from orchestrator.core.errors import Exit, OrchestratorError, UsageError
from orchestrator.core.model import CHANGED, END, FIRST_FAILURE, NOTIFY_ON, STOP, BuildState, Notify
from orchestrator.hooks import notify as notifying
from orchestrator.hooks.notify import checked, signature

pytestmark = pytest.mark.anyio
with warnings.catch_warnings(action="ignore"):  # it looks for a module that Python has given up, and sets filters
    import apprise

    apprise.Apprise.instantiate("json://localhost")
URL = "https://hooks.invalid/T0/s3cret-of-the-hook"


@pytest.fixture
def server(tmp_path, monkeypatch):
    made = Server(tmp_path, monkeypatch, bad=Script(BuildState.FAILED), worse=Script(BuildState.FAILED))
    made.environ = {"HOOK": URL, "HOOK_KEY": "k3y"}
    return made


@pytest.fixture
def sent(monkeypatch):
    """What a webhook got, in place of the network; `FAILS` times it refuses."""
    got = []

    def posting(_):
        async def post(url, body, key):
            got.append((url, body, key))

        return post

    monkeypatch.setattr("orchestrator.app.hooks.webhook", posting)
    return got


def choices(*on, key=None, **more):
    return Choices(notify=(Notify("env:HOOK", on, key),), **more)


async def driven(server, run, *names, given, page=None):
    return (await (await server.started(run, page or Page(), *names, choices=given)).drive.run()).code


async def test_the_end_of_a_run_is_one_message_with_numbers_verdict_and_what_to_type(server, sent):
    assert await driven(server, "one", "a", "bad", given=choices(END)) is Exit.FAILED
    ((url, body, key),) = sent
    assert (url, key) == (URL, URL)  # without a key of its own the URL is what only both sides know
    assert (body["schema"], body["on"], body["run"], body["exit_code"]) == (
        "orchestrator.notification/1",
        END,
        "one",
        1,
    )
    assert body["totals"]["failed"] == 1
    assert body["title"] == "one one: did not pass, exit 1"
    assert "1 of 2 passed" in body["text"]
    assert "orchestrator report one" in body["text"]
    assert URL not in json.dumps(body)


async def test_the_first_failure_is_told_once_however_many_come(server, sent):
    await driven(server, "one", "bad", "worse", "a", given=choices(FIRST_FAILURE))
    ((_, body, _),) = sent
    assert body["on"] == FIRST_FAILURE
    assert "the first target did not pass: fake:acme/" in body["title"]
    assert "orchestrator why one fake:acme/" in body["text"]


async def test_a_process_that_takes_a_run_up_tells_no_first_failure_that_was_told(server, sent):
    started = await server.started("one", Page(), "bad", "a", choices=choices(FIRST_FAILURE, END))
    page_left = []

    class Leaving(Page):
        def fact(self, entry):
            super().fact(entry)
            if type(entry.event).__name__ == "Ended":
                started.drive.interrupt("SIGINT")

    started.drive._context.observer = Leaving()
    page_left.append((await started.drive.run()).code)
    journal, here = server.journal(), server.context(Page())
    await (await resume(await exact(journal, "one"), journal, Choices(), here)).run()
    assert page_left == [Exit.SIGINT]
    assert [body["on"] for _, body, _ in sent].count(FIRST_FAILURE) == 1
    assert sent[-1][1]["on"] == END


async def test_a_stopped_run_tells_of_the_stop_and_not_also_of_its_end(server, sent):
    code = await driven(server, "one", "bad", "worse", "a", given=choices(STOP, END, max_fail="1", in_flight=1))
    assert code is Exit.STOPPED
    assert [body["on"] for _, body, _ in sent] == [STOP]


async def test_a_verdict_is_told_as_changed_only_when_it_is_another_than_that_of_the_run_before(server, sent):
    given = choices(CHANGED)
    for run in ("one", "two"):
        await driven(server, run, "a", given=given)
        server.folder.joinpath("m.yaml").unlink()
    assert sent == []


async def test_a_message_that_cannot_be_sent_is_told_and_the_exit_code_stays(server, monkeypatch):
    tries = []

    def posting(_):
        async def post(url, body, key):
            tries.append(url)
            raise notifying._Refused("the webhook answered 500")

        return post

    monkeypatch.setattr("orchestrator.app.hooks.webhook", posting)
    page = Page()
    assert await driven(server, "one", "a", given=choices(END), page=page) is Exit.OK
    assert len(tries) == 2
    assert page.told["notify.failed"] == {"to": "env:HOOK", "on": END, "error": "the webhook answered 500"}


async def test_a_webhook_that_never_answers_holds_the_end_up_for_seconds_only(server, monkeypatch):
    def posting(_):
        async def post(*_):
            await anyio.sleep_forever()

        return post

    monkeypatch.setattr("orchestrator.app.hooks.webhook", posting)
    page, began = Page(), anyio.current_time()
    assert await driven(server, "one", "a", given=choices(END), page=page) is Exit.OK
    assert page.told["notify.failed"]["error"] == "it took too long"
    assert anyio.current_time() - began < 3600


@pytest.mark.parametrize("on", NOTIFY_ON)
async def test_nobody_is_told_what_he_did_not_ask_for(server, sent, on):
    await driven(server, "one", "bad", "a", given=choices(on))
    assert {body["on"] for _, body, _ in sent} <= {on}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("http://chat.example/x", "plain http"),
        ("https://ann:pw@chat.example/x", "a URL holds no credentials"),
        ("nonsense", "no URL that apprise knows"),
        ("nosuch://x", "no URL that apprise knows"),
    ],
)
async def test_a_place_to_which_nothing_can_be_sent_is_refused_before_anything_is_and_never_repeated(value, problem):
    secrets = context_of(environ={"HOOK": value}).secrets
    with pytest.raises(UsageError, match=problem) as caught:
        checked(Notify("env:HOOK"), secrets)
    assert value not in str(caught.value)
    assert "env:HOOK" in str(caught.value)


async def test_a_chat_is_reached_through_the_library(monkeypatch):
    said = []

    async def async_notify(self, body, title, **_):
        said.append((title, body))
        return True

    target = apprise.Apprise.instantiate("json://localhost/x")
    monkeypatch.setattr(type(target), "async_notify", async_notify)
    message = notifying.Message(END, "one", "nightly", "nightly one: exit 0", "nightly one: exit 0\nall well")
    await notifying._through_library("json://localhost/x", "env:HOOK", message)
    assert said == [("nightly one: exit 0", "nightly one: exit 0\nall well")]


async def test_a_library_that_breaks_ends_no_run_and_its_words_are_not_repeated(monkeypatch):
    async def async_notify(self, **_):
        raise ValueError("json://s3cret@localhost")

    monkeypatch.setattr(type(apprise.Apprise.instantiate("json://localhost/x")), "async_notify", async_notify)
    message = notifying.Message(END, "one", "nightly", "nightly one: exit 0", "all well")
    with pytest.raises(OrchestratorError, match="failed with ValueError") as caught:
        await notifying._through_library("json://localhost/x", "env:HOOK", message)
    assert "s3cret" not in str(caught.value)


@contextmanager
def hook(status=200, location=None):
    got = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), body))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    served = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}", got
    finally:
        served.shutdown()
        served.server_close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_bytes_that_are_sent_are_those_that_are_signed(anyio_backend):
    with hook() as (url, got):
        await notifying.webhook(context_of().elsewhere)(f"{url}/in?room=7", {"on": "end", "text": "größer"}, "k3y")
    ((path, headers, body),) = got
    assert path == "/in?room=7"
    expected = "sha256=" + hmac.new(b"k3y", body, hashlib.sha256).hexdigest()
    assert headers["X-Orchestrator-Signature"] == expected == signature("k3y", body)
    assert json.loads(body) == {"on": "end", "text": "größer"}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_message_is_never_led_to_another_host(anyio_backend):
    refused = pytest.raises(OrchestratorError, match="redirect")
    with hook() as (other, got), hook(307, f"{other}/elsewhere") as (url, first), refused:
        await notifying.webhook(context_of().elsewhere)(f"{url}/in", {"on": "end"}, "k3y")
    assert len(first) == 1
    assert got == []


# the command line


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_a_url_on_the_command_line_is_refused_and_not_repeated(program, anyio_backend):
    program.write("m.yaml", "version: 1\ntargets: [acme/a@main]\n")
    assert program("run", "m.yaml", "--sandbox", "--notify", URL) == Exit.USAGE
    assert "never the URL itself" in program.err
    assert "s3cret" not in program.err


def test_a_url_in_a_manifest_is_refused_and_not_repeated(program):
    program.write("m.yaml", f"version: 1\nnotify: [{{to: '{URL}'}}]\ntargets: [acme/a@main]\n")
    assert program("check", "m.yaml") == Exit.USAGE
    assert "env:NAME, file:PATH or command:ARGV" in program.err + program.out
    assert "s3cret" not in program.err + program.out


def test_check_knows_the_words_and_resolves_nothing(program):
    program.write(
        "m.yaml", "version: 1\nnotify: [{to: env:HOOK, on: [end, stop], key: env:K}]\ntargets: [acme/a@main]\n"
    )
    assert program("check", "m.yaml") == Exit.OK
    program.write("m.yaml", "version: 1\nnotify: [{to: env:HOOK, on: [never]}]\ntargets: [acme/a@main]\n")
    assert program("check", "m.yaml") == Exit.USAGE
    assert "waiting" in program.err + program.out


@pytest.mark.slow  # builds of some seconds, in real time
def test_a_rehearsal_tells_only_who_is_named_on_the_command_line(program):
    with hook() as (url, got), hook() as (real, never):
        program.environ |= {"HOOK": url, "REAL": real}
        program.write("m.yaml", "version: 1\nnotify: [{to: env:REAL, on: [end]}]\ntargets: [acme/a@main]\n")
        assert program("run", "m.yaml", "--sandbox", "--notify", "env:HOOK") == Exit.OK
    assert never == []
    ((_, _, body),) = got
    assert json.loads(body)["title"].startswith("rehearsal: m ")
