"""A real Buildbot, its database beside our report: killed, limited, merged, canceled, stuck, and nothing twice."""

import json
import signal
import subprocess
import sys
from collections import Counter

import pytest
from buildbot_real import Limiter, Master, installed, wait_for
from cli_machine import ENVIRON

pytestmark = pytest.mark.slow

BUILDERS = [*(f"svc-{number:02}" for number in range(1, 11)), "merge", "stuck"]
MEANS = {0: "passed", 1: "passed", 2: "failed", 3: "superseded", 4: "errored", 6: "canceled"}
LONG = 3  # the number of the target that is canceled
ERRORS = (17, 37)  # few, as Buildbot gives a worker a rest after each
RUN_FOR = 200.0


@pytest.fixture(scope="module")
def place():
    return installed()


class Ours:
    """The program in processes of its own, with a state that outlives them."""

    def __init__(self, folder, manifest, **environ):
        self.folder = folder
        (folder / "orchestrator.yaml").write_text(manifest)
        self.environ = {**ENVIRON, "HOME": str(folder), "ORCHESTRATOR_STATE": "state", **environ}
        self.started = []

    def start(self, *words):
        words = [sys.executable, "-m", "orchestrator", *words]
        with (self.folder / f"{len(self.started)}.log").open("w") as log:
            made = subprocess.Popen(words, cwd=self.folder, env=self.environ, stdout=log, stderr=log)
        self.started.append(made)
        return made

    def __call__(self, *words, patience=RUN_FOR):
        code = self.start(*words).wait(patience)
        return code, (self.folder / f"{len(self.started) - 1}.log").read_text()

    def stop(self):
        for each in self.started:
            if each.poll() is None:
                each.kill()
                each.wait(20)


def manifest_of(url, account=""):
    """Sixty targets over twelve builders."""
    lines = [f"version: 1\nname: real\ncauses: {{logs: 20}}\nproviders: {{buildbot: {{url: '{url}'{account}}}}}"]
    lines += ["defaults: {scheduler: force, branches: [main], message: from a test}", "targets:"]
    for number in range(56):
        if number == 3:  # it keeps the only slot of its builder busy, so that both that follow wait
            lines.append("  - {repo: merge, name: first, branch: other, properties: {seconds: 40}}")
        if number == 6:  # long before the server is killed, which may come between a request and its merge
            lines += [f"  - {{repo: merge, name: {name}, properties: {{seconds: 1}}}}" for name in ("old", "new")]
        outcome = 4 if number in ERRORS else 2 if number % 10 == 0 else 0
        seconds, builder = 90 if number == LONG else 1, BUILDERS[number % 10]
        properties = f"properties: {{seconds: {seconds}, outcome: {outcome}}}"
        lines.append(f"  - {{repo: acme/{builder}, name: n{number}, env: {{NUMBER: '{number}'}}, {properties}}}")
    lines.append("  - {repo: stuck, timeouts: {queue: 20s}}")
    return "\n".join(lines) + "\n"


def test_sixty_builds_end_as_the_database_of_a_real_buildbot_has_them(place, tmp_path):
    master = Master(place, tmp_path / "master", BUILDERS)
    master.start()
    limiter = Limiter(tmp_path / "nginx", master.port, rate=4)
    ours = Ours(tmp_path, manifest_of(limiter.url))
    try:
        first = ours.start("run", "--run-id", "r1", "-v")
        wait_for(lambda: _requests(master) >= 12, "12 requests")
        first.send_signal(signal.SIGKILL)
        first.wait(20)
        second = ours.start("resume", "r1", "-v", "-o", f"json={tmp_path}/report.json")
        wait_for(lambda: _requests(master) >= 40 and _running(master), "40 requests, and a build that runs")
        master.kill()
        wait_for(lambda: limiter.answered(502), "a call while the server is away")
        master.start()
        long = f"buildbot:acme/{BUILDERS[LONG]}@main#n{LONG}"
        wait_for(lambda: _running(master, seconds=90), "the build that is to be canceled runs")
        code, said = ours("cancel", "r1", "--only", long, "--yes")
        assert code == 0, said
        assert second.wait(RUN_FOR) == 1, (tmp_path / "1.log").read_text()[-3000:]
        report = json.loads((tmp_path / "report.json").read_text())
        _agree(master, report)
        assert report["totals"]["timed_out"] == 1
        assert report["totals"]["superseded"] == 1
        assert report["totals"]["canceled"] == 1
        assert (report["totals"]["failed"], report["totals"]["errored"]) == (6, 2)
        assert report["totals"]["passed"] == 60 - 11
        assert [one["signature"] for one in report["causes"]] == ["make: *** [test] Error <n>"]
        assert master.table("select count(*) from builds where results = 5") != [(0,)], "no build was tried again"
        assert limiter.answered(429)
    finally:
        ours.stop()
        limiter.stop()
        master.stop()


def test_a_login_opens_what_is_closed_and_what_failed_is_built_again_under_a_new_number(place, tmp_path):
    master = Master(place, tmp_path / "master", ["svc-01", "svc-02"], password="robots-only")
    master.start()
    login = ", login: {user: robot, password: env:ROBOT}"
    text = manifest_of(master.url, login).partition("targets:")[0] + "targets:\n"
    text += "  - {repo: both, builders: [svc-01, svc-02]}\n  - {repo: svc-01, properties: {outcome: 2}, reruns: 1}\n"
    ours = Ours(tmp_path, text, ROBOT="robots-only")
    try:
        code, said = ours("run", "--run-id", "r1", "-v", "-o", f"json={tmp_path}/report.json")
        assert code == 1, said
        report = json.loads((tmp_path / "report.json").read_text())
        both, again = report["targets"]
        assert (both["outcome"], len(both["builds"])) == ("passed", 2)
        assert (again["code"], again["reruns"]) == ("failed_every_time", 1)
        rebuilt = master.table("select rebuilt_buildid from buildsets where reason = 'rebuild'")
        assert len(rebuilt) == 1
        assert str(rebuilt[0][0]) != again["build_id"]
        assert "robots-only" not in said
        ours.environ["ROBOT"] = "wrong"
        code, said = ours("doctor")
        assert code == 4, said
        assert "does not accept the login of robot" in said
        assert "wrong" not in said.replace("something is wrong", "")
    finally:
        ours.stop()
        master.stop()


def _requests(master):
    return master.table("select count(*) from buildrequests")[0][0]


def _running(master, seconds=None):
    """How many builds run, of those that take so long."""
    found = master.ask("builds?complete=false&property=seconds")["builds"]
    takes = [build["properties"].get("seconds", [None])[0] for build in found]  # one that has just begun shows none
    return len(takes) if seconds is None else takes.count(seconds)


def _agree(master, report):
    """Each target has one buildset, and its outcome is what the database says."""
    rows = master.table(
        "select r.id, r.complete, r.results, s.reason from buildrequests r join buildsets s on s.id = r.buildsetid"
    )
    assert len({reason for *_, reason in rows}) == len(rows) == len(report["targets"]) == 60
    told = {str(id_): MEANS[results] if complete else "timed_out" for id_, complete, results, _ in rows}
    assert {one["request_id"]: one["outcome"] for one in report["targets"]} == told
    counted = Counter(told.values())
    assert {outcome: count for outcome, count in report["totals"].items() if outcome in counted} == counted
