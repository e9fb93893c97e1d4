"""What a manifest says of a rollout, and what is refused in it."""

from __future__ import annotations

import pytest

from orchestrator.core.events import RunMade, from_json, to_json
from orchestrator.core.waves import Reruns, Rollout, StopWhen, Wave, WaveRule
from orchestrator.manifest import ManifestError
from tests.manifest_helpers import files, manifest_of, plan_of

HEAD = "version: 1\ntargets: [{repo: acme/a, labels: [canary]}, acme/b]\n"


def rollout_of(text: str) -> Rollout | None:
    return manifest_of(f"{HEAD}rollout: {text}").rollout


def wrong(text: str, **more) -> str:
    with pytest.raises(ManifestError) as caught:
        plan_of(HEAD + text, **more)
    return str(caught.value)


def test_a_rollout_is_read_with_all_its_keys():
    found = rollout_of(
        "{waves: [{name: canary, labels: [canary], approve: true}, {upto: 10%, soak: 30m}, 100%], order: slowest, "
        "approve: true, soak: 1h, on_stop: cancel, "
        "stop_when: {failed: 3, after: 5, in_a_row: 4, worse_than_usual: 0.05, nothing_passed: false}}"
    )
    assert found == Rollout(
        (WaveRule(labels=("canary",), name="canary", approve=True), WaveRule("10%", soak=1800.0), WaveRule("100%")),
        "slowest",
        approve=True,
        soak=3600.0,
        stop_when=StopWhen("3", 5, 4, 0.05, nothing_passed=False),
        on_stop="cancel",
    )


def test_without_a_rollout_there_are_no_rules():
    assert manifest_of(HEAD).rollout is None
    assert rollout_of("{}") == Rollout()


