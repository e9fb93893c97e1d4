"""One call as the services see it: its user, what its path names, pages, rows as it wants them; and errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any
from urllib.parse import unquote, urlencode

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.kit.http import JSON, Object, Refused, json_reply
from orchestrator.lookalike.travis.builds import Builds
from orchestrator.lookalike.travis.rows import ACTIVE, User
from orchestrator.lookalike.travis.shapes import SHAPE_OF, SHAPES

MOST = 100  # entries of a page

_ENTRY = re.compile(r"[a-z_]+\.[a-z_]+")
_PLAIN = frozenset({str, int, bool, float, type(None)})


def error(status: int, kind: str, message: str, content_type: str = JSON, **more: Any) -> Refused:
    """An error in the API's own JSON shape (reference 3.1)."""
    body = {"@type": "error", "error_type": kind, "error_message": message, **more}
    return Refused(json_reply(status, body)._replace(headers={"Content-Type": content_type}), kind)


def not_found(resource: str | None) -> Refused:
    """Absent or invisible, which the API does not tell apart; None: there is no such route."""
    more = {} if resource is None else {"resource_type": resource}
    return error(404, "not_found", f"{resource or 'resource'} not found (or insufficient access)", **more)


def no_access(permission: str, resource: str, **more: Any) -> Refused:
    """The user may see it, but not do this with it."""
    message = f"operation requires {permission} access to {resource}"
    return error(403, "insufficient_access", message, resource_type=resource, permission=permission, **more)


