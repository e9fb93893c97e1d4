"""What an account says of its service: calls with names in them, and where answers say what.

Names are put into parsed JSON, never pasted into text that is parsed afterwards. In a path and a query they are
percent-encoded. Pointers are those of RFC 6901.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

from orchestrator.core.calls import Call
from orchestrator.core.errors import near
from orchestrator.core.model import Json, Target
from orchestrator.core.template import Malformed, Name, Template, TooLong, Undefined, compile_text

WHOLE = ("target.env", "target.labels", "target.matrix")  # are values, not texts: they stand alone, in a body
OF_TARGET = ("target.id", "target.repo", "target.owner", "target.name", "target.branch", "target.message", *WHOLE)
MARKER, TOKEN, BRANCH, REQUEST = "marker", "token", "target.branch", "request.id"
COMMON = (*OF_TARGET, MARKER, TOKEN, "run.name")
NAMES: Mapping[str, Sequence[str]] = {
    "trigger": COMMON,
    "find": COMMON,
    "status": (*COMMON, REQUEST),
    "cancel": (*COMMON, REQUEST),
}
"""The names that each kind of call knows."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection")  # headers that are not written

Keys: TypeAlias = tuple[str, ...]
Problem: TypeAlias = tuple[str, str, Keys]


class Described(NamedTuple):
    """One kind of call, as the account describes it.

    Args:
        kind: `trigger`, `status`, `find` or `cancel`.
        said: what stands there.
    """

    kind: str
    said: Mapping[str, Any]

    @property
    def method(self) -> str:
        """As written, else POST for what changes something, and GET for what only looks."""
        return str(self.said.get("method", "POST" if self.kind in ("trigger", "cancel") else "GET"))

    def call(self, values: Mapping[str, Json], purpose: str, limits: tuple[str, ...]) -> Call:
        """The call with these values in it; never logged with its headers, one of which may hold the token."""
        path, _, query = str(self.said["path"]).partition("?")
        pairs = [part.partition("=")[::2] for part in query.split("&") if part]
        return Call(
            self.method,
            pasted(path, values, in_path),
            tuple((unquote(name), pasted(unquote(value), values)) for name, value in pairs),
            None if "body" not in self.said else filled(self.said["body"], values),
            purpose,
            limits,
            secret=True,
            headers={name: pasted(text, values, in_header) for name, text in self.said.get("headers", {}).items()},
        )

    def names(self) -> set[str]:
        """The names that stand in it."""
        return {name for _, text in self._texts() for name in named(text)}

    def names_in_text(self) -> set[str]:
        """Those of them that do not stand alone, as a value of the body."""
        found = ((place, text, named(text)) for place, text in self._texts())
        return {name for place, text, names in found for name in names if place != "body" or not is_alone(text)}

    def problems(self) -> Iterator[Problem]:
        """What is wrong with its method, path, headers and the names in it."""
        if self.method not in METHODS:
            yield f"unknown method {self.method[:20]!r}", f"one of {', '.join(METHODS)}", (self.kind, "method")
        if "body" in self.said and self.method == "GET":
            yield "a GET has no body", "remove `body`, or write another `method`", (self.kind, "body")
        path = str(self.said["path"])
        if not path.startswith("/") or re.search(r"[\x00-\x20\\#\x7f]", re.sub(r"\$\{\{.*?\}\}", "", path)):
            yield "a path begins with / and has no spaces", "percent-encode what is odd in it", (self.kind, "path")
        for name, text in self.said.get("headers", {}).items():
            if not _HEADER.fullmatch(name) or name.lower() in _OURS or not _is_line(text):
                yield f"{name[:40]!r} cannot be such a header", "leave it out", (self.kind, "headers")
        for place, text in self._texts():
            for problem in self._of_text(place, text):
                yield *problem, (self.kind, place)

    def _texts(self) -> Iterator[tuple[str, str]]:
        yield "path", str(self.said.get("path", ""))
        yield from (("headers", str(text)) for text in self.said.get("headers", {}).values())
        yield from (("body", text) for text in texts_in(self.said.get("body")))

    def _of_text(self, place: str, text: str) -> Iterator[tuple[str, str]]:
        known = NAMES[self.kind]
        try:
            parts = _compiled(text, known)
        except Undefined as error:
            yield f"unknown name `{error.name[:60]}`", near(error.name, known)
            return
        except Malformed as error:
            yield f"{str(error)[:40]!r} opens no name", "write ${{ NAME }}; $${{ for the characters themselves"
            return
        except TooLong as error:
            yield str(error), "write less"
            return
        names = {part.name for part in parts if isinstance(part, Name)}
        stands_alone = place == "body" and len(parts) == 1
        if (whole := names & {*WHOLE}) and not stands_alone:
            yield f"`{min(whole)}` is no text", "let it stand alone, as one value of `body`"
        if TOKEN in names and place != "headers":
            yield f"the token in the {place}: it would be shown", "send it in a header"


