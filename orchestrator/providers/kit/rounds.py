"""One round of polls: many together where the service can, the rest one by one; what failed is told only if all did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from orchestrator.core.errors import LookFailed, RateLimited
from orchestrator.providers.port import Followed, Observation

Seen: TypeAlias = dict[str, Observation]


async def polled(
    followed: Sequence[Followed],
    alone: Callable[[Followed], Awaitable[Observation]],
    together: Callable[[Seen, list[str], Sequence[Followed]], Awaitable[Sequence[Followed]]] | None = None,
) -> Mapping[str, Observation]:
    """What a round shows, those first that must be fresh.

    Args:
        alone: reads one by itself.
        together: takes what it learns into what was seen, and failures into the list; returns what is left.

    Raises:
        LookFailed, RateLimited: nothing at all was learnt.
    """
    seen: Seen = {}
    failures: list[str] = []
    try:
        left = followed if together is None else await together(seen, failures, followed)
        for one in sorted(left, key=lambda one: not one.fresh):
            try:
                seen[one.target.id] = await alone(one)
            except LookFailed as error:
                failures.append(error.cause)
    except RateLimited:
        if not seen:
            raise
    if failures and not seen:
        raise LookFailed(failures[0])
    return seen
