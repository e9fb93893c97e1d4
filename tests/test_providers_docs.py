"""docs/providers.md, followed to the letter: the package in it is built, installed and used."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from orchestrator.providers import registry
from orchestrator.testing.table import abilities, table

DOC = Path(__file__).parents[1] / "docs" / "providers.md"
EXAMPLE = DOC.parent / "examples" / "orchestrator-toy"
BLOCK = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_table_of_types_is_that_of_the_declarations():
    shown = DOC.read_text(encoding="utf-8").partition("## The types there are\n\n")[2].partition("\n\n")[0]
    assert f"{shown}\n" == table(registry.known().values()), "python -m orchestrator.testing.table prints it"


def test_the_page_shows_the_package_that_lies_beside_it():
    there = {str(path.relative_to(EXAMPLE)): path.read_text(encoding="utf-8") for path in files_of(EXAMPLE)}
    assert dict(BLOCK.findall(DOC.read_text(encoding="utf-8"))) == there


def files_of(folder):
    return [
        path for path in folder.rglob("*") if path.is_file() and not {"__pycache__", ".pytest_cache"} & {*path.parts}
    ]


def test_every_ability_has_its_row():
    table = DOC.read_text(encoding="utf-8").partition("## Abilities")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(abilities())


class Stranger:
    """Who follows the page in an environment of their own; what this one has is installed there, too."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
        (packages / "ours.pth").write_text("\n".join(path for path in sys.path if path))
        self.packages = packages
        for name, text in BLOCK.findall(DOC.read_text(encoding="utf-8")):
            path = folder / "orchestrator-toy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def run(self, *words, code=0):
        environ = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder)}
        environ.pop("COLUMNS", None)
        done = subprocess.run(
            [self.python, *words], cwd=self.folder, env=environ, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr * bool(code == 2)

    def orchestrator(self, *words, code=0):
        return self.run("-m", "orchestrator", *words, code=code)


@pytest.mark.slow
def test_a_stranger_who_follows_the_page_has_a_provider(tmp_path):
    stranger = Stranger(tmp_path)
    package = tmp_path / "orchestrator-toy"
    lines = sum(len(path.read_text().splitlines()) for path in (package / "orchestrator_toy").glob("[dp]*.py"))
    assert lines < 180, "declaration and provider are short"

    assert "there are: travis" in stranger.orchestrator("init", "--type", "toy", code=2)  # not installed yet
    wheel = ("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", "wheels", str(package))
    stranger.run("-m", *wheel)
    [built] = (tmp_path / "wheels").glob("*.whl")
    stranger.run("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", stranger.packages, built)

    stranger.orchestrator("init", "--type", "toy")
    stranger.orchestrator("check")
    (tmp_path / "wrong.yaml").write_text("version: 1\nproviders: {ci: {type: toi}}\ntargets: [acme/a]\n")
    assert "did you mean `toy`?" in stranger.orchestrator("check", "wrong.yaml", code=2)
    (tmp_path / "wrong.yaml").write_text(
        "version: 1\nproviders: {ci: {type: toy}}\ntargets: [{repo: a/b, machin: x}]\n"
    )
    assert "did you mean `machine`?" in stranger.orchestrator("check", "wrong.yaml", code=2)
    schema = json.loads(stranger.orchestrator("schema"))
    assert "machine" in schema["$defs"]["Target"]["properties"]
    for verb in ("sandbox", "init"):
        assert "toy" in stranger.orchestrator(verb, "--help")
    assert "| `toy` | Toy CI | by_marker | `cancel` `whoami` |" in stranger.run("-m", "orchestrator.testing.table")
    assert "calls: 2 triggers" in stranger.orchestrator("plan", "--offline")
    assert "sandbox" in stranger.orchestrator("doctor", "--sandbox")
    report = json.loads(stranger.orchestrator("run", "--sandbox", "-q", "-o", "json"))
    assert [target["outcome"] for target in report["targets"]] == ["passed", "passed"]
    told = ("--sandbox-fails", "acme/widget")
    report = json.loads(stranger.orchestrator("run", "--sandbox", *told, "-q", "-o", "json", code=1))
    assert [target["outcome"] for target in report["targets"]] == ["failed", "passed"]
    told = stranger.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "orchestrator-toy/tests")
    assert int(re.search(r"(\d+) passed", told)[1]) > 80, told
