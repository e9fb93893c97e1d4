"""What a Gitea or Forgejo is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from secrets import token_hex
from typing import Any

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit.life import LifeSettings, brisk
from orchestrator.lookalike.kit.settings import Count, Share, Slug, scaled, with_repos

NEWEST = "1.28.0"


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


class Settings(LifeSettings, frozen=True, kw_only=True):
    """Who is there, how fast it lives (docs/sandbox.md has each key); `version` is of Gitea, or of Forgejo."""

    repos: tuple[RepoSpec, ...] = ()
    branches: tuple[str, ...] = ("main",)
    default_branch: str = "main"
    user_id: Count = 77
    shares: Shares = Shares()
    version: str = NEWEST
    cancels: bool = True

    def scaled(self) -> Settings:
        """The same with all durations divided by the time scale."""
        return scaled(self, self.time_scale, "queue", "build", "change")


def parse(given: Mapping[str, Any], version: str) -> Settings:
    """Settings from a map; see `with_repos`."""
    return with_repos(Settings, {"version": version, **given})


def fitted(targets: Iterable[Target], version: str, rehearsal: Rehearsal = NOTHING_SAID) -> Settings:
    """Builds of some seconds, a few of which do not pass, with all that the targets name.

    Where a rehearsal says what goes wrong, nothing goes wrong by itself.
    """
    repos: dict[str, RepoSpec] = {}
    for target in targets:
        spec, said = repos.setdefault(target.repo.lower(), RepoSpec(target.repo)), target.request
        default = spec.default_branch or (None if target.branch == "main" else target.branch)
        names = (*_keys(said.get("inputs")), *_keys(said.get("env")))
        repos[target.repo.lower()] = replace(
            spec,
            default_branch=default if default == "master" else None,
            branches=_with(spec.branches, *([] if target.branch is None else [target.branch])),
            workflows=_with(spec.workflows, str(said.get("workflow"))),
            inputs=_with(spec.inputs, *names),
        )
    return Settings(
        **brisk(rehearsal),
        repos=tuple(repos.values()),
        shares=Shares() if rehearsal else Shares(failed=0.06, skipped=0.01),
        user_id=int(token_hex(4), 16),
        version=version,
    )


def _keys(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Mapping) else ()


def _with(known: tuple[str, ...], *more: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, *more)))
