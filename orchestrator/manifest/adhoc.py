"""A plan without a manifest (`run --repo acme/widget@main`, `run --from FILE`); what `init` writes."""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Mapping, Sequence

from orchestrator.core.model import DEFAULT_FAIL_ON, Plan
from orchestrator.manifest.accounts import default_of, the_only
from orchestrator.manifest.diagnostics import ManifestError
from orchestrator.manifest.expand import Expander, Expect, Manifest
from orchestrator.manifest.files import STDIN, Files, Listing
from orchestrator.manifest.layers import Compiler, Layer
from orchestrator.manifest.load import warnings_of
from orchestrator.manifest.lookups import Answers
from orchestrator.manifest.positions import pack
from orchestrator.manifest.schema import shape_of
from orchestrator.manifest.validate import Validator
from orchestrator.providers.port import Declaration


def from_repos(repos: Sequence[str], *, declarations: Mapping[str, Declaration], name: str = "adhoc") -> Plan:
    """The plan of `--repo` flags: short forms, on one account of the default provider.

    Raises:
        ManifestError: what is wrong with them.
    """
    files = _files()
    source = files.positions.add_source("--repo")
    items = list(repos)
    files.positions.keep(items, array("Q", [pack(source, 0, 0)]) * len(items))
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
    validator = Validator(shape_of({declaration.type: declaration}), files.diagnostics)
    listing = files.listing("stdin" if source == STDIN else source, text, validator)
    if listing is None or files.diagnostics.problems:
        raise ManifestError(files.diagnostics.problems)
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
        unsupported=(),
        warnings=(),
        raw={},
        listings=[listing],
        files=files,
        compiler=Compiler(files.diagnostics, {"run.name": name}, frozenset()),
        bases={account.name: Layer()},
    )
    expander = Expander(manifest, Answers(offline=True), datetime.date.min)
    expander.run()
    targets = expander.finish()
    warnings = (*expander.warnings, *warnings_of(expander))
    return Plan(name, targets, manifest.accounts, fail_on=DEFAULT_FAIL_ON, warnings=warnings)


SCHEMA = "orchestrator.schema.json"


def starter() -> str:
    """A commented manifest to start from; `check` accepts it."""
    from importlib import resources  # slow to import, and only `init` needs it

    return resources.files("orchestrator.manifest").joinpath("starter.yaml").read_text("utf-8")
