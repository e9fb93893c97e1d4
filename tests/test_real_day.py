"""A real day: the lines of README, docs/ci.md and docs/how-to as they are written, with cron's PATH and with
`set -euo pipefail`.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import yaml
from cli_machine import ENVIRON
from list_samples import CHECKOUTS, ENTRIES, FILES, PAGE, add_python, line_for

from orchestrator.core.errors import Exit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README, CI = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/ci.md"))
REPOS = 12
NUMBERED = [f"acme/svc-{n:03}" for n in range(1, REPOS + 1)]
LISTED = [{"slug": "acme/a", "branches": ["main", "release/2.x"]}, {"slug": "acme/b"}]  # what the samples of lists name
WORLD = {
    "repos": [*NUMBERED, *LISTED],
    "burst": "off",
    "build": ["50ms", "150ms"],
    "process": ["1ms", "5ms"],
    "shares": {},
}
CRON = re.search(r"^0 1 \* \* \*  (.+)$", README, re.MULTILINE).group(1)


class Day:
    """A folder such as `/srv/nightly`, and a service."""

    def __init__(self, folder, sandbox):
        told = json.loads(sandbox.stdout.readline())
        self.folder, self.url, self.token = folder, told["url"], told["token"]
        self.started = []
        targets = "".join(f"  - {repo}\n" for repo in NUMBERED)
        (folder / "orchestrator.yaml").write_text(
            f"version: 1\nname: nightly\nproviders: {{travis: {{url: '{self.url}', limits: {{triggers: 100/1s}}}}}}\n"
            f"defaults: {{branches: [main], timeouts: {{settle: 1s}}}}\ntargets:\n{targets}"
        )
        (folder / "token").write_text(f"{self.token}\n")
        program = folder / ".venv" / "bin" / "orchestrator"
        program.parent.mkdir(parents=True)
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={ENVIRON["PYTHONPATH"]} exec {sys.executable} -m orchestrator "$@"\n'
        )
        program.chmod(0o755)
        add_python(folder)

    def cron(self, line=CRON):
        """Starts the line as cron does: its own PATH, `/bin/sh`, and `\\%` for a percent sign."""
        line = line.replace("/srv/nightly", str(self.folder)).replace("\\%", "%")
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "SHELL": "/bin/sh", "LOGNAME": "nightly"}
        return self._start(["/bin/sh", "-c", line], environ)

    def night(self, line=CRON):
        """Plays the line to its end: its exit code, and what cron would mail."""
        return ended(self.cron(line))

    def job(self, script, **variables):
        """A step of a CI job: the program on the PATH, and no mercy."""
        path = f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"
        environ = {"PATH": path, "HOME": str(self.folder), "CI": "true", "TRAVIS_TOKEN": self.token, **variables}
        return ended(self._start(["bash", "-euo", "pipefail", "-c", script], environ))

    def _start(self, words, environ):
        process = subprocess.Popen(
            words,
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def requests(self):
        with urllib.request.urlopen(f"{self.url}/sandbox/requests", timeout=10) as answer:
            return Counter(row["repo"] for row in json.load(answer))

    def faults(self, *faults):
        body = json.dumps({"faults": faults}).encode()
        urllib.request.urlopen(f"{self.url}/sandbox/faults", body, timeout=10).close()

    def wait_for_requests(self, least):
        deadline = time.monotonic() + 30
        while self.requests().total() < least:
            assert time.monotonic() < deadline, "the run triggers nothing"


def ended(process):
    out, _ = process.communicate(timeout=120)
    assert "Traceback" not in out
    return process.returncode, out


def killed(process):
    """The machine goes down: the shell and what it started end at once."""
    os.killpg(process.pid, 9)
    process.communicate()


@pytest.fixture
def day(tmp_path):
    (tmp_path / "world.json").write_text(json.dumps(WORLD))
    words = [sys.executable, "-m", "orchestrator", "sandbox", "world.json", "-o", "json"]
    sandbox = subprocess.Popen(
        words, cwd=tmp_path, env=ENVIRON, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    day = Day(tmp_path, sandbox)
    try:
        yield day
    finally:
        for process in day.started:
            if process.poll() is None:
                killed(process)
        sandbox.terminate()
        sandbox.communicate(timeout=20)


# -- cron -------------------------------------------------------------------------------------------------------


def test_a_night_without_trouble_mails_nothing_and_a_second_start_triggers_nothing(day):
    assert day.night() == (Exit.OK, "")
    assert day.night() == (Exit.OK, "")
    assert day.requests().total() == REPOS
    assert (day.folder / "report.html").exists()


def test_a_night_that_died_does_not_block_the_next_one_which_takes_over_what_it_left(day):
    day.faults({"kind": "timeout_after", "repo": "acme/svc-003"})
    last_night = day.cron(CRON.replace("date +", "date -d yesterday +"))
    day.wait_for_requests(REPOS)
    killed(last_night)
    day.faults()
    assert day.night() == (Exit.OK, "")
    asked = day.requests()
    assert asked["acme/svc-003"] == 1
    assert set(asked.values()) <= {1, 2}
    assert day.job("orchestrator runs --open -o json") == (0, "[]\n")


def test_after_a_wrong_token_was_mended_the_same_line_goes_on(day):
    (day.folder / "token").write_text("wr0ng\n")
    code, mail = day.night()
    assert code == Exit.ACCOUNT
    assert "does not accept the token" in mail
    (day.folder / "token").write_text(day.token)
    assert day.night()[0] == Exit.OK
    assert set(day.requests().values()) == {1}


def test_the_night_after_a_wrong_token_starts_anew(day):
    (day.folder / "token").write_text("wr0ng\n")
    assert day.night(CRON.replace("date +", "date -d yesterday +"))[0] == Exit.ACCOUNT
    (day.folder / "token").write_text(day.token)
    assert day.night() == (Exit.OK, "")
    assert set(day.requests().values()) == {1}


def test_a_line_that_cron_starts_twice_at_once_triggers_once(day):
    found = sorted(ended(process) for process in [day.cron(), day.cron()])
    assert found[0] == (Exit.OK, "")
    assert found[1][0] in (Exit.OK, Exit.STATE)
    assert set(day.requests().values()) == {1}


# -- jobs -------------------------------------------------------------------------------------------------------


def test_the_lines_of_the_readme_work_in_a_script_although_a_repository_is_rejected(day):
    text = (day.folder / "orchestrator.yaml").read_text()
    (day.folder / "orchestrator.yaml").write_text(f"{text}  - acme/nowhere\n")
    start, follow = re.search(r"`(RUN=\$\(orchestrator run --detach\))`, `(orchestrator watch \$RUN)`", README).groups()
    code, out = day.job(f"{start}\necho started $RUN >&2\n{follow}")
    assert re.search("^started [0-9TZa-z-]+$", out, re.MULTILINE)
    assert code == Exit.FAILED
    assert f"\u2713 {REPOS:,} passed   \u2298 1 rejected" in out


def _steps(block):
    """The commands of a job in this YAML, and the variables that they see."""
    found = yaml.safe_load(block)
    if isinstance(found, list):
        return [step["run"] for step in found if "run" in step], {}
    if "jobs" in found:
        return [step["run"] for step in found["jobs"]["nightly"]["steps"] if "run" in step], {}
    job = found.get("nightly", found)
    script = job["script"] if isinstance(job["script"], list) else [job["script"]]
    variables = job.get("variables") or dict(pair.split("=") for pair in job["env"])
    return [*script, *job.get("after_script", ())], variables


JOBS = [
    block
    for text in (README, CI)
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    if "pip install ./orchestrator-src" in block
]


@pytest.mark.parametrize("block", JOBS, ids=lambda block: block.split()[0])
def test_a_job_as_it_is_documented_works_and_another_attempt_triggers_nothing(day, block):
    steps, variables = _steps(block)
    variables = {name: re.sub(r"\$[A-Z_]+", "4711", text) for name, text in variables.items()}
    for attempt in (1, 2):
        for step in steps:
            if "pip install" in step or "git clone" in step or step.startswith("aws"):
                continue
            line = step.replace("${{ github.run_id }}", "4711").replace("${{ github.run_attempt }}", str(attempt))
            code, out = day.job(line, **variables, TRAVIS_JOB_ID=str(attempt))
            assert code == Exit.OK, out
    assert set(day.requests().values()) == {1}
    assert day.requests().total() == REPOS
    assert (day.folder / "out" / "report.json").exists()


def test_a_lost_state_is_adopted_as_the_page_says(day):
    assert day.job("orchestrator run --run-id gh-4711 --state .orchestrator")[0] == Exit.OK
    (day.folder / ".orchestrator").rename(day.folder / "lost")
    line = re.search(r"^orchestrator run --run-id gh-4711 .*--adopt$", CI, re.MULTILINE).group(0)
    code, out = day.job(line)
    assert code == Exit.OK, out
    assert set(day.requests().values()) == {1}


def test_a_run_goes_to_another_machine_as_the_page_says(day):
    export, resume = re.search(r"```sh\n(orchestrator runs RUN .*?)\n(orchestrator resume RUN .*?)\n```", CI).groups()
    assert day.job("orchestrator run --run-id one --detach")[0] == Exit.OK
    code, out = day.job(f"{export}\n{resume}".replace("RUN", "one"))
    assert code == Exit.OK, out
    assert set(day.requests().values()) == {1}


# -- lists ------------------------------------------------------------------------------------------------------

ACCOUNT = "version: 1\nname: nightly\nproviders: {{travis: {{url: '{url}', limits: {{triggers: 100/1s}}}}}}\n"
LISTERS = {  # programs that ask somebody whom a test has not: what they print
    "gh": FILES["repos.json"],
    "curl": FILES["entities.json"],
}


@pytest.mark.parametrize("name", CHECKOUTS)
def test_a_list_that_is_piped_in_by_cron_goes_on_after_a_wrong_token_and_triggers_once(day, name):
    (day.folder / name).write_text(CHECKOUTS[name])
    (day.folder / "orchestrator.yaml").write_text(ACCOUNT.format(url=day.url) + "targets: [{from: '-'}]\n")
    (day.folder / "list.sh").write_text(line_for(name))  # a crontab has one line for each job
    line = (
        CRON.replace(".venv/bin/orchestrator run", "sh list.sh | .venv/bin/orchestrator run")
        .replace("TRAVIS_TOKEN=", "export TRAVIS_TOKEN=")
        .replace("token) sh", "token) && sh")
    )
    (day.folder / "token").write_text("wr0ng\n")
    code, mail = day.night(line)
    assert code == Exit.ACCOUNT
    assert "does not accept the token" in mail
    (day.folder / "token").write_text(day.token)
    assert {code for code, _ in map(ended, [day.cron(line), day.cron(line)])} <= {Exit.OK, Exit.STATE}
    assert day.night(line) == (Exit.OK, "")
    assert day.requests() == {"acme/a": 1, "acme/b": 1}


@pytest.mark.parametrize("block", re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
def test_a_list_that_a_script_writes_is_the_one_that_its_entry_reads(day, block):
    for name, text in LISTERS.items():
        program = day.folder / ".venv" / "bin" / name
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        program.chmod(0o755)
    (file,) = re.findall(r"> (\S+)$", block, re.MULTILINE)
    (entry,) = [entry for entry in ENTRIES if file in entry]
    (day.folder / "orchestrator.yaml").write_text(f"{ACCOUNT.format(url=day.url)}targets:\n{entry}\n")
    run = re.search(r"orchestrator run --run-id gh-4711 --state \S+", CI).group()
    for _ in range(2):
        code, out = day.job(f"{block}\n{run}", BACKSTAGE="https://backstage.corp.example")
        assert code == Exit.OK, out
    assert day.requests() == {"acme/a": 1}
