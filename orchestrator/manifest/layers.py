"""What a target says over what its account and the manifest say: templates compiled, keys in one form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from orchestrator.manifest.accounts import reference
from orchestrator.manifest.diagnostics import near
from orchestrator.manifest.files import Files
from orchestrator.manifest.pieces import EXPECTED, VARIABLE
from orchestrator.manifest.positions import Value
from orchestrator.manifest.schema import COMMON
from orchestrator.manifest.template import Compiled, Malformed, Template, Undefined, compile_text, is_constant
from orchestrator.manifest.units import parse_duration
from orchestrator.manifest.yaml_reader import kind
from orchestrator.providers.port import Declaration

TARGET_NAMES = ("target.id", "target.repo", "target.owner", "target.name", "target.branch")

NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Layer(NamedTuple):
    """The keys that were written at one level, or at several of them, merged.

    Args:
        request: what the trigger says, by key.
        branches: texts or templates; None where nobody says one.
        matrix: names and their values, in the order of the file.
        exclude: combinations to leave out.
        skip: text or a map; None where nobody says it.
        constant: whether neither request nor branches hold a template any more.
    """

    request: Mapping[str, Compiled] = NOTHING
    env: Mapping[str, Compiled] = NOTHING
    timeouts: Mapping[str, float] = NOTHING
    branches: Sequence[Compiled] | None = None
    labels: Sequence[Compiled] = ()
    needs: Sequence[Compiled] | None = None
    matrix: Mapping[str, Sequence[Compiled]] | None = None
    exclude: Sequence[Mapping[str, Compiled]] = ()
    skip: Compiled = None
    marked: bool | None = None

    def over(self, low: Layer) -> Layer:
        """This layer on top of a lower one."""
        env = {**low.env, **self.env}
        return Layer(
            request={**low.request, **self.request},
            env=env,
            timeouts={**low.timeouts, **self.timeouts},
            branches=low.branches if self.branches is None else self.branches,
            labels=(*low.labels, *(label for label in self.labels if label not in low.labels)),
            needs=low.needs if self.needs is None else self.needs,
            matrix=low.matrix if self.matrix is None else self.matrix,
            exclude=low.exclude if self.matrix is None else self.exclude,
            skip=low.skip if self.skip is None else self.skip,
            marked=low.marked if self.marked is None else self.marked,
        )

    def without(self, keys: frozenset[str]) -> Layer:
        """Without the keys of the request that a provider lacks."""
        return self._replace(request={key: value for key, value in self.request.items() if key not in keys})

    @property
    def is_plain(self) -> bool:
        """Whether the targets that it makes differ in nothing but what they send."""
        said = [*self.labels, self.skip]
        return not self.matrix and not self.needs and all(is_constant(value) for value in said)

    @property
    def request_is_constant(self) -> bool:
        """Whether every target that it makes sends the same."""
        return all(is_constant(value) for value in (*self.request.values(), *self.env.values()))


class Compiler(NamedTuple):
    """Makes layers of maps.

    Args:
        constants: names that are known already: params and the run's.
        references: keys that hold a reference to a secret.
    """

    files: Files
    constants: Mapping[str, str]
    references: frozenset[str]

    def layer(self, said: Mapping[str, Value], keys: Sequence[str | int]) -> Layer:
        """The layer of one map; what is wrong goes to the files' problems."""
        self._both(said, keys)
        env = said.get("env", {})
        matrix = dict(said.get("matrix", {}))
        exclude = matrix.pop("exclude", ())
        return Layer(
            request=self._request(said, keys),
            env={name: self.value(env[name], env, name, (*keys, "env", name)) for name in env},
            timeouts=self._timeouts(said, keys),
            branches=self._branches(said, keys),
            labels=self._labels(said, keys),
            needs=self.many(said, "needs", keys) if "needs" in said else None,
            matrix=self._matrix(said, matrix, keys) if "matrix" in said else None,
            exclude=self._exclude(said, exclude, matrix, keys),
            skip=self.value(said["skip"], said, "skip", (*keys, "skip")) if "skip" in said else None,
            marked=said["marker"] != "none" if "marker" in said else None,
        )

    def _labels(self, said: Mapping[str, Value], keys: Sequence[str | int]) -> list[Compiled]:
        labels = self.many(said, "labels", keys)
        for label in labels:
            if isinstance(label, str) and (problem := label_problem(label)) is not None:
                self.files.say(*problem, said, "labels", (*keys, "labels"))
        return labels

    def many(self, said: Mapping[str, Value], key: str, keys: Sequence[str | int]) -> list[Compiled]:
        """The texts of a key that holds one or a list."""
        value = said.get(key, [])
        if isinstance(value, list):
            return [self.value(one, value, index, (*keys, key, index)) for index, one in enumerate(value)]
        return [self.value(value, said, key, (*keys, key))]

    def value(self, value: Value, container: Value, key: str | int, keys: Sequence[str | int]) -> Compiled:
        """The value with its templates compiled."""
        if isinstance(value, str):
            return self._text(value, container, key, keys)
        if isinstance(value, dict):
            return {name: self.value(inner, value, name, (*keys, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, value, index, (*keys, index)) for index, inner in enumerate(value)]
        return value

    def _text(self, text: str, container: Value, key: str | int, keys: Sequence[str | int]) -> str | Template:
        if "${{" not in text:
            return text
        try:
            return compile_text(text, self.constants, _is_later)
        except Malformed as error:
            said, remedy = (
                f"`{error}` opens a template and names nothing",
                "write ${{ params.NAME }}, or $${{ for the text ${{",
            )
        except Undefined as error:
            known = [*self.constants, *TARGET_NAMES, "matrix.NAME"]
            said, remedy = f"unknown name `{error.name[:100]}` in a template", near(error.name, known)
        self.files.say(said, remedy, container, key, keys)
        self.files.told.add(self.files.marks.at(container, key))
        return "unknown"

    def _branches(self, said: Mapping[str, Value], keys: Sequence[str | int]) -> list[Compiled] | None:
        key = "branch" if "branch" in said else "branches"
        return self.many(said, key, keys) if key in said else None

    def _matrix(
        self, said: Mapping[str, Value], names: Mapping[str, Value], keys: Sequence[str | int]
    ) -> dict[str, list[Compiled]]:
        keys = (*keys, "matrix")
        for name in names:
            if re.search(VARIABLE, name) is None:
                said_ = f"expected {EXPECTED[VARIABLE]}, found {name[:100]!r}"
                self.files.say(said_, "", said["matrix"], name, (*keys, name), of_key=True)
        return {name: self.many(said["matrix"], name, keys) for name in names}

    def _request(self, said: Mapping[str, Value], keys: Sequence[str | int]) -> dict[str, Compiled]:
        request: dict[str, Compiled] = {}
        for key in said:
            if key in self.references:
                request[key] = reference(said, key, keys, self.files)
            elif key == "message" or key not in COMMON:
                request[key] = self.value(said[key], said, key, (*keys, key))
                self.printable(said, key, (*keys, key))
        return request

    def printable(self, container: Value, key: str | int, keys: Sequence[str | int]) -> None:
        """Refuses values that would not print back as they were written: 3.10, 22:22, dates, yes and no."""
        value = container[key]
        if isinstance(value, (dict, list)):
            for inner in value if isinstance(value, dict) else range(len(value)):
                self.printable(value, inner, (*keys, inner))
            return
        written = self.files.marks.written(container, key)
        if written is not None and not prints_back(value, written):
            said = f"{written[:60]} ({kind(value)}) would not be sent as it is written"
            self.files.say(said, f'quote it: "{written[:60]}"', container, key, keys)

    def _timeouts(self, said: Mapping[str, Value], keys: Sequence[str | int]) -> dict[str, float]:
        times = {}
        for name, text in said.get("timeouts", {}).items():
            try:
                times[name] = parse_duration(text)
            except ValueError as error:
                self.files.say(str(error), "", said["timeouts"], name, (*keys, "timeouts", name))
        return times

    def _exclude(
        self, said: Mapping[str, Value], exclude: Value, matrix: Mapping[str, Value], keys: Sequence[str | int]
    ) -> list[Mapping[str, Compiled]]:
        keys = (*keys, "matrix", "exclude")
        for index, one in enumerate(exclude):
            for name in one:
                if name not in matrix:
                    self.files.say(
                        f"unknown name `{name}` of the matrix", near(name, matrix), one, name, (*keys, index, name)
                    )
        return [self.value(one, exclude, index, (*keys, index)) for index, one in enumerate(exclude)]

    def _both(self, said: Mapping[str, Value], keys: Sequence[str | int]) -> None:
        if "branch" in said and "branches" in said:
            self.files.say(
                "`branch` and `branches` stand side by side", "keep one of them", said, "branch", (*keys, "branch")
            )


def label_problem(label: str) -> tuple[str, str] | None:
    """What is wrong with a label, and the remedy: `--label a,b` must be able to name it."""
    if re.search(r"[\s,]", label) is None:
        return None
    return f"expected a label without spaces and commas, found {label[:100]!r}", "write a list for several"


def lacking(said: Mapping[str, Value], declaration: Declaration) -> list[str]:
    """The keys of a map that this provider lacks."""
    return [key for key in said if key not in COMMON and key not in declaration.keys]


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
