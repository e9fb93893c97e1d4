"""One call as the services see it: authenticated, routed, its parameters read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit.printer import Object, Printer, read_include
from orchestrator.lookalike.kit.reply import Reply, login_required, not_found
from orchestrator.lookalike.travis.rows import Owner, Repo, User
from orchestrator.lookalike.travis.tables import Tables


@dataclass(slots=True)
class Visit:
    """A call to one service.

    Args:
        path: with the version prefix, without the installation's, still percent-encoded.
        names: the segments that stand for something, decoded after routing.
        vcs: which provider of repositories is meant.
        params: the parsed body.
        prefix: what the server puts before every address that it prints.
        stuck: a fault wants the row written and the queue not told.
    """

    path: str
    names: tuple[str, ...]
    vcs: str
    query: Mapping[str, str]
    params: Mapping[str, Any]
    user: User | None
    now: float
    prefix: str = ""
    stuck: bool = False
    warnings: list[Object] = field(default_factory=list)

    def the_user(self) -> User:
        """Who is logged in."""
        if self.user is None:
            raise login_required()
        return self.user

    def the_repo(self, tables: Tables) -> Repo:
        """The repository that the path names."""
        repo = tables.repo(self.vcs, self.names[0])
        if repo is None or (repo.private and self.user is None):
            raise not_found("repository")
        return repo

    def the_owner(self, tables: Tables) -> Owner:
        """The owner that the path names."""
        owner = tables.owner(self.vcs, self.names[0])
        if owner is None:
            raise not_found("owner")
        return owner

    def printer(self) -> Printer:
        """Shows rows as this call wants them."""
        return Printer(read_include(self.query.get("include")), self.prefix)

    def ignored(self, name: str) -> None:
        """Warns of a parameter that means nothing here."""
        self.warn(f"query parameter {name} not whitelisted, ignored", "ignored_parameter", name)

    def warn(self, message: str, kind: str, name: str) -> None:
        """Adds to the `@warnings` of the answer."""
        self.warnings.append({"@type": "warning", "message": message, "warning_type": kind, "parameter": name})


Service: TypeAlias = Callable[[Visit], "Object | Reply"]


class Route(Struct, frozen=True):
    """A service and the query parameters that it knows besides `include`."""

    name: str
    service: Service
    accepts: frozenset[str] = frozenset()
    status: int = 200
