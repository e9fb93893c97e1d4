"""The look-alike as the simulation needs it: its clock steps, and it remembers what only an oracle may know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.lookalike.kit.http import Incoming, Reply
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.rows import Build, Job
from orchestrator.lookalike.travis.settings import Settings


class Service(TravisLookAlike):
    """A world.

    Args:
        began: by its callers' clock.
        time: true seconds since the beginning, which no clock shows.

    Attributes:
        callers: by a request's id, what the call that made it named as its own id.
        ended: by a build's id, when it ended, each time, in true seconds, and `ends`, how.
        restarted: by a build's id, when it was started again, each time, in true seconds.
    """

    def __init__(self, settings: Settings, began: float, time: Callable[[], float]) -> None:
        super().__init__(settings, began=began)
        self._time = time
        self._ahead = began + settings.skew
        self.callers: dict[int, str] = {}
        self.ended: dict[int, list[float]] = {}
        self.ends: dict[int, list[str]] = {}
        self.restarted: dict[int, list[float]] = {}
        self._again, self.builds._begin_again = self.builds._begin_again, self._note_restart  # type: ignore[method-assign]
        self._end, self.builds._end = self.builds._end, self._note_end  # type: ignore[method-assign]

    def step(self, by: float) -> None:
        """Its clock steps; what is under way takes as long as it would have."""
        before = self._time() + self._ahead
        self.events.advance(before)
        self._ahead += by
        self.events.shift(by)
        self._began = (self._began or 0.0) + by
        for who in self.bans.until:
            self.bans.until[who] += by
        for request in self.tables.requests.values():  # what was to be seen before is seen now, whatever its time says
            request.visible_at = request.visible_at + by if request.visible_at > before else 0.0

    def now(self) -> float:
        """What its callers pass on as the time."""
        return self._time() + self._ahead - self.settings.skew

    def true(self, at: float) -> float:
        """What its clock shows, in true seconds, as long as it does not step."""
        return at - self._ahead

    def _serve(self, now: float, call: Incoming, stuck: bool = False) -> Reply:
        before = len(self.counters.accepted)
        reply = super()._serve(now, call, stuck)
        for request in self.counters.accepted[before:]:
            self.callers[request.id] = call.headers.get("x-request-id", "")
        return reply

    def _note_end(self, at: float, build: Build, state: str) -> None:
        self.ended.setdefault(build.id, []).append(self.true(at))
        self.ends.setdefault(build.id, []).append(state)
        self._end(at, build, state)

    def _note_restart(self, at: float, build: Build, jobs: Sequence[Job]) -> None:
        self.restarted.setdefault(build.id, []).append(self.true(at))
        self._again(at, build, jobs)
