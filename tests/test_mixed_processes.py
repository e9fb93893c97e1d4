"""The mixed manifest over real processes: killed twice, its state lost once, and one request for each target."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from cli_machine import ENVIRON

from orchestrator.core.errors import Exit

pytestmark = pytest.mark.slow

PROGRAM = (sys.executable, "-m", "orchestrator")
MIXED = Path(__file__).parents[1] / "manifests" / "mixed.yaml"
REPOS = {
    "github": ("acme/web", "acme/api", "acme/cli"),
    "gitlab": ("acme/platform/auth", "acme/platform/billing"),
    "buildkite": ("acme/mobile", "acme/desktop"),
    "buildbot": ("firmware", "bootloader"),
    "webhook": ("acme/base",),
}
WRITTEN = {  # what the manifest says of each account, and the same for a look-alike
    "github": ("github: {limits", "github: {{url: '{url}', token: env:GH_TOKEN, limits"),
    "gitlab": ("gitlab: {token", "gitlab: {{url: '{url}', token"),
    "buildkite": ("buildkite: {token", "buildkite: {{url: '{url}', token"),
    "buildbot": ('{url: "https://buildbot.corp.example"}', "{{url: '{url}'}}"),
    "webhook": ("https://ci.corp.example", "{url}"),
}
TOKENS = {"github": "GH_TOKEN", "gitlab": "GITLAB_TOKEN", "buildkite": "BUILDKITE_TOKEN", "webhook": "CI_TOKEN"}
SERVED = {"build": ["500ms", "1s"], "queue": ["50ms", "200ms"]}


class Estate:
    """A look-alike of each service in a process of its own, and a folder in which the program is started."""

    def __init__(self, folder):
        self.folder, self.served, self.urls, self.started = folder, {}, {}, []
        self.environ = {**ENVIRON, "HOME": str(folder), "ORCHESTRATOR_STATE": "state"}
        text = MIXED.read_text().replace("defaults:\n", "defaults:\n  timeouts: {settle: 2s, accept: 90s}\n")
        for type_, repos in REPOS.items():
            (folder / f"{type_}.json").write_text(json.dumps({"repos": repos, **SERVED}))
            words = [*PROGRAM, "sandbox", "--type", type_, f"{type_}.json", "-o", "json"]
            self.served[type_] = subprocess.Popen(
                words, cwd=folder, env=ENVIRON, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
            told = json.loads(self.served[type_].stdout.readline())
            self.urls[type_] = told["url"]
            before, after = WRITTEN[type_]
            assert before in text
            text = text.replace(before, after.format(url=told["url"]))
            self.environ |= {TOKENS[type_]: told["token"]} if type_ in TOKENS else {}
        (folder / "orchestrator.yaml").write_text(text)

    def start(self, *words):
        process = subprocess.Popen(
            [*PROGRAM, *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def requests(self, type_):
        """By repository, how many triggers the service has taken."""
        with urllib.request.urlopen(f"{self.urls[type_]}/sandbox/requests", timeout=20) as answer:
            return Counter(row["repo"] for row in json.load(answer))

    def wait_for(self, type_, number):
        deadline = time.monotonic() + 60
        while sum(self.requests(type_).values()) < number:
            assert time.monotonic() < deadline, f"nothing happens at {type_}"
            time.sleep(0.02)  # leaves the processor to those who are watched

    def leave(self):
        for process in [*self.started, *self.served.values()]:
            process.kill()
            process.communicate()


@pytest.fixture
def estate(tmp_path):
    made = Estate(tmp_path)
    yield made
    made.leave()


@pytest.mark.parametrize("seed", range(3))
def test_killed_twice_with_its_state_lost_once_each_target_has_one_request_at_its_server(estate, seed):
    chance, words = Random(seed), ("run", "--run-id", "one", "--yes")
    for type_, number in (("buildkite", 1), ("github", chance.randint(1, 3))):
        process = estate.start(*words)
        estate.wait_for(type_, number)
        time.sleep(chance.uniform(0.0, 0.2))  # the moment of death: before, during or after whatever comes next
        assert process.poll() is None
        process.kill()
        process.communicate()
    shutil.rmtree(estate.folder / "state")
    last = estate.start(*words, "--adopt", "-q", "-o", "json=r.json")
    _, err = last.communicate(timeout=200)
    assert last.returncode == Exit.OK, err
    assert {type_: estate.requests(type_) for type_ in REPOS} == {
        type_: dict.fromkeys(repos, 1) for type_, repos in REPOS.items()
    }
    rows = json.loads((estate.folder / "r.json").read_text())["targets"]
    assert [row["outcome"] for row in rows] == ["passed"] * sum(map(len, REPOS.values()))
