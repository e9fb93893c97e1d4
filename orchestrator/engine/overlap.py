"""Which targets other open runs have under way: a wave that opens leaves these alone until their builds have ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.core.errors import UnknownEvents
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import Account
from orchestrator.journal.history import load, made_in
from orchestrator.journal.port import Journal


def is_same(one: Account, other: Account) -> bool:
    """Whether builds of both are the same builds: one service, and one user as far as that can be told unasked."""
    return (one.type, one.url) == (other.type, other.url) and (one.name == other.name or one.token == other.token)


async def under_way(journal: Journal, run: str, history: History, ids: Collection[str]) -> dict[str, str]:
    """Those of these targets of a run that another open run has under way, each with that run."""
    accounts = accounts_in(history.made)
    found: dict[str, str] = {}
    if history.options.sandbox:  # each rehearsal has a service of its own
        return found
    for row in await journal.runs(open_only=True):
        if row.id != run:
            found |= dict.fromkeys(_under_way(*await _theirs(journal, row.id), accounts, ids), row.id)
    return found


async def _theirs(journal: Journal, run: str) -> tuple[History, bool]:
    """What is known of another run, and whether that is all; of one of a newer version any target may be under way."""
    try:
        return await load(journal, run), True
    except UnknownEvents:
        history = History(await journal.targets(run))
        history.made = await made_in(journal, run)
        return history, False


def _under_way(theirs: History, is_whole: bool, accounts: Mapping[str, Account], ids: Collection[str]) -> list[str]:
    names = {
        other.name: [name for name, mine in accounts.items() if is_same(mine, other)]
        for other in accounts_in(theirs.made).values()
    }
    return [
        own
        for target in theirs.targets
        if ((known := theirs.of(target.id)).may_exist and not known.is_done) or not is_whole
        for name in names.get(target.account, ())
        if (own := name + target.id.removeprefix(target.account)) in ids
    ]
