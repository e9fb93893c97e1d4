"""For programs: the facts of a run as its journal has them, a JSON object a line (docs/journal.md has each kind)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from orchestrator.core.events import target_of, to_json
from orchestrator.core.times import clock
from orchestrator.report.view import Report

_OURS = {"at": "asked_at"}  # fields whose name a line has for itself
_dump = json.JSONEncoder(ensure_ascii=False).encode


def render(report: Report) -> Iterator[str]:
    """The facts in the order of reading; those about a target only where it is selected.

    Each line has the run, its stream (an account's name, empty for the run's own), its number there, when it was
    written, its kind, and its fields.
    """
    ids = {row.id for row in report.targets}
    for run, entry in report.facts:
        target = target_of(entry.event)
        if target is None or target in ids:
            head = {"run": run, "stream": entry.account, "seq": entry.seq, "at": clock(entry.at) or None}
            fields = {_OURS.get(name, name): value for name, value in to_json(entry.event).items()}
            yield _dump(_finite({**head, "event": entry.event.kind, **fields})) + "\n"


def _finite(value: Any) -> Any:
    """The value as JSON has it: a number that is none is null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
