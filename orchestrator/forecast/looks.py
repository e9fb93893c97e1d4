"""The looks of one account in a simulated run: what is followed, how many calls that takes, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.core.model import ACCOUNT, Account, Limit
from orchestrator.core.next_step import NARROWEST, look_interval, tick
from orchestrator.limits.budget import Budget
from orchestrator.providers.port import Declaration

PAGE = 100  # builds that the listing of the newest shows in one call
FAR = 300  # newer builds above which a build that has ended is not found by the way
AT_END = 0.4  # calls, about, to learn how such a one ended: some share a page, some do not
BULK = 32  # looks that are taken in one go; a power of two
BREATH = 1.0  # seconds after which looks that found no room are tried again, at the soonest: some may leave by then


class Looks:
    """Builds that are followed, and the calls for it.

    Attributes:
        made: how many calls there were.
    """

    def __init__(self, account: Account, declaration: Declaration, budget: Budget) -> None:
        self._budget = budget
        self._names = _names(account, declaration)
        self._bulk = _bulk([limit for limit in account.limits if limit.name in self._names])
        self._owners: dict[str, int] = {}  # builds that are followed
        self._crowded = 0  # owners with several of them
        self._place: dict[int, int] = {}  # of what is followed: how many triggers had left
        self._owed = 0.0  # calls, and parts of them
        self._changed = 0.0
        self.made = 0

    @property
    def any(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._owners)

    def follow(self, row: int, owner: str, triggered: int) -> None:
        """A row's build is to be followed; so many triggers have left."""
        count = self._owners[owner] = self._owners.get(owner, 0) + 1
        self._crowded += count == 2
        self._place[row] = triggered

    def ended(self, row: int, owner: str, triggered: int) -> None:
        """The build of a row has ended; so many triggers have left."""
        if triggered - self._place.pop(row) > FAR:
            self._owed += AT_END
        count = self._owners[owner] = self._owners[owner] - 1
        self._crowded -= count == 1
        if not count:
            del self._owners[owner]

    def changed(self, now: float) -> None:
        """Something happened: from now on looks are narrow again."""
        self._changed = now

    def next_at(self, now: float) -> float:
        """When the next round is due."""
        return tick(now + max(NARROWEST, look_interval(now - self._changed)))

    def round(self, now: float) -> float:
        """A round of looks, as far as the limits have room: one listing, one more for each owner, the ends of builds.

        Returns:
            Seconds until the rest may go; zero when all went.
        """
        self._owed += 1
        if len(self._place) > PAGE:
            self._owed += self._crowded
        many = self._bulk
        while self._owed >= 1:
            while many > self._owed:
                many //= 2
            delay, _ = self._budget.wait(self._names * many, None, now, look=True)
            if not delay:
                self._budget.take(self._names * many, None).answered(now)
                self._owed -= many
                self.made += many
            elif many > 1:
                many //= 2
            else:
                return NARROWEST if delay == math.inf else max(delay, BREATH)
        return 0.0


def _bulk(limits: Sequence[Limit]) -> int:
    """How many looks are taken of their limits in one go: a power of two, at most half of what any allows."""
    least = min((limit.calls for limit in limits), default=2 * BULK)
    many = BULK
    while many > 1 and 2 * many > least:
        many //= 2
    return many


def _names(account: Account, declaration: Declaration) -> tuple[str, ...]:
    """The limits that looks share with triggers: all of the account's but the one that is for triggers alone.

    That is the tightest by the provider's own rules, whatever a person wrote.
    """
    whole = [
        limit for limit in declaration.limits if limit.scope == ACCOUNT and limit.name in declaration.trigger_limits
    ]
    tightest = min(whole, key=lambda limit: limit.calls / limit.per, default=None)
    own = tightest.name if tightest is not None and len(whole) > 1 else None
    return tuple(limit.name for limit in account.limits if limit.scope == ACCOUNT and limit.name != own)
