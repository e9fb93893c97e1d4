"""Sliding windows: the arithmetic of one limit at one scope. Time is passed in; nothing here waits.

A call counts from the moment it may leave until the period after it was *answered*: the provider stamped it at some
instant in between, so however long the network took, no window of the provider's can see more calls than the limit.
That bounds the use of an allowance by P/(P+L), P the period and L the latency of a call.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.core.concurrency import part
from orchestrator.core.model import Limit

MOST_CALLS = 10**7  # calls in a period; a server that tells of more is not believed
SHORTEST, LONGEST = 0.1, 31 * 86_400.0  # seconds; a period that is shorter or longer is not believed
LONGEST_WAIT = 86_400.0  # seconds for which a reset keeps us away; then an answer tells it anew
MOST_BY_OTHERS = 1000  # calls by others that are kept one by one; of more only the end is known
MOST_RULES = 4  # rules that a window takes over from answers; the last ones
SAME = 2.0  # seconds by which two resets differ that mean the same moment
GROWTH = 10  # periods in which an unknown limit, found by trying, grows by what it was halved to
FLOOR = 1  # calls in a period below which an unknown limit is never halved


def bounded(seconds: float) -> float:
    """A time to wait as a server may tell it: never negative, no number, or longer than a day."""
    return min(seconds, LONGEST_WAIT) if seconds > 0.0 else 0.0


class Rule(NamedTuple):
    """So many calls in so many seconds."""

    calls: int
    per: float

    def holds_within(self, other: Rule) -> bool:
        """Whether who keeps the other rule keeps this one, too."""
        return self.calls >= other.calls * math.ceil(self.per / other.per)


class Taught:
    """What answers revealed of a window's limit.

    Attributes:
        learnt: the provider's own rules, the newest last.
        rules: all that are to be kept.
        longest: the longest of their periods.
        told: calls that were free, as an answer said, until `reset`.
        left: those that are free now; calls that were answered since are taken off, calls under way are not.
        step: by how much a limit that is found by trying grows in a period; it changed at `tried_at`.
    """

    __slots__ = ("halved_at", "learnt", "left", "longest", "reset", "rules", "step", "told", "tried_at")

    def __init__(self, rule: Rule) -> None:
        self.learnt: tuple[Rule, ...] = ()
        self.rules: tuple[Rule, ...] = (rule,)
        self.longest = rule.per
        self.told = self.left = 0
        self.reset = self.halved_at = self.tried_at = -math.inf
        self.step = max(1, rule.calls // GROWTH)

    def leave(self, told: int, under_way: int, now: float, reset: float) -> None:
        """So many calls are free until the reset; of answers that overtook each other the one that tells less holds."""
        again = now < self.reset and abs(reset - self.reset) < SAME
        self.told = min(self.told, told) if again else told
        self.left, self.reset = self.told + under_way, reset

    def wait(self, now: float, under_way: int, cost: int) -> float:
        """Seconds until what is left has room; every call under way is taken for one that the provider has not seen."""
        if now >= self.reset or under_way + cost <= self.left:
            return 0.0
        return self.reset - now if self.left < cost else math.inf


class Window:
    """One limit at one scope: in no period, wherever it starts, more calls than allowed.

    Attributes:
        calls: the limit as it holds now, and `per`, its period: of several rules the slowest.
        answered: until when calls that are over count, less the period; rising.
        used: calls that were made by the limit's name, over all its scopes.
    """

    __slots__ = ("answered", "calls", "limit", "per", "taught", "under_way", "used")

    def __init__(self, limit: Limit, used: dict[str, int] | None = None) -> None:
        self.limit = limit
        self.used = {limit.name: 0} if used is None else used
        self.calls = limit.calls
        self.per = limit.per
        self.taught: Taught | None = None  # most windows never learn anything
        self.under_way = 0
        self.answered: list[float] = []  # a list of few is a fraction of a deque, and most windows have few

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are kept."""
        return (Rule(self.calls, self.per),) if self.taught is None else self.taught.rules

    def taken(self, now: float) -> int:
        """Calls that count now."""
        return self.under_way + len(self._counted(now))

    def add(self, at: float) -> None:
        """One more call counts from then for one period."""
        if not self.answered:
            self.answered = [at]  # takes less memory than a list to which one was added, and most have one
        elif at >= self.answered[-1]:
            self.answered.append(at)
        else:
            insort(self.answered, at)

    def over(self, at: float) -> None:
        """A call under way was answered: from then on it counts for one period more."""
        self.under_way -= 1
        if self.taught is not None:
            self.taught.left -= 1
        self.add(at)

    def wait(self, now: float, reserve: int = 0, cost: int = 1) -> float:
        """Seconds until one more call fits; infinity while only an answer under way can make room.

        Args:
            reserve: calls of the allowance that are not for this one.
            cost: as how many calls it counts; one that is more than all of the allowance goes out alone.
        """
        answered = self._counted(now)
        if (taught := self.taught) is not None:
            delay = taught.wait(now, self.under_way, cost)
            return max(delay, *(self._wait_under(rule, now, reserve, cost) for rule in taught.rules))
        over = self.under_way + len(answered) + cost - max(cost, self.calls - reserve)
        if over <= 0:
            return 0.0
        if over > len(answered):
            return math.inf
        return max(0.0, answered[over - 1] + self.per - now)

    def _counted(self, now: float) -> list[float]:
        """The calls that are over and may count, under any of the rules."""
        answered = self.answered
        horizon = now - (self.per if self.taught is None else self.taught.longest)
        if answered and answered[0] <= horizon:
            del answered[: bisect_right(answered, horizon)]
        return answered

    def _wait_under(self, rule: Rule, now: float, reserve: int, cost: int) -> float:
        """As `wait`, under one of several rules."""
        first = bisect_right(self.answered, now - rule.per)
        counted = len(self.answered) - first
        over = self.under_way + counted + cost - max(cost, rule.calls - reserve)
        if over <= 0:
            return 0.0
        if over > counted:
            return math.inf
        return max(0.0, self.answered[first + over - 1] + rule.per - now)

    # -- learning -----------------------------------------------------------------------------------------------

    def learn(
        self,
        calls: int | None,
        per: float | None,
        left: int | None,
        now: float,
        reset: float | None = None,
        under_way: int = 0,
    ) -> None:
        """Takes over what an answer reveals: a default in both directions, a written limit only downwards.

        Args:
            left: calls that are still free until the reset.
            reset: seconds from now; None: not known; then what others used counts for one period more.
            under_way: as how many calls the one that was answered still counts as under way here.
        """
        if calls is not None and per is not None and 0 < calls <= MOST_CALLS and SHORTEST <= per <= LONGEST:
            self._keep(Rule(part(calls, self.limit.share), per))
        if left is None or not 0 <= left <= MOST_CALLS:
            return
        if calls is None and not self.limit.written:
            self._keep(Rule(max(self.calls, part(self.taken(now) + left, self.limit.share)), self.per))
        if reset is not None and (wait := bounded(reset)) > 0.0:
            self._taught_of().leave(left, under_way, now, now + wait)
            return
        gone = self.calls - self.taken(now) - left
        if gone > MOST_BY_OTHERS:
            self._taught_of().leave(left, under_way, now, now + self.per)
        elif gone > 0:  # when they were made is not known
            place = bisect_right(self.answered, now)
            self.answered[place:place] = [now] * gone

    def _keep(self, rule: Rule) -> None:
        """From now on this rule of the provider's holds, in place of an earlier one of the same period."""
        written = Rule(self.limit.calls, self.limit.per)
        learnt = () if self.taught is None else self.taught.learnt
        if (learnt and rule == learnt[-1] and rule in self.rules) or (not learnt and rule == written):
            return  # an answer repeats it each time
        learnt = (*(old for old in learnt if old.per != rule.per), rule)[-MOST_RULES:]
        told = (written, *learnt) if self.limit.written else learnt
        self._taught_of().learnt = learnt
        self._obey(tuple(dict.fromkeys(a for a in told if not any(a != b and a.holds_within(b) for b in told))))

    def _obey(self, rules: tuple[Rule, ...]) -> None:
        taught = self._taught_of()
        taught.rules, taught.longest = rules, max(rule.per for rule in rules)
        self.calls, self.per = min(rules, key=lambda rule: rule.calls / rule.per)

    def _taught_of(self) -> Taught:
        if self.taught is None:
            self.taught = Taught(Rule(self.calls, self.per))
        return self.taught

    def tried(self, refused: bool, now: float) -> bool:
        """Finds an unknown limit, where a refusal does no harm; whether that changed it.

        A refusal halves it, at most once a period, since calls that were under way are refused with it. A period
        without a refusal, in which all of it was used, lets it grow by a fixed part of what it was halved to.
        """
        taught, found = self._taught_of(), self.calls
        if taught.tried_at == -math.inf:
            taught.tried_at = now
        if refused and now - taught.halved_at >= self.per:
            found, taught.halved_at = max(FLOOR, self.calls // 2), now
            taught.step = max(1, found // GROWTH)
        elif not refused and now - taught.tried_at >= self.per and self.taken(now) >= self.calls:
            found = min(self.calls + taught.step, self.limit.calls if self.limit.written else MOST_CALLS)
        if found == self.calls:
            return False
        taught.tried_at = now
        self._obey((Rule(found, self.per),))
        return True


class Permit:
    """The right to make one call now, taken from several windows at once. Whoever took it settles it, once.

    Attributes:
        has_left: whether the call may have left; until then a permit is given back.
        records: what the state knows of the call: usage records by key, each with the name of its limit.
    """

    __slots__ = ("_accepted", "_windows", "has_left", "records")

    def __init__(self, windows: Sequence[Window], accepted: Sequence[Window] = ()) -> None:
        self._windows = windows
        self._accepted = accepted
        self.has_left = False
        self.records: list[tuple[int, str]] = []
        for window in (*windows, *accepted):
            window.under_way += 1
            window.used[window.limit.name] += 1

    def answered(self, at: float, refused: bool = False) -> None:
        """The call is over: it counts for one more period, except, when refused, where only accepted ones count.

        Args:
            at: now; for a call whose answer was lost, the latest instant at which the provider may still count it.
        """
        for window in self._windows:
            window.over(at)
        for window in self._accepted:
            if refused:
                window.under_way -= 1
            else:
                window.over(at)
        self._windows = self._accepted = ()

    def give_back(self) -> None:
        """The call never left: it counts nowhere. After `answered` this does nothing."""
        for window in (*self._windows, *self._accepted):
            window.under_way -= 1
            window.used[window.limit.name] -= 1
        self._windows = self._accepted = ()
