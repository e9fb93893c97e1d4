"""Reads the logs of builds that failed, to name the cause: one at a time, and only what the limits leave."""

from __future__ import annotations

from collections import deque

import anyio
import anyio.to_thread

from orchestrator.core.causes import cause_in
from orchestrator.core.errors import LookFailed, NotTriggered, RateLimited
from orchestrator.core.events import CauseFound
from orchestrator.core.model import Outcome
from orchestrator.core.next_step import NARROWEST
from orchestrator.core.progress import Progress
from orchestrator.engine.facts import AccountRun
from orchestrator.providers.port import JobLog, Provider, ShowsLogs

PATIENCE = 60.0  # seconds for one log; where the limits leave no room for so long, no more are read
TRIES = 2
LONG = 256 * 1024  # characters of a log, which are read in some 0.2 s
FAILED = (Outcome.FAILED, Outcome.ERRORED)


class Logs:
    """The logs of one account that are still to be read."""

    def __init__(self, account: AccountRun, provider: Provider) -> None:
        self._account = account
        self._provider = provider if isinstance(provider, ShowsLogs) else None
        self._wanted: deque[int] = deque()
        self._is_reading = False
        account.failed = self._want

    @property
    def is_due(self) -> bool:
        """Whether one is to be read now."""
        return bool(self._wanted) and not self._is_reading

    def _want(self, row: int) -> None:
        """The row's build has failed: its log is read, as long as the run has not read as many as it may."""
        run, progress = self._account.run, self._account.progress(row)
        if self._provider is not None and run.logs_left > 0 and _is_unexplained(progress):
            run.logs_left -= 1
            self._wanted.append(row)

    async def read_next(self, _: None = None) -> None:
        """Reads one."""
        self._is_reading = True
        row = self._wanted.popleft()
        try:
            with anyio.move_on_after(PATIENCE) as scope:
                await self._explain(row)
            if scope.cancelled_caught:
                self._give_up("the limits leave no room")
        finally:
            self._is_reading = False

    async def _explain(self, row: int) -> None:
        account = self._account
        target, kept = account.target(row), account.run.options.causes
        log = await self._log(row)
        if log is None or kept is None or not _is_unexplained(account.progress(row)):
            return
        asked = log.text, kept.bytes, account.run.redact, target.repo, log.exit
        # line by line in a thread, a long log lets the run go on beside it
        found = cause_in(*asked) if len(log.text) <= LONG else await anyio.to_thread.run_sync(cause_in, *asked)
        if found is not None:
            await account.append(
                CauseFound(target.id, found.signature, found.text, log.job, found.exit, log.url, found.tail)
            )

    async def _log(self, row: int) -> JobLog | None:
        account, build, kept = self._account, self._account.progress(row).build, self._account.run.options.causes
        if self._provider is None or build is None or kept is None:
            return None
        cause = ""
        for _ in range(TRIES):
            try:
                return await self._provider.logs(account.target(row), build, kept.bytes)
            except RateLimited as error:
                await account.freeze(error, NARROWEST)
                self._give_up(str(error))
                return None
            except (LookFailed, NotTriggered) as error:
                cause = str(error)
        account.notice("log.unread", target=account.target(row).id, cause=cause)
        return None

    def _give_up(self, cause: str) -> None:
        """Reads no more: what a run needs goes before."""
        self._account.notice("logs.left_out", account=self._account.name, logs=len(self._wanted), cause=cause)
        self._wanted.clear()


def _is_unexplained(progress: Progress) -> bool:
    verdict = progress.verdict
    return verdict is not None and verdict.outcome in FAILED and progress.cause is None and progress.build is not None
