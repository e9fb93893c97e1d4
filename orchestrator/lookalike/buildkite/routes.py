"""The services of the API: what changes something, then what only shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlencode

from orchestrator.lookalike.buildkite import shapes
from orchestrator.lookalike.buildkite.rows import Build, Pipeline, Tables
from orchestrator.lookalike.kit import rows as kit
from orchestrator.lookalike.kit.http import Object, Refused, Reply, exact, json_reply, page_of, route, text
from orchestrator.lookalike.kit.life import Stage

MOST_PAGE, DEEPEST = 100, 100_000  # rows of a page; beyond that many a listing is refused
FINISHED = ("passed", "failed", "blocked", "canceled")
_META = re.compile(r"meta_data\[(.+)\]")


class Context(kit.Context[Tables]):
    """One call, and all that there is."""

    def pipeline(self) -> Pipeline:
        """The pipeline of the path."""
        found = self.tables.pipelines.get(f"{unquote(self.names['org'])}/{unquote(self.names['pipeline'])}".lower())
        if found is None:
            raise failed(404, "No pipeline found")
        return found

    def build(self) -> Build:
        """The build of the path, by its number, or by its id."""
        wanted, builds = self.names["number"], self.pipeline().builds
        found = next((build for build in builds if wanted in (str(build.nth), build.id)), None)
        if found is None or found.visible_at > self.now:
            raise failed(404, "No build found")
        return found

    def job(self) -> Build:
        """The build whose job, or whose earlier one, is that of the path."""
        build = self.build()
        ids = {self.tables.uuid("job", build.slug, build.nth, n) for n in range(1, build.attempt + 1)}
        if self.names["job"] not in ids:
            raise failed(404, "No job found")
        return build

    def shown(self, build: Build) -> Object:
        """A build as the query wants it."""
        jobs, whole = (self.query.get(f"exclude_{name}") != "true" for name in ("jobs", "pipeline"))
        return shapes.build(build, self.tables, self.base, jobs=jobs, whole=whole)

    def page(self, rows: Sequence[Any], show: Callable[[Any], Object]) -> Reply:
        """A page of rows, with the links to others."""
        number = self.query.get("page", "1")
        if number.isdecimal() and int(number) * MOST_PAGE > DEEPEST:
            raise failed(400, "The listing is too deep; filter it")
        shown, more = page_of(rows, self.query, MOST_PAGE)
        reply = json_reply(200, [show(row) for row in shown])
        if more:
            there = f"{self.base}{self.call.path}?"
            last = urlencode({**self.query, "page": -(-len(rows) // max(1, len(shown)))})
            reply.headers["Link"] = f'<{there}{more}>; rel="next", <{there}{last}>; rel="last"'
        return reply


def failed(status: int, message: str) -> Refused:
    """An error in Buildkite's form."""
    return Refused(json_reply(status, {"message": message}), message[:60])


# -- what changes something -----------------------------------------------------------------------------------------


@route("POST /v2/organizations/{org}/pipelines/{pipeline}/builds")
def create(context: Context) -> Reply:
    """All checks, then the build."""
    pipeline, body = context.pipeline(), context.body
    if not pipeline.spec.may_trigger:
        raise failed(403, "Forbidden. You don't have permission to create builds on this pipeline")
    if wrong := [name for name in ("commit", "branch") if not isinstance(body.get(name), str) or not body[name]]:
        errors = [{"field": name, "code": "missing", "value": None} for name in wrong]
        raise Refused(json_reply(422, {"message": "Validation Failed", "errors": errors}), "Validation Failed")
    if pipeline.spec.archived:
        raise failed(422, "The pipeline has been archived")
    if pipeline.spec.only and body["branch"] not in pipeline.spec.only:
        raise failed(422, f"Branches have been disabled for this pipeline: {body['branch']}")
    build = context.tables.start(context.now, pipeline, dict(body), stuck=context.stuck)
    return json_reply(201, shapes.build(build, context.tables, context.base))


@route("PUT /v2/organizations/{org}/pipelines/{pipeline}/builds/{number}/cancel")
def cancel(context: Context) -> Reply:
    """A promise: the build ends a moment later."""
    build = context.build()
    if build.stage is Stage.OVER:
        raise failed(422, "Build can't be canceled because it's already finished")
    context.tables.life.cancel(context.now, build)
    return json_reply(200, context.shown(build))


@route("PUT /v2/organizations/{org}/pipelines/{pipeline}/builds/{number}/rebuild")
def rebuild(context: Context) -> Reply:
    """A new build of the same commit, branch, message and environment."""
    old = context.build()
    sent = {name: it for name, it in old.sent.items() if name != "meta_data"}
    build = context.tables.start(context.now, old.pipeline, sent, stuck=context.stuck, of=old)
    return json_reply(200, context.shown(build))


