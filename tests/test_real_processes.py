"""kill -9 at any moment, lost answers, a second shell, another machine: what the server counted is what is believed.

Each world runs in a process of its own. Its faults strike 30 % of the POSTs; `settle` is short, since this server
applies nothing later than its faults say.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from random import Random

import pytest
from cli_machine import ENVIRON

from orchestrator.core.errors import Exit

pytestmark = pytest.mark.slow

PROGRAM = (sys.executable, "-m", "orchestrator")
LIVELY = {
    "burst": "off",
    "minute": "off",
    "build": ["200ms", "800ms"],
    "process": ["20ms", "100ms"],
    "concurrency": 200,
}
FAULTS = [
    {"kind": "lost_after", "share": 0.06},
    {"kind": "lost_before", "share": 0.05},
    {"kind": "error_after", "share": 0.05},
    {"kind": "html_after", "share": 0.05},
    {"kind": "torn", "share": 0.04},
    {"kind": "garbled", "share": 0.03},
    {"kind": "applied_late", "share": 0.03, "seconds": 0.5},
    {"kind": "never_left", "share": 0.02},
]
TARGETS, KILLS = 100, 17


class Place:
    """A look-alike in another process, and a folder in which the program is started."""

    def __init__(self, folder, **world):
        self.folder = folder
        (folder / "world.json").write_text(json.dumps({"repos": TARGETS, **LIVELY, **world}))
        words = [*PROGRAM, "sandbox", "world.json", "-o", "json"]
        self.sandbox = subprocess.Popen(
            words, cwd=folder, env=ENVIRON, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        told = json.loads(self.sandbox.stdout.readline())
        self.url, self.token = told["url"], told["token"]
        self.environ = {**ENVIRON, "HOME": str(folder), "TRAVIS_TOKEN": self.token, "ORCHESTRATOR_STATE": "state"}
        self.started = []

    def manifest(self, numbers, limits="{triggers: 3/200ms, calls: 20000/1m, triggers_per_repo: 100/1h}"):
        targets = "".join(f"  - acme/svc-{number:03}\n" for number in numbers)
        (self.folder / "orchestrator.yaml").write_text(
            f"version: 1\nproviders: {{travis: {{type: travis, url: '{self.url}', limits: {limits}}}}}\n"
            "defaults: {branches: [main], timeouts: {settle: 2s, accept: 60s}}\n"
            f"targets:\n{targets}"
        )

    def start(self, *words, program=PROGRAM, **environ):
        process = subprocess.Popen(
            [*program, *words],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *words, **environ):
        return ended(self.start(*words, **environ))

    def page(self, name):
        with urllib.request.urlopen(f"{self.url}/sandbox/{name}", timeout=20) as answer:
            return json.load(answer)

    def post(self, path, body):
        headers = {
            "Authorization": f"token {self.token}",
            "Travis-API-Version": "3",
            "Content-Type": "application/json",
        }
        call = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(call, timeout=20) as answer:
            return json.load(answer)

    def wait_for(self, number, what="requests"):
        deadline = time.monotonic() + 60
        while (stats := self.page("stats"))[what] < number:
            assert time.monotonic() < deadline, f"nothing happens: {stats}"
            time.sleep(0.02)  # leaves the processor to those who are watched

    def report(self, name="r.json"):
        return json.loads((self.folder / name).read_text())

    def leave(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self.sandbox.terminate()
        code = self.sandbox.wait(timeout=20)
        self.sandbox.stdout.close()
        assert code == 0


def ended(process):
    out, err = process.communicate(timeout=150)
    assert "Traceback" not in out + err, err
    return process.returncode, out, err


@pytest.fixture
def places(tmp_path):
    made = []

    def make(**world):
        made.append(Place(tmp_path, **world))
        return made[-1]

    yield make
    for place in made:
        place.leave()


def assert_one_for_each(place, report):
    """Nothing twice and nothing lost: requests and refusals add up to the targets."""
    stats, totals = place.page("stats"), report["totals"]
    assert stats["duplicates"] == {}
    assert totals["open"] == totals["in_doubt"] == 0
    assert len(stats["by_marker"]) == stats["requests"]
    assert stats["requests"] + totals["rejected"] == totals["targets"]
    assert set(stats["by_marker"]) == {row["marker"] for row in report["targets"] if row["outcome"] != "rejected"}


@pytest.mark.parametrize("seed", range(3))
def test_killed_many_times_under_faults_each_target_has_one_request(places, seed):
    place = places(faults=FAULTS, shares={"inactive": "5%"}, seed=seed)
    place.manifest(range(1, TARGETS + 1))
    random, killed = Random(seed), 0
    words = ["run", "--run-id", "one"]
    for _ in range(KILLS):
        seen = place.page("stats")["calls"]
        process = place.start(*words)
        place.wait_for(seen + random.randint(1, 9), "calls")
        time.sleep(random.uniform(0.0, 0.05))  # the moment of death: before, during or after whatever comes next
        killed += process.poll() is None
        process.kill()
        process.communicate()
    code, _, err = place.run("run", "--run-id", "one", "-o", "json=r.json")
    assert code == Exit.FAILED, err  # 5 % are refused
    assert_one_for_each(place, place.report())
    assert killed == KILLS
    assert sum(place.page("stats")["faults"].values()) > TARGETS / 10


def test_a_second_signal_leaves_at_once_and_the_run_goes_on_later(places):
    place = places(faults=[{"kind": "slow", "seconds": 15}], repos=5)
    place.manifest(range(1, 6))
    process = place.start("run", "--run-id", "one")
    place.wait_for(5)
    process.send_signal(signal.SIGINT)
    assert any("once more leaves at once" in line for line in process.stderr)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == Exit.SIGINT
    assert time.monotonic() - began < 8
    assert "orchestrator resume one" in out + err
    place.post("/sandbox/faults", {"faults": []})
    assert place.run("resume", "-o", "json=r.json")[0] == Exit.OK
    assert_one_for_each(place, place.report())


def test_forty_builds_are_canceled_after_an_interrupt_and_nobody_is_banned(places):
    """A tenth of all durations: the rule is 50 POSTs in 3 s, and the ban 6 minutes."""
    ban = {"calls": 50, "per": "30s", "ban": "1h"}
    place = places(burst=ban, time_scale=10, build=["2h", "3h"], process=["200ms", "1s"], repos=60, concurrency=20)
    place.manifest(range(1, 61), limits="{triggers: 40/3s}")
    process = place.start("run", "--run-id", "one")
    place.wait_for(40)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == Exit.SIGINT
    ours = place.page("stats")["requests"]
    time.sleep(3)  # a window for the stranger's POST, which no limit of ours knows of
    place.post("/repo/acme%2Fsvc-060/requests", {"request": {"branch": "main", "message": "somebody else's"}})
    code, _, err = place.run("cancel", "one", "-o", "json=r.json")
    assert code == Exit.OK, err
    stats, report = place.page("stats"), place.report()
    assert stats["bans"] == 0
    assert stats["worst_posts"] < ban["calls"]
    assert report["totals"]["canceled"] == ours
    assert stats["build_states"]["canceled"] == ours
    assert stats["builds"] == ours + 1


def test_another_shell_watches_and_a_third_cancels_while_the_first_drives(places):
    place = places(build=["1h", "2h"])
    place.manifest(range(1, 31))
    driver = place.start("run", "--run-id", "one")
    place.wait_for(3)
    watcher = place.start("watch", "one")
    place.wait_for(15)
    code, _, err = place.run("cancel", "one")
    assert code == Exit.OK, err
    assert ended(driver)[0] == ended(watcher)[0] == Exit.FAILED
    stats = place.page("stats")
    assert stats["build_states"] == {"canceled": stats["requests"]}
    assert stats["duplicates"] == {}


def test_watch_ends_with_the_run_that_another_process_drives(places):
    place = places()
    place.manifest(range(1, 21))
    driver = place.start("run", "--run-id", "one")
    place.wait_for(3)
    code, out, _ = place.run("watch", "one")
    assert code == ended(driver)[0] == Exit.OK
    assert "20 passed" in out


def test_a_run_goes_on_with_its_own_plan_after_its_manifest_was_edited(places):
    place = places()
    place.manifest(range(1, 31))
    process = place.start("run", "--run-id", "one")
    place.wait_for(5)
    process.kill()
    process.communicate()
    place.manifest(range(2, 33))
    code, _, err = place.run("run", "--run-id", "one", "-o", "json=r.json")
    assert code == Exit.OK, err
    assert "2 targets of it are not in this run: travis:acme/svc-031@main, travis:acme/svc-032@main" in err
    assert "1 target of this run is no longer in it: travis:acme/svc-001@main" in err
    assert_one_for_each(place, place.report())
    assert place.page("stats")["requests"] == 30


def test_an_exported_run_is_finished_on_another_machine(places):
    place = places(faults=FAULTS, seed=3)
    place.manifest(range(1, 41))
    process = place.start("run", "--run-id", "one")
    place.wait_for(10)
    process.kill()
    process.communicate()
    assert place.run("runs", "one", "--export", "carried.db")[0] == Exit.OK
    (place.folder / "orchestrator.yaml").unlink()
    state = f"sqlite:///{place.folder}/carried.db"
    assert place.run("resume", "one", "-o", "json=r.json", ORCHESTRATOR_STATE=state)[0] == Exit.OK
    assert_one_for_each(place, place.report())


def test_a_rollout_that_is_killed_in_its_second_wave_goes_on_on_another_machine_wave_by_wave(places):
    place = places(faults=FAULTS, seed=5, repos=40)
    place.manifest(range(1, 41))
    with (place.folder / "orchestrator.yaml").open("a") as file:
        file.write("rollout: {waves: [2, 50%, 100%], order: file, stop_when: {failed: 60%, after: 5}}\n")
    process = place.start("run", "--run-id", "one")
    place.wait_for(8)
    process.kill()
    process.communicate()
    assert place.run("report", "one", "-o", "json=before.json")[0] == Exit.OK
    assert place.run("runs", "one", "--export", "carried.db")[0] == Exit.OK
    state = f"sqlite:///{place.folder}/carried.db"
    code, _, err = place.run("resume", "one", "-o", "json=r.json", ORCHESTRATOR_STATE=state)
    assert code == Exit.OK, err
    before, after = place.report("before.json"), place.report()
    assert_one_for_each(place, after)
    assert [row["wave"] for row in after["targets"]] == [row["wave"] for row in before["targets"]]
    assert [(wave["targets"], wave["verdict"]) for wave in after["run"]["waves"]] == [
        (2, "undecided"),
        (18, "go"),
        (20, "go"),
    ]
    assert before["run"]["waves"][0] == after["run"]["waves"][0]
    assert before["run"]["waves"][1]["verdict"] is None
    opened = [wave["opened_at"] for wave in after["run"]["waves"]]
    asked = [min(row["triggered_at"] for row in after["targets"] if row["wave"] == number) for number in (1, 2, 3)]
    assert all(one <= other for one, other in zip(opened, asked, strict=True))


@pytest.mark.parametrize("how", ["killed", "interrupted", "live"])
def test_a_state_that_was_put_back_starts_nothing_twice(places, how):
    place = places(repos=60)
    place.manifest(range(1, 61))
    state, copy = place.folder / "state", place.folder / "copy"
    process = place.start("run", "--run-id", "one")
    place.wait_for(10)
    shutil.copytree(state, copy)
    place.wait_for(45)
    if how == "killed":
        process.kill()
    if how == "interrupted":
        process.send_signal(signal.SIGINT)
    if how != "live":
        process.communicate(timeout=60)
    shutil.rmtree(state)
    shutil.copytree(copy, state)
    if how == "live":
        code, _, err = ended(process)
        assert code == Exit.STATE, err
        assert "was deleted or replaced while in use" in err
    code, _, err = place.run("resume", "one", "-o", "json=r.json")
    assert code == Exit.OK, err
    assert_one_for_each(place, place.report())
    assert place.page("stats")["requests"] == 60


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_flipped_bit_in_the_write_ahead_log_starts_nothing_twice(places, where):
    """SQLite ends its recovery at the first frame that is not whole, without a word: what follows is lost."""
    place = places(repos=60)
    place.manifest(range(1, 61))
    process = place.start("run", "--run-id", "one")
    place.wait_for(45)
    process.kill()
    process.communicate()
    wal = place.folder / "state" / "state.db-wal"
    bytes_ = bytearray(wal.read_bytes())
    bytes_[int(len(bytes_) * where)] ^= 1
    wal.write_bytes(bytes_)
    code, _, err = place.run("resume", "one", "-o", "json=r.json")
    assert code in (Exit.OK, Exit.STATE), err
    assert place.page("stats")["duplicates"] == {}
    if code == Exit.OK:
        assert_one_for_each(place, place.report())


@pytest.mark.parametrize("files", [26, 32, 64])
def test_a_process_that_may_open_few_files_uses_few_connections_and_says_so(places, files):
    place = places(latency="100ms")
    place.manifest(range(1, 61), "{triggers: 4000/1s, calls: 100000/1m, connections: 64}")
    run = place.start("run", "--timeout", "60s", program=("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *PROGRAM))
    code, out, err = ended(run)
    assert code == Exit.OK, err
    assert "60 passed" in out
    assert err.count("connections.bounded") == 1
    assert "ulimit -n" in err
    assert place.page("stats")["duplicates"] == {}


def test_what_a_resume_was_told_is_what_why_and_status_name(places):
    place = places()
    place.manifest(range(1, 6))
    first = place.start("run", "--run-id", "one", "--rate", "2/10m")
    place.wait_for(2)
    first.kill()
    first.communicate()
    second = place.start("resume", "one", "--rate", "1/20m")
    expected = set()
    for _ in range(100):
        _, out, _ = place.run("why", "one", "svc-005")
        expected = {line.partition(" (")[0] for line in out.splitlines() if "expected at about" in line}
        if "waits for triggers 1/20m of account travis" in out:
            break
    assert "before it 2 others" in out
    _, status, _ = place.run("status", "one")
    assert "next of travis: travis:acme/svc-003@main\n  waits for triggers 1/20m of account travis: next at" in status
    time.sleep(2.0)  # time passes while nothing is sent: what is expected must not move with it
    _, later, _ = place.run("why", "one", "svc-005")
    assert any(line in later for line in expected), (expected, later)
    second.send_signal(signal.SIGTERM)
    assert ended(second)[0] == Exit.SIGTERM
