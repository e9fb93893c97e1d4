"""What a Buildbot is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Self

from typing_extensions import override

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Account, Target
from orchestrator.lookalike.kit.service import ServiceSettings
from orchestrator.lookalike.kit.settings import TEXT, Count, Share
from orchestrator.providers.buildbot.declaration import builders_of, properties_of


class RepoSpec(Struct, frozen=True):
    """A repository, and the builder that builds it: by default the last part of its name."""

    slug: Annotated[str, TEXT]
    builder: str | None = None

    @property
    def name(self) -> str:
        """The builder's."""
        return self.builder or self.slug.rpartition("/")[2]


class Shares(Struct, frozen=True):
    """How often builds end otherwise than with success, 0 to 1."""

    failed: Share = 0.0
    errored: Share = 0.0
    canceled: Share = 0.0


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """A Buildbot: who is there, what its schedulers take, how fast it lives (docs/sandbox.md has each key)."""

    repos: tuple[RepoSpec, ...] = ()
    schedulers: tuple[str, ...] = ("force",)
    parameters: tuple[str, ...] = ("orchestrator_marker",)
    free: Count = 4
    reason: bool = True
    collapse: bool = True
    closed: bool = False
    any_password: bool = False  # a rehearsal's secrets are made up
    shares: Shares = Shares()

    @classmethod
    @override
    def fitted(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        repos: dict[str, RepoSpec] = {}
        schedulers: dict[str, None] = {}
        parameters = {"orchestrator_marker": None}
        for target in targets:
            for name in builders_of(target):
                repos.setdefault(name, RepoSpec(target.repo, name))
            schedulers[str(target.request.get("scheduler"))] = None
            parameters |= dict.fromkeys(properties_of(target))
        logins = [account.settings["login"] for account in accounts if "login" in account.settings]
        users = [str(login["user"]) for login in logins if isinstance(login, Mapping)]
        return cls(
            repos=tuple(repos.values()),
            schedulers=tuple(schedulers),
            parameters=tuple(parameters),
            shares=Shares(failed=0.06, errored=0.02),
            closed=bool(users),
            any_password=True,
            others={f"sandbox-{user}": user for user in users},
        )
