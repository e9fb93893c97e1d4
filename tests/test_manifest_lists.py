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


# tables

MAP = ", columns: {repo: Repository, branch: Default Branch}"
SHEET = "Team,Repository,Default Branch,Cost\ncore,acme/a,main,3\nweb,acme/b,release/2.x,4\n"


def test_columns_maps_our_keys_to_the_names_that_a_list_has():
    expected = ["travis:acme/a@main", "travis:acme/b@release/2.x"]
    assert ids(listed(SHEET, "sheet.csv", MAP + ", ignore_columns: true")) == expected
    nested = ", columns: {repo: Repository, env.TEAM: Team, labels: Team}, ignore_columns: true"
    first = listed(SHEET, "sheet.csv", nested).targets[0]
    assert (first.request["env"], first.labels) == ({"TEAM": "core"}, ("core",))


def test_columns_that_are_not_known_are_one_problem_however_many_rows_there_are():
    rows = "Team,Repository,Cost\n" + "core,acme/a,3\n" * 1000
    said = refused(rows, "sheet.csv").splitlines()
    assert said == [
        "sheet.csv:1:1: unknown columns `Team`, `Repository`, `Cost` in the header; map them with "
        "`columns: {repo: NAME}`, or leave the others out with `ignore_columns: true`"
    ]
    assert "unknown columns `Team`, `Cost`" in refused(SHEET, "sheet.csv", MAP)
    assert len(refused("Repository\n" + "acme/a\n" * 9, "sheet.csv", ", ignore_columns: true").splitlines()) == 1


def test_a_column_that_is_mapped_and_is_not_there_is_named_with_its_near_miss():
    said = refused(SHEET, "sheet.csv", ", columns: {repo: Repositry}, ignore_columns: true")
    assert said == "sheet.csv:1:1: no column `Repositry` in the header; did you mean `Repository`?"
    assert "unknown key `rpo` in `columns`" in refused(SHEET, "sheet.csv", ", columns: {rpo: Repository}")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.txt"])
def test_the_separator_is_recognised_and_so_is_a_header_in_any_file(separator, name):
    rows = [["repo", "branch", "message"], ["acme/a", "main", "one"], ["acme/b", "dev", ""]]
    text = "".join(separator.join(row) + "\r\n" for row in rows)
    assert ids(listed(text, name)) == ["travis:acme/a@main", "travis:acme/b@dev"]
    assert ids(listed("\ufeffsep=;\r\nrepo;labels\r\nacme/a;x\r\n", "list.csv")) == ["travis:acme/a"]


def test_a_column_of_ours_that_is_left_out_is_told():
    plan = listed("Repository,branch\nacme/a,main\n", "s.csv", ", columns: {repo: Repository}, ignore_columns: true")
    assert ids(plan) == ["travis:acme/a"]
    assert "s.csv: the column `branch` is ignored, since `columns` does not name it" in plan.warnings


def test_columns_stand_only_beside_a_list():
    with pytest.raises(ManifestError, match="`columns` is for a list, and there is no `from`"):
        plan_of("version: 1\ntargets: [{repo: acme/a, columns: {repo: x}}]")


def test_the_same_fault_in_many_rows_is_one_message_with_its_count_and_the_first_places():
    said = refused("acme/fine\n" + "".join(f"no one/r{n}\n" for n in range(998)))
    assert said == (
        "repos.txt:2:1: 'no one/r0' is no repository's name (so in 998 rows: lines 2, 3, 4, 5, 6, ...); "
        "name it owner/name"
    )
    assert len(refused("a b/c\nd e/f\n").splitlines()) == 2
    rows = "repo,timeouts.build\n" + "".join(f"acme/r{n},soon\n" for n in range(50))
    assert len(refused(rows, "list.csv").splitlines()) == 1


def test_a_list_names_no_other_list():
    assert "unknown column `from`" in refused("repo,from\nacme/a,x.txt\n", "list.csv")


# JSON

GH = '[{"nameWithOwner": "acme/a", "defaultBranchRef": {"name": "main"}, "isArchived": false},\n'
GH += ' {"nameWithOwner": "acme/b", "defaultBranchRef": {"name": ""}, "isArchived": false}]'
GH_MAP = ", columns: {repo: nameWithOwner, branch: defaultBranchRef.name}, ignore_columns: true"


@pytest.mark.parametrize(
    "text",
    [
        '["acme/a@main", "acme/b"]',
        '{"total": 2, "items": ["acme/a@main", "git@github.com:acme/b.git"]}',
        '"acme/a@main"\n"acme/b"\n',
        '[{"repo": "acme/a", "branch": "main"}, {"repo": "acme/b", "branch": null}]',
        '{"repo": "acme/a", "branch": "main"}\n{"repo": "acme/b"}\n',
        '[["acme/a@main"], ["acme/b"]]',
        '{"items": [{"repo": "acme/a", "branch": "main", "labels": ["x"]}]}\n{"items": [{"repo": "acme/b"}]}',
    ],
)
def test_json_lists_are_arrays_pages_and_lines(text):
    assert ids(listed(text, "list.json")) == ["travis:acme/a@main", "travis:acme/b"]


