"""`${{ NAME }}` in text: names only, one pass, nothing is evaluated and no result is read again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

OPEN = "${{"
LONGEST = 2**20  # characters of a text with its names filled in
_PIECES = re.compile(r"\$\$\{\{|\$\{\{(?:[ \t]*([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*\}\})?")


class Malformed(ValueError):
    """`${{` that opens no name."""


class TooLong(ValueError):
    """A text with its names filled in."""

    def __init__(self) -> None:
        super().__init__(f"longer than {LONGEST:,} characters with its names filled in")


class Undefined(ValueError):
    """A name that is not defined here."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Name(NamedTuple):
    """A name inside a template that is not known yet."""

    name: str


class Template(NamedTuple):
    """Text with names in it whose values differ from target to target."""

    parts: Sequence[str | Name]

    def fill(self, names: Mapping[str, str]) -> str:
        """The text with each name replaced; raises Undefined or TooLong."""
        return _joined([part if isinstance(part, str) else _known(names, part.name) for part in self.parts])


Compiled: TypeAlias = Any
"""A JSON value in which some texts may be templates."""


def compile_text(text: str, constants: Mapping[str, str], later: Callable[[str], bool]) -> str | Template:
    """Puts the constants in and leaves the names that are known later; raises Malformed, TooLong or Undefined."""
    if OPEN not in text:
        return text
    parts: list[str | Name] = []
    end = 0
    for found in _PIECES.finditer(text):
        parts.append(text[end : found.start()])
        parts.append(_piece(found, constants, later))
        end = found.end()
    parts.append(text[end:])
    if all(isinstance(part, str) for part in parts):
        return _joined([part for part in parts if isinstance(part, str)])
    return Template(parts)


def _joined(parts: Sequence[str]) -> str:
    if sum(map(len, parts)) > LONGEST:
        raise TooLong
    return "".join(parts)


def _piece(found: re.Match[str], constants: Mapping[str, str], later: Callable[[str], bool]) -> str | Name:
    if found[0].startswith("$$"):
        return OPEN
    name = found[1]
    if name is None:
        raise Malformed(found.string[found.start() : found.start() + 40])
    if name in constants:
        return constants[name]
    if later(name):
        return Name(name)
    raise Undefined(name)


def fill(value: Compiled, names: Mapping[str, str]) -> Any:
    """The value with every template filled in; what holds none is the same object. Raises Undefined."""
    if isinstance(value, Template):
        return value.fill(names)
    if isinstance(value, dict):
        filled = {key: fill(inner, names) for key, inner in value.items()}
        return filled if any(filled[key] is not inner for key, inner in value.items()) else value
    if isinstance(value, list):
        items = [fill(inner, names) for inner in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def is_constant(value: Compiled) -> bool:
    """Whether no template is left in it."""
    if isinstance(value, dict):
        return all(is_constant(inner) for inner in value.values())
    if isinstance(value, list):
        return all(is_constant(inner) for inner in value)
    return not isinstance(value, Template)


def _known(names: Mapping[str, str], name: str) -> str:
    try:
        return names[name]
    except KeyError:
        raise Undefined(name) from None
