"""What an account's `limits:` say about builds, as values: how many of a run's at once, and when none is started.

caps     so many builds of this run queued or running, for an owner or a label (the account's: `Account.in_flight`)
queue    a closed loop on an owner's whole queue, as the provider shows it
quiet    hours in which no trigger is sent
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.core.frozen import Struct

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Quiet(Struct, frozen=True, omit_defaults=True):
    """A span of time that comes back every week.

    Args:
        days: on which it begins, 0 is Monday.
        begins: minutes after midnight.
        ends: minutes after midnight; not after `begins`: on the next day.
        zone: an IANA name such as `Europe/Berlin`.
    """

    days: tuple[int, ...]
    begins: int
    ends: int
    zone: str = "UTC"

    def __str__(self) -> str:
        days = "" if len(self.days) == len(DAYS) else f"{_days(self.days)} "
        return f"{days}{_clock(self.begins)}-{_clock(self.ends)} {self.zone}"


class Cap(Struct, frozen=True, omit_defaults=True):
    """At most so many builds of a run queued or running.

    Args:
        scope: `owner` (each owner for itself), `owner:acme` (that one, in place of it) or `label:core`.
    """

    scope: str
    most: int

    @property
    def kind(self) -> str:
        """`owner` or `label`."""
        return self.scope.partition(":")[0]

    @property
    def name(self) -> str:
        """Which owner or label; empty for each owner."""
        return self.scope.partition(":")[2]

    def __str__(self) -> str:
        return f"in_flight_per_{self.kind} {self.most}{f' of {self.name}' if self.name else ''}"


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


class Concurrency(Struct, frozen=True, omit_defaults=True):
    """All that an account's `limits:` say about builds, beyond `in_flight`; nothing by default."""

    caps: tuple[Cap, ...] = ()
    queue: QueueRule | None = None
    quiet: tuple[Quiet, ...] = ()

    @property
    def holds_all(self) -> bool:
        """Whether every target falls under a rule that leaves room for other people's builds."""
        return self.queue is not None or any(cap.scope == "owner" for cap in self.caps)

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


UNLIMITED = Concurrency()


def part(calls: int, share: int) -> int:
    """A share, in percent, of the calls of a limit: rounded down, and at least one."""
    return max(1, calls * share // 100)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _days(days: Sequence[int]) -> str:
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{DAYS[days[0]]}-{DAYS[days[-1]]}"
    return ",".join(DAYS[day] for day in days)


class Entry(Struct, frozen=True, omit_defaults=True):
    """A build in an owner's queue, as a look shows it.

    Args:
        since: when it last moved, by the provider's clock; None where the provider does not say.
    """

    id: str
    repo: str
    waits: bool
    since: float | None = None
