"""Looking at requests, builds and jobs (reference 5, 7)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.lookalike.kit.chance import Chance
from orchestrator.lookalike.kit.printer import Object
from orchestrator.lookalike.kit.reply import ApiError, Reply, not_found, text
from orchestrator.lookalike.travis.paging import cut, pagination, read_page, sorted_by
from orchestrator.lookalike.travis.rows import ACTIVE, Build, Job, Request
from orchestrator.lookalike.travis.settings import Settings
from orchestrator.lookalike.travis.tables import Tables
from orchestrator.lookalike.travis.visit import Visit

BUILD_ORDERS: Mapping[str, Callable[[Build], Any]] = {
    "id": lambda build: build.id,
    "created_at": lambda build: build.created_at,
    "started_at": lambda build: build.started_at or 0.0,
    "finished_at": lambda build: build.finished_at or 0.0,
    "number": lambda build: int(build.number),
}
BUILD_FILTERS: Mapping[str, Callable[[Build], str | None]] = {
    "state": lambda build: build.state,
    "previous_state": lambda build: build.previous,
    "event_type": lambda build: "api",
    "created_by": lambda build: build.request.user.login,
    "branch.name": lambda build: build.commit.branch,
}
DEFAULT_ORDER = "number:desc,id:desc"


class Reads:
    """The services that show what became of a request."""

    def __init__(self, settings: Settings, chance: Chance, tables: Tables) -> None:
        self._lags = settings.lag != (0.0, 0.0)
        self._reorder = settings.reorder
        self._chance = chance
        self._tables = tables

    def requests(self, visit: Visit) -> Object:
        """`GET /repo/{id}/requests`, newest first."""
        repo = visit.the_repo(self._tables)
        rows: list[Request] = [row for row in reversed(repo.requests) if row.visible_at <= visit.now]
        since, until = _time(visit.query, "from", -math.inf), _time(visit.query, "to", math.inf)
        rows = [row for row in rows if since <= row.created_at <= until and _fits(row, visit.query)]
        if self._reorder:
            rows = self._mixed(rows)
        return page_of(visit, "requests", rows, 25)

    def request(self, visit: Visit) -> Object:
        """`GET /repo/{id}/request/{id}`: the repository is not looked at, the request is found by its id."""
        return visit.printer().one(self._request(visit))

    def messages(self, visit: Visit) -> Object:
        """`GET /repo/{id}/request/{id}/messages`."""
        self._request(visit)
        return page_of(visit, "messages", [], 25)

    def builds(self, visit: Visit) -> Object:
        """`GET /repo/{id}/builds`."""
        repo = visit.the_repo(self._tables)
        rows = self._visible(repo.builds, visit.now)
        for name, value in BUILD_FILTERS.items():
            wanted = visit.query.get(name, visit.query.get(f"build.{name}"))
            if wanted is not None:
                rows = [row for row in rows if value(row) in wanted.split(",")]
        return self._ordered(visit, rows, 25)

    def my_builds(self, visit: Visit) -> Object:
        """`GET /builds`: what the calling user has started, everywhere."""
        rows = self._visible(visit.the_user().builds, visit.now)
        return self._ordered(visit, rows, 100)

    def build(self, visit: Visit) -> Object:
        """`GET /build/{id}`."""
        return visit.printer().one(self._build(visit))

    def jobs_of_build(self, visit: Visit) -> Object:
        """`GET /build/{id}/jobs`, never in pages."""
        jobs = visit.printer().many(self._build(visit).jobs)
        href = visit.prefix + visit.path
        return {"@type": "jobs", "@href": href, "@representation": "standard", "jobs": jobs}

    def my_jobs(self, visit: Visit) -> Object:
        """`GET /jobs`."""
        builds = self._visible(visit.the_user().builds, visit.now)
        rows = [job for build in reversed(builds) for job in build.jobs]
        active, state = visit.query.get("active"), visit.query.get("state")
        if active is not None:
            rows = [job for job in rows if (job.state in ACTIVE) == (active != "false")]
        if state is not None:
            rows = [job for job in rows if job.state in state.split(",")]
        return page_of(visit, "jobs", rows, 100)

    def job(self, visit: Visit) -> Object:
        """`GET /job/{id}`."""
        return visit.printer().one(self._job(visit))

    def log(self, visit: Visit) -> Object:
        """`GET /job/{id}/log`."""
        job, href = self._job(visit), visit.prefix + visit.path
        content = log_of(job)
        parts = [{"content": content, "final": job.state not in ACTIVE, "number": 0}]
        head = {"@type": "log", "@href": href, "@representation": "standard", "@permissions": {"read": True}}
        return {**head, "id": job.id, "content": content, "log_parts": parts}

    def log_text(self, visit: Visit) -> Reply:
        """`GET /job/{id}/log.txt`."""
        return text(200, log_of(self._job(visit)))

    def active(self, visit: Visit) -> Object:
        """`GET /owner/{login}/active`: everything that has not ended, never in pages."""
        owner = visit.the_owner(self._tables)
        rows = self._visible(list(owner.active.values()), visit.now)
        head = {"@type": "active", "@href": visit.prefix + visit.path, "@representation": "standard"}
        return {**head, "builds": visit.printer().many(rows, "active")}

    def _visible(self, rows: Sequence[Build], now: float) -> Sequence[Build]:
        if not self._lags:
            return rows
        return [row for row in rows if row.created_at + row.request.visible_at - row.request.created_at <= now]

    def _ordered(self, visit: Visit, rows: Sequence[Build], default: int) -> Object:
        orders = visit.query.get("sort_by")
        unknown: list[str] = []
        if orders in ("id", "id:desc"):  # rows stand in this order already
            found = rows if orders == "id" else rows[::-1]
        else:
            found, unknown = sorted_by(rows, orders, BUILD_ORDERS, DEFAULT_ORDER)
        for name in unknown:
            visit.warn(f"query value {name} for sort_by not a valid sort mode, ignored", "ignored_value", name)
        return page_of(visit, "builds", found, default)

    def _mixed(self, rows: list[Request]) -> list[Request]:
        mixed = list(rows)
        for left in range(0, len(mixed) - 1, 2):
            if self._chance.roll("reorder", mixed[left].id) < 0.5:
                mixed[left], mixed[left + 1] = mixed[left + 1], mixed[left]
        return mixed

    def _request(self, visit: Visit) -> Request:
        request = self._tables.requests.get(int(visit.names[1]))
        if request is None:
            raise not_found("request")
        return request

    def _build(self, visit: Visit) -> Build:
        build = self._tables.builds.get(int(visit.names[0]))
        if build is None:
            raise not_found("build")
        return build

    def _job(self, visit: Visit) -> Job:
        job = self._tables.jobs.get(int(visit.names[0]))
        if job is None:
            raise not_found("job")
        return job


def page_of(visit: Visit, type_: str, rows: Sequence[Any], default: int) -> Object:
    """One page of a collection."""
    page = read_page(visit.query, default)
    path = visit.prefix + visit.path
    shown = visit.printer().many(cut(rows, page), visit.query.get("representation", "standard"))
    return {
        "@type": type_,
        "@href": path,
        "@representation": "standard",
        "@pagination": pagination(page, len(rows), path, visit.query),
        type_: shown,
    }


def log_of(job: Job) -> str:
    """What a job printed."""
    if job.started_at is None:
        return ""
    lines = [f"Worker information\r\n$ make test  # {job.build.repo.slug} {job.number}\r\n"]
    if job.state not in ACTIVE:
        code = 0 if job.state == "passed" else 1
        lines.append(f"The command exited with {code}.\r\n\r\nDone. Your build exited with {code}.\r\n")
    return "".join(lines)


def _fits(row: Request, query: Mapping[str, str]) -> bool:
    branch = None if row.commit is None else row.commit.branch
    found = {"branch": branch, "state": row.state, "result": row.result}
    return all(name not in query or query[name] == value for name, value in found.items())


def _time(query: Mapping[str, str], name: str, default: float) -> float:
    if name not in query:
        return default
    try:
        found = datetime.fromisoformat(query[name])
    except ValueError:
        raise ApiError(500, "server_error", "internal server error") from None  # a bad time is a 500 (reference 5.5)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
