"""A Jenkins, as far as jobs are started and followed. Here is the way in: user, crumb, route.

Behind it are the services (`routes`), what there is and becomes of it (`rows`), and how it is shown (`shapes`).
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping

from typing_extensions import override

from orchestrator.lookalike.jenkins import routes
from orchestrator.lookalike.jenkins.routes import COOKIE, CRUMB, FIELD, Context, failed, job_names
from orchestrator.lookalike.jenkins.rows import Tables
from orchestrator.lookalike.jenkins.settings import Settings
from orchestrator.lookalike.jenkins.shapes import Shapes
from orchestrator.lookalike.kit.counters import FixedWindows
from orchestrator.lookalike.kit.http import Incoming, NoRoute, Refused, Reply, Routes, credentials, text
from orchestrator.lookalike.kit.service import Service

VERSION = "2.528.1"


class JenkinsLookAlike(Service):
    """A Jenkins with folders, jobs, a queue and builds; `requests`: behind a proxy that allows so many a minute."""

    settings: Settings
    kind = Settings
    served = Routes(routes)

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self._scaled = settings.scaled()
        self.tables = Tables(self._scaled, self.chance, self.events, self.counters)
        self._calls = FixedWindows(self._scaled.minute)

    @override
    def headers(self, token: str) -> Mapping[str, str]:
        basic = base64.b64encode(f"{self.settings.login}:{token}".encode()).decode()
        return {**super().headers(token), "authorization": f"Basic {basic}"}

    @override
    def states(self) -> Iterable[str]:
        return (item.outcome or "building" for item in self.tables.items.values() if item.number is not None)

    @override
    def repo_names(self, path: str) -> Collection[str]:
        names = self.served.names(self.below(path))
        job = self.tables.find(job_names(names["job"])) if "job" in names else None
        return () if job is None else (job.spec.slug.lower(),)

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        try:
            reply = self._served(call, now, stuck)
        except Refused as refused:
            refused.reply.headers["X-Jenkins"] = VERSION
            raise
        reply.headers["X-Jenkins"] = VERSION
        return reply

    def _served(self, call: Incoming, now: float, stuck: bool) -> Reply:
        self._admit(call, now)
        try:
            _, service, names = self.served.find(call.method, self.below(call.path))
        except NoRoute as error:
            raise failed(
                405 if error.allowed else 404, "Method Not Allowed" if error.allowed else "Not Found"
            ) from None
        reply: Reply = service(Context(call, now, self.tables, Shapes(self.tables, self.base(call), now), names, stuck))
        return reply

    def _admit(self, call: Incoming, now: float) -> None:
        """Who may call, and what a password needs beside itself."""
        limit = self.settings.requests
        if limit and self._calls.count("all", now) > limit:
            headers = {"Retry-After": str(max(1, round(self._scaled.minute)))}
            raise Refused(text(429, "Too Many Requests\n")._replace(headers=headers), "too many")
        found = credentials(call.headers.get("authorization"))
        if found is None or found.secret not in (self.settings.token, *self.settings.others):
            raise failed(401, "Unauthorized")
        if self.settings.crumbs and call.method == "POST":
            has_crumb = call.headers.get(FIELD.lower()) == CRUMB and COOKIE in call.headers.get("cookie", "")
            if not has_crumb:
                raise failed(403, "No valid crumb was included in the request")
