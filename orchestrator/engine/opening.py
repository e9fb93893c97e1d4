"""Opens the gate of an account: who we are for the provider, what others used, and only then a call that counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

import anyio

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, LookFailed, NotTriggered, RateLimited, Unreachable
from orchestrator.core.model import ACCOUNT
from orchestrator.core.next_step import backoff
from orchestrator.engine.gate import Gate, Sender, budget_of
from orchestrator.engine.run import Clocks
from orchestrator.engine.shared_limits import OtherProcesses, SharedLimits
from orchestrator.journal.port import AccountMemory, Journal
from orchestrator.limits.rules import Traffic
from orchestrator.providers.port import Line, Principal, Provider, SaysWho

WHOAMI_TRIES = 3
LEAST = 0.5  # seconds before a look that was refused or failed is made again, whatever the server says
NOT_TOLD = "the server did not say whose token it is; others may just have used its limits up"

T = TypeVar("T")


async def open_gate(
    sender: Sender, others: OtherProcesses, run: str, notice: Callable[..., None], *, is_brief: bool = False
) -> tuple[Gate, str, AccountMemory]:
    """The gate, the principal that the state counts, and what all runs know of it.

    Args:
        run: the run of this process, empty where it has none.
        is_brief: as of `SharedLimits`.
        notice: takes what is worth a line in the log.

    Raises:
        AccessRefused: nothing may be called.
    """
    journal, line, budget = others.journal, sender.line, sender.budget
    alias = await _heed_earlier_ban(journal, sender)
    principal, name = await _whoami(sender, notice), alias or sender.anonymous
    if principal is not None:
        name = f"{line.declaration.type}:{line.account.url}:{principal.id}"
        sender.login = principal.login
        notice("account.known", account=line.account.name, login=principal.login)
        if alias != name:
            await journal.remember(sender.anonymous, alias=name)
    await others.look(run)
    ahead = sender.clocks.steady() - sender.clocks.now()
    longest = max((limit.per for limit in budget.limits.values()), default=0.0)
    # of the token's hash and of its user: calls count that were made before that was known
    memory = await journal.memory(sender.anonymous, sender.clocks.steady() - longest)
    for scope, until in memory.frozen.items():
        budget.freeze(scope, until, "as an earlier run was told")
    for record in memory.usage:
        budget.remember(record.name, record.scope, record.at - ahead)
    shared = SharedLimits(name, budget, line.account.connections, others, is_brief=is_brief)
    return Gate(sender, shared), name, memory


async def _heed_earlier_ban(journal: Journal, sender: Sender) -> str:
    """Refuses to make any call, even `whoami`, while an earlier ban is in force; the principal named for the token."""
    mine = await journal.memory(sender.anonymous)
    if (left := mine.frozen.get(ACCOUNT, 0.0) - sender.clocks.now()) > 0.0:
        raise AccessRefused("banned", "an earlier run was told to stay away, so nothing was asked", ACCOUNT, left)
    return mine.alias


async def _whoami(sender: Sender, notice: Callable[..., None]) -> Principal | None:
    """Asks who we are before anything leaves that could start a build: a dead token or a wrong URL ends here."""
    line, failures = sender.line, 0
    provider = line.provider_over(Gate(sender, None).send)
    began = sender.clocks.now()
    while isinstance(provider, SaysWho) and not sender.is_draining and (failures < WHOAMI_TRIES or not sender.is_heard):
        try:
            return await provider.whoami()
        except AccessRefused:
            raise
        except (LookFailed, NotTriggered) as error:
            failures += sender.traffic.is_reachable  # else it is asked until the account's time is over
            notice("account.hello_failed", account=line.account.name, cause=str(error))
            is_late = sender.clocks.now() - began >= sender.reach
            if failures >= WHOAMI_TRIES and not sender.is_heard and (is_late or sender.unreadable >= WHOAMI_TRIES):
                raise AccessRefused(  # whoever was never understood is triggered nothing
                    "unreadable", f"{line.account.url}: no answer could be read: {error}; nothing was triggered"
                ) from None
            await anyio.sleep(backoff(failures, sender.random))
    if failures:  # other users of the token are not known: as if they had just used all that we may
        sender.budget.freeze(ACCOUNT, sender.clocks.now() + _longest_period(sender), NOT_TOLD)
    return None


def _longest_period(sender: Sender) -> float:
    """Of the limits that triggers count against, in seconds; those of single repositories apart."""
    names = sender.line.declaration.trigger_limits
    found = [limit for limit in sender.budget.limits.values() if limit.kind in names]
    return max((limit.per for limit in found if limit.scope != "repo"), default=0.0)


class Caller:
    """A gate for calls outside a run: within the limits that all processes share, and as patient as a run.

    Attributes:
        provider: the account's provider over this gate.
    """

    def __init__(self, gate: Gate, reach: float, patience: float, notice: Callable[..., None]) -> None:
        self.gate = gate
        self._reach = reach
        self._notice = notice
        self._since: float | None = None  # when the first of the looks in a row failed that gave no answer
        self.provider: Provider = gate.sender.line.provider_over(self.send)
        self._patience = patience
        self._slots = anyio.Semaphore(gate.sender.line.account.connections)

    @property
    def skew(self) -> int | None:
        """Seconds by which the provider's clock is ahead of ours; None before the first answer."""
        return self.gate.sender.skew

    async def send(self, call: Call) -> Answer:
        """Sends a call that only reads; one that never left goes again until the account's reach is over."""
        async with self._slots:
            while True:
                try:
                    return await self.gate.send(call)
                except Unreachable:
                    if self.gate.sender.is_draining:
                        raise

    async def patiently(self, look: Callable[[], Awaitable[T]]) -> T:
        """What a look tells; where it is refused or fails, it is made again: as the provider allows, never at once.

        Raises:
            RateLimited: the provider asks for more patience than there is.
            LookFailed: it gave no answer in all that time.
        """
        sender, failures = self.gate.sender, 0
        while True:
            try:
                found = await look()
            except (RateLimited, LookFailed) as error:
                failures += 1
                refused = isinstance(error, RateLimited)
                told = (error.retry_after or 0.0) if isinstance(error, RateLimited) else 0.0
                until = sender.clocks.now() + max(told, LEAST + backoff(failures, sender.random))
                if isinstance(error, RateLimited):
                    sender.budget.freeze(error.scope, until, error.reason)
                if self._since is None:
                    self._since = sender.clocks.now()
                if until >= self._since + (self._patience if refused else self._reach):
                    raise
                self._notice("look.failed", account=sender.line.account.name, cause=str(error))
                await anyio.sleep(until - sender.clocks.now())
            else:
                self._since = None
                return found


@asynccontextmanager
async def gate_for(
    line: Line,
    journal: Journal,
    clocks: Clocks,
    random: Random,
    *,
    reach: float = 10.0,
    patience: float = 300.0,
    notice: Callable[..., None] = lambda name, **fields: None,
) -> AsyncIterator[Caller]:
    """A gate without an engine, for `doctor`, `plan` and `retry`.

    Args:
        clocks: `await Clocks.read(...)`.
        reach: seconds for which the account may be out of reach, or give no answer to a look.
        patience: seconds for which a provider may ask for patience.

    Raises:
        AccessRefused: nothing may be called, or the token is dead.
    """
    sender = Sender(line, budget_of(line), Traffic(), clocks, random, reach=reach)
    gate, _, _ = await open_gate(sender, OtherProcesses(journal, clocks), "", notice, is_brief=True)
    try:
        yield Caller(gate, reach, max(patience, reach), notice)
    finally:
        sender.drain()
