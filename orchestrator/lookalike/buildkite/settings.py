"""What a Buildkite is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit.life import LifeSettings, brisk
from orchestrator.lookalike.kit.settings import Count, Duration, Share, Slug, most, scaled, with_repos


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


class Settings(LifeSettings, frozen=True, kw_only=True):
    """A Buildkite: who is there, how fast it lives, how many calls a minute it takes (docs/buildkite.md)."""

    repos: tuple[RepoSpec, ...] = ()
    shares: Shares = Shares()
    user_calls: Count = 50
    calls: Count = 200
    minute: Duration = 60.0

    def scaled(self) -> Settings:
        """The same with all durations divided by the time scale."""
        return scaled(self, self.time_scale, "queue", "build", "change", "minute")


def parse(given: Mapping[str, Any]) -> Settings:
    """Settings from a map; see `with_repos`."""
    return with_repos(Settings, given)


def fitted(targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID) -> Settings:
    """Builds of some seconds, a few of which do not pass, with all that the targets name, and room for the limits.

    Where a rehearsal says what goes wrong, nothing goes wrong by itself.
    """
    limits = [limit for account in accounts for limit in account.limits]
    repos: dict[str, RepoSpec] = {}
    for target in targets:
        slug = f"{target.owner}/{target.request.get('pipeline') or target.repo.partition('/')[2]}"
        spec = repos.setdefault(slug.lower(), RepoSpec(slug))
        if target.branch == "master":
            repos[slug.lower()] = replace(spec, default_branch="master")
    return Settings(
        **brisk(rehearsal),
        repos=tuple(repos.values()),
        shares=Shares() if rehearsal else Shares(failed=0.06, not_run=0.01),
        user_calls=most(limits, "calls", 50, 60.0),
        calls=most(limits, "calls_per_organization", 200, 60.0),
    )
