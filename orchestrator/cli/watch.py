"""`orchestrator watch`: follows a run that goes on elsewhere, or was detached; never triggers."""

from __future__ import annotations

import click

from orchestrator.app.context import writable
from orchestrator.app.drive import Drive
from orchestrator.app.runs import latest
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import END, SHOW
from orchestrator.core.verdict import Exit


@verb(click.argument("run", required=False), shows=(END, SHOW))
async def watch(face: Face, run: str | None) -> Exit:
    """Follow RUN (by default the latest) to its end; nothing is triggered.

    While another process is at work on it, only the state is read; when nobody is, the builds are followed from here.
    """
    async with writable(face.context) as journal:
        row = await latest(journal, run)
        drive = Drive(row.id, journal, face.choices, face.context, follows=True)
        return face.conclude(await face.attend(drive, f"{row.name} {row.id}"))
