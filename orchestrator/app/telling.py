"""Tells people of a run that one drives: messages to whoever the run, or a person, named."""

from __future__ import annotations

from typing import Any

from orchestrator.app.context import Context
from orchestrator.core.course import APPROVAL
from orchestrator.core.errors import Exit, JournalError
from orchestrator.core.history import History
from orchestrator.core.model import CHANGED
from orchestrator.core.options import Options
from orchestrator.hooks.messages import Moments
from orchestrator.hooks.notify import Sender, webhook
from orchestrator.journal.port import Entry, Journal
from orchestrator.report.hints import Hint
from orchestrator.report.view import Report


class Telling:
    """Passes everything on to the observer, and sends what is worth a message to those who want it.

    Args:
        options: of the run as it is driven here; its `notify` says who wants what.
    """

    def __init__(self, run: str, history: History, options: Options, context: Context) -> None:
        self._run = run
        self._wanted = options.notify
        self._observer = context.observer
        self._moments = Moments(run, history)
        self._sender = Sender(options.notify, context.secrets, webhook(context.elsewhere), context.observer.notice)

    def fact(self, entry: Entry) -> None:
        """An event, once it is durable."""
        self._observer.fact(entry)
        self._sender.send(self._moments.fact(entry))

    def notice(self, name: str, **fields: Any) -> None:
        """What is no event."""
        self._observer.notice(name, **fields)
        if name == "run.waits" and fields.get("on") == APPROVAL:
            self._sender.send(self._moments.waits(str(fields["waits"]), Hint("approve", self._run).line()))

    async def run(self) -> None:
        """Sends what comes, until it is canceled."""
        await self._sender.run()

    async def left(self, report: Report, code: Exit, journal: Journal) -> None:
        """Sends what is to be said of how the run was left, and all that was not sent yet."""
        wanted = {on for one in self._wanted for on in one.on}
        before = await _exit_before(report, journal) if CHANGED in wanted else None
        self._sender.send(self._moments.left(report, code, before, wanted))
        await self._sender.finish()


async def _exit_before(report: Report, journal: Journal) -> int | None:
    """The exit code of the run of the same name that ended last before this one was made."""
    try:
        rows = list(await journal.runs())
    except JournalError:  # it is told elsewhere that the state cannot be used
        return None
    mine = next((number for number, row in enumerate(rows) if row.id == report.run.id), len(rows))
    same = (row for row in rows[mine + 1 :] if row.name == report.run.name and row.ended_at is not None)
    return next((row.exit_code for row in same), None)
