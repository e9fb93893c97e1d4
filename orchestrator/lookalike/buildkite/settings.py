"""What a Buildkite is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Self

from typing_extensions import override

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.lookalike.kit.service import ServiceSettings
from orchestrator.lookalike.kit.settings import Count, Duration, Share, Slug, most


class RepoSpec(Struct, frozen=True):
    """One pipeline (docs/buildkite.md). `only`: branches that it builds; `skips`: newer builds replace waiting ones."""

    slug: Slug
    default_branch: str = "main"
    only: tuple[str, ...] = ()
    archived: bool = False
    may_trigger: bool = True
    skips: bool = False
    tags: tuple[str, ...] = ()


class Shares(Struct, frozen=True):
    """How often builds end otherwise than passed, 0 to 1."""

    failed: Share = 0.0
    canceled: Share = 0.0
    not_run: Share = 0.0


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """A Buildkite: who is there, how fast it lives, how many calls a minute it takes (docs/buildkite.md)."""

    spans = (*ServiceSettings.spans, "minute")

    repos: tuple[RepoSpec, ...] = ()
    shares: Shares = Shares()
    user_calls: Count = 50
    calls: Count = 200
    minute: Duration = 60.0

    @classmethod
    @override
    def fitted(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        limits = [limit for account in accounts for limit in account.limits]
        repos: dict[str, RepoSpec] = {}
        for target in targets:
            slug = f"{target.owner}/{target.request.get('pipeline') or target.repo.partition('/')[2]}"
            spec = repos.setdefault(slug.lower(), RepoSpec(slug))
            if target.branch == "master":
                repos[slug.lower()] = replace(spec, default_branch="master")
        return cls(
            repos=tuple(repos.values()),
            shares=Shares(failed=0.06, not_run=0.01),
            user_calls=most(limits, "calls", 50, 60.0),
            calls=most(limits, "calls_per_organization", 200, 60.0),
        )
