"""Merges the maps of the files of a manifest: what is read first wins, key by key."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from orchestrator.manifest.positions import Marks, Value

_EVERY = "*"
_DEFAULTS: dict[str, Any] = {"env": {}, "timeouts": {}}
_DEEP: dict[str, Any] = {
    "params": {},
    "providers": {_EVERY: {"limits": {}, "defaults": _DEFAULTS}},
    "defaults": _DEFAULTS,
    "expect": {},
    "reports": {},
}
"""The maps that merge key by key; every other value of the later file is taken whole or not at all."""


def merged(maps: Sequence[dict[str, Value]], marks: Marks) -> dict[str, Value]:
    """One map of all of them; positions are kept."""
    result = maps[0]
    for later in maps[1:]:
        result = _merge(result, later, _DEEP, marks)
    return result


def _merge(first: dict[str, Value], later: dict[str, Value], deep: dict[str, Any], marks: Marks) -> dict[str, Value]:
    made: dict[str, Value] = {}
    positions = array("Q")
    for key in [*first, *(key for key in later if key not in first)]:
        home = first if key in first else later
        value = home[key]
        inner = deep.get(key, deep.get(_EVERY))
        if inner is not None and key in first and key in later:
            both = first[key], later[key]
            if isinstance(both[0], dict) and isinstance(both[1], dict):
                value = _merge(*both, inner, marks)
        if (written := marks.written(home, key)) is not None:
            marks.write(made, len(made), written)
        made[key] = value
        positions.append(marks.at(home, key, of_key=True))
        positions.append(marks.at(home, key))
    marks.keep(made, positions)
    return made
