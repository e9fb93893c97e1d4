"""The lines of docs/how-to/lists.md, run on samples of what they read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.manifest import from_lines
from tests.manifest_helpers import KNOWN, ids, plan_of

PAGE = Path("docs/how-to/lists.md").read_text()
ENTRIES = [line for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for line in re.split(r"\n(?=- )", block)]
FILES = {
    "repos.json": '[{"nameWithOwner": "acme/a", "defaultBranchRef": {"name": "main"}, "isArchived": false}]',
    "github.json": '[{"id": 1, "name": "a", "full_name": "acme/a", "default_branch": "main", "topics": []}]\n[]',
    "gitlab.json": '[{"id": 1, "name": "a", "path_with_namespace": "acme/a", "default_branch": "main"}]',
    "inventory.csv": "Team;Repository;Default Branch;Cost\ncore;acme/a;main;3\n",
}
FILES |= {
    "discovered.json": '["acme/a"]',
    "config.json": '{"platform": "github", "autodiscover": false, "repositories": ["acme/a"]}',
    "entities.json": """[{"apiVersion": "backstage.io/v1alpha1", "kind": "Component", "spec": {"type": "service"},
        "metadata": {"name": "a", "tags": [], "annotations": {"github.com/project-slug": "acme/a", "x/y": ""}}}]""",
}
SHA = "0123456789" * 4
CHECKOUTS = {
    ".gitmodules": """
[submodule "libs/a"]
\tpath = libs/a
\turl = https://github.com/acme/a.git
\tbranch = release/2.x
[submodule "b.c"]
\tpath = b
\tbranch = .
\turl = git@github.com:acme/b.git
""",
    "default.xml": f"""<manifest>
  <remote name="hub" fetch="https://github.com/acme/"/>
  <default remote="hub" revision="refs/heads/release/2.x"/>
  <project name="a" path="a"/>
  <project name="acme/b" remote="review" revision="{SHA}" upstream="main"/>
</manifest>""",
    "west.yml": f"""
manifest:
  remotes: [{{name: hub, url-base: https://github.com/acme}}]
  defaults: {{remote: hub, revision: release/2.x}}
  projects:
    - name: a
    - {{name: bee, url: https://github.com/acme/b, revision: {SHA}}}
  self: {{path: app}}
""",
    "my.repos": f"""
repositories:
  src/a: {{type: git, url: https://github.com/acme/a.git, version: release/2.x}}
  src/b:
    url: git@github.com:acme/b.git
    type: git
    version: {SHA}
""",
}


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
    (line,) = [
        code
        for head, code in re.findall(r"```sh( .*?)\n(.*?)```", PAGE, re.DOTALL)
        if name.strip(".").removeprefix("my") in head
    ]
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, check=True)
    plan = from_lines("-", done.stdout, declarations=KNOWN)
    assert ids(plan) == ["travis:acme/a@release/2.x", "travis:acme/b"]
    has_commits = name != ".gitmodules"
    assert plan.targets[1].request.get("sha") == (SHA if has_commits else None)
