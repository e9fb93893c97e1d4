"""Where each value of a manifest's files stands, packed so that a hundred thousand of them cost little."""

from __future__ import annotations

from array import array
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""What YAML makes of text: None, bool, int, float, str, date, datetime, list, dict."""

Path: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""

COLUMN_BITS, LINE_BITS = 20, 28


class Positions:
    """Where each value of all files stands, and how scalars that are no text were written."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self._positions: dict[int, array[int]] = {}
        self._written: dict[tuple[int, int], str] = {}
        self._alive: list[Value] = []  # containers are known by their identity, which must not be reused

    def add_source(self, name: str) -> int:
        """Adds a file by its name; returns the number that goes into packed positions."""
        self.sources.append(name)
        return len(self.sources) - 1

    def keep(self, container: Value, positions: array[int]) -> None:
        """Keeps the positions of a list's items, or of a map's keys and values in turn."""
        self._positions[id(container)] = positions
        self._alive.append(container)

    def keep_written(self, container: Value, index: int, text: str) -> None:
        """Keeps how a scalar that is no text was written."""
        self._written[id(container), index] = text

    def forget(self, container: dict[str, Value], key: str) -> None:
        """Removes a key from its map, together with its positions."""
        index = list(container).index(key)
        positions = self.of_items(container)
        del positions[2 * index : 2 * index + 2]
        for at in range(index, len(container)):  # the later ones move up
            text = self._written.pop((id(container), at + 1), None)
            self._written.pop((id(container), at), None)
            if text is not None:
                self._written[id(container), at] = text
        del container[key]

    def source_of(self, container: Value, key: str | int | None = None) -> str:
        """The name of the file that a value stands in."""
        return self.sources[self.at(container, key) >> (LINE_BITS + COLUMN_BITS)]

    def written(self, container: Value, key: str | int) -> str | None:
        """How the scalar was written; None for text and containers."""
        return self._written.get((id(container), _index(container, key)))

    def at(self, container: Value, key: str | int | None = None, *, of_key: bool = False) -> int:
        """The packed position of a value (or of its key) in its container; 0 when it is not known."""
        positions = self._positions.get(id(container))
        if not positions:
            return 0
        if key is None:
            return positions[0]
        index = _index(container, key)
        if isinstance(container, dict):
            index = 2 * index + (0 if of_key else 1)
        return positions[index] if 0 <= index < len(positions) else positions[0]

    def of_items(self, container: Value) -> array[int]:
        """The packed positions of a container's items; empty when they are not known."""
        return self._positions.get(id(container), array("Q"))

    def where(self, position: int) -> str:
        """`file:line:column` of a packed position."""
        name = self.sources[position >> (LINE_BITS + COLUMN_BITS)]
        line = position >> COLUMN_BITS & ((1 << LINE_BITS) - 1)
        return f"{name}:{line}:{position & ((1 << COLUMN_BITS) - 1)}" if line else name


def pack(source: int, line: int, column: int) -> int:
    """A position as one number; lines and columns count from 1."""
    line, column = min(line, (1 << LINE_BITS) - 1), min(column, (1 << COLUMN_BITS) - 1)
    return source << (LINE_BITS + COLUMN_BITS) | line << COLUMN_BITS | column


def _index(container: Value, key: str | int) -> int:
    if isinstance(container, dict):
        return list(container).index(key) if key in container else -1
    return key if isinstance(key, int) else -1
