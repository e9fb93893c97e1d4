"""Travis CI's API v3: the way in (body, token, bans, version, route, in the order of the real stack; reference 4.3)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from typing_extensions import override

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Account, Target
from orchestrator.lookalike.kit.counters import FixedWindows
from orchestrator.lookalike.kit.http import (
    HTML,
    JSON,
    TEXT,
    Incoming,
    NoRoute,
    Object,
    Refused,
    Reply,
    Routes,
    credentials,
    json_reply,
    text,
)
from orchestrator.lookalike.kit.lookalike import LookAlike
from orchestrator.lookalike.travis.builds import Builds
from orchestrator.lookalike.travis.context import Context, error, not_found
from orchestrator.lookalike.travis.creation import Creation
from orchestrator.lookalike.travis.reads import Reads
from orchestrator.lookalike.travis.rows import Tables, User
from orchestrator.lookalike.travis.settings import VCS, Settings, demo, fitted, parse

SORRY = "Sorry, we experienced an error.\n"
STUCK = '{"error":"Travis encountered an error, sorry :("}'
RACK = "text/html;charset=utf-8"
ANONYMOUS = ""  # one address for everybody without a token
ANONYMOUS_CALLS = 500

_PAGE = "limit offset skip_count representation"
_REPOS = (
    f"{_PAGE} sort_by active private starred managed_by_installation active_on_org name_filter slug_filter "
    "repository.active repository.private"
)
_FILTERS = "state previous_state event_type created_by"
_REPO_BUILDS = f"{_PAGE} sort_by branch.name {_FILTERS} {' '.join(f'build.{name}' for name in _FILTERS.split())}"


class Service(Struct, frozen=True):
    """What stands behind a route.

    Args:
        name: the class that the real server says has answered (`X-Endpoint`), empty where it says none.
        accepts: query parameters that it knows besides `include`; it warns of others.
    """

    name: str
    answer: Callable[[Context], Object | Reply]
    accepts: frozenset[str] = frozenset()
    status: int = 200


class TravisLookAlike(LookAlike):
    """Travis CI with everything in it: repositories, requests, builds, jobs, logs."""

    error_pages = {  # noqa: RUF012 - declared in the base
        "error_before": text(500, SORRY),
        "error_after": text(500, SORRY),
        "error_stuck": text(500, STUCK, JSON),
    }
    settings: Settings

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        scaled = settings.scaled()
        self.tables = Tables(scaled, self.chance)
        self.builds = Builds(scaled, self.chance, self.events, self.tables)
        self._burst, self._minute = scaled.burst, scaled.minute
        self._posts = FixedWindows(scaled.burst.per if scaled.burst else 30.0)
        self._calls = FixedWindows(scaled.minute.per if scaled.minute else 60.0)
        self.windows = (self._posts.per, self._calls.per, scaled.hour)
        creation = Creation(scaled, self.chance, self.events, self.builds, self.counters)
        self._routes = _routes(creation, Reads(scaled, self.chance))

    @classmethod
    @override
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        return cls(parse(given))

    @classmethod
    @override
    def for_plan(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        return cls(fitted(demo(), targets, accounts))

    @override
    def headers(self, token: str) -> Mapping[str, str]:
        return {"authorization": f"token {token}", "travis-api-version": "3", "accept": JSON}

    @override
    def stats(self) -> Object:
        states: dict[str, int] = {}
        for build in self.tables.builds.values():
            states[build.state] = states.get(build.state, 0) + 1
        return {**super().stats(), "builds": len(self.tables.builds), "build_states": states}

    @override
    def repo_names(self, path: str) -> Collection[str]:
        names = self._routes.names(_without_version(self._below_prefix(path) or ""))
        repo = self.tables.repo(names.get("vcs", VCS[0]), unquote(names["repo"])) if "repo" in names else None
        build = self.tables.builds.get(int(names["build"])) if "build" in names else None
        job = self.tables.jobs.get(int(names["job"])) if "job" in names else None
        build = build if job is None else job.build
        repo = repo if build is None else build.repo
        return () if repo is None else (repo.slug.lower(), str(repo.id))

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        params = _read_body(call)
        scheme, user = self._authenticated(call.headers.get("authorization"))
        context = Context(call.path, dict(call.query), params, user, now, self.tables, stuck=stuck)
        is_scoped = user is not None and scheme.lower() in ("token", "basic")
        try:
            self._admit(user, scheme, call.method, now)
            if not isinstance(params, dict):
                return text(500, SORRY)  # it crashes, and nothing signs the reply
            return self._signed(self._serve_at(call, context, scheme), call, context, is_scoped)
        except Refused as refused:
            refused.reply = self._signed(refused.reply, call, context, is_scoped)
            raise

    def _authenticated(self, header: str | None) -> tuple[str, User | None]:
        found = credentials(header)
        if found is None:
            return "", None
        secret = found.user if found.scheme.lower() == "basic" else found.secret.strip("\"'")
        return found.scheme, self.tables.users.get(secret)

    def _admit(self, user: User | None, scheme: str, method: str, now: float) -> None:
        """Bans and throttles of the hosted service, by token, else by address (reference 3.3)."""
        if user is None and scheme:
            raise Refused(text(403, "access denied", RACK), "access denied")
        subject = ANONYMOUS if user is None else user.token
        if self.bans.holds(subject, now):
            raise Refused(text(403, "Forbidden\n"), "banned")
        burst, minute = self._burst, self._minute
        if burst is not None and method == "POST" and self._posts.count(subject, now) >= burst.calls:
            self.bans.ban(subject, now + burst.ban)  # the call that reaches the rule still passes
        if minute is not None and self._calls.count(subject, now) > (minute.calls if subject else ANONYMOUS_CALLS):
            raise Refused(text(429, "Retry later\n"), "throttled")

    def _below_prefix(self, path: str) -> str | None:
        """The path without the installation's prefix; None when it lies elsewhere."""
        prefix = self.settings.prefix
        if not prefix:
            return path
        return path[len(prefix) :] if path.startswith(f"{prefix}/") else None

    def _serve_at(self, call: Incoming, context: Context, scheme: str) -> Reply:
        path = self._below_prefix(call.path)
        if path is None:
            return text(404, "<html><body>404 Not Found</body></html>\n", HTML)
        if path == "/v3":
            return Reply(307, {"Content-Type": HTML, "Location": "/v3/"}, b"")
        context.path = _without_version(path)
        context.prefix = "/v3" if path.startswith("/v3/") else ""
        if not context.prefix and not _wants_v3(call.headers):
            return _version_two(path)
        if scheme not in ("", "token", "basic"):
            raise error(403, "wrong_credentials", "access denied", content_type=RACK)
        service = self._service(call.method, context)
        found = service.answer(context)
        if isinstance(found, Reply):
            return found
        return json_reply(service.status, {"@warnings": context.warnings, **found} if context.warnings else found)

    def _service(self, method: str, context: Context) -> Service:
        try:
            service, context.names = self._routes.find(method, f"/{context.path.strip('/')}")
        except NoRoute as none:
            if none.allowed:
                raise error(405, "method_not_allowed", "method not allowed", content_type=RACK) from None
            raise not_found(None) from None
        if not _REPO.fullmatch(context.names.get("repo", "0")):
            raise not_found(None)
        context.endpoint = service.name
        for name in context.query:
            if name not in service.accepts and name != "include":
                context.ignored(name)
        return service

    def _signed(self, reply: Reply, call: Incoming, context: Context, is_scoped: bool) -> Reply:
        """The reply with the headers that the real stack adds (reference, "observed")."""
        headers = reply.headers
        headers["Vary"] = "Accept-Encoding"
        headers["X-OAuth-Scopes"] = "public,private" if is_scoped else ""
        if context.endpoint:
            headers["X-Endpoint"] = f"Travis::API::V3::Services::{context.endpoint}"
        if headers["Content-Type"] == JSON and call.headers.get("accept", "") == TEXT:
            headers["Content-Type"] = TEXT
        if "x-request-id" in call.headers:
            headers["X-Request-ID"] = call.headers["x-request-id"]
        if self.settings.pretty and headers["Content-Type"] == JSON:
            reply = reply._replace(body=json.dumps(json.loads(reply.body), indent=2).encode())
        return reply._replace(body=b"") if call.method == "HEAD" else reply


