"""The API of Gitea and that of Forgejo, as far as Actions need them.

Here is the way in: token and route. Behind it are the services (`routes`), what there is and becomes of it (`rows`),
and how it is shown (`shapes`). Neither limits calls by itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from typing_extensions import override

from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.gitea import routes
from orchestrator.lookalike.gitea.routes import Context, failed
from orchestrator.lookalike.gitea.rows import Tables
from orchestrator.lookalike.gitea.settings import NEWEST, Settings, fitted, parse
from orchestrator.lookalike.gitea.shapes import API
from orchestrator.lookalike.kit import LookAlike
from orchestrator.lookalike.kit.http import Incoming, NoRoute, Object, Reply, Routes, credentials, text

ROUTES = Routes(routes)


class GiteaLookAlike(LookAlike):
    """Gitea with repositories, workflows, runs and one job in each."""

    settings: Settings
    newest: ClassVar[str] = NEWEST
    is_forgejo: ClassVar[bool] = False

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self.tables = Tables(settings.scaled(), self.chance, self.events, self.counters)

    @classmethod
    @override
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        return cls(parse(given, cls.newest))

    @classmethod
    @override
    def for_plan(
        cls, targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID
    ) -> Self:
        return cls(fitted(targets, cls.newest, rehearsal))

    @override
    def headers(self, token: str) -> Mapping[str, str]:
        return {**super().headers(token), "authorization": f"token {token}"}

    @override
    def stats(self) -> Object:
        runs = self.tables.runs.values()
        states = dict(Counter(run.outcome or run.stage.value for run in runs))
        return {**super().stats(), "builds": len(runs), "build_states": states}

    @override
    def repo_names(self, path: str) -> Collection[str]:
        names = ROUTES.names(self._below(path))
        if not {"owner", "repo"} <= names.keys():
            return ()
        return (f"{unquote(names['owner'])}/{unquote(names['repo'])}".lower(),)

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        found = credentials(call.headers.get("authorization"))
        known = {self.settings.token: self.settings.login, **self.settings.others}
        if found is None or found.scheme.lower() not in ("bearer", "token") or found.secret not in known:
            raise failed(401, "invalid username, password or token")
        try:
            _, service, names = ROUTES.find(call.method, self._below(call.path))
            body = json.loads(call.body or b"{}")
        except NoRoute:
            return text(404, "404 page not found\n")
        except ValueError:
            raise failed(422, "the body is no JSON") from None
        if not isinstance(body, dict):
            raise failed(422, "the body is no JSON object")
        base = f"http://{call.headers.get('host', '127.0.0.1')}{self.settings.prefix}"
        reply: Reply = service(Context(call, now, self.tables, base, body, names, stuck, self.is_forgejo))
        return reply

    def _below(self, path: str) -> str:
        """The path below the API's."""
        inner = path.removeprefix(self.settings.prefix)
        return inner.removeprefix(API) if inner.startswith(API) else ""


class ForgejoLookAlike(GiteaLookAlike):
    """Forgejo, which tells and shows the same in other words, and starts nothing again."""

    newest = "16.0.0"
    is_forgejo = True
