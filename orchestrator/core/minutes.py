"""Build minutes: how long builds ran, or are expected to, by account and owner, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Account, Cost


class Minutes(Struct, frozen=True):
    """The builds of one owner, through one account.

    Args:
        builds: how many of them it is about.
        minutes: that they ran, or are expected to run, in all; not the time that they waited.
        cost: of these minutes; None where the account says nothing of it.
    """

    account: str
    owner: str
    builds: int
    minutes: float
    cost: Cost | None = None


def summed(seconds: Iterable[tuple[str, str, float]], accounts: Mapping[str, Account]) -> Sequence[Minutes]:
    """The lengths of builds as minutes, the most first.

    Args:
        seconds: account, owner, and how long a build ran.
    """
    sums: dict[tuple[str, str], list[float]] = {}
    for account, owner, each in seconds:
        sums.setdefault((account, owner), []).append(each)
    found = [
        Minutes(account, owner, len(all_), sum(all_) / 60, _cost(accounts.get(account), sum(all_) / 60))
        for (account, owner), all_ in sums.items()
    ]
    return sorted(found, key=lambda one: -one.minutes)


def _cost(account: Account | None, minutes: float) -> Cost | None:
    each = None if account is None else account.cost_per_minute
    return None if each is None else Cost(round(each.amount * minutes, 4), each.currency)