_PART = r"(?:[^/%]|%(?!2[Ff]).)+"  # may hold other encoded characters, but no slash
_REPO = re.compile(rf"\d{{1,18}}|{_PART}%2[Ff]{_PART}")


def _routes(creation: Creation, reads: Reads) -> Routes[Service]:
    """All services. A repository or an owner may be named with its provider before it."""
    page, repos = frozenset(_PAGE.split()), frozenset(_REPOS.split())
    requests = page | {"branch", "state", "result", "from", "to"}
    table = {
        "GET /": Service("", reads.home),
        "GET /user": Service("User::Current", reads.user),
        "GET /repos": Service("Repositories::ForCurrentUser", reads.repos_of_user, repos),
        "GET /builds": Service("Builds::ForCurrentUser", reads.builds_of_user, page | {"sort_by"}),
        "GET /owner/{owner}": Service("Owner::Find", reads.owner),
        "GET /owner/{owner}/repos": Service("Repositories::ForOwner", reads.repos_of_owner, repos),
        "GET /owner/{owner}/active": Service("Active::ForOwner", reads.active),
        "GET /repo/{repo}": Service("Repository::Find", reads.repo),
        "GET /repo/{repo}/branches": Service(
            "Branches::Find", reads.branches, page | {"sort_by", "exists_on_github", "name"}
        ),
        "GET /repo/{repo}/branch/{branch}": Service("Branch::Find", reads.branch),
        "GET /repo/{repo}/builds": Service("Builds::Find", reads.builds_of_repo, frozenset(_REPO_BUILDS.split())),
        "GET /repo/{repo}/requests": Service("Requests::Find", reads.requests, requests),
        "POST /repo/{repo}/requests": Service("Requests::Create", creation.create, status=202),
        "GET /repo/{repo}/request/{request:int}": Service("Request::Find", reads.request),
        "GET /build/{build:int}": Service("Build::Find", reads.build),
        "GET /build/{build:int}/jobs": Service("Jobs::Find", reads.jobs),
        "POST /build/{build:int}/cancel": Service("Build::Cancel", creation.cancel_build, status=202),
        "POST /build/{build:int}/restart": Service("Build::Restart", creation.restart_build, status=202),
        "GET /job/{job:int}": Service("Job::Find", reads.job),
        "GET /job/{job:int}/log": Service("Log::Find", reads.log),
        "GET /job/{job:int}/log.txt": Service("Log::Find", reads.log_text),
        "POST /job/{job:int}/cancel": Service("Job::Cancel", creation.cancel_job, status=202),
        "POST /job/{job:int}/restart": Service("Job::Restart", creation.restart_job, status=202),
    }
    provider = f"{{vcs:{'|'.join(VCS)}}}"
    with_provider = {
        key.replace("/{repo}", f"/{provider}/{{repo}}").replace("/{owner}", f"/{provider}/{{owner}}"): service
        for key, service in table.items()
        if "{repo}" in key or "{owner}" in key
    }
    return Routes({**table, **with_provider})


def _read_body(call: Incoming) -> Any:
    """The parameters in a body: JSON by default, a form where it says so."""
    if not call.body:
        return {}
    if call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(call.body.decode("utf-8", "replace"))
        return {name.replace("[", ".").replace("]", ""): value for name, value in pairs}
    try:
        return json.loads(call.body)
    except ValueError:
        reply = json_reply(400, {"error": "Failed to parse body as JSON"})
        reply.headers["Vary"] = "Accept-Encoding"
        raise Refused(reply, "no_json") from None


def _without_version(path: str) -> str:
    return path[3:] if path.startswith("/v3/") else path


def _wants_v3(headers: Mapping[str, str]) -> bool:
    if headers.get("travis-api-version") == "3":
        return True
    return "application/vnd.travis-ci.3+" in headers.get("accept", "")


def _version_two(path: str) -> Reply:
    """What the old API says: here it knows only its configuration."""
    if path == "/config":
        return json_reply(200, {"config": {"host": "sandbox.invalid", "notifications": {"webhook": {}}}})
    return json_reply(404, {"file": "not found"})
