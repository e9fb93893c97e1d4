"""Counting calls: windows that refuse, bans, and what a look-alike has seen."""

from __future__ import annotations

import re
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

MARKER = re.compile(r"\[[A-Za-z0-9._-]+\.[a-z2-7]{8}\]")


class FixedWindows:
    """Counts by subject in windows of so many seconds that are aligned to the epoch."""

    def __init__(self, per: float) -> None:
        self.per = per
        self._counts: dict[str, tuple[int, int]] = {}

    def count(self, subject: str, now: float) -> int:
        """Counts one call. Returns how many the window has now."""
        window = int(now // self.per)
        seen, count = self._counts.get(subject, (window, 0))
        count = count + 1 if seen == window else 1
        self._counts[subject] = (window, count)
        return count

    def spare(self, subject: str, now: float) -> None:
        """Takes back one call of the window that was counted."""
        window, count = self._counts.get(subject, (0, 0))
        if window == int(now // self.per) and count:
            self._counts[subject] = (window, count - 1)


class SlidingWindow:
    """Times within the last so many seconds."""

    def __init__(self, per: float) -> None:
        self.per = per
        self._times: deque[float] = deque()

    def used(self, now: float) -> int:
        """How many the window holds."""
        while self._times and self._times[0] <= now - self.per:
            self._times.popleft()
        return len(self._times)

    def add(self, now: float) -> None:
        """Counts one more."""
        self._times.append(now)


class Bans:
    """Who is shut out until when."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.count = 0

    def ban(self, subject: str, until: float) -> None:
        """Shuts a subject out."""
        self.until[subject] = until
        self.count += 1

    def holds(self, subject: str, now: float) -> bool:
        """Whether the subject is shut out."""
        return self.until.get(subject, 0.0) > now


class Counters:
    """Facts about all calls, written down as they come.

    `accepted` are triggers as the service's own rows. Each has `created_at`, `slug` (the repository), `marked` (the
    text that may hold a marker, or None) and `as_json()`.
    """

    def __init__(self) -> None:
        self.accepted: list[Any] = []
        self.calls = array("d")
        self.posts = array("d")
        self.statuses: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def by_marker(self) -> Counter[str]:
        """Accepted triggers by marker; those without one are left out."""
        return Counter(marker for each in self.accepted if (marker := marker_in(each.marked)) is not None)

    def by_repo(self) -> Counter[str]:
        """Accepted triggers by repository."""
        return Counter(each.slug for each in self.accepted)

    def duplicates(self) -> dict[str, int]:
        """Markers that were accepted more than once."""
        return {marker: count for marker, count in self.by_marker().items() if count > 1}

    def worst_of_a_repo(self, per: float) -> int:
        """The most accepted triggers of one repository in any window."""
        times: dict[str, list[float]] = {}
        for each in self.accepted:
            times.setdefault(each.slug, []).append(each.created_at)
        return max((worst_window(each, per) for each in times.values()), default=0)


def worst_window(times: Sequence[float], per: float) -> int:
    """The most calls in any window of that many seconds, wherever it starts (its end excluded)."""
    worst = start = 0
    for end, at in enumerate(times):
        while times[start] <= at - per:
            start += 1
        worst = max(worst, end - start + 1)
    return worst


def marker_in(message: str | None) -> str | None:
    """The last marker in a message."""
    found = MARKER.findall(message or "")
    return found[-1] if found else None
