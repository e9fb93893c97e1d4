"""What defaults say, where it meets short forms, matrices and labels of the targets themselves."""

import pytest
from manifest_helpers import ids, plan_of

from orchestrator.manifest.lookups import Answers
from orchestrator.providers.port import RepoFacts

BRANCHES = Answers(branches={("travis", "acme/a"): ["main", "release/1", "release/2"]})


@pytest.mark.parametrize("branches", ['["release/*"]', "release/*", '[main, "release/*"]'])
def test_a_branch_glob_of_the_defaults_is_expanded_for_a_short_form_too(branches):
    plan = plan_of(f"version: 1\ndefaults: {{branches: {branches}}}\ntargets: [acme/a]\n", answers=BRANCHES)
    wanted = ["main", "release/1", "release/2"] if "main" in branches else ["release/1", "release/2"]
    assert sorted(target.branch for target in plan.targets) == wanted


def test_a_branch_glob_of_the_defaults_makes_one_skipped_target_of_a_short_form_where_nobody_looked():
    plan = plan_of(
        'version: 1\ndefaults: {branches: ["release/*"]}\ntargets: [acme/a]\n', answers=Answers(offline=True)
    )
    (target,) = plan.targets
    assert target.skip == "the branches of acme/a were not looked up"


def test_what_the_defaults_exclude_from_their_matrix_is_not_excluded_from_a_targets_own():
    defaults = 'defaults: {matrix: {python: ["3.11", "3.12"], exclude: [{python: "3.11"}]}}'
    long = 'targets: [acme/a, {repo: acme/b, matrix: {python: ["3.11", "3.13"]}}]'
    assert ids(plan_of(f"version: 1\n{defaults}\n{long}\n")) == [
        "travis:acme/a[python=3.12]",
        "travis:acme/b[python=3.11]",
        "travis:acme/b[python=3.13]",
    ]


@pytest.mark.parametrize(
    ("defaults", "target"),
    [
        ("[core, core]", "acme/a"),  # a short form shares what the defaults say
        ("[core, core]", "{repo: acme/a}"),
        ("core", "{repo: acme/a, labels: [core]}"),
        ("[]", "{repo: acme/a, labels: [core, core]}"),
        ("core", '{repo: acme/a, labels: ["${{ matrix.label }}"], matrix: {label: [core]}}'),
        ('"${{ target.owner }}"', "{repo: core/a, labels: [core]}"),
    ],
)
def test_a_label_that_is_said_twice_counts_once(defaults, target):
    (made,) = plan_of(f"version: 1\ndefaults: {{labels: {defaults}}}\ntargets: [{target}]\n").targets
    assert made.labels == ("core",)


def test_a_label_that_the_provider_says_too_counts_once():
    found = Answers(owners={("travis", "acme"): [RepoFacts("1", "acme/a", active=True, labels=("core", "go"))]})
    text = "version: 1\ndefaults: {labels: core}\ntargets: [{discover: {owner: acme}}]\n"
    assert plan_of(text, answers=found).targets[0].labels == ("core", "go")
