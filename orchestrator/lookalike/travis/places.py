"""Looking at users, owners, repositories and branches (reference 9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.lookalike.kit.printer import Object
from orchestrator.lookalike.kit.reply import not_found
from orchestrator.lookalike.travis.paging import sorted_by
from orchestrator.lookalike.travis.reads import page_of
from orchestrator.lookalike.travis.rows import Branch, Repo
from orchestrator.lookalike.travis.settings import Settings
from orchestrator.lookalike.travis.tables import VCS_OFFSET, Tables
from orchestrator.lookalike.travis.visit import Visit

REPO_ORDERS: Mapping[str, Callable[[Repo], Any]] = {
    "id": lambda repo: repo.id,
    "github_id": lambda repo: repo.id + VCS_OFFSET,
    "vcs_id": lambda repo: repo.id + VCS_OFFSET,
    "owner_name": lambda repo: repo.owner.login,
    "name": lambda repo: repo.name,
    "active": lambda repo: repo.active,
    "default_branch.last_build": lambda repo: _last(repo.branches[repo.default_branch]),
    "current_build": lambda repo: repo.builds[-1].id if repo.builds else 0,
}
BRANCH_ORDERS: Mapping[str, Callable[[Branch], Any]] = {
    "name": lambda branch: branch.name,
    "last_build": lambda branch: _last(branch),
    "exists_on_github": lambda branch: branch.exists,
    "default_branch": lambda branch: branch.name == branch.repo.default_branch,
}


class Places:
    """The services that show where builds can be started, and by whom."""

    def __init__(self, settings: Settings, tables: Tables) -> None:
        self._settings = settings
        self._tables = tables

    def home(self, visit: Visit) -> Object:
        """`GET /`: the API about itself."""
        return {"@type": "home", "@href": f"{visit.prefix}/", "config": {}, "errors": {}, "resources": {}}

    def user(self, visit: Visit) -> Object:
        """`GET /user`."""
        return visit.printer().one(visit.the_user())

    def owner(self, visit: Visit) -> Object:
        """`GET /owner/{login}`."""
        return visit.printer().one(visit.the_owner(self._tables))

    def allowance(self, visit: Visit) -> Object:
        """`GET /owner/{login}/allowance`: this owner may always build."""
        owner = visit.the_owner(self._tables)
        return {
            "@type": "allowance",
            "@representation": "standard",
            "subscription_type": 2,
            "public_repos": True,
            "private_repos": True,
            "concurrency_limit": self._settings.concurrency,
            "user_usage": True,
            "pending_user_licenses": False,
            "id": owner.id,
        }

    def repo(self, visit: Visit) -> Object:
        """`GET /repo/{id}`."""
        return visit.printer().one(visit.the_repo(self._tables))

    def owner_repos(self, visit: Visit) -> Object:
        """`GET /owner/{login}/repos`."""
        return self._repos(visit, visit.the_owner(self._tables).repos)

    def my_repos(self, visit: Visit) -> Object:
        """`GET /repos`."""
        visit.the_user()
        return self._repos(visit, list(self._tables.repos.values()))

    def branches(self, visit: Visit) -> Object:
        """`GET /repo/{id}/branches`."""
        repo, query = visit.the_repo(self._tables), visit.query
        rows = [*repo.branches.values(), *repo.glimpsed.values()]
        exists, name = query.get("exists_on_github"), query.get("name")
        if exists is not None:
            rows = [row for row in rows if row.exists == (exists != "false")]
        if name is not None:
            rows = [row for row in rows if name.lower() in row.name.lower()]
        default = "default_branch:desc,exists_on_github:desc,last_build:desc"
        rows, unknown = sorted_by(rows, query.get("sort_by"), BRANCH_ORDERS, default)
        for each in unknown:
            visit.warn(f"query value {each} for sort_by not a valid sort mode, ignored", "ignored_value", each)
        return page_of(visit, "branches", rows, 25)

    def branch(self, visit: Visit) -> Object:
        """`GET /repo/{id}/branch/{name}`. An unknown name leaves a row behind, which the next look finds."""
        repo, name = visit.the_repo(self._tables), visit.names[1]
        row = repo.branches.get(name) or repo.glimpsed.get(name)
        if row is None:
            repo.glimpsed[name] = Branch(repo, name)
            raise not_found("branch")
        return visit.printer().one(row)

    def _repos(self, visit: Visit, rows: list[Repo]) -> Object:
        query = visit.query
        for flag in ("active", "private"):
            wanted = query.get(flag, query.get(f"repository.{flag}"))
            if wanted is not None:
                rows = [row for row in rows if getattr(row, flag) == (wanted != "false")]
        for name, field in (("name_filter", "name"), ("slug_filter", "slug")):
            wanted = query.get(name)
            if wanted is not None:
                rows = [row for row in rows if wanted.lower() in getattr(row, field).lower()]
        if visit.user is None:
            rows = [row for row in rows if not row.private]
        rows, unknown = sorted_by(rows, query.get("sort_by"), REPO_ORDERS, "id")
        for each in unknown:
            visit.warn(f"query value {each} for sort_by not a valid sort mode, ignored", "ignored_value", each)
        return page_of(visit, "repositories", rows, 100)


def _last(branch: Branch) -> int:
    return 0 if branch.last_build is None else branch.last_build.id
