"""A target's id, `ACCOUNT:REPO[@REF][[k=v,...]][#NAME]`, its short form in a manifest, and what a need means by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.core.errors import near
from orchestrator.core.model import Target
from orchestrator.manifest.diagnostics import Diagnostics, Place
from orchestrator.manifest.graphs import Graph

MOST_EDGES = 5_000_000
LABEL = "label:"
_SHOWN = 12  # targets of a circle that are printed
LONGEST_TEXT = 255  # characters of a repository's name where it may be any text
_NAMED = 5  # names of a graph that a warning has

_ODD = re.compile("[\x00-\x20\x7f-\x9f,\\[\\]#%]")  # space and control characters, and what the grammar uses
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_MATRIX = r"(?:\[(?P<matrix>[^\[\]#]+)\])?"
_SHAPE = re.compile(  # with an account
    r"(?P<account>[A-Za-z0-9_][A-Za-z0-9_.-]*):"
    r"(?P<repo>[^@\[\]#,:]+)"
    r"(?:@(?P<ref>[^\[\]#,]+))?" + _MATRIX + r"(?:\#(?P<name>[^\[\]#,]+))?"
)
_SHORT = re.compile(r"(?P<repo>[^@\[\]#,:]+)(?:@(?P<ref>[^\[\],]+))?" + _MATRIX)  # here `#` belongs to the branch
_URL = re.compile(
    r"(?:(?:git\+)?(?:https?|ssh|git)://(?:[^/\s]*@)?(?P<host>[^/:@\s]+)(?::[0-9]*)?/|[\w.-]+@(?P<scp>[^/:@\s]+):)"
    r"/*(?P<repo>[^\s@:?#]+?)(?:\.git)?/*(?:@(?P<ref>[^\[\],]+))?"
)
_PART = re.compile(r"[A-Za-z0-9._~-]{1,255}")
_REF_NEVER = re.compile("[\x00-\x20\x7f~^:\\\\]|\\.\\.|@\\{|//|^/|/$|\\.lock$|\\.$|^-")

PLAIN = re.compile(
    r"(?!.{500})((?!-)[A-Za-z0-9_-]{1,39}/(?!\.\.?(?:@|$))[A-Za-z0-9._-]{1,100}(?<!\.git))"
    r"(?:@([A-Za-z0-9_+-]+(?:[/.][A-Za-z0-9_+-]+)*))?"
)
"""The short forms that are plain names, as most are: loading 100,000 targets is fast because of it."""


class Parts(NamedTuple):
    """The parts of an id; `account` None where it is left out; of a clone URL its host, too."""

    account: str | None
    repo: str
    ref: str | None = None
    matrix: tuple[tuple[str, str], ...] = ()
    name: str | None = None
    host: str | None = None


def encode(text: str) -> str:
    """Percent-encodes what would break the id's grammar."""
    if _ODD.search(text) is None:
        return text
    return _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def decode(text: str) -> str:
    """The text that `encode` had; raises ValueError for a percent sign that encodes nothing."""
    if "%" not in text:
        return text
    if "%" in _PERCENT.sub("", text):
        raise ValueError("a percent sign is written %25 here")
    try:
        return _PERCENT.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), text)
    except UnicodeDecodeError:
        raise ValueError(f"{text[:100]!r} is not UTF-8 once it is decoded") from None


def id_of(account: str, repo: str, ref: str | None, matrix: Iterable[tuple[str, str]], name: str | None) -> str:
    """The id of a target."""
    text = f"{account}:{encode(repo)}"
    if ref is not None:
        text += f"@{encode(ref)}"
    pairs = ",".join(f"{encode(key)}={encode(value)}" for key, value in matrix)
    if pairs:
        text += f"[{pairs}]"
    return text if name is None else f"{text}#{encode(name)}"


def parse(text: str) -> Parts:
    """The parts of an id, a short form or a clone URL; raises ValueError, with what is expected, for anything else."""
    if "://" in text or (":" in text and "@" in text.partition(":")[0].partition("/")[0]):
        if (found := _URL.fullmatch(text)) is None:
            raise ValueError("expected the URL to clone a repository, such as https://HOST/owner/name.git")
        host = (found["host"] or found["scp"]).lower().removeprefix("www.").removeprefix("ssh.")
        return Parts(None, found["repo"], found["ref"], host=host)
    shape = _SHAPE.fullmatch(text) or _SHORT.fullmatch(text)
    if shape is None:
        hint = " (`#NAME` is read only after the account: ACCOUNT:owner/name#NAME)" if "#" in text else ""
        raise ValueError(f"expected owner/name, owner/name@branch or a target's id, found {text[:100]!r}{hint}")
    given = shape.groupdict()
    ref, name, matrix = given["ref"], given.get("name"), given["matrix"]
    return Parts(
        given.get("account"),
        decode(given["repo"]),
        None if ref is None else decode(ref),
        tuple(_pair(pair) for pair in matrix.split(",")) if matrix else (),
        None if name is None else decode(name),
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"expected matrix values as [key=value,...], found {text[:100]!r}")
    return decode(key), decode(value)


