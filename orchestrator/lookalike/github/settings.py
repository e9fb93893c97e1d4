"""What a GitHub is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from secrets import token_hex
from typing import Self

from typing_extensions import override

from orchestrator.core.frozen import Struct, field, replace
from orchestrator.core.model import Account, Target
from orchestrator.lookalike.kit.service import ServiceSettings
from orchestrator.lookalike.kit.settings import Count, Duration, Share, Slug, joined, keys_of, most

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


class Installation(Struct, frozen=True):
    """Where an App is installed: `permissions` by GitHub's names, `selected` repositories or all."""

    owner: str
    id: Count = 0
    permissions: Mapping[str, str] = field(default_factory=lambda: {"actions": "write", "contents": "write"})
    selected: tuple[Slug, ...] = ()
    suspended: bool = False


class AppSpec(Struct, frozen=True):
    """A GitHub App: `key` is the public half of its key, `lasts` how long its tokens live."""

    key: str = ""
    id: Count = 12345
    slug: str = "batch-builds"
    installations: tuple[Installation, ...] = ()
    lasts: Duration = 3600.0


class Shares(Struct, frozen=True):
    """How often runs end otherwise than with success, 0 to 1."""

    failed: Share = 0.0
    startup_failure: Share = 0.0
    canceled: Share = 0.0
    skipped: Share = 0.0


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """A GitHub: who is there, how fast it lives, which rules it enforces (docs/sandbox.md has each key)."""

    spans = (*ServiceSettings.spans, "hour", "minute")

    repos: tuple[RepoSpec, ...] = ()
    branches: tuple[str, ...] = ("main",)
    default_branch: str = "main"
    user_id: Count = 77
    shares: Shares = Shares()
    calls: Count = 5000
    points: Count = 900
    writes: Count = 500
    searches: Count = 30
    teams: Mapping[str, tuple[Slug, ...]] = field(default_factory=dict)
    hour: Duration = 3600.0
    minute: Duration = 60.0
    version: str | None = None
    versions: tuple[str, ...] = ("2022-11-28", "2026-03-10")
    graphql: bool = True
    app: AppSpec | None = None

    @classmethod
    @override
    def fitted(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        limits = [limit for account in accounts for limit in account.limits]
        repos: dict[str, RepoSpec] = {}
        for target in targets:
            spec = repos.setdefault(target.repo.lower(), RepoSpec(target.repo))
            said, default = target.request, spec.default_branch or (None if target.branch == "main" else target.branch)
            wished = str(said.get("marker_input", "auto"))
            repos[target.repo.lower()] = replace(
                spec,
                default_branch=default if default == "master" else None,
                branches=joined(spec.branches, target.branch),
                workflows=joined(spec.workflows, str(said["workflow"]) if "workflow" in said else None),
                events=joined(spec.events, str(said["event"]) if "event" in said else None),
                inputs=joined(spec.inputs, *keys_of(said.get("inputs")), *keys_of(said.get("env"))),
                marker=spec.marker and wished != "none",
            )

        is_enterprise = bool(accounts) and all(account.url.rstrip("/").endswith(ENTERPRISE) for account in accounts)
        return cls(
            prefix=ENTERPRISE if is_enterprise else "",
            version="3.21.0" if is_enterprise else None,
            repos=tuple(repos.values()),
            shares=Shares(failed=0.06, startup_failure=0.01, skipped=0.01),
            user_id=int(token_hex(4), 16),
            calls=most(limits, "calls", 5000, 3600.0),
            points=most(limits, "points", 900, 60.0),
            writes=most(limits, "triggers", 500, 3600.0),
        )
