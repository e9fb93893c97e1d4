"""What a manifest says becomes targets."""

import datetime

import pytest
from manifest_helpers import KNOWN, TODAY, files, ids, manifest_of, plan_of

from orchestrator.core.model import Limit, Outcome, Target, Timeouts
from orchestrator.core.template import Name, Template
from orchestrator.core.waves import Rollout, StopWhen, WaveRule
from orchestrator.manifest import (
    Answers,
    ManifestError,
    Questions,
    expand,
    from_lines,
    from_repos,
    questions,
    read,
    starter,
)
from orchestrator.manifest.layers import FIELDS, RULES, Layer, Matrix, rule_of
from orchestrator.manifest.schema import SHARED
from orchestrator.providers.port import RepoFacts


def wrong(text, **more):
    with pytest.raises(ManifestError) as caught:
        plan_of(text, **more)
    return str(caught.value)


# layers


@pytest.mark.parametrize("key", SHARED)
def test_a_layer_with_a_template_is_plain_only_where_the_template_is_sent(key):
    template = Template([Name("target.repo")])
    value = {"matrix": Matrix({"os": [template]}), "env": {"A": template}}.get(key, [template])
    assert Layer({key: value}).is_plain == rule_of(key).is_sent


def test_a_key_without_a_rule_of_its_own_is_a_field_of_the_target():
    assert set(SHARED) - set(RULES) == set(FIELDS)
    assert set(FIELDS) <= set(Target.__struct_fields__)


# short and long forms


def test_short_forms_take_the_branches_of_the_defaults_unless_they_name_one():
    plan = plan_of("version: 1\ndefaults: {branches: [main, dev]}\ntargets: [acme/a, acme/b@release/2.x]")
    assert ids(plan) == ["travis:acme/a@main", "travis:acme/a@dev", "travis:acme/b@release/2.x"]
    assert [target.repo for target in plan.targets] == ["acme/a", "acme/a", "acme/b"]


def test_without_a_branch_anywhere_the_id_has_none():
    (target,) = plan_of("version: 1\ntargets: [acme/a]").targets
    assert (target.id, target.branch) == ("travis:acme/a", None)


@pytest.mark.parametrize("said", ["branch: main", "branches: main", "branches: [main]"])
def test_a_branch_may_be_said_in_three_ways(said):
    assert ids(plan_of(f"version: 1\ntargets: [{{repo: acme/a, {said}}}]")) == ["travis:acme/a@main"]


def test_an_empty_list_of_branches_leaves_the_choice_to_the_provider():
    text = "version: 1\ndefaults: {branch: main}\ntargets: [{repo: acme/a, branches: []}]"
    assert ids(plan_of(text)) == ["travis:acme/a"]


def test_a_repository_may_be_given_by_its_number_where_the_provider_takes_one():
    assert ids(plan_of("version: 1\ntargets: [{repo: 4711, branch: main}, '4712@main']")) == [
        "travis:4711@main",
        "travis:4712@main",
    ]


@pytest.mark.parametrize(
    ("said", "id_"),
    [
        ("{repo: acme/a, branch: main, name: 'a b'}", "travis:acme/a@main#a%20b"),
        ("{repo: acme/a, branch: 'x],2#3%'}", "travis:acme/a@x%5D%2C2%233%25"),
        ("{repo: acme/a, matrix: {os: linux, tag: 'a,b=c'}}", "travis:acme/a[os=linux,tag=a%2Cb=c]"),
        ("{repo: acme/a, branch: user@host}", "travis:acme/a@user@host"),
        ('{repo: acme/a, name: "\u00e9\\u0085"}', "travis:acme/a#\u00e9%C2%85"),
    ],
)
def test_an_id_pasted_as_a_short_form_means_the_same_target(said, id_):
    (first,) = plan_of(f"version: 1\ntargets: [{said}]").targets
    (again,) = plan_of(f"version: 1\ntargets: ['{id_}']").targets
    assert first.id == again.id == id_
    for part in ("repo", "branch", "matrix", "name"):
        assert getattr(first, part) == getattr(again, part)


