"""One HTTP exchange as values, and a table of routes. Nothing here knows a service or a socket."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

JSON = "application/json"
TEXT = "text/plain"
HTML = "text/html"

Object = dict[str, Any]
Route = TypeVar("Route")


class Incoming(NamedTuple):
    """A call as it came over the wire: path still percent-encoded, query decoded, header names in lower case."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes


class Harm(StrEnum):
    """What happens to an exchange on its way, beyond what the server does."""

    NEVER_LEFT = "never_left"  # no connection; over real sockets the same as RESET
    RESET = "reset"  # the connection dies without an answer
    HANG = "hang"  # no answer, ever
    TORN = "torn"  # the connection dies in the middle of the body
    SLOW = "slow"  # the answer comes late


class Effect(NamedTuple):
    """An order to the transport; `seconds` for SLOW."""

    harm: Harm
    seconds: float = 0.0


class Reply(NamedTuple):
    """One answer. The headers of a made reply may still be added to; a shared one is copied first."""

    status: int
    headers: dict[str, str]
    body: bytes
    effect: Effect | None = None


class Refused(Exception):
    """Raised wherever a call is handled, to answer it with an error.

    Args:
        reply: the error in the service's own shape.
        reason: the word under which the counters count it.
    """

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason


def text(status: int, body: str, kind: str = TEXT) -> Reply:
    """An answer that is not JSON."""
    return Reply(status, {"Content-Type": kind}, body.encode())


def json_reply(status: int, body: object, pretty: bool = False) -> Reply:
    """An answer in JSON."""
    return Reply(status, {"Content-Type": JSON}, json.dumps(body, indent=2 if pretty else None).encode())


class Credentials(NamedTuple):
    """What an `Authorization` header holds; `user` is empty but for Basic."""

    scheme: str
    user: str
    secret: str


def credentials(header: str | None) -> Credentials | None:
    """Reads an `Authorization` header; None where there is none. Basic that cannot be decoded is empty."""
    if not header:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return Credentials(scheme, "", value.strip())
    try:
        user, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return Credentials(scheme, "", "")
    return Credentials(scheme, user, secret)


class NoRoute(LookupError):
    """No route fits.

    Args:
        allowed: the methods that the path has; empty where no template fits the path.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        super().__init__(", ".join(allowed))
        self.allowed = frozenset(allowed)


class Routes(Generic[Route]):
    """Which call leads to what.

    Args:
        table: from `POST /repos/{owner}/{repo}/runs/{run:int}/cancel` to anything. `{name}` stands for one segment as
            it came over the wire, `{name:int}` for one of digits, `{name:a|b}` for one of these words, `{name...}` for
            one or more segments. The first template that fits a path is its route.
    """

    def __init__(self, table: Mapping[str, Route]) -> None:
        by_template: dict[str, dict[str, Route]] = {}
        for key, route in table.items():
            method, _, template = key.partition(" ")
            by_template.setdefault(template, {})[method] = route
        self._templates = [(_pattern(template), methods) for template, methods in by_template.items()]
        self._match = lru_cache(maxsize=4096)(self._first_match)

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route, and the segments that the braces stand for, still percent-encoded.

        Raises:
            NoRoute: no template fits the path, or none with this method.
        """
        methods, names = self._match(path)
        if method not in methods:
            raise NoRoute(methods)
        return methods[method], names

    def names(self, path: str) -> Mapping[str, str]:
        """What the path names, whatever the method; empty where no template fits."""
        return self._match(path)[1]

    def _first_match(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]]:
        for pattern, methods in self._templates:
            if found := pattern.fullmatch(path):
                return methods, found.groupdict()
        return {}, {}


_PARTS = re.compile(r"\{(\w+)(?::([\w|]+)|(\.\.\.))?\}")


@cache  # simulations make a look-alike for each play
def _pattern(template: str) -> re.Pattern[str]:
    pattern, end = "", 0
    for part in _PARTS.finditer(template):
        fits = r"\d{1,18}" if part[2] == "int" else part[2] or (".+" if part[3] else "[^/]+")
        pattern += re.escape(template[end : part.start()]) + f"(?P<{part[1]}>{fits})"
        end = part.end()
    return re.compile(pattern + re.escape(template[end:]))
