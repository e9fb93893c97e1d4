"""The polls of a simulated run: how many calls it takes to follow what was triggered, and when they leave."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.core.model import ACCOUNT, Account, Limit
from orchestrator.core.next_step import NARROWEST, next_poll
from orchestrator.limits.budget import Budget
from orchestrator.providers.port import Declaration

BULK = 32  # polls that are taken in one go; a power of two
BREATH = 1.0  # seconds after which polls that found no room are tried again, at the soonest: some may leave by then


class Polls:
    """Builds of an account that are followed, how many calls that takes (`made`), and when."""

    def __init__(self, account: Account, declaration: Declaration, budget: Budget) -> None:
        self._budget = budget
        self._cost = declaration.polling
        self._names = _names(account, declaration)
        self._bulk = _bulk([limit for limit in account.limits if limit.kind in self._names])
        self._owners: dict[str, int] = {}  # builds that are followed; with none there is nothing to poll
        self._crowded = 0  # owners with several of them
        self._place: dict[int, int] = {}  # of what is followed: how many triggers had left
        self._owed = 0.0  # calls, and parts of them
        self._changed = 0.0
        self.made = 0

    def follow(self, row: int, owner: str, triggered: int) -> None:
        """A row's build is to be followed; so many triggers have left."""
        count = self._owners[owner] = self._owners.get(owner, 0) + 1
        self._crowded += count == 2
        self._place[row] = triggered

    def ended(self, row: int, owner: str, triggered: int) -> None:
        """The build of a row has ended; so many triggers have left."""
        if triggered - self._place.pop(row) > self._cost.far:
            self._owed += self._cost.at_end
        count = self._owners[owner] = self._owners[owner] - 1
        self._crowded -= count == 1
        if not count:
            del self._owners[owner]

    def changed(self, now: float) -> None:
        """Something happened: from now on polls are frequent again."""
        self._changed = now

    def next_at(self, now: float) -> float:
        """When the next round is due; infinity while nothing is followed."""
        return next_poll(now, now - self._changed) if self._owners else math.inf

    def round(self, now: float) -> float:
        """A round of polls, as far as the limits have room: the listings, and the ends of builds.

        Returns:
            Seconds until the rest may go; zero when all went.
        """
        many = self._bulk
        self._owed += self._listings if self._owners else 0.0
        while self._owners and self._owed >= 1:
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

    @property
    def _listings(self) -> float:
        """Calls, about, that show how all that is followed stands."""
        cost, followed = self._cost, len(self._place)
        per_owner = cost.per_owner * self._crowded if followed > cost.page else 0.0
        return cost.per_round + cost.per_build * followed + per_owner


def _bulk(limits: Sequence[Limit]) -> int:
    """How many polls are taken of their limits in one go: a power of two, at most half of what any allows."""
    least = min((limit.calls for limit in limits), default=2 * BULK)
    many = BULK
    while many > 1 and 2 * many > least:
        many //= 2
    return many


def _names(account: Account, declaration: Declaration) -> tuple[str, ...]:
    """The limits that polls share with triggers: all that count these but the one that is for them alone.

    That is the tightest by the provider's own rules, whatever a person wrote.
    """
    whole = [
        limit for limit in declaration.limits if limit.scope == ACCOUNT and limit.kind in declaration.trigger_limits
    ]
    tightest = min(whole, key=lambda limit: limit.calls / limit.per, default=None)
    own = tightest.kind if tightest is not None and len(whole) > 1 else None
    shared = [limit for limit in account.limits if limit.kind in declaration.trigger_limits]
    kinds = [limit.kind for limit in shared if limit.scope == ACCOUNT and limit.kind != own]
    return tuple(dict.fromkeys(kinds))
