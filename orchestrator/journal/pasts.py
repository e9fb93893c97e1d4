"""How the targets of a run fared in earlier runs of this state, those that were forgotten since included."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from orchestrator.core.errors import UnknownEvents
from orchestrator.core.evidence import KNOWN, Past
from orchestrator.core.history import accounts_in
from orchestrator.core.model import Account, Outcome, Target
from orchestrator.core.promotion import Usually
from orchestrator.journal.history import load, made_in
from orchestrator.journal.outcomes import Known, identity, newest, outcomes_of, service_in, service_of
from orchestrator.journal.port import Journal, RunRow

RUNS = 2_000  # earlier runs that are read, the newest: a second
TARGETS = 300_000  # of them, in all: some eight seconds where no two runs have a target in common

Read: TypeAlias = dict[tuple[str, float], Sequence[tuple[str, Known]]]
"""By run and the time of its end, how its targets ended: what was read once need not be read again."""


async def usually(
    journal: Journal,
    targets: Sequence[Target],
    accounts: Mapping[str, Account],
    failures: Collection[Outcome],
    but: str = "",
    read: Read | None = None,
) -> Usually:
    """How the targets of a run fared as a rule, and all others of their services.

    Args:
        failures: the outcomes that are bad.
        but: a run that is left out: itself.
        read: what was read before; what is read now is added.
    """
    services = {name: service_of(account) for name, account in accounts.items()}
    mine = {identity(target, accounts[target.account]): target for target in targets if target.account in accounts}
    own: dict[str, Past] = {}
    others: dict[str, list[Past]] = {}
    for one, known in (await outcomes(journal, set(services.values()), but, read)).items():
        target = mine.get(one)
        if target is not None:
            own[target.id] = _past(known, failures, by_last=target.reruns.times > 0)
        else:  # what was started again is of a manifest that says so
            others.setdefault(service_in(one), []).append(_past(known, failures, by_last=True))
    return Usually(targets, own, services, others)


def _past(known: Sequence[Known], failures: Collection[Outcome], *, by_last: bool) -> Past:
    """By last attempts, or by first ones where a target is not started again when it fails."""
    ends = [one.outcome if by_last else one.first or one.outcome for one in known]
    return Past(sum(end in failures for end in ends), len(ends))


async def outcomes(
    journal: Journal, services: Collection[str], but: str = "", read: Read | None = None
) -> Mapping[str, Sequence[Known]]:
    """The last outcomes of all targets of these services, the newest first, by what tells each apart.

    Args:
        services: as `outcomes.service_of` names them.
        but: a run that is left out.
        read: as of `usually`.
    """
    read = {} if read is None else read
    found = {one: list(known) for one, known in (await journal.outcomes()).items() if service_in(one) in services}
    for row in within_bounds([row for row in await journal.runs() if row.id != but]):
        key = row.id, row.ended_at or 0.0
        if (ends := read.get(key)) is None:
            ends = () if await _adds_nothing(journal, row, services, found) else await _ends(journal, row.id, services)
        if row.ended_at is not None:
            read[key] = ends
        for one, known in ends:
            found.setdefault(one, []).append(known)
    return {one: newest(known) for one, known in found.items() if known}


async def _adds_nothing(
    journal: Journal, row: RunRow, services: Collection[str], found: Mapping[str, Sequence[Known]]
) -> bool:
    """Whether of each target of a run on these services as many outcomes are known as count, all since it ended.

    A run's targets are read in a tenth of the time that its events take.
    """
    if row.ended_at is None or not found:
        return False
    try:
        accounts = accounts_in(await made_in(journal, row.id))
    except UnknownEvents:
        return True
    ours = {name: account for name, account in accounts.items() if service_of(account) in services}
    if not ours:
        return True
    for target in await journal.targets(row.id):
        if target.skip is None and target.account in ours:
            known = found.get(identity(target, ours[target.account]), ())
            if len(known) < KNOWN or sum(one.at > row.ended_at for one in known) < KNOWN:
                return False
    return True


def within_bounds(rows: Sequence[RunRow]) -> Iterator[RunRow]:
    """Those of these runs, the newest first, that are read to know how targets fared."""
    left = TARGETS
    for row in rows[:RUNS]:
        left -= row.targets
        if left < 0:
            return
        yield row


async def _ends(journal: Journal, run: str, services: Collection[str]) -> Sequence[tuple[str, Known]]:
    """How the targets of a run ended on these services; of a run on others, or of a newer version, nothing is read."""
    try:
        accounts = accounts_in(await made_in(journal, run)).values()
        if not any(service_of(account) in services for account in accounts):
            return ()
        history = await load(journal, run)
    except UnknownEvents:
        return ()
    return [pair for pair in outcomes_of(run, history) if service_in(pair[0]) in services]
