"""The services of both APIs; what only one of them has looks at which it is."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlencode

from orchestrator.lookalike.gitea import shapes
from orchestrator.lookalike.gitea.rows import Repo, Run, Tables
from orchestrator.lookalike.kit import rows as kit
from orchestrator.lookalike.kit.http import Object, Refused, Reply, json_reply, moment, route, text
from orchestrator.lookalike.kit.life import Stage

SWAGGER = "http://sandbox.invalid/api/swagger"
MOST_PAGE, USUAL_PAGE = 50, 30
WORKFLOW = """\
name: ci
on:
  workflow_dispatch:
{inputs}jobs:
  build: {{runs-on: docker, steps: [{{run: make test}}]}}
"""
INPUT = '      {name}: {{type: string, required: false, default: ""}}\n'


class Context(kit.Context[Tables]):
    """One call, and all that there is; `is_forgejo`: which of the two it is."""

    is_forgejo: bool

    @property
    def actor(self) -> Object:
        """The user whose token it is."""
        return shapes.user(self.tables.settings.login, self.tables.settings.user_id, self.base)

    def is_since(self, gitea: tuple[int, int], forgejo: tuple[int, int]) -> bool:
        """Whether the server is as new as that."""
        version = self.tables.settings.version.split(".")
        numbers = tuple(int(part) for part in version[:2] if part.isdigit())
        return numbers >= (forgejo if self.is_forgejo else gitea)

    def show(self, run: Run) -> Object:
        """A run, as this server shows it."""
        if self.is_forgejo:
            return shapes.forgejo_run(run, self.base, self.actor)
        return shapes.run(run, self.base, self.actor, has_times=self.is_since((1, 28), (0, 0)))

    def repo(self) -> Repo:
        """The repository of the path; one that was renamed is elsewhere."""
        slug = f"{unquote(self.names['owner'])}/{unquote(self.names['repo'])}"
        repo = self.tables.repos.get(slug.lower())
        if repo is None and (moved := self.tables.moved.get(slug.lower())) is not None:
            rest = self.call.path.partition(f"/{self.names['owner']}/{self.names['repo']}")[2]
            there = f"{self.base}{shapes.API}/repos/{moved.slug}{rest}"
            reply = Reply(307, {"Location": f"{there}?{urlencode(self.call.query)}".rstrip("?")}, b"")
            raise Refused(reply, "moved")
        if repo is None:
            raise failed(404, "The target couldn't be found.")
        return repo

    def run(self) -> Run:
        """The run of the path."""
        run = self.tables.runs.get(int(self.names["run"]))
        if run is None or run.repo is not self.repo() or run.visible_at > self.now:
            raise failed(404, "The target couldn't be found.")
        return run

    def page(self, rows: Sequence[Any], show: Callable[[Any], Object], key: str = "") -> Reply:
        """A page of rows, with the link to the next one; one beyond the last is empty."""
        query = self.query
        asked = (query.get(name, "") for name in ("limit", "page"))
        size, page = (int(given) if given.isdecimal() else 0 for given in asked)
        size, page = min(size or USUAL_PAGE, MOST_PAGE), page or 1
        entries = [show(row) for row in rows[(page - 1) * size : page * size]]
        reply = json_reply(200, {"total_count": len(rows), key: entries} if key else entries)
        reply.headers["X-Total-Count"] = str(len(rows))
        if page * size < len(rows):
            more = urlencode({**query, "page": page + 1})
            reply.headers["Link"] = f'<{self.base}{self.call.path}?{more}>; rel="next"'
        return reply

    def writable(self, repo: Repo) -> Repo:
        """The repository, where the token may write to it."""
        if repo.spec.archived:
            raise failed(403, "repo is archived")
        if not repo.spec.may_trigger:
            raise failed(403, "user should have a permission to write to a repo")
        if not repo.spec.actions:
            raise failed(404, "The target couldn't be found.")
        return repo


def failed(status: int, message: str) -> Refused:
    """An error in the form of both."""
    return Refused(json_reply(status, {"message": message, "url": SWAGGER}), message[:60])


# -- what changes something -----------------------------------------------------------------------------------------


@route("POST /repos/{owner}/{repo}/actions/workflows/{workflow}/dispatches")
def dispatch(context: Context) -> Reply:
    """All checks, then the run; what the workflow does not declare is dropped without a word."""
    repo, body, tables = context.writable(context.repo()), context.body, context.tables
    workflow, ref = unquote(context.names["workflow"]), body.get("ref")
    if not isinstance(ref, str) or not ref:
        raise failed(*((400, "ref is empty") if context.is_forgejo else (422, "ref is required parameter")))
    if repo.spec.disabled:
        raise failed(403, "workflow is disabled")
    branch = ref.removeprefix("refs/heads/")
    if branch not in repo.branches:
        raise failed(404, f'ref "{ref}" doesn\'t exist')
    if workflow not in repo.spec.workflows:
        raise failed(404, f'workflow "{workflow}" doesn\'t exist')
    run = tables.start(context.now, repo, workflow, branch, dict(body.get("inputs") or {}), stuck=context.stuck)
    if context.is_forgejo and body.get("return_run_info") is True:
        return json_reply(201, {"id": run.id, "run_number": run.nth, "jobs": ["build"]})
    wants = context.query.get("return_run_details") in ("true", "True", "1")
    if wants and not context.is_forgejo and context.is_since((1, 27), (0, 0)):
        page = f"{context.base}/{run.slug}/actions/runs/{run.id}"
        shown = {"workflow_run_id": run.id, "run_url": shapes.run_url(run, context.base), "html_url": page}
        return json_reply(200, shown)
    return Reply(204, {}, b"")


@route("POST /repos/{owner}/{repo}/actions/runs/{run:int}/cancel")
def cancel(context: Context) -> Reply:
    run, tables = context.run(), context.tables
    if not context.is_since((1, 28), (16, 0)):
        return text(404, "404 page not found\n")
    context.writable(run.repo)
    if run.stage is Stage.OVER:
        raise failed(409, "run is already completed")
    tables.life.cancel(context.now, run)
    return json_reply(200, context.show(run))


@route("POST /repos/{owner}/{repo}/actions/runs/{run:int}/rerun")
@route("POST /repos/{owner}/{repo}/actions/runs/{run:int}/rerun-failed-jobs")
def rerun(context: Context) -> Reply:
    """The same run, one attempt later; Forgejo has no such call."""
    run, tables = context.run(), context.tables
    if context.is_forgejo:
        return text(404, "404 page not found\n")
    context.writable(run.repo)
    if run.stage is not Stage.OVER:
        raise failed(400, "this workflow run is not done and cannot be rerun")
    tables.life.again(context.now, run)
    return json_reply(201, context.show(run))


# -- what only shows ------------------------------------------------------------------------------------------------


@route("GET /version")
def version(context: Context) -> Reply:
    return json_reply(200, {"version": context.tables.settings.version})


@route("GET /user")
def me(context: Context) -> Reply:
    return json_reply(200, context.actor)


@route("GET /orgs/{owner}/repos")
@route("GET /users/{owner}/repos")
def repos(context: Context) -> Reply:
    owner = unquote(context.names["owner"]).lower()
    rows = [repo for repo in context.tables.repos.values() if repo.slug.lower().startswith(f"{owner}/")]
    if not rows:
        raise failed(404, "The target couldn't be found.")
    return context.page(rows, lambda repo: shapes.repo(repo, context.base))


@route("GET /repos/{owner}/{repo}")
def one_repo(context: Context) -> Reply:
    return json_reply(200, shapes.repo(context.repo(), context.base))


@route("GET /repos/{owner}/{repo}/branches")
def branches(context: Context) -> Reply:
    return context.page([*context.repo().branches.items()], lambda row: {"name": row[0], "commit": {"id": row[1]}})


@route("GET /repos/{owner}/{repo}/branches/{branch...}")
@route("GET /repos/{owner}/{repo}/tags/{branch...}")
def branch(context: Context) -> Reply:
    name, heads = unquote(context.names["branch"]), context.repo().branches
    if name not in heads or "/tags/" in context.call.path:
        raise failed(404, "The target couldn't be found.")
    return json_reply(200, {"name": name, "commit": {"id": heads[name]}})


@route("GET /repos/{owner}/{repo}/contents/{folder}/workflows/{workflow}")
def contents(context: Context) -> Reply:
    repo, file = context.repo(), unquote(context.names["workflow"])
    is_there = context.query.get("ref") in (*repo.branches, None) and file in repo.spec.workflows
    if not is_there or context.names["folder"] != (".forgejo" if context.is_forgejo else ".gitea"):
        raise failed(404, "The target couldn't be found.")
    written = "".join(["    inputs:\n", *(INPUT.format(name=name) for name in repo.spec.inputs)])
    content = base64.b64encode(WORKFLOW.format(inputs=written if repo.spec.inputs else "").encode()).decode()
    return json_reply(200, {"type": "file", "name": file, "encoding": "base64", "content": content})


@route("GET /repos/{owner}/{repo}/actions/runs")
def runs(context: Context) -> Reply:
    repo, query = context.repo(), context.query
    rows = [run for run in reversed(repo.runs) if run.visible_at <= context.now]
    rows = [run for run in rows if query.get("branch") in (None, run.branch)]
    return context.page(rows, context.show, "workflow_runs")


@route("GET /repos/{owner}/{repo}/actions/runs/{run:int}")
def one_run(context: Context) -> Reply:
    return json_reply(200, context.show(context.run()))


@route("GET /repos/{owner}/{repo}/actions/runs/{run:int}/jobs")
def jobs(context: Context) -> Reply:
    run = context.run()
    has_job = run.stage is not Stage.QUEUED and run.outcome != "skipped"
    return context.page([run] if has_job else [], lambda row: shapes.job(row, context.base), "jobs")


@route("GET /repos/{owner}/{repo}/actions/jobs/{job:int}/logs")
def log(context: Context) -> Reply:
    run = context.tables.runs.get(int(context.names["job"]) - 500_000)
    if run is None or run.repo is not context.repo() or run.stage is not Stage.OVER:
        raise failed(404, "The target couldn't be found.")
    lines = [*context.tables.life.printed(run), *(["exitcode '1': failure"] if run.outcome != "success" else [])]
    return text(200, "".join(f"{moment(run.updated_at)} {line}\n" for line in lines))