def test_order_in_the_file_is_order_in_the_plan():
    text = "version: 1\ntargets: [acme/z, {repos: [acme/y, acme/x]}, acme/a]"
    assert [target.repo for target in plan_of(text).targets] == ["acme/z", "acme/y", "acme/x", "acme/a"]


def test_each_target_knows_where_it_stands():
    plan = plan_of("version: 1\ntargets:\n  - acme/a\n  - repo: acme/b\n")
    assert [target.where for target in plan.targets] == ["m.yaml:3:5", "m.yaml:4:5"]


# merging


MERGED = """
version: 1
providers:
  travis:
    defaults: {message: of the account, env: {B: account, C: account}, labels: [account], timeouts: {queue: 2h}}
defaults:
  message: of all
  env: {A: all, B: all, C: all}
  labels: [all]
  timeouts: {queue: 1h, build: 3h}
targets:
  - acme/a
  - {repo: acme/b, message: own, env: {C: own, A: ~, D: own}, labels: own, timeouts: {accept: 10m}}
"""


def test_a_target_wins_over_its_account_and_the_account_over_the_defaults():
    plain, own = plan_of(MERGED).targets
    assert plain.request == {"message": "of the account", "env": {"A": "all", "B": "account", "C": "account"}}
    assert own.request == {"message": "own", "env": {"B": "account", "C": "own", "D": "own"}}
    assert (plain.labels, own.labels) == (("all", "account"), ("all", "account", "own"))
    assert plain.timeouts == Timeouts(settle=60, queue=7200, build=10800)
    assert own.timeouts == Timeouts(settle=60, queue=7200, build=10800, accept=600)


def test_other_keys_replace_the_whole_value_of_the_default():
    text = """
version: 1
defaults: {config: {a: {x: one}, b: two}, branches: [main, dev]}
targets: [{repo: acme/a, config: {a: {y: three}}, branches: [x]}]
"""
    (target,) = plan_of(text).targets
    assert (target.branch, target.request) == ("x", {"config": {"a": {"y": "three"}}})


def test_keys_that_a_provider_lacks_are_ignored_in_global_defaults():
    text = """
version: 1
providers: {travis: {}, small: {type: small}}
defaults: {account: travis, sha: abc, ref: one, message: hi}
targets: [acme/a, {repo: acme/a, account: small}]
"""
    travis, small = plan_of(text).targets
    assert travis.request == {"message": "hi", "sha": "abc"}
    assert small.request == {"message": "hi", "ref": "one"}
    assert (travis.timeouts.settle, small.timeouts.settle) == (60.0, 5.0)


def test_targets_without_templates_share_one_request():
    plan = plan_of(
        "version: 1\ndefaults: {message: hi}\ntargets: [acme/a, acme/b, 'travis:acme/c#x', {repos: [acme/d, acme/e]}]"
    )
    first, second, odd, *long = (target.request for target in plan.targets)
    assert first is second
    assert long[0] is long[1]
    assert odd == first


def test_a_marker_may_be_left_out_for_one_target_or_by_default():
    text = "version: 1\ndefaults: {marker: none}\ntargets: [acme/a, {repo: acme/b, marker: auto}]"
    assert [target.marked for target in plan_of(text).targets] == [False, True]


def test_anchors_and_merge_keys_carry_over_and_keep_their_places():
    text = """
version: 1
x-common: &common {branch: main, message: hi, labels: [a]}
targets:
  - <<: *common
    repo: acme/a
    message: own
  - {<<: [{labels: [b]}, *common], repo: acme/b}
"""
    first, second = plan_of(text).targets
    assert (first.branch, first.request, first.labels) == ("main", {"message": "own"}, ("a",))
    assert (second.request, second.labels) == ({"message": "hi"}, ("b",))
    said = wrong(text.replace("branch: main", "branch: 1.10"))
    assert said.splitlines() == [
        'm.yaml:3:28: targets[0].branch: expected text, found 1.10 (a number); quote it: "1.10"',
        'm.yaml:3:28: targets[1].branch: expected text, found 1.10 (a number); quote it: "1.10"',
    ]


