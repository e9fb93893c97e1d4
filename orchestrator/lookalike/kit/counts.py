"""What a world saw, for tests and for `/sandbox/stats`."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence

from orchestrator.lookalike.kit.fields import exact
from orchestrator.lookalike.travis.rows import Request

MARKER = re.compile(r"\[[A-Za-z0-9._-]+\.[a-z2-7]{8}\]")


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


class Counts:
    """Facts about all calls of a world, written down as they come."""

    def __init__(self) -> None:
        self.accepted: list[Request] = []
        self.calls = array("d")
        self.posts = array("d")
        self.statuses: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def by_marker(self) -> Counter[str]:
        """Accepted requests by marker; those without one are left out."""
        return Counter(marker for each in self.accepted if (marker := marker_in(each.said)) is not None)

    def by_repo(self) -> Counter[str]:
        """Accepted requests by repository."""
        return Counter(each.repo.slug for each in self.accepted)

    def duplicates(self) -> dict[str, int]:
        """Markers that were accepted more than once."""
        return {marker: count for marker, count in self.by_marker().items() if count > 1}

    def worst_posts(self, per: float) -> int:
        """The most POSTs in any window."""
        return worst_window(self.posts, per)

    def worst_calls(self, per: float) -> int:
        """The most calls in any window."""
        return worst_window(self.calls, per)

    def worst_of_a_repo(self, per: float) -> int:
        """The most accepted requests of one repository in any window."""
        times: dict[int, list[float]] = {}
        for each in self.accepted:
            times.setdefault(each.repo.id, []).append(each.created_at)
        return max((worst_window(each, per) for each in times.values()), default=0)

    def rows(self) -> list[dict[str, object]]:
        """Every accepted request, as it was sent."""
        return [
            {
                "id": each.id,
                "repo": each.repo.slug,
                "repo_id": each.repo.id,
                "user": each.user.login,
                "received_at": exact(each.created_at),
                "marker": marker_in(each.said),
                "state": each.state,
                "result": each.result,
                "builds": [build.id for build in each.builds],
                **{name: each.wanted.get(name) for name in ("branch", "message", "sha", "tag_name")},
                **{name: each.wanted.get(name) for name in ("config", "configs", "merge_mode")},
            }
            for each in self.accepted
        ]
