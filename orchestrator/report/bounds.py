"""What a run could have done at most: the bounds that its charts are held against."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import ACCOUNT, Account, Plan
from orchestrator.core.selection import override_limits
from orchestrator.providers import registry


class Bounds(Struct, frozen=True):
    """The bounds of the whole run; None where there is none.

    Args:
        triggers_per_minute: what the limits of its accounts allow in the long run, added up.
        in_flight: builds of it that may be queued or running, added up.
    """

    triggers_per_minute: float | None = None
    in_flight: int | None = None


def bounds(history: History, accounts: Mapping[str, Account]) -> Bounds:
    """The bounds as the process that last took the run up was told to keep them."""
    pace, kept = history.pace, history.options
    used = {target.account for target in history.targets}
    rates = {name or None: rate for name, rate in pace.rates.items()}
    held = override_limits(Plan("", (), dict(accounts)), rates).accounts
    found = [account for name, account in held.items() if name in used]
    most = kept.in_flight if pace.in_flight is None else pace.in_flight
    triggers = sum(_per_minute(account) for account in found) if found else math.inf
    builds = sum(min(most or math.inf, account.in_flight or math.inf) for account in found) if found else math.inf
    return Bounds(triggers if triggers < math.inf else None, int(builds) if builds < math.inf else None)


def _per_minute(account: Account) -> float:
    """Triggers a minute that the narrowest limit of the account as a whole allows; inf without one."""
    declaration = registry.known().get(account.type)
    kinds = () if declaration is None else declaration.trigger_limits
    rates = [one.calls * 60 / one.per for one in account.limits if one.kind in kinds and one.scope == ACCOUNT]
    return min(rates, default=math.inf)
