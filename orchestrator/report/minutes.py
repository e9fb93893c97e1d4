"""What a run is expected to take of build minutes, and took, for people and for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.core.frozen import asdict
from orchestrator.core.minutes import Minutes, summed
from orchestrator.core.model import Json
from orchestrator.report.words import plain

if TYPE_CHECKING:
    from orchestrator.report.view import Report

NAMED = 4  # owners that a line names


def used(report: Report) -> Sequence[Minutes]:
    """What the builds of a run took, as far as the services tell when they began and ended; the most first.

    A build that was started again counts with its last time only.
    """
    rows = report.targets
    known = ((row.account, row.target.owner, row.run_seconds) for row in rows if row.run_seconds is not None)
    return summed(known, report.accounts)


def as_json(found: Iterable[Minutes]) -> list[Json]:
    """The same for programs."""
    return [{**asdict(one), "minutes": round(one.minutes, 2), "cost": _money(one)} for one in found]


def _money(one: Minutes) -> Json:
    return None if one.cost is None else {"amount": one.cost.amount, "currency": one.cost.currency}


def line(found: Sequence[Minutes], about: str = "", *, owners: bool = True) -> Iterator[str]:
    """The same in a sentence; nothing where nothing is known.

    Args:
        about: stands before the numbers where they are only expected.
        owners: name them, too, where there are several.
    """
    if not found:
        return
    by_owner: defaultdict[str, float] = defaultdict(float)
    costs: defaultdict[str, float] = defaultdict(float)
    for one in found:
        by_owner[one.owner] += one.minutes
        if one.cost is not None:
            costs[one.cost.currency] += one.cost.amount
    named = [f"{plain(owner)} {_number(minutes)}" for owner, minutes in list(by_owner.items())[:NAMED]]
    more = [f"{len(by_owner) - NAMED:,} more"] if len(by_owner) > NAMED else []
    whose = f" ({', '.join([*named, *more])})" if owners and len(by_owner) > 1 else ""
    money = "".join(f", {about}{amount:,.2f} {currency}" for currency, amount in costs.items())
    yield f"{about}{_number(sum(by_owner.values()))} build minutes{whose}{money}"


def _number(minutes: float) -> str:
    return f"{minutes:,.0f}" if minutes >= 10 else f"{minutes:.1f}"
