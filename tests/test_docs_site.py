"""The documentation as a site: every page is in its contents, every link leads somewhere, what is quoted is said."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.core.errors import Exit

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "examples" not in path.parts)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "orchestrator").rglob("*.py"))
TEXT = re.sub(r'"\s*\n\s*f?"', "", SOURCE)  # texts that stand in several pieces


def names(paths):
    return [str(path.relative_to(DOCS)) for path in paths]


def test_every_page_stands_in_the_contents():
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert sorted(listed) == sorted(name.removesuffix(".md") for name in names(PAGES) if name != "index.md")


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(path):
    text = re.sub(r"(?s)```.*?```", "", path.read_text(encoding="utf-8"))
    local = [
        there for there, _ in LINK.findall(text) if there and "://" not in there and not there.startswith("mailto:")
    ]
    assert [there for there in local if not (path.parent / there).exists()] == []


def test_troubleshooting_has_every_exit_code_but_that_of_success():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    rows = {int(number) for row in re.findall(r"(?m)^\| ([\d, ]+) \|", text) for number in row.split(",")}
    assert rows == {int(code) for code in Exit} - {0}


def test_troubleshooting_quotes_only_what_the_program_says():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## By message")[2]
    heads = re.findall(r"(?m)^\*\*(.*?)\*\*", text)
    quoted = [each for head in heads for each in re.findall(r"`([^`]*)`", head)]
    assert len(quoted) > 12
    pieces = {quote: [piece.strip() for piece in re.split(r"\.\.\.| NAME ", quote)] for quote in quoted}
    assert {quote for quote, all_ in pieces.items() if not all(piece in TEXT for piece in all_)} == set()


@pytest.mark.slow  # a whole site
def test_the_site_is_built_without_a_warning(tmp_path):
    words = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(DOCS),
        str(tmp_path / "site"),
    ]
    done = subprocess.run([*words, "-d", str(tmp_path / "trees")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "troubleshooting.html" in index
