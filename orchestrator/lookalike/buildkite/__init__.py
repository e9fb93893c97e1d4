"""Buildkite's REST API, as far as builds need it. Here is the way in: token, limits, route.

Behind it are the services (`routes`), what there is and becomes of it (`rows`), and how it is shown (`shapes`).
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from typing_extensions import override

from orchestrator.lookalike.buildkite import routes
from orchestrator.lookalike.buildkite.routes import Context, failed
from orchestrator.lookalike.buildkite.rows import Tables
from orchestrator.lookalike.buildkite.settings import Settings
from orchestrator.lookalike.kit.counters import FixedWindows
from orchestrator.lookalike.kit.http import Incoming, NoRoute, Refused, Reply, Routes, json_reply
from orchestrator.lookalike.kit.service import Service, object_in

WARNING = "You have exceeded your API rate limit."


class BuildkiteLookAlike(Service):
    """A Buildkite with organizations, pipelines, and builds of one job each."""

    settings: Settings
    kind = Settings
    served = Routes(routes)
    named = ("org", "pipeline")

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self._scaled = settings.scaled()
        self.tables = Tables(self._scaled, self.chance, self.events, self.counters)
        self._minutes = FixedWindows(self._scaled.minute)
        self._used: dict[str, int] = {}  # by the headers' lead, calls of the window that is counted for this call

    @override
    def states(self) -> Iterable[str]:
        return (build.state for build in self.tables.builds)

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        self._used = {}
        try:
            return self._signed(self._served(call, now, stuck), now)
        except Refused as refused:
            self._signed(refused.reply, now)
            raise

    def _served(self, call: Incoming, now: float, stuck: bool) -> Reply:
        path = self.below(call.path).rstrip("/")  # as Rails does
        self._admit(call, self.served.names(path).get("org"), now)
        try:
            _, service, names = self.served.find(call.method, path)
            body = object_in(call, lambda problem: failed(400, problem))
        except NoRoute:
            raise failed(404, "Not Found") from None
        reply: Reply = service(Context(call, now, self.tables, self.base(call), body, names, stuck))
        return reply

    def _admit(self, call: Incoming, org: str | None, now: float) -> None:
        """Who may call, and how often: of the user in all, and of the organization where it is about one."""
        if (token := self.token_in(call, "bearer")) is None:
            raise failed(401, "Authentication required. Please supply a valid API Access Token")
        user = self.settings.others.get(token, self.settings.login)
        self._used["RateLimit-User"] = self._minutes.count(f"user {user}", now)
        if org is not None:
            self._used["RateLimit"] = self._minutes.count(f"org {unquote(org).lower()}", now)
        for lead, scope in (("RateLimit", "rest"), ("RateLimit-User", "rest_user")):
            if self._used.get(lead, 0) > self._limit(lead):
                told = {
                    "scope": scope,
                    "limit": self._limit(lead),
                    "current": self._used[lead],
                    "reset": self._reset(now),
                }
                refusal = json_reply(429, {"message": f"{WARNING} Please wait {told['reset']} seconds", **told})
                refusal.headers[f"{lead}-Warning"] = WARNING
                raise Refused(refusal, scope)

    def _limit(self, lead: str) -> int:
        return self.settings.user_calls if lead.endswith("User") else self.settings.calls

    def _reset(self, now: float) -> int:
        return int(self._scaled.minute - now % self._scaled.minute) + 1

    def _signed(self, reply: Reply, now: float) -> Reply:
        """The reply with the headers of every answer."""
        for lead, used in self._used.items():
            left = max(0, self._limit(lead) - used)
            told = {"Scope": "rest_user" if lead.endswith("User") else "rest", "Limit": self._limit(lead)}
            told.update({"Remaining": left, "Reset": self._reset(now)})
            reply.headers.update({f"{lead}-{name}": str(value) for name, value in told.items()})
        return reply
