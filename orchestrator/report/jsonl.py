"""A JSON object a line, one for each target, for tools that stream."""

from __future__ import annotations

import json

from orchestrator.report.json import plain_row
from orchestrator.report.view import Report


def render(report: Report) -> str:
    """The targets of `report.json`, without the rest."""
    dump = json.JSONEncoder(ensure_ascii=False).encode
    return "".join(f"{dump(plain_row(row))}\n" for row in report.targets)
