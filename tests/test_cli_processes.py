"""Real processes, real signals, real sockets: what the server counted is what is believed."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import pytest
from cli_machine import ENVIRON

from orchestrator.core.errors import Exit

pytestmark = pytest.mark.slow

WORLD = {
    "repos": 40,
    "burst": "off",
    "build": ["500ms", "1500ms"],
    "process": ["50ms", "200ms"],
    "concurrency": 100,
    "shares": {"failed": "5%", "inactive": "5%"},
}


class Place:
    """A sandbox in another process, and a folder in which the program is started."""

    def __init__(self, folder, sandbox):
        self.folder = folder
        self.started = []
        told = json.loads(sandbox.stdout.readline())
        self.url = told["url"]
        self.environ = {**ENVIRON, "HOME": str(folder), "TRAVIS_TOKEN": told["token"], "ORCHESTRATOR_STATE": "state"}
        limits = "{triggers: 10/1s, calls: 20000/1m, triggers_per_repo: 100/1h}"
        targets = "".join(f"  - acme/svc-{n:03}\n" for n in range(1, WORLD["repos"] + 1))
        (folder / "orchestrator.yaml").write_text(
            f"version: 1\nproviders: {{travis: {{type: travis, url: '{self.url}', limits: {limits}}}}}\n"
            f"defaults: {{branches: [main]}}\ntargets:\n{targets}"
        )

    def start(self, *words):
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def clear(self):
        """Leaves no process and no open pipe behind, however the test went."""
        for process in self.started:
            process.kill()
            process.communicate()

    def run(self, *words):
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err

    def requests(self):
        with urllib.request.urlopen(f"{self.url}/sandbox/requests", timeout=10) as answer:
            return json.load(answer)

    def wait_for_requests(self, least):
        deadline = time.monotonic() + 60
        while len(self.requests()) < least:
            assert time.monotonic() < deadline, "the run triggers nothing"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "world.json").write_text(json.dumps(WORLD))
    words = [sys.executable, "-m", "orchestrator", "sandbox", "world.json", "-o", "json"]
    sandbox = subprocess.Popen(
        words, cwd=tmp_path, env=ENVIRON, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        place = Place(tmp_path, sandbox)
        yield place
        place.clear()
    finally:
        sandbox.terminate()
        sandbox.communicate(timeout=20)
    assert sandbox.returncode == 0


def per_repo(place):
    return Counter(row["repo"] for row in place.requests())


def test_killed_in_the_middle_and_resumed_each_target_has_one_request(place):
    process = place.start("run", "--run-id", "one")
    place.wait_for_requests(5)
    process.kill()
    process.communicate()
    assert len(place.requests()) < WORLD["repos"]
    code, _, _ = place.run("resume", "-o", "json=r.json")
    report = json.loads((place.folder / "r.json").read_text())
    assert code in (Exit.OK, Exit.FAILED)
    assert report["totals"]["open"] == report["totals"]["in_doubt"] == 0
    counted = per_repo(place)
    assert max(counted.values()) == 1
    assert len(counted) == WORLD["repos"] - report["totals"]["rejected"]


def test_started_twice_with_one_id_one_drives_and_the_other_says_so(place):
    both = [place.start("run", "--run-id", "one") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes[1] == Exit.STATE
    assert codes[0] in (Exit.OK, Exit.FAILED)
    assert any("orchestrator watch one" in err for _, err in said)
    assert max(per_repo(place).values()) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_leaves_a_report_and_a_run_that_goes_on(place, number, code):
    process = place.start("run", "--run-id", "one", "-o", "json=r.json")
    place.wait_for_requests(3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "orchestrator resume one" in out + err
    assert json.loads((place.folder / "r.json").read_text())["run"]["exit_code"] == code
    assert place.run("resume", "one")[0] in (Exit.OK, Exit.FAILED)
    assert max(per_repo(place).values()) == 1


def test_cancel_reaches_the_process_that_drives_and_leaves_nothing_running(place):
    process = place.start("run", "--run-id", "one")
    place.wait_for_requests(5)
    code, _, err = place.run("cancel", "one")
    process.communicate(timeout=120)
    assert code == Exit.OK, err
    assert "it was asked to cancel" in err
    code, out, _ = place.run("runs", "-o", "json")
    assert [row["status"] for row in json.loads(out)] == ["ended"]
    assert len(place.requests()) < WORLD["repos"]


def test_a_wrong_token_stops_the_account_and_is_not_printed(place):
    place.environ["TRAVIS_TOKEN"] = "wr0ng-and-secret"
    code, out, err = place.run("run", "-vv", "-o", "json=r.json")
    assert code == Exit.ACCOUNT
    assert "does not accept the token" in out + err
    assert "wr0ng-and-secret" not in out + err + (place.folder / "r.json").read_text()
    assert place.requests() == []


def test_a_server_that_is_down_leaves_by_the_time_out_and_can_be_resumed(place):
    text = (place.folder / "orchestrator.yaml").read_text()
    (place.folder / "orchestrator.yaml").write_text(text.replace(place.url, "http://127.0.0.1:1"))
    code, out, err = place.run("run", "--first", "2", "--timeout", "1s")
    assert code == Exit.TIMEOUT
    assert "cannot connect" in err
    assert "orchestrator resume" in out


def test_head_may_close_the_pipe(place):
    script = f"{sys.executable} -m orchestrator schema | head -1"
    done = subprocess.run(["sh", "-c", script], env=place.environ, cwd=place.folder, capture_output=True, text=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""
