"""Validates files against the schemas (for editors as JSON Schema), and says what is wrong, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from pydantic_core import SchemaValidator, ValidationError

from orchestrator.core.errors import near
from orchestrator.manifest.diagnostics import Diagnostics, Path, Problem, Value, path_of
from orchestrator.manifest.schema import EXPECTED, definitions
from orchestrator.manifest.yaml_reader import kind
from orchestrator.providers.port import Declaration

_WORDS = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "date_type": "a date",
    "date_from_datetime_inexact": "a date",
}
_BOUNDS = {
    "greater_than_equal": "expected {ge} or more, found {found}",
    "less_than_equal": "expected {le} or less, found {found}",
    "string_too_short": "expected text, found nothing in the quotes",
    "string_too_long": "longer than {max_length} characters",
    "too_short": "expected at least {min_length}, found none",
}
SECRET_PROBLEM = (
    "expected env:NAME, file:PATH or command:ARGV, where the secret stands, never the secret itself",
    "if a secret stood here, change it now: it may have been seen",
)
SECRET = re.compile(r"token|secret|password", re.IGNORECASE)


class Shape:
    """What a manifest may hold, given the declarations of the providers, by type."""

    def __init__(self, declarations: Mapping[str, Declaration]) -> None:
        self._core = definitions(declarations)
        self.validator = SchemaValidator(self._core)

    @cached_property
    def json(self) -> Mapping[str, Any]:
        """The same as JSON Schema, made only when it is asked for, or something is wrong."""
        from pydantic.json_schema import GenerateJsonSchema  # slow to import

        made: dict[str, Any] = GenerateJsonSchema().generate(self._core)
        inner = made["$defs"]
        return {**made, **inner.pop("Manifest"), "$defs": inner} if "$ref" in made else made


def json_schema(declarations: Mapping[str, Declaration]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a manifest, for editors."""
    made = {key: value for key, value in Shape(declarations).json.items() if key != "$ref"}
    made["required"] = ["version"]
    made["patternProperties"] = {"^x-": {"description": "ignored: a place for anchors"}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


class _Error(NamedTuple):
    keys: Path
    type: str
    container: Value
    key: str | int
    of_key: bool
    context: Mapping[str, Any]
    missing: str


class Validator:
    """Validates values against the schemas and says what is wrong."""

    def __init__(self, declarations: Mapping[str, Declaration], diagnostics: Diagnostics) -> None:
        self.shape = Shape(declarations)
        self.diagnostics = diagnostics
        self.positions = diagnostics.positions
        self._left_out = 0

    def validate(self, file: dict[str, Value]) -> set[str]:
        """Reports what is wrong with the top level of a file, and takes it out, so that the rest can be checked.

        Returns:
            The accounts that are wrong.
        """
        broken: set[str] = set()
        for keys, problem in self.problems_of(file):
            self.diagnostics.add(problem)
            self._take_out(file, keys, broken)
        return broken

    def _take_out(self, file: dict[str, Value], keys: Path, broken: set[str]) -> None:
        """Takes out the smallest thing that is wrong and that may be left out."""
        section: Value = file.get(str(keys[0])) if keys else None
        match keys:
            case ("targets", int(index), *inner):
                self.diagnostics.broken.add((id(section), index))
                if inner:
                    self._drop(section[index], inner[0])
            case ("params", str(name), *_) if isinstance(section, dict) and name in section:
                section[name] = ""
            case ("providers", str(name), str(key), *_) if key != "type" and name not in broken:
                self._drop(section[name], key)
            case ("providers", str(name), *_):
                broken.add(name)
                self._drop(section, name)
            case (str(_), str(name), *_) if isinstance(section, dict):
                self._drop(section, name)
            case (str(key), *_):
                self._drop(file, key)

    def _drop(self, container: Value, key: str | int) -> None:
        if isinstance(container, dict) and isinstance(key, str) and key in container:
            self.positions.forget(container, key)

    def problems_of(self, value: Value, left_out: int = 0) -> list[tuple[Path, Problem]]:
        """What is wrong with the top level of a file, by path of keys; messages leave out the first keys of each."""
        self._left_out = left_out
        try:
            self.shape.validator.validate_python(value)
        except ValidationError as errors:
            found = errors.errors(include_url=False, include_input=False)
            return self._explain([_located(value, error) for error in found])
        return []

    def _explain(self, errors: Sequence[_Error]) -> list[tuple[Path, Problem]]:
        by_place: dict[Path, list[_Error]] = {}
        for error in errors:
            by_place.setdefault(error.keys, []).append(error)
        inner = {keys[:size] for keys in by_place for size in range(len(keys))}
        problems = []
        for keys, here in by_place.items():
            others = [error for error in here if error.type not in _WORDS]
            if others:
                problems += [(keys, self._problem(error)) for error in _first_of_each(others)]
            elif keys not in inner:  # else the value is what one alternative wants, and only something in it is wrong
                problems.append((keys, self._wrong_type(here)))
        return problems

    def _problem(self, error: _Error) -> Problem:
        if error.type == "extra_forbidden":
            remedy = near(str(error.key), self.keys_at(error.keys[:-1]))
            return self._made(error, f"unknown key `{str(error.key)[:100]}`", remedy, at_key=True)
        if error.type == "missing":
            return self._made(error, f"missing key `{error.missing}`", "add it")
        found = self.found(error.container, error.key)
        if error.type == "string_pattern_mismatch":
            found = found if not error.of_key else repr(str(error.key)[:100])
            return self._made(error, f"expected {EXPECTED[error.context['pattern']]}, found {found}", "")
        if error.type == "literal_error":
            return self._literal(error, found)
        if error.type in _BOUNDS:
            return self._made(error, _BOUNDS[error.type].format(**error.context, found=found), "")
        return self._made(error, f"{error.type.replace('_', ' ')}: {found}", "look it up in the reference")

    def _literal(self, error: _Error, found: str) -> Problem:
        choices = re.findall(r"'([^']*)'", error.context["expected"]) or [error.context["expected"]]
        value = _value(error.container, error.key)
        remedy = near(value, choices) if isinstance(value, str) and len(choices) > 1 else ""
        remedy = remedy if remedy.startswith("did you mean") else ""  # all of them stand in the sentence already
        if choices == [value]:
            remedy = "remove the quotes"
        return self._made(error, f"expected {_alternatives(choices)}, found {found}", remedy)

    def _wrong_type(self, errors: Sequence[_Error]) -> Problem:
        words = list(dict.fromkeys(_WORDS[error.type] for error in errors))
        error = errors[0]
        remedy = ""
        patterns = [node["pattern"] for node in self._nodes(error.keys) if node.get("pattern") in EXPECTED]
        written = self.positions.written(error.container, error.key)
        if _is_secret(error.key) and written:
            return self._made(error, *SECRET_PROBLEM)
        if written and patterns and not any(re.search(pattern, written) for pattern in patterns):
            words = [EXPECTED[pattern] for pattern in patterns]  # quotes alone would not help
        elif "text" in words:
            remedy = self.quote(error.container, error.key)
        elif "map" not in words and isinstance(_value(error.container, error.key), str):
            remedy = _unquoted(_value(error.container, error.key))
        found = self.found(error.container, error.key)
        return self._made(error, f"expected {_alternatives(words)}, found {found}", remedy)

    def quote(self, container: Value, key: str | int) -> str:
        """The remedy where text is meant and YAML made something else."""
        written = self.positions.written(container, key)
        if written is None:
            return ""
        if written in ("", "~", "null"):
            return "write something there, or remove it"
        return "quote it" if _is_secret(key) else f'quote it: "{written[:60]}"'

    def found(self, container: Value, key: str | int) -> str:
        """What stands there, in words; never a secret."""
        value = _value(container, key)
        written = self.positions.written(container, key)
        if _is_secret(key) and not isinstance(value, (dict, list)):
            return "something else"
        if written and written not in ("~", "null"):
            return f"{written[:60]} ({kind(value)})"
        return repr(value[:60]) if isinstance(value, str) else kind(value)

    def _made(self, error: _Error, text: str, remedy: str, *, at_key: bool = False) -> Problem:
        position = self.positions.at(error.container, error.key, of_key=at_key or error.of_key)
        return Problem(self.positions.where(position), path_of(error.keys[self._left_out :]), text, remedy, position)

    def keys_at(self, keys: Iterable[str | int]) -> list[str]:
        """The keys that are known in the map at that place."""
        return sorted({name for node in self._nodes(keys) for name in node.get("properties", ())})

    def knows(self, keys: Iterable[str | int]) -> bool:
        """Whether anything may stand at that place."""
        return bool(self._nodes(keys))

    def wants(self, keys: Iterable[str | int]) -> set[str]:
        """The types, in the words of JSON Schema, of what may stand at that place."""
        return {str(node.get("type")) for node in self._nodes(keys)}

    def _nodes(self, keys: Iterable[str | int]) -> list[Mapping[str, Any]]:
        nodes = list(self._alternatives(self.shape.json))
        for key in keys:
            inner = [child for node in nodes for child in _children(node, key)]
            nodes = [found for child in inner for found in self._alternatives(child)]
        return nodes

    def _alternatives(self, node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if "$ref" in node:
            yield from self._alternatives(self.shape.json["$defs"][node["$ref"].rpartition("/")[2]])
        elif "anyOf" in node:
            for choice in node["anyOf"]:
                yield from self._alternatives(choice)
        else:
            yield node


def _children(node: Mapping[str, Any], key: str | int) -> list[Mapping[str, Any]]:
    if isinstance(key, int):
        return [node["items"]] if isinstance(node.get("items"), dict) else []
    if key in node.get("properties", ()):
        return [node["properties"][key]]
    return [
        inner
        for inner in (node.get("additionalProperties"), *node.get("patternProperties", {}).values())
        if isinstance(inner, dict)
    ]


def _located(root: Value, error: Mapping[str, Any]) -> _Error:
    """Finds the value that an error of the schemas is about; its path also has the names of alternatives."""
    current, container, key = root, root, 0
    keys: list[str | int] = []
    of_key, missing = False, ""
    for step in error["loc"]:
        if (isinstance(current, dict) and step in current) or (isinstance(current, list) and isinstance(step, int)):
            container, key, current = current, step, current[step]
            keys.append(step)
        elif step == "[key]":
            of_key = True
        else:
            missing = str(step)
    return _Error(tuple(keys), error["type"], container, key, of_key, error.get("ctx", {}), missing)


def _value(container: Value, key: str | int) -> Value:
    try:
        return container[key]
    except (KeyError, IndexError, TypeError):
        return container


def _unquoted(text: str) -> str:
    return "remove the quotes" if re.fullmatch(r"[0-9]+|true|false|yes|no", text) else ""


def _is_secret(key: str | int) -> bool:
    return isinstance(key, str) and SECRET.search(key) is not None


def _first_of_each(errors: Sequence[_Error]) -> list[_Error]:
    return list({(error.type, error.missing): error for error in reversed(errors)}.values())


def _alternatives(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
