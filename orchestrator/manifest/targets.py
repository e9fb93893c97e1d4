"""Makes the targets of what entries say: matrix, branches, ids, and the same target twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.core.frozen import replace
from orchestrator.core.model import Target
from orchestrator.manifest.contents import Contents
from orchestrator.manifest.diagnostics import ManifestError, Problem
from orchestrator.manifest.entries import Entry, Said, Teller
from orchestrator.manifest.glob import is_glob, matches
from orchestrator.manifest.identity import id_of, ref_problem, repo_problem
from orchestrator.manifest.layers import Layer, label_problem
from orchestrator.manifest.lookups import Answers
from orchestrator.manifest.template import Compiled
from orchestrator.providers.port import Declaration

MOST_TARGETS = 1_000_000

Matrix = tuple[tuple[str, str], ...]


class Targets:
    """All targets so far, in order.

    Args:
        made: the targets.
        needs: what a target needs, as it was written, by its index.
        branches: pairs of account and repository whose branches are not known.
        samples: one of each kind of targets, for warnings.
    """

    def __init__(
        self, declared: Mapping[str, Declaration], contents: Contents, teller: Teller, answers: Answers
    ) -> None:
        self.declared = declared
        self.contents = contents
        self.teller = teller
        self.answers = answers
        self.made: list[Target] = []
        self.needs: dict[int, tuple[Sequence[str], Entry]] = {}
        self.branches: dict[tuple[str, str], None] = {}
        self.samples: dict[int, Target] = {}
        self._seen: dict[str, int] = {}

    def add(self, said: Said) -> None:
        """Adds a target for each combination of the matrix and each branch."""
        entry = said.entry
        for matrix in [said.matrix] if said.matrix else self.combinations(said.layer, entry):
            names = {f"matrix.{key}": value for key, value in matrix}
            repo = self.teller.fill(said.repo, names, entry)
            if repo is None:
                continue
            problem = repo_problem(repo, self.declared[said.account].repo_ids)
            if problem is not None:
                self.teller.problem(entry, problem, "name it owner/name", "repo")
                continue
            names |= names_of(repo)
            for branch, missing in self._refs(said, repo, names):
                self._one(said, repo, branch, matrix, names, missing)

    def fits(self, layer: Layer, repos: int, entry: Entry) -> bool:
        """Whether an entry makes few enough targets; else it is a problem, told before any of them is made."""
        count = repos * max(1, len(layer.branches or ()))
        for values in (layer.matrix or {}).values():
            count *= len(values)
        if count <= MOST_TARGETS:
            return True
        self.teller.problem(entry, f"it makes {count} targets, more than {MOST_TARGETS}", "split it")
        return False

    def combinations(self, layer: Layer, entry: Entry) -> list[Matrix]:
        """The combinations of the matrix, in the order of the file."""
        if not layer.matrix:
            return [()]
        text = self.teller.text
        every = itertools.product(
            *([(key, text(one, entry)) for one in values] for key, values in layer.matrix.items())
        )
        out = [{(key, text(one, entry)) for key, one in said.items()} for said in layer.exclude]
        return [one for one in dict.fromkeys(every) if not any(said <= set(one) for said in out)]

    def _one(
        self, said: Said, repo: str, branch: str | None, matrix: Matrix, names: Mapping[str, str], missing: str | None
    ) -> None:
        entry, layer, account, teller = said.entry, said.layer, said.account, self.teller
        names = dict(names) if branch is None else {**names, "target.branch": branch}
        name = teller.text(said.name, entry, names) if said.name is not None else None
        made = names["target.id"] = id_of(account, repo, branch, matrix, name)
        folded = repo.lower() if self.declared[account].fold_case else repo
        if not self.is_new(id_of(account, folded, branch, matrix, name), made, entry):
            return
        if layer.needs:
            self.needs[len(self.made)] = ([teller.text(need, entry, names) for need in layer.needs], entry)
        labels = [self._label(label, entry, names) for label in layer.labels]
        request = self.contents.request(layer, names, account, entry)
        self.append(
            Target(
                id=made,
                account=account,
                repo=repo,
                branch=branch,
                matrix=matrix,
                name=name,
                labels=tuple(dict.fromkeys([*labels, *said.labels])),
                skip=self.contents.skip(layer.skip, names, entry) or missing,
                marked=layer.marked is not False,
                timeouts=self.contents.timeouts(layer, account),
                request=request,
                where=teller.files.marks.where(entry.position),
            ),
            alike=id(request),  # it lives as long as the target
        )

    def _label(self, label: Compiled, entry: Entry, names: Mapping[str, str]) -> str:
        text = self.teller.text(label, entry, names)
        if not isinstance(label, str) and (problem := label_problem(text)) is not None:
            self.teller.problem(entry, *problem, "labels")
        return text

    def append(self, target: Target, alike: int) -> None:
        """Adds one that `is_new` let through.

        Args:
            alike: the same number for targets that say the same but for templates; one of them is the sample.
        """
        if len(self.made) >= MOST_TARGETS:
            said = f"more than {MOST_TARGETS} targets"
            raise ManifestError([*self.teller.files.problems, Problem(target.where, "", said, "split the manifest")])
        self.made.append(target)
        if target.skip is None:
            self.samples.setdefault(alike, target)

    def is_new(self, key: str, made: str, entry: Entry) -> bool:
        """Whether no target has this identity yet; else it is a problem.

        Args:
            key: the id with the repository's case folded.
            made: the id.
        """
        first = self._seen.setdefault(key, len(self.made))
        if first == len(self.made):
            return True
        same = self.made[first]
        text = f"duplicate target {made}" if made == same.id else f"duplicate target {made}, the same as {same.id}"
        remedy = "remove one of the two, or tell them apart with `name`"
        self.teller.problem(entry, f"{text}, first at {same.where}", remedy)
        return False

    def _refs(self, said: Said, repo: str, names: Mapping[str, str]) -> Iterator[tuple[str | None, str | None]]:
        """The branches, each with the reason to skip it, which is None for those that can be built."""
        refs = said.refs if said.refs is not None else said.layer.branches
        if not refs:
            yield None, None
            return
        found: dict[str, str | None] = {}
        for ref in refs:
            text = self.teller.fill(ref, names, said.entry)
            if text is None:
                continue
            if is_glob(text):
                found = {**dict(self._glob(text, said.account, repo)), **found}
            elif (problem := ref_problem(text)) is not None:
                self.teller.problem(said.entry, problem, "name a branch or a tag", _branch_key(said))
            else:
                found.setdefault(text, None)
        yield from found.items()

    def _glob(self, glob: str, account: str, repo: str) -> list[tuple[str, str | None]]:
        branches = self.answers.branches.get((account, repo))
        if branches is None:
            self.branches[account, repo] = None
            if self.answers.offline:
                self.contents.warn("branch globs are not expanded offline; each counts as one skipped target here")
            return [(glob, f"the branches of {repo} were not looked up")]
        found = [branch for branch in branches if matches(glob, branch) and ref_problem(branch) is None]
        if not found:
            self.contents.warn(f"no branch of {repo} matches {glob}")
            return [(glob, f"no branch matches {glob}")]
        return [(branch, None) for branch in found]

    def unify(self, numbers: Mapping[tuple[str, str], str]) -> None:
        """A repository that stands there by number and by name becomes one: by its name."""
        for index, target in enumerate(self.made if numbers else ()):
            slug = numbers.get((target.account, target.repo), target.repo)
            if slug == target.repo:
                continue
            folded = slug.lower() if self.declared[target.account].fold_case else slug
            first = self._seen.setdefault(id_of(target.account, folded, *_rest(target)), index)
            if first != index:
                text = f"duplicate target: {target.repo} is {slug}, which also stands at {self.made[first].where}"
                self.teller.files.problems.append(Problem(target.where, "", text, "remove one of the two"))
            self.made[index] = replace(target, id=id_of(target.account, slug, *_rest(target)), repo=slug)

    def numbers(self) -> list[tuple[str, str]]:
        """Repositories given by number, on accounts where others are given by name, and whose name is not known."""
        named = {target.account for target in self.made if "/" in target.repo}
        given = ((target.account, target.repo) for target in self.made if "/" not in target.repo)
        return [key for key in dict.fromkeys(given) if key[0] in named and key not in self.answers.numbers]


def names_of(repo: str, branch: str | None = None, id_: str | None = None) -> dict[str, str]:
    """The names that templates know of a target."""
    owner, _, name = repo.partition("/")
    names = {"target.repo": repo, "target.owner": owner, "target.name": name or repo}
    if branch is not None:
        names["target.branch"] = branch
    if id_ is not None:
        names["target.id"] = id_
    return names


def _rest(target: Target) -> tuple[str | None, Matrix, str | None]:
    return target.branch, target.matrix, target.name


def _branch_key(said: Said) -> str:
    entry = said.entry.container[said.entry.key]
    return "branch" if isinstance(entry, dict) and "branch" in entry else "branches"
