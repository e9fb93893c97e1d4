"""A JSON object a line, one for each target, for tools that stream."""

from __future__ import annotations

import json
from collections.abc import Iterator

from orchestrator.report.formats.json import plain_row
from orchestrator.report.view import Report


def render(report: Report) -> str:
    """The targets of `report.json`, without the rest."""
    return "".join(pieces(report))


def pieces(report: Report) -> Iterator[str]:
    """The lines, one at a time."""
    dump = json.JSONEncoder(ensure_ascii=False).encode
    return (f"{dump(plain_row(row))}\n" for row in report.targets)
