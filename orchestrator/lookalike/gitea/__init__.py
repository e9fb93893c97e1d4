"""The API of Gitea and that of Forgejo, as far as Actions need them.

Here is the way in: token and route. Behind it are the services (`routes`), what there is and becomes of it (`rows`),
and how it is shown (`shapes`). Neither limits calls by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from typing_extensions import override

from orchestrator.lookalike.gitea import routes
from orchestrator.lookalike.gitea.routes import Context, failed
from orchestrator.lookalike.gitea.rows import Tables
from orchestrator.lookalike.gitea.settings import ForgejoSettings, Settings
from orchestrator.lookalike.gitea.shapes import API
from orchestrator.lookalike.kit.http import Incoming, NoRoute, Reply, Routes, text
from orchestrator.lookalike.kit.service import Service, object_in


class GiteaLookAlike(Service):
    """Gitea with repositories, workflows, runs and one job in each."""

    settings: Settings
    kind = Settings
    served = Routes(routes)
    is_forgejo: ClassVar[bool] = False

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        self.tables = Tables(settings.scaled(), self.chance, self.events, self.counters)

    @override
    def headers(self, token: str) -> Mapping[str, str]:
        return {**super().headers(token), "authorization": f"token {token}"}

    @override
    def states(self) -> Iterable[str]:
        return (run.outcome or run.stage.value for run in self.tables.runs.values())

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        if self.token_in(call, "bearer", "token") is None:
            raise failed(401, "invalid username, password or token")
        try:
            _, service, names = self.served.find(call.method, self.below(call.path))
        except NoRoute:
            return text(404, "404 page not found\n")
        body = object_in(call, lambda problem: failed(422, problem))
        reply: Reply = service(Context(call, now, self.tables, self.base(call), body, names, stuck, self.is_forgejo))
        return reply

    @override
    def below(self, path: str) -> str:
        inner = super().below(path)
        return inner.removeprefix(API) if inner.startswith(API) else ""


class ForgejoLookAlike(GiteaLookAlike):
    """Forgejo, which tells and shows the same in other words, and starts nothing again."""

    kind = ForgejoSettings
    is_forgejo = True
