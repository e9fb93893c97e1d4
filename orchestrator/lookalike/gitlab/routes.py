"""The services of the API: what changes something (reference 4, 5, 10), then what only shows (6, 7, 9, 11)."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

from orchestrator.lookalike.gitlab import shapes
from orchestrator.lookalike.gitlab.context import Context, failed, lacking, refused
from orchestrator.lookalike.gitlab.rows import ATTEMPTS, Pipeline, Project
from orchestrator.lookalike.gitlab.settings import ANY
from orchestrator.lookalike.kit.http import Object, Refused, Reply, exact, json_reply, route, text
from orchestrator.lookalike.kit.life import Stage

COST = 9  # of one pipeline in a query
LEAD = "/api/v4/projects/{project}"
TOO_MANY = "Too many pipelines created in the last minute. Try again later."
_FIELD = re.compile(
    r'(\w+)\s*:\s*project\(\s*fullPath\s*:\s*("[^"]*")\s*\)\s*\{\s*pipeline\(\s*(id|iid)\s*:\s*("[^"]*")\s*\)'
)


# -- what changes something -----------------------------------------------------------------------------------------


@route(f"POST {LEAD}/pipeline")
def create(context: Context) -> Reply:
    project, ref = context.project(), context.body.get("ref")
    if not ref:
        raise lacking(ref=ref)
    found = context.body.get("variables") or []
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and isinstance(one.get("key"), str) for one in found
    ):
        raise Refused(json_reply(400, {"error": "variables is invalid"}), "variables is invalid")
    names = [str(one["key"]) for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise refused(f"Duplicate variable name: {twice}")
    if not project.spec.may_trigger:
        raise refused("Insufficient permissions to create a new pipeline")
    return _started(context, project, str(ref), "api", {str(one["key"]): str(one.get("value")) for one in found})


@route(f"POST {LEAD}/trigger/pipeline")
@route(f"POST {LEAD}/ref/{{ref}}/trigger/pipeline")
def trigger(context: Context) -> Reply:
    project, ref = context.project(), unquote(context.names.get("ref", "")) or context.body.get("ref")
    token, given = context.body.get("token"), context.body.get("variables") or {}
    if not ref or token is None:
        raise lacking(ref=ref, token=token)
    if context.call.headers.get("x-gitlab-event") == "Pipeline Hook":
        raise failed(403, "403 Forbidden")
    if project.spec.trigger_token not in (ANY, token):
        raise failed(404, "404 Not Found")
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise failed(400, "variables needs to be a map of key-valued strings")
    return _started(context, project, str(ref), "trigger", given)


def _started(context: Context, project: Project, ref: str, source: str, sent: dict[str, str]) -> Reply:
    """All checks, in GitLab's order, then the pipeline."""
    spec, inputs = project.spec, context.body.get("inputs") or {}
    ref = ref.removeprefix("refs/heads/")
    if not spec.builds or spec.archived:
        raise refused("Pipelines are disabled!")
    if ref not in project.branches:
        raise refused("Reference not found")
    if sent and not spec.variables:
        raise refused("Insufficient permissions to set pipeline variables")
    if unknown := [name for name in inputs if name not in spec.inputs]:
        raise refused(f"Given inputs not defined in the `spec` section of the included configuration file: {unknown}")
    most, login = context.tables.settings.creates, context.tables.settings.login
    if most and context.creates.count(f"{project.id} {login} {project.branches[ref]}", context.now) > most:
        raise refused(TOO_MANY)
    if spec.filtered:
        raise refused("Pipeline filtered out by workflow rules.")
    row = context.tables.start(context.now, project, source, ref, dict(sent), dict(inputs), stuck=context.stuck)
    return json_reply(201, {**shapes.whole(row, context.base, context.user), "status": "created"})


@route(f"POST {LEAD}/pipelines/{{pipeline:int}}/cancel")
def cancel(context: Context) -> Reply:
    row = context.writable()
    if row.stage is not Stage.OVER:
        row.is_canceling, row.updated_at = True, context.now
        context.tables.life.cancel(context.now, row)
    return json_reply(200, shapes.whole(row, context.base, context.user))


@route(f"POST {LEAD}/pipelines/{{pipeline:int}}/retry")
def retry(context: Context) -> Reply:
    row = context.writable()
    if row.outcome in ("failed", "canceled"):
        row.is_canceling = False
        context.tables.life.again(context.now, row)
    return json_reply(201, shapes.whole(row, context.base, context.user))


# -- what only shows ------------------------------------------------------------------------------------------------


@route("GET /api/v4/user")
def me(context: Context) -> Reply:
    return json_reply(200, context.user)


@route("GET /api/v4/personal_access_tokens/self")
def own_token(context: Context) -> Reply:
    scopes = list(context.tables.settings.scopes)
    return json_reply(200, {"id": 1, "name": "sandbox", "scopes": scopes, "active": True, "expires_at": "2027-12-31"})


@route("GET /api/v4/version")
def version(context: Context) -> Reply:
    return json_reply(200, {"version": "18.6.0-sandbox", "revision": "0000000"})


@route("GET /api/v4/projects")
@route("GET /api/v4/groups/{group}/projects")
@route("GET /api/v4/users/{group}/projects")
def projects(context: Context) -> Reply:
    lead, query = f"{_group(context)}/" if "group" in context.names else "", context.query
    is_whole = query.get("include_subgroups", "").lower() == "true" or not lead
    rows = [row for row in context.tables.listed if row.slug.lower().startswith(lead.lower())]
    rows = [row for row in rows if is_whole or "/" not in row.slug.removeprefix(lead)]
    rows = [row for row in rows if query.get("archived", "").lower() != "false" or not row.spec.archived]
    return context.page(rows, lambda row: shapes.project(row, context.base))


