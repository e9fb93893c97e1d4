"""The services of the API: what changes something (reference 4, 5, 10), then what only shows (reference 7, 9, 12)."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from orchestrator.lookalike.github import shapes
from orchestrator.lookalike.github.context import MOST_PAGE, Context, failed
from orchestrator.lookalike.github.rows import FIRST_JOB, FIRST_RUN, Repo, Run
from orchestrator.lookalike.kit.http import Object, Reply, json_reply, moment, route, text

ALLOWED = {"ref", "inputs", "return_run_details"}
MOST_INPUTS, MOST_PAYLOAD, LONGEST = 25, 10, 65_535
MOST_FOUND = 1000
NEWEST = "2026-03-10"  # the version that always tells the run of a dispatch
_IDS = re.compile(r"(\w+)\s*:\s*nodes\(\s*ids\s*:\s*\$(\w+)\s*\)")
WORKFLOW = """\
name: ci
{shows}on:
  workflow_dispatch:
{inputs}  repository_dispatch:
jobs:
  build: {{runs-on: ubuntu-latest, steps: [{{run: make test}}]}}
"""
SHOWS = 'run-name: "${{ inputs.marker || github.event.client_payload.marker || github.workflow }}"\n'
INPUT = '      {name}: {{type: string, required: false, default: ""}}\n'


# -- what changes something -----------------------------------------------------------------------------------------


@route("POST /repos/{owner}/{repo}/actions/workflows/{workflow}/dispatches")
def dispatch(context: Context) -> Reply:
    """All checks, then the run."""
    repo, body, version = context.may_write(context.repo()), context.body, context.tables.settings.version
    file, is_old = context.workflow(repo), version is not None and _number(version) < (3, 21)
    for key in body:
        if key not in ALLOWED or (key == "return_run_details" and is_old):
            raise failed(422, f'Invalid request.\n\n"{key}" is not a permitted key.')
    if not isinstance(body.get("ref"), str):
        raise failed(422, 'Invalid request.\n\n"ref" wasn\'t supplied.')
    ref, inputs = str(body["ref"]).removeprefix("refs/heads/"), body.get("inputs") or {}
    if ref not in repo.branches:
        raise failed(422, f"No ref found for: {body['ref']}")
    if repo.spec.disabled:
        raise failed(422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
    if len(inputs) > MOST_INPUTS or len(str(inputs)) > LONGEST:
        raise failed(422, "Too many inputs")
    if not repo.spec.marker and (wrong := [name for name in inputs if name == "marker"]):
        raise failed(422, f"Unexpected inputs provided: {wrong}".replace("'", '"'))
    sent = {str(name): value for name, value in inputs.items()}
    run = context.tables.start(context.now, repo, file, "workflow_dispatch", ref, sent, stuck=context.stuck)
    is_told = body.get("return_run_details") is True or context.call.headers.get("x-github-api-version") == NEWEST
    if not is_told:
        return Reply(204, {}, b"")
    shown = shapes.run(run, context.base, context.actor)
    return json_reply(200, {"workflow_run_id": run.id, "run_url": shown["url"], "html_url": shown["html_url"]})


@route("POST /repos/{owner}/{repo}/dispatches")
def event(context: Context) -> Reply:
    """One run for each workflow that listens; each event that a repository knows starts one, an unknown one none."""
    repo, body = context.may_write(context.repo(), "contents"), context.body
    type_, payload = body.get("event_type"), body.get("client_payload") or {}
    if not isinstance(type_, str) or not 0 < len(type_) <= 100 or len(payload) > MOST_PAYLOAD:
        raise failed(422, "Invalid request.")
    for file in [*repo.workflows] if not repo.spec.events or type_ in repo.spec.events else ():
        args = (context.now, repo, file, "repository_dispatch", repo.default_branch, dict(payload))
        context.tables.start(*args, stuck=context.stuck)
    return Reply(204, {}, b"")


@route("POST /repos/{owner}/{repo}/actions/runs/{run:int}/cancel")
@route("POST /repos/{owner}/{repo}/actions/runs/{run:int}/force-cancel")
def cancel(context: Context) -> Reply:
    """A promise: the run ends a moment later."""
    run, tables = context.run(), context.tables
    context.may_write(run.repo)
    if run.status == "completed":
        raise failed(409, "Cannot cancel a workflow run that is completed.")
    tables.life.cancel(context.now, run)
    return json_reply(202, {})


@route("POST /repos/{owner}/{repo}/actions/runs/{run:int}/rerun")
@route("POST /repos/{owner}/{repo}/actions/runs/{run:int}/rerun-failed-jobs")
def rerun(context: Context) -> Reply:
    """The same run, one attempt later; it shows a moment later."""
    run, tables = context.run(), context.tables
    context.may_write(run.repo)
    if run.status != "completed":
        raise failed(403, "This workflow is already running")
    if context.call.path.endswith("rerun-failed-jobs") and run.outcome == "success":
        raise failed(403, "This workflow run cannot be retried")
    tables.life.again(context.now, run)
    return json_reply(201, {})


# -- what only shows ------------------------------------------------------------------------------------------------


@route("GET /user")
def me(context: Context) -> Reply:
    return json_reply(200, context.actor)


@route("GET /meta")
def meta(context: Context) -> Reply:
    version = context.tables.settings.version
    return json_reply(
        200, {"verifiable_password_authentication": False, **({"installed_version": version} if version else {})}
    )


@route("GET /orgs/{owner}/repos")
@route("GET /users/{owner}/repos")
def repos(context: Context) -> Reply:
    owner = unquote(context.names["owner"]).lower()
    rows = [repo for repo in context.tables.repos.values() if repo.slug.lower().startswith(f"{owner}/")]
    if not rows:
        raise failed(404, "Not Found")
    return context.page(rows, lambda repo: shapes.whole(repo, context.base))


@route("GET /orgs/{owner}/teams/{team}/repos")
def team(context: Context) -> Reply:
    name = f"{unquote(context.names['owner'])}/{unquote(context.names['team'])}".lower()
    slugs = {team.lower(): slugs for team, slugs in context.tables.settings.teams.items()}.get(name)
    if slugs is None:
        raise failed(404, "Not Found")
    rows = [context.tables.repos[slug.lower()] for slug in slugs if slug.lower() in context.tables.repos]
    return context.page(rows, lambda repo: shapes.whole(repo, context.base))


@route("GET /search/repositories")
def search(context: Context) -> Reply:
    """By owner, topic, whether it is archived, and words of the name; a thousand at most (reference 6.3, 11)."""
    words = context.query.get("q", "").lower().split()
    if not words:
        raise failed(422, "Validation Failed")
    found = [repo for repo in context.tables.repos.values() if all(_fits(repo, word) for word in words)]
    if int(context.query.get("page", 1)) * int(context.query.get("per_page", 30)) > MOST_FOUND:
        raise failed(422, "Only the first 1000 search results are available")
    return context.page(found, lambda repo: shapes.found(repo, context.base), "items", incomplete_results=False)


def _fits(repo: Repo, word: str) -> bool:
    kind, colon, value = word.partition(":")
    if kind in ("user", "org"):
        return repo.slug.lower().startswith(f"{value}/")
    if kind == "topic":
        return value in map(str.lower, repo.spec.topics)
    if kind == "archived":
        return value == str(repo.spec.archived).lower()
    return not colon and word in repo.slug.lower().partition("/")[2]


@route("GET /repos/{owner}/{repo}")
def one_repo(context: Context) -> Reply:
    return json_reply(200, shapes.whole(context.repo(), context.base))


@route("GET /repos/{owner}/{repo}/branches")
def branches(context: Context) -> Reply:
    return context.page([*context.repo().branches.items()], lambda row: _branch(*row))


@route("GET /repos/{owner}/{repo}/branches/{branch}")
@route("GET /repos/{owner}/{repo}/git/ref/tags/{branch}")
def branch(context: Context) -> Reply:
    name, heads = unquote(context.names["branch"]), context.repo().branches
    if name not in heads or "/git/ref/" in context.call.path:
        raise failed(404, "Branch not found")
    return json_reply(200, _branch(name, heads[name]))


@route("GET /repos/{owner}/{repo}/contents/.github/workflows/{workflow}")
def contents(context: Context) -> Reply:
    repo = context.may(context.repo(), "contents", "read")
    file, marker, ref = context.workflow(repo), repo.spec.marker, context.query.get("ref", "")
    if ref.removeprefix("refs/heads/") not in (*repo.branches, ""):
        raise failed(404, f"No commit found for the ref {ref}")
    names = [*repo.spec.inputs, *(["marker"] if marker else [])]
    inputs = "".join(["    inputs:\n", *(INPUT.format(name=name) for name in names)]) if names else ""
    written = WORKFLOW.format(shows=SHOWS if marker else "", inputs=inputs)
    content = base64.encodebytes(written.encode()).decode()
    path = f".github/workflows/{file}"
    return json_reply(200, {"type": "file", "name": file, "path": path, "encoding": "base64", "content": content})


@route("GET /repos/{owner}/{repo}/actions/workflows")
def workflows(context: Context) -> Reply:
    repo = context.repo()
    return context.page([*repo.workflows], lambda file: shapes.workflow(repo, file, context.base), "workflows")


@route("GET /repos/{owner}/{repo}/actions/workflows/{workflow}")
def one_workflow(context: Context) -> Reply:
    repo = context.repo()
    return json_reply(200, shapes.workflow(repo, context.workflow(repo), context.base))


@route("GET /repos/{owner}/{repo}/actions/runs")
@route("GET /repos/{owner}/{repo}/actions/workflows/{workflow}/runs")
def runs(context: Context) -> Reply:
    repo, query = context.repo(), context.query
    rows = [run for run in reversed(repo.runs) if run.visible_at <= context.now]
    if "workflow" in context.names:
        file = context.workflow(repo)
        rows = [run for run in rows if run.workflow == file]
    for name in ("event", "branch"):
        rows = [run for run in rows if query.get(name) in (None, getattr(run, name))]
    if wanted := query.get("status"):
        rows = [run for run in rows if wanted in (run.status, run.outcome)]
    return context.page(rows, lambda run: shapes.run(run, context.base, context.actor), "workflow_runs")


@route("GET /repos/{owner}/{repo}/actions/runs/{run:int}")
@route("GET /repos/{owner}/{repo}/actions/runs/{run:int}/attempts/{attempt:int}")
def one_run(context: Context) -> Reply:
    return json_reply(200, shapes.run(context.run(), context.base, context.actor))


@route("GET /repos/{owner}/{repo}/actions/runs/{run:int}/jobs")
@route("GET /repos/{owner}/{repo}/actions/runs/{run:int}/attempts/{attempt:int}/jobs")
def jobs(context: Context) -> Reply:
    run = context.run()
    has_job = run.status != "queued" and run.outcome not in ("startup_failure", "skipped")
    return context.page([run] if has_job else [], lambda row: shapes.job(row, context.base), "jobs")


@route("GET /repos/{owner}/{repo}/actions/jobs/{job:int}/logs")
def log(context: Context) -> Reply:
    run = context.tables.runs.get(int(context.names["job"]) - FIRST_JOB + FIRST_RUN)
    if run is None or run.repo is not context.repo() or run.status != "completed":
        raise failed(404, "Not Found")
    lines = ["##[group]Run make test", "##[endgroup]", *context.tables.life.printed(run)]
    lines += ["##[error]Process completed with exit code 1."] if run.outcome != "success" else []
    at = moment(run.updated_at)
    return text(200, "".join(f"{at} {line}\n" for line in lines))


@route("GET /repos/{owner}/{repo}/actions/runs/{run:int}/artifacts")
def artifacts(context: Context) -> Reply:
    return json_reply(200, {"total_count": 0, "artifacts": []})


@route("GET /repos/{owner}/{repo}/check-runs/{job:int}/annotations")
def notes(context: Context) -> Reply:
    return json_reply(200, [])


@route("POST /graphql")
@route("POST /api/graphql")
def graphql(context: Context) -> Reply:
    """The states of nodes; what else is asked is not known here."""
    if not context.tables.settings.graphql:
        raise failed(404, "Not Found")
    given, found = context.body.get("variables") or {}, {}
    by_node = {run.node: run for run in context.tables.runs.values()}
    for name, variable in _IDS.findall(str(context.body.get("query"))):
        if len(given.get(variable, ())) > MOST_PAGE:
            error = {"type": "ARGUMENT_LIMIT", "message": "You may not provide more than 100 node ids"}
            return json_reply(200, {"data": None, "errors": [error]})
        found[name] = [_node(by_node.get(id_), context.now) for id_ in given.get(variable, ())]
    if not found:
        return json_reply(200, {"data": None, "errors": [{"type": "NOT_FOUND", "message": "nothing is found here"}]})
    return json_reply(200, {"data": found})


def _node(run: Run | None, now: float) -> Object | None:
    if run is None or run.visible_at > now:
        return None
    suite = {"status": run.status.upper(), "conclusion": run.outcome and run.outcome.upper()}
    return {"id": run.node, "updatedAt": moment(run.updated_at), "checkSuite": suite}


def _branch(name: str, sha: str) -> Object:
    return {"name": name, "commit": {"sha": sha, "url": ""}, "protected": False}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
