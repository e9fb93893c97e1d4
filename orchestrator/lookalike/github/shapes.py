"""How rows are shown: all fields that GitHub's description requires, their addresses on the look-alike itself."""

from __future__ import annotations

from functools import lru_cache

from orchestrator.lookalike.github.rows import FIRST_JOB, FIRST_RUN, Repo, Run
from orchestrator.lookalike.kit.http import Object, moment

# What follows the address of a person, and of a repository, in the addresses of theirs that are shown with them.
OF_USER = """
events=/events{/privacy} followers=/followers following=/following{/other_user} gists=/gists{/gist_id}
organizations=/orgs received_events=/received_events repos=/repos starred=/starred{/owner}{/repo}
subscriptions=/subscriptions
"""
OF_REPO = """
archive=/{archive_format}{/ref} assignees=/assignees{/user} blobs=/git/blobs{/sha} branches=/branches{/branch}
collaborators=/collaborators{/collaborator} comments=/comments{/number} commits=/commits{/sha}
compare=/compare/{base}...{head} contents=/contents/{+path} contributors=/contributors deployments=/deployments
downloads=/downloads events=/events forks=/forks git_commits=/git/commits{/sha} git_refs=/git/refs{/sha}
git_tags=/git/tags{/sha} hooks=/hooks issue_comment=/issues/comments{/number} issue_events=/issues/events{/number}
issues=/issues{/number} keys=/keys{/key_id} labels=/labels{/name} languages=/languages merges=/merges
milestones=/milestones{/number} notifications=/notifications{?since,all,participating} pulls=/pulls{/number}
releases=/releases{/id} stargazers=/stargazers statuses=/statuses/{sha} subscribers=/subscribers
subscription=/subscription tags=/tags teams=/teams trees=/git/trees{/sha}
"""


def user(login: str, id_: int, base: str) -> Object:
    """An account of a person."""
    api = f"{base}/users/{login}"
    return {"id": id_, "node_id": f"U_{id_}", "login": login, "name": login, "type": "User", "url": api,
            "html_url": f"{base}/{login}", "avatar_url": f"{base}/{login}.png", "gravatar_id": "", "site_admin": False,
            **_addresses(OF_USER, api)}  # fmt: skip


def minimal(repo: Repo, base: str) -> Object:
    """A repository inside another thing."""
    owner, _, name = repo.slug.partition("/")
    return {"id": repo.id, "node_id": f"R_{repo.id}", "name": name, "full_name": repo.slug,
            "private": repo.spec.private, "owner": user(owner, 9, base), "fork": False, "description": None,
            "url": f"{base}/repos/{repo.slug}", "html_url": f"{base}/{repo.slug}",
            **_addresses(OF_REPO, f"{base}/repos/{repo.slug}")}  # fmt: skip


@lru_cache(maxsize=1000)
def _addresses(table: str, lead: str) -> Object:
    return {f"{name}_url": lead + rest for name, _, rest in (one.partition("=") for one in table.split())}


def whole(repo: Repo, base: str) -> Object:
    """A repository by itself."""
    push = repo.spec.may_trigger
    return {
        **minimal(repo, base),
        "default_branch": repo.default_branch,
        "archived": repo.spec.archived,
        "disabled": False,
        "topics": list(repo.spec.topics),
        "visibility": "private" if repo.spec.private else "public",
        "permissions": {"admin": False, "push": push, "pull": True},
    }


def found(repo: Repo, base: str) -> Object:
    """A repository that a search finds."""
    return {**whole(repo, base), "score": 1.0}


def workflow(repo: Repo, file: str, base: str) -> Object:
    """A workflow."""
    id_, name = repo.workflows[file], file.rpartition(".")[0] or file
    state = "disabled_manually" if repo.spec.disabled else "active"
    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    return {"id": id_, "node_id": f"W_{id_}", "name": name, "state": state, **times,
            "path": f".github/workflows/{file}",
            "url": f"{base}/repos/{repo.slug}/actions/workflows/{id_}", "badge_url": f"{base}/{repo.slug}/badge.svg",
            "html_url": f"{base}/{repo.slug}/blob/{repo.default_branch}/.github/workflows/{file}"}  # fmt: skip


def run(row: Run, base: str, actor: Object) -> Object:
    """A run of a workflow."""
    repo, sha = row.repo, row.repo.branches.get(row.branch, "0" * 40)
    api = f"{base}/repos/{row.slug}/actions/runs/{row.id}"
    suite = row.id + 1
    person = {"name": "Sandbox", "email": "sandbox@sandbox.invalid"}
    head = {"id": sha, "tree_id": sha, "message": f"Last change on {row.branch}", "timestamp": moment(row.created_at),
            "author": person, "committer": person}  # fmt: skip
    return {
        "id": row.id, "node_id": row.node, "name": row.workflow.rpartition(".")[0] or row.workflow,
        "display_title": row.title, "head_branch": row.branch, "head_sha": sha, "event": row.event,
        "path": f".github/workflows/{row.workflow}", "run_number": row.nth, "run_attempt": row.attempt,
        "status": row.status, "conclusion": row.outcome, "workflow_id": repo.workflows[row.workflow],
        "check_suite_id": suite, "check_suite_node_id": f"CS_{suite}", "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at), "run_started_at": moment(row.began_at), "pull_requests": [],
        "actor": actor, "triggering_actor": actor, "url": api,
        "html_url": f"{base}/{row.slug}/actions/runs/{row.id}",
        **{f"{name}_url": f"{api}/{name}" for name in ("jobs", "logs", "artifacts", "cancel", "rerun")},
        "check_suite_url": f"{base}/repos/{row.slug}/check-suites/{suite}",
        "workflow_url": f"{base}/repos/{row.slug}/actions/workflows/{repo.workflows[row.workflow]}",
        "previous_attempt_url": f"{api}/attempts/{row.attempt - 1}" if row.attempt > 1 else None,
        "head_commit": head, "repository": minimal(repo, base), "head_repository": minimal(repo, base),
    }  # fmt: skip


def job(row: Run, base: str) -> Object:
    """The one job of a run that began."""
    id_, over = FIRST_JOB + row.id - FIRST_RUN, row.status == "completed"
    api, ended = f"{base}/repos/{row.slug}", moment(row.updated_at) if over else None
    step = {"name": "make test", "status": row.status, "conclusion": row.outcome, "number": 1,
            "started_at": moment(row.began_at), "completed_at": ended}  # fmt: skip
    return {
        "id": id_, "run_id": row.id, "node_id": f"J_{id_}", "name": "build", "status": row.status,
        "conclusion": row.outcome, "run_attempt": row.attempt, "head_branch": row.branch,
        "head_sha": row.repo.branches.get(row.branch, "0" * 40), "workflow_name": row.workflow.rpartition(".")[0],
        "created_at": moment(row.began_at), "started_at": moment(row.began_at), "completed_at": ended,
        "labels": ["ubuntu-latest"], "runner_id": 1, "runner_name": "sandbox", "runner_group_id": 1,
        "runner_group_name": "GitHub Actions", "steps": [step], "run_url": f"{api}/actions/runs/{row.id}",
        "url": f"{api}/actions/jobs/{id_}", "check_run_url": f"{api}/check-runs/{id_}",
        "html_url": f"{base}/{row.slug}/actions/runs/{row.id}/job/{id_}",
    }  # fmt: skip
