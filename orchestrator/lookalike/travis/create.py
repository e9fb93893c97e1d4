"""Accepting a request: `POST /repo/{id}/requests` (reference 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.lookalike.kit.chance import Chance
from orchestrator.lookalike.kit.counts import Counts
from orchestrator.lookalike.kit.fields import vcs_type
from orchestrator.lookalike.kit.printer import Object
from orchestrator.lookalike.kit.reply import ApiError, no_access
from orchestrator.lookalike.travis.life import Life
from orchestrator.lookalike.travis.rows import Repo, Request, User
from orchestrator.lookalike.travis.settings import Settings
from orchestrator.lookalike.travis.tables import VCS_OFFSET, Tables
from orchestrator.lookalike.travis.visit import Visit

ATTRIBUTES = frozenset({"branch", "message", "sha", "tag_name", "config", "configs", "merge_mode", "token"})
FLAT = ATTRIBUTES - {"tag_name"}  # that one only inside the request object (reference 4.1).
KNOWN = FLAT | {"request", "@type", "id", "user", "repository"}
_compact = json.JSONEncoder(separators=(",", ":")).encode


class Create:
    """The one service that starts something."""

    def __init__(self, settings: Settings, chance: Chance, tables: Tables, life: Life, counts: Counts) -> None:
        self._settings = settings
        self._chance = chance
        self._tables = tables
        self._life = life
        self._counts = counts

    def __call__(self, visit: Visit) -> Object:
        """All checks in the service's own order, then the row. Whatever fails, fails before there is a row."""
        user = visit.the_user()
        repo = visit.the_repo(self._tables)
        if not repo.may_trigger:
            raise no_access("create_request", "repository", {"repository": minimal(repo)})
        if not repo.active:
            message = "cannot create requests on an inactive repository"
            raise ApiError(406, "repository_inactive", message, {"repository": minimal(repo)})
        remaining = self._remaining(repo, visit.now)
        wanted = read_request(visit)
        request = self._insert(repo, user, wanted, visit.now)
        if not visit.stuck:
            self._life.expect(request)
        return {
            "@type": "pending",
            "remaining_requests": remaining,
            "repository": minimal(repo),
            "request": echo(request),
            "resource_type": "request",
        }

    def _remaining(self, repo: Repo, now: float) -> int:
        """Requests that are left, before this one (reference 4.4)."""
        made, horizon = repo.within_hour, now - self._settings.hour
        while made and made[0] <= horizon:
            made.popleft()
        used = len(made)
        if used >= repo.hourly:
            limits = {"max_requests": repo.hourly, "per_seconds": max(1, round(self._settings.hour))}
            message = "request limit reached for resource"
            raise ApiError(429, "request_limit_reached", message, {**limits, "repository": minimal(repo)})
        return repo.hourly - used

    def _insert(self, repo: Repo, user: User, wanted: dict[str, Any], now: float) -> Request:
        branch = str(wanted.get("branch", repo.default_branch))
        nth = repo.asked[branch] = repo.asked.get(branch, 0) + 1
        lag = self._chance.between(self._settings.lag, "lag", repo.slug, branch, nth)
        request = Request(self._tables.next_request(), repo, user, now, now + lag, wanted, branch, nth)
        self._tables.requests[request.id] = request
        repo.requests.append(request)
        repo.within_hour.append(now)
        self._counts.accepted.append(request)
        return request


def read_request(visit: Visit) -> dict[str, Any]:
    """The request object from any of the encodings that mean the same; what it does not know inside it is dropped."""
    params = visit.params
    inner = params.get("request")
    found: dict[str, Any] = {}
    for name, value in params.items():
        if name.startswith("request."):
            found[name[8:]] = value
        elif name in FLAT:
            found[name] = value
        elif name not in KNOWN:
            visit.ignored(name)
    if params.get("@type") == "request" and "tag_name" in params:
        found["tag_name"] = params["tag_name"]
    if isinstance(inner, Mapping):
        found.update(inner)
    return {name: value for name, value in found.items() if name in ATTRIBUTES and value is not None}


def echo(request: Request) -> Object:
    """The queued payload without its null keys, configs as JSON text (reference 4.2)."""
    repo, wanted = request.repo, request.wanted
    shown: Object = {
        "repository": {
            "id": repo.id + VCS_OFFSET,
            "vcs_type": vcs_type(repo.vcs, "Repository"),
            "owner_name": repo.owner.login,
            "name": repo.name,
        },
        "user": {"id": request.user.id},
        "id": request.id,
    }
    for name in ("message", "branch", "sha", "tag_name"):
        if name in wanted:
            shown[name] = wanted[name]
    if "branch" not in shown:
        shown["branch"] = request.branch
    configs = _configs(wanted)
    if configs:
        shown["configs"] = configs
    if "merge_mode" in wanted:
        shown["merge_mode"] = wanted["merge_mode"]
    if "config" in wanted:
        shown["config"] = _text(wanted["config"])
    return shown


def minimal(repo: Repo) -> Object:
    """A repository as a 202 or an error shows it; its address never carries a version prefix."""
    return {
        "@type": "repository",
        "@href": f"/repo/{repo.id}",
        "@representation": "minimal",
        "id": repo.id,
        "name": repo.name,
        "slug": repo.slug,
    }


def _configs(wanted: Mapping[str, Any]) -> list[Object]:
    given = wanted.get("configs")
    if isinstance(given, list):
        entries = [each for each in given if isinstance(each, Mapping)]
        return [
            {"config": _text(each.get("config")), "mode": each.get("mode", each.get("merge_mode"))} for each in entries
        ]
    if "config" not in wanted:
        return []
    return [{"config": _text(wanted["config"]), "mode": wanted.get("merge_mode")}]


def _text(config: Any) -> Any:
    return config if isinstance(config, str) or config is None else _compact(config)
