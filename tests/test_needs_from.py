"""Graphs of needs from files that people have, and what hostile ones come to."""

from __future__ import annotations

import json
import time

import pytest
from manifest_helpers import files, plan_of

from orchestrator.core.rollout import behind_needs
from orchestrator.manifest import ManifestError

HEAD = "version: 1\ntargets: [acme/api@main, acme/web@main, acme/lib@main, acme/lib@next]\n"


def needs_of(graph: str, name: str = "deps.dot", key: str = "", text: str = HEAD) -> dict[str, list[str]]:
    """What each target needs, without accounts."""
    plan = plan_of(f"{text}needs_from: {key or name}\n", load=files(**{name.replace(".", "_"): graph}))
    assert not strangers(plan)
    short = str.removeprefix
    return {short(t.id, "travis:"): [short(need, "travis:") for need in t.needs] for t in plan.targets if t.needs}


def strangers(plan) -> list[str]:
    """The warnings about names of a graph."""
    return [warning for warning in plan.warnings if "no target" in warning]


def wrong(graph: str, name: str = "deps.dot") -> str:
    with pytest.raises(ManifestError) as caught:
        plan_of(f"{HEAD}needs_from: {name}\n", load=files(**{name.replace(".", "_"): graph}))
    return str(caught.value)


API_NEEDS_LIB = {"acme/api@main": ["acme/lib@main"]}


@pytest.mark.parametrize(
    ("name", "graph"),
    [
        ("deps.dot", 'digraph { "acme/api" -> "acme/lib"; }'),
        ("deps.dot", "digraph deps {\n  acme/api -> acme/lib\n}"),
        (
            "deps.dot",
            'strict digraph "a b" { node [shape="box"]; rankdir=LR; "acme/api" -> "acme/lib" [label="a -> b"] }',
        ),
        (
            "deps.dot",
            'digraph { // none\n /* "x" -> "y" */\n# cpp\n"acme/api" [label=<<b>x</b>>]; "acme/api" -> "acme/lib" }',
        ),
        ("deps.dot", 'digraph { "travis:acme/api@main" -> "acme/lib@main" }'),
        ("deps.json", '{"acme/api": ["acme/lib"]}'),
        ("deps.csv", "repo,needs\nacme/api,acme/lib\n"),
        ("deps.csv", "needs;repo\nacme/lib;acme/api\n"),
        ("deps.csv", 'team,repo,needs\nx,acme/api,"acme/lib; acme/lib"\n'),
    ],
)
def test_a_graph_adds_needs_to_targets(name, graph):
    assert needs_of(graph, name) == API_NEEDS_LIB


def test_chains_and_groups_are_read():
    text = 'digraph { subgraph cluster_a { "acme/web" } -> "acme/api" -> { "acme/lib"; } "acme/lib" }'
    assert needs_of(text) == {"acme/web@main": ["acme/api@main"], **API_NEEDS_LIB}


def test_arrows_can_be_turned():
    key = "{file: deps.csv, reverse: true}"
    assert needs_of("repo,needs\nacme/lib@main,acme/api\n", "deps.csv", key) == API_NEEDS_LIB


def test_a_graph_adds_to_what_is_written():
    text = "version: 1\ntargets: [acme/lib, acme/db, {repo: acme/api, needs: [acme/db]}]\n"
    assert needs_of('{"acme/api": ["acme/lib", "acme/db"]}', "deps.json", text=text) == {
        "acme/api": ["acme/db", "acme/lib"]
    }


def test_names_that_are_no_targets_are_one_warning():
    graph = json.dumps({"acme/api": ["acme/lib", *(f"other/r{n}" for n in range(7))]})
    plan = plan_of(f"{HEAD}needs_from: deps.json\n", load=files(deps_json=graph))
    assert strangers(plan) == [
        "deps.json: 7 names are no targets, and left out: other/r0, other/r1, other/r2, other/r3, other/r4 and 2 more",
    ]
    assert plan.targets[0].needs == ("travis:acme/lib@main",)


