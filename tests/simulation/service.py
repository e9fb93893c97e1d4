"""The look-alike as the simulation needs it: its clock steps, and it remembers what only an oracle may know."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.lookalike.kit.gateway import Arrival
from orchestrator.lookalike.kit.reply import Reply
from orchestrator.lookalike.travis.rows import Build
from orchestrator.lookalike.travis.settings import Settings
from orchestrator.lookalike.travis.world import World


class Service(World):
    """A world.

    Args:
        began: by its callers' clock.
        time: true seconds since the beginning, which no clock shows.

    Attributes:
        callers: by a request's id, what the call that made it named as its own id.
        ended: by a build's id, when it ended, each time, in true seconds.
    """

    def __init__(self, settings: Settings, began: float, time: Callable[[], float]) -> None:
        super().__init__(settings, began=began)
        self._time = time
        self._ahead = began + settings.skew
        self.callers: dict[int, str] = {}
        self.ended: dict[int, list[float]] = {}
        self._end, self._life._end = self._life._end, self._note_end  # type: ignore[method-assign]

    def step(self, by: float) -> None:
        """Its clock steps; what is under way takes as long as it would have."""
        before = self._time() + self._ahead
        self._life.advance(before)
        self._ahead += by
        self._life._due = [(at + by, *rest) for at, *rest in self._life._due]  # type: ignore[misc]
        self._began = (self._began or 0.0) + by
        for who in self.guard.banned_until:
            self.guard.banned_until[who] += by
        for request in self.tables.requests.values():  # what was to be seen before is seen now, whatever its time says
            request.visible_at = request.visible_at + by if request.visible_at > before else 0.0

    def now(self) -> float:
        """What its callers pass on as the time."""
        return self._time() + self._ahead - self.settings.skew

    def _serve(self, arrival: Arrival, now: float, stuck: bool = False) -> Reply:
        before = len(self.counts.accepted)
        reply = super()._serve(arrival, now, stuck)
        for request in self.counts.accepted[before:]:
            self.callers[request.id] = arrival.headers.get("x-request-id", "")
        return reply

    def _note_end(self, at: float, build: Build, state: str) -> None:
        self.ended.setdefault(build.id, []).append(at - self._ahead)
        self._end(at, build, state)
