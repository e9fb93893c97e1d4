"""Templates read back: which values were put into what was made of one, and values put where a pointer leads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Json
from orchestrator.lookalike.kit.http import Incoming, Object, Refused, json_reply
from orchestrator.providers.webhook.description import Described, parts_of


class Pattern(Struct):
    """One kind of call, and how what it sent is read back."""

    call: Described
    path: re.Pattern[str]

    @classmethod
    def of(cls, call: Described) -> Pattern:
        """That of a described call."""
        return cls(call, pattern_of(str(call.said["path"]).partition("?")[0], "[^/]+"))

    def read(self, call: Incoming, path: str) -> Object | None:
        """The values of the names in a call; None where it is another call."""
        found = self.path.fullmatch(path)
        if call.method != self.call.method or found is None:
            return None
        values: Object = {name_of(group): unquote(value) for group, value in found.groupdict().items()}
        query = str(self.call.said["path"]).partition("?")[2]
        written = (part.partition("=")[::2] for part in query.split("&") if part)
        pairs = [(unquote(text), dict(call.query).get(unquote(name), "")) for name, text in written]
        pairs += [
            (text, call.headers.get(name.lower(), "")) for name, text in self.call.said.get("headers", {}).items()
        ]
        for template, value in pairs:
            values.update(_read(template, value))
        if "body" in self.call.said:
            try:
                values.update(_read(self.call.said["body"], json.loads(call.body or b"null")))
            except ValueError:
                raise Refused(json_reply(400, {"message": "the body is no JSON"}), "no JSON") from None
        return values


def placed(pointer: str, value: Json, into: Json) -> Json:
    """The JSON value with another one where the pointer leads; what lies on the way is made."""
    if not pointer:
        return value
    key, slash, rest = pointer[1:].partition("/")
    key, rest = key.replace("~1", "/").replace("~0", "~"), slash + rest
    if key.isdecimal():
        return [*[{}] * int(key), placed(rest, value, {})]
    inner = into.get(key, {}) if isinstance(into, Mapping) else {}
    return {**(into if isinstance(into, Mapping) else {}), key: placed(rest, value, inner)}


def _read(template: Json, value: Json) -> Object:
    """The values of the names in a template, as they stand in what was made of it."""
    if isinstance(template, str):
        parts = parts_of(template)
        if len(parts) == 1 and not isinstance(parts[0], str):
            return {parts[0].name: value}
        found = pattern_of(template, ".*").fullmatch(str(value))
        return {name_of(group): text for group, text in found.groupdict().items()} if found else {}
    if isinstance(template, Mapping):
        pairs = ((inner, value.get(key) if isinstance(value, Mapping) else None) for key, inner in template.items())
    elif isinstance(template, Sequence):
        pairs = zip(template, value if isinstance(value, list) else [], strict=False)  # type: ignore[assignment]
    else:
        return {}
    return {name: one for inner, given in pairs for name, one in _read(inner, given).items()}


def pattern_of(template: str, fits: str) -> re.Pattern[str]:
    """What fits a template; the values of its names are groups."""
    seen: set[str] = set()
    written = ""
    for part in parts_of(template):
        if isinstance(part, str):
            written += re.escape(part)
            continue
        group = part.name.replace(".", "__")
        written += f"(?P={group})" if group in seen else f"(?P<{group}>{fits})"
        seen.add(group)
    return re.compile(written, re.DOTALL)


def name_of(group: str) -> str:
    """The name whose value a group holds."""
    return group.replace("__", ".")
