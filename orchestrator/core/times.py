"""Durations (`60s`, `1h30m`), limits (`40/30s`), instants and counts: as people write them, and as they read them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache

DURATION = r"^([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d))+$"
LIMIT = r"^[1-9][0-9]{0,8}/([0-9]{1,9}(\.[0-9]{1,6})?)?(ms|s|m|h|d)$"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS = re.compile(r"([0-9.]*)(ms|s|m|h|d)")
_LONGEST = 10 * 365 * 86400.0  # ten years, in seconds


def parse_duration(text: str) -> float:
    """Seconds in `250ms`, `60s`, `24h`, `1h30m`.

    Raises:
        ValueError: the message says what is expected.
    """
    if len(text) > 60 or re.fullmatch(DURATION[1:-1], text) is None:
        raise ValueError(f"expected a duration such as 250ms, 60s, 5m, 24h or 2d, found {text[:60]!r}")
    return _seconds(text)


def parse_limit(text: str) -> tuple[int, float]:
    """Calls and seconds in `40/30s`; `10/h` is `10/1h`.

    Raises:
        ValueError: the message says what is expected.
    """
    calls, _, per = text.partition("/")
    if re.fullmatch(LIMIT[1:-1], text) is None or (seconds := _seconds(per)) == 0:
        raise ValueError(f"expected so many calls per period, such as 40/30s or 10/1h, found {text!r}")
    return int(calls), seconds


def _seconds(text: str) -> float:
    seconds = sum(float(number or 1) * _UNITS[unit] for number, unit in _PARTS.findall(text))
    if seconds > _LONGEST:
        raise ValueError(f"{text} is longer than ten years")
    return seconds


def period(seconds: float) -> str:
    """A duration exactly, as it may stand in a manifest: `30s`, `1m`, `24h`, `250ms`."""
    if seconds % 1:
        return f"{round(seconds * 1000)}ms"
    unit, size = next(
        ((unit, size) for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)) if _is_whole(seconds, unit, size)),
        ("s", 1.0),
    )
    return f"{seconds / size:g}{unit}"


def _is_whole(seconds: float, unit: str, size: float) -> bool:
    return seconds >= size and seconds % size == 0 and not (unit == "d" and seconds < 2 * size)  # 24h, not 1d


def duration(seconds: float) -> str:
    """A duration for people, in its two largest units: `42 s`, `1 min 53 s`, `3 h 5 min`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    sizes = [(size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if whole >= size]
    shown = []
    for size, unit in sizes[:2]:
        number, whole = divmod(whole, size)
        shown.append(f"{number:,} {unit}" if number else "")
    return " ".join(filter(None, shown)) or "0 s"


def rounded(seconds: float) -> str:
    """A duration that is foretold, as precise as a forecast is: `45 s`, `12 min`, `3 h`, `2 h 30 min`."""
    step = 1 if seconds < 120 else 60 if seconds < 86400 else 3600
    return duration(round(max(0.0, seconds) / step) * step)


def clock(at: float | None) -> str:
    """An instant as RFC 3339 in UTC, whole seconds; empty for None and for what no calendar has."""
    if at is None:
        return ""
    try:
        return _second(int(at))
    except (ValueError, OverflowError, OSError):  # a damaged time in the journal must not cost the whole report
        return ""


def moment(at: float, now: float, *, is_end: bool = False) -> str:
    """An instant for people, to the minute, with its date where it lies on another day: `04:02 UTC`.

    Args:
        now: the instant from which it is seen.
        is_end: something lasts until then: rounded up, so that it is over when the clock shows this.
    """
    whole = clock(-(-at // 60) * 60 if is_end and math.isfinite(at) else at)
    if not whole:
        return "an unknown time"
    day, _, time = whole.partition("T")
    return f"{time[:5]} UTC" if clock(now).startswith(day) else f"{day} {time[:5]} UTC"


@lru_cache(maxsize=10_000)  # the targets of a run share few seconds
def _second(whole: int) -> str:
    return f"{datetime.fromtimestamp(whole, UTC).replace(tzinfo=None).isoformat()}Z"


def counted(number: int, noun: str) -> str:
    """`1 target`, `2 targets`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