@pytest.mark.parametrize(
    ("name", "graph", "told"),
    [
        ("deps.dot", 'graph { "a" -- "b" }', "deps.dot:1:1: an undirected graph does not say which target needs which"),
        ("deps.dot", 'digraph {\n"a" -- "b" }', "deps.dot:2:1: `--` does not say which target needs which"),
        ("deps.dot", 'digraph { "a" -> "b"', "deps.dot:1:1: no GraphViz: `{` is opened and not closed"),
        ("deps.dot", 'digraph {\n\n"a -> b }', "deps.dot:3:1: no GraphViz: '\"a -> b }'"),
        ("deps.dot", "digraph { -> b }", "deps.dot:1:1: no GraphViz: `->` out of place"),
        ("deps.dot", "digraph { /* ", "deps.dot:1:1: no GraphViz: a comment is opened and not closed"),
        ("deps.dot", "digraph { a [label=<x] }", "deps.dot:1:1: no GraphViz: `<` is opened and not closed"),
        ("deps.dot", "digraph " + "{" * 30, "deps.dot:1:1: groups nested deeper than 20"),
        ("deps.json", "[]", 'deps.json:1:1: expected an object of lists: {"acme/api": ["acme/lib"]}'),
        ("deps.json", '{"a": [5]}', "deps.json:1:1: expected an object of lists"),
        ("deps.json", "{", "deps.json:1:1: no JSON"),
        ("deps.dot", "", "deps.dot:1:1: no GraphViz: there is no graph in it"),
        ("deps.csv", "a,b\n", "deps.csv:1:1: no columns `repo` and `needs` in the header, found 'a, b'"),
        ("deps.csv", 'repo,needs\n"a', "deps.csv:2:1: no CSV"),
        (
            "deps.dot",
            'digraph { "acme/api" -> "acme/web" -> "acme/api" }',
            "a circle of needs: travis:acme/api@main needs",
        ),
        ("missing.dot", None, "m.yaml:3:13: needs_from: cannot read missing.dot"),
    ],
)
def test_what_is_no_graph_is_told_with_its_place(name, graph, told):
    if graph is None:
        with pytest.raises(ManifestError) as caught:
            plan_of(f"{HEAD}needs_from: {name}\n")
        assert told in str(caught.value)
    else:
        assert told in wrong(graph, name)


@pytest.mark.parametrize(
    "graph",
    [
        "digraph {" + "/* " * 200_000,
        "digraph {" + '"' * 200_001,
        "digraph {" + "<" * 200_000,
        "digraph { {"
        + " ".join(f"a{n}" for n in range(2000))
        + "} -> {"
        + " ".join(f"b{n}" for n in range(2000))
        + "} }",
        "digraph { " + "a -> " * 200_000,
        "\\" * 200_000,
    ],
)
def test_a_hostile_graph_ends_soon_in_a_problem(graph):
    began = time.process_time()
    assert "deps.dot:1:1: " in wrong(graph)
    assert time.process_time() - began < 10.0


def test_ten_thousand_targets_with_a_hundred_thousand_arrows_are_planned_in_seconds():
    names = [f"acme/r{n}" for n in range(10_000)]
    graph = {name: [names[n - back] for back in range(1, 11) if n >= back] for n, name in enumerate(names)}
    text = "version: 1\ntargets:\n" + "".join(f"  - {name}\n" for name in names)
    began = time.process_time()
    plan = plan_of(f"{text}needs_from: deps.json\n", load=files(deps_json=json.dumps(graph)))
    assert sum(len(target.needs) for target in plan.targets) == 99_945
    assert [target.repo for target in behind_needs(plan.targets)] == names
    assert time.process_time() - began < 10.0


def test_needs_stand_in_a_column_of_a_list():
    text = "version: 1\ntargets: [{from: list.csv}]\n"
    plan = plan_of(text, load=files(list_csv="repo,needs\nacme/lib,\nacme/db,\nacme/api,acme/lib;acme/db\n"))
    assert plan.targets[2].needs == ("travis:acme/lib", "travis:acme/db")
