"""Calls that a verb makes without an engine (`doctor`, `plan`): within the account's limits, and with patience."""

from __future__ import annotations

import math
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import anyio

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import Unreachable
from orchestrator.limits.budget import Budget
from orchestrator.providers.port import Line

TRIES = 4
PAUSE = 1.0  # seconds before the second try; doubled each time


class Pace:
    """Sends calls of one account, at most `connections` at a time and never above its limits.

    Attributes:
        skew: how far the provider's clock is ahead of ours, in seconds; None before the first answer.
    """

    def __init__(self, line: Line, now: Callable[[], float]) -> None:
        self.line = line
        self.skew: float | None = None
        self._now = now
        self._budget = Budget(line.account.limits, line.declaration.accepted_limits)
        self._slots = anyio.Semaphore(line.account.connections)

    async def send(self, call: Call) -> Answer:
        """As the transport sends it, when it is its turn; a call that never left is made again a few times."""
        for attempt in range(TRIES):
            try:
                return await self._once(call)
            except Unreachable:
                if attempt == TRIES - 1:
                    raise
                await anyio.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def _once(self, call: Call) -> Answer:
        async with self._slots:
            while wait := self._budget.wait(call.limits, call.repo, anyio.current_time())[0]:  # noqa: ASYNC110  # time is what it waits for
                await anyio.sleep(1.0 if wait == math.inf else wait)
            permit = self._budget.take(call.limits, call.repo)
            try:
                answer = await self.line.send(call)
            finally:
                permit.answered(anyio.current_time())
            self._read_clock(answer)
            return answer

    def _read_clock(self, answer: Answer) -> None:
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, TypeError):
            return  # no date, or an odd one: the next answer tells
        self.skew = theirs - self._now()
