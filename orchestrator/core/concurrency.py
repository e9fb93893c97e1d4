"""What an account's `limits:` say about builds, as values: how many of a run's at once, and when none is started.

caps     so many builds of this run queued or running, for an owner or a label (the account's: `Account.in_flight`)
queue    a closed loop on an owner's whole queue, as the provider shows it
quiet    hours in which no trigger is sent, by the clock on the wall of a place, whatever daylight saving time does
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from orchestrator.core.frozen import Struct

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = 24 * 60
LONGEST = 8 * 86_400.0  # seconds; what is quiet for longer never ends
QUIET = r"^([A-Za-z, -]+ +)?[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}( +[A-Za-z0-9_+/-]+)? *$"
_PARTS = re.compile(r"(?:([A-Za-z, -]+?) +)?([0-9]{1,2}:[0-9]{2}) *- *([0-9]{1,2}:[0-9]{2})(?: +([A-Za-z0-9_+/-]+))? *")


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


class Entry(Struct, frozen=True, omit_defaults=True):
    """A build in an owner's queue, as a look shows it.

    Args:
        since: when it last moved, by the provider's clock; None where the provider does not say.
    """

    id: str
    repo: str
    waits: bool
    since: float | None = None


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


# -- quiet hours ------------------------------------------------------------------------------------------------


def parse_quiet(text: str) -> Quiet:
    """The quiet hours in `mon-fri 08:00-18:00 Europe/Berlin`; without days every day, without a zone UTC.

    Raises:
        ValueError: says what is wrong.
    """
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError(f"expected quiet hours such as `mon-fri 08:00-18:00 Europe/Berlin`, found {text[:60]!r}")
    days, begins, ends, zone = found.groups()
    return make_quiet(days or "mon-sun", begins, ends, zone or "UTC")


def make_quiet(days: str | Sequence[str], begins: str, ends: str, zone: str) -> Quiet:
    """Quiet hours from their parts; `days` is `mon-fri`, `sat,sun` or a list of such.

    Raises:
        ValueError: says what is wrong.
    """
    words = days.split(",") if isinstance(days, str) else days
    chosen = sorted({day for word in words for day in _span(word.strip().lower())})
    begin, end = _minutes(begins), _minutes(ends)
    if begin == MINUTES:
        raise ValueError(f"quiet hours begin at 23:59 at the latest, found {begins}")
    if begin == end:
        raise ValueError(f"quiet hours from {begins} to {ends} are empty; for a whole day write 00:00-24:00")
    _zone(zone)
    return Quiet(tuple(chosen), begin, end, zone)


def quiet_until(hours: Sequence[Quiet], now: float) -> tuple[float, Quiet | None]:
    """When the quiet hours are over in which `now` lies, and which they are; `now` itself and None outside them.

    Args:
        now: wall clock. Spans that touch or overlap are one; infinity where they never end.
    """
    until, last = now, None
    while until - now < LONGEST:
        ends = [(end, quiet) for quiet in hours if (end := _end(quiet, until)) is not None]
        if not ends:
            return until, last
        until, last = max(ends, key=lambda pair: pair[0])
    return math.inf, last


def _end(quiet: Quiet, now: float) -> float | None:
    """The end of the span in which `now` lies."""
    zone = _zone(quiet.zone)
    today = datetime.fromtimestamp(now, zone).date()
    for day in (today, today - timedelta(days=1)):
        if day.weekday() not in quiet.days:
            continue
        later = day if quiet.ends > quiet.begins else day + timedelta(days=1)
        begins, ends = _instant(day, quiet.begins, zone, first=True), _instant(later, quiet.ends, zone, first=False)
        if begins <= now < ends:
            return ends
    return None


def _instant(day: date, minutes: int, zone: tzinfo, *, first: bool) -> float:
    """When the clock there shows this time.

    Args:
        first: of two such instants, where the clock is set back, the first one. Where the clock is set forward over
            it, there is none: then it is the instant at which that happens.
    """
    shown = datetime.combine(day + timedelta(days=minutes // MINUTES), time(minutes % MINUTES // 60, minutes % 60))
    early, late = (shown.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if early <= late:
        return early if first else late
    return _change(int(late), int(early), zone)


def _change(before: int, after: int, zone: tzinfo) -> float:
    """The second in between at which the clock is set forward."""
    offset = datetime.fromtimestamp(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return float(after)


def _zone(name: str) -> tzinfo:
    """Raises ValueError where there is no such zone."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only where quiet hours name a place

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name[:60]!r}; write an IANA name such as Europe/Berlin, or UTC "
            "(where no zone is known at all: pip install tzdata)"
        ) from None


def _span(word: str) -> list[int]:
    first, dash, last = word.partition("-")
    ends = [first.strip(), last.strip() if dash else first.strip()]
    for day in ends:
        if day not in DAYS:
            raise ValueError(f"unknown day {day[:20]!r}; write {', '.join(DAYS)}, or a span such as mon-fri")
    begin, end = (DAYS.index(day) for day in ends)
    return [(begin + step) % 7 for step in range((end - begin) % 7 + 1)]


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    found = int(hours) * 60 + int(minutes) if hours.isdecimal() and minutes.isdecimal() else -1
    if not 0 <= found <= MINUTES or int(minutes) > 59:
        raise ValueError(f"expected a time of day between 00:00 and 24:00, found {text[:20]!r}")
    return found
