"""A plan that is cut into waves: what `plan` shows, what the forecast knows, what the run keeps."""

from __future__ import annotations

import pytest
from cli_machine import Program

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Plan, Target
from orchestrator.core.rollout import cut, recounted
from orchestrator.core.waves import Reruns, Rollout, Wave, WaveRule
from orchestrator.forecast import Times, forecast
from orchestrator.providers.travis.declaration import DECLARATION as TRAVIS

MANIFEST = """
version: 1
name: bump
rollout:
  waves:
    - {name: canary, labels: [canary], approve: true}
    - {name: early, upto: 50%, soak: 30m}
    - {name: rest, upto: 100%}
targets:
  - {repos: [acme/a, acme/b, acme/c, acme/d], needs: [acme/lib]}
  - acme/lib
  - {repo: acme/can, labels: [canary], needs: [acme/lib]}
  - {repo: acme/old, skip: frozen}
"""


@pytest.fixture
def program(tmp_path, capsys):
    program = Program(tmp_path, capsys, TRAVIS_TOKEN="t" * 20)
    program.write("bump.yaml", MANIFEST)
    return program


def shown(program) -> list[str]:
    """What a plan says of its waves."""
    lines = program.out.splitlines()
    start = lines.index("waves:")
    return lines[start + 1 : lines.index("", start)]


def planned(count: int, rollout: Rollout) -> Plan:
    """A plan on Travis, cut."""
    targets = [Target(f"travis:acme/r{n}", "travis", f"acme/r{n}") for n in range(count)]
    found = cut(targets, rollout, "r", {})
    account = Account("travis", "travis", TRAVIS.url, limits=TRAVIS.limits)
    return Plan("p", tuple(found.targets), {"travis": account}, rollout=rollout, waves=tuple(found.waves))


def test_a_plan_shows_its_waves_what_opens_each_and_what_was_drawn_forward(program):
    assert program("plan", "bump.yaml", "--offline", "--sandbox") == 0
    assert shown(program) == [
        "  1 canary: 2 targets, at once; takes about 20 s",
        "    drawn forward, since targets of this wave need them: travis:acme/lib",
        "  2 early: 1 target, after the verdict on wave canary, and once a person approves it; opens after about 20 s, "
        "takes about 10 s",
        "  3 rest: 3 targets, after the verdict on wave early and a soak of 30m; opens after about 31 min, "
        "takes about 10 s",
    ]


def test_a_plan_for_programs_has_the_waves_and_each_target_its_number(program):
    assert program("plan", "bump.yaml", "--offline", "--sandbox", "-o", "json") == 0
    assert program.json["waves"][1] == {
        "wave": 2,
        "name": "early",
        "targets": 1,
        "opens": "verdict, approval",
        "opens_after_seconds": 20.02,
        "expected_seconds": 10.0,
        "blocks": [],
        "drawn": [],
    }
    assert {row["id"]: row["wave"] for row in program.json["targets"]} == {
        "travis:acme/lib": 1,
        "travis:acme/can": 1,
        "travis:acme/old": 1,
        "travis:acme/a": 2,
        "travis:acme/b": 3,
        "travis:acme/c": 3,
        "travis:acme/d": 3,
    }


def test_a_plan_without_a_rollout_is_one_wave_in_the_order_of_the_file(program):
    program.write(
        "plain.yaml", "version: 1\ntargets: [{repo: acme/a, needs: [acme/b]}, acme/b, {repo: acme/c, skip: x}]\n"
    )
    assert program("plan", "plain.yaml", "--offline", "-o", "json") == 0
    assert [(wave["wave"], wave["name"], wave["targets"]) for wave in program.json["waves"]] == [(1, "1", 2)]
    assert [row["repo"] for row in program.json["targets"]] == ["acme/a", "acme/b", "acme/c"]
    assert program("plan", "plain.yaml", "--offline") == 0
    assert "waves:" not in program.out


def test_a_wave_that_the_selection_left_without_targets_falls_away_with_a_warning(program):
    assert program("plan", "bump.yaml", "--offline", "--exclude", "acme/can") == 0
    assert shown(program)[0].startswith("  1 early: 3 targets, at once;")
    assert (
        "warning: rollout: no target is left for wave canary, so it falls away, with what it was to wait for"
        in program.out
    )


