"""A plan without a manifest: `run --repo acme/widget@main`, `run --from FILE`."""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Mapping, Sequence

from orchestrator.core.model import DEFAULT_FAIL_ON, Plan
from orchestrator.manifest.accounts import default_of, the_only
from orchestrator.manifest.diagnostics import ManifestError
from orchestrator.manifest.expand import Expander
from orchestrator.manifest.files import STDIN, Files, Listing
from orchestrator.manifest.layers import Compiler, Layer
from orchestrator.manifest.load import warnings_of
from orchestrator.manifest.lookups import Answers
from orchestrator.manifest.manifest import Expect, Manifest
from orchestrator.manifest.positions import pack
from orchestrator.manifest.schema import shape_of
from orchestrator.manifest.validate import Judge
from orchestrator.providers.port import Declaration


def from_repos(repos: Sequence[str], *, declarations: Mapping[str, Declaration], name: str = "adhoc") -> Plan:
    """The plan of `--repo` flags: short forms, on one account of the default provider.

    Raises:
        ManifestError: what is wrong with them.
    """
    files = _files()
    source = files.marks.add_source("--repo")
    items = list(repos)
    files.marks.keep(items, array("Q", [pack(source, 0, 0)]) * len(items))
    return _plan(Listing(items, None), files, declarations, name)


def from_lines(source: str, text: bytes, *, declarations: Mapping[str, Declaration], name: str = "adhoc") -> Plan:
    """The plan of a file of `--from`: a short form a line, `#` comments; `.csv` with a header.

    Args:
        source: the file's name, `-` for stdin.

    Raises:
        ManifestError: what is wrong with them.
    """
    files = _files()
    declaration = default_of(declarations)
    judge = Judge(shape_of({declaration.type: declaration}), files.marks)
    listing = files.listing("stdin" if source == STDIN else source, text, judge)
    if listing is None or files.problems:
        raise ManifestError(files.problems)
    return _plan(listing, files, declarations, name)


def _files() -> Files:
    def load(path: str) -> bytes:
        raise FileNotFoundError(path)  # nothing here names a file

    return Files(load)


def _plan(listing: Listing, files: Files, declarations: Mapping[str, Declaration], name: str) -> Plan:
    declaration = default_of(declarations)
    account = the_only(declaration)
    manifest = Manifest(
        name=name,
        source="",
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
    warnings = (*expander.warnings, *warnings_of(expander))
    return Plan(name, targets, manifest.accounts, fail_on=DEFAULT_FAIL_ON, warnings=warnings)
