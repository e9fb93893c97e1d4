"""What a run has come to, counted as its events are folded, so that a picture of it needs no walk over its targets.

A first fold counts all that is known; from then on each event that moves a target moves the counts.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from heapq import heappop, heappush
from typing import TypeAlias
from urllib.parse import unquote

from orchestrator.core.history import History
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.progress import NEW, Progress

Key: TypeAlias = Outcome | Phase
"""Where a target stands: its outcome, else its phase; one whose answer is lost stands in doubt."""

MINUTE = 60.0
NEWEST = 60  # targets that did not pass and are kept by name, the newest
OWNERS = 60  # owners that are counted one by one: those with most targets
FINE = frozenset({Outcome.PASSED, Outcome.SKIPPED})

_OWNER = re.compile(r"[^:]*:([^/@\[#]*)")


def key_of(progress: Progress) -> Key:
    """Where the target stands."""
    if progress.verdict is not None:
        return progress.verdict.outcome
    return Outcome.IN_DOUBT if progress.doubt is not None else progress.phase


def runs_since(progress: Progress) -> float:
    """Since when its build has run (wall clock), or was there, where its start is not known."""
    build = progress.build
    started = None if build is None else build.started_at
    return started if started is not None else progress.appeared_at or 0.0


def owner_of(target: str) -> str:
    """The owner in a target's id; the whole repository where it names none."""
    found = _OWNER.match(target)
    return unquote(found[1]) if found is not None else target


def _is_sent(progress: Progress) -> bool:
    return progress.attempts > 0 and progress.phase is not Phase.WAITING


class Counts:
    """The counts of one history, from now on moved by it.

    Attributes:
        accounts: those that have targets.
        keys: how many targets stand where.
        phases: by phase; `outcomes`, by outcome, of those that have one.
        doubts: targets without a verdict whose answer is lost.
        sent: targets whose trigger left, and was not taken back.
        never_sent: targets that have a verdict though nothing was ever asked for them: skipped, or canceled before.
        owners: the largest owners, each with its own `keys`.
        others: how many more owners there are.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self.keys: Counter[Key] = Counter()
        self.phases: Counter[Phase] = Counter()
        self.outcomes: Counter[Outcome] = Counter()
        self.accounts = frozenset(target.account for target in history.targets)
        self.doubts = self.sent = self.never_sent = 0
        totals = Counter(owner_of(target.id) for target in history.targets)
        named = sorted(totals, key=lambda owner: (-totals[owner], owner))[:OWNERS]
        self.owners: dict[str, Counter[Key]] = {owner: Counter({Phase.WAITING: totals[owner]}) for owner in named}
        self.others = len(totals) - len(named)
        self.keys[Phase.WAITING] = self.phases[Phase.WAITING] = len(history.targets)
        self._sends: deque[float] = deque()
        self._running: list[tuple[float, str]] = []
        self._newest: deque[tuple[float, str]] = deque(maxlen=NEWEST)
        self._take_up()
        history.moved = self.moved

    def _take_up(self) -> None:
        known = self._history.progress
        for target, progress in known.items():
            self.moved(target, NEW, progress, progress.last_asked_at or 0.0)
        ends = sorted((one.verdict.at, id_) for id_, one in known.items() if one.verdict and _is_news(one))
        self._newest = deque(ends[-NEWEST:], NEWEST)
        last = max(self._sends, default=0.0)
        self._sends = deque(sorted(at for at in self._sends if at > last - MINUTE))

    def moved(self, target: str, before: Progress, after: Progress, at: float) -> None:
        """An event at this instant (wall clock) took a target from one state to another."""
        was, now = key_of(before), key_of(after)
        if was is not now:
            self._recount(target, was, now)
        if before.phase is not after.phase:
            self.phases[before.phase] -= 1
            self.phases[after.phase] += 1
        if before.doubt is not after.doubt or before.verdict is not after.verdict:
            self.doubts += _is_open_doubt(after) - _is_open_doubt(before)
        if (sent := _is_sent(after)) is not _is_sent(before):
            self.sent += 1 if sent else -1
            if sent:
                self._sends.append(after.last_asked_at or at)
            else:
                with suppress(ValueError):  # it left more than a minute ago
                    self._sends.remove(before.last_asked_at or 0.0)
        if before.verdict is not after.verdict:
            self._judged(target, before, after)
        if now is Phase.RUNNING and (was is not now or runs_since(before) != runs_since(after)):
            heappush(self._running, (runs_since(after), target))

    def _recount(self, target: str, was: Key, now: Key) -> None:
        for counts in (self.keys, self.owners.get(owner_of(target))):
            if counts is not None:
                counts[was] -= 1
                counts[now] += 1

    def _judged(self, target: str, before: Progress, after: Progress) -> None:
        for verdict, by, attempts in ((before.verdict, -1, before.attempts), (after.verdict, 1, after.attempts)):
            if verdict is not None:
                self.outcomes[verdict.outcome] += by
                self.never_sent += by * (attempts == 0)
        if after.verdict is not None and _is_news(after):
            self._newest.append((after.verdict.at, target))

    # -- what pictures ask --------------------------------------------------------------------------------------

    def sent_since(self, since: float) -> int:
        """How many triggers have left since then (wall clock); a minute back at most."""
        while self._sends and self._sends[0] < since:
            self._sends.popleft()
        return len(self._sends)

    def longest(self, at_most: int) -> list[tuple[float, str]]:
        """The builds that have run longest, each since when (wall clock), with its target."""
        found: list[tuple[float, str]] = []
        while self._running and len(found) < at_most:
            one = heappop(self._running)
            progress = self._history.of(one[1])
            if key_of(progress) is Phase.RUNNING and runs_since(progress) == one[0] and one not in found:
                found.append(one)
        for one in found:
            heappush(self._running, one)
        return found

    def newest(self, at_most: int) -> Iterator[tuple[str, Progress]]:
        """The targets that did not pass, the newest first; what was taken back, or skipped, is none of them."""
        left = at_most
        for at, target in reversed(self._newest):
            progress = self._history.of(target)
            if left and progress.verdict is not None and progress.verdict.at == at:
                left -= 1
                yield target, progress


def _is_news(progress: Progress) -> bool:
    return progress.verdict is not None and progress.verdict.outcome not in FINE


def _is_open_doubt(progress: Progress) -> bool:
    return progress.doubt is not None and progress.verdict is None


def rate(counts: Counts, since: float, now: float) -> float | None:
    """Triggers in a second over the last minute, or since then where that is less; None before it can be told.

    Args:
        since: when the triggering began or was taken up (wall clock).
    """
    span = min(MINUTE, now - since)
    return None if span < 3.0 or not math.isfinite(span) else counts.sent_since(now - span) / span
