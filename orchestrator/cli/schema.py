"""`orchestrator schema`: the JSON Schema of manifests, for editors."""

from __future__ import annotations

import json

import click

from orchestrator.app.machine import Machine
from orchestrator.cli.flags import SHOW, Flags, common
from orchestrator.providers import registry


@click.command("schema", short_help="Print the JSON Schema of manifests.")
@common(SHOW)
def command(flags: Flags, machine: Machine) -> int:
    """Print the JSON Schema (draft 2020-12) of manifests, derived from the code that validates them."""
    from orchestrator.manifest import json_schema

    flags.stdout_format("json", ("json",))
    click.echo(json.dumps(json_schema(registry.installed()), indent=2, ensure_ascii=False))
    return 0
