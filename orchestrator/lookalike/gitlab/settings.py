"""What a GitLab is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from secrets import token_hex
from typing import Annotated, Self

from typing_extensions import override

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.lookalike.kit.service import ServiceSettings
from orchestrator.lookalike.kit.settings import Count, Duration, Share, checked, joined, keys_of, most, words

ANY = "*"  # as a trigger token: any will do
RESTS = ("", "waiting_for_resource", "preparing", "waiting_for_callback", "manual", "scheduled")
_PATH = re.compile(r"[^/\s@]+(?:/[^/\s@]+)*")
Project = Annotated[str, checked("a project's path, group/name", lambda it: _PATH.fullmatch(str(it)) is not None)]


class RepoSpec(Struct, frozen=True):
    """One project (docs/sandbox.md has each key)."""

    slug: Project
    branches: tuple[str, ...] = ()
    default_branch: str | None = None
    inputs: tuple[str, ...] = ()
    names: bool = False
    variables: bool = True
    hidden: bool = False
    private: bool = False
    archived: bool = False
    may_trigger: bool = True
    builds: bool = True
    filtered: bool = False
    rests: Annotated[str, words(RESTS)] = ""
    starts: tuple[str, ...] = ()
    may_fail: bool = False
    trigger_token: str = "sandbox-trigger-token"  # noqa: S105 - opens nothing but this look-alike
    moved_to: Project | None = None
    topics: tuple[str, ...] = ()


class Shares(Struct, frozen=True):
    """How often pipelines end otherwise than with success, 0 to 1."""

    failed: Share = 0.0
    canceled: Share = 0.0
    skipped: Share = 0.0


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """A GitLab: who is there, how fast it lives, which limits it keeps; a limit of 0 is none (docs/sandbox.md)."""

    spans = (*ServiceSettings.spans, "minute")

    repos: tuple[RepoSpec, ...] = ()
    branches: tuple[str, ...] = ("main",)
    default_branch: str = "main"
    user_id: Count = 77
    scopes: tuple[str, ...] = ("api",)
    shares: Shares = Shares()
    calls: Count = 2000
    projects: Count = 400
    creates: Count = 25
    minute: Duration = 60.0
    graphql: bool = True
    complexity: Count = 250

    @classmethod
    @override
    def fitted(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        limits = [limit for account in accounts for limit in account.limits]
        repos: dict[str, RepoSpec] = {}
        for target in targets:
            slug = f"sandbox/project-{target.repo}" if target.repo.isdigit() else target.repo
            spec = repos.setdefault(target.repo.lower(), RepoSpec(slug, trigger_token=ANY))
            carrier, own = target.request.get("marker_input"), keys_of(target.request.get("inputs"))
            repos[target.repo.lower()] = replace(
                spec,
                branches=joined(spec.branches, target.branch),
                inputs=joined(spec.inputs, *own, str(carrier) if carrier else None),
                names=True,
            )
        return cls(
            repos=tuple(repos.values()),
            shares=Shares(failed=0.06, skipped=0.01),
            user_id=int(token_hex(4), 16),
            calls=most(limits, "calls", 2000, 60.0),
            projects=most(limits, "projects", 400, 60.0),
            creates=most(limits, "triggers_per_repo", 25, 60.0),
        )
