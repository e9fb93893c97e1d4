"""How rows are shown: the fields of Buildkite's own examples, their addresses on the look-alike itself."""

from __future__ import annotations

from orchestrator.lookalike.buildkite.rows import Build, Pipeline, Tables
from orchestrator.lookalike.kit.http import Object, exact
from orchestrator.lookalike.kit.life import Stage

LONG_AGO = "2026-01-01T00:00:00.000Z"


def user(tables: Tables) -> Object:
    """The user whose token it is."""
    login = tables.settings.login
    return {"id": tables.uuid("user", login), "graphql_id": f"VXNlci0{login}", "name": login,
            "email": f"{login}@sandbox.invalid", "avatar_url": "", "created_at": LONG_AGO}  # fmt: skip


def organization(tables: Tables, slug: str, base: str) -> Object:
    """An organization."""
    api, id_ = f"{base}/v2/organizations/{slug}", tables.uuid("org", slug)
    return {"id": id_, "graphql_id": f"T3JnLS0{slug}", "slug": slug, "name": slug, "url": api,
            "web_url": f"{base}/{slug}", "pipelines_url": f"{api}/pipelines", "agents_url": f"{api}/agents",
            "created_at": LONG_AGO}  # fmt: skip


def pipeline(row: Pipeline, base: str) -> Object:
    """A pipeline."""
    owner, _, slug = row.spec.slug.partition("/")
    api, running = f"{base}/v2/organizations/{owner}/pipelines/{slug}", [build.stage for build in row.builds]
    return {
        "id": row.id, "graphql_id": f"UGlwZWxpbmUt{row.id[:8]}", "url": api, "web_url": f"{base}/{owner}/{slug}",
        "name": slug, "slug": slug, "description": "", "repository": f"git@github.com:{row.spec.slug}.git",
        "default_branch": row.spec.default_branch, "branch_configuration": " ".join(row.spec.only) or None,
        "skip_queued_branch_builds": row.spec.skips, "cancel_running_branch_builds": False, "visibility": "private",
        "tags": list(row.spec.tags), "builds_url": f"{api}/builds", "badge_url": f"{base}/badge/{row.id}.svg",
        "created_at": LONG_AGO, "archived_at": LONG_AGO if row.spec.archived else None,
        "scheduled_builds_count": running.count(Stage.QUEUED), "running_builds_count": running.count(Stage.RUNNING),
        "provider": {"id": "github", "webhook_url": "", "settings": {}}, "env": {}, "steps": [],
    }  # fmt: skip


def job_id(row: Build, tables: Tables) -> str:
    """The id of the build's job; a retry is another one."""
    return tables.uuid("job", row.slug, row.nth, row.attempt)


def job(row: Build, tables: Tables, base: str) -> Object:
    """The one job of a build."""
    over, id_ = row.stage is Stage.OVER, job_id(row, tables)
    state = {"not_run": "broken", "skipped": "skipped"}.get(row.state, row.state)
    address, web = f"{_address(row, base)}/jobs/{id_}", f"{base}/{row.slug}/builds/{row.nth}#{id_}"
    ran = row.ran_at is not None
    return {
        "id": id_, "graphql_id": f"Sm9iLS0t{id_[:8]}", "type": "script", "name": "make test", "step_key": "test",
        "state": state, "web_url": web, "build_url": _address(row, base), "log_url": f"{address}/log",
        "raw_log_url": f"{address}/log.txt", "command": "make test", "soft_failed": False, "agent_query_rules": [],
        "exit_status": None if not over or not ran else 0 if state == "passed" else 1, "agent": None,
        "artifact_paths": "", "created_at": exact(row.created_at), "scheduled_at": exact(row.began_at),
        "runnable_at": exact(row.began_at),
        "started_at": exact(row.ran_at), "finished_at": exact(row.updated_at) if over else None, "retried": False,
        "retries_count": row.attempt - 1, "retry_type": "manual" if row.attempt > 1 else None,
    }  # fmt: skip


def build(row: Build, tables: Tables, base: str, *, jobs: bool = True, whole: bool = True) -> Object:
    """A build."""
    of = row.rebuilt_from
    shown: Object = {
        "id": row.id, "graphql_id": f"QnVpbGQt{row.id[:8]}", "url": _address(row, base), "number": row.nth,
        "web_url": f"{base}/{row.slug}/builds/{row.nth}", "state": row.state, "blocked": False, "cancel_reason": None,
        "message": row.sent.get("message"), "commit": row.sent.get("commit"), "branch": row.branch, "tag": None,
        "env": row.sent.get("env") or {}, "source": row.source, "creator": user(tables),
        "author": row.sent.get("author"),
        "created_at": exact(row.created_at), "scheduled_at": exact(row.began_at), "started_at": exact(row.ran_at),
        "finished_at": exact(row.updated_at) if row.stage is Stage.OVER else None, "failing_at": None,
        "meta_data": row.meta, "pull_request": None, "merge_queue": None,
        "rebuilt_from": None if of is None else {"id": of.id, "number": of.nth, "url": _address(of, base)},
    }  # fmt: skip
    shown.update({"jobs": [job(row, tables, base)]} if jobs else {})
    return {**shown, "pipeline": pipeline(row.pipeline, base)} if whole else shown


def _address(row: Build, base: str) -> str:
    owner, _, slug = row.slug.partition("/")
    return f"{base}/v2/organizations/{owner}/pipelines/{slug}/builds/{row.nth}"
