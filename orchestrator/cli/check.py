"""`orchestrator check`: validates a manifest offline. It imports no HTTP, no engine, no screen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from orchestrator import manifest as manifests
from orchestrator.app.load_plan import Source, manifest_argument, read_manifest
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import PICK, SHOW, Flags, common
from orchestrator.core.exits import Exit
from orchestrator.manifest.accounts import idle_caps
from orchestrator.manifest.diagnostics import ManifestError, Problem
from orchestrator.report.words import counted, plain


@click.command("check", short_help="Validate a manifest offline.")
@manifest_argument
@common(PICK, SHOW)
def command(flags: Flags, machine: Machine, manifest: str | None) -> int:
    """Validate MANIFEST (by default orchestrator.yaml, - for stdin) offline; every problem is told at once.

    No secret is resolved, nobody is asked. Exit 0 or 2.
    """
    form = flags.stdout_format("text", ("text", "json"))
    try:
        read = read_manifest(Source(manifest), flags, machine, run="RUN", strict_params=False)
        today = datetime.fromtimestamp(machine.now(), UTC).date()
        plan = manifests.expand(read, manifests.Answers(), today=today)
    except ManifestError as error:
        if form != "json":
            raise
        click.echo(_as_json(error.problems))
        return Exit.USAGE
    if form == "json":
        click.echo(_as_json(()))
    elif not flags.quiet:
        slips = set(idle_caps(plan.accounts, plan.targets))
        for warning in (one for one in plan.warnings if one in slips):  # only `plan` tells what is no slip
            click.echo(f"warning: {plain(warning)}", err=True)
        click.echo(f"{manifest or 'orchestrator.yaml'}: fine, {counted(len(plan.targets), 'target')}")
    return Exit.OK


def _as_json(problems: Sequence[Problem]) -> str:
    """Problems for editors and other programs."""
    import json

    rows = [{"where": p.where, "keys": p.keys, "text": p.text, "remedy": p.remedy} for p in problems]
    return json.dumps({"valid": not rows, "problems": rows}, indent=1, ensure_ascii=False)
