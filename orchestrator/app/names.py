"""Asks what repositories are called now, before anything is sent: two names of one are an error, as a duplicate is.

A bounded number of calls, remembered for an hour; what is not asked here, the engine finds when it prepares a
repository (`engine/twins.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import anyio
import msgspec

from orchestrator.app.context import Context, shared
from orchestrator.app.plan import commands_of, foreign_hosts
from orchestrator.core.errors import AccessRefused, LookFailed, NotTriggered, UsageError, flat
from orchestrator.core.model import Account, Plan, Target
from orchestrator.core.names import Twin, told, twins
from orchestrator.engine.opening import Caller
from orchestrator.journal.port import Journal
from orchestrator.manifest import ManifestError, Problem
from orchestrator.providers import registry
from orchestrator.providers.port import Inspects

MOST = 200  # repositories that are asked about for one plan
KEPT = 3600.0  # seconds for which an answer holds
PATIENCE = 10.0  # seconds that are given to an account
REMEDY = "remove one of the two"

Known: TypeAlias = dict[str, tuple[float, str]]
"""By repository, in lower case: until when this holds (wall clock), and what it is called now."""


async def refuse_twins(
    plan: Plan, context: Context, journal: Journal | None = None, *, shows_first: bool = False
) -> None:
    """Refuses a plan with two targets that are one, under two names of a repository, as far as it is asked.

    Args:
        journal: the state, where it is open already.
        shows_first: a token goes nowhere, and no program is run for one, that a person has not been shown yet.

    Raises:
        ManifestError: each such pair, with both places.
        LookFailed, AccessRefused: a repository is given by its number beside others by name, and cannot be looked up.
    """
    if context.sandbox:
        return  # what a rehearsal triggers, it makes
    hidden = {name for name, _ in foreign_hosts(plan)} if shows_first else set()
    left, problems = MOST, list[Problem]()
    for name, account in plan.accounts.items():
        targets = [target for target in plan.targets if target.account == name and target.skip is None]
        is_command = shows_first and bool(commands_of(account))
        numbers, names = _to_ask(account, targets)
        if name in hidden or is_command or not numbers | names.keys():
            continue
        async with shared(context, journal) as state:
            found = await _asked(account, numbers, list(names)[:left], state, context)
        left -= min(left, len(names))
        problems += [_problem(twin) for twin in twins(targets, found, folds=registry.declared(account).fold_case)]
    if problems:
        raise ManifestError(problems)


def pairs(targets: Sequence[Target], names: Mapping[str, str], account: Account) -> Iterator[tuple[str, str, str]]:
    """For `doctor`: of each pair the repository that is called otherwise now, what is wrong, and the remedy."""
    for twin in twins(targets, names, folds=registry.declared(account).fold_case):
        yield twin.target.repo, told(twin), REMEDY


def _problem(twin: Twin) -> Problem:
    return Problem(twin.target.where, "", f"duplicate target {twin.target.id}: {told(twin)}", REMEDY)


def _to_ask(account: Account, targets: Iterable[Target]) -> tuple[set[str], dict[str, None]]:
    """Repositories by number and by name that may be those of other targets, too."""
    said, alike = registry.declared(account), defaultdict[object, dict[str, None]](dict)
    for target in targets:
        alike[target.branch, target.matrix, target.name][target.repo] = None
    repos = {repo: None for many in alike.values() if len({repo.lower() for repo in many}) > 1 for repo in many}
    numbers = {repo for repo in repos if repo.isascii() and repo.isdigit()} if said.repo_ids else set()
    names = dict.fromkeys(repo for repo in repos if repo not in numbers)
    return numbers if names else set(), names if said.old_names else {}


async def _asked(
    account: Account, numbers: Iterable[str], names: Sequence[str], journal: Journal, context: Context
) -> dict[str, str]:
    """What the repositories are called now, by what is written, as far as the service tells."""
    memory, now = f"names of {account.type}:{account.url}:{account.token}", context.now()
    known = {repo: kept for repo, kept in _read((await journal.memory(memory)).alias).items() if kept[0] > now}
    missing = [repo for repo in names if repo.lower() not in known]
    unknown = [repo for repo in numbers if repo not in known]
    if unknown:
        async with context.gate(account, journal) as caller:
            await _look(caller, unknown, known, now + KEPT, is_must=True)
    if missing:
        try:
            with anyio.move_on_after(PATIENCE):
                async with context.gate(account, journal) as caller:
                    await _look(caller, missing, known, now + KEPT)
        except (UsageError, AccessRefused):
            pass  # the run itself, and `doctor`, tell what is wrong with the account
    if unknown or missing:
        await journal.remember(memory, alias=msgspec.json.encode(known).decode())
    return {repo: known[repo.lower()][1] for repo in (*numbers, *names) if repo.lower() in known}


def _read(text: str) -> Known:
    try:
        return msgspec.json.decode(text or "{}", type=Known)
    except msgspec.DecodeError:
        return {}


async def _look(caller: Caller, repos: Sequence[str], known: Known, until: float, *, is_must: bool = False) -> None:
    provider = caller.provider
    if not isinstance(provider, Inspects):
        return

    async def look(repo: str) -> None:
        try:
            facts = await caller.patiently(partial(provider.inspect, repo))
        except (NotTriggered, LookFailed):
            if is_must:
                raise
            return  # what hinders the repository is told where it is looked up before its trigger
        known[repo.lower()] = until, repo if facts is None else facts.slug

    try:
        async with anyio.create_task_group() as tasks:
            for repo in repos:
                tasks.start_soon(look, repo)
    except BaseExceptionGroup as group:
        raise next(flat(group)) from None
