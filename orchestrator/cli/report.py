"""`orchestrator report`: any format, any time, from the journal alone."""

from __future__ import annotations

import click

from orchestrator.app.context import run_async
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import SHOW, Flags, common
from orchestrator.cli.output import checked, files_of, show, write_files
from orchestrator.cli.reading import code_of, exit_status, report_of
from orchestrator.core.exits import Exit
from orchestrator.report import FORMATS


@click.command(
    "report",
    short_help="Render a run's report.",
    epilog="\b\nFormats:\n" + "\n".join(f"  {name:<9} {one.help}" for name, one in FORMATS.items()),
)
@click.argument("run", required=False)
@exit_status
@common(SHOW)
def command(flags: Flags, machine: Machine, run: str | None, exit_status: bool) -> int:
    """Render the report of RUN (by default the latest) in any format: -o FORMAT[=FILE]."""
    checked(flags.outputs)
    _, report, _ = run_async(lambda: report_of(flags, machine, run))
    is_whole = write_files(report, files_of(flags.outputs, machine), machine)
    wants_stdout = not flags.outputs or any(output.file is None for output in flags.outputs)
    if wants_stdout:
        show(report, flags, machine)
    return code_of(report, exit_status) if is_whole else Exit.FAILED
