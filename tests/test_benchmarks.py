import datetime
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from trio.testing import MockClock

import orchestrator
from benchmarks import allowance, drive, hops, limit_req, limiters, load, past, report, scale, service
from benchmarks.table import Beside, Row, lines_beside, lines_of, to_json
from orchestrator.core.calls import Answer
from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.manifest import expand, questions, read
from orchestrator.providers import registry

ROOT = Path(__file__).parent.parent
PACKAGE = str(Path(orchestrator.__file__).parent)


class Steps:
    """Counts the bytecode instructions of this project that are run: its steps, whatever the machine does meanwhile."""

    def __init__(self):
        self.count = 0

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame, event, argument):
        self.count += event == "opcode"
        return self._step


def steps_of(work, *arguments):
    steps, before = Steps(), sys.gettrace()
    sys.settrace(steps)
    try:
        work(*arguments)
    finally:
        sys.settrace(before)
    return steps.count


def grows_linearly(steps):
    """Whether a target more costs as much between the two larger sizes as between the two smaller ones."""
    (size, one), (double, two), (most, many) = sorted(steps.items())
    small, large = (two - one) / (double - size), (many - two) / (most - double)
    return 0.9 * small <= large <= 1.1 * small


def drive_to_the_end(folder, count):
    clock = MockClock(autojump_threshold=0)
    anyio.run(whole_run, folder, count, backend="trio", backend_options={"clock": clock})


async def whole_run(folder, count):
    async with drive.journal_in(folder, service.now) as journal:
        await drive.make(journal, drive.targets(count), service.account(), service.now())
        assert await drive.engine(journal, service.now, service.line).run() == 0


@pytest.mark.slow
def test_a_target_more_costs_a_large_run_as_many_steps_as_a_small_one(tmp_path):
    drive_to_the_end(str(tmp_path / "first"), 1)  # what is imported on first use is nobody's step
    steps = {size: steps_of(drive_to_the_end, str(tmp_path / str(size)), size) for size in (40, 80, 320)}
    assert grows_linearly(steps), steps


@pytest.mark.slow
def test_a_target_more_costs_a_large_manifest_as_many_steps_as_a_small_one():
    scale.targets(1)  # as above
    steps = {size: steps_of(scale.targets, size) for size in (200, 400, 1600)}
    assert grows_linearly(steps), steps


def test_a_manifest_of_which_nothing_had_to_be_asked_is_not_walked_again():
    found = read("many.yaml", load.manifest(100), declarations=registry.known(), load=load.nothing)
    asked = steps_of(questions, found)
    assert steps_of(lambda: expand(found, today=datetime.date(2026, 1, 5))) < asked / 10


@pytest.mark.slow
def test_a_target_more_costs_a_large_report_as_many_steps_as_a_small_one(tmp_path):
    steps = {}
    for size in (100, 200, 800):
        folder = str(tmp_path / str(size))
        past.fill(folder, size, size, size)
        report.ours(folder)  # as above
        steps[size] = steps_of(report.ours, folder)
    assert grows_linearly(steps), steps


def test_a_full_use_of_the_allowance_is_one_and_a_late_window_is_less():
    best = [n // 40 * (30.0 + allowance.LATENCY) for n in range(120)]
    assert allowance.used(best, 40, 30.0) == pytest.approx(1.0)
    assert allowance.used([at * 1.1 for at in best], 40, 30.0) == pytest.approx(1 / 1.1)


def test_a_goal_is_met_on_its_own_side_only():
    assert Row("speed", 0.8, goal=("at least", 0.8)).is_met
    assert not Row("speed", 0.79, goal=("at least", 0.8)).is_met
    assert Row("size", 2.5, goal=("at most", 2.5)).is_met
    assert not Row("size", 2.6, goal=("at most", 2.5)).is_met
    assert Row("count", 3.0).is_met is None


def test_the_table_has_a_line_a_row_and_columns_that_stand_below_each_other():
    lines = lines_of([Row("one", 1.0, goal=("at most", 2.0)), Row("another", 123456.0, "bytes", aside="as | is")])
    assert len({len(line) for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["one", "another"]
    assert all(line.replace(r"\|", "").count("|") == lines[0].count("|") for line in lines)


def test_the_json_says_for_each_row_whether_its_goal_was_met():
    found = to_json([Row("one", 3.0, goal=("at most", 2.0)), Row("other", 1.0)], cores=2)
    assert [row["met"] for row in found["rows"]] == [False, None]
    assert found["machine"] == {"cores": 2}


@pytest.mark.slow
def test_the_quick_mode_runs_every_row_and_writes_what_it_prints(tmp_path):
    argv = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(tmp_path / "out" / "found.json")]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    written = json.loads((tmp_path / "out" / "found.json").read_text())
    assert written["schema"] == "orchestrator.benchmarks/1"
    width = len(ended.stdout.partition("\n")[0])  # of the first table; others stand below it
    table = list(itertools.takewhile(lambda line: len(line) == width, ended.stdout.splitlines()))
    assert len(written["rows"]) == len(table) - 2 > 20
    assert all(row["value"] > 0 for row in written["rows"] if row["unit"] == "x")
    told = {row["what"]: row["value"] for row in written["rows"]}
    assert [value for what, value in told.items() if what.startswith("allowance") and "refused" in what] == [0, 0]


def test_the_worst_window_is_found_wherever_it_begins():
    assert worst_window([0.0, 0.9, 1.0, 1.5, 1.89, 3.0], 1.0) == 4
    assert worst_window([0.0, 1.0, 2.0], 1.0) == 1
    assert worst_window([], 1.0) == 0


def test_a_servers_log_tells_when_each_call_came_and_how_it_ended(tmp_path):
    log = tmp_path / "calls.log"
    log.write_text("100.250 0.200 202\n100.100 0.000 429\n101.300 0.050 202\n", encoding="utf-8")
    found = limit_req.stats_of(log, 1.0)
    assert (found["accepted"], found["refused"], found["worst"]) == (2, 1, 2)
    assert found["stamps"] == [pytest.approx(100.05), pytest.approx(101.25)]


def test_competitors_stand_side_by_side_under_their_title():
    lines = lines_beside(Beside("Two limiters", ("limiter", "used"), (("ours", "99 %"), ("a|b", "1 %")), ("a note",)))
    assert lines == [
        "",
        "Two limiters:",
        "",
        "| limiter | used |",
        "| ------- | ---- |",
        "| ours    | 99 % |",
        r"| a\|b    | 1 %  |",
        "",
        "a note",
    ]


def test_the_gate_beside_other_limiters_keeps_its_rule_and_is_fair():
    made, stamps = [0] * 8, []

    async def make():
        stamps.append(time.monotonic())
        await anyio.sleep(0.001)
        return Answer(202)

    async def main():
        call = limiters.ours(make, 20, 0.1)

        async def work(number):
            while len(stamps) < 60:
                await call()
                made[number] += 1

        async with anyio.create_task_group() as tasks:
            for number in range(len(made)):
                tasks.start_soon(work, number)

    anyio.run(main)
    assert worst_window(stamps, 0.1) <= 20
    assert max(made) - min(made) <= 1


@pytest.mark.slow
def test_hops_counts_the_moves_between_modules_up_to_the_post_alike_each_time():
    once, again = hops.counted_in(ROOT), hops.counted_in(ROOT)
    assert 0 < once["moves"] < once["entered"] <= once["calls"]
    assert once == again
