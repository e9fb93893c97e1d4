"""A look-alike with repositories, whose builds live by `life`: how it is made, what it tells, who may call."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from secrets import token_hex
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from typing_extensions import override

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit import LookAlike
from orchestrator.lookalike.kit.http import Incoming, Object, Refused, Routes, credentials
from orchestrator.lookalike.kit.life import LifeSettings
from orchestrator.lookalike.kit.settings import scaled, with_repos


class ServiceSettings(LifeSettings, frozen=True, kw_only=True):
    """Settings with repositories, and with shares: how often builds end otherwise than passed."""

    spans: ClassVar[tuple[str, ...]] = ("queue", "build", "change")  # durations that the time scale divides

    repos: tuple[Any, ...] = ()
    shares: Struct

    def scaled(self) -> Self:
        """The same with all durations divided by the time scale."""
        return scaled(self, self.time_scale, *self.spans)

    @classmethod
    def fitted(cls, targets: Iterable[Target], accounts: Collection[Account]) -> Self:
        """Those with all that the targets name, room for the accounts' limits, and builds of which some do not pass."""
        raise NotImplementedError


class Service(LookAlike):
    """Made of its settings, which fit any plan by themselves.

    A class names its settings (`kind`), its routes (`served`), and what names a repository in their paths (`named`).
    """

    settings: ServiceSettings
    kind: ClassVar[type[ServiceSettings]]
    served: ClassVar[Routes]
    named: ClassVar[tuple[str, ...]] = ("owner", "repo")

    @classmethod
    @override
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        return cls(with_repos(cls.kind, given))

    @classmethod
    @override
    def for_plan(
        cls, targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID
    ) -> Self:
        fitted = cls.kind.fitted(targets, accounts)
        # what goes wrong in a rehearsal is said, and nothing does by itself
        calm: dict[str, Any] = {"shares": type(fitted.shares)()} if rehearsal else {}
        return cls(replace(fitted, **brisk(rehearsal), **calm))

    @abstractmethod
    def states(self) -> Iterable[str]:
        """The state of each build, in the service's words."""

    @override
    def stats(self) -> Object:
        states = Counter(self.states())
        return {**super().stats(), "builds": states.total(), "build_states": dict(states)}

    @override
    def repo_names(self, path: str) -> Collection[str]:
        names = self.served.names(self.below(path))
        if not set(self.named) <= names.keys():
            return ()
        return ("/".join(unquote(names[name]) for name in self.named).lower(),)

    def below(self, path: str) -> str:
        """The path as the routes have it."""
        return path.removeprefix(self.settings.prefix)

    def base(self, call: Incoming) -> str:
        """The address of the service, as its client calls it."""
        return f"http://{call.headers.get('host', '127.0.0.1')}{self.settings.prefix}"

    def token_in(self, call: Incoming, *schemes: str) -> str | None:
        """The token that a call carries by one of these schemes, in small letters; None where it is no known one."""
        found = credentials(call.headers.get("authorization"))
        is_known = found is not None and found.secret in (self.settings.token, *self.settings.others)
        return found.secret if found is not None and is_known and found.scheme.lower() in schemes else None


def object_in(call: Incoming, failed: Callable[[str], Refused]) -> Object:
    """The JSON object of a body, empty where there is none; what is no object is refused in the service's form."""
    try:
        body = json.loads(call.body or b"{}")
    except ValueError:
        raise failed("Problems parsing JSON") from None
    if not isinstance(body, dict):
        raise failed("Body should be a JSON object")
    return body


def brisk(rehearsal: Rehearsal) -> dict[str, Any]:
    """What a rehearsal's look-alike is like, whatever its service: builds of some seconds, and a user of its own.

    Limits are remembered for a user, so that one rehearsal would slow down the next.
    """
    key = token_hex(8)
    told = {"rehearsal": rehearsal, "token": f"sandbox-{key}", "login": f"sandbox-{key[:6]}"}
    return {**told, "queue": (0.3, 1.5), "build": (2.0, 8.0), "latency": (0.01, 0.03)}
