"""A row a target, for spreadsheets; no cell can start a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain

from orchestrator.report.view import Report, Row
from orchestrator.report.words import plain

COLUMNS = tuple(name for name in Row.__struct_fields__ if name not in ("target", "builds"))


def render(report: Report) -> str:
    """A header with the names of `report.json`, then the targets; lists and matrices are joined by `;`."""
    return "".join(pieces(report))


def pieces(report: Report) -> Iterator[str]:
    """The rows, one at a time."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for cells in chain([COLUMNS], map(_cells, report.targets)):
        writer.writerow(cells)
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _cells(row: Row) -> Iterator[str]:
    for name in COLUMNS:
        value = getattr(row, name)
        if name == "matrix":
            value = ";".join(f"{key}={text}" for key, text in row.matrix.items())
        elif name == "labels":
            value = ";".join(row.labels)
        yield "" if value is None else _harmless(str(value))


def _harmless(text: str) -> str:
    """Spreadsheets run a cell that begins so; an apostrophe makes it text."""
    clean = plain(text)
    return f"'{clean}" if clean.startswith(("=", "+", "-", "@")) else clean
