"""The rows of a Travis CI and the tables that it begins with. Only `builds` and `creation` change rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.kit.counters import SlidingWindow, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object, exact
from orchestrator.lookalike.kit.settings import convert
from orchestrator.lookalike.travis.settings import RepoSpec, Settings

FIRST_REPO, FIRST_REQUEST, FIRST_BUILD = 4711, 31337, 555001
VCS_OFFSET = 900_000  # the VCS' own number of a repository; not the one that the API uses (reference 4.2).
SENT = ("branch", "message", "sha", "tag_name", "config", "configs", "merge_mode")
ACTIVE = frozenset({"created", "queued", "received", "started"})


class User(Struct, eq=False):
    """The holder of a token."""

    id: int
    login: str
    token: str
    builds: list[Build] = field(default_factory=list)


class Owner(Struct, eq=False):
    """An organization; its jobs share one queue and its capacity."""

    id: int
    login: str
    vcs: str
    repos: list[Repo] = field(default_factory=list)
    waiting: deque[tuple[Job, int]] = field(default_factory=deque)  # with the attempt that waits
    running: int = 0
    active: dict[int, Build] = field(default_factory=dict)


class Branch(Struct, eq=False):
    """A branch that the API has seen."""

    repo: Repo
    name: str
    last_build: Build | None = None


class Repo(Struct, eq=False):
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
    hour: SlidingWindow
    branches: dict[str, Branch] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)  # requests by branch, so that draws do not depend on order

    @property
    def slug(self) -> str:
        """`owner/name`."""
        return f"{self.owner.login}/{self.name}"

    @property
    def names(self) -> tuple[str, str]:
        """By which people know it."""
        return self.slug, str(self.id)


class Commit(Struct, eq=False):
    """What a processed request builds."""

    id: int
    repo: Repo
    sha: str
    message: str
    branch: str
    committed_at: float


class Request(Struct, eq=False):
    """One accepted POST: `wanted` is its object without null keys, `nth` its number among those of the branch."""

    id: int
    repo: Repo
    user: User
    created_at: float
    visible_at: float  # in listings
    wanted: dict[str, object]
    branch: str
    nth: int
    state: str = "pending"
    result: str | None = None
    message: str | None = None
    commit: Commit | None = None
    builds: list[Build] = field(default_factory=list)

    @property
    def slug(self) -> str:
        """`owner/name`."""
        return self.repo.slug

    @property
    def marked(self) -> str | None:
        """The message that came with it."""
        message = self.wanted.get("message")
        return message if isinstance(message, str) else None

    def as_json(self) -> Object:
        """It as it was sent, and what became of it."""
        return {
            "id": self.id,
            "repo": self.slug,
            "repo_id": self.repo.id,
            "user": self.user.login,
            "received_at": exact(self.created_at),
            "marker": marker_in(self.marked),
            "state": self.state,
            "result": self.result,
            "builds": [build.id for build in self.builds],
            **{name: self.wanted.get(name) for name in SENT},
        }


class Build(Struct, eq=False):
    """What runs for a request, until it ends in `outcome`. A restart keeps its id and number."""

    id: int
    number: int
    request: Request
    commit: Commit
    created_at: float
    updated_at: float
    previous: str | None
    outcome: str = "passed"
    state: str = "created"
    started_at: float | None = None
    finished_at: float | None = None
    restarts: int = 0
    jobs: list[Job] = field(default_factory=list)

    @property
    def repo(self) -> Repo:
        """The repository that it builds."""
        return self.request.repo

    @property
    def duration(self) -> int | None:
        """Whole seconds summed over the jobs (not wall clock), once it has run to its end (reference 7.2)."""
        if self.started_at is None or self.finished_at is None:
            return None
        return int(sum(job.finished_at - job.started_at for job in self.jobs if job.started_at and job.finished_at))


class Job(Struct, eq=False):
    """One job of a build. What is due for an earlier `attempt` of it is ignored."""

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
    attempt: int = 0

    @property
    def repo(self) -> Repo:
        """The repository that it builds."""
        return self.build.repo


class Tables:
    """Rows by id, and by the names that the API knows them by."""

    def __init__(self, settings: Settings, chance: Chance) -> None:
        self.repos: dict[int, Repo] = {}
        self.owners: dict[tuple[str, str], Owner] = {}
        self.users: dict[str, User] = {}
        self.requests: dict[int, Request] = {}
        self.builds: dict[int, Build] = {}
        self.jobs: dict[int, Job] = {}
        self._by_slug: dict[tuple[str, str], Repo] = {}
        self.numbered: Mapping[str, Any] = {"request": self.requests, "build": self.builds, "job": self.jobs}
        self.request_ids = count(FIRST_REQUEST)
        self.build_ids = count(FIRST_BUILD)  # of jobs, too (reference 7.1).
        for number, (token, login) in enumerate({settings.token: settings.login, **settings.others}.items()):
            self.users[token] = User(settings.user_id + number, login, token)
        for spec in _with_mishaps(settings, chance):
            self._add(spec, settings)

    def repo(self, vcs: str, name: str) -> Repo | None:
        """By number or, whatever the case, by slug."""
        if name.isdecimal():
            return self.repos.get(int(name))
        return self._by_slug.get((vcs, name.lower()))

    def _add(self, spec: RepoSpec, settings: Settings) -> None:
        login, _, name = spec.slug.partition("/")
        owner = self.owners.setdefault((spec.vcs, login.lower()), Owner(9 + len(self.owners), login, spec.vcs))
        if spec.known is False:
            return
        free = (id_ for id_ in count(FIRST_REPO + len(self.repos)) if id_ not in self.repos)
        repo = Repo(
            id=next(free) if spec.id is None else spec.id,
            owner=owner,
            name=name,
            vcs=spec.vcs,
            private=spec.private,
            active=spec.active is not False,
            may_trigger=spec.may_trigger is not False,
            default_branch=spec.default_branch or settings.default_branch,
            hourly=settings.hourly if spec.hourly is None else spec.hourly,
            rejects=spec.rejects,
            hour=SlidingWindow(settings.hour),
        )
        for branch in dict.fromkeys((repo.default_branch, *(spec.branches or settings.branches))):
            repo.branches[branch] = Branch(repo, branch)
        self.repos[repo.id] = self._by_slug[spec.vcs, spec.slug.lower()] = repo
        owner.repos.append(repo)


def _with_mishaps(settings: Settings, chance: Chance) -> Sequence[RepoSpec]:
    """The repositories with their flags drawn: exactly so many as the shares say, whichever the seed picks."""
    shares, specs = settings.shares, list(settings.repos)
    undecided = [n for n, spec in enumerate(specs) if (spec.active, spec.known, spec.may_trigger) == (None, None, None)]
    undecided.sort(key=lambda n: chance.roll("fate", specs[n].slug))
    for share, flag in ((shares.unknown, "known"), (shares.inactive, "active"), (shares.forbidden, "may_trigger")):
        number = round(share * len(specs))
        for n in undecided[:number]:
            specs[n] = convert(RepoSpec, {flag: False}, base=specs[n])
        undecided = undecided[number:]
    return specs
