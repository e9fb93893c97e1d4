"""What becomes of a plan before it runs: selection, other limits, and the forecast of how long it takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING

from orchestrator.brake import part
from orchestrator.errors import NotStarted, UsageError
from orchestrator.manifest.glob import expression
from orchestrator.manifest.problems import near
from orchestrator.manifest.units import parse_limit
from orchestrator.model import ACCOUNT, Account, Limit, Plan, Target, period
from orchestrator.provider import Declaration
from orchestrator.values import dataclass

if TYPE_CHECKING:
    from orchestrator.manifest import Expect

_NAMED = 5  # targets or repositories that a warning names


@dataclass(frozen=True, slots=True)
class Selection:
    """Which targets of a plan are meant; empty means all.

    Args:
        only: globs on repo, `repo@branch` or id; one must match.
        exclude: globs; none may match.
        labels: groups of labels: all labels of one of the groups must be there.
        first: how many at most, in order.
    """

    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    labels: Sequence[Sequence[str]] = ()
    first: int | None = None


def select(plan: Plan, selection: Selection, expect: Expect | None = None) -> Plan:
    """The plan with only the targets that are meant.

    Args:
        expect: the manifest's: `min` and `max` are compared before the selection, `max` again after it.

    Raises:
        NotStarted: nothing is left, or there are fewer or more targets than expected.
    """
    least, most = (expect.min, expect.max) if expect is not None else (None, None)
    _expected(len(plan.targets), least, most)
    asked = _Compiled.of(selection)
    chosen = [target for target in plan.targets if _is_meant(target, asked)]
    chosen = chosen if selection.first is None else chosen[: selection.first]
    if not chosen:
        raise NotStarted(_nothing(plan, selection))
    _expected(len(chosen), None, most)
    return _with_needs_met(plan, chosen)


def _expected(count: int, least: int | None, most: int | None) -> None:
    if least is not None and count < least:
        raise NotStarted(
            f"{count} targets, and the manifest expects at least {least} (expect.min); nothing was started"
        )
    if most is not None and count > most:
        raise NotStarted(f"{count} targets, and the manifest expects at most {most} (expect.max); nothing was started")


def _nothing(plan: Plan, selection: Selection) -> str:
    if not plan.targets:
        return "the manifest has no targets; nothing was started"
    asked = [
        *(f"--only {glob}" for glob in selection.only),
        *(f"--exclude {glob}" for glob in selection.exclude),
        *(f"--label {','.join(labels)}" for labels in selection.labels),
        *([] if selection.first is None else [f"--first {selection.first}"]),
    ]
    known = sorted({label for target in plan.targets for label in target.labels})
    labels = f"; known labels: {', '.join(known[:20])}" if selection.labels and known else ""
    return f"none of {len(plan.targets)} targets is selected by {' '.join(asked)}{labels}; nothing was started"


@dataclass(frozen=True, slots=True)
class _Compiled:
    only: Sequence[Callable[[Target], bool]]
    exclude: Sequence[Callable[[Target], bool]]
    labels: Sequence[frozenset[str]]

    @classmethod
    def of(cls, selection: Selection) -> _Compiled:
        groups = [frozenset(label.strip() for label in labels if label.strip()) for labels in selection.labels]
        return cls([_matcher(glob) for glob in selection.only], [_matcher(glob) for glob in selection.exclude], groups)


def _is_meant(target: Target, asked: _Compiled) -> bool:
    if asked.only and not any(matches(target) for matches in asked.only):
        return False
    if any(matches(target) for matches in asked.exclude):
        return False
    return not asked.labels or any(labels <= set(target.labels) for labels in asked.labels)


def _matcher(glob: str) -> Callable[[Target], bool]:
    """Matches repo, `repo@branch` or id; case matters in branches only."""
    repo, at, rest = glob.partition("@")
    shape = re.compile(f"(?is:{expression(repo)})" + (f"(?s:@{expression(rest)})" if at else ""))

    def matches(target: Target) -> bool:
        texts = [target.repo, target.id]
        if target.branch is not None:
            texts.append(f"{target.repo}@{target.branch}")
        return any(shape.fullmatch(text) for text in texts)

    return matches


def _with_needs_met(plan: Plan, chosen: Sequence[Target]) -> Plan:
    """Needs that were not selected count as met, and a warning says so."""
    ids = {target.id for target in chosen}
    met: dict[str, str] = {}
    targets = []
    for target in chosen:
        left = tuple(need for need in target.needs if need in ids)
        met |= {need: target.id for need in target.needs if need not in ids}
        targets.append(target if left == target.needs else replace(target, needs=left))
    warnings = plan.warnings
    if met:
        named = ", ".join(f"{need} (needed by {by})" for need, by in list(met.items())[:_NAMED])
        more = f" and {len(met) - _NAMED} more" if len(met) > _NAMED else ""
        warnings = (*warnings, f"needs that are not selected count as met: {named}{more}")
    return replace(plan, targets=tuple(targets), warnings=warnings)


def override_limits(plan: Plan, rates: Mapping[str | None, str]) -> Plan:
    """The plan with another limit of triggers for an account, as `--rate` says.

    Args:
        rates: `40/30s` by account; None means the only account, or all of them.

    Raises:
        UsageError: no such account, or no limit.
    """
    accounts = dict(plan.accounts)
    for name, text in rates.items():
        if name is not None and name not in accounts:
            raise UsageError(f"--rate {name}={text}: unknown account; {near(name, accounts)}")
        try:
            calls, per = parse_limit(text)
        except ValueError as error:
            raise UsageError(f"--rate {text}: {error}") from None
        for account in [name] if name is not None else list(accounts):
            accounts[account] = _with_rate(accounts[account], calls, per)
    return replace(plan, accounts=accounts)


def _with_rate(account: Account, calls: int, per: float) -> Account:
    """Replaces the limit `triggers`, or the first that is counted for the account, where there is no such name.

    The share of the account's rates that is this machine's holds for the new one too.
    """
    names = [limit.name for limit in account.limits if limit.scope == ACCOUNT]
    name = "triggers" if "triggers" in names or not names else names[0]
    share = next((limit.share for limit in account.limits if limit.name == name), 100)
    written = Limit(name, part(calls, share), per, ACCOUNT, written=True, share=share)
    if name not in names:
        return replace(account, limits=(written, *account.limits))
    return replace(account, limits=tuple(written if limit.name == name else limit for limit in account.limits))


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one limit makes a plan take, in seconds from the first trigger to the last.

    Args:
        scope: whom it binds: an account's name, an owner or a repository.
        count: triggers that count against it there.
    """

    limit: Limit
    scope: str
    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.scope}: {self.count} triggers under {self.limit} take {duration(self.seconds)}"


