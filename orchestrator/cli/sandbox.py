"""`orchestrator sandbox`: serves the look-alike of a provider on loopback, until it is interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from orchestrator.app.context import read_file
from orchestrator.app.plan import LARGEST
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT, TYPE
from orchestrator.cli.help import argument, option
from orchestrator.cli.main import Machine
from orchestrator.core.errors import Exit, UsageError
from orchestrator.providers import registry

EXAMPLE = """\
the look-alike answers at {url} until Ctrl-C; to use it, in another terminal:

{export}  providers:
    {type}: {{url: "{url}"}}

what it was asked: curl -s {url}/sandbox/stats"""


@verb(
    TYPE,
    argument("settings", "files", required=False, metavar="[SETTINGS]"),
    option(
        "--port",
        type=click.IntRange(0, 65535),
        default=0,
        unset="any free one",
        metavar="N",
        help="Where it listens.",
    ),
    option("--repos", type=click.IntRange(min=1), metavar="N", help="So many repositories: acme/svc-001 and on."),
    option("--set", "pairs", multiple=True, metavar="K=V", help="One setting; V is YAML; repeatable."),
    flags=OUTPUT,
    formats=TEXT,
    examples=(
        ("a Travis with 300 repositories", "orchestrator sandbox --repos 300"),
        ("a GitLab, at a known port", "orchestrator sandbox --type gitlab --port 8080"),
    ),
)
async def sandbox(
    face: Face, type_: str, settings: str | None, port: int, repos: int | None, pairs: tuple[str, ...]
) -> Exit:
    """Serve a look-alike of a provider on loopback. SETTINGS is a YAML file: repos, shares of failures, faults, limits.

    Prints its URL and token, as JSON with -o json, and serves until it is interrupted.
    """
    from orchestrator.lookalike.kit.server import serve

    kind = registry.lookalike_of(type_)
    if kind is None:
        raise UsageError(f"--type {type_}: there is no look-alike of it")
    look_alike = kind.from_settings(_settings(settings, repos, pairs, face.machine))
    variable = registry.declaration(type_).token_env or "TOKEN"
    async with face.signals() as received, serve(look_alike, port=port, now=face.machine.now) as served:
        if face.flags.stdout == "json":
            face.tell(json.dumps({"url": served.url, "token": served.token}))
        else:
            export = f"  export {variable}={served.token}\n" if registry.declaration(type_).needs_token else ""
            face.tell(EXAMPLE.format(url=served.url, export=export, type=type_))
        async for _ in received:
            face.note("orchestrator: the sandbox ends")
            break
    return Exit.OK


def _settings(path: str | None, repos: int | None, pairs: tuple[str, ...], machine: Machine) -> dict[str, Any]:
    """What file and flags say, flags last."""
    given: dict[str, Any] = {}
    if path is not None:
        try:
            text = read_file(machine.cwd / Path(path).expanduser(), LARGEST + 1)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
        found = _yaml(path, text)
        if not isinstance(found, dict):
            raise UsageError(f"{path}: expected a map of settings")
        given.update(found)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: expected K=V")
        given[key] = _yaml(f"--set {pair}", value.encode())
    return {**given, "repos": repos} if repos is not None else given


def _yaml(name: str, text: bytes) -> Any:
    """Plain values, read with the manifest's care."""
    from orchestrator.manifest.diagnostics import Diagnostics, ManifestError
    from orchestrator.manifest.yaml_reader import read_yaml

    diagnostics = Diagnostics()
    value = read_yaml(name, text, diagnostics)
    if diagnostics.problems:
        raise ManifestError(diagnostics.problems)
    return value
