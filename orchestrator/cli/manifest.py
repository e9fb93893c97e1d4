"""The verbs for manifest files: `init` writes one, `check` validates one offline, `schema` describes them."""

from __future__ import annotations

from pathlib import Path

from orchestrator import manifest as manifests
from orchestrator.app.plan import DEFAULT, Source, read_manifest, today
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT, PARAMS, SELECT, TYPE
from orchestrator.cli.help import argument
from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.selection import chosen, nothing
from orchestrator.core.times import counted
from orchestrator.manifest.accounts import idle_caps
from orchestrator.manifest.diagnostics import ManifestError
from orchestrator.providers import registry
from orchestrator.report.words import plain, shell


@verb(
    argument("directory", "files", required=False, default="."),
    TYPE,
    examples=(
        ("for Travis, here", "orchestrator init"),
        ("for GitHub Actions, with a workflow", "orchestrator init rebuild --type github"),
    ),
)
def init(face: Face, directory: str, type_: str) -> None:
    """Write orchestrator.yaml, commented, into DIRECTORY (by default this one); nothing is overwritten.

    Where the provider needs more than a manifest, such as a workflow, that is written too.
    """
    from orchestrator.report import write  # slow to import, and `check` writes nothing

    starters = registry.declaration(type_).starters
    if not starters:
        raise UsageError(f"--type {type_}: it brings no manifest to start from")
    paths = {face.context.path(directory) / name: text for name, text in starters.items()}
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} exists; nothing was written")
    for path, resource in paths.items():
        try:
            write(manifests.starter(resource), path)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    if not face.flags.quiet:
        there = "" if directory == "." else f" {shell(str(Path(directory) / DEFAULT))}"
        verbs = "; ".join(f"orchestrator {verb}{there}" for verb in ("check", "plan", "run"))
        face.tell_lines([*(f"wrote {path}" for path in paths), f"edit it, then: {verbs} --sandbox"])


@verb(
    argument("manifest", "files", required=False),
    flags=(*PARAMS, *SELECT, *OUTPUT),
    formats=TEXT,
    examples=(
        ("orchestrator.yaml", "orchestrator check"),
        ("another file, for a script", "orchestrator check nightly.yaml -o json"),
    ),
)
def check(face: Face, manifest: str | None) -> Exit:
    """Validate MANIFEST (by default orchestrator.yaml, - for stdin) offline; every problem is told at once.

    No secret is resolved, nobody is asked. Exit 0 or 2.
    """
    is_json, selection = face.flags.stdout == "json", face.choices.meant
    try:
        read = read_manifest(Source(manifest), face.choices, face.context, strict_params=False)
        plan = manifests.expand(read, manifests.Answers(), today=today(face.context))
        targets = chosen(plan.targets, selection)
    except ManifestError as error:
        if not is_json:
            raise
        rows = [{"where": p.where, "keys": p.keys, "text": p.text, "remedy": p.remedy} for p in error.problems]
        face.json({"valid": False, "problems": rows})
        return Exit.USAGE
    if plan.targets and not targets:
        raise UsageError(nothing(plan.targets, selection))
    if is_json:
        face.json({"valid": True, "problems": []})
    elif not face.flags.quiet:
        slips = set(idle_caps(plan.accounts, plan.targets))
        for warning in (one for one in plan.warnings if one in slips):  # only `plan` tells what is no slip
            face.note(f"warning: {plain(warning)}")
        face.tell(f"{manifest or DEFAULT}: fine, {counted(len(targets), 'target')}")
    return Exit.OK


@verb(
    flags=OUTPUT,
    formats=("json",),
    examples=(("a file for an editor", "orchestrator schema > orchestrator.schema.json"),),
)
def schema(face: Face) -> None:
    """Print the JSON Schema (draft 2020-12) of manifests, derived from the code that validates them."""
    face.json(manifests.json_schema(registry.installed()))
