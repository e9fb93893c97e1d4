"""What a Jenkins is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Self

from typing_extensions import override

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.lookalike.kit.service import ServiceSettings
from orchestrator.lookalike.kit.settings import Count, Duration, Share, checked, joined, keys_of

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


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """A Jenkins: who is there, how fast it lives (docs/jenkins.md). `crumbs`: the token is a password."""

    spans = (*ServiceSettings.spans, "left", "minute")

    repos: tuple[RepoSpec, ...] = ()
    shares: Shares = Shares()
    crumbs: bool = False
    left: Duration = 300.0
    requests: Count = 0
    minute: Duration = 60.0

    @classmethod
    @override
    def fitted(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        repos = dict[str, RepoSpec]()
        for target in targets:
            said, name = target.request, str(target.request.get("job") or target.repo)
            spec = repos.setdefault(name.lower(), RepoSpec(name))
            more = [*keys_of(said.get("parameters")), *keys_of(said.get("env"))]
            repos[name.lower()] = replace(spec, parameters=joined(spec.parameters, *more))
        return cls(
            repos=tuple(repos.values()),
            shares=Shares(failed=0.05, unstable=0.01, not_built=0.01),
        )
