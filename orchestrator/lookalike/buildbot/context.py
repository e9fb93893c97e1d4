"""One call to a Buildbot: what it is about, what its query selects, its errors.

`(reference 7)` names a section of the facts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.buildbot.rows import Request, Tables
from orchestrator.lookalike.buildbot.settings import Settings
from orchestrator.lookalike.kit.http import Incoming, Object, Refused, Reply, json_reply, text

OPERATORS: Mapping[str, Callable[[Any, list[Any]], bool]] = {
    "eq": lambda value, wanted: value in wanted,
    "in": lambda value, wanted: value in wanted,
    "ne": lambda value, wanted: value not in wanted,
    "notin": lambda value, wanted: value not in wanted,
    "lt": lambda value, wanted: value is not None and value < wanted[0],
    "le": lambda value, wanted: value is not None and value <= wanted[0],
    "gt": lambda value, wanted: value is not None and value > wanted[0],
    "ge": lambda value, wanted: value is not None and value >= wanted[0],
    "contains": lambda value, wanted: any(one in str(value) for one in wanted),
}


class Context(Struct):
    """One call, and all that there is."""

    call: Incoming
    now: float
    tables: Tables
    names: Mapping[str, str]
    stuck: bool

    @property
    def settings(self) -> Settings:
        """How this Buildbot is."""
        return self.tables.settings

    def asked(self, name: str) -> list[str]:
        """The values of a parameter of the query."""
        return [value for key, value in self.call.query if key == name]

    def request(self) -> Request:
        """The request of the path."""
        found = self.tables.request(int(self.names["id"]))
        return self.there(found if found is not None and self.is_seen(found) else None)

    def build(self) -> Request:
        """The request whose build is that of the path."""
        return self.there(self.tables.of_build(int(self.names["id"])))

    def there(self, found: Request | None) -> Request:
        """What was found; else it answers that nothing is there."""
        if found is None:
            raise missing(self.call.path)
        return found

    def is_seen(self, row: Request) -> bool:
        """Whether listings show it already."""
        return row.buildset.visible_at <= self.now

    def listing(self, key: str, found: Iterable[Object]) -> Reply:
        """What the query selects of rows (reference 5)."""
        shown = list(found)
        for name, value in self.call.query:
            field, _, operator = name.partition("__")
            if name in ("field", "order", "limit", "offset", "property"):
                continue
            if shown and field not in shown[0]:
                raise failed(400, f"unrecognized query parameter '{name}'")
            if operator not in OPERATORS and operator:
                raise failed(400, f"unrecognized query parameter '{name}'")
            if self.asked("field") and field not in self.asked("field"):
                raise failed(400, "cannot filter on un-selected fields")
            wanted = [_typed(one) for one in (self.asked(name) if operator in ("in", "notin") else [value])]
            fits = OPERATORS[operator or "eq"]
            shown = [row for row in shown if fits(row[field], wanted)]
        for order in self.asked("order"):
            shown.sort(key=lambda row: row[order.lstrip("-")], reverse=order.startswith("-"))  # used at once
        numbers = {name: self.asked(name) for name in ("offset", "limit")}
        if any(values and not values[0].isdecimal() for values in numbers.values()):
            raise failed(400, "invalid limit")
        start = int(numbers["offset"][0]) if numbers["offset"] else 0
        shown = shown[start : start + int(numbers["limit"][0]) if numbers["limit"] else None]
        fields = self.asked("field")
        if fields and shown and (unknown := [name for name in fields if name not in shown[0]]):
            raise failed(400, f"no such field '{unknown[0]}'")
        entries = [{name: row[name] for name in fields} if fields else row for row in shown]
        return json_reply(200, {key: entries, "meta": {"total": len(entries)}})

    def one(self, key: str, row: Object) -> Reply:
        """A thing by itself."""
        fields = self.asked("field")
        return json_reply(200, {key: [{name: row[name] for name in fields} if fields else row], "meta": {}})


def _typed(value: str) -> object:
    """A value of the query as rows have them."""
    if value in ("true", "false"):
        return value == "true"
    return int(value) if value.isascii() and value.lstrip("-").isdigit() and len(value) < 19 else value


def failed(status: int, message: str) -> Refused:
    """An error of a call that reads: JSON that calls itself a text (reference 7)."""
    return Refused(text(status, json.dumps({"error": message})), message[:40])


def missing(path: str) -> Refused:
    """There is no such thing."""
    return failed(404, f"not found while getting from endpoint for {path}")


def rpc_failed(status: int, code: int, message: object, id_: object = None) -> Refused:
    """An error of a call that changes something."""
    body = {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}}
    return Refused(json_reply(status, body), str(message)[:40])
