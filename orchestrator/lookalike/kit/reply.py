"""What a world answers: status, headers, body, and what the transport is to do wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.core.frozen import Struct

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
HTML_TYPE = "text/html"


class Harm(StrEnum):
    """What happens to the call on its way, beyond what the server does."""

    NEVER_LEFT = "never_left"  # no connection; over real sockets the same as RESET
    RESET = "reset"  # the connection dies without an answer
    HANG = "hang"  # no answer, ever
    TORN = "torn"  # the connection dies in the middle of the body
    SLOW = "slow"  # the answer comes late


class Effect(Struct, frozen=True):
    """An order to the transport; `seconds` for SLOW."""

    harm: Harm
    seconds: float = 0.0


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    effect: Effect | None = None


class ApiError(Exception):
    """An error in the API's own JSON shape (reference 3.1).

    Args:
        kind: `error_type`.
        more: further keys of the body (`resource_type`, `permission`, `max_requests`, ...).
    """

    def __init__(self, status: int, kind: str, message: str, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"@type": "error", "error_type": kind, "error_message": message, **(more or {})}


def not_found(resource: str | None) -> ApiError:
    """Absent or invisible, which the API does not tell apart; None: there is no such route."""
    more = {} if resource is None else {"resource_type": resource}
    return ApiError(404, "not_found", f"{resource or 'resource'} not found (or insufficient access)", more)


def wrong_params(message: str) -> ApiError:
    """A parameter that cannot be read."""
    return ApiError(400, "wrong_params", message)


def no_access(permission: str, resource: str, more: Mapping[str, Any] | None = None) -> ApiError:
    """The user may see it, but not do this with it."""
    keys = {"resource_type": resource, "permission": permission, **(more or {})}
    return ApiError(403, "insufficient_access", f"operation requires {permission} access to {resource}", keys)


def login_required() -> ApiError:
    """Nobody is logged in."""
    return ApiError(403, "login_required", "login required")


def text(status: int, body: str, kind: str = TEXT_TYPE) -> Reply:
    """An answer that is no JSON (reference 3.2)."""
    return Reply(status, {"Content-Type": kind}, body.encode())


def json_reply(status: int, body: object, pretty: bool = False) -> Reply:
    """An answer in JSON."""
    return Reply(status, {"Content-Type": JSON_TYPE}, json.dumps(body, indent=2 if pretty else None).encode())
