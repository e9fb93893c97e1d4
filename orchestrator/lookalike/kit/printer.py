"""Rows to JSON: representations, `include`, and the collapse of what stands higher up (reference 2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from orchestrator.lookalike.kit.fields import Shape
from orchestrator.lookalike.kit.reply import ApiError, wrong_params
from orchestrator.lookalike.travis.rows import Job, Repo
from orchestrator.lookalike.travis.shapes import GUARDED, SHAPE_OF, SHAPES

Object = dict[str, Any]

_ENTRY = re.compile(r"[a-z_]+\.[a-z_]+")
_PLAIN = frozenset({str, int, bool, float, type(None)})
_RENAMED = {("build", "active"): {"jobs": "active_jobs"}}  # what `/active` shows as jobs (reference 7.4).


def read_include(text: str | None) -> Mapping[str, tuple[str, ...]]:
    """`request.builds,build.commit` by type. A type that does not exist is ignored, a field is not."""
    wanted: dict[str, tuple[str, ...]] = {}
    for entry in (text or "").split(","):
        if not entry:
            continue
        if not _ENTRY.fullmatch(entry):
            raise wrong_params("illegal format for include parameter")
        type_, _, name = entry.partition(".")
        shape = SHAPE_OF.get(type_)
        if shape is None:
            continue
        if name not in shape.fields:
            raise wrong_params(f'no field "{entry}" to include')
        wanted[type_] = (*wanted.get(type_, ()), name)
    return wanted


class Printer:
    """Shows rows for one call."""

    def __init__(self, include: Mapping[str, tuple[str, ...]], prefix: str) -> None:
        self._include = include
        self._prefix = prefix
        self._earlier: set[int] = set()  # of rows of the list that is being shown

    def one(self, row: Any, representation: str = "standard", above: tuple[Any, ...] = ()) -> Object:
        """One row.

        Args:
            above: its ancestors in the document: what is shown already is not shown again.
        """
        shape = SHAPES[type(row)]
        href = shape.href(row)
        if href is not None and (id(row) in self._earlier or any(row is other for other in above)):
            return {"@href": self._prefix + href}
        shown: Object = {"@type": shape.type}
        if href is not None:
            shown["@href"] = self._prefix + href
        shown["@representation"] = representation
        if representation not in ("minimal", "list") and shape.permissions:
            shown["@permissions"] = permissions(shape, row)
        if representation not in shape.representations:
            raise ApiError(500, "server_error", "internal server error")  # (reference 2.2).
        return self._fill(shown, row, shape, representation, (*above, row))

    def many(self, rows: Sequence[Any], representation: str = "standard") -> list[Object]:
        """A list, where an earlier entry is not shown again inside a later one."""
        shown = []
        for row in rows:
            shown.append(self.one(row, representation))
            self._earlier.add(id(row))
        return shown

    def _fill(self, shown: Object, row: Any, shape: Shape, representation: str, above: tuple[Any, ...]) -> Object:
        for name, getter in _getters(shape.type, representation):
            value = getter(row)
            shown[name] = value if type(value) in _PLAIN else self._value(value, "minimal", above)
        for name in self._include.get(shape.type, ()):
            shown[name] = self._value(shape.fields[name](row), "standard", above)
        return shown

    def _value(self, value: Any, representation: str, above: tuple[Any, ...]) -> Any:
        if type(value) in SHAPES:
            return self.one(value, representation, above)
        if isinstance(value, list) and value and type(value[0]) in SHAPES:
            return [self.one(each, representation, above) for each in value]
        return value


@cache
def _getters(type_: str, representation: str) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    shape = SHAPE_OF[type_]
    renamed = _RENAMED.get((type_, representation), {})
    return tuple((name, shape.fields[renamed.get(name, name)]) for name in shape.representations[representation])


def permissions(shape: Shape, row: Any) -> Mapping[str, bool]:
    """What the user may do with it."""
    repo = repo_of(row)
    return _permissions(shape.type, repo is None or repo.may_trigger)


@cache
def _permissions(type_: str, allowed: bool) -> Mapping[str, bool]:
    names = SHAPE_OF[type_].permissions
    return {name: allowed or not (name in GUARDED or name.startswith("build_")) for name in names}


def repo_of(row: Any) -> Repo | None:
    """The repository that a row belongs to."""
    if isinstance(row, Repo):
        return row
    if isinstance(row, Job):
        return row.build.repo
    found = getattr(row, "repo", None)
    return found if isinstance(found, Repo) else None