def test_json_is_recognised_by_its_content_and_mapped_by_dots():
    plan = listed(GH, "list.txt", GH_MAP)
    assert ids(plan) == ["travis:acme/a@main", "travis:acme/b"]
    assert [target.where for target in plan.targets] == ["list.txt:1:2", "list.txt:2:2"]
    topics = '[{"nameWithOwner": "acme/a", "repositoryTopics": [{"name": "core"}, {"name": "x"}]}]'
    plan = listed(topics, "l.json", ", columns: {repo: nameWithOwner, labels: repositoryTopics.name}")
    assert plan.targets[0].labels == ("core", "x")


def test_faults_of_json_lists_are_told_once():
    assert refused(GH, "list.json").count("\n") == 0
    assert "unknown columns `nameWithOwner`, `defaultBranchRef`, `isArchived`" in refused(GH, "list.json")
    assert "no column `full_name` in the objects; known here: default" in refused(
        GH, "l.json", ", columns: {repo: full_name}, ignore_columns: true"
    )
    assert "l.json:2:1: no JSON: " in refused('["acme/a"\n"acme/b"]', "l.json")
    assert "which array holds the targets? there are a, b" in refused('{"a": ["x/y"], "b": ["x/z"]}', "l.json")


# a manifest that is JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r"rebuild \ud83d\ude80 now", "rebuild 🚀 now"),
        (r"a\/b \u00e4 \"c\" \t\\", 'a/b ä "c" \t\\'),
        ("line\u2028end", "line\u2028end"),
    ],
)
def test_a_manifest_that_is_json_is_read_as_json(text, message):
    written = '\ufeff{\t"version": 1,\n\t"targets": [{"repo": "acme/one", "message": "' + text + '"}]}'
    assert plan_of(written).targets[0].request["message"] == message


def test_json_has_the_rules_of_a_manifest():
    both = '{"version": 1, "targets": [{"repo": "acme/a", "repo": "acme/b"}]}'
    with pytest.raises(ManifestError, match=r"m.yaml:1:47: targets\[0\].repo: duplicate key `repo`"):
        plan_of(both)
    with pytest.raises(ManifestError, match="half of a pair of escapes"):
        plan_of(r'{"version": 1, "targets": [{"repo": "acme/a", "message": "\ud83d"}]}')
    big = '{"version": 1, "targets": [{"repo": "acme/a", "config": {"n": ' + "9" * 5000 + "}}]}"
    with pytest.raises(ManifestError, match="would not be sent as it is written"):
        plan_of(big)
    number = plan_of('{"version": 1, "targets": [{"repo": "acme/a", "config": {"n": 12345678901234567890}}]}')
    assert number.targets[0].request["config"] == {"n": 12345678901234567890}
    with pytest.raises(ManifestError, match="a second document begins"):
        plan_of('{"version": 1} {"targets": []}')
    assert ids(plan_of("{version: 1, targets: [acme/a]}")) == ["travis:acme/a"]


# configs that are text


def warned(config):
    return plan_of(f"version: 1\ntargets: [{{repo: acme/a, {config}}}]").warnings


def test_a_config_that_is_text_is_read_for_the_warnings_and_sent_as_it_is():
    text = "merge_mode: deep_merge\\npython: [3.10, 3.11]\\nenv: [A=1, B=2]"
    said = " ".join(warned(f'config: "{text}"'))
    assert "`config.env` multiplies jobs" in said
    assert "`config.python` multiplies jobs" in said
    assert "without `merge_mode`" not in said
    assert "`config.os` multiplies" in " ".join(warned('configs: [{config: "os: [linux, osx]", mode: merge}]'))
    plan = plan_of(f'version: 1\ntargets: [{{repo: acme/a, config: "{text}"}}]')
    assert plan.targets[0].request["config"] == text.replace("\\n", "\n")


def test_a_config_that_is_text_and_no_yaml_is_told():
    assert any("no YAML that can be read here: config:" in text for text in warned('config: "a: [1"'))


def test_texts_of_a_json_list_are_read_beside_columns_that_only_objects_have():
    text = "version: 1\ntargets: [{from: r.json, columns: {repo: repository}, ignore_columns: true}]\n"
    for body in ('["acme/a"]', '{"platform": "x", "repositories": ["acme/a"]}'):
        assert ids(plan_of(text, load=files(r_json=body))) == ["travis:acme/a"]


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?>\n<manifest/>\n',
        '[submodule "a"]\n\turl = https://github.com/acme/a.git\n',
        "[src/a]\ncheckout = git clone https://github.com/acme/a.git\n",
        "# SPDX\n\nmanifest:\n  projects: []\n" + "    - name: a\n" * 99,
        "repositories:\n  a: {type: git}\n",
        "---\n- acme/a\n",
        "- acme/a\n- acme/b\n",
    ],
)
def test_a_file_of_another_kind_is_one_problem_with_the_way_to_make_a_list_of_it(text):
    with pytest.raises(ManifestError) as caught:
        from_lines("list", text.encode(), declarations=KNOWN)
    (said,) = str(caught.value).splitlines()
    assert "this is no list of targets" in said
    assert "docs/how-to/lists.md" in said
