"""Cancel and restart. Both are only promised by the 202 and happen a little later (reference 8)."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.lookalike.kit.chance import Chance
from orchestrator.lookalike.kit.printer import Object, Printer
from orchestrator.lookalike.kit.reply import ApiError, no_access, not_found
from orchestrator.lookalike.travis.life import Life
from orchestrator.lookalike.travis.rows import ACTIVE, Build
from orchestrator.lookalike.travis.settings import Settings
from orchestrator.lookalike.travis.tables import Tables
from orchestrator.lookalike.travis.visit import Visit

REFUSED = (
    "Builds have been temporarily disabled for private repositories due to a insufficient credit balance. "
    "Please go to the Plan page to replenish your credit balance or alter your Consume paid credits for OSS setting"
)


class Changes:
    """The services that change a build."""

    def __init__(self, settings: Settings, chance: Chance, tables: Tables, life: Life) -> None:
        self._settings = settings
        self._chance = chance
        self._tables = tables
        self._life = life

    def cancel(self, visit: Visit) -> Object:
        """`POST /build/{id}/cancel`."""
        build = self._build(visit, "cancel")
        if build.state not in ACTIVE:
            raise ApiError(409, "build_not_cancelable", "build is not running, cannot cancel")
        return self._promise(visit, build, "cancel", self._life.cancel)

    def restart(self, visit: Visit) -> Object:
        """`POST /build/{id}/restart`."""
        build = self._build(visit, "restart")
        if build.state == "created":
            raise ApiError(403, "error", REFUSED)
        if build.state in ACTIVE:
            raise ApiError(409, "build_already_running", "build already running, cannot restart")
        return self._promise(visit, build, "restart", self._life.restart)

    def _build(self, visit: Visit, permission: str) -> Build:
        visit.the_user()
        build = self._tables.builds.get(int(visit.names[0]))
        if build is None:
            raise not_found("build")
        if not build.repo.may_trigger:
            raise no_access(permission, "build", {"build": Printer({}, "").one(build, "minimal")})
        return build

    def _promise(self, visit: Visit, build: Build, change: str, deed: Callable[..., None]) -> Object:
        shown = Printer({}, "").one(build, "minimal")
        delay = self._chance.between(self._settings.change, change, build.id, build.restarts)
        self._life.later(visit.now + delay, deed, build)
        return {"@type": "pending", "build": shown, "state_change": change, "resource_type": "build"}
