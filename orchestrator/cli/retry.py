"""`orchestrator retry`: a new run, linked to an old one, of what did not pass there."""

from __future__ import annotations

import click

from orchestrator.app.context import writable
from orchestrator.app.retry import choose
from orchestrator.app.retry import retry as retry_run
from orchestrator.app.runs import latest
from orchestrator.app.start import new_id
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import END, ENV, PACE, SHOW, outcomes, run_id
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome
from orchestrator.core.verdict import Exit

NAMED = 10


@verb(
    click.argument("run", required=False),
    click.option("--outcome", metavar="LIST", help="Only targets with these outcomes (default: all but passed)."),
    click.option("--same-commit", is_flag=True, help="Restart the old builds instead of making new ones."),
    click.option("new", "--run-id", envvar=f"{ENV}RUN_ID", metavar="ID", help="The new run's id."),
    click.option("--detach", is_flag=True, help="Return when nothing is left to trigger."),
    shows=(PACE, END, SHOW),
)
async def retry(
    face: Face, run: str | None, outcome: str | None, same_commit: bool, new: str | None, detach: bool
) -> Exit:
    """Start a new run of every target of RUN (by default the latest) that did not pass.

    Targets in doubt are left out, since they may have a build; with --outcome in_doubt their old markers are looked
    for first, and once more just before a new trigger. What the manifest skips is left out too.
    """
    wanted = outcomes(outcome, "--outcome") if outcome is not None else None
    if same_commit and wanted is not None and Outcome.IN_DOUBT in wanted:
        raise UsageError("retry: --same-commit starts old builds again; a target in doubt has none that is known")
    new = run_id(new) if new else new_id(face.machine.now())
    async with writable(face.context) as journal:
        row = await latest(journal, run)
        chosen = await choose(row, wanted, journal, face.context, same_commit=same_commit)
        for why, ids in chosen.left_out.items():
            more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
            face.note(f"left out, since {why}: {', '.join(ids[:NAMED])}{more}")
        face.confirm(chosen.needs_confirmation)
        drive = await retry_run(chosen, new, journal, replace(face.choices, detach=detach), face.context)
        face.note(f"run {new}: {len(chosen.targets):,} of {row.targets:,} targets of {row.id}")
        return face.conclude(await face.attend(drive, f"{row.name} {new}"), detach=detach)
