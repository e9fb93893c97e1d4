"""The limits of a principal as several processes share them, through the journal.

A process that is alone keeps its permits in memory and only leaves stamps behind. As soon as another one writes to the
same state, both ask the journal for each permit: one transaction counts the stamps of all and adds one, so that no
window is ever overdrawn. Another process is noticed by its writes, of which its heartbeat makes one every few seconds;
a process that starts while another drives a run asks from its first call on. In the instant in which the second one
starts, the first may have taken permits that it has not stamped yet: at most as many as it has connections, and once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.engine.run import LEASE, Run
from orchestrator.journal import Share
from orchestrator.limits import Budget
from orchestrator.model import ACCOUNT

OTHERS_FOR = LEASE / 2  # seconds after another process's last write for which it counts as being there
ASK_EVERY = 0.02  # seconds between two questions whether another process wrote; less than a call takes
SHARED_FROM = 5.0  # seconds; limits of a shorter period are shared by nobody: they are over before it matters


class Commons:
    """Asks for permits of the principal where other processes draw on the same limits."""

    def __init__(self, run: Run, budget: Budget) -> None:
        self.principal = ""
        self.journal = run.journal
        self._run = run
        self._budget = budget
        self._others_at = -math.inf
        self._has_shared = any(limit.per >= SHARED_FROM for limit in budget.limits.values())

    async def begin(self, principal: str) -> None:
        """Knows the principal from now on, and whether another process is at work at this moment."""
        self.principal = principal
        rows = await self._run.journal.runs(open_only=True)
        if any(row.driven and row.id != self._run.id for row in rows):
            self._others_at = self._run.now()

    async def take(self, names: Sequence[str], repo: str | None, skew: float) -> tuple[float, str]:
        """Takes one permit of each limit for everybody to see.

        Args:
            skew: seconds by which the provider's clock is ahead; stamps are in its time.

        Returns:
            Zero when taken, or when nobody else is there; else the seconds until it makes sense to ask again, and the
            name of the limit that is used up.
        """
        if not self.principal or not self._has_shared or not await self._is_shared():
            return 0.0, ""
        shares = self.shares(names, repo)
        return await self._run.journal.reserve(self.principal, shares, self._run.now() + skew) if shares else (0.0, "")

    async def is_alone(self) -> bool:
        """Whether permits are kept in memory, so that the caller stamps them."""
        return not self._has_shared or not await self._is_shared()

    async def _is_shared(self) -> bool:
        now = self._run.now()
        if now - self._run.asked_at >= ASK_EVERY:
            self._run.asked_at = now
            if await self._run.journal.changed_by_others():
                self._run.others_at = now
        return now - max(self._others_at, self._run.others_at) < OTHERS_FOR

    def shares(self, names: Sequence[str], repo: str | None) -> list[Share]:
        """The limits of these names, as they are counted for everybody."""
        found = []
        for name in names if self._has_shared else ():
            limit = self._budget.limits.get(name)
            if limit is not None and limit.per >= SHARED_FROM and (limit.scope == ACCOUNT or repo is not None):
                calls, per = self._budget.rule(name, repo)
                found.append(Share(name, self._budget.scope_of(limit, repo), calls, per))
        return found
