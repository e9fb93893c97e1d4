"""One HTTP exchange as values: what a provider asks to be sent, what came back, and where calls may go."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import urlencode, urlsplit

from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import ACCOUNT, Json, Scope

to_json = json.JSONEncoder(separators=(",", ":")).encode


class Call(Struct, frozen=True):
    """One HTTP call, without credentials and without a host: the transport adds both.

    Args:
        path: below the account's URL, already percent-encoded, joined as text; starts with a slash.
        query: pairs, encoded by the transport.
        body: sent as JSON; None sends no body.
        purpose: what the report counts it as: `trigger`, `find`, `poll` or `other`.
        limits: names of the limits it counts against.
        repo: `owner/name`, where the call also counts against limits of a repository or an owner; an owner alone,
            where it is about no repository.
        secret: whether the body holds a secret (then it is never logged, nor an echo of it).
        at_most: bytes of the answer after which no more of it is read, and its body is text; None: it is read whole.
        beside: whether the path stands below the host, and not below the account's URL.
        etag: of the answer that is known; where it is still the same, the answer is a 304 without a body.
        leaves: whether a redirect to another host is followed, once and without the token (logs kept elsewhere).
        moves: whether the 301 of a thing that moved is followed, too, although the call changes something.
        is_look: whether it only reads, although it is a POST (GraphQL).
        headers: sent besides those of the account, and instead of those of the same name; never logged.
        sign: gives headers that sign the bytes of the body, as they are sent.
        form: whether the body, a map of texts, is sent as a form instead of JSON.
        redirects: a pattern of the `Location` of redirects that are the answer itself: they are not followed.
        ready: to be called when the connection is there, just before the first byte leaves; it may raise `TooLate`.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Json = None
    purpose: str = "other"
    limits: tuple[str, ...] = ("calls",)
    repo: str | None = None
    secret: bool = False
    at_most: int | None = None
    beside: bool = False
    etag: str | None = None
    leaves: bool = False
    moves: bool = False
    is_look: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    sign: Callable[[bytes], Mapping[str, str]] | None = None
    form: bool = False
    redirects: str | None = None
    ready: Callable[[], None] | None = None

    @property
    def changes(self) -> bool:
        """Whether it may change something at the provider."""
        return self.method != "GET" and not self.is_look

    @property
    def content(self) -> tuple[str, bytes]:
        """The type of the body, and the body; both are empty where there is none."""
        if self.form and isinstance(self.body, Mapping):
            return "application/x-www-form-urlencoded", urlencode(dict(self.body)).encode()
        return ("", b"") if self.body is None else ("application/json", to_json(self.body).encode())


class Answer(Struct, frozen=True):
    """What came back: the status, the JSON value (or the text, where it is no JSON), the headers.

    A header is asked for by its name in lower case.

    Args:
        size: bytes of the body.
        hang_up: closes the connection that it came over, for an answer that belongs to another question.
        is_moved: whether a redirect on the same server was followed to it.
        scope: what a refusal of the token, or a limit, holds for: the account, or the owner whose token was sent.
    """

    status: int
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    hang_up: Callable[[], None] = lambda: None
    is_moved: bool = False
    scope: Scope = ACCOUNT


Send: TypeAlias = Callable[[Call], Awaitable[Answer]]
"""Sends one call once, and fails only with:

    Unreachable    it certainly never left
    AccessRefused  TLS was refused, or the server redirects elsewhere
    Rejected       the server redirects a trigger elsewhere
    InDoubt        it left, and no whole answer came back; for a call that only reads, a provider turns this
                   into LookFailed
"""


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_problem(url: str, insecure: bool) -> tuple[str, str] | None:
    """What is wrong with an account's URL, and the remedy; never repeats the URL, which may hold a secret.

    Args:
        insecure: whether plain http may leave this machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "this is no URL", "write https://HOST[/PATH]"
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url):
        return "this is no http URL", "write https://HOST[/PATH]"
    if parts.username is not None or parts.password is not None:
        return "a URL holds no credentials", "use `token`, and change the secret that stood here"
    if parts.query or parts.fragment:
        return "the URL of an account ends with its path", "remove what begins with ? or #"
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        return "plain http would send the token in the clear", "use https, or write `insecure: true`"
    return None
