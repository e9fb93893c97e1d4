"""The lines of docs/how-to/lists.md, run on samples of what they read."""

import re
import subprocess
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
GITMODULES = '[submodule "a"]\n\tpath = a\n\turl = https://github.com/acme/a.git\n'
URLS = "repositories:\n  a:\n    type: git\n    url: https://github.com/acme/a.git\n    version: main\n"
XML = '<manifest><remote name="o"/><project name="acme/a" path="a" revision="main"/></manifest>'


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_reads_a_sample(entry):
    text = "version: 1\ntargets:\n" + entry.rstrip() + "\n"
    plan = plan_of(text, load=lambda path: FILES[path].encode())
    assert ids(plan) == ["travis:acme/a@main"]
    assert not any("is ignored" in text for text in plan.warnings)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (".gitmodules", GITMODULES, "travis:acme/a"),
        (".repos", URLS, "travis:acme/a"),
        ("default.xml", XML, "travis:acme/a@main"),
    ],
)
def test_each_line_makes_a_list_of_a_sample(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    (line,) = [code for head, code in re.findall(r"```sh( .*?)\n(.*?)```", PAGE, re.DOTALL) if name.strip(".") in head]
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    assert ids(from_lines("-", done.stdout, declarations=KNOWN)) == [expected]
