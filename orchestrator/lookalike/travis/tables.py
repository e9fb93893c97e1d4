"""All rows of a world, and the rows that it begins with."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.lookalike.kit.chance import Chance
from orchestrator.lookalike.travis.rows import Branch, Build, Job, Owner, Repo, Request, User
from orchestrator.lookalike.travis.settings import RepoSpec, Settings

FIRST_REPO, FIRST_REQUEST, FIRST_BUILD = 4711, 31337, 555001
VCS_OFFSET = 900_000  # the VCS' own number of a repository; not the one that the API uses (reference 4.2).


class Tables:
    """Rows by id, and the ways to look them up."""

    def __init__(self, settings: Settings, chance: Chance) -> None:
        self.repos: dict[int, Repo] = {}
        self.owners: dict[tuple[str, str], Owner] = {}
        self.users: dict[str, User] = {}
        self.requests: dict[int, Request] = {}
        self.builds: dict[int, Build] = {}
        self.jobs: dict[int, Job] = {}
        self._by_slug: dict[tuple[str, str], Repo] = {}
        self._last_request = FIRST_REQUEST - 1
        self._last_build = FIRST_BUILD - 1
        for number, (token, login) in enumerate({settings.token: settings.login, **settings.others}.items()):
            self.users[token] = User(settings.user_id + number, login, token)
        for spec in with_fates(settings, chance):
            self._add(spec, settings)

    def next_request(self) -> int:
        """The id of a new request."""
        self._last_request += 1
        return self._last_request

    def next_build(self) -> int:
        """The id of a new build or job: they share one sequence (reference 7.1)."""
        self._last_build += 1
        return self._last_build

    def repo(self, vcs: str, name: str) -> Repo | None:
        """By number or, whatever the case, by slug."""
        if name.isdecimal():
            return self.repos.get(int(name))
        return self._by_slug.get((vcs, name.lower()))

    def owner(self, vcs: str, login: str) -> Owner | None:
        """By login, whatever the case."""
        return self.owners.get((vcs, login.lower()))

    def _add(self, spec: RepoSpec, settings: Settings) -> None:
        login, _, name = spec.slug.partition("/")
        owner = self.owners.get((spec.vcs, login.lower()))
        if owner is None:
            owner = self.owners[spec.vcs, login.lower()] = Owner(9 + len(self.owners), login, spec.vcs)
        id_ = self._free_id() if spec.id is None else spec.id
        if spec.known is False:
            return
        repo = Repo(
            id=id_,
            owner=owner,
            name=name,
            vcs=spec.vcs,
            private=spec.private,
            active=spec.active is not False,
            may_trigger=spec.may_trigger is not False,
            default_branch=spec.default_branch or settings.default_branch,
            hourly=settings.hourly if spec.hourly is None else spec.hourly,
            rejects=spec.rejects,
        )
        for branch in dict.fromkeys((repo.default_branch, *(spec.branches or settings.branches))):
            repo.branches[branch] = Branch(repo, branch)
        self.repos[id_] = self._by_slug[spec.vcs, spec.slug.lower()] = repo
        owner.repos.append(repo)

    def _free_id(self) -> int:
        id_ = FIRST_REPO + len(self.repos)
        while id_ in self.repos:
            id_ += 1
        return id_


def with_fates(settings: Settings, chance: Chance) -> Sequence[RepoSpec]:
    """The repositories with their flags drawn: exactly so many as the shares say, whichever the seed picks."""
    shares, specs = settings.shares, list(settings.repos)
    undecided = [n for n, spec in enumerate(specs) if (spec.active, spec.known, spec.may_trigger) == (None, None, None)]
    undecided.sort(key=lambda n: chance.roll("fate", specs[n].slug))
    for share, flag in ((shares.unknown, "known"), (shares.inactive, "active"), (shares.forbidden, "may_trigger")):
        count = round(share * len(specs))
        for n in undecided[:count]:
            specs[n] = _without(specs[n], flag)
        undecided = undecided[count:]
    return specs


def _without(spec: RepoSpec, flag: str) -> RepoSpec:
    values = {name: getattr(spec, name) for name in RepoSpec.__struct_fields__}
    return RepoSpec(**{**values, flag: False})
