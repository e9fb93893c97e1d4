"""A service in the simulation: a look-alike whose clock steps, and that remembers what only an oracle may know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit.http import Incoming, Refused, Reply

from .kinds import KINDS, Site


class Built(Struct, frozen=True):
    """A build.

    Args:
        id: as the engine names it; empty where it has not begun. `tries` are the ids of later tries, if they have any.
        restarted: when it was started again, each time, in true seconds.
        ended: when it ended, each time, in true seconds, and `ends`, how, in our words.
    """

    id: str
    restarted: tuple[float, ...]
    ended: tuple[float, ...]
    ends: tuple[str, ...]
    tries: tuple[str, ...] = ()


class Row(Struct, frozen=True):
    """What one call made at a service: the one request that it asked for.

    Args:
        world: which service it is at.
        id: of the request, as the engine names it.
        order: of the call that made it.
        made: when, in true seconds, and `shown`, from when on it is in listings.
        is_rejected: whether the service refused it after it had accepted it.
    """

    world: str
    id: str
    slug: str
    order: int
    made: float
    shown: float
    builds: tuple[Built, ...]
    is_rejected: bool = False

    def build(self, id_: str) -> Built | None:
        """A build by its id; where there is one only, that: it may be named after the queue in which it stood."""
        if len(self.builds) == 1:
            return self.builds[0]
        return next((build for build in self.builds if build.id == id_), None)


class World:
    """One service.

    Args:
        site: the first of the accounts on it.
        began: by its callers' clock.
        time: true seconds since the beginning, which no clock shows.

    Attributes:
        callers: by the place of a row among those accepted, the order of the call that made it.
        made: the true time at which it was made.
        reason: why the last call was refused, empty where it was not.
    """

    def __init__(self, site: Site, began: float, time: Callable[[], float]) -> None:
        self.name = site.world
        self.kind = KINDS[site.type]
        self.settings = site.settings
        self.like: Any = self.kind.made(site, began)
        self.counters = self.like.counters
        self.callers: list[int] = []
        self.reason = ""
        self._made: list[float] = []
        self._time = time
        self._ahead = began + self.settings.skew
        self._ended: defaultdict[object, list[tuple[float, str]]] = defaultdict(list)
        self._restarted: defaultdict[object, list[float]] = defaultdict(list)
        self._serve, self.like._serve = self.like._serve, self._noted
        self._answer, self.like.answer = self.like.answer, self._answered
        self.kind.watch(self.like, self._note_end, self._note_restart)

    def step(self, by: float) -> None:
        """Its clock steps; what is under way takes as long as it would have."""
        like, before = self.like, self._time() + self._ahead
        like.events.advance(before)
        self._ahead += by
        like.events.shift(by)
        like._began = (like._began or 0.0) + by
        for who in like.bans.until:
            like.bans.until[who] += by
        for row in self.kind.lagging(like):  # what was to be seen before is seen now, whatever its time says
            row.visible_at = row.visible_at + by if row.visible_at > before else 0.0

    def now(self) -> float:
        """What its callers pass on as the time."""
        return self._time() + self._ahead - self.settings.skew

    def true(self, at: float) -> float:
        """What its clock shows, in true seconds, as long as it does not step."""
        return at - self._ahead

    def handle(self, call: Incoming) -> Reply:
        """The reply to one call."""
        self.reason = ""
        reply: Reply = self.like.handle(call, self.now())
        return reply

    def rows(self) -> list[Row]:
        """All that calls made here; what one call made is one row."""
        found: dict[int, list[int]] = {}
        for place, order in enumerate(self.callers):
            found.setdefault(order, []).append(place)
        return [self._row(order, places) for order, places in found.items()]

    def _row(self, order: int, places: list[int]) -> Row:
        rows = [self.counters.accepted[place] for place in places]
        return Row(
            self.name,
            self.kind.id_of(rows[0]),
            rows[0].slug,
            order,
            self._made[places[0]],
            self.true(max(self.kind.visible(row) for row in rows)),
            tuple(self._built(id_, native) for row in rows for id_, native in self.kind.builds(row)),
            self.kind.is_rejected(rows[0]),
        )

    def _built(self, id_: str, native: object) -> Built:
        ended = self._ended.get(native, [])
        ends = tuple(self.kind.state_of(word) for _, word in ended)
        restarted, tries = tuple(self._restarted.get(native, ())), tuple(self.kind.tries(self.like, native))
        return Built(id_, restarted, tuple(at for at, _ in ended), ends, tries)

    def _noted(self, now: float, call: Incoming, stuck: bool = False) -> Reply:
        before = len(self.counters.accepted)
        reply: Reply = self._serve(now, call, stuck)
        for _ in self.counters.accepted[before:]:
            self.callers.append(int(call.headers["x-request-id"]))
            self._made.append(self._time())
        return reply

    def _answered(self, call: Incoming, now: float, stuck: bool) -> Reply:
        try:
            reply: Reply = self._answer(call, now, stuck)
        except Refused as error:
            self.reason = error.reason
            raise
        return reply

    def _note_end(self, at: float, build: object, word: str) -> None:
        self._ended[build].append((self.true(at), word))

    def _note_restart(self, at: float, build: object) -> None:
        self._restarted[build].append(self.true(at))
