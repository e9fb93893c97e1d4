"""What would make a run shorter: other settings, tried in the same simulation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Account, Limit, Plan, Target
from orchestrator.forecast.result import AccountForecast
from orchestrator.limits.concurrency import part
from orchestrator.providers.port import Declaration
from orchestrator.report.words import counted

SECOND = "a second account"


def alternatives(plan: Plan, one: AccountForecast, declaration: Declaration) -> Iterator[tuple[str, Plan]]:
    """Plans that differ in one thing from this one, each with what differs; only those that address what binds.

    Args:
        one: the forecast of the account that takes longest.
    """
    account = plan.accounts[one.account]
    rules = {span.rule for span in one.spans}
    for limit in account.limits:
        if str(limit) not in rules:
            continue
        if limit.scope == ACCOUNT:
            if account.brake.queue is None:  # the queue is the owner's, whoever fills it
                yield "two accounts", _split(plan, account)
        else:
            yield _fewer(plan, account, limit)
        higher = next((each for each in declaration.limits if each.name == limit.name), limit)
        if part(higher.calls, limit.share) / higher.per > limit.calls / limit.per:
            yield f"{higher}, which is safe", _with(plan, _with_limit(account, higher))
    if f"connections {account.connections}" in rules:
        more = account.connections * 2
        yield f"connections {more}", _with(plan, replace(account, connections=more))
    if account.in_flight is not None and f"in_flight {account.in_flight}" in rules:
        more = account.in_flight * 2
        yield f"in_flight {more}", _with(plan, replace(account, in_flight=more))
    for kind in ("owner", "label"):
        if any(rule.startswith(f"in_flight_per_{kind} ") for rule in rules):
            yield f"twice as much in_flight_per_{kind}", _with(plan, _with_caps_doubled(account, kind))
    if any(rule.startswith("quiet hours") for rule in rules):
        yield "no quiet hours", _with(plan, replace(account, brake=replace(account.brake, quiet=())))


def _with(plan: Plan, account: Account) -> Plan:
    return replace(plan, accounts={**plan.accounts, account.name: account})


def _with_caps_doubled(account: Account, kind: str) -> Account:
    caps = [
        replace(cap, most=2 * cap.most) if cap.scope.partition(":")[0] == kind else cap for cap in account.brake.caps
    ]
    return replace(account, brake=replace(account.brake, caps=tuple(caps)))


def _with_limit(account: Account, other: Limit) -> Account:
    share = next(limit.share for limit in account.limits if limit.name == other.name)
    own = replace(other, calls=part(other.calls, share))
    return replace(account, limits=tuple(own if limit.name == other.name else limit for limit in account.limits))


def _split(plan: Plan, account: Account) -> Plan:
    """Every second repository goes to another account."""
    second = replace(account, name=SECOND)
    repos = dict.fromkeys(target.repo.lower() for target in plan.targets if target.account == account.name)
    moved = set(list(repos)[1::2]) if len(repos) > 1 else set()
    targets = [
        replace(target, account=SECOND) if target.account == account.name and target.repo.lower() in moved else target
        for target in plan.targets
    ]
    return replace(plan, targets=tuple(targets), accounts={**plan.accounts, SECOND: second})


def _fewer(plan: Plan, account: Account, limit: Limit) -> tuple[str, Plan]:
    """As many targets of each place as its limit lets through at once; the rest on another day."""
    counts: Counter[str] = Counter()
    kept: list[Target] = []
    for target in plan.targets:
        place = (target.owner if limit.scope == "owner" else target.repo).lower()
        if target.account == account.name and target.skip is None:
            counts[place] += 1
            if counts[place] > limit.calls:
                continue
        kept.append(target)
    ids = {target.id for target in kept}
    met = [replace(target, needs=tuple(need for need in target.needs if need in ids)) for target in kept]
    word = "owner" if limit.scope == "owner" else "repository"
    left = counted(len(plan.targets) - len(kept), "target")
    return f"at most {limit.calls} targets of a {word} ({left} left out)", replace(plan, targets=tuple(met))


def slowest(accounts: Sequence[AccountForecast]) -> AccountForecast | None:
    """The account whose triggers take longest, where a rule makes them."""
    found = [one for one in accounts if one.spans]
    return max(found, key=lambda one: one.last_trigger, default=None)
