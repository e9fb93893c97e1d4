"""One call to a GitHub: whose repository, workflow and run it is about, its pages, its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from orchestrator.lookalike.github import shapes
from orchestrator.lookalike.github.rows import Repo, Run, Tables
from orchestrator.lookalike.kit import rows as kit
from orchestrator.lookalike.kit.http import Object, Refused, Reply, json_reply, page_of

DOCS = "https://docs.github.com/rest"
MOST_PAGE = 100


class Context(kit.Context[Tables]):
    """One call, and all that there is."""

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
        if repo is None:
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

    def page(self, rows: Sequence[Any], show: Callable[[Any], Object], key: str = "") -> Reply:
        """A page of rows, with the link to the next one."""
        query = self.query
        shown, more = page_of(rows, query, MOST_PAGE)
        entries = [show(row) for row in shown]
        reply = json_reply(200, {"total_count": len(rows), key: entries} if key else entries)
        if more:
            reply.headers["Link"] = f'<{self.base}{self.call.path}?{more}>; rel="next"'
        return reply

    def may_write(self, repo: Repo) -> Repo:
        """The repository, where the token may write to it."""
        if repo.spec.archived:
            raise failed(403, "Repository was archived so is read-only.")
        if not repo.spec.may_trigger:
            refusal = failed(403, "Resource not accessible by personal access token")
            refusal.reply.headers["X-Accepted-GitHub-Permissions"] = "actions=write"
            raise refusal
        return repo


def failed(status: int, message: str, docs: str = DOCS) -> Refused:
    """An error in GitHub's form."""
    reply = json_reply(status, {"message": message, "documentation_url": docs, "status": str(status)})
    return Refused(reply, message[:60])
