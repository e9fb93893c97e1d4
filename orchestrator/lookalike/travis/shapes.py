"""What each kind of row shows: its fields, its representations, its address (reference 2, 5.1, 7, 9)."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.lookalike.kit.fields import Shape, attributes, constants, exact, moment, vcs_type
from orchestrator.lookalike.travis.rows import ACTIVE, Branch, Build, Commit, Job, Owner, Repo, Request, User
from orchestrator.lookalike.travis.tables import VCS_OFFSET

GUARDED = frozenset({"create_request", "cancel", "restart", "prioritize", "debug", "activate", "deactivate", "admin"})
BUILD_MINIMAL = (
    "id",
    "number",
    "state",
    "duration",
    "event_type",
    "previous_state",
    "pull_request_title",
    "pull_request_number",
    "started_at",
    "finished_at",
    "private",
    "priority",
)
BUILD_STANDARD = (
    *BUILD_MINIMAL,
    "repository",
    "branch",
    "tag",
    "commit",
    "jobs",
    "stages",
    "created_by",
    "updated_at",
)
REPO_LIST = ("id", "name", "slug", "active", "private", "owner", "vcs_id", "vcs_type", "server_type")
OWNER_FIELDS = ("id", "login", "name", "vcs_type", "ro_mode")

SHAPES: dict[type, Shape] = {
    Repo: Shape(
        "repository",
        lambda row: f"/repo/{row.id}",
        {
            **attributes("id", "name", "slug", "active", "private", "owner"),
            **constants(
                description=None,
                github_language=None,
                starred=False,
                managed_by_installation=True,
                active_on_org=False,
                migration_status=None,
                history_migration_status=None,
                shared=False,
                config_validation=True,
                server_type="git",
                scan_failed_at=None,
                current_build=None,
            ),
            "github_id": lambda row: row.id + VCS_OFFSET,
            "vcs_id": lambda row: str(row.id + VCS_OFFSET),
            "vcs_type": lambda row: vcs_type(row.vcs, "Repository"),
            "owner_name": lambda row: row.owner.login,
            "vcs_name": lambda row: row.name,
            "default_branch": lambda row: row.branches[row.default_branch],
            "build_count": lambda row: len(row.builds),
            "last_started_build": lambda row: next((b for b in reversed(row.builds) if b.started_at), None),
        },
        {
            "minimal": ("id", "name", "slug"),
            "list": REPO_LIST,
            "standard": (
                *("id", "name", "slug", "description", "github_id", "vcs_id", "vcs_type", "github_language"),
                *("active", "private", "owner", "owner_name", "vcs_name", "default_branch", "starred"),
                *("managed_by_installation", "active_on_org", "migration_status", "history_migration_status"),
                *("shared", "config_validation", "server_type", "scan_failed_at", "build_count"),
            ),
        },
        (
            *("read", "activate", "deactivate", "migrate", "star", "create_cron", "create_env_var", "create_key_pair"),
            *("delete_key_pair", "create_request", "admin", "build_cancel", "build_restart", "settings_read"),
        ),
    ),
    Owner: Shape(
        "organization",
        lambda row: f"/org/{row.id}",
        {
            **attributes("id", "login"),
            "name": lambda row: row.login.capitalize(),
            "vcs_type": lambda row: vcs_type(row.vcs, "Organization"),
            **constants(ro_mode=False, avatar_url=None, education=False),
            "github_id": lambda row: row.id + VCS_OFFSET,
            "vcs_id": lambda row: str(row.id + VCS_OFFSET),
        },
        {
            "minimal": OWNER_FIELDS,
            "standard": (*OWNER_FIELDS, "github_id", "vcs_id", "avatar_url", "education"),
        },
        ("read", "sync", "admin"),
    ),
    User: Shape(
        "user",
        lambda row: f"/user/{row.id}",
        {
            **attributes("id", "login"),
            "name": lambda row: row.login.capitalize(),
            "email": lambda row: f"{row.login}@sandbox.invalid",
            "github_id": lambda row: row.id + VCS_OFFSET,
            "vcs_id": lambda row: str(row.id + VCS_OFFSET),
            **constants(
                vcs_type="GithubUser",
                avatar_url=None,
                education=False,
                is_syncing=False,
                synced_at="2026-01-01T00:00:00Z",
                confirmed_at="2026-01-01T00:00:00Z",
                recently_signed_up=False,
                secure_user_hash=None,
                ro_mode=False,
            ),
        },
        {
            "minimal": ("id", "login"),
            "standard": (
                *("id", "login", "name", "email", "github_id", "vcs_id", "vcs_type", "avatar_url", "education"),
                *("is_syncing", "synced_at", "recently_signed_up", "secure_user_hash", "ro_mode", "confirmed_at"),
            ),
        },
        ("read", "sync"),
    ),
    Branch: Shape(
        "branch",
        lambda row: f"/repo/{row.repo.id}/branch/{row.name}",
        {
            **attributes("name", "last_build"),
            "repository": lambda row: row.repo,
            "default_branch": lambda row: row.name == row.repo.default_branch,
            "exists_on_github": lambda row: row.exists,
        },
        {
            "minimal": ("name",),
            "standard": ("name", "repository", "default_branch", "exists_on_github", "last_build"),
        },
        ("read",),
    ),
    Commit: Shape(
        "commit",
        lambda row: None,
        {
            **attributes("id", "sha", "message"),
            "compare_url": lambda row: f"https://github.com/{row.repo.slug}/compare/{row.sha}",
            "committed_at": lambda row: moment(row.committed_at),
            **constants(ref=None, committer={"name": "Sandbox", "avatar_url": None}),
            "author": lambda row: {"name": "Sandbox", "avatar_url": None},
        },
        {
            "minimal": ("id", "sha", "ref", "message", "compare_url", "committed_at"),
            "standard": ("id", "sha", "ref", "message", "compare_url", "committed_at", "committer", "author"),
        },
    ),
    Request: Shape(
        "request",
        lambda row: f"/repo/{row.repo.id}/request/{row.id}",
        {
            **attributes("id", "state", "result", "message", "commit", "builds"),
            "repository": lambda row: row.repo,
            "branch_name": lambda row: None if row.commit is None else row.commit.branch,
            "owner": lambda row: row.repo.owner,
            "created_at": lambda row: moment(row.created_at),
            "config": lambda row: None if row.commit is None else _config(row),
            "yaml_config": lambda row: None,
            "raw_configs": lambda row: [] if row.commit is None else _raw_configs(row),
            "messages": lambda row: [],
            **constants(pull_request_mergeable=None, event_type="api", base_commit=None, head_commit=None),
        },
        {
            "minimal": ("id", "state", "result", "message", "pull_request_mergeable"),
            "standard": (
                *("id", "state", "result", "message", "pull_request_mergeable", "repository", "branch_name"),
                *("commit", "builds", "owner", "created_at", "event_type", "base_commit", "head_commit"),
                *("messages", "config", "raw_configs"),
            ),
        },
        ("read",),
    ),
    Build: Shape(
        "build",
        lambda row: f"/build/{row.id}",
        {
            **attributes("id", "number", "state", "duration", "commit", "jobs", "request"),
            "previous_state": lambda row: row.previous,
            "started_at": lambda row: moment(row.started_at),
            "finished_at": lambda row: moment(row.finished_at),
            "updated_at": lambda row: exact(row.updated_at),
            "private": lambda row: row.repo.private,
            "repository": lambda row: row.repo,
            "branch": lambda row: row.repo.branches.get(row.commit.branch),
            "created_by": lambda row: row.request.user,
            "active_jobs": lambda row: [job for job in row.jobs if job.state in ACTIVE],
            "stages": lambda row: [],
            **constants(event_type="api", pull_request_title=None, pull_request_number=None, tag=None, priority=False),
        },
        {
            "minimal": BUILD_MINIMAL,
            "list": (*BUILD_MINIMAL, "branch", "tag", "commit", "request", "created_by"),
            "standard": BUILD_STANDARD,
            "active": BUILD_STANDARD,
        },
        ("read", "cancel", "restart", "prioritize"),
    ),
    Job: Shape(
        "job",
        lambda row: f"/job/{row.id}",
        {
            **attributes("id", "allow_failure", "number", "state", "build"),
            "started_at": lambda row: moment(row.started_at),
            "finished_at": lambda row: moment(row.finished_at),
            "created_at": lambda row: exact(row.created_at),
            "updated_at": lambda row: exact(row.updated_at),
            "restarted_at": lambda row: exact(row.restarted_at),
            "repository": lambda row: row.build.repo,
            "commit": lambda row: row.build.commit,
            "owner": lambda row: row.build.repo.owner,
            "private": lambda row: row.build.repo.private,
            "config": lambda row: _config(row.build.request),
            **constants(queue="builds.gce", stage=None, restarted_by=None, vm_size=None),
        },
        {
            "minimal": ("id",),
            "standard": (
                *("id", "allow_failure", "number", "state", "started_at", "finished_at", "build", "queue"),
                *("repository", "commit", "owner", "stage", "created_at", "updated_at", "private"),
                *("restarted_at", "restarted_by", "vm_size"),
            ),
        },
        ("read", "cancel", "restart", "debug", "delete_log"),
    ),
}

SHAPE_OF: dict[str, Shape] = {shape.type: shape for shape in SHAPES.values()}


def _config(request: Request) -> Any:
    config = request.wanted.get("config")
    if isinstance(config, str):
        try:
            return json.loads(config)
        except ValueError:
            return {}
    return config or {}


def _raw_configs(request: Request) -> list[dict[str, Any]]:
    if "config" not in request.wanted:
        return []
    return [{"config": json.dumps(_config(request)), "source": "api", "merge_mode": request.wanted.get("merge_mode")}]
