"""Bans and throttles of the hosted service, as rack-attack counts them (reference 3.3).

Windows are fixed and aligned to the epoch, not sliding; who is counted is the token, else the address.
"""

from __future__ import annotations

from enum import Enum

from orchestrator.lookalike.travis.settings import Rule

ANONYMOUS = ""  # one address for everybody without a token
ANONYMOUS_CALLS = 500


class Verdict(Enum):
    """Whether a call may pass."""

    PASS = 0
    BANNED = 1
    THROTTLED = 2


class Guard:
    """Counts the calls of each principal."""

    def __init__(self, burst: Rule | None, minute: Rule | None) -> None:
        self._burst = burst
        self._minute = minute
        self._anonymous = None if minute is None else Rule(ANONYMOUS_CALLS, minute.per)
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}
        self.banned_until: dict[str, float] = {}
        self.bans = 0

    def admit(self, who: str, method: str, now: float) -> Verdict:
        """Counts one call. The call that reaches the burst rule still passes; then the ban begins."""
        if self.banned_until and self.banned_until.get(who, 0.0) > now:
            return Verdict.BANNED
        burst = self._burst
        if burst is not None and method == "POST" and self._count("burst", who, burst, now) >= burst.calls:
            self.ban(who, now + burst.ban)
        minute = self._minute if who else self._anonymous
        if minute is not None and self._count("minute", who, minute, now) > minute.calls:
            return Verdict.THROTTLED
        return Verdict.PASS

    def ban(self, who: str, until: float) -> None:
        """Shuts a principal out; tests use it too."""
        self.banned_until[who] = until
        self.bans += 1

    def _count(self, rule: str, who: str, limit: Rule, now: float) -> int:
        window = int(now // limit.per)
        seen, count = self._counts.get((rule, who), (window, 0))
        count = count + 1 if seen == window else 1
        self._counts[rule, who] = (window, count)
        return count