# templates


def test_templates_know_params_matrix_target_and_run():
    text = """
version: 1
name: nightly
params: {image: "ubuntu:24.04"}
defaults:
  message: "${{params.image}} ${{ run.id }} ${{ run.name }} ${{ target.id }}"
  env: {WHERE: "${{ target.owner }}|${{ target.name }}|${{ target.repo }}|${{ target.branch }}|${{ matrix.os }}"}
  matrix: {os: [linux]}
targets: [acme/a@main]
"""
    (target,) = plan_of(text, run_id="r1").targets
    assert target.request["message"] == "ubuntu:24.04 r1 nightly travis:acme/a@main[os=linux]"
    assert target.request["env"] == {"WHERE": "acme|a|acme/a|main|linux"}


def test_the_result_of_a_template_is_never_read_again():
    message = "${{ params.a }} $${{ x }} $HOME ${x}"
    text = f'version: 1\nparams: {{a: "${{{{ run.id }}}}"}}\ntargets: [{{repo: acme/a, message: "{message}"}}]'
    (target,) = plan_of(text, run_id="r").targets
    assert target.request["message"] == "${{ run.id }} ${{ x }} $HOME ${x}"


def test_templates_reach_into_config_labels_branches_needs_and_names():
    text = """
version: 1
params: {v: "2"}
targets:
  - acme/lib-2@main
  - repo: "acme/app-${{ params.v }}"
    branch: "release/${{ params.v }}.x"
    name: "n${{ params.v }}"
    labels: ["v${{ params.v }}"]
    needs: ["acme/lib-${{ params.v }}"]
    config: {script: ["make ${{ target.branch }}", {deep: "${{ params.v }}"}]}
    skip: {reason: "waits for ${{ params.v }}"}
"""
    _, target = plan_of(text).targets
    assert target.id == "travis:acme/app-2@release/2.x#n2"
    assert target.labels == ("v2",)
    assert target.needs == ("travis:acme/lib-2@main",)
    assert target.request == {"config": {"script": ["make release/2.x", {"deep": "2"}]}}
    assert target.skip == "waits for 2"


def test_a_parameter_comes_from_the_flag_then_the_environment_then_its_default():
    text = "version: 1\nparams: {a: one, b: {default: two}, c: three}\ntargets: [acme/a]"
    manifest = manifest_of(text, params={"a": "flag"}, fallback={"A": "env", "B": "env", "NOBODY": "x"})
    assert manifest.params == {"a": "flag", "b": "env", "c": "three"}


def test_a_parameter_without_a_value_is_an_error_only_where_values_matter():
    text = "version: 1\nparams: {image: {help: base image}}\ntargets: [{repo: acme/a, message: '${{ params.image }}'}]"
    assert wrong(text) == (
        "m.yaml:2:17: params.image: the parameter has no value (base image); "
        "give it with -p image=VALUE or ORCHESTRATOR_PARAM_IMAGE, or write a `default`"
    )
    assert manifest_of(text, strict_params=False).params == {"image": "image"}


def test_parameters_that_nobody_knows_and_values_beyond_the_choices_are_refused():
    text = "version: 1\nparams: {image: {default: a, choices: [a, b]}}\ntargets: [acme/a]"
    assert wrong(text, params={"imgae": "x"}) == "-p: imgae: unknown parameter; did you mean `image`?"
    assert "'c' is not among the choices; one of a, b" in wrong(text, params={"image": "c"})


# matrix