class Context(Struct):
    """A call to one service. Path and names are percent-encoded as they came, without the installation's prefix."""

    path: str
    query: Mapping[str, str]
    params: Mapping[str, Any]  # the body
    user: User | None
    now: float
    builds: Builds
    stuck: bool  # a fault: the row is written, but never worked on
    names: Mapping[str, str] = field(default_factory=dict)
    vcs: str = "github"
    prefix: str = ""  # of every address in the answer
    endpoint: str = ""
    warnings: list[Object] = field(default_factory=list)

    def require_user(self) -> User:
        """The user that the token belongs to; refused without one."""
        if self.user is None:
            raise error(403, "login_required", "login required")
        return self.user

    def find(self, kind: str) -> Any:
        """The `repo`, `owner`, `request`, `build` or `job` that the path names, whatever else stands there."""
        tables, name = self.builds.tables, unquote(self.names[kind])
        match kind:
            case "repo":
                row: Any = tables.repo(self.vcs, name)
                row = None if row is None or (row.private and self.user is None) else row
            case "owner":
                row = tables.owners.get((self.vcs, name.lower()))
            case _:
                row = tables.numbered[kind].get(int(name))
        if row is None:
            raise not_found("repository" if kind == "repo" else kind)
        return row

    def show(self, row: Any) -> Object:
        """One row, as the call wants it."""
        return self._printer().one(row)

    def many(self, rows: Sequence[Any], representation: str = "standard") -> list[Object]:
        """All of these rows, as the call wants them."""
        return self._printer().many(rows, representation)

    def head(self, type_: str, representation: str = "standard") -> Object:
        """What stands first in an answer that is not one row."""
        return {"@type": type_, "@href": self._href(self.query), "@representation": representation}

    def page(self, type_: str, rows: Sequence[Any], default: int) -> Object:
        """One page of these rows, `default` many where the call does not say (reference 9.1)."""
        limit, offset = self._integer("limit", default), max(0, self._integer("offset", 0))
        limit = default if limit < 0 else min(limit, MOST) or MOST
        count = len(rows) if self.query.get("skip_count") != "true" else offset + 2 * limit
        representation = self.query.get("representation", "standard")
        return {
            **self.head(type_, representation),
            "@pagination": self._pagination(limit, offset, count),
            type_: self.many(rows[offset : offset + limit], representation),
        }

    def ordered(self, rows: Sequence[Any], fields: str) -> Sequence[Any]:
        """Rows in the order that `sort_by` asks for, by some of these fields; any other is ignored with a warning."""
        for order in reversed([each for each in self.query.get("sort_by", "").split(",") if each]):
            name, _, direction = order.partition(":")
            if name in fields.split():
                rows = sorted(rows, key=attrgetter(name), reverse=direction == "desc")
            else:
                message = f"query value {order} for sort_by not a valid sort mode, ignored"
                self._warn(message, "ignored_value", "sort_by", value=order)
        return rows

    def ignored(self, name: str) -> None:
        """Warns of a parameter that means nothing here."""
        self._warn(f"query parameter {name} not safelisted, ignored", "ignored_parameter", name)

    def _warn(self, message: str, kind: str, name: str, **more: str) -> None:
        self.warnings.append({"@type": "warning", "message": message, "warning_type": kind, "parameter": name, **more})

    def _printer(self) -> _Printer:
        return _Printer(_read_include(self.query.get("include", "")), self.prefix)

    def _href(self, query: Mapping[str, Any]) -> str:
        encoded = urlencode(query, safe=":," if query is self.query else "")  # its own as it came, others encoded
        return f"{self.prefix}{self.path}{'?' if query else ''}{encoded}"

    def _pagination(self, limit: int, offset: int, count: int) -> Object:
        def link(to: int) -> Object:
            pairs = self.query if to == offset else dict(sorted({**self.query, "limit": limit, "offset": to}.items()))
            return {"@href": self._href(pairs), "offset": to, "limit": limit}

        return {
            "limit": limit,
            "offset": offset,
            "count": count,
            "is_first": offset == 0,
            "is_last": offset + limit >= count,
            "next": link(offset + limit) if offset + limit < count else None,
            "prev": link(max(0, offset - limit)) if offset > 0 else None,
            "first": link(0),
            "last": link(max(0, (count - 1) // limit * limit)),
        }

    def _integer(self, name: str, default: int) -> int:
        try:
            return int(self.query.get(name, default))
        except ValueError:
            raise error(400, "wrong_params", f"{name} must be an integer") from None


def minimal(row: Any) -> Object:
    """A row as a 202 or an error shows it: its address never carries a version prefix."""
    return _Printer({}, "").one(row, "minimal")


def _read_include(text: str) -> Mapping[str, Sequence[str]]:
    """`request.builds,build.commit` by type. A type that does not exist is ignored, a field is not (reference 2.1)."""
    wanted: dict[str, list[str]] = {}
    for entry in filter(None, text.split(",")):
        if not _ENTRY.fullmatch(entry):
            raise error(400, "wrong_params", "illegal format for include parameter")
        type_, _, name = entry.partition(".")
        if type_ in SHAPE_OF:
            if name not in SHAPE_OF[type_].getters:
                raise error(400, "wrong_params", f'no field "{entry}" to include')
            wanted.setdefault(type_, []).append(name)
    return wanted


class _Printer:
    """Shows rows for one call; `include` has the fields that it wants besides a representation's, by type of row."""

    def __init__(self, include: Mapping[str, Sequence[str]], prefix: str) -> None:
        self._include = include
        self._prefix = prefix
        self._earlier: set[int] = set()  # of rows of the list that is being shown

    def one(self, row: Any, representation: str = "standard", above: tuple[Any, ...] = ()) -> Object:
        """One row; `above` are its ancestors in the document: what is shown already is not shown again."""
        shape = SHAPES[type(row)]
        shown: Object = {"@type": shape.type}
        address = shape.address(row)
        if address is not None:
            if id(row) in self._earlier or any(row is other for other in above):
                return {"@href": self._prefix + address}
            shown["@href"] = self._prefix + address
        if representation not in shape.shown and representation != "active":
            raise error(500, "server_error", "internal server error")  # (reference 2.2)
        if representation != "owner":
            shown["@representation"] = representation
        if representation not in ("minimal", "owner") and shape.rights[True]:
            shown["@permissions"] = shape.rights[getattr(getattr(row, "repo", row), "may_trigger", True)]
        above = (*above, row)
        for name, getter in shape.shown["standard" if representation == "active" else representation]:
            value = getter(row)
            if name == "jobs" and representation == "active":  # (reference 7.4).
                value = [job for job in value if job.state in ACTIVE]
            if type(value) not in _PLAIN:
                is_owner = shape.type == "repository" and name == "owner"
                value = self._value(value, "owner" if is_owner else "minimal", above)
            shown[name] = value
        for name in self._include.get(shape.type, ()):
            shown[name] = self._value(shape.getters[name](row), "standard", above)
        return shown

    def many(self, rows: Sequence[Any], representation: str) -> list[Object]:
        """A list, where an earlier entry is not shown again inside a later one."""
        shown = []
        for row in rows:
            shown.append(self.one(row, representation))
            self._earlier.add(id(row))
        return shown

    def _value(self, value: Any, representation: str, above: tuple[Any, ...]) -> Any:
        if type(value) in SHAPES:
            return self.one(value, representation, above)
        if isinstance(value, list) and value and type(value[0]) in SHAPES:
            return [self.one(each, representation, above) for each in value]
        return value
