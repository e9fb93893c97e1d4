"""Lists of targets as people have them: lines, clone URLs, spreadsheets, JSON."""

import pytest

from orchestrator.app.runs import the_one
from orchestrator.core.selection import Selection, select
from orchestrator.manifest import ManifestError, from_lines, from_repos
from tests.manifest_helpers import KNOWN, files, ids, plan_of


def listed(text, name="repos.txt", more="", providers=""):
    """The plan of a manifest whose targets stand in a file."""
    manifest = f"version: 1\n{providers}targets: [{{from: {name}{more}}}]"
    return plan_of(manifest, load=files(**{name.replace(".", "_"): text}))


def refused(text, name="repos.txt", more="", providers=""):
    with pytest.raises(ManifestError) as caught:
        listed(text, name, more, providers)
    return str(caught.value)


# branches and names


@pytest.mark.parametrize(
    ("line", "branch"),
    [
        ("acme/one@feature#12", "feature#12"),
        ("acme/two@name#ISS-123", "name#ISS-123"),
        ("acme/two@dependabot/npm_and_yarn/@babel/core-7.1", "dependabot/npm_and_yarn/@babel/core-7.1"),
        ("acme/three@v1.0+build", "v1.0+build"),
        ("acme/three@user/name@host", "user/name@host"),
        ("acme/u@ветка", "ветка"),
        ("acme/em@🚀", "🚀"),
        ("acme/one@feature%2312", "feature#12"),
        ("https://github.com/acme/one@feature#12", "feature#12"),
    ],
)
def test_what_stands_after_the_first_at_is_the_branch_with_its_number_sign(line, branch):
    for plan in (listed(line), from_repos([line], declarations=KNOWN), plan_of(f"version: 1\ntargets: ['{line}']")):
        assert [(target.branch, target.name) for target in plan.targets] == [(branch, None)]


def test_a_name_is_read_in_an_id_that_names_its_account_and_nowhere_else():
    (target,) = listed("travis:acme/one@feature#12").targets
    assert (target.branch, target.name) == ("feature", "12")
    assert "`#NAME` is read only after the account" in refused("acme/one#12")


def test_a_branch_with_a_number_sign_is_found_by_every_way_to_name_it():
    plan = listed("acme/one@feature#12\ntravis:acme/one@feature#12\nacme/one@feature")
    branch, named, bare = plan.targets
    assert ids(plan)[:2] == ["travis:acme/one@feature%2312", "travis:acme/one@feature#12"]
    for text in ("acme/one@feature#12", "acme/one@feature%2312", branch.id):
        assert select(plan, Selection(only=[text])).targets == (branch,)
        assert the_one(plan.targets, text) == branch
    assert select(plan, Selection(only=[named.id])).targets == (named,)
    assert the_one(plan.targets, named.id) == named
    assert select(plan, Selection(only=[bare.id])).targets == (bare,)
    needing = "version: 1\ntargets: [acme/one@feature#12, {repo: acme/b, needs: acme/one@feature#12}]"
    assert plan_of(needing.replace("[acme", "['acme", 1).replace("12,", "12',", 1)).targets[1].needs == (branch.id,)


# clone URLs and names that cannot be


@pytest.mark.parametrize(
    "line",
    [
        "https://github.com/acme/.github",
        "https://github.com/acme/.github.git",
        "https://www.github.com/acme/.github/",
        "http://github.com/acme/.github.git",
        "https://user:s3cret@github.com/acme/.github.git",
        "git+https://github.com/acme/.github.git",
        "ssh://git@github.com/acme/.github.git",
        "ssh://git@ssh.github.com:443/acme/.github.git",
        "git://github.com/acme/.github.git",
        "git@github.com:acme/.github.git",
        "git@GitHub.com:acme/.github",
        "github.com:acme/.github.git",
    ],
)
def test_clone_urls_of_the_accounts_host_are_its_repositories(line):
    assert ids(listed(line)) == ["travis:acme/.github"]
    assert ids(plan_of(f"version: 1\ntargets: [{{repo: '{line}', branch: main}}]")) == ["travis:acme/.github@main"]


def test_a_clone_url_may_have_a_branch():
    assert ids(listed("git@github.com:acme/one.git@release/2.x")) == ["travis:acme/one@release/2.x"]


def test_a_server_of_ones_own_clones_from_its_own_domain():
    providers = "providers: {ent: {type: travis, url: 'https://travis.corp.example'}}\n"
    assert ids(listed("https://github.corp.example/acme/one.git", providers=providers)) == ["ent:acme/one"]


def test_a_clone_url_of_another_host_is_refused_with_its_host_and_without_its_secret():
    said = refused("https://user:s3cret@git.example.org/acme/one.git")
    assert "repos.txt:1:1: account travis has no repositories of git.example.org" in said
    assert "s3cret" not in said + refused("https://user:s3cret@github.com/?x=1")
    assert "gitlab.com needs `vcs: gitlab`" in refused("https://gitlab.com/acme/one.git")
    assert ids(listed("https://gitlab.com/acme/one.git", more=", vcs: gitlab")) == ["travis:acme/one"]
    assert "github.com needs `vcs: github`" in refused("https://github.com/acme/one.git", more=", vcs: gitlab")


@pytest.mark.parametrize(
    "name",
    [
        "acme/one.git",
        "acme/..",
        "acme/.",
        "../one",
        "acme/" + "x" * 101,
        "a" * 40 + "/one",
        "-acme/one",
        "acme/one two",
        "acme/a/b",
        "acme/узел",
        "acme/one!",
        "acme/",
        "https://github.com/acme/one/tree/main",
    ],
)
def test_a_name_that_no_service_has_is_refused_with_its_line(name):
    assert "repos.txt:2:1: " in refused(f"acme/fine\n{name}\n")
    with pytest.raises(ManifestError):
        plan_of(f"version: 1\ntargets: [{{repo: '{name}', branch: main}}]")


def test_from_lines_reads_what_from_reads():
    assert ids(from_lines("-", b"git@github.com:acme/one.git\n", declarations=KNOWN)) == ["travis:acme/one"]
