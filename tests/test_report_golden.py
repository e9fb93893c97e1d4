"""Whole reports of whole journals, kept as files: tests/golden/CASE/journal.json beside what comes of it.

After a wanted change run `python tests/test_report_golden.py`, and read the difference before you commit it.
"""

from pathlib import Path

import pytest
from golden.story import CASES, HERE, read

from orchestrator.report import FORMATS, render
from orchestrator.report.view import view
from orchestrator.report.why import explain

# The page is mostly its own style, and CTRF names the version: both are tested by what they say.
# Facts are the journal itself.
KEPT = [name for name in FORMATS if name not in ("html", "ctrf", "events")]


def place_of(case: str, name: str) -> Path:
    return HERE / case / f"{name}.{FORMATS[name].extension}"


def written(case: str, name: str) -> str:
    story = read(case)
    return render(view(story.run_id, story.history, story.now), name)


def explained(case: str) -> str:
    story = read(case)
    told = [
        explain(one, story.entries, story.history, story.now, story.run_id).for_people()
        for one in story.history.targets
    ]
    return "\n\n".join("\n".join(lines) for lines in told) + "\n"


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("case", CASES)
def test_a_journal_gives_the_report_that_is_kept_beside_it(case, name):
    assert written(case, name) == place_of(case, name).read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_a_journal_gives_the_explanations_that_are_kept_beside_it(case):
    assert explained(case) == (HERE / case / "why.txt").read_text(encoding="utf-8")


def test_a_report_of_a_left_run_does_not_depend_on_when_it_is_made():
    story = read("mixed")
    for name in FORMATS:
        early = render(view(story.run_id, story.history, story.now), name)
        assert render(view(story.run_id, story.history, story.now + 1e6), name) == early


if __name__ == "__main__":
    for case in CASES:
        for name in KEPT:
            place_of(case, name).write_text(written(case, name), encoding="utf-8", newline="")
        (HERE / case / "why.txt").write_text(explained(case), encoding="utf-8", newline="")
