"""Which rule bound when, without what lasted a moment only; and what a run leaves of the limits for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from orchestrator.core.model import ACCOUNT, Account, Limit, Target
from orchestrator.forecast.result import Span, Use
from orchestrator.providers.port import Declaration

AT_MOST = 6  # spans that a person reads; more are drawn together
MOMENT = 1.0  # second; the first step towards that
SHORT = 0.002  # part of the whole below which a span is left out
HOUR = 3600.0
BUSIEST = 3  # repositories or owners that are named


class Binding:
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


def spans(binding: Binding, end: float) -> tuple[Span, ...]:
    """The rules that bound until the last trigger, in order.

    Args:
        end: when the last trigger left.
    """
    found, least = list(_raw(binding, end)), MOMENT
    while True:
        found = _merged(found, least)
        if least >= SHORT * end and len(found) <= AT_MOST:
            break
        least *= 2.0
    return tuple(_span(binding, *one) for one in found)


def _span(binding: Binding, start: float, end: float, rule: str) -> Span:
    places = binding.places.get(rule, {})
    return Span(start, end, rule, next(iter(places), None), max(1, len(places)))


_Raw = tuple[float, float, str]


def _raw(binding: Binding, end: float) -> list[_Raw]:
    changes = binding.changes
    ends = [at for at, _ in changes[1:]] + [end]
    return [(at, min(stop, end), rule) for (at, rule), stop in zip(changes, ends, strict=True) if rule and at < end]


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


def uses(account: Account, declaration: Declaration, rows: Sequence[tuple[float, Target]]) -> Iterator[Use]:
    """For each limit of triggers what the run takes of it in the busiest hour.

    Args:
        rows: the account's targets with the times of their triggers, in the order of time.
    """
    name = str.lower if declaration.fold_case else str
    for limit in account.limits:
        if limit.name not in declaration.trigger_limits:
            continue
        if limit.scope == ACCOUNT:
            yield _use(limit, None, [at for at, _ in rows])
            continue
        places: Callable[[Target], str] = _owner if limit.scope == "owner" else _repo
        counts = Counter(name(places(target)) for _, target in rows)
        for place, _ in counts.most_common(BUSIEST):
            yield _use(limit, place, [at for at, target in rows if name(places(target)) == place])


def _owner(target: Target) -> str:
    return target.owner


def _repo(target: Target) -> str:
    return target.repo


def _use(limit: Limit, where: str | None, times: Sequence[float]) -> Use:
    span = max(HOUR, limit.per)
    return Use(limit, where, _most_within(times, span), int(limit.calls * span / limit.per))


def _most_within(times: Sequence[float], span: float) -> int:
    most = first = 0
    for number, at in enumerate(times):
        while times[first] <= at - span:
            first += 1
        most = max(most, number - first + 1)
    return most
