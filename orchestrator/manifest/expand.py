"""Walks the entries of a manifest, in their order, and has targets made of them.

Most entries of a long list are only a name: they share one prototype and one pass of a regular expression.
Everything else takes the long way round; both end in `Targets.append`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from orchestrator.core.errors import near
from orchestrator.core.frozen import gc_paused, replace
from orchestrator.core.model import Target
from orchestrator.core.template import Compiled, is_constant
from orchestrator.manifest.diagnostics import ManifestError, Place, Value
from orchestrator.manifest.identity import PLAIN, Parts, parse, resolve
from orchestrator.manifest.layers import Layer, lacking
from orchestrator.manifest.lists import Listing
from orchestrator.manifest.lookups import Answers, Lookups, Narrowed
from orchestrator.manifest.rollout import check_labels
from orchestrator.manifest.schema import DISCOVER, KINDS, OF_LISTS
from orchestrator.manifest.targets import Prototypes, Targets, Wanted, names_of
from orchestrator.providers.port import RepoFacts

if TYPE_CHECKING:
    from orchestrator.manifest.load import Manifest


class _Plain(NamedTuple):
    """What all plain short forms below one layer have in common; no prototype where what is sent has templates."""

    account: str
    folds: bool
    refs: tuple[str | None, ...]
    layer: Layer
    prototype: Target | None


class _Above(NamedTuple):
    """What holds for all targets of the file of an entry with `from`."""

    layer: Layer
    account: str | None = None
    entry: Place | None = None


class Expander:
    """Makes the targets; collects problems, warnings and questions on the way."""

    def __init__(self, manifest: Manifest, answers: Answers, today: datetime.date) -> None:
        self.manifest = manifest
        self.answers = answers
        self.diagnostics = manifest.files.diagnostics
        self.compiler = manifest.compiler
        self.default_account = manifest.default_account
        self.warnings: dict[str, None] = {}
        self.lookups = Lookups(answers, self.warnings)
        self.prototypes = Prototypes(manifest, today, self.warnings)
        self.targets = Targets(self.prototypes, self.lookups)
        self._layers: dict[tuple[int, str], tuple[_Above, Layer]] = {}

    def run(self) -> None:
        """Expands every entry, as far as the answers go."""
        above = _Above(Layer())
        with gc_paused():
            for listing in self.manifest.listings:
                self._listing(listing, above)
        if self.answers.numbers:
            self.targets.unify(self.answers.numbers)

    def finish(self) -> tuple[Target, ...]:
        """The targets with their needs; raises ManifestError with everything that is wrong."""
        made, needs, numbers = self.targets.made, self.targets.needs, self.answers.numbers
        unseen = not self.lookups.are_complete or bool(self.diagnostics.problems)
        if not unseen:
            check_labels(self.manifest.raw, made, self.diagnostics)
        graph = self.manifest.graph
        if needs or graph is not None:
            found = resolve(
                made, needs, self._folds, numbers, self.diagnostics, unseen=unseen, graph=graph, warnings=self.warnings
            )
            for index, ids in found.items():
                made[index] = replace(made[index], needs=ids)
        if self.diagnostics.problems:
            raise ManifestError(self.diagnostics.problems)
        return tuple(made)

    def _folds(self, account: str) -> bool:
        return self.manifest.declared[account].fold_case

    def _listing(self, listing: Listing, above: _Above) -> None:
        positions = self.diagnostics.positions
        packed = positions.of_items(listing.items)
        plain = self._plain(above) if any(type(item) is str for item in listing.items) else None
        for index, item in enumerate(listing.items):
            entry = Place(listing.items, index, () if listing.keys is None else (listing.keys, index))
            where = positions.where(packed[index])
            if plain is not None and type(item) is str and self._add_plain(item, plain, entry, where):
                continue
            if (id(listing.items), index) in self.diagnostics.broken:
                if isinstance(item, dict):
                    self.compiler.layer(item, entry.keys)  # for its other problems; it makes no targets
            elif isinstance(item, str):
                self._short(item, above, entry, where)
            elif isinstance(item, dict):
                self._long(item, above, entry, where)

    # short forms

    def _add_plain(self, text: str, plain: _Plain, entry: Place, where: str) -> bool:
        """Adds the targets of a short form that is a plain name; False when it is more."""
        found = PLAIN.fullmatch(text)
        if found is None:
            return False
        repo, ref = found.groups()
        targets, layer, account = self.targets, plain.layer, plain.account
        for branch in plain.refs if ref is None else (ref,):
            rest = "" if branch is None else f"@{branch}"
            id_ = key = f"{account}:{repo}{rest}"
            if plain.folds and not repo.islower():
                key = f"{account}:{repo.lower()}{rest}"
            if targets.is_new(key, id_, entry):
                prototype = plain.prototype
                if prototype is None:
                    prototype = self.prototypes.make(layer, account, names_of(repo, branch, id_), entry)
                targets.append(replace(prototype, id=id_, repo=repo, branch=branch, where=where), id(layer))
        return True

    def _plain(self, above: _Above) -> _Plain | None:
        """None when short forms need the long way round, because something differs from target to target."""
        account = above.account or self.default_account
        if account is None or account not in self.manifest.accounts:
            return None
        layer = self._below(above, account)
        if not layer.is_plain:
            return None
        is_same = all(is_constant(value) for value in layer.sent.values())
        prototype = self.prototypes.make(layer, account, {}, above.entry) if is_same else None
        refs = tuple(dict.fromkeys(layer.values.get("branches") or [None]))
        return _Plain(account, self._folds(account), refs, layer, prototype)

    def _below(self, above: _Above, account: str) -> Layer:
        """The layer of a short form on an account; one object for all of them, so that they share what they send."""
        key = (id(above), account)
        if key not in self._layers:  # `above` is kept, so that its identity is not used again
            self._layers[key] = (above, above.layer.over(self.manifest.bases[account]))
        return self._layers[key][1]

    def _short(self, text: str, above: _Above, entry: Place, where: str) -> None:
        compiled = self.compiler.value(entry)
        if isinstance(compiled, str):
            if (parts := self._parse(compiled, entry)) is not None:
                self._of_parts(parts, above, entry, where)
            return
        account = above.account or self.default_account
        layer = above.layer if account is None else self._below(above, account)
        if not self.targets.fits(layer, 1, entry):
            return
        for matrix in self.targets.combinations(layer, entry):  # names of the matrix stand in the short form
            filled = self.compiler.fill(compiled, {f"matrix.{key}": value for key, value in matrix}, entry)
            parts = self._parse(filled, entry) if filled is not None else None
            if parts is not None:
                self._of_parts(parts._replace(matrix=parts.matrix or matrix), above, entry, where)

    def _parse(self, text: str, entry: Place) -> Parts | None:
        try:
            return parse(text)
        except ValueError as error:
            remedy = "a branch with spaces or brackets is written as in a target's id"
            self.diagnostics.report(str(error), remedy, entry)
            return None

    def _of_parts(self, parts: Parts, above: _Above, entry: Place, where: str) -> None:
        parts = self._cloned(parts)
        account = self._account(parts.account or above.account, entry)
        if account is not None:
            layer = self._below(above, account)
            if parts.host is not None and not self._is_home(parts.host, account, layer, entry):
                return
            refs = None if parts.ref is None else [parts.ref]
            self.targets.add(Wanted(parts.repo, layer, account, entry, where, parts.name, refs, parts.matrix))

    def _cloned(self, parts: Parts) -> Parts:
        """`github.com:acme/widget.git` is a clone URL where no account is called so, and a host is."""
        host, hosts = parts.account, {host for said in self.manifest.declared.values() for host in said.clones}
        if host is None or host in self.manifest.accounts or host not in hosts:
            return parts
        return parts._replace(account=None, repo=parts.repo.removesuffix(".git"), host=host)

    def _is_home(self, host: str, account: str, layer: Layer, entry: Place) -> bool:
        """Whether the account's repositories are cloned from this host; else it is a problem."""
        clones, own = self.manifest.declared[account].clones, urlsplit(self.manifest.accounts[account].url).hostname
        if host in clones:
            usual = next(iter(clones.values()))
            keys = [f"{key}: {one}" for key, one in clones[host].items() if layer.values.get(key, usual[key]) != one]
            if keys:
                self.diagnostics.report(f"{host} needs `{', '.join(keys)}` for account {account}", "write it", entry)
            return not keys
        domain = host.partition(".")[2]
        if own is not None and (host == own or ("." in domain and own.endswith(f".{domain}"))):
            return True
        text = f"account {account} has no repositories of {host[:100]}"
        self.diagnostics.report(text, "write owner/name, or the `account` that has them", entry)
        return False

    # long forms

    def _long(self, written: dict[str, Value], above: _Above, entry: Place, where: str) -> None:
        kinds = [key for key in KINDS if key in written]
        if len(kinds) != 1:
            both = " and ".join(f"`{key}`" for key in kinds)
            text = f"{both} stand side by side" if kinds else f"missing key: one of {', '.join(KINDS)}"
            return self.diagnostics.report(text, "keep one of them" if kinds else "name the repository", entry)
        for key in OF_LISTS & written.keys() if "from" not in written else ():
            self.diagnostics.report(f"`{key}` is for a list, and there is no `from`", "remove it", entry.at(key))
        named = written.get("account", above.account)
        if "from" in written and self._is_left_to_rows(named):
            self._known_somewhere(written, entry)
            own = self.compiler.layer(written, entry.keys)
            return self._from(written, own, named, above, entry)
        account = self._account(named, entry)
        if account is None:
            return None
        own = self.compiler.layer(written, entry.keys, self.manifest.declared[account])
        if "from" in written:
            return self._from(written, own, named, above, entry)
        layer = own.over(above.layer).over(self.manifest.bases[account])
        if not self.targets.fits(layer, len(written.get("repos", "1")), entry):
            return None
        name = self.compiler.value(entry.at("name")) if "name" in written else None
        for repo, labels in self._repos(written, account, layer, entry):
            self.targets.add(Wanted(repo, layer, account, entry, where, name, labels=labels))
        return None

    def _from(self, written: dict[str, Value], own: Layer, account: str | None, above: _Above, entry: Place) -> None:
        listing = self.manifest.files.lists.get(id(written))
        if listing is not None:
            self._listing(listing, _Above(own.over(above.layer), account, entry))

    def _is_left_to_rows(self, account: str | None) -> bool:
        """Whether the rows of a file must name their accounts themselves."""
        return account is None and self.default_account is None and not self.manifest.broken_accounts

    def _known_somewhere(self, written: dict[str, Value], entry: Place) -> None:
        """Reports keys that no account's provider knows, for a file in which each row names its account."""
        known = [set(lacking(written, self.manifest.declared[name])) for name in self.manifest.accounts]
        for key in (key for key in written if all(key in lacks for lacks in known)):
            self.diagnostics.report(f"unknown key `{key}` for every account", "remove it", entry.at(key))

    def _repos(
        self, written: dict[str, Value], account: str, layer: Layer, entry: Place
    ) -> Iterator[tuple[Compiled, tuple[str, ...]]]:
        """The repositories that an entry names, each with labels of its own."""
        if "discover" in written:
            yield from ((facts.slug, facts.labels) for facts in self._discovered(account, entry, entry.at("discover")))
            return
        places = [entry.at("repo")] if "repo" in written else map(entry.at("repos").at, range(len(written["repos"])))
        for place in places:
            repo = place.value
            if isinstance(repo, str) and ":" in repo and "${{" not in repo:
                parts = self._parse(repo, place)
                parts = parts if parts is None else self._cloned(parts)
                if parts is not None and (parts.host is None or parts.ref is not None):
                    text = "a repository stands here, without account and branch"
                    self.diagnostics.report(text, "write `account` and `branch`", place)
                elif parts is not None and self._is_home(parts.host or "", account, layer, place):
                    yield parts.repo, ()
            elif isinstance(repo, str) and "@" in repo:
                text = f"{repo[:100]!r} is no repository's name"
                self.diagnostics.report(text, "a branch goes into `branch`", place)
            else:
                yield str(repo) if isinstance(repo, int) else self.compiler.value(place), ()

    def _discovered(self, account: str, entry: Place, place: Place) -> list[RepoFacts]:
        def texts(key: str) -> list[str]:
            many = self.compiler.many(place.at(key)) if key in place.value else []
            return [self.compiler.text(one, {}, entry) for one in many]

        said = self.manifest.declared[account]
        for key in (key for key in place.value if key not in {*DISCOVER, *said.narrows}):
            text = f"unknown key `{key}` of `discover` for an account of type {said.type}"
            self.diagnostics.report(text, near(key, [*DISCOVER, *said.narrows]), place.at(key))
        (owner,) = texts("owner")
        keys = tuple((key, tuple(texts(key))) for key in said.narrows if key in place.value)
        wanted = Narrowed(owner, keys) if keys else owner
        found = self.lookups.repos(account, wanted)
        return [] if found is None else self.lookups.chosen(wanted, found, texts("match"), texts("exclude"))

    def _account(self, name: str | None, entry: Place) -> str | None:
        """The account of an entry; None, and a problem, when there is no such one, or it is not written which."""
        manifest = self.manifest
        name = name or self.default_account
        if name in manifest.accounts:
            return name
        if name is None and not manifest.broken_accounts:
            text = f"which account? there are {', '.join(manifest.accounts)}"
            self.diagnostics.report(text, "write `account:` here or in `defaults`", entry)
        elif name is not None and name not in manifest.broken_accounts:
            remedy = near(name, [*manifest.accounts, *manifest.broken_accounts])
            self.diagnostics.report(f"unknown account `{name[:100]}`", remedy, entry.within("account"))
        return None