def test_a_matrix_makes_a_target_for_each_combination_but_those_excluded():
    text = """
version: 1
targets:
  - repo: acme/a
    matrix: {python: ["3.11", "3.12"], os: [linux, osx], exclude: [{python: "3.11", os: osx}]}
    env: {PYTHON: "${{ matrix.python }}"}
"""
    plan = plan_of(text)
    assert ids(plan) == [
        "travis:acme/a[python=3.11,os=linux]",
        "travis:acme/a[python=3.12,os=linux]",
        "travis:acme/a[python=3.12,os=osx]",
    ]
    assert [target.request["env"]["PYTHON"] for target in plan.targets] == ["3.11", "3.12", "3.12"]


# skip


def test_a_skip_holds_until_its_day_and_then_says_that_it_may_go():
    text = (
        "version: 1\ntargets: [{repo: acme/a, skip: {reason: frozen, until: 2026-03-01}}, {repo: acme/b, skip: gone}]"
    )
    before = plan_of(text, today=datetime.date(2026, 2, 28))
    assert [target.skip for target in before.targets] == ["frozen (until 2026-03-01)", "gone"]
    after = plan_of(text, today=datetime.date(2026, 3, 1))
    assert [target.skip for target in after.targets] == [None, "gone"]
    assert "a skip ended on 2026-03-01 (frozen): remove it from the manifest" in after.warnings


# needs


def test_a_need_is_an_id_the_same_branch_all_of_a_repo_or_a_label():
    text = """
version: 1
targets:
  - {repo: acme/lib, branches: [main, dev], labels: [base]}
  - {repo: acme/a, branch: main, needs: acme/lib}
  - {repo: acme/b, branch: other, needs: [ACME/lib]}
  - {repo: acme/c, needs: ["label:base"]}
  - {repo: acme/d, needs: [acme/lib@dev, "travis:acme/a@main"]}
"""
    needs = {target.repo: target.needs for target in plan_of(text).targets}
    main, dev = "travis:acme/lib@main", "travis:acme/lib@dev"
    assert needs["acme/a"] == (main,)
    assert needs["acme/b"] == (main, dev)
    assert needs["acme/c"] == (main, dev)
    assert needs["acme/d"] == (dev, "travis:acme/a@main")


def test_a_need_looks_on_its_own_account_first():
    text = """
version: 1
providers: {one: {type: travis}, two: {type: travis}}
targets:
  - one:acme/lib
  - two:acme/lib
  - one:acme/base
  - {repo: acme/a, account: two, needs: [acme/lib, acme/base]}
"""
    assert plan_of(text).targets[-1].needs == ("two:acme/lib", "one:acme/base")


def test_a_long_chain_of_needs_is_no_trouble():
    lines = ["acme/r0", *(f"{{repo: acme/r{n}, needs: [acme/r{n - 1}]}}" for n in range(1, 3000))]
    plan = plan_of("version: 1\ntargets:\n" + "".join(f"  - {line}\n" for line in lines))
    assert plan.targets[-1].needs == ("travis:acme/r2998",)


# accounts


def test_a_manifest_without_providers_has_one_account_travis():
    manifest = manifest_of("version: 1\ntargets: [acme/a]")
    (account,) = manifest.accounts.values()
    assert (account.name, account.type, account.url, account.token) == (
        "travis",
        "travis",
        "https://api.travis-ci.com",
        None,
    )
    assert account.limits[0] == Limit("triggers", 40, 30.0)


def test_a_written_limit_replaces_the_default_and_warns_when_it_is_above_it():
    text = """
version: 1
providers:
  travis: {limits: {triggers: 100/30s, triggers_per_repo: 5/h, connections: 4, in_flight: 7}}
targets: [acme/a]
"""
    manifest = manifest_of(text)
    account = manifest.accounts["travis"]
    assert [str(limit) for limit in account.limits] == ["triggers 100/30s", "calls 1800/1m", "triggers_per_repo 5/1h"]
    assert [limit.written for limit in account.limits] == [True, False, True]
    assert [limit.scope for limit in account.limits] == ["account", "account", "repo"]
    assert (account.connections, account.in_flight) == (4, 7)
    (warning,) = manifest.warnings
    assert "triggers 100/30s is above the provider's default triggers 40/30s" in warning