@pytest.mark.parametrize(("written", "alpha"), [("true", 0.01), ("false", None), ("0.0001", 0.0001), ("0.1", 0.1)])
def test_worse_than_usual_is_a_probability_or_true_for_the_usual_one(written, alpha):
    found = rollout_of(f"{{stop_when: {{worse_than_usual: {written}}}}}")
    assert found.stop_when.worse_than_usual == alpha


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "rollout: {waves: [{labels: [canary], upto: 5}, 100%]}",
            "m.yaml:3:19: rollout.waves[0]: `labels` and `upto` stand side by side; "
            "keep one of them: a wave is told by labels, or by a bound",
        ),
        (
            "rollout: {waves: [{name: a}, 100%]}",
            "m.yaml:3:19: rollout.waves[0]: missing key: `upto` or `labels`; say which targets stand in the wave",
        ),
        (
            "rollout: {waves: [50%, {upto: 10%}]}",
            "m.yaml:3:31: rollout.waves[1].upto: 10% after 50%: bounds count from the first target, so they never "
            "fall; write 50% or more",
        ),
        (
            "rollout: {waves: [20, {labels: [canary]}, 10]}",
            "m.yaml:3:43: rollout.waves[2]: 10 after 20: bounds count from the first target, so they never fall; "
            "write 20 or more",
        ),
        (
            'rollout: {waves: [1, {name: "1", upto: 50%}, 100%]}',
            "m.yaml:3:29: rollout.waves[1].name: two waves are named `1`; name one otherwise",
        ),
        (
            "rollout: {waves: [{name: a, upto: 1}, {name: a, upto: 100%}]}",
            "m.yaml:3:46: rollout.waves[1].name: two waves are named `a`; name one otherwise",
        ),
        (
            "rollout: {waves: [{labels: [canry]}, 100%]}",
            "m.yaml:3:28: rollout.waves[0].labels: unknown label `canry`: no target has it; did you mean `canary`?",
        ),
        (
            "rollout: {waves: [1, {upto: 100%, approve: true}]}",
            "m.yaml:3:44: rollout.waves[1].approve: `approve` at the last wave holds nothing back; "
            "remove it, or write a wave `{upto: 100%}` behind this one",
        ),
        (
            "rollout: {waves: [{upto: 1, soak: 5m}]}",
            "m.yaml:3:35: rollout.waves[0].soak: `soak` at the last wave holds nothing back; "
            "remove it, or write a wave `{upto: 100%}` behind this one",
        ),
        (
            "rollout: {stop_when: {failed: 0%}}",
            "m.yaml:3:31: rollout.stop_when.failed: a share of nothing would stop every run; write more than 0%",
        ),
        (
            "rollout: {stop_when: {failed: 0}}",
            "m.yaml:3:31: rollout.stop_when.failed: expected 1 or more, found 0 (a number)",
        ),
        (
            "rollout: {stop_when: {worse_than_usual: 0.2}}",
            "m.yaml:3:41: rollout.stop_when.worse_than_usual: expected 0.1 or less, found 0.2 (a number)",
        ),
        (
            "rollout: {stop_when: {worse_than_usual: 0.00001}}",
            "m.yaml:3:41: rollout.stop_when.worse_than_usual: expected 0.0001 or more, found 0.00001 (a number)",
        ),
        ("rollout: {waves: []}", "m.yaml:3:18: rollout.waves: expected at least 1, found none"),
        (
            "rollout: {order: random}",
            "m.yaml:3:18: rollout.order: expected file, shuffle, fastest or slowest, found 'random'",
        ),
        (
            "rollout: {wave: [1]}",
            "m.yaml:3:11: rollout.wave: unknown key `wave`; did you mean `waves`?",
        ),
        (
            "rollout: {soak: 20000d, waves: [1, 100%]}",
            "m.yaml:3:17: rollout.soak: 20000d is longer than ten years",
        ),
        (
            "reruns: {at_most: 10%}",
            "m.yaml:3:9: reruns: missing key `times`; add it",
        ),
        (
            "needs_not_passed: wait",
            "m.yaml:3:19: needs_not_passed: expected skip, run or stop, found 'wait'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(text, told):
    assert wrong(text) == told


def test_after_may_stand_beside_a_number():
    assert rollout_of("{stop_when: {failed: 2, after: 10}}").stop_when == StopWhen("2", 10)


def test_hundreds_of_waves_are_refused():
    assert "rollout.waves: " in wrong(f"rollout: {{waves: [{', '.join(map(str, range(1, 300)))}]}}")


@pytest.mark.parametrize(
    ("key", "value"), [("rollout", "{waves: [1, 100%]}"), ("reruns", "1"), ("needs_not_passed", "run")]
)
def test_the_keys_of_a_rollout_stand_in_one_file(key, value):
    loader = files(b_yaml=f"{key}: {value}\n")
    told = wrong(f"include: b.yaml\n{key}: {value}\n", load=loader)
    assert told == f"b.yaml:1:1: {key}: `{key}` stands in two files, first at m.yaml:4:1; keep one of them"
    manifest_of(f"{HEAD}include: b.yaml\n", load=loader)  # from one of them


def test_the_nearest_reruns_win():
    text = """
version: 1
reruns: 1
providers: {travis: {}, other: {type: travis, reruns: {times: 2, at_most: 10%}}}
defaults: {account: travis}
targets:
  - acme/a
  - {repo: acme/b, reruns: 0}
  - {repo: acme/c, account: other}
  - {repo: acme/d, account: other, reruns: 3}
"""
    assert [target.reruns for target in plan_of(text).targets] == [
        Reruns(1),
        Reruns(0),
        Reruns(2, "10%"),
        Reruns(3),
    ]


def test_the_nearest_word_on_needs_that_did_not_pass_wins():
    text = """
version: 1
needs_not_passed: run
targets: [acme/a, {repo: acme/b, needs: [acme/a], needs_not_passed: stop}]
"""
    assert [target.needs_not_passed for target in plan_of(text).targets] == ["run", "stop"]


@pytest.mark.parametrize(
    ("providers", "target", "place"),
    [
        ("{small: {reruns: 1}}", "acme/a", "providers.small.reruns"),
        ("{small: {defaults: {reruns: 1}}}", "acme/a", "providers.small.defaults.reruns"),
        ("{small: {}}", "{repo: acme/a, reruns: 1}", "targets[0].reruns"),
    ],
)
def test_reruns_where_no_build_can_be_started_again_are_refused(providers, target, place):
    with pytest.raises(ManifestError) as caught:
        plan_of(f"version: 1\nproviders: {providers}\ntargets: [{target}]")
    assert str(caught.value).endswith(f"{place}: Small CI cannot start a build again; remove `reruns`")


def test_reruns_of_the_run_are_a_warning_where_no_build_can_be_started_again():
    plan = plan_of("version: 1\nreruns: 1\nproviders: {small: {}}\ntargets: [acme/a]")
    assert plan.warnings == ("account small: Small CI cannot start a build again, so `reruns` does nothing there",)


def test_the_journal_keeps_the_rollout_and_older_runs_have_none():
    rollout = Rollout((WaveRule("1"), WaveRule("100%", soak=60.0)), stop_when=StopWhen("20%", worse_than_usual=0.01))
    made = RunMade("n", None, "", rollout=rollout, waves=(Wave(1, "1", 1, soak=60.0), Wave(2, "2", 9)))
    assert from_json(RunMade, to_json(made)) == made
    assert from_json(RunMade, {"name": "n", "manifest": None, "digest": ""}).rollout is None
