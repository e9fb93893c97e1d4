"""Looks ahead in a run that goes on, for those who watch it; whatever it meets, the run goes on without it."""

from __future__ import annotations

from orchestrator.app.context import Context
from orchestrator.app.lookups import times_in
from orchestrator.core.errors import JournalError, UsageError
from orchestrator.core.history import History, accounts_in
from orchestrator.forecast.durations import Times
from orchestrator.forecast.outlook import Outlook
from orchestrator.journal.port import Journal
from orchestrator.providers import registry


class Lookout:
    """Looks as often as the outlook asks for it.

    Attributes:
        outlook: None where nothing can be foreseen: a provider is not installed here, or the journal is damaged.
    """

    def __init__(self, outlook: Outlook | None) -> None:
        self.outlook = outlook

    @classmethod
    async def on(
        cls, run: str, history: History, journal: Journal, context: Context, times: Times | None = None
    ) -> Lookout:
        """One for a run.

        Args:
            times: how long builds took before it, where that was read already.
        """
        try:
            accounts = accounts_in(history.made)
            declarations = {account.type: registry.declaration(account.type) for account in accounts.values()}
            if history.made is None or not {target.account for target in history.targets} <= accounts.keys():
                return cls(None)
            before = times or await times_in(journal, history.made.name, accounts, context, but=run)
        except (UsageError, JournalError):
            return cls(None)
        return cls(Outlook(history, declarations, before))

    async def look(self, now: float) -> None:
        """Looks, if it is time for that (wall clock)."""
        if self.outlook is None or not self.outlook.is_due(now):
            return
        try:
            await self.outlook.look(now)
        except ValueError:  # quiet hours in a time zone that this machine does not know
            self.outlook = None
