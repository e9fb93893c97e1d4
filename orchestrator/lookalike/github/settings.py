"""What a GitHub is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from secrets import token_hex
from typing import Any

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit.life import LifeSettings, brisk
from orchestrator.lookalike.kit.settings import Count, Duration, Share, Slug, most, scaled, with_repos

ENTERPRISE = "/api/v3"  # with which the URL of an Enterprise Server ends


class RepoSpec(Struct, frozen=True):
    """One repository (docs/sandbox.md). `moved_to`: it was renamed so; `marker`: its workflows show their marker."""

    slug: Slug
    branches: tuple[str, ...] = ()
    default_branch: str | None = None
    workflows: tuple[str, ...] = ("ci.yml",)
    events: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    marker: bool = True
    private: bool = False
    archived: bool = False
    may_trigger: bool = True
    disabled: bool = False
    moved_to: Slug | None = None
    topics: tuple[str, ...] = ()


class Shares(Struct, frozen=True):
    """How often runs end otherwise than with success, 0 to 1."""

    failed: Share = 0.0
    startup_failure: Share = 0.0
    canceled: Share = 0.0
    skipped: Share = 0.0


class Settings(LifeSettings, frozen=True, kw_only=True):
    """A GitHub: who is there, how fast it lives, which rules it enforces (docs/sandbox.md has each key)."""

    repos: tuple[RepoSpec, ...] = ()
    branches: tuple[str, ...] = ("main",)
    default_branch: str = "main"
    user_id: Count = 77
    shares: Shares = Shares()
    calls: Count = 5000
    points: Count = 900
    writes: Count = 500
    hour: Duration = 3600.0
    minute: Duration = 60.0
    version: str | None = None
    graphql: bool = True

    def scaled(self) -> Settings:
        """The same with all durations divided by the time scale."""
        return scaled(self, self.time_scale, "queue", "build", "change", "hour", "minute")


def parse(given: Mapping[str, Any]) -> Settings:
    """Settings from a map; see `convert`. What is left out has its default, and there are a hundred repositories."""
    return with_repos(Settings, given)


def fitted(targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID) -> Settings:
    """Builds of some seconds, a few of which do not pass, with all that the targets name, and room for the limits.

    Where a rehearsal says what goes wrong, nothing goes wrong by itself.
    """
    limits = [limit for account in accounts for limit in account.limits]
    repos: dict[str, RepoSpec] = {}
    for target in targets:
        spec = repos.setdefault(target.repo.lower(), RepoSpec(target.repo))
        said, default = target.request, spec.default_branch or (None if target.branch == "main" else target.branch)
        wished = str(said.get("marker_input", "auto"))
        repos[target.repo.lower()] = replace(
            spec,
            default_branch=default if default == "master" else None,
            branches=_with(spec.branches, target.branch),
            workflows=_with(spec.workflows, str(said["workflow"]) if "workflow" in said else None),
            events=_with(spec.events, str(said["event"]) if "event" in said else None),
            inputs=tuple(dict.fromkeys((*spec.inputs, *_keys(said.get("inputs")), *_keys(said.get("env"))))),
            marker=spec.marker and wished != "none",
        )

    is_enterprise = bool(accounts) and all(account.url.rstrip("/").endswith(ENTERPRISE) for account in accounts)
    return Settings(
        **brisk(rehearsal),
        prefix=ENTERPRISE if is_enterprise else "",
        version="3.21.0" if is_enterprise else None,
        repos=tuple(repos.values()),
        shares=Shares() if rehearsal else Shares(failed=0.06, startup_failure=0.01, skipped=0.01),
        user_id=int(token_hex(4), 16),
        calls=most(limits, "calls", 5000, 3600.0),
        points=most(limits, "points", 900, 60.0),
        writes=most(limits, "triggers", 500, 3600.0),
    )


def _keys(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Mapping) else ()


def _with(known: tuple[str, ...], more: str | None) -> tuple[str, ...]:
    return known if more is None or more in known else (*known, more)
