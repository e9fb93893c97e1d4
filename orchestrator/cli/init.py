"""`orchestrator init`: a commented manifest to start from."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.app.load_plan import DEFAULT
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import Flags, common
from orchestrator.core.errors import UsageError
from orchestrator.report.writer import write


@click.command("init", short_help="Write a commented manifest to start from.")
@click.argument("directory", required=False, default=".")
@common()
def command(flags: Flags, machine: Machine, directory: str) -> int:
    """Write orchestrator.yaml, commented, into DIRECTORY (by default this one); nothing is overwritten."""
    from orchestrator.manifest import starter

    path = machine.cwd / Path(directory).expanduser() / DEFAULT
    if path.exists():
        raise UsageError(f"{path} exists; nothing was written")
    try:
        write(starter(), path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    if not flags.quiet:
        click.echo(f"wrote {path}\nedit it, then: orchestrator check; orchestrator plan; orchestrator run --sandbox")
    return 0
