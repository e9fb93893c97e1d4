"""Quiet hours: when no trigger is sent, by the clock on the wall of a place, whatever daylight saving time does."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from orchestrator.core.concurrency import DAYS, Quiet

MINUTES = 24 * 60
LONGEST = 8 * 86_400.0  # seconds; what is quiet for longer never ends
QUIET = r"^([A-Za-z, -]+ +)?[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}( +[A-Za-z0-9_+/-]+)? *$"
_PARTS = re.compile(r"(?:([A-Za-z, -]+?) +)?([0-9]{1,2}:[0-9]{2}) *- *([0-9]{1,2}:[0-9]{2})(?: +([A-Za-z0-9_+/-]+))? *")


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
