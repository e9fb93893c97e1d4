"""Layers: what a target, its account and the defaults say, templates compiled, one on top of another.

A key of `schema.SHARED` needs nothing here when it fills the target's field of the same name and the nearest layer
wins; one that means more has a rule in `RULES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import not_
from types import MappingProxyType
from typing import Any, NamedTuple

from orchestrator.core.errors import near
from orchestrator.core.frozen import Struct
from orchestrator.core.template import (
    Compiled,
    Malformed,
    Template,
    TooLong,
    Undefined,
    compile_text,
    fill,
    is_constant,
)
from orchestrator.core.times import parse_duration
from orchestrator.core.waves import NO_RERUNS, Reruns
from orchestrator.manifest.accounts import reference
from orchestrator.manifest.diagnostics import Diagnostics, Path, Place, Value
from orchestrator.manifest.identity import PLAIN
from orchestrator.manifest.schema import COMMON, EXPECTED, SHARED, VARIABLE
from orchestrator.manifest.yaml_reader import kind
from orchestrator.providers.port import Declaration

TARGET_NAMES = ("target.id", "target.repo", "target.owner", "target.name", "target.branch")
LONGEST_LABEL = 1000
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Matrix(NamedTuple):
    """Names and their values, in the order of the file, and the combinations to leave out; false without names."""

    names: Mapping[str, Sequence[Compiled]] = NOTHING
    exclude: Sequence[Mapping[str, Compiled]] = ()

    def __bool__(self) -> bool:
        return bool(self.names)


class Compiler(NamedTuple):
    """Makes layers of maps, and fills their templates in; what is wrong goes to the diagnostics.

    Args:
        constants: names that are known already: params and the run's.
        references: keys that hold a reference to a secret.
    """

    diagnostics: Diagnostics
    constants: Mapping[str, str]
    references: frozenset[str]

    def layer(self, written: Mapping[str, Value], keys: Path, declaration: Declaration | None = None) -> Layer:
        """The layer of one map, to which the keys lead; keys that the declaration lacks are a problem."""
        if declaration is not None:
            remedy = f"remove it; {declaration.title} knows {', '.join(declaration.keys) or 'no keys of its own'}"
            for key in lacking(written, declaration):
                text = f"unknown key `{key}` for {declaration.title}"
                self.diagnostics.report(text, remedy, Place(written, key, (*keys, key)))
            self.check_reruns(written, keys, declaration)
        if "branch" in written and "branches" in written:
            place = Place(written, "branch", (*keys, "branch"))
            self.diagnostics.report("`branch` and `branches` stand side by side", "keep one of them", place)
        values = {}
        for key in written:
            if key == "branches" and "branch" in written:
                continue
            if key in self.references:
                values[key] = reference(Place(written, key, (*keys, key)), self.diagnostics)
            elif key in SHARED or key not in COMMON:
                values[key] = rule_of(key).read(self, Place(written, key, (*keys, key)))
        if "branch" in values:
            values["branches"] = values.pop("branch")
        return Layer(values)

    def check_reruns(self, written: Mapping[str, Value], keys: Path, declaration: Declaration) -> None:
        """Reports `reruns` of a target or an account where no build can be started again."""
        if not declaration.restarts and "reruns" in written and reruns_of(written["reruns"]).times:
            text = f"{declaration.title} cannot start a build again"
            self.diagnostics.report(text, "remove `reruns`", Place(written, "reruns", (*keys, "reruns")))

    def value(self, place: Place) -> Compiled:
        """The value with its templates compiled."""
        value = place.value
        if isinstance(value, str):
            return self._text(value, place) if "${{" in value else value
        if isinstance(value, dict):
            return {name: self.value(place.at(name)) for name in value}
        if isinstance(value, list):
            return [self.value(place.at(index)) for index in range(len(value))]
        return value

    def many(self, place: Place) -> list[Compiled]:
        """The texts of a key that holds one or a list."""
        value = self.value(place)
        return value if isinstance(value, list) else [value]

    def _text(self, text: str, place: Place) -> str | Template:
        try:
            return compile_text(text, self.constants, _is_later)
        except Malformed as error:
            problem = f"`{error}` opens a template and names nothing"
            remedy = "write ${{ params.NAME }}, or $${{ for the text ${{"
        except Undefined as error:
            problem = f"unknown name `{error.name[:100]}` in a template"
            remedy = near(error.name, [*self.constants, *TARGET_NAMES, "matrix.NAME"])
        except TooLong as error:
            problem, remedy = str(error), "write less"
        self.diagnostics.report(problem, remedy, place)
        self.diagnostics.settled.add(self.diagnostics.positions.at(place.container, place.key))
        return "unknown"

    def fill(self, value: Compiled, names: Mapping[str, str], entry: Place | None) -> Any:
        """The value with its names filled in; None, and a problem with the entry, when one is not known."""
        try:
            return fill(value, names)
        except Undefined as error:
            if entry is not None:
                text = f"`${{{{ {error.name} }}}}` is not known for this target"
                self.diagnostics.report(text, near(error.name, [*names, *self.constants]), entry)
        except TooLong as error:
            if entry is not None:
                self.diagnostics.report(str(error), "write less", entry)
        return None

    def text(self, value: Compiled, names: Mapping[str, str], entry: Place | None) -> str:
        """The text with its names filled in; empty, and a problem with the entry, when one is not known."""
        filled = self.fill(value, names, entry)
        return filled if isinstance(filled, str) else ""

    def sent(self, place: Place) -> Compiled:
        """A value that is sent as it is written."""
        self._check_printable(place)
        return self.value(place)

    def _check_printable(self, place: Place) -> None:
        """Refuses values that would not be sent as they were written: 3.10, 22:22, dates, yes and no."""
        value = place.value
        if isinstance(value, (dict, list)):
            for inner in value if isinstance(value, dict) else range(len(value)):
                self._check_printable(place.at(inner))
        elif not isinstance(value, str):
            written = self.diagnostics.positions.written(place.container, place.key)
            if written is not None and not prints_back(value, written):
                text = f"{written[:60]} ({kind(value)}) would not be sent as it is written"
                self.diagnostics.report(text, f'quote it: "{written[:60]}"', place)

    def labels(self, place: Place) -> list[Compiled]:
        """Labels, of which `--label a,b` must be able to name each."""
        labels = self.many(place)
        for label in labels:
            if isinstance(label, str) and (problem := label_problem(label)) is not None:
                self.diagnostics.report(*problem, place)
        return labels

    def matrix(self, place: Place) -> Matrix:
        """The matrix, its names checked."""
        names = [name for name in place.value if name != "exclude"]
        for name in names:
            if re.search(VARIABLE, name) is None:
                text = f"expected {EXPECTED[VARIABLE]}, found {name[:100]!r}"
                self.diagnostics.report(text, "", place.at(name), of_key=True)
        values = {name: self.many(place.at(name)) for name in names}
        if "exclude" not in place.value:
            return Matrix(values)
        exclude = place.at("exclude")
        for index, one in enumerate(exclude.value):
            for name in one:
                if name not in names:
                    text, where = f"unknown name `{name}` of the matrix", exclude.at(index).at(name)
                    self.diagnostics.report(text, near(name, names), where)
        return Matrix(values, self.value(exclude))

    def timeouts(self, place: Place) -> dict[str, float]:
        """Seconds by name."""
        times = {}
        for name, text in place.value.items():
            try:
                times[name] = parse_duration(text)
            except ValueError as error:
                self.diagnostics.report(str(error), "", place.at(name))
        return times


def reruns_of(written: Value) -> Reruns:
    """What `reruns` says: a number, or a map."""
    if isinstance(written, dict):
        return Reruns(written["times"], str(written.get("at_most", "")))
    return Reruns(written) if written else NO_RERUNS


def nearest(high: Any, low: Any) -> Any:
    """The value nearest to the target wins as a whole."""
    return high


def by_name(high: Mapping[str, Any], low: Mapping[str, Any]) -> Mapping[str, Any]:
    """The names of both; those nearest to the target win."""
    return {**low, **high}


def joined(high: Sequence[Any], low: Sequence[Any]) -> Sequence[Any]:
    """The items of both, the lower ones first."""
    return [*low, *(item for item in high if item not in low)]


def _are_plain_refs(refs: Sequence[Compiled]) -> bool:
    return all(isinstance(ref, str) and PLAIN.fullmatch(f"a/b@{ref}") is not None for ref in refs)


class Rule(NamedTuple):
    """How a layer keeps a key.

    Args:
        read: makes the value, its templates compiled.
        merge: joins the value with that of a lower layer.
        is_alike: whether short forms below a layer with this value are alike.
        is_sent: whether it is part of what the trigger sends.
    """

    read: Callable[[Compiler, Place], Any] = Compiler.value
    merge: Callable[[Any, Any], Any] = nearest
    is_alike: Callable[[Any], bool] = is_constant
    is_sent: bool = False


PLAIN_KEY = Rule()
OF_PROVIDER = Rule(Compiler.sent, is_sent=True)
RULES: Mapping[str, Rule] = {
    "branch": Rule(Compiler.many, is_alike=_are_plain_refs),
    "branches": Rule(Compiler.many, is_alike=_are_plain_refs),
    "message": OF_PROVIDER,
    "env": Rule(merge=by_name, is_sent=True),
    "labels": Rule(Compiler.labels, joined),
    "matrix": Rule(Compiler.matrix, is_alike=not_),
    "needs": Rule(Compiler.many, is_alike=not_),
    "reruns": Rule(lambda _, place: reruns_of(place.value)),
    "skip": PLAIN_KEY,
    "timeouts": Rule(Compiler.timeouts, by_name),
    "marker": PLAIN_KEY,
}
"""The keys that mean more than the field of a target of the same name."""

MERGED_BY_NAME = tuple(key for key, rule in RULES.items() if rule.merge is by_name)

FIELDS = tuple(key for key in SHARED if key not in RULES)
"""The keys whose value, templates filled in, is the target's field of the same name."""


