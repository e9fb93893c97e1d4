"""The arithmetic of limits: sliding windows, permits, freezes. Time is passed in; nothing here waits.

A call counts from the moment it may leave until the period after it was *answered*: the provider stamped it at some
instant in between, so however long the network took, no window of the provider's can see more calls than the limit.
That bounds the use of an allowance by P/(P+L), P the period and L the latency of a call.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.brake import part
from orchestrator.model import ACCOUNT, Learnt, Limit, owner_scope, repo_scope

MOST_BY_OTHERS = 1000  # calls by others that one answer can add to a window
KEEP_WINDOWS = 4096  # windows of single scopes above which the ones that have run empty are dropped


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

    def wait(self, now: float, reserve: int = 0) -> float:
        """Seconds until one more call fits; infinity while only an answer under way can make room.

        Args:
            reserve: calls of the allowance that are not for this one.
        """
        over = self.taken(now) - max(1, self.calls - reserve)
        if over < 0:
            return 0.0
        if over >= len(self.answered):
            return math.inf
        return max(0.0, self.answered[over] + self.per - now)

    def learn(self, calls: int | None, per: float | None, left: int | None, now: float) -> None:
        """Takes over what an answer reveals: a default in both directions, a written limit only downwards."""
        if calls is not None and per is not None and calls > 0 and self._may_learn(part(calls, self.limit.share), per):
            self.calls, self.per = part(calls, self.limit.share), per
        if left is None or left < 0:
            return
        taken = self.taken(now)
        if calls is None and not self.limit.written:
            self.calls = max(self.calls, part(taken + left, self.limit.share))
        # What others used counts from now on: when it was made is not told.
        gone = self.calls - taken - left
        if gone > MOST_BY_OTHERS:
            self.calls = max(1, taken + left)  # a written limit of no use; not a million times in memory
            return
        for _ in range(gone):
            self.add(now)

    def _may_learn(self, calls: int, per: float) -> bool:
        if calls <= 0 or per <= 0:
            return False
        return not self.limit.written or calls / per < self.calls / self.per


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


class Budget:
    """All limits of one principal, by scope, and what is frozen.

    Args:
        limits: the account's limits.
        accepted: names of those that count only what was, or may have been, accepted.
    """

    def __init__(self, limits: Iterable[Limit], accepted: frozenset[str] = frozenset()) -> None:
        self.limits = {limit.name: limit for limit in limits}
        self.accepted = accepted
        self._windows: dict[str, dict[str, Window]] = {name: {} for name in self.limits}  # by repo or owner
        self._by_names: dict[tuple[str, ...], Sequence[str]] = {}
        self._frozen: dict[str, tuple[float, str]] = {}
        self._uses = {name: Use() for name in self.limits}
        self.waited: dict[str, float] = dict.fromkeys((str(limit) for limit in self.limits.values()), 0.0)
        self._label = {name: str(limit) for name, limit in self.limits.items()}

    def take(self, names: Sequence[str], repo: str | None) -> Permit:
        """A permit for one call; ask `wait` first."""
        plain: list[Window] = []
        accepted: list[Window] = []
        for name in names:
            limit = self.limits.get(name)
            if limit is not None and (limit.scope == ACCOUNT or repo is not None):
                window = self._at(limit, _place(limit, repo))
                (accepted if name in self.accepted else plain).append(window)
        return Permit(plain, accepted)

    @property
    def used(self) -> Mapping[str, int]:
        """Calls that were made, by limit."""
        return {self._label[name]: use.calls for name, use in self._uses.items()}

    def wait(self, names: Sequence[str], repo: str | None, now: float, look: bool = False) -> tuple[float, str]:
        """Seconds until such a call may leave, and what it waits for (empty when nothing).

        Args:
            look: a look leaves room in each allowance for the triggers that may come.
        """
        longest, why = self.frozen(repo, now)
        for name in names:
            window = self._window(name, repo)
            if window is None:
                continue
            delay = window.wait(now, self._reserve(window) if look else 0)
            if delay > longest:
                longest = delay
                why = self._label[name] if window.limit.scope == ACCOUNT else f"{repo}: {self._label[name]}"
        return longest, why

    def wait_account(self, names: Sequence[str], now: float) -> tuple[float, str]:
        """As `wait`, of the rules that hold for the whole account only."""
        return self.wait(self._of_account(tuple(names)), None, now)

    def wait_repo(self, names: Sequence[str], repo: str, now: float) -> tuple[float, str]:
        """As `wait`, of the rules that hold for the repository or its owner, and of the freezes; none reserves."""
        whole = self._of_account(tuple(names))
        return self.wait([name for name in names if name not in whole], repo, now)

    def _of_account(self, names: tuple[str, ...]) -> Sequence[str]:
        found = self._by_names.get(names)
        if found is None:
            found = [name for name in names if name in self.limits and self.limits[name].scope == ACCOUNT]
            self._by_names[names] = found
        return found

    def freeze(self, scope: str, until: float, cause: str) -> None:
        """Leaves a scope alone; an earlier end never shortens a longer freeze."""
        if until > self._frozen.get(scope, (0.0, ""))[0]:
            self._frozen[scope] = (until, cause)

    def frozen(self, repo: str | None, now: float) -> tuple[float, str]:
        """Seconds for which the repo, its owner or the account is still to be left alone, and why."""
        longest, why = 0.0, ""
        if self._frozen:
            for scope in _scopes(repo):
                until, cause = self._frozen.get(scope, (0.0, ""))
                if until - now > longest:
                    longest, why = until - now, f"{scope}: {cause}"
        return longest, why

    def learn(self, learnt: Learnt, now: float) -> bool:
        """Takes over what an answer reveals; whether that changed the rule itself."""
        limit = self.limits.get(learnt.name)
        if limit is None:
            return False
        if learnt.left == 0 and learnt.reset is not None:
            self.freeze(learnt.scope, now + learnt.reset, f"{learnt.name} used up")
        window = self._at(limit, learnt.scope.partition(":")[2])
        before = window.calls, window.per
        window.learn(learnt.calls, learnt.per, learnt.left, now)
        return (window.calls, window.per) != before

    def rule(self, name: str, repo: str | None) -> tuple[int, float]:
        """Calls and period of a limit as it holds now: what was learnt is in it."""
        window = self._window(name, repo)
        limit = self.limits[name]
        return (limit.calls, limit.per) if window is None else (window.calls, window.per)

    def scope_of(self, limit: Limit, repo: str | None) -> str:
        """Where a call for the repo counts against the limit."""
        if limit.scope == ACCOUNT or repo is None:
            return ACCOUNT
        return repo_scope(repo) if limit.scope == "repo" else owner_scope(repo.partition("/")[0])

    def remember(self, name: str, scope: str, at: float) -> None:
        """Counts a call of an earlier or another process; call it oldest first, before anything is taken."""
        limit = self.limits.get(name)
        if limit is not None:
            self._at(limit, scope.partition(":")[2]).add(at)

    def _reserve(self, window: Window) -> int:
        others = [limit for limit in self.limits.values() if limit.scope == ACCOUNT and limit is not window.limit]
        rates = [limit.calls / limit.per * window.per for limit in others]
        return min(window.calls // 4, math.ceil(min(rates))) if rates else window.calls // 4

    def _window(self, name: str, repo: str | None) -> Window | None:
        """The window in which such a call counts; None where nothing was ever counted, or nothing is to be."""
        limit = self.limits.get(name)
        if limit is None or (limit.scope != ACCOUNT and repo is None):
            return None
        return self._windows[name].get(_place(limit, repo))

    def _at(self, limit: Limit, place: str) -> Window:
        windows = self._windows[limit.name]
        window = windows.get(place)
        if window is None:
            if len(windows) >= KEEP_WINDOWS and len(windows) & (len(windows) - 1) == 0:
                windows = self._windows[limit.name] = _without_empty(windows)
            window = windows[place] = Window(limit, self._uses[limit.name])
        return window


def _place(limit: Limit, repo: str | None) -> str:
    """Which of a limit's windows a call for the repo counts in."""
    if limit.scope == ACCOUNT or repo is None:
        return ""
    return repo if limit.scope == "repo" else repo.partition("/")[0]


def _without_empty(windows: dict[str, Window]) -> dict[str, Window]:
    latest = max((w.answered[-1] for w in windows.values() if w.answered), default=0.0)
    return {key: w for key, w in windows.items() if w.taken(latest) or w.calls != w.limit.calls}


def _scopes(repo: str | None) -> tuple[str, ...]:
    if repo is None:
        return (ACCOUNT,)
    return (ACCOUNT, owner_scope(repo.partition("/")[0]), repo_scope(repo))
