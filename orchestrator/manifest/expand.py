"""Walks the entries of a manifest, in their order, and hands what they say to the maker of targets.

Most entries of a long list say nothing but a name: they share one layer, one request and one pass of a regular
expression. Everything else takes the long way round.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.core.frozen import replace
from orchestrator.core.gc import uncollected
from orchestrator.core.model import Json, Target, Timeouts
from orchestrator.manifest.contents import Contents
from orchestrator.manifest.diagnostics import ManifestError, near
from orchestrator.manifest.entries import Entry, Said, Teller
from orchestrator.manifest.files import Listing
from orchestrator.manifest.glob import matches
from orchestrator.manifest.identity import PLAIN, Parts, parse
from orchestrator.manifest.layers import Layer, lacking
from orchestrator.manifest.lookups import Answers
from orchestrator.manifest.manifest import Manifest
from orchestrator.manifest.needs import resolve
from orchestrator.manifest.positions import Value
from orchestrator.manifest.schema import KINDS
from orchestrator.manifest.targets import Targets, names_of
from orchestrator.manifest.template import Compiled
from orchestrator.providers.port import RepoFacts


class _Ready(NamedTuple):
    """What all plain short forms below one layer share."""

    account: str
    folds: bool
    refs: tuple[str | None, ...]
    labels: tuple[str, ...]
    skip: str | None
    marked: bool
    timeouts: Timeouts
    layer: Layer
    request: Mapping[str, Json] | None  # None: made for each target


class _Above(NamedTuple):
    """What an entry with `from` says about the targets of its file."""

    layer: Layer
    account: str | None = None
    entry: Entry | None = None


class Expander:
    """Makes the targets; collects problems, warnings and questions on the way."""

    def __init__(self, manifest: Manifest, answers: Answers, today: datetime.date) -> None:
        self.manifest = manifest
        self.answers = answers
        self.files = manifest.files
        self.compiler = manifest.compiler
        self.default_account = manifest.default_account
        self.warnings: dict[str, None] = {}
        self.owners: dict[tuple[str, str], None] = {}
        self.teller = Teller(manifest.files, manifest.raw, manifest.compiler.constants)
        self.contents = Contents(manifest.name, manifest.declared, self.teller, today, self._warn)
        self.targets = Targets(manifest.declared, self.contents, self.teller, answers)
        self._layers: dict[tuple[int, str], tuple[_Above, Layer]] = {}

    def run(self) -> None:
        """Expands every entry, as far as the answers go."""
        above = _Above(Layer())
        with uncollected():
            for listing in self.manifest.listings:
                self._listing(listing, above)
        self.targets.unify(self.answers.numbers)

    @property
    def is_complete(self) -> bool:
        """Whether nothing had to be left out for want of an answer."""
        return not self.owners and not self.targets.branches

    def finish(self) -> tuple[Target, ...]:
        """The targets with their needs.

        Raises:
            ManifestError: everything that is wrong.
        """
        made = self.targets.made
        if self.targets.needs:
            wanted = {
                index: (texts, lambda text, remedy, entry=entry: self.teller.problem(entry, text, remedy, "needs"))
                for index, (texts, entry) in self.targets.needs.items()
            }
            unseen = not self.is_complete or bool(self.files.problems)
            for index, ids in resolve(made, wanted, self._folds, self.answers.numbers, unseen=unseen).items():
                made[index] = replace(made[index], needs=ids)
        if self.files.problems:
            raise ManifestError(self.files.problems)
        return tuple(made)

    def _folds(self, account: str) -> bool:
        return self.manifest.declared[account].fold_case

    def _warn(self, text: str) -> None:
        self.warnings[text] = None

    def _listing(self, listing: Listing, above: _Above) -> None:
        positions = self.files.marks.positions(listing.items)
        ready = self._ready(above) if any(type(item) is str for item in listing.items) else None
        for index, item in enumerate(listing.items):
            position = positions[index]
            keys = () if listing.keys is None else (listing.keys, index)
            if (
                ready is not None
                and type(item) is str
                and self._plain_short(item, ready, Entry(listing.items, index, keys, position))
            ):
                continue
            entry = Entry(listing.items, index, keys, position)
            if (id(listing.items), index) in self.files.broken:
                self._broken(item, entry)
            elif isinstance(item, str):
                self._short(item, above, entry)
            elif isinstance(item, dict):
                self._long(item, above, entry)

    def _broken(self, item: Value, entry: Entry) -> None:
        """Looks for what else is wrong in an entry that is; it makes no targets."""
        if isinstance(item, dict):
            self.compiler.layer(item, entry.keys)

    # short forms

    def _plain_short(self, text: str, ready: _Ready, entry: Entry) -> bool:
        """Adds the targets of a short form that needs no second look; False when it does."""
        plain = PLAIN.fullmatch(text)
        if plain is None:
            return False
        repo, ref = plain.groups()
        where = self.files.marks.where(entry.position)
        for branch in ready.refs if ref is None else (ref,):
            rest = "" if branch is None else f"@{branch}"
            made = key = f"{ready.account}:{repo}{rest}"
            if ready.folds and not repo.islower():
                key = f"{ready.account}:{repo.lower()}{rest}"
            if not self.targets.is_new(key, made, entry):
                continue
            request = ready.request
            if request is None:
                request = self.contents.request(ready.layer, names_of(repo, branch, made), ready.account, entry)
            self.targets.append(
                Target(
                    made, ready.account, repo, branch, (), None, ready.labels, 1, (),
                    ready.skip, ready.marked, ready.timeouts, request, where,
                ),
                alike=id(ready.layer),
            )  # fmt: skip
        return True

    def _ready(self, above: _Above) -> _Ready | None:
        """None when short forms need the long way round, because something differs from target to target."""
        account = above.account or self.default_account
        if account is None or account not in self.manifest.accounts:
            return None
        layer = self._below(above, account)
        refs = layer.branches or [None]
        if not layer.is_plain or not all(ref is None or _is_plain(ref) for ref in refs):
            return None
        return _Ready(
            account=account,
            folds=self._folds(account),
            refs=tuple(dict.fromkeys(refs)),
            labels=tuple(dict.fromkeys(layer.labels)),
            skip=self.contents.skip(layer.skip, {}, above.entry),
            marked=layer.marked is not False,
            timeouts=self.contents.timeouts(layer, account),
            layer=layer,
            request=self.contents.request(layer, {}, account, above.entry) if layer.request_is_constant else None,
        )

    def _below(self, above: _Above, account: str) -> Layer:
        """What a short form says on an account; one object for all of them, so that they share what they send."""
        key = (id(above), account)
        if key not in self._layers:  # `above` is kept, so that its identity is not used again
            self._layers[key] = (above, above.layer.over(self.manifest.base_of(account)))
        return self._layers[key][1]

    def _short(self, text: str, above: _Above, entry: Entry) -> None:
        compiled = self.compiler.value(text, entry.container, entry.key, entry.keys)
        if isinstance(compiled, str):
            if (parts := self._parse(compiled, entry)) is not None:
                self._of_parts(parts, above, entry)
            return
        account = above.account or self.default_account
        layer = above.layer if account is None else self._below(above, account)
        if not self.targets.fits(layer, 1, entry):
            return
        for matrix in self.targets.combinations(layer, entry):  # names of the matrix stand in the short form
            filled = self.teller.fill(compiled, {f"matrix.{key}": value for key, value in matrix}, entry)
            parts = self._parse(filled, entry) if filled is not None else None
            if parts is not None:
                self._of_parts(parts._replace(matrix=parts.matrix or matrix), above, entry)

    def _parse(self, text: str, entry: Entry) -> Parts | None:
        try:
            return parse(text)
        except ValueError as error:
            self.teller.problem(entry, str(error), "a branch with spaces or brackets is written as in a target's id")
            return None

    def _of_parts(self, parts: Parts, above: _Above, entry: Entry) -> None:
        account = self._account(parts.account or above.account, entry)
        if account is not None:
            layer = self._below(above, account)
            refs = None if parts.ref is None else [parts.ref]
            self.targets.add(Said(parts.repo, layer, account, entry, parts.name, refs, parts.matrix))

    # long forms

    def _long(self, said: dict[str, Value], above: _Above, entry: Entry) -> None:
        kinds = [key for key in KINDS if key in said]
        if len(kinds) != 1:
            named = " and ".join(f"`{key}`" for key in kinds)
            text = f"{named} stand side by side" if kinds else f"missing key: one of {', '.join(KINDS)}"
            return self.teller.problem(entry, text, "keep one of them" if kinds else "name the repository")
        written = said.get("account", above.account)
        if "from" in said and self._is_left_to_rows(written):
            self._known_somewhere(said, entry)
            return self._from(said, written, above, entry)
        account = self._account(written, entry, "account")
        if account is None:
            return None
        self._known_keys(said, account, entry)
        if "from" in said:
            return self._from(said, written, above, entry)
        layer = self.compiler.layer(said, entry.keys).over(above.layer).over(self.manifest.base_of(account))
        if not self.targets.fits(layer, len(said.get("repos", "1")), entry):
            return None
        name = self.compiler.value(said["name"], said, "name", (*entry.keys, "name")) if "name" in said else None
        for repo, labels in self._repos(said, account, entry):
            self.targets.add(Said(repo, layer, account, entry, name, labels=labels))
        return None

    def _from(self, said: dict[str, Value], account: str | None, above: _Above, entry: Entry) -> None:
        listing = self.files.lists.get(id(said))
        if listing is not None:
            layer = self.compiler.layer(said, entry.keys).over(above.layer)
            self._listing(listing, _Above(layer, account, entry))

    def _is_left_to_rows(self, account: str | None) -> bool:
        """Whether nothing above the rows of a file says which of several accounts is meant."""
        return account is None and self.default_account is None and not self.manifest.broken_accounts

    def _known_keys(self, said: dict[str, Value], account: str, entry: Entry) -> None:
        declaration = self.manifest.declared[account]
        for key in lacking(said, declaration):
            remedy = f"remove it; {declaration.title} knows {', '.join(declaration.keys) or 'no keys of its own'}"
            self.teller.problem(entry, f"unknown key `{key}` for {declaration.title}", remedy, key)

    def _known_somewhere(self, said: dict[str, Value], entry: Entry) -> None:
        """For a file whose rows name the accounts: a key that no account's provider knows is wrong in any case."""
        known = [set(lacking(said, self.manifest.declared[name])) for name in self.manifest.accounts]
        for key in (key for key in said if all(key in lacks for lacks in known)):
            self.teller.problem(entry, f"unknown key `{key}` for every account", "remove it", key)

    def _repos(self, said: dict[str, Value], account: str, entry: Entry) -> Iterator[tuple[Compiled, tuple[str, ...]]]:
        """The repositories that an entry names, each with labels of its own."""
        if "discover" in said:
            for facts in self._discovered(said["discover"], account, entry):
                yield facts.slug, facts.labels
            return
        container: Value = said
        keys: Sequence[str | int] = ("repo",)
        if "repos" in said:
            container, keys = said["repos"], range(len(said["repos"]))
        for key in keys:
            path = (*entry.keys, "repos", key) if "repos" in said else (*entry.keys, key)
            repo = container[key]
            if isinstance(repo, str) and "@" in repo:
                text = f"{repo[:100]!r} is no repository's name"
                self.files.say(text, "a branch goes into `branch`", container, key, path)
            else:
                yield str(repo) if isinstance(repo, int) else self.compiler.value(repo, container, key, path), ()

    def _discovered(self, said: Mapping[str, Value], account: str, entry: Entry) -> list[RepoFacts]:
        keys = (*entry.keys, "discover")
        owner = self.teller.text(self.compiler.value(said["owner"], said, "owner", (*keys, "owner")), entry)
        found = self.answers.owners.get((account, owner))
        if found is None:
            self.owners[account, owner] = None
            if self.answers.offline:
                self._warn(f"discover {owner}: not looked up; its targets are missing here")
            return []
        match = [self.teller.text(one, entry) for one in self.compiler.many(said, "match", keys)]
        exclude = [self.teller.text(one, entry) for one in self.compiler.many(said, "exclude", keys)]
        meant = [one for one in found if (not match or _named(one.slug, match)) and not _named(one.slug, exclude)]
        active = [one for one in meant if one.active]
        if len(active) < len(meant):
            self._warn(f"discover {owner}: {len(meant) - len(active)} inactive repositories are left out")
        if not active:
            self._warn(f"discover {owner}: no active repository matches")
        return active

    def _account(self, name: str | None, entry: Entry, key: str | None = None) -> str | None:
        """The account of an entry; None, and a problem, when there is no such one, or it is not said which."""
        manifest = self.manifest
        name = name or self.default_account
        if name in manifest.accounts:
            return name
        if name is None and not manifest.broken_accounts:
            text = f"which account? there are {', '.join(manifest.accounts)}"
            self.teller.problem(entry, text, "write `account:` here or in `defaults`")
        elif name is not None and name not in manifest.broken_accounts:
            self.teller.problem(
                entry,
                f"unknown account `{name[:100]}`",
                near(name, [*manifest.accounts, *manifest.broken_accounts]),
                key,
            )
        return None


def _is_plain(ref: Compiled) -> bool:
    return isinstance(ref, str) and PLAIN.fullmatch(f"a/b@{ref}") is not None


def _named(slug: str, globs: list[str]) -> bool:
    name = slug.rpartition("/")[2]
    return any(matches(glob, slug if "/" in glob else name, fold=True) for glob in globs)
