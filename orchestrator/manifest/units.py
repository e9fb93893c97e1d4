"""Durations (`60s`, `6h`) and limits (`40/30s`) as people write them."""

from __future__ import annotations

import re

DURATION = r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)$"
LIMIT = r"^[1-9][0-9]{0,8}/([0-9]{1,9}(\.[0-9]{1,6})?)?(ms|s|m|h|d)$"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS = re.compile(r"([0-9]*\.?[0-9]*)(ms|s|m|h|d)")
_LONGEST = 10 * 365 * 86400.0  # ten years, in seconds


def parse_duration(text: str) -> float:
    """Seconds in `250ms`, `60s`, `1m`, `24h`, `2d`.

    Raises:
        ValueError: the message says what is expected.
    """
    if re.match(DURATION, text) is None:
        raise ValueError(f"expected a duration such as 250ms, 60s, 5m, 24h or 2d, found {text!r}")
    return _seconds(text)


def parse_limit(text: str) -> tuple[int, float]:
    """Calls and seconds in `40/30s`; `10/h` is `10/1h`.

    Raises:
        ValueError: the message says what is expected.
    """
    if re.match(LIMIT, text) is None or (seconds := _seconds(text.partition("/")[2])) == 0:
        raise ValueError(f"expected so many calls per period, such as 40/30s or 10/1h, found {text!r}")
    return int(text.partition("/")[0]), seconds


def _seconds(text: str) -> float:
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError(f"no duration: {text!r}")
    seconds = float(parts[1] or 1) * _UNITS[parts[2]]
    if seconds > _LONGEST:
        raise ValueError(f"{text} is longer than ten years")
    return seconds