def test_a_name_that_the_cut_makes_twice_is_wrong_usage(program):
    program.write(
        "twice.yaml", "version: 1\nrollout: {waves: [{name: rest, upto: 1}, 2]}\ntargets: [acme/a, acme/b, acme/c]\n"
    )
    assert program("plan", "twice.yaml", "--offline") == 2
    assert program.err == "orchestrator: rollout.waves: two waves are named rest\n"


@pytest.mark.usefixtures("quick_rehearsals")
def test_shuffled_targets_are_shuffled_by_the_id_of_the_run(program):
    program.write(
        "shuffled.yaml",
        "version: 1\nrollout: {order: shuffle}\ntargets:\n" + "".join(f"  - acme/r{n}\n" for n in range(20)),
    )
    orders = []
    for run in ("one", "two"):
        assert program("run", "shuffled.yaml", "--sandbox", "--run-id", run, "-o", "json") in (0, 1)
        orders.append([row["repo"] for row in program.json["targets"]])
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_what_is_left_out_of_a_run_shrinks_its_waves():
    targets = [Target(f"t{n}", "a", f"acme/r{n}", wave=wave) for n, wave in enumerate([2, 3, 3])]
    waves = [Wave(1, "canary", 1, approve=True), Wave(2, "2", 1, soak=5.0), Wave(3, "rest", 4)]
    found, left = recounted(targets, waves)
    assert [target.wave for target in found] == [1, 2, 2]
    assert left == [Wave(1, "1", 1, soak=5.0), Wave(2, "rest", 2)]


def test_the_forecast_waits_for_each_wave_and_its_soak():
    times = Times(latency=0.0, queued={"travis": 0.0}, accounts={"travis": (100.0,)})
    found = forecast(
        planned(3, Rollout((WaveRule("1", soak=600.0), WaveRule("2"), WaveRule("3")))), {"travis": TRAVIS}, times=times
    )
    first, second, third = (found.waves[number] for number in (1, 2, 3))
    assert 100.0 <= first.judged <= 115.0
    assert second.opened == first.judged + 600.0
    assert third.opened == second.judged
    assert list(found.asked) == [first.opened, second.opened, third.opened]
    assert found.text.endswith("what takes longest is the builds of the waves before")


def test_the_forecast_starts_as_many_builds_again_as_failed_before():
    plan = planned(20, Rollout())
    again = replace(plan, targets=tuple(replace(one, reruns=Reruns(1)) for one in plan.targets))
    times = Times(latency=0.0, queued={"travis": 0.0}, accounts={"travis": (100.0,)}, failing={"travis": 0.1})
    once, twice = (forecast(one, {"travis": TRAVIS}, times=times, advise=False) for one in (plan, again))
    assert 100.0 <= once.last_build <= 115.0
    assert 200.0 <= twice.last_build <= 230.0
    assert any("as many builds fail and are started again as before" in text for text in twice.supposed)


def test_a_thousand_waves_of_one_target_are_no_burden():
    rollout = Rollout(tuple(WaveRule(str(n + 1)) for n in range(1000)))
    assert len(forecast(planned(1000, rollout), {"travis": TRAVIS}, advise=False).waves) == 1000


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_plan_says_how_many_failures_stop_it_once_enough_is_known_of_rehearsals_too(program):
    names = "".join(f"  - acme/r{n}\n" for n in range(30))
    head = "version: 1\nrollout: {waves: [50%, 100%], stop_when: {worse_than_usual: true}}\n"
    program.write("usual.yaml", f"{head}targets:\n{names}")
    words = ("plan", "usual.yaml", "--offline", "--state", "s")
    assert program(*words) == 0
    assert (
        "warning: worse_than_usual does not act: fewer than 50 earlier outcomes are known of travis at "
        "https://api.travis-ci.com\n"
    ) in program.out

    for _ in range(2):
        assert program("run", "usual.yaml", "--sandbox", "--state", "s") in (0, 1)
    assert program(*words, "--sandbox") == 0
    assert "does not act" not in program.out
    assert [line for line in shown(program) if line.endswith(" bad of the first 10 stop it: worse than usual")]
    assert program(*words, "--sandbox", "-o", "json") == 0
    blocks = [[block["targets"] for block in wave["blocks"]] for wave in program.json["waves"]]
    assert blocks == [[10, 15], [20, 30]]
