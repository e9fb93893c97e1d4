"""One limit at one scope, and the right to make one call. Time is passed in; nothing here waits.

A call counts from the moment it may leave until the period after it was *answered*: the provider stamped it at some
instant in between, so however long the network took, no window of the provider's can see more calls than the limit.
That bounds the use of an allowance by P/(P+L), P the period and L the latency of a call.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence

from orchestrator.brake import part
from orchestrator.model import ACCOUNT, Limit

MOST_CALLS = 10**7  # calls in a period; a server that tells of more is not believed
LONGEST, SHORTEST = 86400.0, 0.1  # seconds; a period or a reset that a server tells of is held within a day
MOST_BY_ALL = 20_000  # calls by others that one answer can add to a window
MOST_IN_A_REPO = 1000  # the same for a repository or an owner, of which there are many


def bounded(seconds: float) -> float:
    """A time to wait as a server may tell it: never negative, no number, or longer than a day."""
    return min(seconds, LONGEST) if seconds > 0.0 else 0.0


class Use:
    """How many calls were made under a limit, over all its scopes."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class Window:
    """One limit at one scope: in no period, wherever it starts, more calls than allowed."""

    __slots__ = ("answered", "calls", "limit", "per", "under_way", "use")

    def __init__(self, limit: Limit, use: Use | None = None) -> None:
        self.limit = limit
        self.use = use or Use()
        self.calls = limit.calls
        self.per = limit.per
        self.under_way = 0
        self.answered: list[float] = []  # rising; a list of few is a fraction of a deque, and most windows have few

    def taken(self, now: float) -> int:
        """Calls that count now."""
        answered, horizon = self.answered, now - self.per
        if answered and answered[0] <= horizon:
            del answered[: bisect_right(answered, horizon)]
        return self.under_way + len(answered)

    def add(self, at: float) -> None:
        """One more call counts from then for one period."""
        if not self.answered or at >= self.answered[-1]:
            self.answered.append(at)
        else:
            insort(self.answered, at)

    def wait(self, now: float, reserve: int = 0, cost: int = 1) -> float:
        """Seconds until one more call fits; infinity while only an answer under way can make room.

        Args:
            reserve: how much of the allowance is not for this call.
            cost: how much of it the call takes; one that takes more than all of it goes out alone.
        """
        over = self.taken(now) + cost - 1 - max(cost, self.calls - reserve)
        if over < 0:
            return 0.0
        if over >= len(self.answered):
            return math.inf
        return max(0.0, self.answered[over] + self.per - now)

    def learn(
        self, calls: int | None, per: float | None, left: int | None, now: float, reset: float | None = None
    ) -> None:
        """Takes over what an answer reveals: a default in both directions, a written limit only downwards."""
        if calls is not None and per is not None and self._may_learn(part(calls, self.limit.share), calls, per):
            self.calls, self.per = part(calls, self.limit.share), min(per, LONGEST)
        if left is None or not 0 <= left <= MOST_CALLS:
            return
        taken = self.taken(now)
        if calls is None and not self.limit.written:
            self.calls = max(self.calls, part(taken + left, self.limit.share))
        # What others used is free again at the reset; where none is told, it counts from now on.
        gone = self.calls - taken - left
        at = now if reset is None else now + min(bounded(reset) - self.per, 0.0)
        if gone > (MOST_BY_ALL if self.limit.scope == ACCOUNT else MOST_IN_A_REPO):
            self.calls = max(1, taken + left)  # a written limit of no use; not a million times in memory
        elif gone > 0:
            place = bisect_right(self.answered, at)
            self.answered[place:place] = [at] * gone

    def _may_learn(self, part_of_it: int, calls: int, per: float) -> bool:
        if not (0 < calls <= MOST_CALLS and per >= SHORTEST):
            return False
        return not self.limit.written or part_of_it / per < self.calls / self.per


class Permit:
    """The right to make one call now, taken from several windows at once.

    Attributes:
        tell: is told once when the call can last have been counted, None for nowhere, and whether it was refused; for
            those who share the limits.
    """

    __slots__ = ("_accepted", "_windows", "tell")

    def __init__(self, windows: Sequence[Window], accepted: Sequence[Window] = ()) -> None:
        self._windows = windows
        self._accepted = accepted
        self.tell: Callable[[float | None, bool], None] | None = None
        for window in (*windows, *accepted):
            window.under_way += 1
            window.use.calls += 1

    def answered(self, at: float, refused: bool = False) -> None:
        """The call is over: it counts for one more period, except, when refused, where only accepted ones count.

        Args:
            at: now; for a call whose answer was lost, the latest instant at which the provider may still count it.
        """
        for window in self._windows:
            window.under_way -= 1
            window.add(at)
        for window in self._accepted:
            window.under_way -= 1
            if not refused:
                window.add(at)
        self._windows = self._accepted = ()
        self._tell(at, refused)

    def give_back(self) -> None:
        """The call never left: it counts nowhere. After `answered` this does nothing."""
        for window in (*self._windows, *self._accepted):
            window.under_way -= 1
            window.use.calls -= 1
        self._windows = self._accepted = ()
        self._tell(None, False)

    def _tell(self, at: float | None, refused: bool) -> None:
        tell, self.tell = self.tell, None
        if tell is not None:
            tell(at, refused)
