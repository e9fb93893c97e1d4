"""One call to a GitHub: whose repository, workflow and run it is about, its pages, its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from orchestrator.lookalike.github import shapes
from orchestrator.lookalike.github.rows import Repo, Run, Tables
from orchestrator.lookalike.kit import rows as kit
from orchestrator.lookalike.kit.http import Object, Refused, Reply, json_reply, page_of

if TYPE_CHECKING:
    from orchestrator.lookalike.github.apps import Caller

DOCS = "https://docs.github.com/rest"
MOST_PAGE = 100


class Context(kit.Context[Tables]):
    """One call, and all that there is."""

    caller: Caller

    @property
    def actor(self) -> Object:
        """The user whose token it is."""
        return shapes.user(self.tables.settings.login, self.tables.settings.user_id, self.base)

    def repo(self) -> Repo:
        """The repository of the path; one that was renamed is elsewhere."""
        slug = f"{unquote(self.names['owner'])}/{unquote(self.names['repo'])}"
        repo = self.tables.repos.get(slug.lower())
        if repo is None and (moved := self.tables.moved.get(slug.lower())) is not None:
            rest = self.call.path.partition(f"/{self.names['owner']}/{self.names['repo']}")[2]
            status, there = 301 if self.call.method == "GET" else 307, f"{self.base}/repos/{moved.slug}{rest}"
            reply = json_reply(status, {"message": "Moved Permanently", "url": there, "documentation_url": DOCS})
            reply.headers["Location"] = there
            raise Refused(reply, "moved")
        if repo is None or not self.caller.sees(repo):
            raise failed(404, "Not Found")
        return repo

    def run(self) -> Run:
        """The run of the path."""
        run = self.tables.runs.get(int(self.names["run"]))
        if run is None or run.repo is not self.repo() or run.visible_at > self.now:
            raise failed(404, "Not Found")
        return run

    def workflow(self, repo: Repo) -> str:
        """The workflow of the path, by its file or its number."""
        wanted = unquote(self.names["workflow"])
        found = [file for file, id_ in repo.workflows.items() if wanted in (file, str(id_))]
        if not found:
            raise failed(404, "Not Found")
        return found[0]

    def page(self, rows: Sequence[Any], show: Callable[[Any], Object], key: str = "", **more: object) -> Reply:
        """A page of rows, with the link to the next one, and what else stands beside them."""
        query = self.query
        shown, following = page_of(rows, query, MOST_PAGE)
        entries = [show(row) for row in shown]
        reply = json_reply(200, {"total_count": len(rows), **more, key: entries} if key else entries)
        if following:
            reply.headers["Link"] = f'<{self.base}{self.call.path}?{following}>; rel="next"'
        return reply

    def may_write(self, repo: Repo, permission: str = "actions") -> Repo:
        """The repository, where the token may write to it."""
        if repo.spec.archived:
            raise failed(403, "Repository was archived so is read-only.")
        return self.may(repo, permission, "write")

    def may(self, repo: Repo, permission: str, level: str) -> Repo:
        """The repository, where the token has this permission."""
        is_allowed = self.caller.may(permission, level)
        if not is_allowed or (level == "write" and not repo.spec.may_trigger):
            whose = "personal access token" if is_allowed else "integration"
            refusal = failed(403, f"Resource not accessible by {whose}")
            refusal.reply.headers["X-Accepted-GitHub-Permissions"] = f"{permission}={level}"
            raise refusal
        return repo


def failed(status: int, message: str, docs: str = DOCS) -> Refused:
    """An error in GitHub's form."""
    reply = json_reply(status, {"message": message, "documentation_url": docs, "status": str(status)})
    return Refused(reply, message[:60])
