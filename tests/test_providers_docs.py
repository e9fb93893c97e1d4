"""docs/providers.md, followed to the letter: the package in it is built, installed and used."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from orchestrator.providers import port, registry

DOC = Path(__file__).parents[1] / "docs" / "providers.md"
BLOCK = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def row(declared):
    keys = " ".join(f"`{key}`" for key in declared.keys)
    token = f"`{declared.token_env}`" if declared.token_env else "none"
    return f"| `{declared.type}` | {declared.title} | {declared.finds} | {token} | {keys} |"


@pytest.mark.parametrize("declared", registry.known().values(), ids=lambda declared: declared.type)
def test_each_type_has_its_row(declared):
    assert row(declared) in DOC.read_text(encoding="utf-8")


def abilities():
    found = [one for one in vars(port).values() if getattr(one, "_is_runtime_protocol", False)]
    return sorted(name for one in found for name in vars(one) if not name.startswith("_"))


def test_every_ability_has_its_row():
    table = DOC.read_text(encoding="utf-8").partition("## Abilities")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == abilities()


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
            path = folder / ("" if name == "toy.yaml" else "orchestrator-toy") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def run(self, *words, code=0):
        environ = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder)}
        done = subprocess.run(
            [self.python, *words], cwd=self.folder, env=environ, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def orchestrator(self, *words, code=0):
        return self.run("-m", "orchestrator", *words, code=code)


@pytest.mark.slow
def test_a_stranger_who_follows_the_page_has_a_provider(tmp_path):
    stranger = Stranger(tmp_path)
    package = tmp_path / "orchestrator-toy"
    lines = sum(len(path.read_text().splitlines()) for path in (package / "orchestrator_toy").glob("[dp]*.py"))
    assert lines < 180, "declaration and provider are short"

    stranger.orchestrator("check", "toy.yaml", code=2)  # not installed yet
    wheel = ("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", "wheels", str(package))
    stranger.run("-m", *wheel)
    [built] = (tmp_path / "wheels").glob("*.whl")
    stranger.run("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", stranger.packages, built)

    stranger.orchestrator("check", "toy.yaml")
    properties = json.loads(stranger.orchestrator("schema"))["$defs"]["Target"]["properties"]
    assert "machine" in properties
    assert "calls: 2 triggers" in stranger.orchestrator("plan", "--offline", "toy.yaml")
    assert "sandbox" in stranger.orchestrator("doctor", "--sandbox", "toy.yaml")
    report = json.loads(stranger.orchestrator("run", "--sandbox", "-q", "-o", "json", "toy.yaml"))
    assert [target["outcome"] for target in report["targets"]] == ["passed", "passed"]
    told = stranger.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "orchestrator-toy/tests")
    assert int(re.search(r"(\d+) passed", told)[1]) > 80, told
