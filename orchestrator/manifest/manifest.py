"""A manifest that was read: checked as far as that is possible without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import Account, Outcome
from orchestrator.manifest.files import Files, Listing
from orchestrator.manifest.layers import Compiler, Layer
from orchestrator.manifest.positions import Value
from orchestrator.providers.port import Declaration


class Expect(NamedTuple):
    """How many targets there should be."""

    min: int | None = None
    max: int | None = None


class Manifest(Struct, frozen=True, eq=False):
    """What the files say, merged, with accounts and parameters settled; targets are made by `expand`.

    Args:
        params: every parameter with its value.
        unsupported: keys that are understood and not acted on yet, as sentences; `run` refuses them.
        warnings: sentences for a person.
        raw: the merged top level, as plain values.
        listings: the lists of targets, the manifest's own first.
        walked: what the last `questions` made of the entries, for `expand` to go on from; one at most.
    """

    name: str
    source: str
    digest: str
    params: Mapping[str, str]
    accounts: Mapping[str, Account]
    declared: Mapping[str, Declaration]
    fail_on: frozenset[Outcome]
    reports: Mapping[str, str]
    expect: Expect
    rollout: Value
    unsupported: Sequence[str]
    warnings: Sequence[str]
    raw: Mapping[str, Value]
    listings: Sequence[Listing]
    files: Files
    compiler: Compiler
    bases: Mapping[str, Layer]
    broken_accounts: frozenset[str] = frozenset()
    walked: list[object] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Manifest(name={self.name!r}, source={self.source!r})"

    @property
    def default_account(self) -> str | None:
        """The account of targets that name none: the default one, or the only one."""
        said = self.raw.get("defaults", {}).get("account")
        if isinstance(said, str):
            return said
        return next(iter(self.accounts)) if len(self.accounts) == 1 and not self.broken_accounts else None

    def base_of(self, account: str) -> Layer:
        """What the account's targets say by default."""
        return self.bases.get(account, Layer())
