"""Travis CI's API v3. `(reference 4.3)` names a section of the facts collected about the real API.

Here is the way in: body, token, bans, version and route, in the order of the real stack. Behind it are the services
(`routes`), what there is and becomes of it (`rows`, `builds`), and how it is shown (`context`, `shapes`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self
from urllib.parse import unquote

from typing_extensions import override

from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit import LookAlike
from orchestrator.lookalike.kit.counters import FixedWindows
from orchestrator.lookalike.kit.http import (
    HTML,
    JSON,
    TEXT,
    Incoming,
    NoRoute,
    Object,
    Refused,
    Reply,
    Routes,
    credentials,
    json_reply,
    text,
)
from orchestrator.lookalike.travis import routes
from orchestrator.lookalike.travis.builds import Builds
from orchestrator.lookalike.travis.context import Context, error, not_found
from orchestrator.lookalike.travis.rows import User
from orchestrator.lookalike.travis.settings import VCS, Settings, demo, fitted, parse

SORRY = "Sorry, we experienced an error.\n"
V3 = "application/vnd.travis-ci.3+"
RACK = "text/html;charset=utf-8"
ANONYMOUS_CALLS = 500

_PART = r"(?:[^/%]|%(?!2[Ff]).)+"  # may hold other encoded characters, but no slash
_REPO = re.compile(rf"\d{{1,18}}|{_PART}%2[Ff]{_PART}")
_PROVIDER = re.compile(rf"/(repo|owner)/({'|'.join(VCS)})(?=/)(?!/(?:repos|active)$)")
ROUTES = Routes(routes)


class TravisLookAlike(LookAlike):
    """Travis CI with everything in it: repositories, requests, builds, jobs, logs."""

    error_pages = {  # noqa: RUF012 - declared in the base
        "error_before": text(500, SORRY),
        "error_after": text(500, SORRY),
        "error_stuck": text(500, '{"error":"Travis encountered an error, sorry :("}', JSON),
    }
    settings: Settings

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        scaled = settings.scaled()
        self.builds = Builds(scaled, self.chance, self.events, self.counters)
        self.tables = self.builds.tables
        self._burst, self._minute = scaled.burst, scaled.minute
        self._posts = FixedWindows(scaled.burst.per if scaled.burst else 30.0)
        self._calls = FixedWindows(scaled.minute.per if scaled.minute else 60.0)
        self.windows = (self._posts.per, self._calls.per, scaled.hour)

    @classmethod
    @override
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        return cls(parse(given))

    @classmethod
    @override
    def for_plan(
        cls, targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID
    ) -> Self:
        return cls(fitted(demo(), targets, accounts, rehearsal))

    @override
    def headers(self, token: str) -> Mapping[str, str]:
        return {"authorization": f"token {token}", "travis-api-version": "3", "accept": JSON}

    @override
    def stats(self) -> Object:
        states = Counter(build.state for build in self.tables.builds.values())
        return {**super().stats(), "builds": len(self.tables.builds), "build_states": dict(states)}

    @override
    def repo_names(self, path: str) -> Collection[str]:
        _, vcs, path = _parts(self._below_prefix(path) or "")
        names = ROUTES.names(path)
        if "repo" in names:
            repo = self.tables.repo(vcs, unquote(names["repo"]))
        else:
            rows = (self.tables.numbered[kind].get(int(id_)) for kind, id_ in names.items() if kind in ("build", "job"))
            repo = next((row.repo for row in rows if row is not None), None)
        return () if repo is None else (repo.slug.lower(), str(repo.id))

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        params = _read_body(call)
        scheme, user = self._authenticated(call.headers.get("authorization"))
        context = Context(call.path, dict(call.query), params, user, now, self.builds, stuck)
        is_scoped = user is not None and scheme.lower() in ("token", "basic")
        try:
            self._admit(user, scheme, call.method, now)
            if not isinstance(params, dict):
                return text(500, SORRY)  # it crashes, and nothing signs the reply
            return self._signed(self._serve_at(call, context, scheme), call, context, is_scoped)
        except Refused as refused:
            refused.reply = self._signed(refused.reply, call, context, is_scoped)
            raise

    def _authenticated(self, header: str | None) -> tuple[str, User | None]:
        found = credentials(header)
        if found is None:
            return "", None
        secret = found.user if found.scheme.lower() == "basic" else found.secret.strip("\"'")
        return found.scheme, self.tables.users.get(secret)

    def _admit(self, user: User | None, scheme: str, method: str, now: float) -> None:
        """Bans and throttles of the hosted service, by token, else by address (reference 3.3)."""
        if user is None and scheme:
            raise Refused(text(403, "access denied", RACK), "access denied")
        subject = "" if user is None else user.token  # one address for everybody without a token
        if self.bans.holds(subject, now):
            raise Refused(text(403, "Forbidden\n"), "banned")
        burst, minute = self._burst, self._minute
        if burst is not None and method == "POST" and self._posts.count(subject, now) >= burst.calls:
            self.bans.ban(subject, now + burst.ban)  # the call that reaches the rule still passes
        if minute is not None and self._calls.count(subject, now) > (minute.calls if subject else ANONYMOUS_CALLS):
            raise Refused(text(429, "Retry later\n"), "throttled")

    def _below_prefix(self, path: str) -> str | None:
        """The path without the installation's prefix; None when it lies elsewhere."""
        prefix = self.settings.prefix
        return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else None

    def _serve_at(self, call: Incoming, context: Context, scheme: str) -> Reply:
        path = self._below_prefix(call.path)
        if path is None:
            return text(404, "<html><body>404 Not Found</body></html>\n", HTML)
        if path == "/v3":
            return Reply(307, {"Content-Type": HTML, "Location": "/v3/"}, b"")
        context.prefix, context.vcs, route_path = _parts(path)
        context.path = path.removeprefix(context.prefix)
        is_new = call.headers.get("travis-api-version") == "3" or V3 in call.headers.get("accept", "")
        if not context.prefix and not is_new:
            return json_reply(404, {"file": "not found"})  # the old API, which is not here
        if scheme not in ("", "token", "basic"):
            raise error(403, "wrong_credentials", "access denied", content_type=RACK)
        try:
            route, service, context.names = ROUTES.find(call.method, route_path)
        except NoRoute as none:
            if none.allowed:
                raise error(405, "method_not_allowed", "method not allowed", content_type=RACK) from None
            raise not_found(None) from None
        if not _REPO.fullmatch(context.names.get("repo", "0")):
            raise not_found(None)
        context.endpoint = route.name
        for name in context.query:
            if name not in route.accepts and name != "include":
                context.ignored(name)
        found = service(context)
        if isinstance(found, Reply):
            return found
        return json_reply(route.status, {"@warnings": context.warnings, **found} if context.warnings else found)

    def _signed(self, reply: Reply, call: Incoming, context: Context, is_scoped: bool) -> Reply:
        """The reply with the headers that the real stack adds."""
        headers = reply.headers
        headers["Vary"] = "Accept-Encoding"
        headers["X-OAuth-Scopes"] = "public,private" if is_scoped else ""
        if context.endpoint:
            headers["X-Endpoint"] = f"Travis::API::V3::Services::{context.endpoint}"
        if "x-request-id" in call.headers:
            headers["X-Request-ID"] = call.headers["x-request-id"]
        if headers["Content-Type"] == JSON and call.headers.get("accept") == TEXT:
            headers["Content-Type"] = TEXT
        return reply._replace(body=b"") if call.method == "HEAD" else reply


def _read_body(call: Incoming) -> Any:
    try:
        return json.loads(call.body or "{}")
    except ValueError:
        reply = json_reply(400, {"error": "Failed to parse body as JSON"})
        reply.headers["Vary"] = "Accept-Encoding"
        raise Refused(reply, "no_json") from None


def _parts(path: str) -> tuple[str, str, str]:
    """The version before a path, the provider of repositories in it, and the path without both."""
    version = "/v3" if path.startswith("/v3/") else ""
    path = f"/{path.removeprefix(version).strip('/')}"
    found = _PROVIDER.match(path)
    return (version, VCS[0], path) if found is None else (version, found[2], f"/{found[1]}{path[found.end() :]}")
