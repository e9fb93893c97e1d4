"""Looks up ahead whether the branches of a plan are there: a bounded number of calls, remembered for an hour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import anyio

from orchestrator.app.context import Context, shared
from orchestrator.app.plan import foreign_hosts
from orchestrator.core.errors import AccessRefused, LookFailed, NotTriggered, UsageError
from orchestrator.core.model import Account, Plan, Scope, Target
from orchestrator.engine.opening import Caller
from orchestrator.journal.port import Journal
from orchestrator.providers.port import SeesBranches

MOST = 200  # branches that are looked up for one plan
KEPT = 3600.0  # seconds for which an answer holds
PATIENCE = 20.0  # seconds that `plan` gives to an account
NAMED = 5  # branches in one sentence
REMEDY = (
    "check the name, if it is not a new one: of a branch that is not there no build appears, until `accept` is over"
)
SEEN, UNSEEN = "branch", "no_branch"


async def warned(plan: Plan, context: Context) -> list[str]:
    """A sentence about branches that are not there, for `plan`, which asks nobody else.

    A token goes to no host, and no program is run for one, before `plan` has shown it.
    """
    shown_first = {name for name, _ in foreign_hosts(plan)}
    found: list[Target] = []
    left = MOST
    for name, account in plan.accounts.items():
        targets = with_branches(target for target in plan.targets if target.account == name)
        if context.sandbox or name in shown_first or (account.token or "").startswith("command:") or not targets:
            continue
        try:
            with anyio.move_on_after(PATIENCE):
                async with shared(context) as journal, context.gate(account, journal) as caller:
                    missing, calls = await missing_of(caller, account, targets, journal, context, left)
                    found, left = [*found, *missing], left - calls
        except (UsageError, AccessRefused):
            continue  # `run` and `doctor` tell what is wrong with the account
    if not found:
        return []
    named = ", ".join(f"{target.repo}@{target.branch}" for target in found[:NAMED])
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return [f"{'branches' if found[1:] else 'a branch'} that the service has not seen: {named}{more}; {REMEDY}"]


def with_branches(targets: Iterable[Target]) -> list[Target]:
    """One target for each branch of each repository, where a branch is built."""
    named = (target for target in targets if target.branch and target.skip is None and "tag_name" not in target.request)
    return list({(target.repo.casefold(), target.branch): target for target in named}.values())


async def missing_of(
    caller: Caller, account: Account, targets: Sequence[Target], journal: Journal, context: Context, at_most: int
) -> tuple[list[Target], int]:
    """The targets whose branch the service does not know, as far as it was looked, and how many were looked up."""
    provider, now = caller.provider, context.now()
    if not isinstance(provider, SeesBranches):
        return [], 0
    name = f"branches of {account.type}:{account.url}:{account.token}"
    known = {scope for scope, until in (await journal.memory(name)).frozen.items() if until > now}
    asked = [target for target in targets if not {_scope(SEEN, target), _scope(UNSEEN, target)} & known][:at_most]
    answers: dict[Scope, float] = {}

    async def look(target: Target) -> None:
        try:
            is_there = await caller.patiently(partial(provider.sees_branch, target))
        except (NotTriggered, LookFailed):
            return  # not known; what hinders the account is told where its repositories are looked up
        answers[_scope(SEEN if is_there else UNSEEN, target)] = now + KEPT

    async with anyio.create_task_group() as tasks:
        for target in asked:
            tasks.start_soon(look, target)
    if answers:
        await journal.remember(name, frozen=answers)
    return [target for target in targets if _scope(UNSEEN, target) in known | answers.keys()], len(asked)


def _scope(kind: str, target: Target) -> Scope:
    return Scope(kind, f"{target.repo.casefold()}@{target.branch}")
