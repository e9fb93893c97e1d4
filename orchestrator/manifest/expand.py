"""Turns the entries of a manifest into targets, in their order.

Most entries of a long list say nothing but a name: they share one layer, one request and one pass of a regular
expression. Everything else takes the long way round.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.manifest.files import Listing
from orchestrator.manifest.glob import is_glob, matches
from orchestrator.manifest.identity import PLAIN, Parts, id_of, parse, ref_problem, repo_problem
from orchestrator.manifest.layers import Compiler, Layer, lacking
from orchestrator.manifest.needs import resolve
from orchestrator.manifest.problems import ManifestError, Problem, near
from orchestrator.manifest.read import Value
from orchestrator.manifest.template import Compiled, Undefined, fill, is_constant
from orchestrator.model import Account, Json, Plan, Target, Timeouts
from orchestrator.provider import Declaration, RepoFacts

if TYPE_CHECKING:
    from orchestrator.manifest import Manifest

MOST_TARGETS = 500_000


@dataclass(frozen=True, slots=True)
class Answers:
    """What the providers said to the questions of a manifest.

    Args:
        owners: by account and owner: their repositories.
        branches: by account and repository: its branches.
        numbers: by account and number: the name of that repository.
        offline: nobody will be asked; what is not known is left out, with a warning.
    """

    owners: Mapping[tuple[str, str], Sequence[RepoFacts]] = field(default_factory=dict)
    branches: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    numbers: Mapping[tuple[str, str], str] = field(default_factory=dict)
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Questions:
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


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where an entry stands, for messages."""

    container: Value
    key: int
    keys: tuple[str | int, ...]
    position: int


@dataclass(frozen=True, slots=True)
class _Said:
    """What an entry says about one repository; None is not said."""

    repo: Compiled
    layer: Layer
    account: str
    entry: _Entry
    name: Compiled = None
    refs: Sequence[Compiled] | None = None
    matrix: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ()


