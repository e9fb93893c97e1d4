"""How rows are shown, their addresses on the look-alike itself."""

from __future__ import annotations

from orchestrator.lookalike.gitlab.rows import ATTEMPTS, Pipeline, Project
from orchestrator.lookalike.kit.http import Object, exact
from orchestrator.lookalike.kit.life import Stage


def user(login: str, id_: int, base: str) -> Object:
    """A person."""
    return {"id": id_, "username": login, "name": login, "state": "active", "avatar_url": None,
            "web_url": f"{base}/{login}"}  # fmt: skip


def project(row: Project, base: str) -> Object:
    """A project."""
    spec, (group, _, name) = row.spec, row.slug.rpartition("/")
    access = {"access_level": 30 if spec.may_trigger else 20, "notification_level": 3}
    return {
        "id": row.id, "name": name, "path": name, "path_with_namespace": row.slug, "description": None,
        "default_branch": row.default_branch, "archived": spec.archived, "topics": list(spec.topics),
        "visibility": "private" if spec.private else "public", "web_url": f"{base}/{row.slug}",
        "namespace": {"id": 9, "name": group, "path": group, "kind": "group", "full_path": group},
        "http_url_to_repo": f"{base}/{row.slug}.git", "empty_repo": False,
        "builds_access_level": "enabled" if spec.builds else "disabled",
        "ci_pipeline_variables_minimum_override_role": "developer" if spec.variables else "no_one_allowed",
        "permissions": {"project_access": access, "group_access": None},
    }  # fmt: skip


def short(row: Pipeline, base: str) -> Object:
    """A pipeline in a listing."""
    return {
        "id": row.id, "iid": row.nth, "project_id": row.project.id, "sha": row.sha, "ref": row.branch,
        "status": row.status, "source": row.source, "created_at": exact(row.created_at),
        "updated_at": exact(row.updated_at), "web_url": f"{base}/{row.slug}/-/pipelines/{row.id}", "name": row.name,
    }  # fmt: skip


def whole(row: Pipeline, base: str, by: Object) -> Object:
    """A pipeline by itself."""
    word, ended = row.status, row.updated_at if row.stage is Stage.OVER else None
    path = f"/{row.slug}/-/pipelines/{row.id}"
    ran = row.ran_at is not None and ended is not None
    shown = {"icon": f"status_{word}", "text": word.capitalize(), "label": word, "group": word, "tooltip": word,
             "has_details": True, "details_path": path, "illustration": None, "favicon": f"/{word}.png"}  # fmt: skip
    return {
        **short(row, base), "before_sha": "0" * 40, "tag": False, "yaml_errors": None, "user": by,
        "started_at": exact(row.ran_at), "finished_at": exact(ended), "committed_at": None,
        "duration": int(ended - row.ran_at) if ran and ended and row.ran_at else None,
        "queued_duration": int(row.ran_at - row.began_at) if row.ran_at else None,
        "coverage": None, "detailed_status": shown, "archived": False,
    }  # fmt: skip


def job(row: Pipeline, base: str, by: Object) -> Object:
    """The one job of a pipeline; a new one after each retry."""
    id_, ended = row.id * ATTEMPTS + row.attempt, row.updated_at if row.stage is Stage.OVER else None
    return {
        "id": id_, "name": "test", "stage": "test", "status": row.status, "allow_failure": False, "ref": row.branch,
        "tag": False, "failure_reason": "script_failure" if row.status == "failed" else None, "coverage": None,
        "created_at": exact(row.began_at), "started_at": exact(row.ran_at), "finished_at": exact(ended),
        "erased_at": None, "duration": None, "queued_duration": None, "user": by, "artifacts": [], "runner": None,
        "web_url": f"{base}/{row.slug}/-/jobs/{id_}", "commit": {"id": row.sha, "short_id": row.sha[:8]},
        "pipeline": {"id": row.id, "project_id": row.project.id, "ref": row.branch, "sha": row.sha,
                     "status": row.status},
    }  # fmt: skip


def bridge(above: Pipeline, row: Pipeline, base: str, by: Object) -> Object:
    """The job of a pipeline that started another."""
    shown = {name: it for name, it in short(row, base).items() if name not in ("name", "iid")}
    return {
        **job(above, base, by), "id": row.id * ATTEMPTS, "name": f"start {row.slug}", "status": "success",
        "allow_failure": above.project.spec.may_fail, "failure_reason": None, "downstream_pipeline": shown,
    }  # fmt: skip