@pytest.mark.parametrize(
    ("said", "reference"),
    [
        ("env:TOKEN", "env:TOKEN"),
        ("{env: TOKEN}", "env:TOKEN"),
        ("file:secrets/token", "file:conf/secrets/token"),
        ("file:/run/token", "file:/run/token"),
        ("file:~/token", "file:~/token"),
        ("{file: token}", "file:conf/token"),
        ("command:pass show ci", "command:pass show ci"),
        ("{command: [pass, show, 'a b']}", "command:pass show 'a b'"),
    ],
)
def test_a_secret_is_a_reference_whose_path_starts_at_its_file(said, reference):
    text = f"version: 1\nproviders: {{travis: {{token: {said}}}}}\ntargets: [{{repo: acme/a, request_token: {said}}}]"
    manifest = read("conf/m.yaml", text.encode(), declarations=KNOWN, load=files())
    assert manifest.accounts["travis"].token == reference
    assert expand(manifest, today=TODAY).targets[0].request["request_token"] == reference


def test_settings_of_a_provider_reach_its_account():
    manifest = manifest_of("version: 1\nproviders: {small: {group: a}}\ntargets: [acme/a]")
    assert manifest.accounts["small"].settings == {"group": "a"}
    assert "unknown key `group` for an account of type travis" in wrong(
        "version: 1\nproviders: {travis: {group: a}, small: {}}\ntargets: [{repo: acme/a, account: travis}]"
    )


# the rest of the top level


def test_what_a_manifest_says_about_the_run():
    text = """
version: 1
name: nightly
fail_on: [failed, in_doubt]
expect: {min: 1, max: 5}
reports: {json: out/r.json, junit: /abs/r.xml}
rollout: {waves: [1, 10%, {name: rest, upto: 100%}], stop_when: {failed: 20%, after: 10}}
x-notes: {anything: [1.10, on]}
targets: [acme/a]
"""
    manifest = read("conf/m.yaml", text.encode(), declarations=KNOWN, load=files())
    assert manifest.name == "nightly"
    assert manifest.fail_on == {Outcome.FAILED, Outcome.IN_DOUBT}
    assert (manifest.expect.min, manifest.expect.max) == (1, 5)
    assert manifest.reports == {"json": "conf/out/r.json", "junit": "/abs/r.xml"}
    assert manifest.rollout == Rollout(
        (WaveRule("1"), WaveRule("10%"), WaveRule("100%", name="rest")), stop_when=StopWhen("20%")
    )
    assert len(manifest.digest) == 64


def test_a_report_format_that_nobody_knows_is_refused_where_the_known_ones_are_given():
    text = "version: 1\nreports: {jsn: a.json, text: a.txt}\ntargets: [acme/a]"
    told = "m.yaml:2:11: reports.jsn: unknown report format `jsn`; did you mean `json`?"
    assert wrong(text, formats=["json", "text"]) == told
    assert manifest_of(text).reports == {"jsn": "a.json", "text": "a.txt"}


@pytest.mark.parametrize(("source", "name"), [("-", "stdin"), ("a/nightly.yaml", "nightly"), ("nightly", "nightly")])
def test_a_manifest_without_a_name_is_called_like_its_file(source, name):
    assert read(source, b"version: 1\ntargets: [acme/a]", declarations=KNOWN, load=files()).name == name


# other files


