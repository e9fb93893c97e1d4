"""What only shows: requests, builds, jobs, logs, repositories, branches, owners, the user (reference 5, 7, 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any
from urllib.parse import unquote

from orchestrator.lookalike.kit.http import Object, Reply, route, text
from orchestrator.lookalike.travis.context import Context, not_found, server_error
from orchestrator.lookalike.travis.rows import ACTIVE, Branch, Build, Job, Repo, Request
from orchestrator.lookalike.travis.shapes import Getter

BUILD_FILTERS: Mapping[str, Getter] = {
    "state": lambda build: build.state,
    "previous_state": lambda build: build.previous,
    "event_type": lambda build: "api",
    "created_by": lambda build: build.request.user.login,
    "branch.name": lambda build: build.commit.branch,
}
BUILD_ORDERS: Mapping[str, Getter] = {
    **{name: attrgetter(name) for name in ("id", "number", "created_at")},
    "started_at": lambda build: build.started_at or 0.0,
    "finished_at": lambda build: build.finished_at or 0.0,
}
REPO_ORDERS: Mapping[str, Getter] = {
    **{name: attrgetter(name) for name in ("id", "name", "active")},
    **dict.fromkeys(("github_id", "vcs_id"), attrgetter("id")),
    "owner_name": attrgetter("owner.login"),
    "default_branch.last_build": lambda repo: _last(repo.branches[repo.default_branch]),
    "current_build": lambda repo: len(repo.builds) and repo.builds[-1].id,
}
BRANCH_ORDERS: Mapping[str, Getter] = {
    "name": attrgetter("name"),
    "last_build": lambda branch: _last(branch),
    "exists_on_github": lambda branch: True,
    "default_branch": lambda branch: branch.name == branch.repo.default_branch,
}
PAGE = "limit offset skip_count representation"
REPOS = (
    f"{PAGE} sort_by active private starred managed_by_installation active_on_org name_filter slug_filter "
    "repository.active repository.private"
)
BUILDS = f"{PAGE} sort_by {' '.join(BUILD_FILTERS)} build.state build.previous_state build.event_type build.created_by"
GITHUB = {"api_url": "https://api.github.com", "web_url": "https://github.com", "scopes": []}
CONFIG = {"host": "sandbox.invalid", "github": GITHUB, "pusher": {"key": "sandbox"}}


@route("GET /")
def home(context: Context) -> Object:
    return {"@type": "home", "@href": f"{context.prefix}/", "config": CONFIG, "errors": {}, "resources": {}}


@route("GET /user", "User::Current")
def user(context: Context) -> Object:
    return context.show(context.require_user())


@route("GET /owner/{owner}", "Owner::Find")
def owner(context: Context) -> Object:
    return context.show(context.find_owner())


@route("GET /owner/{owner}/active", "Active::ForOwner")
def active(context: Context) -> Object:
    rows = _visible(context, list(context.find_owner().active.values()))
    return {**context.head("active"), "builds": context.many(rows, "active")}


@route("GET /owner/{owner}/repos", "Repositories::ForOwner", REPOS)
def repos_of_owner(context: Context) -> Object:
    return _repos(context, context.find_owner().repos)


@route("GET /repos", "Repositories::ForCurrentUser", REPOS)
def repos_of_user(context: Context) -> Object:
    context.require_user()
    return _repos(context, list(context.builds.tables.repos.values()))


@route("GET /repo/{repo}", "Repository::Find")
def repo(context: Context) -> Object:
    return context.show(context.find_repo())


@route("GET /repo/{repo}/branches", "Branches::Find", f"{PAGE} sort_by exists_on_github name")
def branches(context: Context) -> Object:
    rows, query = list(context.find_repo().branches.values()), context.query
    if query.get("exists_on_github") == "false":
        rows = []
    rows = [row for row in rows if query.get("name", "").lower() in row.name.lower()]
    default = "default_branch:desc,exists_on_github:desc,last_build:desc"
    return context.page("branches", context.ordered(rows, BRANCH_ORDERS, default), 25)


@route("GET /repo/{repo}/branch/{branch}", "Branch::Find")
def branch(context: Context) -> Object:
    row = context.find_repo().branches.get(unquote(context.names["branch"]))
    if row is None:
        raise not_found("branch")
    return context.show(row)


@route("GET /repo/{repo}/requests", "Requests::Find", f"{PAGE} branch state result from to")
def requests(context: Context) -> Object:
    rows: list[Request] = [row for row in reversed(context.find_repo().requests) if row.visible_at <= context.now]
    since, until = _time(context.query, "from", -math.inf), _time(context.query, "to", math.inf)
    rows = [row for row in rows if since <= row.created_at <= until and _fits(row, context.query)]
    if context.builds.settings.reorder:
        rows = _mixed(context, rows)
    return context.page("requests", rows, 25)


@route("GET /repo/{repo}/request/{request:int}", "Request::Find")
def request(context: Context) -> Object:
    return context.show(context.find("request"))


@route("GET /repo/{repo}/builds", "Builds::Find", BUILDS)
def builds_of_repo(context: Context) -> Object:
    rows = _visible(context, context.find_repo().builds)
    for name, value in BUILD_FILTERS.items():
        wanted = context.query.get(name, context.query.get(f"build.{name}"))
        if wanted is not None:
            rows = [row for row in rows if value(row) in wanted.split(",")]
    return _builds(context, rows, 25)


@route("GET /builds", "Builds::ForCurrentUser", f"{PAGE} sort_by")
def builds_of_user(context: Context) -> Object:
    return _builds(context, _visible(context, context.require_user().builds), 100)


@route("GET /build/{build:int}", "Build::Find")
def build(context: Context) -> Object:
    return context.show(context.find("build"))


@route("GET /build/{build:int}/jobs", "Jobs::Find")
def jobs(context: Context) -> Object:
    return {**context.head("jobs"), "jobs": context.many(context.find("build").jobs)}


@route("GET /job/{job:int}", "Job::Find")
def job(context: Context) -> Object:
    return context.show(context.find("job"))


@route("GET /job/{job:int}/log", "Log::Find")
def log(context: Context) -> Object:
    job = context.find("job")
    content = log_of(job)
    parts = [{"content": content, "final": job.state not in ACTIVE, "number": 0}]
    head = {**context.head("log"), "@permissions": {"read": True}}
    return {**head, "id": job.id, "content": content, "log_parts": parts}


@route("GET /job/{job:int}/log.txt", "Log::Find")
def log_text(context: Context) -> Reply:
    return text(200, log_of(context.find("job")))


def _visible(context: Context, rows: Sequence[Build]) -> Sequence[Build]:
    if context.builds.settings.lag == (0.0, 0.0):
        return rows
    return [row for row in rows if row.created_at + row.request.visible_at - row.request.created_at <= context.now]


def _builds(context: Context, rows: Sequence[Build], default: int) -> Object:
    if context.query.get("sort_by") == "id:desc":  # rows stand in the order of their ids
        return context.page("builds", rows[::-1], default)
    return context.page("builds", context.ordered(rows, BUILD_ORDERS, "number:desc,id:desc"), default)


def _repos(context: Context, rows: list[Repo]) -> Object:
    query = context.query
    for flag in ("active", "private"):
        wanted = query.get(flag, query.get(f"repository.{flag}"))
        if wanted is not None:
            rows = [row for row in rows if getattr(row, flag) == (wanted != "false")]
    for name in ("name", "slug"):
        part = query.get(f"{name}_filter", "").lower()
        rows = [row for row in rows if part in getattr(row, name).lower()]
    if context.user is None:
        rows = [row for row in rows if not row.private]
    return context.page("repositories", context.ordered(rows, REPO_ORDERS, "id"), 100)


def _mixed(context: Context, rows: list[Request]) -> list[Request]:
    mixed = list(rows)
    for left in range(0, len(mixed) - 1, 2):
        if context.builds.chance.roll("reorder", mixed[left].id) < 0.5:
            mixed[left], mixed[left + 1] = mixed[left + 1], mixed[left]
    return mixed


def log_of(job: Job) -> str:
    """What a job printed."""
    if job.started_at is None:
        return ""
    lines = [f"Worker information\r\n$ make test  # {job.build.repo.slug} {job.number}\r\n"]
    if job.state not in ACTIVE:
        code = 0 if job.state == "passed" else 1
        lines.append(f"The command exited with {code}.\r\n\r\nDone. Your build exited with {code}.\r\n")
    return "".join(lines)


def _last(branch: Branch) -> int:
    return 0 if branch.last_build is None else branch.last_build.id


def _fits(row: Request, query: Mapping[str, str]) -> bool:
    branch = None if row.commit is None else row.commit.branch
    found: Mapping[str, Any] = {"branch": branch, "state": row.state, "result": row.result}
    return all(name not in query or query[name] == value for name, value in found.items())


def _time(query: Mapping[str, str], name: str, default: float) -> float:
    if name not in query:
        return default
    try:
        found = datetime.fromisoformat(query[name])
    except ValueError:
        raise server_error() from None  # a bad time is a 500 (reference 5.5)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
