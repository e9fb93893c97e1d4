"""Which rule bound when, without what lasted a moment only."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.forecast.result import Span

SERIAL = "one trigger at a time of a repository"  # over in a moment, so nothing that a person waits for
AT_MOST = 6  # spans that a person reads; more are drawn together
MOMENT = 1.0  # second; the first step towards that
SHORT = 0.002  # part of the whole below which a span is left out


class Course:
    """Which rule made the next trigger wait, and when.

    Attributes:
        changes: in order, the last one holds; empty: none.
        places: by rule, the repositories or owners that it ever bound (a dict, for its order).
    """

    __slots__ = ("changes", "places")

    def __init__(self) -> None:
        self.changes: list[tuple[float, str]] = []
        self.places: dict[str, dict[str, None]] = {}

    def binds(self, now: float, rule: str) -> None:
        """From now on this rule binds; empty: none."""
        if self.changes and self.changes[-1][1] == rule:
            return
        if self.changes and self.changes[-1][0] == now:  # it was only passed through
            self.changes.pop()
            self.binds(now, rule)
        else:
            self.changes.append((now, rule))


def spans(course: Course, end: float) -> tuple[Span, ...]:
    """The rules that bound until the last trigger, in order.

    Args:
        end: when the last trigger left.
    """
    found, least = list(_raw(course, end)), MOMENT
    while True:
        found = _merged(found, least)
        if least >= SHORT * end and len(found) <= AT_MOST:
            break
        least *= 2.0
    return tuple(_span(course, *one) for one in found)


def _span(course: Course, start: float, end: float, rule: str) -> Span:
    places = course.places.get(rule, {})
    return Span(start, end, rule, next(iter(places), None), max(1, len(places)))


_Raw = tuple[float, float, str]


def _raw(course: Course, end: float) -> list[_Raw]:
    changes = course.changes
    ends = [at for at, _ in changes[1:]] + [end]
    return [
        (at, min(stop, end), rule)
        for (at, rule), stop in zip(changes, ends, strict=True)
        if rule and rule != SERIAL and at < end
    ]


def _merged(raw: Sequence[_Raw], least: float) -> list[_Raw]:
    """Neighbours of one rule as one, after those that are too short were left out."""
    found: list[_Raw] = []
    for start, stop, rule in raw:
        if stop - start < least:
            continue
        begin = start if not found else found[-1][1]  # what was left out in between is the next one's
        if found and found[-1][2] == rule:
            begin = found.pop()[0]
        found.append((begin, stop, rule))
    return found
