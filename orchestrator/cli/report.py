"""`orchestrator report` and `diff`: any format, any time, from the journal alone; what changed between two runs."""

from __future__ import annotations

import click

from orchestrator.app import runs as app
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import SHOW
from orchestrator.core.verdict import Exit
from orchestrator.report import FORMATS
from orchestrator.report.diff import as_json, as_text, compare

EXIT_STATUS = click.option("--exit-status", is_flag=True, help="Exit with the run's own code.")


@verb(
    click.argument("run", required=False),
    EXIT_STATUS,
    shows=(SHOW,),
    epilog="\b\nFormats:\n" + "\n".join(f"  {name:<9} {one.help}" for name, one in FORMATS.items()),
)
async def report(face: Face, run: str | None, exit_status: bool) -> int:
    """Render the report of RUN (by default the latest) in any format: -o FORMAT[=FILE]."""
    _, found = await app.report(face.context, run)
    is_whole = face.write(found, face.flags.files(face.machine.cwd))
    if not face.flags.output or face.flags.stdout is not None:
        face.show(found)
    return ((found.run.exit_code or 0) if exit_status else Exit.OK) if is_whole else Exit.FAILED


@verb(
    click.argument("before", metavar="A"),
    click.argument("after", metavar="B"),
    EXIT_STATUS,
    shows=(SHOW,),
    formats=TEXT,
)
async def diff(face: Face, before: str, after: str, exit_status: bool) -> int:
    """Tell what is newly failing, fixed, still failing, new and gone in run B, compared with run A."""
    _, first = await app.report(face.context, before)
    _, second = await app.report(face.context, after)
    changes = compare(first, second)
    face.tell((as_json(changes) if face.flags.stdout == "json" else as_text(changes)).rstrip("\n"))
    return (second.run.exit_code or 0) if exit_status else Exit.OK
