"""`orchestrator diff`: what changed from one run to another."""

from __future__ import annotations

import click

from orchestrator.app.context import run_async
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import SHOW, Flags, common
from orchestrator.cli.output import tell
from orchestrator.cli.reading import code_of, exit_status, report_of
from orchestrator.report.diff import Diff, as_json, as_text, compare


@click.command("diff", short_help="Compare two runs.")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@exit_status
@common(SHOW)
def command(flags: Flags, machine: Machine, before: str, after: str, exit_status: bool) -> int:
    """Tell what is newly failing, fixed, still failing, new and gone in run B, compared with run A."""
    form = flags.stdout_format("text", ("text", "json"))

    async def both() -> tuple[Diff, int]:
        _, first, _ = await report_of(flags, machine, before)
        _, second, _ = await report_of(flags, machine, after)
        return compare(first, second), code_of(second, exit_status)

    diff, code = run_async(both)
    tell((as_json(diff) if form == "json" else as_text(diff)).rstrip("\n"))
    return code
