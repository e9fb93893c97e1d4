"""The arithmetic of limits: the windows of all scopes of a principal, and freezes. Time is passed in; nothing waits.

A name that a call gives several times is its cost: `("points",) * 5` takes five of the points.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from orchestrator.core.model import ACCOUNT, Learnt, Limit, Scope, scopes_around
from orchestrator.limits.window import Permit, Window

__all__ = ["Budget", "Permit", "Window", "read_rule"]

_RULE = re.compile(r"([0-9]{1,9})/([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

KEEP_WINDOWS = 4096  # windows of single scopes above which the ones that have run empty are dropped


Costs: TypeAlias = Sequence[tuple[Limit, int]]
"""What a call takes of each limit."""


class Budget:
    """All limits of one principal, by scope, and what is frozen.

    Args:
        limits: the account's limits.
        accepted: names of those that count only what was, or may have been, accepted.
        sought: names of those that are not known and found by trying.
        folds: whether `ACME/x` and `acme/x` are one repository.
    """

    def __init__(
        self,
        limits: Iterable[Limit],
        accepted: frozenset[str] = frozenset(),
        sought: frozenset[str] = frozenset(),
        folds: bool = False,
    ) -> None:
        self._folds = folds
        self.limits = {limit.name: limit for limit in limits}
        self._by_kind: dict[str, list[Limit]] = {}
        for limit in self.limits.values():
            self._by_kind.setdefault(limit.kind, []).append(limit)
        self.accepted = accepted
        self.sought = sought
        self._windows: dict[str, dict[str, Window]] = {name: {} for name in self.limits}  # by repo or owner
        self._by_names: dict[tuple[str, ...], Sequence[Costs]] = {}
        self._frozen: dict[Scope, tuple[float, str]] = {}
        self._used = dict.fromkeys(self.limits, 0)
        self._labels: dict[str, str] = {}

    def name(self, text: str) -> str:
        """A repository or owner as limits count it; the very text where that is it, so that it is in memory once."""
        return folded if self._folds and (folded := text.lower()) != text else text

    def take(self, names: Sequence[str], repo: str | None) -> Permit:
        """A permit for one call; ask `wait` first."""
        plain: list[Window] = []
        accepted: list[Window] = []
        for limit, cost in self._costs(names)[0]:
            if limit.scope == ACCOUNT or repo is not None:
                window = self._at(limit, _place(limit, repo))
                found = accepted if limit.kind in self.accepted else plain
                found.append(window)
                if cost > 1:
                    found.extend([window] * (cost - 1))
        return Permit(plain, accepted)

    @property
    def used(self) -> Mapping[str, int]:
        """Calls that were made, by limit."""
        return {str(self.limits[name]): calls for name, calls in self._used.items()}

    def is_limit(self, rule: str) -> bool:
        """Whether what a call waits for is one of the limits, and no freeze."""
        return rule in self._labels.values()

    def _label(self, limit: Limit) -> str:
        label = self._labels.get(limit.name)
        if label is None:
            label = self._labels[limit.name] = str(limit)
        return label

    def wait(self, names: Sequence[str], repo: str | None, now: float, look: bool = False) -> tuple[float, str]:
        """Seconds until such a call may leave, and what it waits for (empty when nothing).

        Args:
            look: a look leaves room in each allowance for the triggers that may come.
        """
        return self._wait(self._costs(names)[0], repo, now, look)

    def wait_account(self, names: Sequence[str], now: float) -> tuple[float, str]:
        """As `wait`, of the rules that hold for the whole account only."""
        return self._wait(self._costs(names)[1], None, now)

    def wait_repo(self, names: Sequence[str], repo: str, now: float) -> tuple[float, str]:
        """As `wait`, of the rules that hold for the repository or its owner, and of the freezes; none reserves."""
        return self._wait(self._costs(names)[2], repo, now)

    def _wait(self, costs: Costs, repo: str | None, now: float, look: bool = False) -> tuple[float, str]:
        longest, why = self.frozen(repo, now) if self._frozen else (0.0, "")
        for limit, cost in costs:
            window = self._windows[limit.name].get(_place(limit, repo))
            if window is None or (limit.scope != ACCOUNT and repo is None):
                continue
            delay = window.wait(now, self._reserve(window) if look else 0, cost)
            if delay > longest:
                longest, why = delay, self._label(limit)
        return longest, why

    def waits(self, names: Sequence[str], repo: str, now: float) -> Iterator[tuple[Limit, float]]:
        """The limits that have no room for such a call, each with the seconds until it has."""
        for limit, cost in self._costs(names)[0]:
            window = self._windows[limit.name].get(_place(limit, repo))
            if window is not None and 0.0 < (delay := window.wait(now, 0, cost)) < math.inf:
                yield limit, delay

    def _costs(self, names: Sequence[str]) -> Sequence[Costs]:
        """What such a call takes: of all limits, of those of the account, of those of a repository or owner."""
        key = tuple(names)
        found = self._by_names.get(key)
        if found is None:
            every = [(limit, cost) for name, cost in Counter(key).items() for limit in self._by_kind.get(name, ())]
            whole = [one for one in every if one[0].scope == ACCOUNT]
            found = self._by_names[key] = (every, whole, [one for one in every if one[0].scope != ACCOUNT])
        return found

    def freeze(self, scope: Scope, until: float, cause: str) -> None:
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
                    longest, why = until - now, cause
        return longest, why

    def learn(self, learnt: Learnt, now: float, under_way: int = 0) -> bool:
        """Takes over what an answer reveals; whether that changed the rule itself.

        Args:
            under_way: as how many calls the one that was answered still counts as under way.
        """
        limit = self.limits.get(learnt.name)
        if limit is None:
            return False
        window = self._at(limit, learnt.scope.name)
        before = window.rules
        window.learn(learnt.calls, learnt.per, learnt.left, now, learnt.reset, under_way)
        return window.rules != before

    def tried(self, names: Sequence[str], repo: str | None, refused: bool, now: float) -> list[Learnt]:
        """Takes over how a call ended that counts against limits found by trying.

        Returns:
            Those that changed.
        """
        found = []
        for name in self.sought.intersection(names):
            window = self._window(name, repo)
            if window is not None and window.tried(refused, now):
                found.append(Learnt(name, self.scope_of(window.limit, repo)))
        return found

    def written(self, learnt: Learnt) -> str:
        """The provider's rule after something was learnt of it, in writing: `triggers_per_repo 10/1h`."""
        calls, per = learnt.calls, learnt.per
        if calls is None or per is None:
            window = self._at(self.limits[learnt.name], learnt.scope.name)
            calls, per = window.calls * 100 // window.limit.share, window.per
        return str(Limit(learnt.name, calls, per))

    def rule(self, name: str, repo: str | None) -> tuple[int, float]:
        """Calls and period of a limit as it holds now: what was learnt is in it."""
        window = self._window(name, repo)
        limit = self.limits[name]
        return (limit.calls, limit.per) if window is None else (window.calls, window.per)

    def rules(self, names: Sequence[str], repo: str | None) -> list[tuple[Limit, Scope, int, float]]:
        """The limits that such a call counts against, each with where it counts, and with its calls and period now."""
        known = [limit for name in names for limit in self._by_kind.get(name, ())]
        here = [limit for limit in known if limit.scope == ACCOUNT or repo is not None]
        return [(limit, self.scope_of(limit, repo), *self.rule(limit.name, repo)) for limit in here]

    def scope_of(self, limit: Limit, repo: str | None) -> Scope:
        """Where a call for the repo counts against the limit."""
        return ACCOUNT if repo is None else Scope.around(repo, limit.scope)

    def remember(self, name: str, scope: Scope, at: float) -> None:
        """Counts a call of an earlier or another process; call it oldest first, before anything is taken."""
        limit = self.limits.get(name)
        if limit is not None:
            self._at(limit, scope.name).add(at)

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
            window = windows[place] = Window(limit, self._used)
        return window


def read_rule(scope: Scope, rule: str) -> Learnt | None:
    """What was learnt, of the rule in writing; None where the writing is no rule."""
    name, _, said = rule.partition(" ")
    found = _RULE.fullmatch(said)
    if found is None:
        return None
    return Learnt(name, scope, int(found[1]), float(found[2]) * _SECONDS[found[3]])


def _place(limit: Limit, repo: str | None) -> str:
    """Which of a limit's windows a call for the repo counts in."""
    if limit.scope == ACCOUNT or repo is None:
        return ""
    return repo if limit.scope == "repo" else repo.partition("/")[0]


def _without_empty(windows: dict[str, Window]) -> dict[str, Window]:
    latest = max((w.answered[-1] for w in windows.values() if w.answered), default=0.0)
    return {key: w for key, w in windows.items() if w.taken(latest) or w.taught is not None}


def _scopes(repo: str | None) -> tuple[Scope, ...]:
    return (ACCOUNT,) if repo is None else scopes_around(repo)
