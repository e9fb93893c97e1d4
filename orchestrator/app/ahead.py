"""Looks up ahead what providers know: whether branches are there, how long the last builds took.

A bounded number of calls, within the limits that all processes of the state share; remembered for an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any

import anyio

from orchestrator.app.context import Context, shared
from orchestrator.app.lookups import LastBuilds, last_builds, remember_last_builds
from orchestrator.app.plan import commands_of, foreign_hosts
from orchestrator.core.errors import AccessRefused, LookFailed, NotTriggered, UsageError
from orchestrator.core.frozen import Struct
from orchestrator.core.model import Account, Plan, Scope, Target
from orchestrator.engine.opening import Caller
from orchestrator.forecast import Times, with_last_builds
from orchestrator.forecast.durations import KEPT as BUILDS
from orchestrator.journal.port import Journal
from orchestrator.providers.port import SeesBranches, ShowsDurations

MOST = 200  # branches that are looked up for one plan, and repositories whose last builds are
KEPT = 3600.0  # seconds for which an answer holds
PATIENCE = 20.0  # seconds that `plan` gives to an account
SHARE = 8.0  # seconds of these for each kind of look; what came until then is kept
NAMED = 5  # branches in one sentence
REMEDY = (
    "check the name, if it is not a new one: of a branch that is not there no build appears, until `accept` is over"
)
SEEN, UNSEEN = "branch", "no_branch"


class Ahead(Struct, frozen=True):
    """What providers told before a run starts.

    Args:
        warnings: a sentence about branches that are not there.
        times: those of earlier runs, with what the last builds add.
        logins: as whom they know us, by account.
    """

    warnings: Sequence[str]
    times: Times
    logins: Mapping[str, str]


async def looked_ahead(plan: Plan, times: Times, context: Context) -> Ahead:
    """Who we are, which branches are not there, and how long the last builds took, as far as providers tell.

    For `plan`, and for `run` where a person is asked. A token goes to no host, and no program is run for one, before it
    was shown.
    """
    logins: dict[str, str] = {}
    shown_first = {name for name, _ in foreign_hosts(plan)}
    unseen: list[Target] = []
    lengths: dict[tuple[str, str], tuple[float, ...]] = {}
    branches_left = builds_left = MOST
    for name, account in plan.accounts.items():
        targets = [target for target in plan.targets if target.account == name and target.skip is None]
        if context.sandbox or name in shown_first or commands_of(account) or not targets:
            continue
        named, unknown = with_branches(targets), _without_times(targets, times)
        try:
            with anyio.move_on_after(PATIENCE):
                async with shared(context) as journal, context.gate(account, journal) as caller:
                    logins |= {name: caller.gate.sender.login} if caller.gate.sender.login else {}
                    missing, calls = await missing_of(caller, account, named, journal, context, branches_left, SHARE)
                    unseen, branches_left = [*unseen, *missing], branches_left - calls
                    found, calls = await _look_at_builds(caller, account, unknown, journal, context, builds_left)
                    lengths.update({(name, repo): those for repo, (_, those) in found.items()})
                    builds_left -= calls
        except (UsageError, AccessRefused):
            continue  # `run` and `doctor` tell what is wrong with the account
    return Ahead(_told(unseen), with_last_builds(times, lengths), logins)


async def remembered(plan: Plan, journal: Journal, now: float) -> Sequence[str]:
    """The same sentence about branches, as far as it is known without a call: from a `plan` within the hour."""
    unseen: list[Target] = []
    for name, account in plan.accounts.items():
        named = with_branches(target for target in plan.targets if target.account == name)
        frozen = (await journal.memory(_memory(account))).frozen
        unseen += [target for target in named if frozen.get(_scope(UNSEEN, target), 0.0) > now]
    return _told(unseen)


def _told(unseen: Sequence[Target]) -> list[str]:
    if not unseen:
        return []
    named = ", ".join(f"{target.repo}@{target.branch}" for target in unseen[:NAMED])
    more = f" and {len(unseen) - NAMED:,} more" if len(unseen) > NAMED else ""
    return [f"{'branches' if unseen[1:] else 'a branch'} that the service has not seen: {named}{more}; {REMEDY}"]


# -- branches ---------------------------------------------------------------------------------------------------


def with_branches(targets: Iterable[Target]) -> list[Target]:
    """One target for each branch of each repository, where a branch is built."""
    named = (target for target in targets if target.branch and target.skip is None and "tag_name" not in target.request)
    return list({(target.repo.casefold(), target.branch): target for target in named}.values())


async def missing_of(
    caller: Caller,
    account: Account,
    targets: Sequence[Target],
    journal: Journal,
    context: Context,
    at_most: int,
    patience: float = inf,
) -> tuple[list[Target], int]:
    """The targets whose branch the service does not know, as far as it was looked, and how many were looked up."""
    provider, now = caller.provider, context.now()
    if not isinstance(provider, SeesBranches):
        return [], 0
    name = _memory(account)
    known = {scope for scope, until in (await journal.memory(name)).frozen.items() if until > now}
    asked = [target for target in targets if not {_scope(SEEN, target), _scope(UNSEEN, target)} & known][:at_most]
    answers: dict[Scope, float] = {}

    async def look(target: Target) -> None:
        try:
            is_there = await caller.patiently(partial(provider.sees_branch, target))
        except (NotTriggered, LookFailed):
            return  # not known; what hinders the account is told where its repositories are looked up
        answers[_scope(SEEN if is_there else UNSEEN, target)] = now + KEPT

    await _look_at(asked, look, patience)
    if answers:
        await journal.remember(name, frozen=answers)
    return [target for target in targets if _scope(UNSEEN, target) in known | answers.keys()], len(asked)


async def _look_at(
    targets: Sequence[Target], look: Callable[[Target], Coroutine[Any, Any, None]], patience: float
) -> None:
    with anyio.move_on_after(patience):
        async with anyio.create_task_group() as tasks:
            for target in targets:
                tasks.start_soon(look, target)


def _memory(account: Account) -> str:
    return f"branches of {account.type}:{account.url}:{account.token}"


def _scope(kind: str, target: Target) -> Scope:
    return Scope(kind, f"{target.repo.casefold()}@{target.branch}")


# -- how long builds take ---------------------------------------------------------------------------------------


def _without_times(targets: Iterable[Target], times: Times) -> list[Target]:
    """One target for each repository of which earlier runs tell nothing."""
    one: dict[str, Target] = {}
    for target in targets:
        one.setdefault(target.repo.lower(), target)
    return [target for repo, target in one.items() if (target.account, repo) not in times.repos]


async def _look_at_builds(
    caller: Caller, account: Account, targets: Sequence[Target], journal: Journal, context: Context, at_most: int
) -> tuple[LastBuilds, int]:
    """How long the last builds of these repositories took, as far as the service tells, and how many were looked at."""
    provider, now = caller.provider, context.now()
    if not isinstance(provider, ShowsDurations):
        return {}, 0
    known = await last_builds(journal, account, now)

    async def look(target: Target) -> None:
        try:
            found = await caller.patiently(partial(provider.durations, target, BUILDS))
        except (NotTriggered, LookFailed):
            return  # as of branches
        known[target.repo.lower()] = (now + KEPT, tuple(found))

    asked = [target for target in targets if target.repo.lower() not in known][:at_most]
    await _look_at(asked, look, SHARE)
    if asked:
        await remember_last_builds(journal, account, known)
    return known, len(asked)
