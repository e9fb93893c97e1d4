"""GitLab's REST API and its GraphQL, as far as pipelines need them. `(reference 8.2)` names a section of the facts.

Here is the way in: token, limits and route. Behind it are the services (`routes`), what there is and becomes of it
(`rows`), and how it is shown (`shapes`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from typing_extensions import override

from orchestrator.lookalike.gitlab import routes
from orchestrator.lookalike.gitlab.context import Context, failed
from orchestrator.lookalike.gitlab.rows import Tables
from orchestrator.lookalike.gitlab.settings import Settings
from orchestrator.lookalike.kit.counters import FixedWindows
from orchestrator.lookalike.kit.http import Incoming, NoRoute, Refused, Reply, Routes, credentials, json_reply, text
from orchestrator.lookalike.kit.service import Service

OFTEN = {"message": {"error": "This endpoint has been requested too many times. Try again later."}}


class GitLabLookAlike(Service):
    """GitLab with projects, pipelines and one job in each."""

    settings: Settings
    kind = Settings
    served = Routes(routes)

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self._scaled = settings.scaled()
        self.tables = Tables(self._scaled, self.chance, self.events, self.counters)
        minute = self._scaled.minute
        self._calls, self._projects, self._creates = FixedWindows(minute), FixedWindows(minute), FixedWindows(minute)
        self.windows = (minute, minute, minute)

    @override
    def states(self) -> Iterable[str]:
        return (row.status for row in self.tables.pipelines.values())

    @override
    def repo_names(self, path: str) -> Collection[str]:
        name = unquote(self.served.names(self.below(path)).get("project", "")).lower()
        project = self.tables.projects.get(name) or self.tables.moved.get(name)
        return (name,) if project is None else (name, project.slug.lower(), project.spec.slug.lower())

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        path = self.below(call.path)
        is_known = self._is_known(call)
        limits = self._counted(call, now) if is_known else {}
        try:
            reply = self._served(call, path, now, is_known, stuck)
        except Refused as refused:
            refused.reply.headers.update(limits)
            raise
        reply.headers.update(limits)
        if call.method == "GET" and reply.status == 200:  # a 304 saves nothing of a limit (reference 9.2)
            reply.headers["ETag"] = f'W/"{hashlib.sha256(reply.body).hexdigest()[:32]}"'
            reply.headers["Cache-Control"] = "max-age=0, private, must-revalidate"
            if call.headers.get("if-none-match") == reply.headers["ETag"]:
                return Reply(304, reply.headers, b"", reply.effect)
        return reply

    def _is_known(self, call: Incoming) -> bool:
        """Whether the call carries a good token, in either header (reference 2); a wrong one is refused."""
        found = credentials(call.headers.get("authorization"))
        token = call.headers.get("private-token") or (found.secret if found is not None else None)
        if token is not None and token not in {self.settings.token, *self.settings.others}:
            raise failed(401, "401 Unauthorized")
        return token is not None

    def _counted(self, call: Incoming, now: float) -> dict[str, str]:
        """Counts a call of the user; the headers that tell of it (reference 8)."""
        most, minute = self.settings.calls, self._scaled.minute
        if not most:
            return {}
        used, ends = self._calls.count("calls", now), int((now // minute + 1) * minute) + 1
        told = {"Limit": most, "Name": "throttle_authenticated_api", "Observed": used, "Remaining": max(0, most - used)}
        headers = {f"RateLimit-{name}": str(it) for name, it in {**told, "Reset": ends}.items()}
        if used > most:
            reply = text(429, "Retry later\n")
            reply.headers.update({**headers, "Retry-After": str(max(1, round(ends - now)))})
            raise Refused(reply, "throttled")
        return headers

    def _served(self, call: Incoming, path: str, now: float, is_known: bool, stuck: bool) -> Reply:
        try:
            route, service, names = self.served.find(call.method, path)
        except NoRoute as error:
            raise failed(405 if error.allowed else 404, f"{405 if error.allowed else 404} Not Found") from None
        is_trigger, is_read = service is routes.trigger, call.method == "GET" or service is routes.graphql
        if not is_known and not is_trigger:
            raise failed(401, "401 Unauthorized")
        if not is_trigger and not is_read and "api" not in self.settings.scopes:
            told = {"error": "insufficient_scope", "error_description": "The request requires higher privileges"}
            raise Refused(json_reply(403, {**told, "scope": "api"}), "insufficient_scope")
        most = self.settings.projects if route.template == f"GET {routes.LEAD}" else 0
        if most and self._projects.count("projects", now) > most:
            raise Refused(json_reply(429, OFTEN), "too often")
        body = {**dict(call.query), **_body(call)} if is_trigger else _body(call)
        reply: Reply = service(
            Context(call, now, self.tables, self.base(call), body, names, stuck, self._creates, is_known)
        )
        return reply


def _body(call: Incoming) -> Mapping[str, Any]:
    """The body, JSON or a form: there `variables[KEY]=value` is a map."""
    if call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(call.body.decode(), keep_blank_values=True)
        inner = {name[10:-1]: it for name, it in pairs if name.startswith("variables[") and name.endswith("]")}
        return {**dict(pairs), **({"variables": inner} if inner else {})}
    try:
        found = json.loads(call.body or b"{}")
    except ValueError:
        raise failed(400, "400 Bad Request") from None
    return found if isinstance(found, dict) else {}
