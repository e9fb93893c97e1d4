"""GitHub's REST API and its GraphQL, as far as Actions need them. `(reference 8.2)` names a section of the facts.

Here is the way in: agent, token, version, limits and route. Behind it are the services (`routes`), what there is and
becomes of it (`rows`), and how it is shown (`shapes`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from typing_extensions import override

from orchestrator.lookalike.github import apps, routes
from orchestrator.lookalike.github.apps import Apps, Caller
from orchestrator.lookalike.github.context import Context, failed
from orchestrator.lookalike.github.routes import NEWEST
from orchestrator.lookalike.github.rows import Tables
from orchestrator.lookalike.github.settings import Settings
from orchestrator.lookalike.kit.counters import FixedWindows, SlidingWindow
from orchestrator.lookalike.kit.http import JSON, Incoming, NoRoute, Refused, Reply, Routes, credentials
from orchestrator.lookalike.kit.service import Service, object_in

VERSIONS = ("2022-11-28", NEWEST)
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
ABOUT_SECONDARY = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"


class GitHubLookAlike(Service):
    """GitHub with repositories, workflows, runs and one job in each."""

    settings: Settings
    kind = Settings
    served = Routes(routes, apps)

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self._scaled = settings.scaled()
        self.tables = Tables(self._scaled, self.chance, self.events, self.counters)
        self.tables.apps = Apps(settings)
        self._calls = FixedWindows(self._scaled.hour)
        self._points: dict[str, SlidingWindow] = {}  # by whoever calls
        self._writes: dict[str, SlidingWindow] = {}
        self._searches = FixedWindows(self._scaled.minute)
        self._left = 0
        self.windows = (60.0, self._scaled.hour, self._scaled.hour)

    @override
    def headers(self, token: str) -> Mapping[str, str]:
        return {**super().headers(token), "user-agent": "sandbox", "x-github-api-version": VERSIONS[0]}

    @override
    def states(self) -> Iterable[str]:
        return (run.outcome or run.status for run in self.tables.runs.values())

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        self._left = self.settings.calls
        try:
            caller = self._admit(call, now)
            return self._signed(call, self._served(call, now, stuck, caller), now)
        except Refused as refused:
            refused.reply = self._signed(call, refused.reply, now)
            raise

    def _served(self, call: Incoming, now: float, stuck: bool, caller: Caller) -> Reply:
        path = self.below(call.path)
        try:
            _, service, names = self.served.find(call.method, path)
            body = object_in(call, lambda problem: failed(400, problem))
        except NoRoute:
            raise failed(404, "Not Found") from None
        reply: Reply = service(Context(call, now, self.tables, self.base(call), body, names, stuck, caller))
        return reply

    def _caller(self, call: Incoming, now: float) -> Caller:
        """Who calls, where this page is for them (reference 3.1)."""
        if (token := self.token_in(call, "bearer", "token")) is not None:
            found: Caller | None = Caller(token)
        else:
            given = credentials(call.headers.get("authorization"))
            found = None if given is None else self.tables.apps.caller(given.secret, now)
        if found is None:
            raise failed(401, "Bad credentials")
        apps.admit(found, self.below(call.path))
        return found

    def _admit(self, call: Incoming, now: float) -> Caller:
        """Who may call at all, and how often (reference 2, 3, 8)."""
        if not call.headers.get("user-agent"):
            raise failed(
                403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent"
            )
        caller = self._caller(call, now)
        version = call.headers.get("x-github-api-version", VERSIONS[0])
        if version not in self.settings.versions[: 1 if self.settings.version else None]:
            raise failed(400, f"The API version {version!r} is not supported")
        self._left = self.settings.calls - self._calls.count(caller.name, now)
        if self._left < 0:
            whose = caller.name if caller.installation else f"user ID {self.settings.user_id}"
            raise failed(403, f"API rate limit exceeded for {whose}.")
        points = self._points.setdefault(caller.name, SlidingWindow(self._scaled.minute))
        writes = self._writes.setdefault(caller.name, SlidingWindow(self._scaled.hour))
        if _resource(call) == "search":
            self._left = self.settings.searches - self._searches.count(caller.name, now)
        if self._left < 0:
            raise failed(403, f"API rate limit exceeded for {caller.name}.")
        is_write = call.method != "GET" and not call.path.endswith("/graphql")
        for _ in range(5 if is_write else 1):
            points.add(now)
        if is_write:
            writes.add(now)
        if points.used(now) > self.settings.points or writes.used(now) > self.settings.writes:
            refusal = failed(403, SECONDARY, ABOUT_SECONDARY)
            refusal.reply.headers["Retry-After"] = str(max(1, round(self._scaled.minute)))
            raise refusal
        return caller

    def _signed(self, call: Incoming, reply: Reply, now: float) -> Reply:
        """The reply with the headers of every answer; a 304 where the client has it already (reference 9.2)."""
        headers, resource, left = reply.headers, _resource(call), max(0, self._left)
        hour = self._scaled.minute if resource == "search" else self._scaled.hour
        most = self.settings.searches if resource == "search" else self.settings.calls
        headers.update(
            {
                "X-GitHub-Request-Id": f"SAND:{len(self.counters.calls):X}",
                "X-RateLimit-Limit": str(most),
                "X-RateLimit-Remaining": str(left),
                "X-RateLimit-Used": str(most - left),
                "X-RateLimit-Reset": str(int((now // hour + 1) * hour) + 1),
                "X-RateLimit-Resource": resource,
            }
        )
        if headers.get("Content-Type") == JSON:
            headers["Content-Type"] = f"{JSON}; charset=utf-8"
        if call.method == "GET" and reply.status == 200:
            headers["ETag"] = f'W/"{hashlib.sha256(reply.body).hexdigest()}"'
            headers["Cache-Control"] = "private, max-age=60"
            if call.headers.get("if-none-match") == headers["ETag"]:
                self._calls.spare(self._caller(call, now).name, now)
                headers["X-RateLimit-Remaining"] = str(left + 1)
                return Reply(304, headers, b"", reply.effect)
        return reply


def _resource(call: Incoming) -> str:
    """What of GitHub's the call is counted for."""
    named = {"graphql": call.path.endswith("/graphql"), "search": "/search/" in call.path}
    return next((name for name, is_it in named.items() if is_it), "core")
