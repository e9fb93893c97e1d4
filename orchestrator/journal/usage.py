"""Usage records, the calls that count against limits: when there is room for one more, and those not yet written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.journal.port import SharedLimit, UsageRecord

KEPT_FOR = 7200.0  # seconds; no limit looks back further
PRUNE_EVERY = 60.0
NOT_COUNTED = 0.0  # the time of a call that counts nowhere; its record goes with the next pruning
ASK_AGAIN = 0.25  # seconds; a call that is not answered yet may make room at any moment


def room_at(newest: float | None, limit: SharedLimit, at: float) -> float:
    """Seconds until one more call fits.

    Args:
        newest: the time of the call that has as many newer ones beside it as the limit leaves room for; None when
            there are not so many. It is in the future while that call has no answer.
    """
    if newest is None or newest + limit.per <= at:
        return 0.0
    return min(ASK_AGAIN, newest + limit.per - at) if newest > at else newest + limit.per - at


class UsageNews(NamedTuple):
    """What the database does not know yet: new records by key, and when known ones can last have been counted."""

    records: Sequence[tuple[int, UsageRecord]] = ()
    settled: Sequence[tuple[int, float]] = ()


NO_NEWS = UsageNews()


class Usage:
    """Records on their way to the database, and what became of earlier ones: they ride on the next write.

    Keys are given out here, from a random beginning, so that no other process gives out the same.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, UsageRecord] = {}
        self._settled: dict[int, float] = {}
        self._next = int.from_bytes(os.urandom(5), "big") << 22

    def keys(self, count: int) -> Sequence[int]:
        """Keys that nobody has."""
        keys = range(self._next, self._next + count)
        self._next += count
        return keys

    def add(self, records: Sequence[UsageRecord]) -> Sequence[int]:
        """Takes records along; gives their keys."""
        keys = self.keys(len(records))
        self._waiting.update(zip(keys, records, strict=True))
        return keys

    def settle(self, keys: Sequence[int], at: float | None) -> None:
        """Takes along when calls were last counted."""
        self._settled.update(dict.fromkeys(keys, NOT_COUNTED if at is None else at))

    def of(self, principal: str, since: float) -> list[UsageRecord]:
        """The principal's records that are on their way."""
        return [one for one in self._waiting.values() if one.principal == principal and one.at >= since]

    def news(self) -> UsageNews:
        """What is to be written now; `written` when it is durable."""
        if not (self._waiting or self._settled):
            return NO_NEWS
        return UsageNews(list(self._waiting.items()), list(self._settled.items()))

    def written(self, news: UsageNews) -> None:
        """They are durable."""
        for key, _ in news.records:
            self._waiting.pop(key, None)
        for key, at in news.settled:
            if self._settled.get(key) == at:
                del self._settled[key]