@route("PUT /v2/organizations/{org}/pipelines/{pipeline}/builds/{number}/retry_failed_jobs")
def retry_failed(context: Context) -> Reply:
    """The same build, its job once more."""
    build = context.build()
    if build.state not in ("failed", "canceled"):
        raise failed(422, "There are no failed jobs to retry")
    context.tables.life.again(context.now, build)
    return json_reply(200, context.shown(build))


@route("PUT /v2/organizations/{org}/pipelines/{pipeline}/builds/{number}/jobs/{job}/retry")
def retry_job(context: Context) -> Reply:
    """As above; a job can be retried once, the next time it is another one."""
    build = context.job()
    is_last = context.names["job"] == shapes.job_id(build, context.tables)
    if build.state not in ("failed", "canceled") or not is_last:
        raise failed(422, "Only failed or timed out jobs can be retried, and each once")
    context.tables.life.again(context.now, build)
    return json_reply(200, shapes.job(build, context.tables, context.base))


# -- what only shows ------------------------------------------------------------------------------------------------


@route("GET /v2/user")
def me(context: Context) -> Reply:
    return json_reply(200, shapes.user(context.tables))


@route("GET /v2/access-token")
def token(context: Context) -> Reply:
    tables, scopes = context.tables, ["read_builds", "write_builds", "read_build_logs", "read_pipelines", "read_user"]
    return json_reply(200, {"uuid": tables.uuid("token"), "scopes": scopes, "user": shapes.user(tables)})


@route("GET /v2/organizations")
def organizations(context: Context) -> Reply:
    owners = dict.fromkeys(one.spec.slug.partition("/")[0] for one in context.tables.pipelines.values())
    return context.page([*owners], lambda slug: shapes.organization(context.tables, slug, context.base))


@route("GET /v2/organizations/{org}")
def one_organization(context: Context) -> Reply:
    return json_reply(200, shapes.organization(context.tables, unquote(context.names["org"]), context.base))


@route("GET /v2/organizations/{org}/pipelines")
def pipelines(context: Context) -> Reply:
    owner = f"{unquote(context.names['org']).lower()}/"
    rows = [one for slug, one in context.tables.pipelines.items() if slug.startswith(owner)]
    if not rows:
        raise failed(404, "No organization found")
    return context.page(rows, lambda row: shapes.pipeline(row, context.base))


@route("GET /v2/organizations/{org}/pipelines/{pipeline}")
def one_pipeline(context: Context) -> Reply:
    return json_reply(200, shapes.pipeline(context.pipeline(), context.base))


@route("GET /v2/builds")
@route("GET /v2/organizations/{org}/builds")
def all_builds(context: Context) -> Reply:
    owner = context.names.get("org")
    rows = context.tables.builds
    if owner is not None:
        rows = [row for row in rows if row.owner.lower() == unquote(owner).lower()]
    return context.page(filtered(context, rows), context.shown)


@route("GET /v2/organizations/{org}/pipelines/{pipeline}/builds")
def builds(context: Context) -> Reply:
    return context.page(filtered(context, context.pipeline().builds), context.shown)


def filtered(context: Context, rows: Sequence[Build]) -> list[Build]:
    """The builds that the query wants, newest first."""
    wanted: dict[str, set[str]] = {}
    for name, value in context.call.query:
        wanted.setdefault(name.removesuffix("[]"), set()).add(value)
    states = {state for word in wanted.get("state", ()) for state in (FINISHED if word == "finished" else (word,))}
    meta = {found[1]: values for name, values in wanted.items() if (found := _META.fullmatch(name))}
    since = next(iter(wanted.get("created_from", ())), "")
    return [
        row
        for row in reversed(rows)
        if row.visible_at <= context.now
        and (not states or row.state in states)
        and row.branch in (wanted.get("branch") or (row.branch,))
        and all(str(row.meta.get(key)) in values for key, values in meta.items())
        and str(exact(row.created_at)) >= since.replace("Z", ".000Z")
    ]


@route("GET /v2/organizations/{org}/pipelines/{pipeline}/builds/{number}")
def one_build(context: Context) -> Reply:
    return json_reply(200, context.shown(context.build()))


@route("GET /v2/organizations/{org}/pipelines/{pipeline}/builds/{number}/jobs/{job}/log")
@route("GET /v2/organizations/{org}/pipelines/{pipeline}/builds/{number}/jobs/{job}/log.txt")
def log(context: Context) -> Reply:
    """As text for those who want text, else within JSON."""
    build, tables = context.job(), context.tables
    lines = ["~~~ Running commands", "$ make test", *tables.life.printed(build)]
    lines += ["The command exited with status 1"] if build.state == "failed" else []
    printed = "".join(f"{line}\n" for line in lines)
    if context.call.path.endswith(".txt") or context.call.headers.get("accept", "").startswith("text/"):
        return text(200, printed)
    return json_reply(200, {"url": f"{context.base}{context.call.path}", "content": printed, "size": len(printed)})
