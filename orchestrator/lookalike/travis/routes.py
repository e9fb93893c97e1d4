"""The services of the API: what changes something (reference 4, 8), then what only shows (reference 5, 7, 9)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from orchestrator.lookalike.kit.http import Object, Reply, route, text
from orchestrator.lookalike.kit.life import LAST_WORDS
from orchestrator.lookalike.travis.context import Context, error, minimal, no_access
from orchestrator.lookalike.travis.rows import ACTIVE, VCS_OFFSET, Build, Job, Repo, Request

ATTRIBUTES = frozenset({"branch", "message", "sha", "tag_name", "config", "configs", "merge_mode", "token"})
FLAT = ATTRIBUTES - {"tag_name"}  # that one only inside the request object (reference 4.1)
KNOWN = FLAT | {"request", "@type", "id", "user", "repository"}
REFUSED = (
    "Builds have been temporarily disabled for private repositories due to a insufficient credit balance. "
    "Please go to the Plan page to replenish your credit balance or alter your Consume paid credits for OSS setting"
)
PAGE = "limit offset skip_count representation"
REPOS = f"{PAGE} sort_by active repository.active"
GITHUB = {"api_url": "https://api.github.com", "web_url": "https://github.com", "scopes": []}
CONFIG = {"host": "sandbox.invalid", "github": GITHUB, "pusher": {"key": "sandbox"}}
_compact = json.JSONEncoder(separators=(",", ":")).encode


@route("POST /repo/{repo}/requests", "Requests::Create", status=202)
def create(context: Context) -> Object:
    """All checks in the service's own order, then the row."""
    user, repo, builds = context.require_user(), context.find("repo"), context.builds
    if not repo.may_trigger:
        raise no_access("create_request", "repository", repository=minimal(repo))
    if not repo.active:
        message = "cannot create requests on an inactive repository"
        raise error(406, "repository_inactive", message, repository=minimal(repo))
    remaining = repo.hourly - repo.hour.used(context.now)  # before this one (reference 4.4)
    if remaining <= 0:
        more: Any = {"max_requests": repo.hourly, "per_seconds": max(1, round(builds.settings.hour))}
        message = "request limit reached for resource"
        raise error(429, "request_limit_reached", message, repository=minimal(repo), **more)
    wanted = read_request(context)
    branch = str(wanted.get("branch", repo.default_branch))
    nth = repo.asked[branch] = repo.asked.get(branch, 0) + 1
    visible_at = context.now + builds.chance.between(builds.settings.lag, "lag", repo.slug, branch, nth)
    id_ = next(builds.tables.request_ids)
    request = Request(id_, repo, user, context.now, visible_at, wanted, branch, nth)
    builds.tables.requests[id_] = request
    repo.requests.append(request)
    repo.hour.add(context.now)
    builds.counters.accepted.append(request)
    if not context.stuck:
        builds.expect(request)
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


@route("GET /")
def home(context: Context) -> Object:
    return {"@type": "home", "@href": f"{context.prefix}/", "config": CONFIG, "errors": {}, "resources": {}}


@route("GET /user", "User::Current")
def user(context: Context) -> Object:
    return context.show(context.require_user())


@route("GET /owner/{owner}/active", "Active::ForOwner")
def active(context: Context) -> Object:
    rows = _visible(context, list(context.find("owner").active.values()))
    return {**context.head("active"), "builds": context.many(rows, "active")}


@route("GET /owner/{owner}/repos", "Repositories::ForOwner", REPOS)
def repos_of_owner(context: Context) -> Object:
    return _repos(context, context.find("owner").repos)


@route("GET /repos", "Repositories::ForCurrentUser", REPOS)
def repos_of_user(context: Context) -> Object:
    context.require_user()
    return _repos(context, list(context.builds.tables.repos.values()))


@route("GET /repo/{repo}/branches", "Branches::Find", f"{PAGE} sort_by exists_on_github name")
def branches(context: Context) -> Object:
    part = context.query.get("name", "").lower()
    rows = [row for row in context.find("repo").branches.values() if part in row.name.lower()]
    return context.page("branches", context.ordered(rows, "name"), 25)


