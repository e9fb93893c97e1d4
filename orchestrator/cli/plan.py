"""`orchestrator plan`: what would be sent, how long it takes and which rule makes it take that long."""

from __future__ import annotations

import click

from orchestrator.app import curl
from orchestrator.app.lookups import times_of_state
from orchestrator.app.plan import Source, forecast_of
from orchestrator.app.plan import plan as planned_of
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import PACE, PICK, SHOW
from orchestrator.cli.plan_text import as_json, as_text
from orchestrator.core.verdict import Exit

FORMATS = ("text", "json", "curl")
MANIFEST = click.argument("manifest", required=False)
SOURCE = (
    MANIFEST,
    click.option(
        "--repo",
        "repos",
        multiple=True,
        metavar="OWNER/NAME[@BRANCH]",
        help="A repository to build; repeatable.",
    ),
    click.option("--from", "lines", metavar="FILE|-", help="File with one target per line (- for stdin)."),
)


@verb(
    *SOURCE,
    click.option("--offline", is_flag=True, help="Ask no provider; what only one knows is left out."),
    shows=(PICK, PACE, SHOW),
    formats=(),
)
async def plan(face: Face, manifest: str | None, repos: tuple[str, ...], lines: str | None, offline: bool) -> Exit:
    """Show the targets of MANIFEST, the calls, how long it takes and which rule makes it take that long; sends nothing.

    -o json for programs, -o curl for a shell.
    """
    return await show(face, Source(manifest, repos, lines), offline=offline)


async def show(face: Face, source: Source, *, offline: bool) -> Exit:
    """Prints the plan in the format that the flags ask for."""
    face.check_formats(FORMATS)
    context = face.context
    planned = await planned_of(source, face.choices, context, offline=offline)
    if face.flags.stdout == "curl":
        face.tell("\n".join(await curl.lines(planned.plan)))
        return Exit.OK
    cast = forecast_of(planned, await times_of_state(context, planned.plan.name), context)
    if face.flags.stdout == "json":
        face.json(as_json(planned.plan, cast, context.now()))
    else:
        face.tell("\n".join(as_text(planned, cast, context.now(), shows_all=bool(face.flags.verbose))))
    return Exit.OK
