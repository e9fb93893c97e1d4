"""The rows of a world: owners, repos, requests, builds, jobs. They change in place; only `life` and `create` do it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

ACTIVE = frozenset({"created", "queued", "received", "started"})


@dataclass(slots=True, eq=False)
class User:
    """Who holds a token."""

    id: int
    login: str
    token: str
    builds: list[Build] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Owner:
    """An organization; its jobs share one queue and its capacity."""

    id: int
    login: str
    vcs: str
    repos: list[Repo] = field(default_factory=list)
    waiting: deque[tuple[Job, int]] = field(default_factory=deque)  # with the turn it waits for
    running: int = 0
    active: dict[int, Build] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Branch:
    """A branch that the API has seen."""

    repo: Repo
    name: str
    exists: bool = True
    last_build: Build | None = None


@dataclass(slots=True, eq=False)
class Repo:
    """A repository, with everything that belongs to it in the order of making."""

    id: int
    owner: Owner
    name: str
    vcs: str
    private: bool
    active: bool
    may_trigger: bool
    default_branch: str
    hourly: int
    rejects: str | None
    branches: dict[str, Branch] = field(default_factory=dict)
    glimpsed: dict[str, Branch] = field(default_factory=dict)  # rows that a look-up of an unknown name left behind
    requests: list[Request] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    last_number: int = 0
    asked: dict[str, int] = field(default_factory=dict)  # requests by branch, so that draws do not depend on order
    within_hour: deque[float] = field(default_factory=deque)

    @property
    def slug(self) -> str:
        """`owner/name`."""
        return f"{self.owner.login}/{self.name}"


@dataclass(slots=True, eq=False)
class Commit:
    """What a processed request builds."""

    id: int
    repo: Repo
    sha: str
    message: str
    branch: str
    committed_at: float


@dataclass(slots=True, eq=False)
class Request:
    """One accepted POST.

    Args:
        wanted: the request object as it was sent, without null keys.
        nth: which request of this branch it is.
        visible_at: from when on listings show it.
    """

    id: int
    repo: Repo
    user: User
    created_at: float
    visible_at: float
    wanted: dict[str, object]
    branch: str
    nth: int
    state: str = "pending"
    result: str | None = None
    message: str | None = None
    commit: Commit | None = None
    builds: list[Build] = field(default_factory=list)

    @property
    def said(self) -> str | None:
        """The message that came with it."""
        said = self.wanted.get("message")
        return said if isinstance(said, str) else None


@dataclass(slots=True, eq=False)
class Build:
    """What runs for a request. A restart keeps its id and number."""

    id: int
    number: str
    request: Request
    commit: Commit
    created_at: float
    updated_at: float
    previous: str | None
    destiny: str = "passed"
    state: str = "created"
    started_at: float | None = None
    finished_at: float | None = None
    restarts: int = 0
    jobs: list[Job] = field(default_factory=list)

    @property
    def repo(self) -> Repo:
        """Whose build it is."""
        return self.request.repo

    @property
    def duration(self) -> int | None:
        """Whole seconds summed over the jobs (not wall clock), once it has ended (reference 7.2)."""
        if self.finished_at is None:
            return None
        return int(sum(job.seconds for job in self.jobs))


@dataclass(slots=True, eq=False)
class Job:
    """One job of a build. `turn` counts its lives: what is due for an earlier one is ignored."""

    id: int
    number: str
    build: Build
    allow_failure: bool
    created_at: float
    updated_at: float
    state: str = "created"
    started_at: float | None = None
    finished_at: float | None = None
    restarted_at: float | None = None
    turn: int = 0

    @property
    def seconds(self) -> float:
        """How long it ran."""
        if self.started_at is None or self.finished_at is None:
            return 0.0
        return self.finished_at - self.started_at
