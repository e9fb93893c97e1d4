"""Makes targets of entries: matrix, branches, ids, what is sent; refuses the same target twice."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.core.frozen import replace
from orchestrator.core.globs import is_glob
from orchestrator.core.model import Json, Target, Timeouts
from orchestrator.core.template import Compiled, is_constant
from orchestrator.core.waves import NO_RERUNS
from orchestrator.manifest.diagnostics import ManifestError, Place, Problem
from orchestrator.manifest.identity import id_of, ref_problem, repo_problem, text_problem
from orchestrator.manifest.layers import FIELDS, Layer, Matrix, label_problem
from orchestrator.manifest.lookups import Lookups

if TYPE_CHECKING:
    from orchestrator.manifest.load import Manifest

MOST_TARGETS = 1_000_000
MOST_SENT = 256 * 1024  # characters that one trigger may send
MOST_MADE = 128 * 2**20  # characters that all targets together may send, where it differs from target to target
MOST_LEFT_OUT = 20_000_000  # comparisons of combinations of a matrix with those to exclude
LONGEST_ID = 2000  # characters
_REMEMBERED = 1000  # layers and messages
Pairs = tuple[tuple[str, str], ...]


class Wanted(NamedTuple):
    """One repository of an entry, on an account.

    Args:
        layer: with the defaults below it.
        where: the entry's position.
        refs: what stands after `@` in the short form; None: those of the layer.
        matrix: what stands in brackets in the short form.
        labels: of the repository itself, from the provider.
    """

    repo: Compiled
    layer: Layer
    account: str
    entry: Place
    where: str
    name: Compiled = None
    refs: Sequence[Compiled] | None = None
    matrix: Pairs = ()
    labels: tuple[str, ...] = ()


class Prototypes:
    """Makes targets that lack only their names, of layers; what many targets have in common is made once."""

    def __init__(self, manifest: Manifest, today: datetime.date, warnings: dict[str, None]) -> None:
        declared = manifest.declared
        self.manifest = manifest
        self.declared = declared
        self.compiler = manifest.compiler
        self.today = today
        self.warnings = warnings
        self.asked_the_day = False
        self.size = 0  # characters of all that was made to be sent
        self._requests: dict[int, tuple[Layer, Mapping[str, Json]]] = {}
        self._timeouts: dict[tuple[str, tuple[tuple[str, float], ...]], Timeouts] = {}
        self._message_problem = lru_cache(_REMEMBERED)(lambda account, text: declared[account].message_problem(text))

    def make(self, layer: Layer, account: str, names: Mapping[str, str], entry: Place | None = None) -> Target:
        """A target without id, repository, branch, matrix and name.

        Args:
            names: for its templates.
            entry: gets the problems; None: the defaults get them.
        """
        fields: dict[str, Any] = {
            key: self.compiler.fill(layer.values[key], names, entry) for key in FIELDS if key in layer.values
        }
        return Target(
            id="",
            account=account,
            repo="",
            labels=tuple(dict.fromkeys([self._label(label, names, entry) for label in layer.values.get("labels", ())])),
            request=self._request(layer, names, account, entry),
            skip=self._skip(layer.values.get("skip"), names, entry),
            reruns=layer.values.get("reruns", NO_RERUNS),
            marked=layer.values.get("marker") != "none",
            timeouts=self._times(layer, account),
            **fields,
        )

    def _label(self, label: Compiled, names: Mapping[str, str], entry: Place | None) -> str:
        if isinstance(label, str):
            return label
        text = self.compiler.text(label, names, entry)
        if (problem := label_problem(text)) is not None:
            self._report(entry, *problem, "labels")
        return text

    def _request(self, layer: Layer, names: Mapping[str, str], account: str, entry: Place | None) -> Mapping[str, Json]:
        """What the trigger sends; the same object for all targets of a layer without templates."""
        known = self._requests.get(id(layer))
        if known is not None:
            return known[1]
        sent = layer.sent
        if all(is_constant(value) for value in sent.values()):
            if len(self._requests) >= _REMEMBERED:
                self._requests.clear()
            self._requests[id(layer)] = (layer, sent)  # the layer too, so that its identity is not reused
        else:
            sent = self.compiler.fill(sent, names, entry)
            if sent is None:
                return {}
        self._check(sent, layer, account, entry)
        return sent

    def _check(self, request: Mapping[str, Json], layer: Layer, account: str, entry: Place | None) -> None:
        config, size = request.get("config"), _size(request)
        self.size += size
        if size > MOST_SENT:
            text = f"a trigger would send {size:,} characters, more than {MOST_SENT:,}"
            self._report(entry, text, "write less", max(request, key=lambda key: _size(request[key])))
        if "env" in request and isinstance(config, dict) and "env" in config:
            self._report(entry, "`env` together with `config.env`", "write all of it in one of the two", "config")
        message = request.get("message")
        if message is not None or layer.values.get("marker") != "none":
            problem = self._message_problem(account, message if isinstance(message, str) else self.manifest.name)
            if problem is not None:
                self._report(entry, problem, "", "message")

    def _report(self, entry: Place | None, text: str, remedy: str, key: str) -> None:
        place = self._default(key) if entry is None else entry.within(key)
        self.compiler.diagnostics.report(text, remedy, place)

    def _default(self, key: str) -> Place:
        """Where a default stands, or the manifest's name in its absence."""
        raw = self.manifest.raw
        defaults = raw.get("defaults", {})
        if key in defaults:
            return Place(defaults, key, ("defaults", key))
        return Place(raw, "name", ("name",)) if "name" in raw else Place(raw, "targets", ())

    def _times(self, layer: Layer, account: str) -> Timeouts:
        """How long things may take; `settle` is the provider's unless it is written."""
        written: Mapping[str, float] = layer.values.get("timeouts", {})
        key = (account, tuple(written.items()))
        if key not in self._timeouts:
            self._timeouts[key] = replace(Timeouts(settle=self.declared[account].settle), **written)
        return self._timeouts[key]

    def _skip(self, value: Compiled, names: Mapping[str, str], entry: Place | None) -> str | None:
        """The reason not to trigger it; None when there is none, or its time is over."""
        if value is None:
            return None
        filled = self.compiler.fill(value, names, entry)
        if not isinstance(filled, dict):
            return filled if isinstance(filled, str) else None
        until = filled.get("until")
        if until is None:
            return str(filled["reason"])
        self.asked_the_day = True
        try:
            over = self.today >= datetime.date.fromisoformat(until if isinstance(until, str) else str(until)[:10])
        except ValueError:
            self._report(entry, f"`until` is no date: {str(until)[:60]!r}", "write it as 2027-03-01", "skip")
            return None
        if over:
            self.warnings[f"a skip ended on {until} ({filled['reason']}): remove it from the manifest"] = None
            return None
        return f"{filled['reason']} (until {until})"