def test_an_include_merges_maps_and_appends_targets():
    main = """
version: 1
name: main
include: [accounts.yaml]
providers: {travis: {url: https://ci.example.com}}
defaults: {env: {A: main}, message: main}
targets: [acme/a]
"""
    accounts = """
name: other
providers: {travis: {token: env:T, url: https://x.example.com, limits: {calls: 5/1m}}, two: {type: travis}}
defaults: {account: travis, env: {A: other, B: other}, message: other, branch: main}
targets: [acme/b]
"""
    manifest = manifest_of(main, load=files(accounts_yaml=accounts))
    assert manifest.name == "main"
    assert manifest.accounts["travis"].url == "https://ci.example.com"
    assert manifest.accounts["travis"].token == "env:T"
    assert list(manifest.accounts) == ["travis", "two"]
    plan = expand(manifest, today=TODAY)
    assert ids(plan) == ["travis:acme/a@main", "travis:acme/b@main"]
    assert plan.targets[1].where == "accounts.yaml:5:11"
    assert plan.targets[1].request == {"message": "main", "env": {"A": "main", "B": "other"}}


def test_a_file_that_two_files_include_is_read_once():
    load = files(a_yaml="include: c.yaml\ntargets: []", b_yaml="include: ./c.yaml", c_yaml="targets: [acme/c]")
    assert ids(plan_of("version: 1\ninclude: [a.yaml, b.yaml]\ntargets: []", load=load)) == ["travis:acme/c"]


def test_paths_start_at_the_file_that_they_stand_in():
    seen = []

    def load(path):
        seen.append(path)
        return {"conf/parts/a.yaml": b"targets: [{from: ../repos.txt}]"}.get(path, b"acme/a\n")

    manifest = read("conf/m.yaml", b"version: 1\ninclude: parts/a.yaml\ntargets: []", declarations=KNOWN, load=load)
    assert seen == ["conf/parts/a.yaml", "conf/parts/../repos.txt"]
    assert ids(expand(manifest, today=TODAY)) == ["travis:acme/a"]


def test_targets_come_from_lines_with_comments():
    text = "version: 1\ntargets: [acme/first, {from: repos_txt, labels: [listed], branch: main}, acme/last]"
    lines = "# all of them\nacme/a  # the first\n\n  acme/b@dev\r\ntravis:acme/c#name\n"
    plan = plan_of(text.replace("repos_txt", "repos.txt"), load=files(repos_txt=lines))
    assert ids(plan) == [
        "travis:acme/first",
        "travis:acme/a@main",
        "travis:acme/b@dev",
        "travis:acme/c@main#name",
        "travis:acme/last",
    ]
    assert [target.labels for target in plan.targets] == [(), ("listed",), ("listed",), ("listed",), ()]
    assert plan.targets[2].where == "repos.txt:4:1"


def test_targets_come_from_csv_with_dots_for_nesting_and_semicolons_for_lists():
    text = "version: 1\ndefaults: {branch: main}\ntargets: [{from: repos.csv, labels: [listed]}]"
    rows = (
        "\ufeffrepo,branches,labels,env.WHO,timeouts.build,matrix.os,skip.reason,message\n"
        'acme/a,main;dev,core;x,me,2h,,,"a, ""b""\nc"\n'
        "acme/b,,,,,linux;osx,,\n"
        "4711,,,,,,frozen,\n"
    )
    plan = plan_of(text, load=files(repos_csv=rows))
    assert ids(plan) == [
        "travis:acme/a@main",
        "travis:acme/a@dev",
        "travis:acme/b@main[os=linux]",
        "travis:acme/b@main[os=osx]",
        "travis:4711@main",
    ]
    first, _, matrix, _, last = plan.targets
    assert first.request == {"message": 'a, "b"\nc', "env": {"WHO": "me"}}
    assert (first.labels, matrix.labels) == (("listed", "core", "x"), ("listed",))
    assert first.timeouts.build == 7200
    assert last.skip == "frozen"


TWO = "version: 1\nproviders: {one: {type: travis}, two: {type: small}}\n"


