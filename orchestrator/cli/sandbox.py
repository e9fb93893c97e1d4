"""`orchestrator sandbox`: serves the look-alike of a provider on loopback, until it is interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import click

from orchestrator.app.context import run_async
from orchestrator.app.drive import SIGNALS
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import SHOW, Flags, common
from orchestrator.cli.output import note, tell
from orchestrator.core.errors import UsageError
from orchestrator.core.exits import Exit

EXAMPLE = """\
the look-alike answers at {url} until Ctrl-C; to use it, in another terminal:

  export TRAVIS_TOKEN={token}
  providers:
    travis: {{url: "{url}"}}

what it was asked: curl -s {url}/sandbox/stats"""


@click.command("sandbox", short_help="Serve a look-alike of a provider.")
@click.argument("settings", required=False, metavar="[SETTINGS]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default any that is free.")
@click.option("--repos", type=click.IntRange(min=1), metavar="N", help="So many repositories: acme/svc-001 and on.")
@click.option("--set", "pairs", multiple=True, metavar="K=V", help="One setting; V is YAML.")
@common(SHOW)
def command(
    flags: Flags, machine: Machine, settings: str | None, port: int, repos: int | None, pairs: tuple[str, ...]
) -> int:
    """Serve a look-alike of Travis CI on loopback. SETTINGS is a YAML file: repos, shares of failures, faults, limits.

    Prints its URL and token, as JSON with -o json, and serves until it is interrupted.
    """
    form = flags.stdout_format("text", ("text", "json"))
    said = _settings(settings, repos, pairs, machine)
    return run_async(lambda: _serve(said, port, form, machine))


async def _serve(said: dict[str, Any], port: int, form: str, machine: Machine) -> Exit:
    from orchestrator.lookalike.kit.server import serve
    from orchestrator.lookalike.travis.lookalike import TravisLookAlike

    with anyio.open_signal_receiver(*SIGNALS) as received:
        async with serve(TravisLookAlike.from_settings(said), port=port, now=machine.now) as served:
            if form == "json":
                tell(json.dumps({"url": served.url, "token": served.token}))
            else:
                tell(EXAMPLE.format(url=served.url, token=served.token))
            async for _ in received:
                note("orchestrator: the sandbox ends")
                return Exit.OK
    return Exit.OK


def _settings(path: str | None, repos: int | None, pairs: tuple[str, ...], machine: Machine) -> dict[str, Any]:
    """What file and flags say, flags last."""
    said: dict[str, Any] = {}
    if path is not None:
        try:
            text = (machine.cwd / Path(path).expanduser()).read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
        found = _yaml(path, text)
        if not isinstance(found, dict):
            raise UsageError(f"{path}: expected a map of settings")
        said.update(found)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: expected K=V")
        said[key] = _yaml(f"--set {pair}", value.encode())
    return {**said, "repos": repos} if repos is not None else said


def _yaml(name: str, text: bytes) -> Any:
    """Plain values, read with the manifest's care."""
    from orchestrator.manifest.diagnostics import Diagnostics, ManifestError
    from orchestrator.manifest.yaml_reader import read_yaml

    diagnostics = Diagnostics()
    value = read_yaml(name, text, diagnostics)
    if diagnostics.problems:
        raise ManifestError(diagnostics.problems)
    return value
