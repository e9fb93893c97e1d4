"""What a run takes of the limits, and what it leaves for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from orchestrator.core.model import ACCOUNT, Account, Limit, Target
from orchestrator.forecast.result import Use
from orchestrator.providers.port import Declaration

HOUR = 3600.0
BUSIEST = 3  # repositories or owners that are named


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
