"""Samples of the lists that people have, by the names that docs/how-to/lists.md gives them."""

import re
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "lists.md").read_text(encoding="utf-8")
ENTRIES = [line for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for line in re.split(r"\n(?=- )", block)]
FILES = {
    "repos.json": '[{"nameWithOwner": "acme/a", "defaultBranchRef": {"name": "main"}, "isArchived": false}]',
    "github.json": '[{"id": 1, "name": "a", "full_name": "acme/a", "default_branch": "main", "topics": []}]\n[]',
    "gitlab.json": '[{"id": 1, "name": "a", "path_with_namespace": "acme/a", "default_branch": "main"}]',
    "inventory.csv": "Team;Repository;Default Branch;Cost\ncore;acme/a;main;3\n",
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


def line_for(name):
    """The lines of the page that make a list of this file."""
    (line,) = [
        code
        for head, code in re.findall(r"```sh (\S+)\n(.*?)```", PAGE, re.DOTALL)
        if head.strip(".") == name.strip(".").removeprefix("my.")
    ]
    return line


def add_python(folder):
    """Puts the Python of these tests where a virtual environment of this folder would have it."""
    place = folder / ".venv" / "bin" / "python"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    place.chmod(0o755)
