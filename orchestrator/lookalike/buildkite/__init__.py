"""Buildkite's REST API, as far as builds need it. Here is the way in: token, limits, route.

Behind it are the services (`routes`), what there is and becomes of it (`rows`), and how it is shown (`shapes`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self
from urllib.parse import unquote

from typing_extensions import override

from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.buildkite import routes
from orchestrator.lookalike.buildkite.routes import Context, failed
from orchestrator.lookalike.buildkite.rows import Tables
from orchestrator.lookalike.buildkite.settings import Settings, fitted, parse
from orchestrator.lookalike.kit import LookAlike
from orchestrator.lookalike.kit.counters import FixedWindows
from orchestrator.lookalike.kit.http import Incoming, NoRoute, Object, Refused, Reply, Routes, credentials, json_reply

ROUTES = Routes(routes)
WARNING = "You have exceeded your API rate limit."


class BuildkiteLookAlike(LookAlike):
    """A Buildkite with organizations, pipelines, and builds of one job each."""

    settings: Settings

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self._scaled = settings.scaled()
        self.tables = Tables(self._scaled, self.chance, self.events, self.counters)
        self._minutes = FixedWindows(self._scaled.minute)
        self._used: dict[str, int] = {}  # by the headers' lead, calls of the window that is counted for this call

    @classmethod
    @override
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        return cls(parse(given))

    @classmethod
    @override
    def for_plan(
        cls, targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID
    ) -> Self:
        return cls(fitted(targets, accounts, rehearsal))

    @override
    def stats(self) -> Object:
        states = dict(Counter(build.state for build in self.tables.builds))
        return {**super().stats(), "builds": len(self.tables.builds), "build_states": states}

    @override
    def repo_names(self, path: str) -> Collection[str]:
        names = ROUTES.names(path.removeprefix(self.settings.prefix))
        if not {"org", "pipeline"} <= names.keys():
            return ()
        return (f"{unquote(names['org'])}/{unquote(names['pipeline'])}".lower(),)

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        self._used = {}
        try:
            return self._signed(self._served(call, now, stuck), now)
        except Refused as refused:
            self._signed(refused.reply, now)
            raise

    def _served(self, call: Incoming, now: float, stuck: bool) -> Reply:
        path = call.path.removeprefix(self.settings.prefix).rstrip("/")  # as Rails does
        self._admit(call, ROUTES.names(path).get("org"), now)
        try:
            _, service, names = ROUTES.find(call.method, path)
            body = json.loads(call.body or b"{}")
        except NoRoute:
            raise failed(404, "Not Found") from None
        except ValueError:
            raise failed(400, "Problems parsing JSON") from None
        if not isinstance(body, dict):
            raise failed(400, "Body should be a JSON object")
        base = f"http://{call.headers.get('host', '127.0.0.1')}{self.settings.prefix}"
        reply: Reply = service(Context(call, now, self.tables, base, body, names, stuck))
        return reply

    def _admit(self, call: Incoming, org: str | None, now: float) -> None:
        """Who may call, and how often: of the user in all, and of the organization where it is about one."""
        found = credentials(call.headers.get("authorization"))
        known = {self.settings.token: self.settings.login, **self.settings.others}
        if found is None or found.scheme.lower() != "bearer" or found.secret not in known:
            raise failed(401, "Authentication required. Please supply a valid API Access Token")
        self._used["RateLimit-User"] = self._minutes.count(f"user {known[found.secret]}", now)
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