def texts_in(value: Json) -> Iterator[str]:
    """Every text of a JSON value that may hold names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from texts_in(inner)


def is_alone(text: str) -> bool:
    """Whether a text is one name and nothing else."""
    parts = parts_of(text)
    return len(parts) == 1 and isinstance(parts[0], Name)


def parts_of(text: str) -> Sequence[str | Name]:
    """The text as pieces and names, whatever names it has."""
    return _compiled(text, NAMES["status"])


def _compiled(text: str, known: Sequence[str]) -> Sequence[str | Name]:
    found = compile_text(text, {}, known.__contains__)
    return [part for part in found.parts if part != ""] if isinstance(found, Template) else [found]


def named(text: str) -> set[str]:
    """The names in a text; none where it is malformed."""
    try:
        return {part.name for part in parts_of(text) if isinstance(part, Name)}
    except ValueError:
        return set()


def filled(value: Json, values: Mapping[str, Json]) -> Json:
    """The JSON value with its names filled in; a text that is one name alone becomes its value."""
    if isinstance(value, str):
        parts = _compiled(value, [*values])
        is_name = len(parts) == 1 and isinstance(parts[0], Name)
        return values[parts[0].name] if is_name else pasted(value, values)  # type: ignore[union-attr]  # it is a name
    if isinstance(value, Mapping):
        return {key: filled(inner, values) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [filled(inner, values) for inner in value]
    return value


def pasted(text: str, values: Mapping[str, Json], shown: Callable[[str], str] = str) -> str:
    """The text with its names filled in; what is absent leaves nothing.

    Args:
        shown: how a value is written.
    """
    parts = []
    for part in _compiled(text, [*values]):
        value = values[part.name] if isinstance(part, Name) else None
        parts.append(part if isinstance(part, str) else shown("" if value is None else str(value)))
    return "".join(parts)


def in_path(text: str) -> str:
    """A value as one segment, whatever stands in it."""
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def in_header(text: str) -> str:
    """A value in a header; what no header may hold is left out of it."""
    return "".join(c for c in text if c.isprintable() and c.isascii())


def _is_line(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and len(text) <= 8192


def of_target(target: Target) -> dict[str, Json]:
    """The values of the names of a target."""
    said = target.request
    return {
        "target.id": target.id,
        "target.repo": target.repo,
        "target.owner": target.owner,
        "target.name": target.repo.rpartition("/")[2],
        "target.branch": target.branch,
        "target.message": said.get("message"),
        "target.env": said.get("env") or {},
        "target.labels": list(target.labels),
        "target.matrix": dict(target.matrix),
    }


def pointer_problem(pointer: object) -> str | None:
    """Why a text is no JSON Pointer."""
    return None if isinstance(pointer, str) and _POINTER.fullmatch(pointer) else "is no JSON Pointer, such as /run/id"


def at(value: Json, pointer: str) -> Json:
    """What stands there (RFC 6901); None where nothing does."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,9}", key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def word_at(value: Json, pointer: str, at_most: int = 200) -> str | None:
    """The text, number or truth value that stands there, as text; None where none does."""
    found = at(value, pointer)
    if isinstance(found, bool):
        return "true" if found else "false"
    shown = str(found) if isinstance(found, int | str) else ""
    return shown if 0 < len(shown) <= at_most and shown.isprintable() else None
