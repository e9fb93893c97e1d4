"""How the targets of a run fared in earlier runs of this state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from orchestrator.core.evidence import KNOWN, Past
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import Account, Outcome, Target
from orchestrator.core.progress import Progress
from orchestrator.core.promotion import Usually
from orchestrator.journal.history import load, made_in
from orchestrator.journal.port import Journal

RUNS = 200  # earlier runs that are read, the newest
Identity: TypeAlias = tuple[str, str, str, str | None, tuple[tuple[str, str], ...], str | None]


async def usually(journal: Journal, run: str, history: History) -> Usually:
    """How the targets of a run fared as a rule, without what this run itself has shown."""
    accounts = accounts_in(history.made)
    wanted = {_identity(target, accounts): target.id for target in history.targets if target.account in accounts}
    services = {name: f"{account.type} at {account.url}" for name, account in accounts.items()}
    return Usually(history.targets, await pasts(journal, wanted, history, but=run), services)


async def pasts(journal: Journal, wanted: Mapping[Identity, str], mine: History, but: str = "") -> Mapping[str, Past]:
    """What is known of each target; those of which nothing is are left out.

    Args:
        wanted: the id of each target by what tells it apart in every run.
        mine: says which outcomes are bad, and how each target is rerun.
        but: a run that is left out.
    """
    failures = mine.options.failures
    bad: dict[str, int] = {}
    known: dict[str, int] = {}
    rows = [row for row in await journal.runs() if row.id != but]
    for row in rows[:RUNS]:
        accounts = accounts_in(await made_in(journal, row.id))
        if not any(_is_of(accounts, identity) for identity in wanted):
            continue
        history = await load(journal, row.id)
        for target in history.targets:
            id_ = wanted.get(_identity(target, accounts)) if target.account in accounts else None
            outcome = _counted(history.of(target.id))
            if id_ is None or outcome is None or known.get(id_, 0) >= KNOWN:
                continue
            known[id_] = known.get(id_, 0) + 1
            bad[id_] = bad.get(id_, 0) + (outcome in failures)
    return {id_: Past(bad[id_], number) for id_, number in known.items()}


def _counted(progress: Progress) -> Outcome | None:
    """The outcome that counts; None where none does: it tells nothing of the target itself."""
    verdict = progress.verdict
    if verdict is None or verdict.outcome in (Outcome.SKIPPED, Outcome.IN_DOUBT, Outcome.SUPERSEDED):
        return None
    if verdict.outcome is Outcome.CANCELED and (progress.canceling_at is not None or progress.build is None):
        return None  # by us
    if verdict.outcome is Outcome.REJECTED and verdict.code == "request_limit_reached":
        return None
    return verdict.outcome


def _identity(target: Target, accounts: Mapping[str, Account]) -> Identity:
    account = accounts[target.account]
    return account.type, account.url, target.repo.casefold(), target.branch, target.matrix, target.name


def _is_of(accounts: Mapping[str, Account], identity: Identity) -> bool:
    return any((account.type, account.url) == identity[:2] for account in accounts.values())