@route("GET /api/v4/groups/{group}")
def group(context: Context) -> Reply:
    path = _group(context)
    number = [*context.tables.groups].index(path.lower()) + 1
    return json_reply(200, {"id": number, "name": path, "path": path, "full_path": path})


def _group(context: Context) -> str:
    """The path of the group, which is named by that, or by its number."""
    name, groups = unquote(context.names["group"]).lower(), context.tables.groups
    numbered = dict(enumerate(groups.values(), 1))
    found = numbered.get(int(name)) if name.isdigit() else groups.get(name)
    if found is None:
        raise failed(404, "404 Group Not Found")
    return found


@route(f"GET {LEAD}")
def one_project(context: Context) -> Reply:
    return json_reply(200, shapes.project(context.project(), context.base))


@route(f"GET {LEAD}/repository/branches")
def branches(context: Context) -> Reply:
    return context.page([*context.project().branches.items()], lambda row: _branch(*row))


@route(f"GET {LEAD}/repository/branches/{{branch}}")
@route(f"GET {LEAD}/repository/tags/{{branch}}")
def branch(context: Context) -> Reply:
    name, heads = unquote(context.names["branch"]), context.project().branches
    if name not in heads or "/repository/tags/" in context.call.path:
        raise failed(404, "404 Branch Not Found")
    return json_reply(200, _branch(name, heads[name]))


def _branch(name: str, sha: str) -> Object:
    return {"name": name, "merged": False, "protected": False, "default": False, "commit": {"id": sha}}


@route(f"GET {LEAD}/pipelines")
def pipelines(context: Context) -> Reply:
    query = context.query
    rows = [row for row in reversed(context.project().pipelines) if row.visible_at <= context.now]
    if "source" not in query:
        rows = [row for row in rows if row.source != "parent_pipeline"]
    if query.get("scope") == "finished":
        rows = [row for row in rows if row.stage is Stage.OVER]
    for name, key in (("ref", "branch"), ("sha", "sha"), ("status", "status"), ("source", "source"), ("name", "name")):
        rows = [row for row in rows if query.get(name) in (None, getattr(row, key))]
    for name, key in (("created_after", "created_at"), ("updated_after", "updated_at")):
        rows = [row for row in rows if str(exact(getattr(row, key))) >= query.get(name, "")]
    if query.get("order_by") == "updated_at":
        rows.sort(key=lambda row: -row.updated_at)
    if query.get("sort") == "asc":
        rows.reverse()
    return context.page(rows, lambda row: shapes.short(row, context.base))


@route(f"GET {LEAD}/pipelines/{{pipeline:int}}")
def one_pipeline(context: Context) -> Reply:
    return json_reply(200, shapes.whole(context.pipeline(), context.base, context.user))


@route(f"GET {LEAD}/pipelines/{{pipeline:int}}/variables")
def variables(context: Context) -> Reply:
    row = context.pipeline()
    if row.project.spec.hidden:
        raise failed(403, "403 Forbidden")
    pairs = row.variables.items()
    return json_reply(
        200, [{"key": key, "value": value, "variable_type": "env_var", "raw": False} for key, value in pairs]
    )


@route(f"GET {LEAD}/pipelines/{{pipeline:int}}/bridges")
def bridges(context: Context) -> Reply:
    row = context.pipeline()
    return context.page(row.below, lambda one: shapes.bridge(row, one, context.base, context.user))


@route(f"GET {LEAD}/pipelines/{{pipeline:int}}/jobs")
def jobs(context: Context) -> Reply:
    row, scope = context.pipeline(), [value for name, value in context.call.query if name == "scope[]"]
    has_job = row.status != "skipped" and (not scope or row.status in scope)
    return context.page([row] if has_job else [], lambda one: shapes.job(one, context.base, context.user))


@route(f"GET {LEAD}/jobs/{{job:int}}/trace")
def trace(context: Context) -> Reply:
    row = context.tables.pipelines.get(int(context.names["job"]) // ATTEMPTS)
    if row is None or row.project is not context.project():
        raise failed(404, "404 Not Found")
    lines = ["\x1b[0KRunning with gitlab-runner 18.6.0\x1b[0;m", *context.tables.life.printed(row)]
    lines += ["\x1b[31;1mERROR: Job failed: exit code 1\x1b[0;m"] if row.outcome != "success" else []
    return text(200, "".join(f"{line}\n" for line in lines))


@route("POST /api/graphql")
def graphql(context: Context) -> Reply:
    """Pipelines of projects by aliases (reference 9.3); what else is asked is not known here."""
    if not context.tables.settings.graphql:
        raise failed(404, "404 Not Found")
    asked, limit = _FIELD.findall(str(context.body.get("query"))), context.tables.settings.complexity
    if (score := COST * len(asked)) > limit or not asked:
        told = f"Query has complexity of {score}, which exceeds max complexity of {limit}"
        return json_reply(200, {"errors": [{"message": told if asked else "nothing is found here"}]})
    found: Object = {"queryComplexity": {"score": score, "limit": limit}}
    for alias, path, key, wanted in asked:
        project = context.tables.projects.get(json.loads(path).lower())
        rows = [] if project is None else [row for row in project.pipelines if row.visible_at <= context.now]
        value = json.loads(wanted).rpartition("/")[2]
        row = next((row for row in rows if value == str(row.id if key == "id" else row.nth)), None)
        found[alias] = None if project is None else {"pipeline": None if row is None else _node(row)}
    return json_reply(200, {"data": found})


def _node(row: Pipeline) -> Object:
    began, id_ = exact(row.ran_at), f"gid://gitlab/Ci::Pipeline/{row.id}"
    return {"id": id_, "iid": str(row.nth), "status": row.status.upper(), "startedAt": began}
