"""What a rehearsal is told to see go wrong does, and nothing else."""

import pytest
from cli_machine import Program
from manifest_helpers import files, plan_of

from orchestrator.core.errors import Exit
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.manifest.diagnostics import ManifestError

MANIFEST = """
version: 1
defaults: {branches: [main]}
targets: [acme/lib, acme/app, acme/web, acme/big]
"""


@pytest.fixture
def program(tmp_path, capsys):
    made = Program(tmp_path, capsys)
    made.write("orchestrator.yaml", MANIFEST)
    return made


def problems_of(text, **texts):
    with pytest.raises(ManifestError) as caught:
        plan_of(text, load=files(**texts))
    return str(caught.value)


def outcomes(program):
    return {row["repo"]: row["outcome"] for row in program.json["targets"]}


@pytest.mark.usefixtures("quick_rehearsals")
def test_what_is_told_to_fail_and_to_flake_fails_and_nothing_else_does(program):
    words = ("--sandbox-fails", "acme/l?b", "--sandbox-flakes", "acme/WEB@main", "--sandbox-slow", "**=10s")
    assert program("run", "--sandbox", *words, "-o", "json") == Exit.FAILED
    assert outcomes(program) == {"acme/lib": "failed", "acme/app": "passed", "acme/web": "failed", "acme/big": "passed"}


@pytest.mark.usefixtures("quick_rehearsals")
def test_the_rehearsal_of_the_manifest_acts_and_flags_count_before_it(program):
    program.write("orchestrator.yaml", MANIFEST + "rehearsal: {fails: [acme/app], slow: {'acme/**': 10s}}\n")
    assert program("run", "--sandbox", "--sandbox-fails", "acme/big", "-o", "json") == Exit.FAILED
    assert outcomes(program) == {"acme/lib": "passed", "acme/app": "failed", "acme/web": "passed", "acme/big": "failed"}


@pytest.mark.usefixtures("quick_rehearsals")
def test_of_a_rehearsal_that_is_over_only_what_works_is_advised(program):
    program.write("bump.yaml", MANIFEST + "params: {v: '1'}\nrollout: {waves: [{upto: 1, approve: true}, 100%]}\n")
    assert program("run", "bump.yaml", "-p", "v=2 3", "--sandbox", "--detach", "--run-id", "try") == Exit.OK
    again = "rehearse it again: orchestrator run bump.yaml -p 'v=2 3' --sandbox\n"
    assert program("approve", "try", "--deny", "--sandbox") == Exit.OK
    assert again in program.err
    assert program("approve", "try", "--sandbox") == Exit.NOT_STARTED
    assert "rehearse it again: `orchestrator run bump.yaml -p 'v=2 3' --sandbox`" in program.err
    assert program("why", "try", "acme/big", "--sandbox") == Exit.OK
    assert again in program.out
    for words in (("status", "try"), ("report", "try"), ("unpause", "try")):
        assert program(*words, "--sandbox") == Exit.OK
        assert "resume" not in program.out + program.err
    assert program("resume", "try", "--override-stop", "--sandbox") == Exit.USAGE
    assert "rehearse it again with `orchestrator run bump.yaml -p 'v=2 3' --sandbox`" in program.err
    assert "orchestrator sandbox" not in program.err


@pytest.mark.usefixtures("quick_rehearsals")
def test_the_story_of_a_target_tells_who_approved_its_wave_before_anybody_heeds_it(program):
    program.write(
        "bump.yaml", MANIFEST + "rollout: {waves: [{upto: 1, name: first, approve: true}, {upto: 100%, name: rest}]}\n"
    )
    assert program("run", "bump.yaml", "--sandbox", "--detach", "--run-id", "try") == Exit.OK
    assert program("pause", "try", "--by", "al", "--sandbox") == Exit.OK
    assert program("approve", "try", "--by", "jo", "--sandbox") == Exit.OK
    assert program("why", "try", "acme/big", "--sandbox") == Exit.OK
    assert " approved wave 2 (rest)\n" in program.out
    assert "the verdict on wave 1 (first) is go: " in program.out
    assert "now: paused by al" in program.out


