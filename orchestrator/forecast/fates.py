"""Which builds of a simulated run fail: as often as those of earlier runs did, always the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from orchestrator.core.evidence import Past
from orchestrator.forecast.durations import Times

FIRST = 0.5  # what is owed at the beginning: as a share is rounded to a number of builds
RED = 2 / 3  # chance from which on a build fails, whatever is owed
UNKNOWN = Past()


class Fates:
    """Deals failures out in the order in which builds end.

    Each target fails with a chance of its own: by its repository's earlier builds, drawn towards all of the account,
    and by how often it has failed in this run. What is likely happens; of the rest as many fail as the chances add up
    to.

    Args:
        times: what earlier runs showed.
        needed: rows that others need. Such a one fails only where that is likely: it would take all of those along.
    """

    def __init__(self, times: Times, needed: Collection[int]) -> None:
        self._pasts = times.pasts
        self._usual = times.failing
        self._needed = needed
        self._some_fail = any(times.failing.values())
        self._owed: defaultdict[tuple[str, bool], float] = defaultdict(lambda: FIRST)

    def fails(self, row: int, account: str, repo: str, before: int) -> bool:
        """Whether a build fails that ends now.

        Args:
            repo: as limits count it.
            before: how often the row's build has failed in this run.
        """
        if not self._some_fail:
            return False
        usual, past = self._usual.get(account, 0.0), self._pasts.get((account, repo), UNKNOWN)
        chance = (past.bad + before + usual) / (past.all + before + 1)
        if chance >= RED or row in self._needed:
            return chance >= RED
        owed = self._owed[account, before > 0] + chance
        self._owed[account, before > 0] = owed - (owed >= 1.0)
        return owed >= 1.0
