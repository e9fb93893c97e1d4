"""`orchestrator resume`: goes on with an open run, from any process, without triggering anything twice."""

from __future__ import annotations

import click

from orchestrator.app.context import writable
from orchestrator.app.resume import resume as resume_run
from orchestrator.app.runs import only_open
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import END, PACE, SHOW
from orchestrator.core.frozen import replace
from orchestrator.core.verdict import Exit


@verb(
    click.argument("run", required=False),
    click.option("--assume-absent", multiple=True, metavar="TARGET", help="In doubt: you looked, there is no build."),
    click.option("--adopt-request", multiple=True, metavar="TARGET=ID", help="In doubt: this is its request."),
    click.option("--override-stop", is_flag=True, help="Go on although a rule stopped the run."),
    click.option("--detach", is_flag=True, help="Return when nothing is left to trigger."),
    shows=(PACE, END, SHOW),
)
async def resume(
    face: Face,
    run: str | None,
    assume_absent: tuple[str, ...],
    adopt_request: tuple[str, ...],
    override_stop: bool,
    detach: bool,
) -> Exit:
    """Go on with RUN (by default the only open one); nothing is triggered twice.

    It needs no manifest: the journal has the targets, accounts, limits and references to secrets.
    """
    async with writable(face.context) as journal:
        row = await only_open(journal, run)
        drive = await resume_run(
            row,
            journal,
            replace(face.choices, override_stop=override_stop, detach=detach),
            face.context,
            assume_absent=assume_absent,
            adopt_request=adopt_request,
            look_again=True,
        )
        return face.conclude(await face.attend(drive, f"{row.name} {row.id}"), detach=detach)