def test_flags_of_a_rehearsal_are_refused_where_nothing_is_rehearsed(program):
    assert program("run", "--sandbox-fails", "acme/lib") == Exit.USAGE
    assert "add --sandbox" in program.err


def test_a_glob_that_means_none_of_the_targets_is_refused_with_what_comes_near(program):
    assert program("run", "--sandbox", "--sandbox-slow", "acme/lab=1s") == Exit.USAGE
    assert "'acme/lab' means none of the 4 targets; did you mean acme/lib?" in program.err
    assert not (program.folder / ".local").exists() or program("runs", "--sandbox") == Exit.OK


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        ("--sandbox-slow", "acme/lib", "expected GLOB=VALUE"),
        ("--sandbox-slow", "acme/lib=soon", "expected a duration"),
        ("--sandbox-log", "acme/lib=nowhere.log", "nowhere.log: cannot be read"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(word, value, said, program):
    assert program("run", "--sandbox", word, value) == Exit.USAGE
    assert said in program.err


def test_a_log_file_is_read_from_beside_the_manifest_and_bounded():
    written = "version: 1\ntargets: [acme/a]\nrehearsal: {log: {acme/a: logs.a}}\n"
    assert plan_of(written, load=files(logs_a="no space")).rehearsal.printed(["acme/a"], None) == "no space"
    assert "cannot read logs.a" in problems_of(written)
    assert "longer than 4 MiB" in problems_of(written, logs_a="x" * (4 * 2**20 + 1))


def test_what_is_not_a_rehearsal_is_an_error_also_without_a_sandbox():
    assert "rehearsal.slow" in problems_of("version: 1\ntargets: [acme/a]\nrehearsal: {slow: {acme/a: soon}}\n")
    assert "did you mean `fails`?" in problems_of("version: 1\ntargets: [acme/a]\nrehearsal: {fail: [acme/a]}\n")


def test_a_flake_fails_only_before_it_is_started_again():
    told = Rehearsal(flakes=("acme/a",))
    assert [told.is_to_fail(["acme/A"], "main", restarts) for restarts in (0, 1, 2)] == [True, False, False]
    assert not told.is_to_fail(["acme/b", "4711"], "main", 0)
    assert Rehearsal(fails=("4711",)).is_to_fail(["acme/b", "4711"], None, 3)


def test_nothing_said_is_false_and_settings_of_a_served_sandbox_take_the_same_words():
    assert not NOTHING_SAID
    given = {"rehearsal": {"fails": "acme/x", "slow": {"acme/*": "2m"}, "log": {"acme/x": "boom"}}}
    told = TravisLookAlike.from_settings(given).settings.rehearsal
    assert (told.fails, told.slow, told.log) == (("acme/x",), {"acme/*": 120.0}, {"acme/x": "boom"})


@pytest.mark.usefixtures("quick_rehearsals")
def test_what_the_log_of_a_rehearsed_failure_says_is_the_cause_in_the_report(program):
    program.write("orchestrator.yaml", MANIFEST + "causes: {logs: 5}\n")
    program.write("disk.log", "$ make\ncp: error writing '/build/acme/x': No space left on device\n")
    words = ("--sandbox-fails", "acme/*b", "--sandbox-log", "acme/**=disk.log", "--sandbox-slow", "**=10s")
    assert program("run", "--sandbox", *words) == Exit.FAILED
    assert "\u00d7   2  the build failed: No space left on device" in program.out
    assert program("report", "--sandbox", "-o", "json") == Exit.OK
    [found] = program.json["causes"]
    assert found == {
        "signature": "No space left on device",
        "text": "No space left on device",
        "count": 2,
        "targets": ["travis:acme/lib@main", "travis:acme/web@main"],
    }
    rows = {row["repo"]: row["cause"] for row in program.json["targets"]}
    assert rows["acme/app"] is None
    assert (rows["acme/lib"]["exit"], rows["acme/lib"]["job"].partition(".")[2]) == (1, "1")
    assert program("report", "--sandbox", "-o", "junit") == Exit.OK
    assert "<system-out>$ make\ncp: error writing" in program.out
