"""One HTTP exchange as values: what a provider asks to be sent, and what came back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import Json


class Call(Struct, frozen=True):
    """One HTTP call, without credentials and without a host: the transport adds both.

    Args:
        path: below the account's URL, already percent-encoded, joined as text; starts with a slash.
        query: pairs, encoded by the transport.
        body: sent as JSON; None sends no body.
        purpose: what the report counts it as: `trigger`, `find`, `poll` or `other`.
        limits: names of the limits it counts against.
        repo: `owner/name`, where the call also counts against limits of a repository or an owner.
        secret: whether the body holds a secret (then it is never logged, nor an echo of it).
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Json = None
    purpose: str = "other"
    limits: tuple[str, ...] = ("calls",)
    repo: str | None = None
    secret: bool = False


class Answer(Struct, frozen=True):
    """What came back: the status, the JSON value (or the text, where it is no JSON), the headers.

    A header is asked for by its name in lower case.
    """

    status: int
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)


Send: TypeAlias = Callable[[Call], Awaitable[Answer]]
"""Sends one call once, and fails only with:

    Unreachable    it certainly never left
    AccessRefused  TLS was refused, or the server redirects (never followed)
    InDoubt        it left, and no whole answer came back; for a call that only reads, a provider turns this
                   into LookFailed
"""
