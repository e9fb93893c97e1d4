"""Which targets are one target, where several names lead to one repository.

A service that answers to the old names of a repository, or to its number, takes a trigger under each of them: two
targets that differ in the name alone would be one build that is asked for twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from orchestrator.core.model import Target

SAME_REPOSITORY = "same_repository"  # the code of a target that is another one under an old name

Key: TypeAlias = tuple[str, str | None, tuple[tuple[str, str], ...], str | None]


class Twin(NamedTuple):
    """A target that is another one, under another name of its repository.

    Args:
        name: what the service calls the repository now.
    """

    target: Target
    other: Target
    name: str


class Names:
    """The targets of one account, by what their repositories are called.

    Args:
        folds: whether names that differ in case alone are one.
    """

    def __init__(self, targets: Iterable[Target], *, folds: bool) -> None:
        self._folds = folds
        self._written = {self._key(target, target.repo): target for target in targets}
        self._first: dict[Key, Target] = {}  # by the name that the service tells, where no target is written so

    def twin(self, target: Target, name: str | None) -> Twin | None:
        """The target's twin, which is asked for in its place; None where the target itself is.

        The name that the service uses counts, in whatever order they are asked about; where no target is written with
        it, the first that is asked about.

        Args:
            name: what the service calls the target's repository now; None: as it is written.
        """
        if name is None or (key := self._key(target, name)) == self._key(target, target.repo):
            return None
        other = self._written.get(key) or self._first.setdefault(key, target)
        return None if other.id == target.id else Twin(target, other, name)

    def _key(self, target: Target, repo: str) -> Key:
        return (repo.lower() if self._folds else repo, target.branch, target.matrix, target.name)


def twins(targets: Sequence[Target], names: Mapping[str, str], *, folds: bool) -> list[Twin]:
    """The twins among the targets of one account, in their order; `names` has what is known, by what is written."""
    known = Names(targets, folds=folds)
    found = (known.twin(target, names.get(target.repo)) for target in targets)
    return [twin for twin in found if twin is not None]


def told(twin: Twin) -> str:
    """What is wrong, as a clause."""
    return f"{twin.target.repo} is {twin.name}, which also stands at {twin.other.where or twin.other.id}" + (
        "" if twin.other.repo.lower() == twin.name.lower() else f" as {twin.other.repo}"
    )
