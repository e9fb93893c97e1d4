"""What becomes of a plan before it runs."""

import re

import pytest
from manifest_helpers import ids, plan_of

from orchestrator.core.errors import NotStarted, UsageError
from orchestrator.core.model import Expect
from orchestrator.core.selection import Selection, override_limits, select

TEXT = """
version: 1
defaults: {branch: main}
targets:
  - {repo: acme/lib, labels: [core, base]}
  - {repo: acme/api, labels: core, needs: [acme/lib]}
  - {repo: acme/api, branch: release/2.x, name: nightly}
  - {repo: other/Web, labels: [web], needs: [acme/api, acme/lib]}
  - {repo: other/old, skip: gone}
"""
LIB, API, RELEASE, WEB, OLD = (
    "travis:acme/lib@main",
    "travis:acme/api@main",
    "travis:acme/api@release/2.x#nightly",
    "travis:other/Web@main",
    "travis:other/old@main",
)


def chosen(**asked):
    return ids(select(plan_of(TEXT), Selection(**asked)))


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (["acme/*"], [LIB, API, RELEASE]),
        (["acme/api"], [API, RELEASE]),
        (["ACME/Api@main"], [API]),
        (["*/*@main"], [LIB, API, WEB, OLD]),
        (["acme/api@release/*"], [RELEASE]),
        (["acme/api@release*"], []),
        (["**@release/**"], [RELEASE]),
        ([RELEASE], [RELEASE]),
        (["*#nightly"], []),
        (["**#nightly"], [RELEASE]),
        (["other/web", "acme/lib"], [LIB, WEB]),
        (["acme/api@MAIN"], []),
        (["acme"], []),
    ],
)
def test_only_matches_repo_repo_at_branch_or_id_with_globs(only, found):
    if found:
        assert chosen(only=only) == found
    else:
        with pytest.raises(NotStarted, match="none of 5 targets is selected by --only"):
            chosen(only=only)


def test_exclude_takes_out_what_matches():
    assert chosen(exclude=["acme/*", "**/old"]) == [WEB]
    assert chosen(only=["acme/**"], exclude=["*/api"]) == [LIB]


def test_labels_of_a_group_must_all_be_there_and_one_group_is_enough():
    assert chosen(labels=[["core"]]) == [LIB, API]
    assert chosen(labels=[["core", "base"]]) == [LIB]
    assert chosen(labels=[["base", "core"], ["web"]]) == [LIB, WEB]
    with pytest.raises(NotStarted, match="known labels: base, core, web"):
        chosen(labels=[["cor"]])


def test_first_counts_after_everything_else():
    assert chosen(only=["acme/*"], first=2) == [LIB, API]
    with pytest.raises(NotStarted, match="--first 0"):
        chosen(first=0)


def test_a_need_that_is_not_selected_counts_as_met_and_is_told():
    plan = select(plan_of(TEXT), Selection(only=["acme/api", "other/web"]))
    needs = {target.id: target.needs for target in plan.targets}
    assert needs == {API: (), RELEASE: (), WEB: (API,)}
    told = f"needs that are not selected count as met: {LIB} (needed by {WEB})"
    assert told in plan.warnings
    assert not any("count as met" in warning for warning in select(plan_of(TEXT), Selection()).warnings)


def test_expect_is_compared_before_the_selection_and_its_most_after_it():
    plan = plan_of(TEXT)
    assert len(select(plan, Selection(first=1), Expect(min=5, max=5)).targets) == 1
    with pytest.raises(NotStarted, match=r"5 targets, and the manifest expects at least 6 \(expect.min\)"):
        select(plan, Selection(), Expect(min=6))
    with pytest.raises(NotStarted, match=r"5 targets, and the manifest expects at most 4 \(expect.max\)"):
        select(plan, Selection(first=1), Expect(max=4))


def test_a_manifest_without_targets_starts_nothing():
    with pytest.raises(NotStarted, match="the manifest has no targets"):
        select(plan_of("version: 1\ntargets: []"), Selection())


# --rate

TWO = """
version: 1
providers: {one: {type: travis}, two: {type: small}}
targets: ["one:acme/a", "two:acme/a"]
"""


def test_a_rate_replaces_the_limit_of_triggers():
    plan = override_limits(plan_of(TWO), {"one": "5/1s"})
    assert [str(limit) for limit in plan.accounts["one"].limits] == [
        "triggers 5/1s",
        "calls 1800/1m",
        "triggers_per_repo 10/1h",
    ]
    assert plan.accounts["one"].limits[0].written
    assert plan.accounts["two"] == plan_of(TWO).accounts["two"]


def test_a_rate_without_an_account_is_for_all_of_them():
    plan = override_limits(plan_of(TWO), {None: "5/1s", "two": "7/1s"})
    assert [str(plan.accounts[name].limits[0]) for name in ("one", "two")] == ["triggers 5/1s", "calls 7/1s"]


def test_a_rate_that_is_none_or_for_nobody_is_refused():
    with pytest.raises(UsageError, match="unknown account"):
        override_limits(plan_of(TWO), {"tow": "5/1s"})
    with pytest.raises(UsageError, match="expected so many calls per period"):
        override_limits(plan_of(TWO), {None: "fast"})


@pytest.mark.parametrize(
    ("glob", "meant"), [("api", "acme/api"), ("acme/apii", "acme/api"), ("api@release/2", "acme/api@release/2")]
)
def test_a_selection_of_nothing_names_the_near_miss(glob, meant):
    plan = plan_of("version: 1\ntargets: [acme/api, acme/api@release/2, acme/other]")
    with pytest.raises(NotStarted, match=f"did you mean {re.escape(meant)}[?]"):
        select(plan, Selection(only=[glob]))


def test_of_several_globs_the_one_that_selects_nothing_is_told():
    plan = select(plan_of("version: 1\ntargets: [acme/api, acme/other]"), Selection(only=["acme/other", "acme/apii"]))
    assert "--only acme/apii selects nothing; did you mean acme/api?" in plan.warnings
