"""`orchestrator runs`: what runs there are; takes old ones away, or one to another machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from orchestrator.app.context import run_async
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import exists, named, place, readable, writable
from orchestrator.cli.flags import SHOW, Flags, common, duration
from orchestrator.cli.output import note, tell
from orchestrator.journal.port import RunRow
from orchestrator.report.words import clock, plain


@click.command("runs", short_help="List the runs in the state.")
@click.argument("run", required=False)
@click.option("--open", "only_open", is_flag=True, help="Only those that have not ended.")
@click.option("--prune", metavar="30d", help="Forget runs that ended longer ago than that.")
@click.option("--export", metavar="FILE", help="Write the state (or only RUN) into one file, for another machine.")
@common(SHOW)
def command(
    flags: Flags, machine: Machine, run: str | None, only_open: bool, prune: str | None, export: str | None
) -> int:
    """List the runs in the state, newest first; RUN is the beginning of an id."""
    form = flags.stdout_format("text", ("text", "json"))
    if prune is not None:
        return run_async(lambda: _prune(flags, machine, duration(prune, "--prune")))
    if export is not None:
        return run_async(lambda: _export(flags, machine, run, machine.cwd / Path(export).expanduser()))
    if not exists(place(flags, machine)) and not run:
        rows: Sequence[RunRow] = ()
    else:
        rows = run_async(lambda: _rows(flags, machine, run or "", only_open))
    tell(json.dumps([_plain(row) for row in rows], indent=1) if form == "json" else "\n".join(_table(rows)))
    return 0


async def _rows(flags: Flags, machine: Machine, prefix: str, only_open: bool) -> Sequence[RunRow]:
    async with readable(flags, machine, prefix or None) as journal:
        return await journal.runs(prefix, open_only=only_open)


async def _prune(flags: Flags, machine: Machine, age: float) -> int:
    async with writable(flags, machine) as journal:
        horizon = machine.now() - age
        old = [row.id for row in await journal.runs() if row.ended_at is not None and row.ended_at < horizon]
        dropped = await journal.drop_runs(old)
    note(f"{dropped:,} runs forgotten")
    return 0


async def _export(flags: Flags, machine: Machine, run: str | None, file: Path) -> int:
    async with readable(flags, machine, run) as journal:
        rows = [await named(journal, run)] if run is not None else list(await journal.runs())
        await journal.export(file, [row.id for row in rows])
    note(f"{len(rows):,} runs are in {file}; there: orchestrator resume --state sqlite:////FULL/PATH/{file.name}")
    return 0


def _plain(row: RunRow) -> dict[str, object]:
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
