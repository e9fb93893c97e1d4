"""GitHub's REST API and its GraphQL, as far as Actions need them. `(reference 8.2)` names a section of the facts.

Here is the way in: agent, token, version, limits and route. Behind it are the services (`routes`), what there is and
becomes of it (`rows`), and how it is shown (`shapes`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from typing_extensions import override

from orchestrator.lookalike.github import routes
from orchestrator.lookalike.github.context import Context, failed
from orchestrator.lookalike.github.routes import NEWEST
from orchestrator.lookalike.github.rows import Tables
from orchestrator.lookalike.github.settings import Settings
from orchestrator.lookalike.kit.counters import FixedWindows, SlidingWindow
from orchestrator.lookalike.kit.http import JSON, Incoming, NoRoute, Refused, Reply, Routes
from orchestrator.lookalike.kit.service import Service, object_in

VERSIONS = ("2022-11-28", NEWEST)
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
ABOUT_SECONDARY = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"


class GitHubLookAlike(Service):
    """GitHub with repositories, workflows, runs and one job in each."""

    settings: Settings
    kind = Settings
    served = Routes(routes)

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self._scaled = settings.scaled()
        self.tables = Tables(self._scaled, self.chance, self.events, self.counters)
        self._calls = FixedWindows(self._scaled.hour)
        self._points = SlidingWindow(self._scaled.minute)
        self._writes = SlidingWindow(self._scaled.hour)
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
            self._admit(call, now)
            return self._signed(call, self._served(call, now, stuck), now)
        except Refused as refused:
            refused.reply = self._signed(call, refused.reply, now)
            raise

    def _served(self, call: Incoming, now: float, stuck: bool) -> Reply:
        path = self.below(call.path)
        try:
            _, service, names = self.served.find(call.method, path)
            body = object_in(call, lambda problem: failed(400, problem))
        except NoRoute:
            raise failed(404, "Not Found") from None
        reply: Reply = service(Context(call, now, self.tables, self.base(call), body, names, stuck))
        return reply

    def _admit(self, call: Incoming, now: float) -> None:
        """Who may call at all, and how often (reference 2, 3, 8)."""
        if not call.headers.get("user-agent"):
            raise failed(
                403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent"
            )
        token = self.token_in(call, "bearer", "token")
        if token is None:
            raise failed(401, "Bad credentials")
        version = call.headers.get("x-github-api-version", VERSIONS[0])
        if version not in VERSIONS[: 1 if self.settings.version else 2]:
            raise failed(400, f"The API version {version!r} is not supported")
        self._left = self.settings.calls - self._calls.count(token, now)
        if self._left < 0:
            raise failed(403, f"API rate limit exceeded for user ID {self.settings.user_id}.")
        is_write = call.method != "GET" and not call.path.endswith("/graphql")
        for _ in range(5 if is_write else 1):
            self._points.add(now)
        if is_write:
            self._writes.add(now)
        if self._points.used(now) > self.settings.points or self._writes.used(now) > self.settings.writes:
            refusal = failed(403, SECONDARY, ABOUT_SECONDARY)
            refusal.reply.headers["Retry-After"] = str(max(1, round(self._scaled.minute)))
            raise refusal

    def _signed(self, call: Incoming, reply: Reply, now: float) -> Reply:
        """The reply with the headers of every answer; a 304 where the client has it already (reference 9.2)."""
        hour, headers = self._scaled.hour, reply.headers
        resource = "graphql" if call.path.endswith("/graphql") else "core"
        left = max(0, self._left)
        headers.update(
            {
                "X-GitHub-Request-Id": f"SAND:{len(self.counters.calls):X}",
                "X-RateLimit-Limit": str(self.settings.calls),
                "X-RateLimit-Remaining": str(left),
                "X-RateLimit-Used": str(self.settings.calls - left),
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
                self._calls.spare(call.headers["authorization"].partition(" ")[2], now)
                headers["X-RateLimit-Remaining"] = str(left + 1)
                return Reply(304, headers, b"", reply.effect)
        return reply
