"""What a Jenkins is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit.life import LifeSettings, brisk
from orchestrator.lookalike.kit.settings import Count, Duration, Share, checked, scaled, with_repos

MARKER, BRANCH = "ORCHESTRATOR_MARKER", "BRANCH"

_IS_NAME = checked("folder/name", lambda given: isinstance(given, str) and all(given.split("/")))


class RepoSpec(Struct, frozen=True):
    """One job (docs/jenkins.md). `branches`: it is a multibranch job; `slug`: its full name, folders before it."""

    slug: Annotated[str, _IS_NAME]
    branches: tuple[str, ...] = ()
    parameters: tuple[str, ...] = (MARKER, BRANCH)
    active: bool = True
    may_trigger: bool = True
    vetoed: bool = False


class Shares(Struct, frozen=True):
    """How often builds end otherwise than with success, 0 to 1."""

    failed: Share = 0.0
    unstable: Share = 0.0
    canceled: Share = 0.0
    not_built: Share = 0.0


class Settings(LifeSettings, frozen=True, kw_only=True):
    """A Jenkins: who is there, how fast it lives (docs/jenkins.md). `crumbs`: the token is a password."""

    repos: tuple[RepoSpec, ...] = ()
    shares: Shares = Shares()
    crumbs: bool = False
    left: Duration = 300.0
    requests: Count = 0
    minute: Duration = 60.0

    def scaled(self) -> Settings:
        """The same with all durations divided by the time scale."""
        return scaled(self, self.time_scale, "queue", "build", "change", "left", "minute")


def parse(given: Mapping[str, Any]) -> Settings:
    """Settings from a map; see `with_repos`."""
    return with_repos(Settings, given)


def fitted(targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID) -> Settings:
    """Builds of some seconds, a few of which do not pass, with all that the targets name, each with its parameters.

    Where a rehearsal says what goes wrong, nothing goes wrong by itself.
    """
    repos = dict[str, RepoSpec]()
    for target in targets:
        said, name = target.request, str(target.request.get("job") or target.repo)
        spec = repos.setdefault(name.lower(), RepoSpec(name))
        more = [*_keys(said.get("parameters")), *_keys(said.get("env"))]
        repos[name.lower()] = replace(spec, parameters=tuple(dict.fromkeys((*spec.parameters, *more))))
    return Settings(
        **brisk(rehearsal),
        repos=tuple(repos.values()),
        shares=Shares() if rehearsal else Shares(failed=0.05, unstable=0.01, not_built=0.01),
    )


def _keys(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Mapping) else ()
