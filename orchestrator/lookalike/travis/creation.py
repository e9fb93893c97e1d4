"""What changes something: a new request (reference 4); cancel and restart, which a 202 only promises (reference 8)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.lookalike.kit.http import Object, route
from orchestrator.lookalike.travis.context import Context, error, minimal, no_access
from orchestrator.lookalike.travis.rows import ACTIVE, VCS_OFFSET, Build, Job, Repo, Request

ATTRIBUTES = frozenset({"branch", "message", "sha", "tag_name", "config", "configs", "merge_mode", "token"})
FLAT = ATTRIBUTES - {"tag_name"}  # that one only inside the request object (reference 4.1).
KNOWN = FLAT | {"request", "@type", "id", "user", "repository"}
REFUSED = (
    "Builds have been temporarily disabled for private repositories due to a insufficient credit balance. "
    "Please go to the Plan page to replenish your credit balance or alter your Consume paid credits for OSS setting"
)
_compact = json.JSONEncoder(separators=(",", ":")).encode


@route("POST /repo/{repo}/requests", "Requests::Create", status=202)
def create(context: Context) -> Object:
    """All checks in the service's own order, then the row."""
    user, repo = context.require_user(), context.find_repo()
    if not repo.may_trigger:
        raise no_access("create_request", "repository", repository=minimal(repo))
    if not repo.active:
        message = "cannot create requests on an inactive repository"
        raise error(406, "repository_inactive", message, repository=minimal(repo))
    remaining = _remaining(repo, context)
    wanted = read_request(context)
    branch = str(wanted.get("branch", repo.default_branch))
    nth = repo.asked[branch] = repo.asked.get(branch, 0) + 1
    visible_at = context.now + context.builds.chance.between(context.builds.settings.lag, "lag", repo.slug, branch, nth)
    id_ = next(context.builds.tables.request_ids)
    request = Request(id_, repo, user, context.now, visible_at, wanted, branch, nth)
    context.builds.tables.requests[id_] = request
    repo.requests.append(request)
    repo.hour.add(context.now)
    context.builds.counters.accepted.append(request)
    if not context.stuck:
        context.builds.expect(request)
    return {
        "@type": "pending",
        "remaining_requests": remaining,
        "repository": minimal(repo),
        "request": echo(request),
        "resource_type": "request",
    }


@route("POST /build/{build:int}/cancel", "Build::Cancel", status=202)
@route("POST /job/{job:int}/cancel", "Job::Cancel", status=202)
def cancel(context: Context) -> Object:
    kind, row = _found(context, "cancel")
    if row.state not in ACTIVE:
        raise error(409, f"{kind}_not_cancelable", f"{kind} is not running, cannot cancel")
    return _promise(context, row, "cancel", context.builds.cancel_job if kind == "job" else context.builds.cancel)


@route("POST /build/{build:int}/restart", "Build::Restart", status=202)
@route("POST /job/{job:int}/restart", "Job::Restart", status=202)
def restart(context: Context) -> Object:
    kind, row = _found(context, "restart")
    if row.state == "created":
        raise error(403, "error", REFUSED)
    if row.state in ACTIVE:
        raise error(409, f"{kind}_already_running", f"{kind} already running, cannot restart")
    return _promise(context, row, "restart", context.builds.restart_job if kind == "job" else context.builds.restart)


def _remaining(repo: Repo, context: Context) -> int:
    """Requests that are left, before this one (reference 4.4)."""
    used = repo.hour.used(context.now)
    if used >= repo.hourly:
        more: Any = {"max_requests": repo.hourly, "per_seconds": max(1, round(context.builds.settings.hour))}
        message = "request limit reached for resource"
        raise error(429, "request_limit_reached", message, repository=minimal(repo), **more)
    return repo.hourly - used


def _found(context: Context, permission: str) -> tuple[str, Build | Job]:
    context.require_user()
    [kind] = context.names
    row: Build | Job = context.find(kind)
    if not row.repo.may_trigger:
        raise no_access(permission, kind, **{kind: minimal(row)})
    return kind, row


def _promise(context: Context, row: Build | Job, change: str, action: Callable[..., None]) -> Object:
    kind, attempt = ("job", row.attempt) if isinstance(row, Job) else ("build", row.restarts)
    delay = context.builds.chance.between(context.builds.settings.change, change, row.id, attempt)
    context.builds.events.add(context.now + delay, action, row)
    return {"@type": "pending", kind: minimal(row), "state_change": change, "resource_type": kind}


def read_request(context: Context) -> dict[str, Any]:
    """The request object from any of the encodings that mean the same; what it does not know inside it is dropped."""
    params = context.params
    inner = params.get("request")
    found: dict[str, Any] = {}
    for name, value in params.items():
        if name.startswith("request."):
            found[name[8:]] = value
        elif name in FLAT:
            found[name] = value
        elif name not in KNOWN:
            context.ignored(name)
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
            "vcs_type": f"{repo.vcs.capitalize()}Repository",
            "owner_name": repo.owner.login,
            "name": repo.name,
        },
        "user": {"id": request.user.id},
        "id": request.id,
        "branch": request.branch,
        **{name: wanted[name] for name in ("message", "branch", "sha", "tag_name", "merge_mode") if name in wanted},
    }
    if configs := _configs(wanted):
        shown["configs"] = configs
    if "config" in wanted:
        shown["config"] = _text(wanted["config"])
    return shown


def _configs(wanted: Mapping[str, Any]) -> list[Object]:
    given = wanted.get("configs")
    if isinstance(given, list):
        entries = [each for each in given if isinstance(each, Mapping)]
        modes = [each.get("mode", each.get("merge_mode")) for each in entries]
        return [{"config": _text(each.get("config")), "mode": mode} for each, mode in zip(entries, modes, strict=True)]
    return [{"config": _text(wanted["config"]), "mode": wanted.get("merge_mode")}] if "config" in wanted else []


def _text(config: Any) -> Any:
    return config if isinstance(config, str) or config is None else _compact(config)
