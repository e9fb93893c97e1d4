"""How many builds a service runs at once: what earlier runs showed of it, and when builds start that keep to it.

No service tells its own bound. It shows where builds waited: for most of that time about as many others ran.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from heapq import heappush, heapreplace
from statistics import quantiles
from typing import TypeAlias

from orchestrator.core.frozen import Struct

Place: TypeAlias = tuple[str, str]
"""An account and an owner of repositories; an empty one stands for all of the account."""

FEWEST = 3  # builds that waited, below which nothing can be said
SHARE = 0.1  # of the builds of a place: so many have waited where there is a bound
STEADY = 0.8  # of the most that ran while others waited: so many ran for at least half of that time
MOMENT = 5.0  # seconds by which a start may be late without a bound


class Span(Struct, frozen=True, gc=False):
    """A build that has ended; times by one clock.

    Args:
        asked: when it was known that the build was asked for.
    """

    owner: str
    asked: float
    started: float
    finished: float

    @property
    def queued(self) -> float:
        """Seconds to its start."""
        return self.started - self.asked


class Shown(Struct, frozen=True):
    """What the builds of an account show.

    Args:
        at_once: by owner, how many builds run at once, where they show a bound; under the empty name: of all owners.
        queued: seconds from a request to the start of its build, of builds for which there was room.
    """

    at_once: Mapping[str, int]
    queued: Sequence[float]


def shown_by(builds: Sequence[Span]) -> Shown:
    """What builds of one account show: a bound of each owner's, or else one of the whole account."""
    owners: defaultdict[str, list[Span]] = defaultdict(list)
    for build in builds:
        owners[build.owner].append(build)
    bounds = {owner: bound for owner, them in owners.items() if (bound := _bound(them)) is not None}
    if not bounds and len(owners) > 1 and (bound := _bound(builds)) is not None:
        bounds, owners = {"": bound}, defaultdict(list, {"": list(builds)})
    queued = [
        build.queued
        for owner, them in owners.items()
        for late in [_late_after(them) if owner in bounds else float("inf")]
        for build in them
        if build.queued <= late
    ]
    return Shown(bounds, queued)


def _late_after(builds: Sequence[Span]) -> float:
    """Seconds from a request after which a build without a start waits for others: going by the quickest starts."""
    usual = (
        quantiles((build.queued for build in builds), n=10, method="inclusive")[0]
        if len(builds) > 1
        else builds[0].queued
    )
    return max(2.0 * usual, usual + MOMENT)


def _bound(builds: Sequence[Span]) -> int | None:
    """How many of these run at once while others wait; None where they show no bound."""
    late = _late_after(builds)
    waited = [build for build in builds if build.queued > late]
    if len(waited) < max(FEWEST, SHARE * len(builds)):
        return None
    changes = [(at, by, 0) for build in builds for at, by in ((build.started, 1), (build.finished, -1))]
    changes += [(at, 0, by) for build in waited for at, by in ((build.asked + late, 1), (build.started, -1))]
    seconds: Counter[int] = Counter()  # by how many ran, while some waited
    running = waiting = 0
    before = 0.0
    for at, runs, waits in sorted(changes):
        if waiting:
            seconds[running] += at - before  # type: ignore[assignment]  # a counter of seconds
        before, running, waiting = at, running + runs, waiting + waits
    half = sum(seconds.values()) / 2
    usual = peak = 0
    for running, spent in sorted(seconds.items()):
        if half > 0:
            usual = running
        half -= spent
        peak = running if spent >= 1.0 else peak
    return usual if usual > 0 and usual >= STEADY * peak else None


class Slots:
    """Where builds run that a service runs a bounded number of: each starts when it is asked for, or as others end.

    Args:
        at_once: how many builds run at once, by place.
    """

    def __init__(self, at_once: Mapping[Place, int]) -> None:
        self._at_once = at_once
        self._ends: defaultdict[Place, list[float]] = defaultdict(
            list
        )  # of builds that run, or will, the soonest first

    def start(self, account: str, owner: str, ready: float, runs: float) -> float:
        """When a build starts that could at `ready`, and runs so long; builds come in the order of being ready."""
        place = next((one for one in ((account, owner), (account, "")) if one in self._at_once), None)
        if place is None:
            return ready
        ends = self._ends[place]
        if len(ends) < self._at_once[place]:
            heappush(ends, ready + runs)
            return ready
        start = max(ready, ends[0])
        heapreplace(ends, start + runs)
        return start
