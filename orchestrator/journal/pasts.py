"""How the targets of a run fared in earlier runs of this state, those that were forgotten since included."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from orchestrator.core.evidence import KNOWN, Past
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import Account, Outcome, Target
from orchestrator.core.promotion import Usually
from orchestrator.journal.history import load, made_in
from orchestrator.journal.outcomes import Known, identity, newest, outcomes_of
from orchestrator.journal.port import Journal

RUNS = 100  # earlier runs that are read, the newest
TARGETS = 300_000  # of them, in all: more would make a plan take minutes


async def usually(journal: Journal, run: str, history: History) -> Usually:
    """How the targets of a run fared as a rule, without what this run itself has shown."""
    accounts = accounts_in(history.made)
    found = await pasts(journal, history.targets, accounts, history.options.failures, but=run)
    services = {name: f"{account.type} at {account.url}" for name, account in accounts.items()}
    return Usually(history.targets, found, services)


async def pasts(
    journal: Journal,
    targets: Sequence[Target],
    accounts: Mapping[str, Account],
    failures: Collection[Outcome],
    but: str = "",
) -> Mapping[str, Past]:
    """What is known of each target, by id; those of which nothing is are left out.

    Args:
        failures: the outcomes that are bad.
        but: a run that is left out.
    """
    mine = {identity(target, accounts[target.account]): target for target in targets if target.account in accounts}
    known = await outcomes(journal, mine.keys(), but)
    return {mine[one].id: _past(mine[one], found, failures) for one, found in known.items()}


def _past(target: Target, known: Sequence[Known], failures: Collection[Outcome]) -> Past:
    """By first attempts, where the target is not started again when it fails; else by the last ones."""
    ends = [one.outcome if target.reruns.times else one.first or one.outcome for one in known]
    return Past(sum(end in failures for end in ends), len(ends))


async def outcomes(journal: Journal, wanted: Collection[str], but: str = "") -> Mapping[str, Sequence[Known]]:
    """The last outcomes of targets, the newest first, by what tells each apart.

    Args:
        wanted: what tells them apart (`outcomes.identity`).
        but: a run that is left out.
    """
    found = {one: list(known) for one, known in (await journal.outcomes(wanted)).items()}
    rows = [row for row in await journal.runs() if row.id != but]
    left = TARGETS
    for row in rows[:RUNS]:
        left -= row.targets
        if left < 0:
            break
        if not any(await _is_of(journal, row.id, wanted)):
            continue
        for one, known in outcomes_of(row.id, await load(journal, row.id)):
            if one in wanted:
                found.setdefault(one, []).append(known)
        if len(found) == len(wanted) and all(len(known) >= KNOWN for known in found.values()):
            break  # older ones would not count
    return {one: newest(known) for one, known in found.items() if known}


async def _is_of(journal: Journal, run: str, wanted: Collection[str]) -> list[bool]:
    """For each target of a run whether it is one of these; read without its events."""
    accounts = accounts_in(await made_in(journal, run))
    targets = await journal.targets(run)
    return [identity(one, accounts[one.account]) in wanted for one in targets if one.account in accounts]
