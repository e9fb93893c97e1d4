"""The brake on the CI itself: how many builds of a run may stand in its queue, and how much of that is other people's.

Values and arithmetic only; the engine counts and asks. Three rules, all of them the user's own:

    caps     so many builds of this run queued or running, for an owner or a label (the account's: `Account.in_flight`)
    queue    a closed loop on an owner's whole queue, as the provider shows it: `Loop`
    quiet    hours in which no trigger is sent: `orchestrator.limits.quiet_hours`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.core.frozen import Struct, replace
from orchestrator.limits.quiet_hours import Quiet, quiet_until

GROWTH = 10  # readings in which the places of a loop grow from none to all


class Cap(Struct, frozen=True, omit_defaults=True):
    """At most so many builds of a run queued or running.

    Args:
        scope: `owner` (each owner for itself), `owner:acme` (that one, in place of it) or `label:core`.
    """

    scope: str
    most: int

    def __str__(self) -> str:
        kind, colon, name = self.scope.partition(":")
        return f"in_flight_per_{kind} {self.most}{f' of {name}' if colon else ''}"


class QueueRule(Struct, frozen=True, omit_defaults=True):
    """How a run behaves towards an owner's queue: the builds that wait or run, whoever started them.

    Args:
        below: triggers go only while the queue is shorter than this.
        resume: once other people's builds made it longer, triggers go again when it is shorter than this.
        reserve: places below `below` that are kept for other people's builds; while builds of theirs wait, so many
            more than they have.
        dead_after: seconds after which a build that has not moved is a dead entry and no longer counts.
        every: seconds between two looks at the queue.
    """

    below: int
    resume: int
    reserve: int = 0
    dead_after: float = 86_400.0
    every: float = 30.0

    def __str__(self) -> str:
        return f"queue below {self.below}"


class Brake(Struct, frozen=True, omit_defaults=True):
    """All that an account's `limits:` say about builds, beyond `in_flight`; nothing by default."""

    caps: tuple[Cap, ...] = ()
    queue: QueueRule | None = None
    quiet: tuple[Quiet, ...] = ()

    @property
    def holds_all(self) -> bool:
        """Whether every target falls under a rule that leaves room for other people's builds."""
        return self.queue is not None or any(cap.scope == "owner" for cap in self.caps)

    def check(self, now: float) -> None:
        """Refuses what no manifest can have made, or what this machine cannot follow.

        Raises:
            ValueError: says what is wrong, such as a time zone that is not known here.
        """
        rule = self.queue
        if any(cap.most < 1 for cap in self.caps):
            raise ValueError("a number of builds in flight below one")
        if rule is not None and not (1 <= rule.resume <= rule.below and 0 <= rule.reserve < rule.below):
            raise ValueError(f"a queue below {rule.below} with resume {rule.resume} and reserve {rule.reserve}")
        if rule is not None and not rule.every >= 1.0:
            raise ValueError(f"a look at the queue every {rule.every:g} s")
        quiet_until(self.quiet, now)

    def caps_of(self, owner: str, labels: Iterable[str]) -> tuple[Cap, ...]:
        """The caps under which a target falls, its owner's with the name in it.

        Args:
            owner: as it is counted: in lower case where the provider folds case.
        """
        if not self.caps:
            return ()
        most = {cap.scope: cap.most for cap in self.caps}
        scope = f"owner:{owner}"
        each = most.get(scope, most.get("owner"))
        found = [] if each is None else [Cap(scope, each)]
        found += [Cap(name, most[name]) for name in (f"label:{label}" for label in labels) if name in most]
        return tuple(found)


NO_BRAKE = Brake()


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


def part(calls: int, share: int) -> int:
    """A share, in percent, of the calls of a limit: rounded down, and at least one."""
    return max(1, calls * share // 100)
