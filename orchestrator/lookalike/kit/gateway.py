"""The way in: body, token, bans, version and route, checked in the order of the real stack (reference 4.3)."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from orchestrator.lookalike.kit.reply import HTML_TYPE, JSON_TYPE, ApiError, Reply, json_reply, not_found, text
from orchestrator.lookalike.travis.guard import ANONYMOUS, Guard, Verdict
from orchestrator.lookalike.travis.routes import Table, way
from orchestrator.lookalike.travis.rows import User
from orchestrator.lookalike.travis.settings import Settings
from orchestrator.lookalike.travis.tables import Tables
from orchestrator.lookalike.travis.visit import Route, Visit


class Arrival(NamedTuple):
    """A call as it came over the wire: path still percent-encoded, query decoded, header names in lower case."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes


class Gateway:
    """Lets calls in, or not.

    Args:
        refusals: counts why calls were refused.
    """

    def __init__(self, settings: Settings, tables: Tables, guard: Guard, routes: Table, refusals: Counter[str]) -> None:
        self._prefix = settings.prefix
        self._pretty = settings.pretty
        self._tables = tables
        self._guard = guard
        self._routes = routes
        self._refusals = refusals

    def answer(self, arrival: Arrival, now: float, stuck: bool) -> Reply:
        """The reply of the service behind, or of whatever stops the call before."""
        try:
            params = read_body(arrival.body, arrival.headers.get("content-type", "")) if arrival.body else {}
        except ValueError:
            return json_reply(400, {"error": "Failed to parse body as JSON"})
        user, wrong = self._who(arrival.headers.get("authorization"))
        if wrong == "unknown":
            return self._refused("access denied", text(403, "access denied", HTML_TYPE))
        verdict = self._guard.admit(ANONYMOUS if user is None else user.token, arrival.method, now)
        if verdict is Verdict.BANNED:
            return self._refused("banned", text(403, "Forbidden\n"))
        if verdict is Verdict.THROTTLED:
            return self._refused("throttled", text(429, "Retry later\n"))
        path = self.below_prefix(arrival.path)
        if path is None:
            return text(404, "<html><body>404 Not Found</body></html>\n", HTML_TYPE)
        prefix, path = ("/v3", path[3:]) if path.startswith("/v3/") else ("", path)
        if path == "/v3":
            return Reply(307, {"Content-Type": HTML_TYPE, "Location": "/v3/"}, b"")
        if not prefix and not _wants_v3(arrival.headers):
            return _version_two(path)
        visit = Visit(path, (), "", dict(arrival.query), params, user, now, prefix, stuck)
        return self._serve(arrival.method, visit, wrong_scheme=wrong is not None)

    def below_prefix(self, path: str) -> str | None:
        """The path without the installation's prefix; None when it lies elsewhere."""
        prefix = self._prefix
        if not prefix:
            return path
        return path[len(prefix) :] if path.startswith(f"{prefix}/") else None

    def _serve(self, method: str, visit: Visit, wrong_scheme: bool) -> Reply:
        try:
            if wrong_scheme:
                raise ApiError(403, "wrong_credentials", "access denied")
            route = self._route(method, visit)
            found = route.service(visit)
        except ApiError as error:
            return self._refused(str(error.body["error_type"]), json_reply(error.status, error.body, self._pretty))
        if isinstance(found, Reply):
            return found
        shown = {"@warnings": visit.warnings, **found} if visit.warnings else found
        reply = json_reply(route.status, shown, self._pretty)
        reply.headers["X-Endpoint"] = route.name
        reply.headers["X-OAuth-Scopes"] = "public,private"
        return reply

    def _route(self, method: str, visit: Visit) -> Route:
        found = way(visit.path)
        methods = None if found is None else self._routes.get(found.template)
        if found is None or methods is None:
            raise not_found(None)
        route = methods.get(method)
        if route is None:
            raise ApiError(405, "method_not_allowed", "method not allowed")
        visit.names, visit.vcs = found.names, found.vcs
        for name in visit.query:
            if name not in route.accepts and name != "include":
                visit.ignored(name)
        return route

    def _who(self, header: str | None) -> tuple[User | None, str | None]:
        """The user, and what is wrong with the header: nothing, an `unknown` token or the `scheme` (reference 1.3)."""
        if not header:
            return None, None
        scheme, _, value = header.partition(" ")
        token = _basic(value) if scheme.lower() == "basic" else value.strip().strip("\"'")
        user = self._tables.users.get(token)
        if user is None:
            return None, "unknown"
        return user, None if scheme in ("token", "basic") else "scheme"

    def _refused(self, why: str, reply: Reply) -> Reply:
        self._refusals[why] += 1
        return reply


def read_body(body: bytes, kind: str) -> Mapping[str, Any]:
    """The parameters in a body: JSON by default, a form where it says so; ValueError when it is neither."""
    if kind.startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(body.decode("utf-8", "replace"))
        return {name.replace("[", ".").replace("]", ""): value for name, value in pairs}
    found = json.loads(body)
    return found if isinstance(found, dict) else {}


def _wants_v3(headers: Mapping[str, str]) -> bool:
    if headers.get("travis-api-version") == "3":
        return True
    return "application/vnd.travis-ci.3+" in headers.get("accept", "")


def _version_two(path: str) -> Reply:
    """What the old API says: here it knows only its configuration."""
    if path == "/config":
        return json_reply(200, {"config": {"host": "sandbox.invalid", "notifications": {"webhook": {}}}})
    return Reply(404, {"Content-Type": JSON_TYPE}, b'{"file":"not found"}')


def _basic(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
