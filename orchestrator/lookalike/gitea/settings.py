"""What a Gitea or Forgejo is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from secrets import token_hex
from typing import Self

from typing_extensions import override

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.lookalike.kit.service import ServiceSettings
from orchestrator.lookalike.kit.settings import Count, Share, Slug, joined, keys_of


class RepoSpec(Struct, frozen=True):
    """One repository (docs/sandbox.md). `moved_to`: it was renamed so; `inputs`: what its workflows declare."""

    slug: Slug
    branches: tuple[str, ...] = ()
    default_branch: str | None = None
    workflows: tuple[str, ...] = ("ci.yml",)
    inputs: tuple[str, ...] = ()
    private: bool = False
    archived: bool = False
    actions: bool = True
    may_trigger: bool = True
    disabled: bool = False
    moved_to: Slug | None = None
    topics: tuple[str, ...] = ()


class Shares(Struct, frozen=True):
    """How often runs end otherwise than with success, 0 to 1."""

    failed: Share = 0.0
    canceled: Share = 0.0
    skipped: Share = 0.0


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """Who is there, how fast it lives (docs/sandbox.md has each key); `version` is of Gitea, or of Forgejo."""

    repos: tuple[RepoSpec, ...] = ()
    branches: tuple[str, ...] = ("main",)
    default_branch: str = "main"
    user_id: Count = 77
    shares: Shares = Shares()
    version: str = "1.28.0"
    cancels: bool = True

    @classmethod
    @override
    def fitted(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        repos: dict[str, RepoSpec] = {}
        for target in targets:
            spec, said = repos.setdefault(target.repo.lower(), RepoSpec(target.repo)), target.request
            default = spec.default_branch or (None if target.branch == "main" else target.branch)
            names = (*keys_of(said.get("inputs")), *keys_of(said.get("env")))
            repos[target.repo.lower()] = replace(
                spec,
                default_branch=default if default == "master" else None,
                branches=joined(spec.branches, target.branch),
                workflows=joined(spec.workflows, str(said.get("workflow"))),
                inputs=joined(spec.inputs, *names),
            )
        return cls(
            repos=tuple(repos.values()),
            shares=Shares(failed=0.06, skipped=0.01),
            user_id=int(token_hex(4), 16),
        )


class ForgejoSettings(Settings, frozen=True, kw_only=True):
    """Those of a Forgejo."""

    version: str = "16.0.0"
