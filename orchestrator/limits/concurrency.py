"""How many builds of a run may stand in an owner's queue beside other people's: arithmetic, no clock, no calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.core.concurrency import Concurrency, QueueRule
from orchestrator.core.frozen import Struct, replace
from orchestrator.limits.quiet_hours import quiet_until

GROWTH = 10  # readings in which the places of a loop grow from none to all


def check_concurrency(values: Concurrency, now: float) -> None:
    """Refuses what no manifest can have made, or what this machine cannot follow.

    Raises:
        ValueError: says what is wrong, such as a time zone that is not known here.
    """
    rule = values.queue
    if any(cap.most < 1 for cap in values.caps):
        raise ValueError("a number of builds in flight below one")
    if rule is not None and not (1 <= rule.resume <= rule.below and 0 <= rule.reserve < rule.below):
        raise ValueError(f"a queue below {rule.below} with resume {rule.resume} and reserve {rule.reserve}")
    if rule is not None and not rule.every >= 1.0:
        raise ValueError(f"a look at the queue every {rule.every:g} s")
    quiet_until(values.quiet, now)


class Others(Struct, frozen=True, omit_defaults=True):
    """Other people's builds in an owner's queue, the dead ones left out."""

    running: int = 0
    waiting: int = 0

    @property
    def builds(self) -> int:
        """All of them."""
        return self.running + self.waiting


class Entry(Struct, frozen=True, omit_defaults=True):
    """A build in an owner's queue, as a look shows it.

    Args:
        since: when it last moved, by the provider's clock; None where the provider does not say.
    """

    id: str
    repo: str
    waits: bool
    since: float | None = None


def others_in(
    queue: Sequence[Entry], ours: Iterable[str], unseen: Iterable[str], now: float, dead_after: float
) -> Others:
    """What of a queue is neither ours nor dead.

    Args:
        ours: ids of the builds of this run that are known.
        unseen: for each request of this run whose build was not seen yet, its repository: one unknown build there is
            taken for it, since it appears in the queue before it is recognised.
        now: by the clock of the queue's entries.
    """
    known, expected = frozenset(ours), Counter(unseen)
    running = waiting = 0
    for entry in queue:
        if entry.id in known or (entry.since is not None and now - entry.since > dead_after):
            continue
        if expected[entry.repo] > 0:
            expected[entry.repo] -= 1
            continue
        waiting += entry.waits
        running += not entry.waits
    return Others(running, waiting)


class Loop(Struct, frozen=True, omit_defaults=True):
    """The closed loop on one owner's queue.

    A run's own builds are always counted exactly, as the journal has them; of the others only the last look tells.
    When people make the queue longer than allowed, the run halves what it may have there and holds still until the
    queue is short again; from then on its places grow back, a tenth of the whole with every look.

    Args:
        allowed: builds of this run that may be in the queue, however much room there is.
        others: as last seen; None while the queue cannot be read: then only what the run has there itself counts.
        is_held: people made the queue too long, and it is not short yet.
    """

    rule: QueueRule
    allowed: int
    others: Others | None = None
    is_held: bool = False

    @classmethod
    def of(cls, rule: QueueRule) -> Loop:
        """Before the first look."""
        return cls(rule, rule.below)

    @property
    def places(self) -> int:
        """How many builds of this run may be in the queue now."""
        if self.is_held:
            return 0
        return max(0, min(self.allowed, self.rule.below - self._kept))

    @property
    def _kept(self) -> int:
        """Places that are other people's."""
        if self.others is None:
            return self.rule.reserve
        if self.others.waiting:
            return self.others.builds + self.rule.reserve
        return max(self.others.builds, self.rule.reserve)

    def seen(self, others: Others, ours: int) -> Loop:
        """The loop after a look.

        Args:
            ours: builds of this run in the queue, those included that were asked for and have not appeared.
        """
        rule, length = self.rule, others.builds + ours
        if length > rule.below:
            return replace(self, others=others, is_held=True, allowed=max(1, min(self.allowed, ours) // 2))
        if self.is_held and length >= rule.resume:
            return replace(self, others=others)
        grown = min(rule.below, self.allowed + max(1, rule.below // GROWTH))
        return replace(self, others=others, is_held=False, allowed=grown)

    def blind(self) -> Loop:
        """The loop after a look that failed: what other people have there is not known."""
        return replace(self, others=None, is_held=False)

    @property
    def detail(self) -> str:
        """What holds the next trigger back, for people."""
        if self.others is None:
            return "it cannot be read, so that only builds of this run are counted"
        builds = f"{self.others.builds} builds of others in it"
        if self.is_held:
            return f"{builds}, until it falls below {self.rule.resume}"
        return f"{builds}, {self.others.waiting} of them waiting" if self.others.waiting else builds
