"""Buildbot's REST API, as far as forcing builds needs it, and its logins.

Here is the way in. Behind it are the services (`routes`), and what there is and becomes of it (`rows`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urlencode

from typing_extensions import override

from orchestrator.lookalike.buildbot import routes
from orchestrator.lookalike.buildbot.context import Context, failed
from orchestrator.lookalike.buildbot.rows import Tables
from orchestrator.lookalike.buildbot.settings import Settings
from orchestrator.lookalike.kit.http import Effect, Harm, Incoming, NoRoute, Object, Reply, Routes
from orchestrator.lookalike.kit.service import Service

LONGEST_LINE = 16_384  # characters of the line of a call, beyond which the server hangs up


class BuildbotLookAlike(Service):
    """A Buildbot with force schedulers, builders, and one step in each build."""

    settings: Settings
    kind = Settings
    served = Routes(routes)

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self.tables = Tables(settings.scaled(), self.chance, self.events, self.counters)
        self._body = b""

    @override
    def headers(self, token: str) -> Mapping[str, str]:
        return {"accept": "application/json"}

    @override
    def states(self) -> Iterable[str]:
        return (row.outcome or row.stage.value for row in self.tables.requests)

    @override
    def stats(self) -> Object:
        return {**super().stats(), "builds": sum(row.ran_at is not None for row in self.tables.requests)}

    @override
    def handle(self, call: Incoming, now: float) -> Reply:
        self._body = call.body
        if len(call.path) + len(urlencode(call.query)) > LONGEST_LINE:
            return Reply(400, {}, b"", Effect(Harm.RESET))
        return super().handle(call, now)

    @override
    def repo_names(self, path: str) -> Collection[str]:
        """The path names a scheduler; which repository is meant, the body says by its builders."""
        try:
            named = json.loads(self._body)["params"]["builderNames"]
        except (ValueError, LookupError, TypeError):
            return ()
        found = (self.tables.builders.get(name) for name in named if isinstance(name, str))
        return [name.lower() for one in found if one is not None for name in (one.spec.slug, one.spec.name)]

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        path = self.below(call.path)
        try:
            _, service, names = self.served.find(call.method, path)
        except NoRoute as error:
            if error.allowed and call.method != "GET":
                raise failed(400, "invalid HTTP method") from None
            raise failed(404, f"Invalid path: {path.removeprefix('/api/v2/')}") from None
        reply: Reply = service(Context(call, now, self.tables, names, stuck))
        return reply
