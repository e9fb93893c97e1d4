"""Which targets a need means, and circles among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.core.errors import near
from orchestrator.core.model import Target
from orchestrator.manifest.diagnostics import Diagnostics, Place
from orchestrator.manifest.identity import Parts, id_of, parse

MOST_EDGES = 5_000_000
LABEL = "label:"
_SHOWN = 12  # targets of a circle that are printed


class _Index:
    """Finds targets by id, repository and label."""

    def __init__(
        self, targets: Sequence[Target], folds: Callable[[str], bool], numbers: Mapping[tuple[str, str], str]
    ) -> None:
        self.folds = folds
        self.numbers = numbers
        self.targets = targets
        self.by_id: dict[str, int] = {}
        self.by_repo: dict[tuple[str, str], list[int]] = {}
        self.by_label: dict[str, list[int]] = {}
        for index, target in enumerate(targets):
            self.by_id[self._id(target.account, target.repo, target)] = index
            self.by_repo.setdefault((target.account, self._repo(target.account, target.repo)), []).append(index)
            for label in target.labels:
                self.by_label.setdefault(label, []).append(index)
        self.accounts = list(dict.fromkeys(target.account for target in targets))

    def _repo(self, account: str, repo: str) -> str:
        return repo.lower() if self.folds(account) else repo

    def _id(self, account: str, repo: str, one: Target | Parts) -> str:
        ref = one.branch if isinstance(one, Target) else one.ref
        return id_of(account, self._repo(account, repo), ref, one.matrix, one.name)

    def meant(self, text: str, target: Target) -> list[int]:
        """The targets that a need of this target means; empty when there is none."""
        if text.startswith(LABEL):
            return self.by_label.get(text.removeprefix(LABEL), [])
        parts = parse(text)
        parts = parts._replace(repo=self.numbers.get((parts.account or target.account, parts.repo), parts.repo))
        accounts = [parts.account] if parts.account else [target.account, *self.accounts]
        for account in accounts:
            found = self._in_account(account, parts, target) if account in self.accounts else []
            if found:
                return found
        return []

    def _in_account(self, account: str, parts: Parts, target: Target) -> list[int]:
        exact = self.by_id.get(self._id(account, parts.repo, parts))
        if exact is not None and (parts.ref or parts.matrix or parts.name):
            return [exact]
        if parts.matrix or parts.name:
            return []
        every = self.by_repo.get((account, self._repo(account, parts.repo)), [])
        if parts.ref is not None:
            return [index for index in every if self.targets[index].branch == parts.ref]
        return [index for index in every if self.targets[index].branch == target.branch] or every

    def names(self) -> list[str]:
        """What a need may name, for `did you mean`; bounded, since it is compared with each of them."""
        return [*(f"{LABEL}{label}" for label in self.by_label), *(target.repo for target in self.targets[:2000])]


def resolve(
    targets: Sequence[Target],
    needs: Mapping[int, tuple[Sequence[str], Place]],
    folds: Callable[[str], bool],
    numbers: Mapping[tuple[str, str], str],
    diagnostics: Diagnostics,
    *,
    unseen: bool,
) -> dict[int, tuple[str, ...]]:
    """The ids that each target needs, by its index; what is wrong goes to the diagnostics.

    Args:
        needs: by index of the target: what is written, and where.
        folds: whether an account's repositories are the same in any case.
        numbers: names of repositories that were given by number, by account and number.
        unseen: some targets are not known yet, so a need that names none is no error.
    """
    index = _Index(targets, folds, numbers)
    cache: dict[tuple[str, str, str | None], list[int]] = {}
    edges: dict[int, list[int]] = {}
    count = 0
    for position, (texts, entry) in needs.items():
        target = targets[position]
        wanted: dict[int, None] = {}
        for text in texts:
            key = (text, target.account, target.branch)
            if key not in cache:
                try:
                    cache[key] = index.meant(text, target)
                except ValueError as error:
                    cache[key] = []
                    diagnostics.report(str(error), "name an id, a repo or label:NAME", entry.within("needs"))
                    continue
                if not cache[key] and not unseen:
                    problem = f"unknown need `{text[:100]}`: no target is called so"
                    diagnostics.report(problem, near(text, index.names()), entry.within("needs"))
            wanted |= dict.fromkeys(cache[key])
        count += len(wanted)
        if count > MOST_EDGES:
            problem = f"more than {MOST_EDGES} needs"
            diagnostics.report(problem, "let a few targets need a few others", entry.within("needs"))
            return {}
        edges[position] = list(wanted)
    circle = find_circle(edges)
    if circle:
        ids = [targets[at].id for at in circle]
        shown = ids if len(ids) <= _SHOWN else [*ids[:_SHOWN], "...", ids[-1]]
        problem = f"a circle of needs: {' needs '.join(shown)}"
        diagnostics.report(problem, "remove one of these needs", needs[circle[0]][1].within("needs"))
    return {at: tuple(targets[need].id for need in found) for at, found in edges.items()}


def find_circle(edges: Mapping[int, Sequence[int]]) -> list[int]:
    """A circle as a list that ends where it begins; empty when there is none."""
    done: set[int] = set()
    for start in edges:
        path: list[int] = []
        on_path: set[int] = set()
        stack: list[tuple[int, int]] = [(start, 0)]
        while stack:
            node, at = stack.pop()
            if at == 0:
                if node in done:
                    continue
                if node in on_path:
                    return [*path[path.index(node) :], node]
                path.append(node)
                on_path.add(node)
            following = edges.get(node, ())
            if at < len(following):
                stack.append((node, at + 1))
                stack.append((following[at], 0))
            else:
                done.add(node)
                on_path.discard(path.pop())
    return []
