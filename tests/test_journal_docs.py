import re
from pathlib import Path

from orchestrator.core.events import KINDS
from orchestrator.core.frozen import defaults_of
from orchestrator.journal.sql.migrations import APPLICATION

PAGE = (Path(__file__).parent.parent / "docs" / "journal.md").read_text("utf-8")


def test_the_page_lists_every_event_with_its_fields():
    rows = re.findall(r"^\| [a-z, ]+ \| `(\w+)` \| ([^|]*)\|", PAGE, re.MULTILINE)
    said = {kind: [name for name in listed.strip().split(", ") if name] for kind, listed in rows}
    assert said == {kind: [written(name, cls) for name in cls.__struct_fields__] for kind, cls in KINDS.items()}


def written(name, cls):
    said = name.rstrip("_")
    return f"({said})" if name in defaults_of(cls) else said


def test_the_page_names_the_file_by_its_id():
    assert f"{APPLICATION:#x}" in PAGE