def repo_problem(repo: str, numbers: bool) -> str | None:
    """What is wrong with a repository's name, which no service has then, or None; some providers take numbers."""
    if repo.isascii() and repo.isdigit():
        return None if numbers else f"this provider knows no repository by its number ({repo[:100]})"
    parts = repo.split("/")
    if len(parts) < 2 or not all(parts) or any(part in (".", "..") for part in parts):
        return f"expected owner/name, found {repo[:100]!r}"
    if not all(map(_PART.fullmatch, parts)):
        return f"{repo[:100]!r} is no repository's name"
    return f"{repo[:100]!r} is no repository's name: leave `.git` out" if repo.endswith(".git") else None


def text_problem(repo: str) -> str | None:
    """What is wrong with a repository's name where it may be any text that an id can hold, or None."""
    if not repo.strip() or len(repo) > LONGEST_TEXT or not repo.isprintable():
        return f"expected a name of 1 to {LONGEST_TEXT} printable characters, found {repo[:100]!r}"
    return f"{repo[:100]!r} holds @ or :, which end the name in a target's id" if {"@", ":"} & set(repo) else None


def ref_problem(ref: str) -> str | None:
    """What is wrong with a ref, by git's own rules for names; None when nothing is."""
    found = _REF_NEVER.search(ref)
    if not ref:
        return "a branch has a name"
    if found is not None:
        return f"no branch can be named {ref[:100]!r} (it holds {found[0]!r})"
    return None


# which targets a need means


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

    def named(self, text: str) -> list[int]:
        """The targets that a name in a graph means, of any branch unless it has one; empty when there is none."""
        try:
            parts = parse(text)
        except ValueError:
            return []
        found: list[int] = []
        for account in [parts.account] if parts.account else self.accounts:
            repo = self.numbers.get((account, parts.repo), parts.repo)
            if parts.matrix or parts.name or (parts.account and parts.ref):
                exact = self.by_id.get(self._id(account, repo, parts))
                found += [] if exact is None else [exact]
            else:
                every = self.by_repo.get((account, self._repo(account, repo)), [])
                found += [at for at in every if parts.ref in (None, self.targets[at].branch)]
        return found

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
    graph: Graph | None = None,
    warnings: dict[str, None] | None = None,
) -> dict[int, tuple[str, ...]]:
    """The ids that each target needs, by its index; what is wrong goes to the diagnostics.

    Args:
        needs: by index of the target: what is written, and where.
        folds: whether an account's repositories are the same in any case.
        numbers: names of repositories that were given by number, by account and number.
        unseen: some targets are not known yet, so a need that names none is no error.
        graph: adds needs; names in it that are no targets are a warning.
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
    if graph is not None:
        strangers = _add_arrows(index, graph, edges, cache)
        if sum(map(len, edges.values())) > MOST_EDGES:
            diagnostics.report(f"more than {MOST_EDGES} needs", "leave some out of the graph", graph.place)
            return {}
        if strangers and not unseen and warnings is not None:
            warnings[_strangers(graph, strangers)] = None
    circle = _circle(edges)
    if circle:
        ids = [targets[at].id for at in circle]
        shown = ids if len(ids) <= _SHOWN else [*ids[:_SHOWN], "...", ids[-1]]
        problem = f"a circle of needs: {' needs '.join(shown)}"
        written = next((needs[at][1].within("needs") for at in circle if at in needs), None)
        place = written if written is not None or graph is None else graph.place
        assert place is not None  # noqa: S101  # needs are written, or come from a graph
        diagnostics.report(problem, "remove one of these needs", place)
    return {at: tuple(targets[need].id for need in found) for at, found in edges.items()}


def _add_arrows(
    index: _Index, graph: Graph, edges: dict[int, list[int]], cache: dict[tuple[str, str, str | None], list[int]]
) -> Sequence[str]:
    """Adds the needs of a graph; gives the names in it that are no targets."""
    known: dict[str, list[int]] = {}
    wanted: dict[int, dict[int, None]] = {}
    for who, need in graph.arrows:
        for text in (who, need):
            if text not in known:
                known[text] = index.named(text)
        for position in known[who] if known[need] else ():
            target = index.targets[position]
            key = (need, target.account, target.branch)
            if key not in cache:
                cache[key] = index.meant(need, target)
            wanted.setdefault(position, {}).update(dict.fromkeys(cache[key]))
    for position, found in wanted.items():
        edges[position] = list(dict.fromkeys([*edges.get(position, ()), *found]))
    return [text for text, found in known.items() if not found]


def _strangers(graph: Graph, names: Sequence[str]) -> str:
    named = ", ".join(name[:100] for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    which = "1 name is no target" if len(names) == 1 else f"{len(names):,} names are no targets"
    return f"{graph.name}: {which}, and left out: {named}{more}"


def _circle(edges: Mapping[int, Sequence[int]]) -> list[int]:
    """A circle as a list that ends where it begins; empty when there is none."""
    from graphlib import CycleError, TopologicalSorter  # only where targets need others

    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle: list[int] = error.args[1][::-1]
        return circle
    return []