def test_each_row_of_a_csv_may_name_its_own_account():
    rows = "repo,account\nacme/a,one\nacme/b,two\n"
    assert ids(plan_of(TWO + "targets: [{from: r.csv}]", load=files(r_csv=rows))) == ["one:acme/a", "two:acme/b"]
    lines = "one:acme/a\ntwo:acme/b\n"
    assert ids(plan_of(TWO + "targets: [{from: r.txt}]", load=files(r_txt=lines))) == ["one:acme/a", "two:acme/b"]


def test_a_row_that_names_no_account_is_told_with_its_line():
    rows = "repo,account\nacme/a,one\nacme/b,\n"
    with pytest.raises(ManifestError) as caught:
        plan_of(TWO + "targets: [{from: r.csv}]", load=files(r_csv=rows))
    (problem,) = str(caught.value).splitlines()
    assert problem.startswith("r.csv:3:1")
    assert "which account? there are one, two" in problem


def test_a_key_that_no_account_knows_is_refused_though_the_rows_name_the_accounts():
    rows = "repo,account\nacme/a,one\n"
    with pytest.raises(ManifestError, match="unknown key `messsage`"):
        plan_of(TWO + "targets: [{from: r.csv, messsage: x}]", load=files(r_csv=rows))


def test_a_column_of_a_list_takes_one_item_too():
    rows = "repos,branches\nacme/a;acme/b,main\nacme/c,main;dev\n"
    plan = plan_of("version: 1\ntargets: [{from: r.csv}]", load=files(r_csv=rows))
    assert ids(plan) == ["travis:acme/a@main", "travis:acme/b@main", "travis:acme/c@main", "travis:acme/c@dev"]


def test_a_list_may_come_from_stdin_unless_the_manifest_does():
    text = b"version: 1\ntargets: [{from: '-'}]"
    load = {"-": b"acme/a\n"}.__getitem__
    assert ids(expand(read("m.yaml", text, declarations=KNOWN, load=load), today=TODAY)) == ["travis:acme/a"]
    with pytest.raises(ManifestError, match="stdin is the manifest already"):
        read("-", text, declarations=KNOWN, load=load)


# what only providers know


def answered(**more):
    return Answers(offline=False, **more)


DISCOVER = """
version: 1
defaults: {branches: ["release/*", main]}
targets:
  - discover: {owner: acme, match: ["svc-*", "acme/lib"], exclude: "svc-old-*"}
    labels: [found]
"""
FOUND = [
    RepoFacts("1", "acme/svc-a", active=True, labels=("python",)),
    RepoFacts("2", "acme/svc-old-b", active=True),
    RepoFacts("3", "acme/svc-off", active=False),
    RepoFacts("4", "acme/lib", active=True),
    RepoFacts("5", "acme/other", active=True),
]


def test_questions_are_asked_until_all_is_known():
    manifest = manifest_of(DISCOVER)
    assert questions(manifest) == Questions(owners=(("travis", "acme"),))
    owners = {("travis", "acme"): FOUND}
    assert questions(manifest, answered(owners=owners)) == Questions(
        branches=(("travis", "acme/svc-a"), ("travis", "acme/lib"))
    )
    branches = {
        ("travis", "acme/svc-a"): ["main", "release/1.x", "release/1.x/fix", "dev"],
        ("travis", "acme/lib"): ["dev"],
    }
    answers = answered(owners=owners, branches=branches)
    assert not questions(manifest, answers)
    plan = expand(manifest, answers, today=TODAY)
    assert ids(plan) == [
        "travis:acme/svc-a@release/1.x",
        "travis:acme/svc-a@main",
        "travis:acme/lib@release/*",
        "travis:acme/lib@main",
    ]
    assert plan.targets[0].labels == ("found", "python")
    assert plan.targets[2].skip == "no branch matches release/*"
    assert "no branch of acme/lib matches release/*" in plan.warnings
    assert "discover acme: 1 inactive repositories are left out" in plan.warnings


@pytest.mark.parametrize("targets", ["[acme/a@main, acme/b]", "[{repo: 4711}, '4712@main']"])
def test_nothing_is_asked_when_everything_is_written(targets):
    assert not questions(manifest_of(f"version: 1\ntargets: {targets}"))


