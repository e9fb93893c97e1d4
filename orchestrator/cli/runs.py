"""`orchestrator runs`: what runs there are; takes old ones away, or one to another machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from orchestrator.app import runs as app
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import SHOW, duration
from orchestrator.core.times import clock
from orchestrator.journal.port import RunRow
from orchestrator.report.words import plain


@verb(
    click.argument("run", required=False),
    click.option("--open", "only_open", is_flag=True, help="Only those that have not ended."),
    click.option("--prune", metavar="30d", help="Forget runs that ended longer ago than that."),
    click.option("--export", metavar="FILE", help="Write the state (or only RUN) into one file, for another machine."),
    shows=(SHOW,),
    formats=TEXT,
)
async def runs(face: Face, run: str | None, only_open: bool, prune: str | None, export: str | None) -> None:
    """List the runs in the state, newest first; RUN is the beginning of an id."""
    if prune is not None:
        face.note(f"{await app.prune(face.context, duration(prune, '--prune')):,} runs forgotten")
    elif export is not None:
        file = face.context.path(export)
        number = await app.export(face.context, file, run)
        there = f"orchestrator resume --state sqlite:////FULL/PATH/{file.name}"
        face.note(f"{number:,} runs are in {file}; there: {there}")
    else:
        rows = await app.runs(face.context, run or "", open_only=only_open)
        if face.flags.stdout == "json":
            face.json([_row(row) for row in rows])
        else:
            face.tell("\n".join(_table(rows)))


def _row(row: RunRow) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "status": _status(row),
        "made_at": clock(row.made_at),
        "ended_at": clock(row.ended_at) or None,
        "targets": row.targets,
        "exit_code": row.exit_code,
        "parent": row.parent,
    }


def _status(row: RunRow) -> str:
    if row.ended_at is not None:
        return "ended"
    return "driven" if row.driven else "open"


def _table(rows: Sequence[RunRow]) -> Iterator[str]:
    if not rows:
        yield "no runs"
        return
    width = max(len(row.id) for row in rows)
    for row in rows:
        end = f"exit {row.exit_code}" if row.ended_at is not None else ""
        parent = f"  retry of {row.parent}" if row.parent else ""
        yield f"{row.id:<{width}}  {_status(row):<6}  {end:<8}  {row.targets:>7,} targets  {plain(row.name)}{parent}"
