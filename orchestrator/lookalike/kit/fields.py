"""How fields are shown: times, words, and where their values come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

from orchestrator.core.frozen import Struct

VCS_NAMES = {"github": "Github", "gitlab": "Gitlab", "bitbucket": "Bitbucket", "assembla": "Assembla"}


class Shape(Struct, frozen=True):
    """How one kind of row is shown.

    Args:
        type: its `@type`.
        href: its address, None where it has none.
        fields: every field that may be shown or included.
        representations: which of them a representation shows.
        permissions: names of `@permissions`; those in `shapes.GUARDED` need the right to create builds.
    """

    type: str
    href: Callable[[Any], str | None]
    fields: Mapping[str, Callable[[Any], Any]]
    representations: Mapping[str, tuple[str, ...]]
    permissions: tuple[str, ...] = ()


@lru_cache(maxsize=65536)
def _seconds(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(whole))


def moment(at: float | None) -> str | None:
    """A time in whole seconds, UTC."""
    return None if at is None else _seconds(int(at))


def exact(at: float | None) -> str | None:
    """A time with milliseconds: `updated_at` of builds, and both times of jobs."""
    return None if at is None else f"{_seconds(int(at))[:-1]}.{int(at % 1 * 1000):03d}Z"


def vcs_type(vcs: str, what: str) -> str:
    """`GithubRepository`, `GitlabUser`, ..."""
    return f"{VCS_NAMES[vcs]}{what}"


def attributes(*names: str) -> dict[str, Callable[[Any], Any]]:
    """Fields that are the row's own attributes."""
    return {name: attrgetter(name) for name in names}


def constants(**values: Any) -> dict[str, Callable[[Any], Any]]:
    """Fields that this world has nothing to say about."""
    return {name: partial(_constant, value) for name, value in values.items()}


def _constant(value: Any, row: Any) -> Any:
    return value
