"""A plan without a manifest: `run --repo acme/widget@main`, `run --from FILE`."""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Sequence

from orchestrator.manifest.accounts import the_only
from orchestrator.manifest.expand import Answers, Expander
from orchestrator.manifest.files import Files, Listing
from orchestrator.manifest.layers import Compiler, Layer
from orchestrator.manifest.manifest import Expect, Manifest
from orchestrator.manifest.read import pack
from orchestrator.model import DEFAULT_FAIL_ON, Plan
from orchestrator.provider import Declaration


def from_repos(repos: Sequence[str], declaration: Declaration, *, name: str = "adhoc") -> Plan:
    """The plan of `--repo` flags: short forms, on the one account of this provider.

    Raises:
        ManifestError: what is wrong with them.
    """
    files = _files()
    source = files.marks.add_source("--repo")
    items = list(repos)
    files.marks.keep(items, array("Q", [pack(source, 0, 0)]) * len(items))
    return _plan(Listing(items, None), files, declaration, name)


def from_lines(text: str, declaration: Declaration, *, source: str = "-", name: str = "adhoc") -> Plan:
    """The plan of a file of `--from`: a short form a line, `#` comments.

    Raises:
        ManifestError: what is wrong with them.
    """
    files = _files()
    return _plan(files.lines("stdin" if source == "-" else source, text), files, declaration, name)


def _files() -> Files:
    def load(path: str) -> bytes:
        raise FileNotFoundError(path)  # nothing here names a file

    return Files(load)


def _plan(listing: Listing, files: Files, declaration: Declaration, name: str) -> Plan:
    account = the_only(declaration)
    manifest = Manifest(
        name=name,
        source=files.marks.sources[0],
        digest="",
        params={},
        accounts={account.name: account},
        declared={account.name: declaration},
        fail_on=DEFAULT_FAIL_ON,
        reports={},
        expect=Expect(),
        rollout=None,
        unsupported=(),
        warnings=(),
        raw={},
        listings=[listing],
        files=files,
        compiler=Compiler(files, {"run.name": name}, frozenset()),
        bases={account.name: Layer()},
    )
    expander = Expander(manifest, Answers(offline=True), datetime.date.min)
    expander.run()
    targets = expander.finish()
    return Plan(name, targets, manifest.accounts, fail_on=DEFAULT_FAIL_ON, warnings=tuple(expander.warnings))
