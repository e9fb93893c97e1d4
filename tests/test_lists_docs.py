"""The lines of docs/how-to/lists.md, run on samples of what they read."""

import subprocess

import pytest

from orchestrator.manifest import from_lines
from tests.list_samples import CHECKOUTS, ENTRIES, FILES, SHA, add_python, line_for
from tests.manifest_helpers import KNOWN, ids, plan_of


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_reads_a_sample(entry):
    text = "version: 1\ntargets:\n" + entry.rstrip() + "\n"
    plan = plan_of(text, load=lambda path: FILES[path].encode())
    assert ids(plan) == ["travis:acme/a@main"]
    assert not any("is ignored" in text for text in plan.warnings)


@pytest.mark.parametrize("text", ['["acme/a", {"repository": "acme/b", "labels": ["x"]}]', '{"repository": "acme/b"}'])
def test_entries_of_renovate_may_be_objects(text):
    (entry,) = [entry for entry in ENTRIES if "config.json" in entry]
    plan = plan_of(f"version: 1\ntargets:\n{entry.rstrip()}\n", load=lambda path: text.encode())
    assert ids(plan)[-1] == "travis:acme/b@main"


def test_a_page_of_the_catalog_is_read():
    (entry,) = [entry for entry in ENTRIES if "entities.json" in entry]
    page = f'{{"items": {FILES["entities.json"]}, "totalItems": 1, "pageInfo": {{"nextCursor": "x"}}}}'
    plan = plan_of(f"version: 1\ntargets:\n{entry.rstrip()}\n", load=lambda path: page.encode())
    assert ids(plan) == ["travis:acme/a@main"]


@pytest.mark.parametrize("name", CHECKOUTS)
def test_each_line_makes_a_list_of_a_sample_with_its_branches_and_commits(tmp_path, name):
    (tmp_path / name).write_text(CHECKOUTS[name])
    add_python(tmp_path)
    done = subprocess.run(["sh", "-c", line_for(name)], cwd=tmp_path, capture_output=True, check=True)
    plan = from_lines("-", done.stdout, declarations=KNOWN)
    assert ids(plan) == ["travis:acme/a@release/2.x", "travis:acme/b"]
    has_commits = name != ".gitmodules"
    assert plan.targets[1].request.get("sha") == (SHA if has_commits else None)
