"""Asks whether a run would work, and what to do where it would not; triggers nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio

from orchestrator.app.ahead import MOST, REMEDY, missing_of, with_branches
from orchestrator.app.context import Context, has_state, may_write, readable, shared
from orchestrator.app.names import pairs
from orchestrator.app.plan import Choices, Source, plan
from orchestrator.app.rehearse import rehearsed
from orchestrator.core.errors import (
    AccessRefused,
    Exit,
    JournalError,
    LookFailed,
    NotTriggered,
    RateLimited,
    Rejected,
    UsageError,
    flat,
)
from orchestrator.core.frozen import Struct
from orchestrator.core.model import Account, Target, Timeouts
from orchestrator.core.times import counted
from orchestrator.engine.opening import Caller
from orchestrator.journal.port import Journal
from orchestrator.providers.port import Advises, Inspects, Prepares, RepoFacts, SaysWho, ShowsRights, repository_in
from orchestrator.report.words import plain

SKEWED = 30.0  # seconds that clocks may differ before it is worth a word
NETWORK = "look at the URL, the network and HTTPS_PROXY"
LITTLE, TOO_LITTLE = 200 * 2**20, 2**20  # bytes of free space below which a state is in danger, or cannot be written

SEEN = ("active, allowed", "it is there")  # how what is said of a repository begins that can be triggered
AGAIN = "ask again later; a run looks again by itself"
SKIP = "mend that at the service, or `skip` it"
LOOK = "check the account's `url` and `token`; `orchestrator help secrets` tells where a token may stand"
TO_DO = {  # by the code of a refusal that does not say it itself
    "banned": "wait until that is over; nothing is asked meanwhile",
    "unreachable": NETWORK,
    "insufficient_scope": "make a token that has it",
}

UNSEEN_YET = "the service has not seen this branch"

OK, WARN, UNKNOWN, REPO, ACCOUNT = "ok", "warning", "unknown", "repo", "account"


class Finding(Struct, frozen=True):
    """One check.

    Args:
        kind: `ok`, `warning`, `unknown` (no answer), `repo` (this one would be refused), `account` (nothing would
            work on it).
        about: an account, a repository, or a part of this machine.
        remedy: what to do about it; empty where nothing is, or where the text says it behind a semicolon.
    """

    kind: str
    about: str
    text: str
    remedy: str = ""


def code_of(findings: Sequence[Finding]) -> Exit:
    """The exit code that the findings deserve."""
    kinds = {finding.kind for finding in findings}
    if ACCOUNT in kinds:
        return Exit.ACCOUNT
    return Exit.FAILED if kinds & {REPO, UNKNOWN} else Exit.OK


async def doctor(
    source: Source, choices: Choices, context: Context, *, journal: Journal | None = None
) -> Sequence[Finding]:
    """What stands in the way of a run of the source, or would not.

    Args:
        journal: the state, where it is open already: the calls keep the limits that it shares.

    Raises:
        UsageError, NotStarted, AccessRefused, LookFailed: there is no plan, as of `plan`.
    """
    findings = [finding async for finding in _machine(context)]
    try:
        async with shared(context, journal) as state:
            return findings + await _accounts(source, choices, context, state)
    except (JournalError, BaseExceptionGroup) as error:
        broken = next((one for one in flat(error) if isinstance(one, JournalError)), None)
        if broken is None:
            raise
    from orchestrator.journal.store import in_memory

    findings = [finding for finding in findings if finding.about != "state"]
    findings.append(Finding(ACCOUNT, "state", str(broken), "name another place with --state"))
    async with in_memory(context.now) as state:  # what it was to hold concerns the limits alone
        return findings + await _accounts(source, choices, context, state)


async def _accounts(source: Source, choices: Choices, context: Context, state: Journal) -> list[Finding]:
    findings: list[Finding] = []
    async with AsyncExitStack() as stack:
        planned = await plan(source, choices, context, run="doctor", journal=state)
        planned, context = await rehearsed(planned, context, stack)
        left = MOST
        for name, account in planned.plan.accounts.items():
            every = [target for target in planned.plan.targets if target.account == name]
            targets = [target for target in every if target.skip is None]
            if targets:
                found, looked = await _account(account, targets, state, context, left)
                findings += found
                left -= looked
            if len(every) > len(targets):
                skipped = counted(len(every) - len(targets), "target")
                findings.append(Finding(OK, name, f"{skipped} that the manifest skips: not looked at"))
    return findings


async def _machine(context: Context) -> AsyncIterator[Finding]:
    from orchestrator.journal.sql.connection import SQLITE_VERSION

    where = context.state_path
    yield Finding(OK, "sqlite", SQLITE_VERSION)
    if "://" not in where:
        folder = next(path for path in (Path(where), *Path(where).parents) if os.access(path, os.F_OK))
        free = shutil.disk_usage(folder).free
        text = f"{free / 2**30:.1f} GiB free in {folder}"
        remedy = "a full disk stops a run: make room, or name another place with --state"
        kind = OK if free >= LITTLE else WARN if free >= TOO_LITTLE else ACCOUNT
        yield Finding(kind, "disk", text, remedy if kind != OK else "")
    try:
        if not has_state(where):
            yield Finding(OK, "state", f"{where} (made on first use)")
            return
        async with readable(context) as journal:
            rows = await journal.runs(open_only=True)
    except JournalError as error:
        yield Finding(ACCOUNT, "state", str(error), "name another place with --state, or move this one away")
    else:
        text = f"{where}, {counted(len(rows), 'open run')}"
        if may_write(where):
            yield Finding(OK, "state", text)
        else:
            yield Finding(ACCOUNT, "state", f"{text}, which this user may only read", "name another place with --state")


def _reach(targets: Sequence[Target]) -> float | None:
    """What the manifest says; whoever waits at a terminal waits less than a run where it says nothing."""
    written = max(target.timeouts.reach for target in targets)
    return None if written == Timeouts().reach else written


async def _account(
    account: Account, targets: Sequence[Target], journal: Journal, context: Context, at_most: int
) -> tuple[list[Finding], int]:
    """What is found of an account, its repositories and branches, and how many branches were looked up."""
    looked = 0
    try:
        async with context.gate(account, journal, _reach(targets)) as caller:
            findings = [await _who(account, caller)]
            if findings[0].kind != ACCOUNT:
                rights, closed = await _rights(account, caller, targets)
                findings += rights
                targets = [target for target in targets if target.owner.lower() not in closed]
                findings += await _repos(caller, account, targets)
                bad = {finding.about for finding in findings if finding.kind != OK}
                good = [target for target in with_branches(targets) if target.repo not in bad]
                missing, looked = await missing_of(caller, account, good, journal, context, at_most)
                findings += [Finding(WARN, f"{one.repo}@{one.branch}", UNSEEN_YET, REMEDY) for one in missing]
                findings += await _advice(caller, [target for target in targets if target.repo not in bad])
            return findings + list(_account_facts(account, caller.skew)), looked
    except (UsageError, AccessRefused) as error:
        return [_bad_account(account, error)], looked


def _bad_account(account: Account, error: Exception) -> Finding:
    """An account on which nothing would work; most refusals end with what to do."""
    text, code = _refusal(error), error.code if isinstance(error, AccessRefused) else ""
    says_it = "; " in text and code != "unreachable"
    return Finding(ACCOUNT, account.name, text, "" if says_it else TO_DO.get(code, LOOK))


async def _who(account: Account, caller: Caller) -> Finding:
    provider = caller.provider
    if not isinstance(provider, SaysWho):
        return Finding(OK, account.name, f"{account.url}; this provider does not say who we are")
    try:
        principal = await caller.patiently(provider.whoami)
    except (NotTriggered, LookFailed) as error:
        if isinstance(error, AccessRefused):
            return _bad_account(account, error)
        return Finding(ACCOUNT, account.name, _refusal(error), NETWORK)
    if principal is None:
        return Finding(OK, account.name, f"{account.url}; it does not say who we are")
    return Finding(OK, account.name, f"{account.url}, as {plain(principal.login)} {plain(principal.detail)}".rstrip())


async def _rights(account: Account, caller: Caller, targets: Sequence[Target]) -> tuple[list[Finding], set[str]]:
    """What the account may do for each owner, where the service tells, and the owners for whom it is nothing."""
    provider, owners, closed = caller.provider, dict[str, list[Target]](), set[str]()
    if not isinstance(provider, ShowsRights):
        return [], closed
    for target in targets:
        owners.setdefault(target.owner.lower(), []).append(target)
    found: list[Finding] = []
    for owner, owned in list(owners.items())[:MOST]:
        try:
            rights = await caller.patiently(partial(provider.rights, owned))
        except (NotTriggered, LookFailed) as error:
            found.append(Finding(REPO, owned[0].owner, _refusal(error)))
            closed |= {owner} if isinstance(error, AccessRefused) else set()
            continue
        if rights is not None:
            kind = WARN if rights.remedy else OK
            found.append(Finding(kind, account.name, plain(rights.text), plain(rights.remedy)))
    return found, closed


async def _advice(caller: Caller, targets: Sequence[Target]) -> list[Finding]:
    """What would make targets safer; those are asked for once that the provider looks up together."""
    provider, place = caller.provider, caller.gate.sender.line.declaration.place
    if not isinstance(provider, Advises):
        return []
    found: dict[tuple[str, str], Finding] = {}

    async def ask(target: Target) -> None:
        try:
            advice = await caller.patiently(partial(provider.advise, target))
        except (NotTriggered, LookFailed):
            return  # the repository's own check tells
        if advice is not None:
            found[target.repo, place(target)] = Finding(WARN, target.repo, *advice)

    some = {(target.repo, place(target)): target for target in targets}
    async with anyio.create_task_group() as tasks:
        for target in list(some.values())[:MOST]:
            tasks.start_soon(ask, target)
    return [found[key] for key in some if key in found]


def _account_facts(account: Account, skew: int | None) -> Iterator[Finding]:
    limits = ", ".join(f"{limit.told}{' (written)' if limit.written else ''}" for limit in account.limits)
    yield Finding(OK, account.name, f"limits: {limits or 'none'}; {account.connections} connections")
    if skew is not None and abs(skew) > SKEWED:
        text = f"our clocks differ by {abs(skew)} s"
        yield Finding(WARN, account.name, text, "set this machine's clock; the run allows for it meanwhile")


async def _repos(caller: Caller, account: Account, targets: Sequence[Target]) -> list[Finding]:
    provider, declared = caller.provider, caller.gate.sender.line.declaration
    found: dict[tuple[str, str], Finding] = {}
    names: dict[str, str] = {}  # by what is written, what repositories are called now

    async def check(key: tuple[str, str], target: Target) -> None:
        name = None
        if isinstance(provider, Inspects):
            found[key], name = await _repo(caller, provider, target.repo, declared.home(target))
            name = name if declared.old_names or target.repo.isdecimal() else None
        elif isinstance(provider, Prepares):
            found[key], name = await _prepared(caller, provider, target)
        if name is not None:
            names[target.repo] = name

    key_of = declared.home if isinstance(provider, Inspects) else declared.place  # else a trigger's needs are looked up
    some = {(target.repo, key_of(target)): target for target in targets}
    if not isinstance(provider, Inspects | Prepares):
        return [Finding(OK, "repos", "this provider cannot be asked about repositories")]
    async with anyio.create_task_group() as tasks:
        for key, target in some.items():
            tasks.start_soon(check, key, target)
    same = [Finding(REPO, *pair) for pair in pairs(targets, names, account)]
    return [*(found[key] for key in some), *same]


async def _prepared(caller: Caller, provider: Prepares, target: Target) -> tuple[Finding, str | None]:
    """What is found of a target's repository, and what that is called now where it is told."""
    try:
        prepared = await caller.patiently(partial(provider.prepare, target))
    except Rejected as error:
        return Finding(REPO, target.repo, error.reason, "" if "; " in error.reason else SKIP), None
    except (NotTriggered, LookFailed) as error:
        return Finding(UNKNOWN, target.repo, _refusal(error), AGAIN), None
    return Finding(OK, target.repo, "it is there, and can be triggered"), repository_in(prepared)


async def _repo(caller: Caller, provider: Inspects, repo: str, home: str) -> tuple[Finding, str | None]:
    """As `_prepared`."""
    try:
        facts = await caller.patiently(partial(provider.inspect, home))
    except (NotTriggered, LookFailed) as error:
        return Finding(UNKNOWN, repo, _refusal(error), AGAIN), None
    if facts is None:
        text, remedy = "there is no such repository, or the token may not see it", "check its name and the token's user"
        return Finding(REPO, repo, text, remedy), None
    return _judged(repo, facts), facts.slug


def _judged(repo: str, facts: RepoFacts) -> Finding:
    if not facts.active:
        return Finding(REPO, repo, "builds are switched off", "activate it at the provider, or `skip` it")
    if facts.may_trigger is False:
        return Finding(REPO, repo, "the token may not trigger builds here", "give its user push access")
    branch = f", default branch {plain(facts.default_branch)}" if facts.default_branch else ""
    return Finding(OK, repo, f"active, allowed{branch}")


def _refusal(error: Exception) -> str:
    """What went wrong with a lookup, in words."""
    if isinstance(error, RateLimited):
        return f"the provider asks for patience: {error}"
    return f"nothing was learnt: {error}" if isinstance(error, LookFailed) else str(error)
