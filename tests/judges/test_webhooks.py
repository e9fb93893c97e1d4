"""The webhook provider against servers of other people: Debian's `webhook`, and WireMock with its faults."""

import json
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from cli_machine import Program

WIREMOCK = "wiremock@3.13.2"


@contextmanager
def listening(command, port, path="/"):
    """The server, once something answers at its port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            until = time.monotonic() + 30
            while True:
                assert server.poll() is None, server.stdout.read().decode()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                    break
                except urllib.error.HTTPError:
                    break
                except OSError:
                    assert time.monotonic() < until, "it does not listen"
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys, CI_TOKEN="t0ken", HOOK_KEY="k3y", WRONG_KEY="other")


def written(tmp_path, url, account, targets=("acme/x@main",)):
    whole = {
        "version": 1,
        "name": "judged",
        "providers": {"ci": {"type": "webhook", "url": url, **account}},
        "targets": list(targets),
    }
    (tmp_path / "m.yaml").write_text(json.dumps(whole))


def outcomes(program, *flags):
    code = program("run", "m.yaml", "--yes", "-q", "-o", "json=out.json", *flags)
    assert code in (0, 1, 3, 8), program.err
    report = json.loads((program.folder / "out.json").read_text())
    return code, {row["id"].split(":")[1]: (row["outcome"], row["code"]) for row in report["targets"]}, report


HOOKS = [
    {
        "id": "run",
        "execute-command": "/bin/sh",
        "http-methods": ["POST"],
        "pass-arguments-to-command": [
            {"source": "string", "name": "-c"},
            {"source": "string", "name": 'echo "$REPO $BRANCH $MARKER" >> "$SEEN"; echo started'},
        ],
        "pass-environment-to-command": [
            {"source": "payload", "name": "repo", "envname": "REPO"},
            {"source": "payload", "name": "branch", "envname": "BRANCH"},
            {"source": "payload", "name": "marker", "envname": "MARKER"},
        ],
        "include-command-output-in-response": True,
        "trigger-rule": {
            "match": {
                "type": "payload-hmac-sha256",
                "secret": "k3y",
                "parameter": {"source": "header", "name": "X-Signature-256"},
            }
        },
        "trigger-rule-mismatch-http-response-code": 401,
    },
    {
        "id": "bearer",
        "execute-command": "/bin/true",
        "response-message": '{"id":"r-1"}',
        "response-headers": [{"name": "Content-Type", "value": "application/json"}],
        "trigger-rule": {
            "match": {
                "type": "value",
                "value": "Bearer t0ken",
                "parameter": {"source": "header", "name": "Authorization"},
            }
        },
        "trigger-rule-mismatch-http-response-code": 403,
    },
]
BODY = {"repo": "${{ target.repo }}", "branch": "${{ target.branch }}", "marker": "${{ marker }}"}
SIGN = {"key": "env:HOOK_KEY", "header": "X-Signature-256", "prefix": "sha256="}


@pytest.fixture
def hooks(tmp_path, monkeypatch):
    (tmp_path / "hooks.json").write_text(json.dumps(HOOKS))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.txt"))
    port = free_port()
    command = ["webhook", "-ip", "127.0.0.1", "-port", str(port), "-hooks", str(tmp_path / "hooks.json")]
    with listening(command, port) as url:
        yield url


@pytest.mark.slow
def test_debians_webhook_believes_our_signatures_and_starts_each_once(program, tmp_path, hooks):
    targets = [f"acme/svc-{n}@release/ä{n}" for n in range(30)]
    account = {"trigger": {"path": "/hooks/run", "body": BODY}, "sign": SIGN, "follow": "none"}
    written(tmp_path, hooks, account, targets)
    code, found, report = outcomes(program)
    assert (code, set(found.values())) == (0, {("passed", "accepted")})
    assert all(row["request_id"] is None and row["build_id"] is None for row in report["targets"])
    seen = (tmp_path / "seen.txt").read_text().splitlines()
    assert sorted(line.rpartition(" ")[0] for line in seen) == sorted(each.replace("@", " ") for each in targets)
    assert len({line.rpartition(" ")[2] for line in seen}) == 30


@pytest.mark.slow
def test_a_wrong_signature_is_a_doubt_unless_the_account_says_that_it_is_a_refusal(program, tmp_path, hooks):
    sign = {**SIGN, "key": "env:WRONG_KEY"}
    trigger = {"path": "/hooks/run", "body": BODY}
    timeouts = "--timeout", "30s"
    written(tmp_path, hooks, {"trigger": {**trigger, "refused": [401, 500]}, "sign": sign, "follow": "none"})
    code, found, _ = outcomes(program, *timeouts)
    assert (code, found) == (1, {"acme/x@main": ("rejected", "http_500")})
    written(tmp_path, hooks, {"trigger": trigger, "sign": sign, "follow": "none"})
    code, found, _ = outcomes(program, *timeouts)
    assert (code, found["acme/x@main"][0]) == (3, "in_doubt")
    assert not (tmp_path / "seen.txt").exists()


@pytest.mark.slow
def test_an_id_is_read_and_a_wrong_token_refused(program, tmp_path, hooks):
    trigger = {"path": "/hooks/bearer", "id": "/id", "headers": {"Authorization": "Bearer ${{ token }}"}}
    account = {"trigger": trigger, "follow": "none"}
    written(tmp_path, hooks, {"token": "env:CI_TOKEN", **account}, ["acme/x"])
    code, found, report = outcomes(program)
    assert (code, found, report["targets"][0]["request_id"]) == (0, {"acme/x": ("passed", "accepted")}, "r-1")
    written(tmp_path, hooks, {"token": "env:HOOK_KEY", **account}, ["acme/x"])
    code, found, _ = outcomes(program)
    assert (code, found) == (1, {"acme/x": ("rejected", "http_403")})


# -- WireMock --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wiremock")
    npm = shutil.which("npm")
    assert npm, "npm brings WireMock: install it (Debian's package npm)"
    packed = subprocess.run([npm, "pack", WIREMOCK], cwd=folder, capture_output=True, text=True, check=True)
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    [found] = folder.glob("package/build/wiremock-standalone-*.jar")
    return found


@pytest.fixture
def wiremock(jar, tmp_path):
    port, root = free_port(), tmp_path / "stubs"
    root.mkdir()
    command = ["java", "-jar", str(jar), "--port", str(port), "--bind-address", "127.0.0.1", "--root-dir", str(root)]
    with listening(command, port, "/__admin/mappings") as url:
        yield url


def told(url, path, body=None, method="POST"):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/__admin{path}", data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


def stub(url, method, pattern, response, **more):
    told(url, "/mappings", {"request": {"method": method, "urlPattern": pattern}, "response": response, **more})


def posts(url):
    return told(url, "/requests/count", {"method": "POST", "urlPattern": "/build/.*"})["count"]


ACCOUNT = {
    "trigger": {"path": "/build/${{ target.repo }}", "body": {"m": "${{ marker }}"}, "id": "/id"},
    "status": {"path": "/runs/${{ request.id }}", "state": "/state", "states": {"ok": "passed", "bad": "failed"}},
    "find": {"path": "/runs?marker=${{ marker }}", "items": "/items", "id": "/id"},
}
FAULTS = ("CONNECTION_RESET_BY_PEER", "EMPTY_RESPONSE", "MALFORMED_RESPONSE_CHUNK", "RANDOM_DATA_THEN_CLOSE")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_of_wiremock_the_trigger_is_looked_up_and_not_sent_again(program, tmp_path, wiremock, fault):
    stub(wiremock, "POST", "/build/.*", {"fault": fault})
    stub(wiremock, "GET", r"/runs\?marker=.*", {"status": 200, "jsonBody": {"items": []}})
    written(tmp_path, wiremock, {**ACCOUNT, "limits": {"triggers": "1000/1s"}}, ["acme/x"])
    code, found, _ = outcomes(program, "--timeout", "6s")
    assert code in (3, 8)
    assert found["acme/x"][0] in ("in_doubt", None)
    assert posts(wiremock) == 1


@pytest.mark.slow
def test_a_request_that_was_lost_is_found_by_its_marker_and_followed_to_its_end(program, tmp_path, wiremock):
    stub(wiremock, "POST", "/build/.*", {"fault": "CONNECTION_RESET_BY_PEER"})
    row = '{"items": [{"id": "r-7", "text": "{{request.query.marker}}"}]}'
    templated = {"status": 200, "body": row, "transformers": ["response-template"]}
    stub(wiremock, "GET", r"/runs\?marker=.*", templated)
    stub(wiremock, "GET", "/runs/r-7", {"status": 200, "jsonBody": {"state": "ok"}, "fixedDelayMilliseconds": 300})
    written(tmp_path, wiremock, ACCOUNT, ["acme/x"])
    code, found, report = outcomes(program)
    assert (code, found) == (0, {"acme/x": ("passed", "passed")})
    assert report["targets"][0]["request_id"] == "r-7"
    assert posts(wiremock) == 1


@pytest.mark.slow
def test_a_body_that_trickles_longer_than_a_call_may_take_is_a_doubt_and_one_in_time_a_receipt(
    program, tmp_path, wiremock
):
    slow = {"numberOfChunks": 5, "totalDuration": 2000}
    stub(wiremock, "POST", "/build/.*", {"status": 201, "jsonBody": {"id": 5}, "chunkedDribbleDelay": slow})
    stub(wiremock, "GET", "/runs/5", {"status": 200, "jsonBody": {"state": "bad"}})
    written(tmp_path, wiremock, {key: ACCOUNT[key] for key in ("trigger", "status")}, ["acme/x"])
    code, found, _ = outcomes(program)
    assert (code, found, posts(wiremock)) == (1, {"acme/x": ("failed", "build_failed")}, 1)