def rule_of(key: str) -> Rule:
    """How a key is read and merged; one that not every target has is the provider's."""
    return RULES.get(key) or (PLAIN_KEY if key in SHARED else OF_PROVIDER)


class Layer(Struct, frozen=True, eq=False):
    """What was written about targets at one level, or at several, merged, by key; `branch` is kept as `branches`."""

    values: Mapping[str, Any] = NOTHING

    def over(self, low: Layer) -> Layer:
        """This layer on top of a lower one."""
        if not low.values:
            return self
        values = dict(low.values)
        for key, value in self.values.items():
            values[key] = rule_of(key).merge(value, values[key]) if key in values else value
        return Layer(values)

    @property
    def is_plain(self) -> bool:
        """Whether the targets of its short forms differ in nothing but what they send."""
        rules = ((rule_of(key), value) for key, value in self.values.items())
        return all(rule.is_sent or rule.is_alike(value) for rule, value in rules)

    @property
    def sent(self) -> dict[str, Compiled]:
        """What the trigger sends, by key, `env` last."""
        sent = {key: value for key, value in self.values.items() if rule_of(key).is_sent and key != "env"}
        env = {name: value for name, value in self.values.get("env", NOTHING).items() if value is not None}
        return {**sent, "env": env} if env else sent


def _of_run(written: Mapping[str, Value]) -> Layer:
    """The keys of targets that a run, or an account, has as a whole, too."""
    reruns = {"reruns": reruns_of(written["reruns"])} if "reruns" in written else {}
    return Layer({**{key: written[key] for key in ("needs_not_passed",) if key in written}, **reruns})


