"""What a manifest leaves to the providers: repositories of owners, branches of repositories, names of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from orchestrator.core.globs import matches
from orchestrator.core.model import Target
from orchestrator.manifest.identity import ref_problem
from orchestrator.providers.port import RepoFacts

NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Narrowed(NamedTuple):
    """Some of an owner's repositories: those that all of these keys mean, each with one text or several."""

    owner: str
    keys: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        said = ", ".join(f"{key}: {' '.join(texts)}" for key, texts in self.keys)
        return f"{self.owner} ({said})"


class Answers(NamedTuple):
    """What the providers answered to the questions of a manifest.

    Args:
        owners: by account and owner: their repositories.
        narrowed: by account, what of an owner is meant: those repositories.
        branches: by account and repository: its branches.
        numbers: by account and number: the name of that repository.
        offline: what is not known is left out, with a warning; else it is a mistake of the caller.
    """

    owners: Mapping[tuple[str, str], Sequence[RepoFacts]] = NOTHING
    branches: Mapping[tuple[str, str], Sequence[str]] = NOTHING
    numbers: Mapping[tuple[str, str], str] = NOTHING
    narrowed: Mapping[tuple[str, Narrowed], Sequence[RepoFacts]] = NOTHING
    offline: bool = True


class Questions(NamedTuple):
    """What only a provider knows, as pairs with the account: repositories of owners, branches, names of numbers."""

    owners: tuple[tuple[str, str], ...] = ()
    branches: tuple[tuple[str, str], ...] = ()
    numbers: tuple[tuple[str, str], ...] = ()
    narrowed: tuple[tuple[str, Narrowed], ...] = ()

    def __bool__(self) -> bool:
        return any(self)


class Lookups:
    """Looks up in the answers, collects the owners and repositories that they lack, and warns of it."""

    def __init__(self, answers: Answers, warnings: dict[str, None]) -> None:
        self.answers = answers
        self.warnings = warnings
        self.owners: dict[tuple[str, str], None] = {}
        self.narrowed: dict[tuple[str, Narrowed], None] = {}
        self.branches: dict[tuple[str, str], None] = {}

    @property
    def are_complete(self) -> bool:
        """Whether nothing is left out because there is no answer."""
        return not (self.owners or self.narrowed or self.branches)

    def questions(self, targets: Sequence[Target]) -> Questions:
        """What to ask for these targets; numbers only when all repositories are known."""
        numbers = () if self.owners or self.narrowed else self._numbers(targets)
        return Questions(tuple(self.owners), tuple(self.branches), tuple(numbers), tuple(self.narrowed))

    def _numbers(self, targets: Sequence[Target]) -> list[tuple[str, str]]:
        """Repositories given by a number of which the name is not known, on accounts where others are given by name."""
        named = {target.account for target in targets if "/" in target.repo}
        given = ((target.account, target.repo) for target in targets if target.repo.isascii() and target.repo.isdigit())
        return [key for key in dict.fromkeys(given) if key[0] in named and key not in self.answers.numbers]

    def repos(self, account: str, wanted: str | Narrowed) -> Sequence[RepoFacts] | None:
        """The repositories of an owner, or some of them; None when they are not known."""
        if isinstance(wanted, Narrowed):
            if (found := self.answers.narrowed.get((account, wanted))) is None:
                self.narrowed[account, wanted] = None
        elif (found := self.answers.owners.get((account, wanted))) is None:
            self.owners[account, wanted] = None
        if found is None and self.answers.offline:
            self._warn(f"discover {wanted}: not looked up; its targets are missing here")
        return found

    def chosen(
        self, owner: str | Narrowed, found: Sequence[RepoFacts], match: Sequence[str], exclude: Sequence[str]
    ) -> list[RepoFacts]:
        """The active repositories that match one of the globs, or all, and none of those to exclude."""
        meant = [one for one in found if (not match or _named(one.slug, match)) and not _named(one.slug, exclude)]
        active = [one for one in meant if one.active]
        if len(active) < len(meant):
            self._warn(f"discover {owner}: {len(meant) - len(active)} inactive repositories are left out")
        if not active:
            self._warn(f"discover {owner}: no active repository matches")
        return active

    def refs(self, account: str, repo: str, glob: str) -> list[tuple[str, str | None]]:
        """The branches that match the glob, each with None; else the glob itself, with the reason to skip it."""
        branches = self.answers.branches.get((account, repo))
        if branches is None:
            self.branches[account, repo] = None
            if self.answers.offline:
                self._warn("branch globs are not expanded offline; each counts as one skipped target here")
            return [(glob, f"the branches of {repo} were not looked up")]
        found = [branch for branch in branches if matches(glob, branch) and ref_problem(branch) is None]
        if not found:
            self._warn(f"no branch of {repo} matches {glob}")
            return [(glob, f"no branch matches {glob}")]
        return [(branch, None) for branch in found]

    def _warn(self, text: str) -> None:
        self.warnings[text] = None


def _named(slug: str, globs: Sequence[str]) -> bool:
    name = slug.rpartition("/")[2]
    return any(matches(glob, slug if "/" in glob else name, fold=True) for glob in globs)
