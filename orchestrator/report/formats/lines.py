"""Formats with a line for each target: JSON lines, rows for spreadsheets, and `repo@branch` lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain

from orchestrator.report.formats.json import plain_row
from orchestrator.report.groups import to_rerun, word_of
from orchestrator.report.view import Report, Row
from orchestrator.report.words import plain

COLUMNS = tuple(name for name in Row.__struct_fields__ if name not in ("target", "builds"))


def json_lines(report: Report) -> Iterator[str]:
    """The targets of `report.json`, without the rest, for tools that stream."""
    dump = json.JSONEncoder(ensure_ascii=False).encode
    return (f"{dump(plain_row(row))}\n" for row in report.targets)


def csv_rows(report: Report) -> Iterator[str]:
    """A header with the names of `report.json`, then the targets; lists and matrices are joined by `;`."""
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


def short_forms(report: Report) -> str:
    """`repo@branch` lines of what did not pass, for `run --from` or a shell loop, without duplicates, in plan order.

    As with `retry`, what may still have a build of its own (in doubt, or being followed) is named in comments only, so
    that feeding the list to another run doubles nothing.
    """
    safe, unsafe = to_rerun(report.targets)
    comments = [f"# left out, {word_of(row)}: {short_form(row)}" for row in unsafe]
    return "".join(f"{line}\n" for line in dict.fromkeys([*map(short_form, safe), *comments]))


def short_form(row: Row) -> str:
    """`owner/name@branch` as manifests take it: the id without account, matrix and name."""
    rest = row.id.removeprefix(f"{row.account}:")
    return plain(rest.partition("[")[0].partition("#")[0])
