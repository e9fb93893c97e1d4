"""From what a person wrote to a plan: reads the manifest, asks providers what it leaves open, selects, overrides."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import manifest as manifests
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import ENV, Flags
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Plan
from orchestrator.providers import registry

if TYPE_CHECKING:
    from orchestrator.app.context import Session
    from orchestrator.manifest import Answers, Manifest

DEFAULT = "orchestrator.yaml"
STDIN = "-"
LARGEST = 256 * 1024 * 1024  # bytes of one file; a hundred thousand targets need five

manifest_argument = click.argument("manifest", required=False)


class Source(Struct, frozen=True):
    """What the targets come from: a manifest, or repos and lines of the command line.

    Args:
        manifest: the path as given; None stands for `orchestrator.yaml`.
        repos: from `--repo`.
        lines: from `--from`: a file, or `-`.
    """

    manifest: str | None = None
    repos: tuple[str, ...] = ()
    lines: str | None = None

    @property
    def is_ad_hoc(self) -> bool:
        """Whether there is no manifest."""
        return bool(self.repos or self.lines)

    def title(self, run: str) -> str:
        """What the live view shows above its numbers."""
        what = self.manifest or self.lines or (DEFAULT if not self.repos else "--repo")
        return f"{what} {run}"


def source_flags(verb: Callable[..., object]) -> Callable[..., object]:
    """The argument MANIFEST, and the flags that make one needless."""
    verb = click.option("--from", "lines", metavar="FILE|-", help="A line a target: owner/name[@branch].")(verb)
    verb = click.option("--repo", "repos", multiple=True, metavar="OWNER/NAME[@BRANCH]", help="This one.")(verb)
    return manifest_argument(verb)


def read_manifest(source: Source, flags: Flags, machine: Machine, run: str, *, strict_params: bool = True) -> Manifest:
    """The manifest, wholly validated; nothing is asked and no secret is resolved.

    Raises:
        UsageError: it cannot be read, or something is wrong with it.
    """
    path = source.manifest or DEFAULT
    return manifests.read(
        path,
        _bytes(path, machine, is_default=source.manifest is None),
        declarations=registry.known(),
        params=flags.params,
        fallback=_params_of(machine.environ),
        run_id=run,
        load=lambda name: _load(machine, name),
        strict_params=strict_params,
    )


async def plan_of(
    source: Source, flags: Flags, machine: Machine, run: str, session: Session | None
) -> tuple[Plan, Manifest | None]:
    """The plan, selected, with the overrides of the flags.

    Args:
        session: asks the providers what the manifest leaves open; None asks nobody (`--offline`).

    Raises:
        UsageError: something is wrong with what was written.
        NotStarted: nothing is selected, or `expect` is not met.
    """
    if source.is_ad_hoc:
        return selected(_ad_hoc(source, machine), None, flags), None
    manifest = read_manifest(source, flags, machine, run)
    answers = await _answers(manifest, session)
    today = datetime.fromtimestamp(machine.now(), UTC).date()
    return selected(manifests.expand(manifest, answers, today=today), manifest, flags), manifest


def selected(plan: Plan, manifest: Manifest | None, flags: Flags) -> Plan:
    """The plan with what the flags select, at the rate that they ask for, with the accounts that are used.

    Raises:
        NotStarted: nothing is selected, or `expect` is not met.
    """
    from orchestrator.core.selection import Selection, override_limits, select

    expect = manifest.expect if manifest is not None else None
    labels = [text.split(",") for text in flags.label]
    chosen = select(plan, Selection(flags.only, flags.exclude, labels, flags.first), expect)
    paced = override_limits(chosen, flags.rate) if flags.rate else chosen
    used = {target.account for target in paced.targets}
    return replace(paced, accounts={name: account for name, account in paced.accounts.items() if name in used})


def _ad_hoc(source: Source, machine: Machine) -> Plan:
    if source.manifest is not None:
        raise UsageError(f"--repo and --from need no manifest; leave {source.manifest} out, or put them into it")
    if source.repos and source.lines:
        raise UsageError("--repo and --from: write one or the other")
    if source.repos:
        return manifests.from_repos(source.repos, declarations=registry.known())
    name = source.lines or STDIN
    return manifests.from_lines(name, _bytes(name, machine), declarations=registry.known())


async def _answers(manifest: Manifest, session: Session | None) -> Answers:
    """What the providers say; in rounds, since what is found may raise a question."""
    answers = manifests.Answers(offline=session is None)
    while session is not None and (questions := manifests.questions(manifest, answers)):
        from orchestrator.app.lookups import asked, merged

        answers = merged(answers, await asked(questions, manifest, session))
    return answers


def _params_of(environ: Mapping[str, str]) -> dict[str, str]:
    """`ORCHESTRATOR_PARAM_IMAGE` is for the parameter `image`, `Image` or `IMAGE`; a flag wins."""
    prefix = f"{ENV}PARAM_"
    return {name.removeprefix(prefix).upper(): text for name, text in environ.items() if name.startswith(prefix)}


def _bytes(path: str, machine: Machine, *, is_default: bool = False) -> bytes:
    """The file, or stdin.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read(LARGEST + 1) if path == STDIN else _load(machine, path)
    except OSError as error:
        if is_default and isinstance(error, FileNotFoundError):
            raise UsageError(
                f"there is no {DEFAULT} here; `orchestrator init` writes one, or name a manifest, or use --repo"
            ) from None
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise UsageError(f"{path!r} is no path") from None


def _load(machine: Machine, path: str) -> bytes:
    with (machine.cwd / Path(path).expanduser()).open("rb") as file:
        return file.read(LARGEST + 1)