def lacking(written: Mapping[str, Value], declaration: Declaration) -> list[str]:
    """The keys of a map that this provider lacks."""
    own, lacks = declaration.keys, declaration.lacks
    return [key for key in written if (key not in COMMON and key not in own) or key in lacks]


def bases_of(raw: Mapping[str, Value], declared: Mapping[str, Declaration], compiler: Compiler) -> dict[str, Layer]:
    """The defaults of each account's targets."""
    defaults = raw.get("defaults", {})
    every = compiler.layer(defaults, ("defaults",)).over(_of_run(raw))
    bases = {}
    for name, declaration in declared.items():
        account = raw.get("providers", {}).get(name, {})
        compiler.check_reruns(account, ("providers", name), declaration)
        own = compiler.layer(account.get("defaults", {}), ("providers", name, "defaults"), declaration)
        own = own.over(_of_run(account))
        lacks = lacking(defaults, declaration)
        bases[name] = own.over(Layer({key: value for key, value in every.values.items() if key not in lacks}))
    return bases


def label_problem(label: str) -> tuple[str, str] | None:
    """What is wrong with a label, and the remedy."""
    if re.search(r"[\s,]", label) is None:
        return None if len(label) <= LONGEST_LABEL else (f"a label of {len(label):,} characters", "write a short one")
    return f"expected a label without spaces and commas, found {label[:100]!r}", "write a list for several"


def prints_back(value: Value, written: str) -> bool:
    """Whether a scalar that is no text is sent as it was written."""
    match value:
        case None:
            return written in ("", "~", "null")
        case bool():
            return written == str(value).lower()
        case int() | float():
            return value == value and str(value) == written
    return False


def _is_later(name: str) -> bool:
    return name in TARGET_NAMES or name.startswith("matrix.")
