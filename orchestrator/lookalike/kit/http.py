"""One HTTP exchange as values, times as APIs write them, credentials, and a table of routes."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

JSON = "application/json"
TEXT = "text/plain"
HTML = "text/html"

Object = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


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
    """Answers a call with an error, wherever it is raised; `reason` is the word under which the counters count it."""

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


def page_of(rows: Sequence[Any], query: Mapping[str, str], most: int, usual: int = 30) -> tuple[Sequence[Any], str]:
    """The rows of the page that is asked for by `page` and `per_page`, and the query of the next one; empty: none."""
    asked = (query.get(name, "") for name in ("per_page", "page"))
    size, page = (int(given) if given.isdecimal() and int(given) > 0 else 0 for given in asked)
    size, page = min(size or usual, most), page or 1
    shown, last = rows[(page - 1) * size : page * size], page * size >= len(rows)
    return shown, "" if last else urlencode({**query, "page": page + 1})


@lru_cache(maxsize=65536)
def _seconds(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(whole))


def moment(at: float | None) -> str | None:
    """A time in whole seconds, UTC."""
    return None if at is None else _seconds(int(at))


def exact(at: float | None) -> str | None:
    """A time with milliseconds, UTC."""
    return None if at is None else f"{_seconds(int(at))[:-1]}.{int(at % 1 * 1000):03d}Z"


class Credentials(NamedTuple):
    """What an `Authorization` header holds; `user` is empty but for Basic."""

    scheme: str
    user: str
    secret: str


def credentials(header: str | None) -> Credentials | None:
    """What the header holds; None where there is none. Basic that cannot be decoded is empty."""
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


class Route(NamedTuple):
    """One operation of a service, as `route` marks the function or method that answers it."""

    template: str  # `POST /repos/{owner}/{repo}/runs/{run:int}/cancel`
    name: str = ""  # what the service itself calls it
    accepts: frozenset[str] = frozenset()  # query parameters
    status: int = 200  # of its success


def route(template: str, name: str = "", accepts: str = "", status: int = 200) -> Callable[[F], F]:
    """Marks what answers these calls; see `Route`.

    In the template, `{name}` stands for one segment as it came over the wire, `{name:int}` for one of digits,
    `{name...}` for one or more segments. `accepts` is separated by spaces.
    """

    def mark(method: F) -> F:
        method.__dict__.setdefault("routes", []).append(Route(template, name, frozenset(accepts.split()), status))
        return method

    return mark


class NoRoute(LookupError):
    """No route fits. `allowed` are the methods that the path has; empty where no template fits the path."""

    def __init__(self, allowed: Collection[str]) -> None:
        super().__init__(", ".join(allowed))
        self.allowed = frozenset(allowed)


class Routes:
    """What is marked with `route` in these modules or objects, by method and path. The first path that fits counts."""

    def __init__(self, *services: object) -> None:
        by_path: dict[str, dict[str, tuple[Route, Callable[..., Any]]]] = {}
        for service in services:
            for name in (*vars(type(service)), *vars(service)):
                for found in getattr(getattr(service, name), "routes", ()):
                    method, _, path = found.template.partition(" ")
                    by_path.setdefault(path, {})[method] = (found, getattr(service, name))
        self._paths = [(_pattern(path), methods) for path, methods in by_path.items()]

    def find(self, method: str, path: str) -> tuple[Route, Callable[..., Any], Mapping[str, str]]:
        """The route, what answers it, and what the braces stand for, still percent-encoded; or raises `NoRoute`."""
        for pattern, methods in self._paths:
            if found := pattern.fullmatch(path):
                if method not in methods:
                    raise NoRoute(methods)
                return *methods[method], found.groupdict()
        raise NoRoute(())

    def names(self, path: str) -> Mapping[str, str]:
        """What the path names, whatever the method; empty where no template fits."""
        found = (pattern.fullmatch(path) for pattern, _ in self._paths)
        return next((one.groupdict() for one in found if one), {})


_BRACES = re.compile(r"\{(\w+)(:int|\.\.\.)?\}")
_FITS = {None: "[^/]+", ":int": r"\d{1,18}", "...": ".+"}


def _pattern(template: str) -> re.Pattern[str]:
    pattern, end = "", 0
    for part in _BRACES.finditer(template):
        pattern += re.escape(template[end : part.start()]) + f"(?P<{part[1]}>{_FITS[part[2]]})"
        end = part.end()
    return re.compile(pattern + re.escape(template[end:]))