def test_what_was_found_while_asking_is_used_only_for_the_same_answers_and_whatever_the_day():
    manifest = manifest_of(DISCOVER)
    owners = {("travis", "acme"): FOUND}
    questions(manifest, answered(owners=owners))
    assert expand(manifest, Answers(), today=TODAY).targets == ()

    dated = "version: 1\ntargets: [{repo: acme/a, skip: {reason: frozen, until: '2026-03-01'}}]"
    manifest = manifest_of(dated)
    for today, skip in ((datetime.date(2026, 2, 28), "frozen (until 2026-03-01)"), (datetime.date(2026, 3, 1), None)):
        assert not questions(manifest)
        assert expand(manifest, today=today).targets[0].skip == skip


def test_unanswered_questions_are_left_out_offline_and_a_mistake_otherwise():
    manifest = manifest_of(DISCOVER)
    plan = expand(manifest, Answers(), today=TODAY)
    assert plan.targets == ()
    assert "discover acme: not looked up; its targets are missing here" in plan.warnings
    with pytest.raises(ValueError, match="not answered"):
        expand(manifest, answered(), today=TODAY)


def test_a_need_of_something_that_is_not_looked_up_is_no_error_offline():
    text = DISCOVER + "  - {repo: acme/app, branch: main, needs: [acme/svc-a]}\n"
    assert plan_of(text).targets[0].needs == ()
    owners = {("travis", "acme"): FOUND}
    branches = {("travis", "acme/svc-a"): ["main"], ("travis", "acme/lib"): []}
    plan = plan_of(text, answered(owners=owners, branches=branches))
    assert plan.targets[-1].needs == ("travis:acme/svc-a@main",)


def test_a_number_and_the_name_of_one_repository_are_one():
    text = "version: 1\ntargets: [{repo: 4711, branch: main}, acme/x@dev, {repo: acme/y, needs: ['4711@main']}]"
    manifest = manifest_of(text)
    assert questions(manifest) == Questions(numbers=(("travis", "4711"),))
    answers = answered(numbers={("travis", "4711"): "acme/x"})
    assert not questions(manifest, answers)
    plan = expand(manifest, answers, today=TODAY)
    assert ids(plan) == ["travis:acme/x@main", "travis:acme/x@dev", "travis:acme/y"]
    assert plan.targets[2].needs == ("travis:acme/x@main",)
    twice = manifest_of(text.replace("acme/x@dev", "ACME/x@main"))
    with pytest.raises(ManifestError, match="duplicate target: 4711 is acme/x, which also stands at"):
        expand(twice, answers, today=TODAY)


# without a manifest


def test_repos_of_the_command_line_make_a_plan():
    plan = from_repos(["acme/a@main", "travis:acme/b"], declarations=KNOWN)
    assert (ids(plan), plan.name, plan.manifest) == (["travis:acme/a@main", "travis:acme/b"], "adhoc", None)
    with pytest.raises(ManifestError, match="--repo: 'acme/a b' is no repository's name"):
        from_repos(["acme/a b"], declarations=KNOWN)


def test_lines_of_a_file_or_of_stdin_make_a_plan():
    assert ids(from_lines("-", b"acme/a@main\n# no\n", declarations=KNOWN)) == ["travis:acme/a@main"]
    assert ids(from_lines("x.csv", b"repo,branch\nacme/a,main\n", declarations=KNOWN)) == ["travis:acme/a@main"]
    with pytest.raises(ManifestError, match="the file is not UTF-8"):
        from_lines("-", b"\xff", declarations=KNOWN)


def test_the_starter_is_a_manifest_that_teaches():
    manifest = manifest_of(starter())
    assert not questions(manifest)
    assert len(expand(manifest, today=TODAY).targets) == 4
    assert starter().startswith("# yaml-language-server: $schema=")
