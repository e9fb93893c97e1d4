"""What a manifest leaves to the providers: repositories of owners, branches of repositories, names of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from orchestrator.providers.port import RepoFacts

NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Answers(NamedTuple):
    """What the providers said to the questions of a manifest.

    Args:
        owners: by account and owner: their repositories.
        branches: by account and repository: its branches.
        numbers: by account and number: the name of that repository.
        offline: what is not known is left out, with a warning; else it is a mistake of the caller.
    """

    owners: Mapping[tuple[str, str], Sequence[RepoFacts]] = NOTHING
    branches: Mapping[tuple[str, str], Sequence[str]] = NOTHING
    numbers: Mapping[tuple[str, str], str] = NOTHING
    offline: bool = True


class Questions(NamedTuple):
    """What only a provider knows; false when there is nothing to ask.

    Args:
        owners: pairs of account and owner whose repositories are wanted.
        branches: pairs of account and repository whose branches are wanted.
        numbers: pairs of account and number of repositories whose names are wanted.
    """

    owners: tuple[tuple[str, str], ...] = ()
    branches: tuple[tuple[str, str], ...] = ()
    numbers: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.owners or self.branches or self.numbers)
