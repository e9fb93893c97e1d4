"""One entry under `targets`: where it stands, what it says, and how to say what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.manifest.diagnostics import near
from orchestrator.manifest.files import Files
from orchestrator.manifest.layers import Layer
from orchestrator.manifest.positions import Value
from orchestrator.manifest.template import Compiled, Undefined, fill


class Entry(NamedTuple):
    """Where an entry stands.

    Args:
        container, key: the list that it is in, and its index.
        keys: the path of keys to it; empty in a list of lines or rows.
        position: packed.
    """

    container: Value
    key: int
    keys: tuple[str | int, ...]
    position: int


class Said(NamedTuple):
    """What an entry says about one repository, on an account.

    Args:
        layer: with the defaults underneath.
        refs: what the short form says after `@`; None leaves it to the layer.
        matrix: what the short form says in brackets.
        labels: of the repository itself, as the provider tells them.
    """

    repo: Compiled
    layer: Layer
    account: str
    entry: Entry
    name: Compiled = None
    refs: Sequence[Compiled] | None = None
    matrix: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ()


class Teller(NamedTuple):
    """Says what is wrong with an entry, and fills in its templates.

    Args:
        raw: the merged top level, for what is wrong in the defaults.
        constants: names that every template knows, for `did you mean`.
    """

    files: Files
    raw: Mapping[str, Value]
    constants: Mapping[str, str]

    def problem(self, entry: Entry, text: str, remedy: str = "", key: str | None = None) -> None:
        """Something is wrong with the entry, or with one of its keys where it has that key."""
        said = entry.container[entry.key]
        if key is not None and isinstance(said, dict) and key in said:
            self.files.say(text, remedy, said, key, (*entry.keys, key))
        else:
            self.files.say(text, remedy, entry.container, entry.key, entry.keys)

    def default_problem(self, text: str, remedy: str, key: str) -> None:
        """Something is wrong with what the defaults say."""
        defaults = self.raw.get("defaults", {})
        if key in defaults:
            self.files.say(text, remedy, defaults, key, ("defaults", key))
        elif "name" in self.raw:
            self.files.say(text, remedy, self.raw, "name", ("name",))
        else:
            self.files.say(text, remedy, self.raw, "targets", ())

    def fill(self, value: Compiled, names: Mapping[str, str], entry: Entry) -> Any:
        """The value with its names filled in; None, and a problem, when one is not known."""
        try:
            return fill(value, names)
        except Undefined as error:
            self.undefined(error.name, names, entry)
            return None

    def text(self, value: Compiled, entry: Entry, names: Mapping[str, str] | None = None) -> str:
        """The text with its names filled in; empty, and a problem, when one is not known."""
        filled = self.fill(value, names or {}, entry)
        return filled if isinstance(filled, str) else ""

    def undefined(self, name: str, names: Mapping[str, str], entry: Entry) -> None:
        """A template names what this target has not."""
        self.problem(entry, f"`${{{{ {name} }}}}` is not known for this target", near(name, [*names, *self.constants]))