@dataclass(frozen=True, slots=True)
class AccountForecast:
    """What a plan means for one account.

    Args:
        triggers: calls that start builds.
        looks: calls that follow them, about.
        seconds: from the first trigger to the last, as far as limits tell.
        binding: the limit that takes longest; None when none makes it wait.
        slow: repositories or owners that a limit of theirs delays, the slowest first.
    """

    account: str
    triggers: int
    looks: int
    seconds: float
    binding: Wait | None
    slow: tuple[Wait, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long a plan takes, and which rule makes it take that long.

    Args:
        seconds: from the first trigger to the last, without waiting for builds.
        levels: how many builds must pass one after the other before the last trigger.
        text: the forecast in a sentence.
        warnings: sentences for a person.
    """

    seconds: float
    text: str
    accounts: Mapping[str, AccountForecast] = field(default_factory=dict)
    levels: int = 0
    warnings: tuple[str, ...] = ()


def forecast(plan: Plan, declarations: Mapping[str, Declaration], in_flight: int | None = None) -> Forecast:
    """The forecast in closed form: targets over limits, the slowest repository of each account.

    Args:
        declarations: by type of provider.
        in_flight: builds of this run that may be queued or running, where `-j` says so.
    """
    counts: dict[str, list[Target]] = {name: [] for name in plan.accounts}
    for target in plan.targets:
        if target.skip is None:
            counts[target.account].append(target)
    accounts = {
        name: _of_account(plan.accounts[name], targets, declarations[plan.accounts[name].type])
        for name, targets in counts.items()
        if targets
    }
    seconds = max((each.seconds for each in accounts.values()), default=0.0)
    levels = _levels(plan.targets)
    warnings = [*_crowding(plan, accounts, in_flight), *_slowness(accounts), *_repeats(plan), *_too_long(plan, seconds)]
    return Forecast(seconds, _sentence(accounts, seconds, levels), accounts, levels, tuple(warnings))


def duration(seconds: float) -> str:
    """A duration for people: `45 s`, `12 min`, `3 h`, `2 h 30 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes and hours < 24 else f"{hours} h"


def _of_account(account: Account, targets: Sequence[Target], declaration: Declaration) -> AccountForecast:
    waits = [wait for limit in account.limits if limit.name in declaration.trigger_limits
             for wait in _waits(account, limit, targets, declaration.fold_case)]  # fmt: skip
    slowest = sorted(waits, key=lambda wait: -wait.seconds)
    binding = slowest[0] if slowest else None
    slow = tuple(wait for wait in slowest if wait.limit.scope != ACCOUNT)
    looks = len(targets) + len(targets) // 5
    return AccountForecast(account.name, len(targets), looks, binding.seconds if binding else 0.0, binding, slow)


def _waits(account: Account, limit: Limit, targets: Sequence[Target], fold: bool) -> list[Wait]:
    """The scopes of a limit in which somebody has to wait: the n-th trigger leaves (n - 1) // calls periods later."""
    if limit.scope == ACCOUNT:
        scopes = Counter({account.name: len(targets)})
    else:
        names = (target.owner if limit.scope == "owner" else target.repo for target in targets)
        scopes = Counter(name.lower() if fold else name for name in names)
    return [
        Wait(limit, scope, count, (count - 1) // limit.calls * limit.per)
        for scope, count in scopes.items()
        if count > limit.calls
    ]


def _levels(targets: Sequence[Target]) -> int:
    """The longest chain of needs."""
    by_id = {target.id: target for target in targets}
    depth: dict[str, int] = {}
    stack = [target.id for target in targets if target.needs]
    while stack:
        here = by_id[stack[-1]]
        open_ = [need for need in here.needs if need in by_id and by_id[need].needs and need not in depth]
        if open_:
            stack += open_
            continue
        depth[stack.pop()] = 1 + max((depth.get(need, 0) for need in here.needs), default=-1)
    return max(depth.values(), default=0)


def _sentence(accounts: Mapping[str, AccountForecast], seconds: float, levels: int) -> str:
    number = sum(each.triggers for each in accounts.values())
    count = "1 trigger" if number == 1 else f"{number:,} triggers"
    builds = f"; needs add the time of their builds, {levels} deep" if levels else ""
    binding = max((each for each in accounts.values() if each.binding), key=lambda each: each.seconds, default=None)
    if binding is None:
        return f"{count}, no limit makes {'it' if number == 1 else 'them'} wait{builds}"
    return f"{count}, the last after {duration(seconds)}; what takes longest is {binding.binding}{builds}"


def _crowding(plan: Plan, accounts: Mapping[str, AccountForecast], in_flight: int | None) -> list[str]:
    if in_flight is not None:
        return []
    return [
        f"account {name}: no `in_flight` (-j): {each.triggers} builds will stand in the queue before other people's"
        for name, each in accounts.items()
        if plan.accounts[name].in_flight is None and not plan.accounts[name].brake.holds_all and each.triggers > 1
    ]


def _slowness(accounts: Mapping[str, AccountForecast]) -> list[str]:
    waits = sorted((wait for each in accounts.values() for wait in each.slow), key=lambda wait: -wait.seconds)
    more = [f"and {len(waits) - _NAMED} more repositories wait for limits of their own"] if len(waits) > _NAMED else []
    return [str(wait) for wait in waits[:_NAMED]] + more


def _repeats(plan: Plan) -> list[str]:
    """A provider may cancel a queued build when a newer one of the same branch arrives."""
    refs = Counter((target.account, target.repo, target.branch) for target in plan.targets if target.skip is None)
    twice = [f"{repo}@{branch}" if branch else repo for (_, repo, branch), count in refs.items() if count > 1]
    if not twice:
        return []
    named = ", ".join(twice[:_NAMED]) + (f" and {len(twice) - _NAMED} more" if len(twice) > _NAMED else "")
    return [f"several triggers of one branch ({named}): where auto-cancel is on, a newer build may cancel a queued one"]


def _too_long(plan: Plan, seconds: float) -> list[str]:
    queue = min((target.timeouts.queue for target in plan.targets if target.skip is None), default=seconds)
    if seconds <= queue:
        return []
    return [
        f"triggering takes {duration(seconds)}, longer than `timeouts.queue` ({period(queue)}): builds may time out"
    ]
