"""`report.json`: the whole report, a line a target, so that it is quick to write and `grep` and `diff` can read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.core.frozen import asdict
from orchestrator.report.foreseen import ForecastView
from orchestrator.report.view import SCHEMA, BuildView, Report, Row, RunView

_dump = json.JSONEncoder(ensure_ascii=False).encode


def render(report: Report) -> str:
    """The document that `schema.json` describes."""
    return "".join(pieces(report))


def plain_row(row: Row) -> dict[str, Any]:
    """One target as a JSON object, in the order of the schema."""
    out: dict[str, Any] = {name: getattr(row, name) for name in _ROW}
    out["builds"] = [{name: getattr(build, name) for name in _BUILD} for build in row.builds]
    return out


def plain_run(run: RunView) -> dict[str, Any]:
    """The run as a JSON object."""
    return asdict(run)


_ROW = tuple(name for name in Row.__struct_fields__ if name != "target")
_BUILD = BuildView.__struct_fields__


def pieces(report: Report) -> Iterator[str]:
    """The document, a target at a time."""
    yield f'{{"schema": {_dump(SCHEMA)},\n'
    yield f' "run": {_dump(plain_run(report.run))},\n'
    yield f' "totals": {_dump(dict(report.totals))},\n'
    yield ' "targets": ['
    for number, row in enumerate(report.targets):
        yield f"{',' if number else ''}\n  {_dump(plain_row(row))}"
    yield '],\n "limits": ['
    for number, limit in enumerate(report.limits):
        yield f"{',' if number else ''}\n  {_dump(asdict(limit))}"
    yield f'],\n "calls": {_dump(dict(report.calls))},\n "forecast": {_dump(_forecast(report.forecast))}}}\n'


def _forecast(told: ForecastView | None) -> dict[str, Any] | None:
    return None if told is None else asdict(told)
