"""How rows are shown, their addresses on the look-alike itself. What has not happened yet is the year 1970."""

from __future__ import annotations

from orchestrator.lookalike.gitea.rows import Repo, Run
from orchestrator.lookalike.kit.http import Object, moment
from orchestrator.lookalike.kit.life import Stage

API = "/api/v1"
STATUS = {Stage.QUEUED: "queued", Stage.RUNNING: "in_progress", Stage.OVER: "completed"}
FORGEJO_STATUS = {Stage.QUEUED: "waiting", Stage.RUNNING: "running"}
DISPATCH = "workflow_dispatch"


def user(login: str, id_: int, base: str) -> Object:
    """An account of a person or an organization."""
    return {"id": id_, "login": login, "full_name": login, "email": f"{login}@sandbox.invalid", "is_admin": False,
            "avatar_url": f"{base}/avatars/{login}", "html_url": f"{base}/{login}"}  # fmt: skip


def repo(row: Repo, base: str) -> Object:
    """A repository."""
    owner, _, name = row.slug.partition("/")
    return {
        "id": row.id, "name": name, "full_name": row.slug, "owner": user(owner, 9, base),
        "private": row.spec.private, "archived": row.spec.archived, "has_actions": row.spec.actions,
        "empty": False, "fork": False, "default_branch": row.default_branch, "topics": list(row.spec.topics),
        "permissions": {"admin": False, "push": row.spec.may_trigger, "pull": True},
        "url": f"{base}{API}/repos/{row.slug}", "html_url": f"{base}/{row.slug}",
    }  # fmt: skip


def run_url(row: Run, base: str) -> str:
    """Where a run is shown by the API."""
    return f"{base}{API}/repos/{row.slug}/actions/runs/{row.id}"


def run(row: Run, base: str, actor: Object, *, has_times: bool) -> Object:
    """A run of Gitea; older servers do not show when it was made."""
    began, over = row.began_at if row.stage is not Stage.QUEUED else 0.0, row.stage is Stage.OVER
    shown = repo(row.repo, base)
    times = {"created_at": moment(row.created_at), "updated_at": moment(row.updated_at)} if has_times else {}
    return {
        "id": row.id, "url": run_url(row, base), "html_url": f"{base}/{row.slug}/actions/runs/{row.id}",
        "display_title": f"Last change on {row.branch}", "path": f"{row.workflow}@refs/heads/{row.branch}",
        "event": DISPATCH, "run_attempt": row.attempt, "run_number": row.nth, "repository_id": row.repo.id,
        "head_sha": row.repo.branches.get(row.branch, "0" * 40), "head_branch": row.branch,
        "status": STATUS[row.stage], "conclusion": row.outcome or "", "actor": actor, "trigger_actor": actor,
        "repository": shown, "head_repository": shown, "started_at": moment(began),
        "completed_at": moment(row.updated_at if over else 0.0), "pull_requests": [], **times,
    }  # fmt: skip


def job(row: Run, base: str) -> Object:
    """The one job of a run of Gitea that began."""
    over = row.stage is Stage.OVER
    return {
        "id": row.id + 500_000, "url": f"{base}{API}/repos/{row.slug}/actions/jobs/{row.id + 500_000}",
        "html_url": f"{base}/{row.slug}/actions/runs/{row.id}/jobs/0", "run_id": row.id, "run_url": run_url(row, base),
        "name": "build", "labels": ["docker"], "run_attempt": row.attempt, "head_branch": row.branch,
        "head_sha": row.repo.branches.get(row.branch, "0" * 40), "status": STATUS[row.stage],
        "conclusion": row.outcome or "", "runner_id": 1, "runner_name": "sandbox", "steps": [],
        "created_at": moment(row.created_at), "started_at": moment(row.began_at),
        "completed_at": moment(row.updated_at if over else 0.0),
    }  # fmt: skip


def forgejo_run(row: Run, base: str, actor: Object) -> Object:
    """A run of Forgejo, which has one word for status and conclusion."""
    began, over = row.began_at if row.stage is not Stage.QUEUED else 0.0, row.stage is Stage.OVER
    return {
        "id": row.id, "title": f"Last change on {row.branch}", "repository": repo(row.repo, base),
        "workflow_id": row.workflow, "index_in_repo": row.nth, "trigger_user": actor, "ScheduleID": 0,
        "prettyref": row.branch, "is_ref_deleted": False, "is_fork_pull_request": False, "need_approval": False,
        "commit_sha": row.repo.branches.get(row.branch, "0" * 40), "approved_by": 0, "event": DISPATCH,
        "event_payload": "{}", "trigger_event": DISPATCH, "status": row.outcome or FORGEJO_STATUS[row.stage],
        "started": moment(began), "stopped": moment(row.updated_at if over else 0.0),
        "created": moment(row.created_at), "updated": moment(row.updated_at),
        "duration": int((row.updated_at - row.began_at) * 1e9) if over else 0,
        "html_url": f"{base}/{row.slug}/actions/runs/{row.nth}",
    }  # fmt: skip
