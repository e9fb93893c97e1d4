"""Settles the rows whose build was asked to start again and whose answer was lost: the build itself tells."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.errors import InDoubt, LookFailed, RateLimited, Unreachable
from orchestrator.core.events import Absent, Ended, Requested, Restarted, Sighted, TargetEvent
from orchestrator.core.model import Build, Request
from orchestrator.core.next_step import Find, poll_interval, timed_out, verdict_of
from orchestrator.core.progress import Doubt, Restart
from orchestrator.core.restart import Became, became, is_another
from orchestrator.engine.facts import RESTARTED, AccountRun
from orchestrator.engine.follow import by_our_clock
from orchestrator.providers.port import Followed, Provider

KEPT = "kept"  # how a request became a target's: an earlier run made it, and its build was not started again


class LostRestarts:
    """Finds out what became of restarts without an answer."""

    def __init__(self, account: AccountRun, provider: Provider) -> None:
        self.account = account
        self._provider = provider
        self._heard: dict[tuple[int, int], float] = {}  # by row and attempt: when a look at it was first answered

    async def look(self, row: int, step: Find, doubt: Doubt, restart: Restart) -> None:
        """One look at a build that was asked to start again."""
        account, target, attempt = self.account, self.account.target(row), self.account.progress(row).attempts
        before, began = restart.before, account.now()
        seen, why = await self._seen(row, restart)
        heard = self._heard.setdefault((row, attempt), account.now()) if seen else began
        settled = max(doubt.end, heard) + target.timeouts.settle
        match became(before, seen, restart.asked_at, began=began, settled=settled, until=step.until):
            case Became.RESTARTED:
                account.notice("restart.found", target=target.id, build=before.id)
                await account.record(row, *self._request(row, RESTARTED), Restarted(target.id, before.id, attempt))
            case Became.UNCHANGED:
                evidence = f"the build was as before in a look begun {began - doubt.end:.0f} s after the call ended"
                account.notice("restart.absent", target=target.id, build=before.id)
                await account.record(row, Absent(target.id, attempt, evidence))
            case Became.UNREADABLE:
                await account.record(row, *self._as_it_was(row, before, why))
            case Became.UNSETTLED:
                account.notice("restart.undecided", target=target.id, cause=why)
                again = began + poll_interval(began - doubt.end) + account.run.random.uniform(0.0, 1.0)
                due = min(again, settled) if seen and settled > began else again
                account.find_at(row, max(min(due, step.until), account.now()))

    async def _seen(self, row: int, restart: Restart) -> tuple[Sequence[Build], str]:
        """The builds of the row's request by our clock, and why they do not settle it."""
        account, target, before = self.account, self.account.target(row), restart.before
        one = Followed(target, self._made(row), None, before, since=restart.asked_at, fresh=True)
        try:
            shown = (await self._provider.poll([one])).get(target.id)
        except (InDoubt, LookFailed, RateLimited, Unreachable) as error:
            return (), str(error)
        known, skew = {before.id: before}, account.sender.skew or 0
        told = shown.builds if shown is not None else ()
        all_ = [by_our_clock(one, account.attempt(row, one, known), skew) for one in told]
        builds = [one for one in all_ if one.id == before.id or is_another(before, one, restart.asked_at)]
        return builds, "it may still start" if builds else "the build is not shown"

    def _made(self, row: int) -> Request:
        """The request of the build."""
        account, old = self.account, self.account.run.restarts.get(self.account.target(row).id)
        return account.progress(row).request or (Request("") if old is None else old.request)

    def _request(self, row: int, how: str) -> Sequence[TargetEvent]:
        """The fact that the request of an earlier run is the row's now, unless it is already."""
        if self.account.progress(row).request is not None:
            return ()
        made = self._made(row)
        return (Requested(self.account.target(row).id, made.id, how, made.handle, made.url),)

    def _as_it_was(self, row: int, before: Build, why: str) -> Sequence[TargetEvent]:
        """The outcome that the build had before: nothing tells another."""
        id_, progress = self.account.target(row).id, self.account.progress(row)
        end = verdict_of(before, progress) if before.state.is_final else timed_out("did not end")
        reason = f"{end.reason}; it was asked to start again, and the answer was lost: {why}; its page tells"
        return (*self._request(row, KEPT), Sighted(id_, before), Ended(id_, end.outcome, end.code, reason))