@route("GET /repo/{repo}/requests", "Requests::Find", PAGE)
def requests(context: Context) -> Object:
    rows: list[Request] = [row for row in reversed(context.find("repo").requests) if row.visible_at <= context.now]
    if context.builds.settings.reorder:
        for left in range(0, len(rows) - 1, 2):
            if context.builds.chance.roll("reorder", rows[left].id) < 0.5:
                rows[left], rows[left + 1] = rows[left + 1], rows[left]
    return context.page("requests", rows, 25)


@route("GET /repo/{repo}/builds", "Builds::Find", f"{PAGE} sort_by state")
def builds_of_repo(context: Context) -> Object:
    rows = _visible(context, context.find("repo").builds)
    if states := context.query.get("state"):
        rows = [row for row in rows if row.state in states.split(",")]
    return context.page("builds", context.ordered(rows[::-1], "id number"), 25)


@route("GET /builds", "Builds::ForCurrentUser", f"{PAGE} sort_by")
def builds_of_user(context: Context) -> Object:
    rows: Sequence[Build] = _visible(context, context.require_user().builds)[::-1]
    if context.query.get("sort_by") != "id:desc":  # rows stand in the order of their ids
        rows = context.ordered(sorted(rows, key=attrgetter("number"), reverse=True), "id number")
    return context.page("builds", rows, 100)


@route("GET /build/{build:int}/jobs", "Jobs::Find")
def jobs(context: Context) -> Object:
    return {**context.head("jobs"), "jobs": context.many(context.find("build").jobs)}


@route("GET /owner/{owner}", "Owner::Find")
@route("GET /repo/{repo}", "Repository::Find")
@route("GET /repo/{repo}/request/{request:int}", "Request::Find")
@route("GET /build/{build:int}", "Build::Find")
@route("GET /job/{job:int}", "Job::Find")
def one(context: Context) -> Object:
    return context.show(context.find([*context.names][-1]))


@route("GET /job/{job:int}/log.txt", "Log::Find")
def log(context: Context) -> Reply:
    job: Job = context.find("job")
    if job.started_at is None:
        return text(200, "")
    told = context.builds.settings.rehearsal.printed(job.repo.names, job.build.request.branch)
    printed = f"Worker information\r\n$ make test  # {job.repo.slug} {job.number}\r\n" if told is None else told
    if job.state not in ACTIVE:
        code = 0 if job.state == "passed" else 1
        if code and told is None:
            last = int(context.builds.chance.roll("log", job.repo.slug) * len(LAST_WORDS))
            printed += f"{LAST_WORDS[last]}\r\n"
        printed += f'The command "make test" exited with {code}.\r\n\r\nDone. Your build exited with {code}.\r\n'
    return text(200, printed)


def read_request(context: Context) -> dict[str, Any]:
    """The request object from any of the encodings that mean the same; what it does not know inside it is dropped."""
    params, found = context.params, dict[str, Any]()
    for name, value in params.items():
        if name in FLAT:
            found[name] = value
        elif name not in KNOWN:
            context.ignored(name)
    if params.get("@type") == "request" and "tag_name" in params:
        found["tag_name"] = params["tag_name"]
    if isinstance(inner := params.get("request"), Mapping):
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


def _visible(context: Context, rows: Sequence[Build]) -> Sequence[Build]:
    if context.builds.settings.lag == (0.0, 0.0):
        return rows
    return [row for row in rows if row.created_at + row.request.visible_at - row.request.created_at <= context.now]


def _repos(context: Context, rows: Sequence[Repo]) -> Object:
    wanted = context.query.get("active", context.query.get("repository.active"))
    if wanted is not None:
        rows = [row for row in rows if row.active == (wanted != "false")]
    if context.user is None:
        rows = [row for row in rows if not row.private]
    return context.page("repositories", context.ordered(rows, "id name"), 100)
