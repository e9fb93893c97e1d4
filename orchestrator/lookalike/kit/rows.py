"""The rows of a service whose builds live by `life`, and what one call to it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Incoming, Object, exact
from orchestrator.lookalike.kit.life import Life, Lived, Words
from orchestrator.lookalike.kit.service import ServiceSettings

S = TypeVar("S", bound=ServiceSettings)
T = TypeVar("T")


class Row(Lived, eq=False, kw_only=True):
    """A build that is counted; it is seen from `visible_at` on. `told` are its fields that a user is told."""

    told: ClassVar[tuple[str, ...]]

    visible_at: float

    @property
    def marked(self) -> str | None:
        """The text that may hold a marker."""
        raise NotImplementedError

    def as_json(self) -> Object:
        """It as it was sent, and what became of it."""
        received, marker = exact(self.created_at), marker_in(self.marked)
        more = {name: getattr(self, name) for name in self.told}
        return {"repo": self.slug, "received_at": received, "marker": marker, **more}


class Rows(Generic[S]):
    """All that there is. `words` are the service's for ends, `outcomes` those of chance, by their shares."""

    words: ClassVar[Words]
    outcomes: ClassVar[Sequence[tuple[str, str]]]

    def __init__(self, settings: S, chance: Chance, events: EventQueue, counters: Counters) -> None:
        self.settings = settings
        self.chance = chance
        self.counters = counters
        shares = ((word, getattr(settings.shares, name)) for word, name in self.outcomes)
        self.life = Life(settings, chance, events, self.words, [each for each in shares if each[1] > 0])

    def seen_at(self, at: float, slug: str, nth: int) -> float:
        """When listings show what is made now."""
        return at + self.chance.between(self.settings.lag, "lag", slug, nth)

    def accept(self, at: float, row: Lived, *, stuck: bool) -> None:
        """It was triggered, and lives from now on; `stuck`: it waits for ever."""
        self.counters.accepted.append(row)
        self.life.start(at, row, stuck=stuck)


class Context(Struct, Generic[T]):
    """One call, and all that there is; `names` are those of the path, still percent-encoded."""

    call: Incoming
    now: float
    tables: T
    base: str
    body: Mapping[str, Any]
    names: Mapping[str, str]
    stuck: bool

    @property
    def query(self) -> dict[str, str]:
        """What was asked besides, the last of each name."""
        return dict(self.call.query)