class Expander:
    """Makes targets of a manifest's entries; collects problems and questions on the way."""

    def __init__(self, manifest: Manifest, answers: Answers, today: datetime.date) -> None:
        self.manifest = manifest
        self.answers = answers
        self.today = today
        self.files = manifest.files
        self.targets: list[Target] = []
        self.warnings: dict[str, None] = {}
        self.problems = self.files.problems
        self.owners: dict[tuple[str, str], None] = {}
        self.branches: dict[tuple[str, str], None] = {}
        self.needs: dict[int, tuple[Sequence[str], _Entry]] = {}
        self._seen: dict[str, int] = {}
        self._base: dict[str, Layer] = {}
        self._plain: dict[tuple[int, str], dict[str, Any] | None] = {}
        self._requests: dict[int, tuple[Layer, Mapping[str, Json]]] = {}
        self._timeouts: dict[tuple[str, tuple[tuple[str, float], ...]], Timeouts] = {}
        self._messages: dict[tuple[str, str], str | None] = {}
        self._warned: set[tuple[str, int]] = set()

    def run(self) -> None:
        """Expands every entry, as far as the answers go."""
        for listing in self.manifest.listings:
            self._listing(listing, Layer(), None, ())
        self._unify_numbers()

    def finish(self) -> tuple[Target, ...]:
        """The targets with their needs.

        Raises:
            ManifestError: everything that is wrong.
        """
        if self.needs:
            unseen = bool(self.owners or self.branches or self.problems)
            needs = resolve(self.targets, self._needs_with_places(), self._folds, unseen=unseen)
            for index, ids in needs.items():
                self.targets[index] = replace(self.targets[index], needs=ids)
        if self.problems:
            raise ManifestError(self.problems)
        return tuple(self.targets)

    def _folds(self, account: str) -> bool:
        return self.manifest.declared[account].fold_case

    def _needs_with_places(self) -> dict[int, tuple[Sequence[str], Any]]:
        return {
            index: (texts, lambda text, remedy, entry=entry: self._problem(entry, text, remedy, "needs"))
            for index, (texts, entry) in self.needs.items()
        }

    # entries

    def _listing(self, listing: Listing, parent: Layer, account: str | None, above: tuple[str | int, ...]) -> None:
        positions = self.files.marks.positions(listing.items)
        prefix: tuple[str | int, ...] = (listing.keys,) if listing.keys else ()
        for index, item in enumerate(listing.items):
            position = positions[index] if index < len(positions) else 0
            if isinstance(item, str) and self._short_and_plain(item, parent, account, position):
                continue
            keys = (*prefix, index) if listing.keys else ()
            entry = _Entry(listing.items, index, keys, position)
            if isinstance(item, str):
                self._short(item, parent, account, entry)
            elif isinstance(item, dict) and id(item) not in self.files.broken:
                self._long(item, parent, account, entry)

    def _short_and_plain(self, text: str, parent: Layer, account: str | None, position: int) -> bool:
        """Adds the targets of a short form that needs no second look; False when it does."""
        plain = PLAIN.fullmatch(text)
        ready = self._ready(parent, account)
        if plain is None or ready is None:
            return False
        repo, ref = plain[1], plain[2]
        refs = ready["refs"] if ref is None else (ref,)
        where = self.files.marks.where(position)
        name, folds = ready["account"], ready["folds"]
        for branch in refs:
            made = f"{name}:{repo}" if branch is None else f"{name}:{repo}@{branch}"
            key = made if not folds or repo.islower() else f"{name}:{repo.lower()}{made[len(name) + 1 + len(repo) :]}"
            first = self._seen.setdefault(key, len(self.targets))
            if first != len(self.targets):
                self._duplicate(made, first, position, "")
                continue
            self._append(
                Target(
                    made, name, repo, branch, (), None, ready["labels"], 1, (), ready["skip"], ready["marked"],
                    ready["timeouts"], ready["request"], where,
                )
            )  # fmt: skip
        return True

    def _append(self, target: Target) -> None:
        if len(self.targets) >= MOST_TARGETS:
            said = f"more than {MOST_TARGETS} targets"
            raise ManifestError([*self.problems, Problem(target.where, "", said, "split the manifest")])
        self.targets.append(target)

    def _ready(self, parent: Layer, account: str | None) -> dict[str, Any] | None:
        """What all short forms below one layer share; None when they need the long way round."""
        name = account or self.manifest.default_account
        if name is None:
            return None
        key = (id(parent), name)
        if key not in self._plain:
            self._plain[key] = self._make_ready(parent, name)
        return self._plain[key]

    def _make_ready(self, parent: Layer, account: str) -> dict[str, Any] | None:
        layer = parent.over(self._layer_of(account))
        refs = list(layer.branches or [None])
        plain_refs = all(ref is None or (isinstance(ref, str) and PLAIN.fullmatch(f"a/b@{ref}")) for ref in refs)
        if not layer.is_constant or layer.needs or not plain_refs or account not in self.manifest.accounts:
            return None
        request = self._request(layer, {}, account, None)
        return {
            "account": account,
            "folds": self._folds(account),
            "refs": tuple(dict.fromkeys(refs)) or (None,),
            "labels": tuple(layer.labels),
            "skip": self._skip(layer.skip, account),
            "marked": layer.marked is not False,
            "timeouts": self._times(layer, account),
            "request": request,
        }

    def _short(self, text: str, parent: Layer, account: str | None, entry: _Entry) -> None:
        compiled = self._compiler.value(text, entry.container, entry.key, entry.keys)
        if not isinstance(compiled, str):
            return self._templated(compiled, parent, account, entry)
        parts = self._parse(compiled if compiled != text or "${{" in text else text, entry)
        if parts is not None:
            self._of_parts(parts, parent, account, entry)
        return None

    def _templated(self, text: Compiled, parent: Layer, account: str | None, entry: _Entry) -> None:
        """A short form with names of the matrix in it."""
        name = account or self.manifest.default_account
        layer = parent.over(self._layer_of(name)) if name is not None else parent
        done: set[str] = set()
        for matrix in self._combinations(layer, entry):
            filled = self._fill(text, {f"matrix.{key}": value for key, value in matrix}, entry)
            parts = self._parse(filled, entry) if filled is not None else None
            if parts is not None and filled not in done:
                done.add(filled)
                self._of_parts(replace(parts, matrix=parts.matrix or matrix), parent, account, entry)

    def _parse(self, text: str, entry: _Entry) -> Parts | None:
        try:
            return parse(text)
        except ValueError as error:
            remedy = "quote it, and look at the short form in the reference" if " " in text else ""
            self._problem(entry, str(error), remedy)
            return None

    def _of_parts(self, parts: Parts, parent: Layer, account: str | None, entry: _Entry) -> None:
        name = self._account_of(parts.account or account, entry)
        if name is not None:
            refs = None if parts.ref is None else [parts.ref]
            layer = parent.over(self._layer_of(name))
            self._add(_Said(parts.repo, layer, name, entry, parts.name, refs, parts.matrix))

    def _long(self, said: dict[str, Value], parent: Layer, account: str | None, entry: _Entry) -> None:
        kinds = [key for key in ("repo", "repos", "discover", "from") if key in said]
        if len(kinds) != 1:
            known = "repo, repos, discover or from"
            text = f"{' and '.join(f'`{key}`' for key in kinds)} stand side by side" if kinds else f"missing key: {known}"
            return self._problem(entry, text, "keep one of them" if kinds else "name the repository")
        name = self._account_of(said.get("account", account), entry, "account" if "account" in said else None)
        if name is None:
            return None
        declaration = self.manifest.declared[name]
        for key in lacking(said, declaration):
            remedy = f"remove it; this provider knows {', '.join(declaration.keys) or 'no keys of its own'}"
            self._at(said, key, (*entry.keys, key), f"unknown key `{key}` for {declaration.title}", remedy)
        own = self._compiler.layer(said, entry.keys).over(parent)
        if kinds[0] == "from":
            listing = self.files.lists.get(id(said))
            if listing is not None:
                self._listing(listing, own, said.get("account", account), entry.keys)
            return None
        layer = own.over(self._layer_of(name))
        title = self._compiler.value(said["name"], said, "name", (*entry.keys, "name")) if "name" in said else None
        for repo, labels in self._repos(said, name, entry):
            self._add(_Said(repo, layer, name, entry, title, labels=labels))
        return None

    def _repos(
        self, said: dict[str, Value], account: str, entry: _Entry
    ) -> Iterator[tuple[Compiled, tuple[str, ...]]]:
        if "discover" in said:
            for facts in self._discovered(said["discover"], account, entry):
                yield facts.slug, facts.labels
            return
        repos = said["repos"] if "repos" in said else [said["repo"]]
        for index, repo in enumerate(repos):
            place = (said["repos"], index, (*entry.keys, "repos", index)) if "repos" in said else (said, "repo", (*entry.keys, "repo"))  # fmt: skip
            if isinstance(repo, str) and "@" in repo:
                self._at(*place, f"{repo[:100]!r} is no repository's name", "a branch goes into `branch`")
            else:
                yield (str(repo) if isinstance(repo, int) else self._compiler.value(repo, *place)), ()

    def _discovered(self, said: Mapping[str, Value], account: str, entry: _Entry) -> list[RepoFacts]:
        keys = (*entry.keys, "discover")
        owner = self._text(self._compiler.value(said["owner"], said, "owner", (*keys, "owner")), entry)
        found = self.answers.owners.get((account, owner))
        if found is None:
            self.owners[account, owner] = None
            if self.answers.offline:
                self._warn(f"discover {owner}: not looked up offline; its targets are missing here")
            return []
        match = [self._text(one, entry) for one in self._compiler.many(said, "match", keys)]
        exclude = [self._text(one, entry) for one in self._compiler.many(said, "exclude", keys)]
        wanted = [
            facts for facts in found
            if (not match or _named(facts.slug, match)) and not _named(facts.slug, exclude)
        ]  # fmt: skip
        active = [facts for facts in wanted if facts.active]
        if len(active) < len(wanted):
            self._warn(f"discover {owner}: {len(wanted) - len(active)} inactive repositories are left out")
        if not active:
            self._warn(f"discover {owner}: no active repository matches")
        return active

    # targets

    def _add(self, said: _Said) -> None:
        """Adds a target for each combination of the matrix and each branch."""
        entry, layer = said.entry, said.layer
        combinations = [said.matrix] if said.matrix else self._combinations(layer, entry)
        for matrix in combinations:
            names = {f"matrix.{key}": value for key, value in matrix}
            repo = self._fill(said.repo, names, entry)
            if repo is None:
                continue
            problem = repo_problem(repo, self.manifest.declared[said.account].repo_ids)
            if problem is not None:
                self._problem(entry, problem, "name it owner/name")
                continue
            owner, _, name = repo.partition("/")
            names |= {"target.repo": repo, "target.owner": owner, "target.name": name or repo}
            for ref in self._refs(said, repo, names):
                self._one(said, repo, ref, matrix, names)

    def _one(
        self, said: _Said, repo: str, ref: tuple[str | None, str | None], matrix: tuple[tuple[str, str], ...],
        names: dict[str, str],
    ) -> None:  # fmt: skip
        entry, layer, account = said.entry, said.layer, said.account
        branch, missing = ref
        if branch is not None:
            names = {**names, "target.branch": branch}
        name = self._fill(said.name, names, entry) if said.name is not None else None
        made = id_of(account, repo, branch, matrix, name)
        names["target.id"] = made
        folded = id_of(account, repo.lower() if self._folds(account) else repo, branch, matrix, name)
        first = self._seen.setdefault(folded, len(self.targets))
        if first != len(self.targets):
            return self._duplicate(made, first, entry.position, entry.keys)
        needs = [self._text(need, entry, names) for need in layer.needs or ()]
        labels = [self._text(label, entry, names) for label in layer.labels]
        if needs:
            self.needs[len(self.targets)] = (needs, entry)
        target = Target(
            id=made,
            account=account,
            repo=repo,
            branch=branch,
            matrix=matrix,
            name=name,
            labels=tuple(dict.fromkeys([*labels, *said.labels])),
            skip=missing or self._skip(fill_or(layer.skip, names), account),
            marked=layer.marked is not False,
            timeouts=self._times(layer, account),
            request=self._request(layer, names, account, entry),
            where=self.files.marks.where(entry.position),
        )
        return self._append(target)

    def _refs(self, said: _Said, repo: str, names: Mapping[str, str]) -> Iterator[tuple[str | None, str | None]]:
        """The branches, each with the reason to skip it: None for those that can be built."""
        refs = said.refs if said.refs is not None else said.layer.branches
        if not refs:
            yield None, None
            return
        found: dict[str, str | None] = {}
        for ref in refs:
            text = self._fill(ref, names, said.entry)
            if text is None:
                continue
            if is_glob(text):
                for branch, missing in self._glob(text, said.account, repo):
                    found.setdefault(branch, missing)
            elif (problem := ref_problem(text)) is not None:
                self._problem(said.entry, problem, "name a branch or a tag", "branches")
            else:
                found.setdefault(text, None)
        yield from found.items()

    def _glob(self, glob: str, account: str, repo: str) -> list[tuple[str, str | None]]:
        branches = self.answers.branches.get((account, repo))
        if branches is None:
            self.branches[account, repo] = None
            if self.answers.offline:
                self._warn("branch globs are not expanded offline")
            return [(glob, f"the branches of {repo} were not looked up")]
        found = [branch for branch in branches if matches(glob, branch) and ref_problem(branch) is None]
        if not found:
            self._warn(f"no branch of {repo} matches {glob}")
            return [(glob, f"no branch matches {glob}")]
        return [(branch, None) for branch in found]

    def _combinations(self, layer: Layer, entry: _Entry) -> list[tuple[tuple[str, str], ...]]:
        if not layer.matrix:
            return [()]
        count = 1
        for values in layer.matrix.values():
            count *= len(values)
        if count > MOST_TARGETS:
            self._problem(entry, f"the matrix has {count} combinations", "split it", "matrix")
            return []
        values = [[(key, self._text(one, entry)) for one in said] for key, said in layer.matrix.items()]
        out = [{key: self._text(one, entry) for key, one in said.items()} for said in layer.exclude]
        every = list(dict.fromkeys(itertools.product(*values)))
        return [one for one in every if not any(said.items() <= dict(one).items() for said in out)]

    def _request(
        self, layer: Layer, names: Mapping[str, str], account: str, entry: _Entry | None
    ) -> Mapping[str, Json]:
        known = self._requests.get(id(layer))
        if known is not None:
            return known[1]
        said = dict(layer.request)
        env = {name: value for name, value in layer.env.items() if value is not None}
        if env:
            said["env"] = env
        constant = all(is_constant(value) for value in said.values())
        try:
            request = said if constant else fill(said, names)
        except Undefined as error:
            if entry is not None:
                self._undefined(error.name, names, entry)
            return {}
        if entry is not None or constant:
            self._check_request(request, layer, account, entry)
        if constant:
            self._requests[id(layer)] = (layer, request)  # the layer is kept so that its identity is not reused
        return request

    def _check_request(self, request: Mapping[str, Json], layer: Layer, account: str, entry: _Entry | None) -> None:
        config = request.get("config")
        if "env" in request and "config" in request:
            if not isinstance(config, dict):
                self._layer_problem(entry, "`env` together with `config` as text", "write `config` as a map", "config")
            elif "env" in config:
                self._layer_problem(entry, "`env` together with `config.env`", "write all of it in one of the two", "env")
        said = request.get("message")
        message = said if isinstance(said, str) else self.manifest.name
        key = (account, message)
        if key not in self._messages:
            self._messages[key] = self.manifest.declared[account].message_problem(message)
        if (problem := self._messages[key]) is not None and (said is not None or layer.marked is not False):
            self._layer_problem(entry, problem, "reword the message", "message")

    def _times(self, layer: Layer, account: str) -> Timeouts:
        key = (account, tuple(layer.timeouts.items()))
        if key not in self._timeouts:
            base = Timeouts(settle=self.manifest.declared[account].settle)
            self._timeouts[key] = replace(base, **layer.timeouts)
        return self._timeouts[key]

    def _skip(self, said: Compiled, account: str) -> str | None:
        if not isinstance(said, dict):
            return said if said is None else str(said)
        until = said.get("until")
        if until is None:
            return str(said["reason"])
        if self.today >= _date(until):
            self._warn(f"a skip ended on {until} ({said['reason']}): remove it from the manifest")
            return None
        return f"{said['reason']} (until {until})"

    def _unify_numbers(self) -> None:
        """A repository that stands there by number and by name becomes one: by its name."""
        for index, target in enumerate(self.targets):
            slug = self.answers.numbers.get((target.account, target.repo))
            if slug is None:
                continue
            made = id_of(target.account, slug, target.branch, target.matrix, target.name)
            folded = slug.lower() if self._folds(target.account) else slug
            key = id_of(target.account, folded, target.branch, target.matrix, target.name)
            first = self._seen.setdefault(key, index)
            if first != index:
                self.problems.append(
                    Problem(
                        target.where, "", f"duplicate target: {target.repo} is {slug}, first at {self.targets[first].where}",
                        "remove one of the two",
                    )
                )  # fmt: skip
            self.targets[index] = replace(target, id=made, repo=slug)

    def numbers(self) -> dict[tuple[str, str], None]:
        """The repositories given by number, on accounts where others are given by name."""
        named = {target.account for target in self.targets if "/" in target.repo}
        return {
            (target.account, target.repo): None
            for target in self.targets
            if "/" not in target.repo and target.account in named
        }

    # helpers

    @property
    def _compiler(self) -> Compiler:
        return self.manifest.compiler

    def _layer_of(self, account: str) -> Layer:
        if account not in self._base:
            self._base[account] = self.manifest.base_of(account)
        return self._base[account]

    def _account_of(self, name: str | None, entry: _Entry, key: str | None = None) -> str | None:
        manifest = self.manifest
        if name is None:
            name = manifest.default_account
        if name is None and manifest.accounts:
            text = f"which account? there are {', '.join(manifest.accounts)}"
            self._problem(entry, text, "write `account:` here or in `defaults`")
            return None
        if name in manifest.accounts:
            return name
        if name is not None and name not in manifest.broken_accounts:
            self._problem(entry, f"unknown account `{name[:100]}`", near(name, manifest.accounts), key)
        return None

    def _fill(self, value: Compiled, names: Mapping[str, str], entry: _Entry) -> Any:
        """The value with its names filled in; None, and a problem, when one is not known."""
        try:
            return fill(value, names)
        except Undefined as error:
            self._undefined(error.name, names, entry)
            return None

    def _text(self, value: Compiled, entry: _Entry, names: Mapping[str, str] | None = None) -> str:
        filled = self._fill(value, names or {}, entry)
        return filled if isinstance(filled, str) else ""

    def _undefined(self, name: str, names: Mapping[str, str], entry: _Entry) -> None:
        known = [*names, *self.manifest.compiler.constants]
        self._problem(entry, f"`${{{{ {name} }}}}` is not known for this target", near(name, known))

    def _layer_problem(self, entry: _Entry | None, text: str, remedy: str, key: str) -> None:
        if entry is not None:
            self._problem(entry, text, remedy, key)
            return
        raw = self.manifest.raw
        defaults = raw.get("defaults", {})
        if key in defaults:
            self._at(defaults, key, ("defaults", key), text, remedy)
        else:
            self._at(raw, "name" if "name" in raw else "targets", ("name",) if "name" in raw else (), text, remedy)

    def _duplicate(self, made: str, first: int, position: int, keys: Any) -> None:
        where = self.files.marks.where(position)
        path = f"targets[{keys[1]}]" if len(keys) > 1 else ""
        same = self.targets[first]
        said = f"duplicate target {made}" if made == same.id else f"duplicate target {made} (the same as {same.id})"
        remedy = "remove one of the two, or tell them apart with `name`"
        self.problems.append(Problem(where, path, f"{said}, first at {same.where}", remedy, position))

    def _problem(self, entry: _Entry, text: str, remedy: str = "", key: str | None = None) -> None:
        said = entry.container[entry.key]
        if key is not None and isinstance(said, dict) and key in said:
            self._at(said, key, (*entry.keys, key), text, remedy)
        else:
            self._at(entry.container, entry.key, entry.keys, text, remedy)

    def _at(self, container: Value, key: str | int, keys: Sequence[str | int], text: str, remedy: str) -> None:
        self.files.say(text, remedy, container, key, keys)

    def _warn(self, text: str) -> None:
        self.warnings[text] = None


def fill_or(value: Compiled, names: Mapping[str, str]) -> Any:
    return value if value is None else fill(value, names)


def _named(slug: str, globs: Sequence[str]) -> bool:
    name = slug.rpartition("/")[2]
    return any(matches(glob, slug if "/" in glob else name, fold=True) for glob in globs)


def _date(value: Any) -> datetime.date:
    if isinstance(value, datetime.datetime):
        return value.date()
    return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(value)