class Targets:
    """All targets so far, in order.

    Attributes:
        made: the targets.
        needs: what a target needs, as it was written, by its index.
        samples: one of each kind of targets, for warnings.
    """

    def __init__(self, prototypes: Prototypes, lookups: Lookups) -> None:
        self.prototypes = prototypes
        self.declared = prototypes.declared
        self.compiler = prototypes.compiler
        self.diagnostics = self.compiler.diagnostics
        self.lookups = lookups
        self.made: list[Target] = []
        self.needs: dict[int, tuple[Sequence[str], Place]] = {}
        self.samples: dict[int, Target] = {}
        self._seen: dict[str, int] = {}
        self._checked: set[tuple[int, bool]] = set()

    def add(self, wanted: Wanted) -> None:
        """Adds a target for each combination of the matrix and each branch."""
        entry = wanted.entry
        for matrix in [wanted.matrix] if wanted.matrix else self.combinations(wanted.layer, entry):
            names = {f"matrix.{key}": value for key, value in matrix}
            repo = self.compiler.fill(wanted.repo, names, entry)
            if repo is None:
                continue
            said = self.declared[wanted.account]
            problem = text_problem(repo) if said.any_repo else repo_problem(repo, said.repo_ids)
            problem = problem or said.repo_problem(repo, wanted.layer.values)
            if problem is not None:
                remedy = "write another name" if said.any_repo else "name it owner/name"
                self.diagnostics.report(problem, remedy, entry.within("repo"))
                continue
            names |= names_of(repo)
            for branch, missing in self._refs(wanted, repo, names):
                self._add_one(wanted, repo, branch, matrix, names, missing)

    def fits(self, layer: Layer, repos: int, entry: Place) -> bool:
        """Whether an entry makes few enough targets; else it is a problem, before any of them is made."""
        count = repos * max(1, len(layer.values.get("branches", ())))
        for values in layer.values.get("matrix", Matrix()).names.values():
            count *= len(values)
        if count * len(layer.values.get("matrix", Matrix()).exclude) > MOST_LEFT_OUT:
            text = f"more than {MOST_LEFT_OUT:,} combinations to compare with `exclude`"
            self.diagnostics.report(text, "exclude fewer", entry)
            return False
        if count <= MOST_TARGETS:
            return True
        self.diagnostics.report(f"it makes {count} targets, more than {MOST_TARGETS}", "split it", entry)
        return False

    def combinations(self, layer: Layer, entry: Place) -> list[Pairs]:
        """The combinations of the matrix, in the order of the file."""
        matrix = layer.values.get("matrix")
        if not matrix:
            return [()]
        text = self.compiler.text
        every = itertools.product(
            *([(key, text(one, {}, entry)) for one in values] for key, values in matrix.names.items())
        )
        out = [{(key, text(one, {}, entry)) for key, one in pairs.items()} for pairs in matrix.exclude]
        return [one for one in dict.fromkeys(every) if not any(pairs <= set(one) for pairs in out)]

    def _add_one(
        self,
        wanted: Wanted,
        repo: str,
        branch: str | None,
        matrix: Pairs,
        names: Mapping[str, str],
        missing: str | None,
    ) -> None:
        entry, layer, account, text = wanted.entry, wanted.layer, wanted.account, self.compiler.text
        names = dict(names) if branch is None else {**names, "target.branch": branch}
        name = text(wanted.name, names, entry) if wanted.name is not None else None
        id_ = names["target.id"] = id_of(account, repo, branch, matrix, name)
        if len(id_) > LONGEST_ID:
            self.diagnostics.report(f"an id of {len(id_):,} characters", f"at most {LONGEST_ID:,}", entry)
            return
        folded = repo.lower() if self.declared[account].fold_case else repo
        if not self.is_new(id_of(account, folded, branch, matrix, name), id_, entry):
            return
        needs = layer.values.get("needs")
        if needs:
            self.needs[len(self.made)] = ([text(need, names, entry) for need in needs], entry)
        made = self.prototypes.make(layer, account, names, entry)
        if wanted.labels or missing is not None:
            labels = tuple(dict.fromkeys([*made.labels, *wanted.labels]))
            made = replace(made, labels=labels, skip=made.skip or missing)
        made = replace(made, id=id_, repo=repo, branch=branch, matrix=matrix, name=name, where=wanted.where)
        self.append(made, id(made.request))  # the request lives with its target

    def append(self, target: Target, alike: int) -> None:
        """Adds a target that `is_new` let through; of those with the same number `alike` one is a sample."""
        if len(self.made) >= MOST_TARGETS or self.prototypes.size > MOST_MADE:
            one = f"more than {MOST_TARGETS} targets"
            text = one if len(self.made) >= MOST_TARGETS else f"more than {MOST_MADE:,} characters to be sent"
            raise ManifestError([*self.diagnostics.problems, Problem(target.where, "", text, "split the manifest")])
        if (kind := (alike, target.branch is None)) not in self._checked:
            self._checked.add(kind)
            if (problem := self.declared[target.account].target_problem(target)) is not None:
                self.diagnostics.problems.append(Problem(target.where, "", *problem))
        self.made.append(target)
        if target.skip is None:
            self.samples.setdefault(alike, target)

    def is_new(self, key: str, id_: str, entry: Place) -> bool:
        """Whether no target has this identity (the id with its case folded) yet; else it is a problem."""
        first = self._seen.setdefault(key, len(self.made))
        if first == len(self.made):
            return True
        same = self.made[first]
        text = f"duplicate target {id_}" if id_ == same.id else f"duplicate target {id_}, the same as {same.id}"
        remedy = "remove one of the two, or tell them apart with `name`"
        self.diagnostics.report(f"{text}, first at {same.where}", remedy, entry)
        return False

    def _refs(self, wanted: Wanted, repo: str, names: Mapping[str, str]) -> Iterator[tuple[str | None, str | None]]:
        """The branches, each with the reason to skip it, which is None for those that can be built."""
        entry, refs = wanted.entry, wanted.layer.values.get("branches") if wanted.refs is None else wanted.refs
        if not refs:
            yield None, None
            return
        found: dict[str, str | None] = {}
        for ref in refs:
            text = self.compiler.fill(ref, names, entry)
            if text is None:
                continue
            if is_glob(text):
                found = {**dict(self.lookups.refs(wanted.account, repo, text)), **found}
            elif (problem := ref_problem(text)) is not None:
                self.diagnostics.report(
                    problem,
                    "name a branch or a tag",
                    entry.within("branches" if entry.within("branch") is entry else "branch"),
                )
            else:
                found.setdefault(text, None)
        yield from found.items()

    def unify(self, numbers: Mapping[tuple[str, str], str]) -> None:
        """A repository that is written by number and by name becomes one: by its name."""
        for index, target in enumerate(self.made):
            slug = numbers.get((target.account, target.repo), target.repo)
            if slug == target.repo:
                continue
            rest = target.branch, target.matrix, target.name
            folded = slug.lower() if self.declared[target.account].fold_case else slug
            first = self._seen.setdefault(id_of(target.account, folded, *rest), index)
            if first != index:
                text = f"duplicate target: {target.repo} is {slug}, which also stands at {self.made[first].where}"
                self.diagnostics.problems.append(Problem(target.where, "", text, "remove one of the two"))
            self.made[index] = replace(target, id=id_of(target.account, slug, *rest), repo=slug)


def _size(value: Json) -> int:
    """The characters of all texts in a value."""
    if isinstance(value, Mapping):
        return sum(len(key) + _size(inner) for key, inner in value.items())
    if isinstance(value, list):
        return len(value) + sum(map(_size, value))
    return len(value) if isinstance(value, str) else 8


def names_of(repo: str, branch: str | None = None, id_: str | None = None) -> dict[str, str]:
    """The names that templates know of a target."""
    owner, _, name = repo.partition("/")
    names = {"target.repo": repo, "target.owner": owner, "target.name": name or repo}
    if branch is not None:
        names["target.branch"] = branch
    if id_ is not None:
        names["target.id"] = id_
    return names
