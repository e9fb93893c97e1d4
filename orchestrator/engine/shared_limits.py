"""Rate limits shared by several processes through the journal.

A process that is alone keeps its permits in memory and only leaves usage records behind, unless two of its accounts
have one user: those count like two processes. As soon as another one writes
to the same state, both ask the journal for each permit: one transaction counts the records of all and adds one, so
that no window is ever overdrawn. Another process is noticed by its writes, of which its heartbeat makes one every few
seconds; a process that starts while another drives a run asks from its first call on. Once the other is gone, or
stands still, the journal is asked for each limit until the last call of the other can no longer count.

A record stands for as long as the call is under way, and from its answer on for one period more: exactly as a permit
counts in memory. When it is written, its time is the latest at which the provider can come to count the call; the
answer corrects it. So a process that dies leaves records that count too long rather than too short.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from orchestrator.core.model import ACCOUNT, Scope
from orchestrator.engine.run import LEASE, Clocks
from orchestrator.journal.port import Journal, SharedLimit, UsageRecord
from orchestrator.limits.budget import Budget, Permit

OTHERS_FOR = LEASE / 2  # seconds after another process's last write for which it counts as being there
ASK_EVERY = 0.02  # seconds between two questions whether another process wrote; less than a call takes
SHARED_FROM = 5.0  # seconds; limits of a shorter period are not shared: they are over before it matters
CALL_TIMEOUT = 30.0  # seconds; how long after it was intended a call can have been counted
CONNECTIONS = "connections"  # the name under which calls under way are counted, over all processes that live
TURN = "turn"  # the name under which triggers of a repository are serialised: one under way, counted until its answer


class OtherProcesses:
    """Whether other processes use the state, as far as this one has seen.

    Attributes:
        users: by principal, how many accounts of this process are its.
    """

    def __init__(self, journal: Journal, clocks: Clocks) -> None:
        self.journal = journal
        self.clocks = clocks
        self.users: Counter[str] = Counter()
        self._asked_at = self._seen_at = -math.inf

    async def look(self, run: str) -> None:
        """Notices a process that drives another run at this moment, before it has written anything."""
        rows = await self.journal.runs(open_only=True)
        if any(row.driven and row.id != run for row in rows):
            self._seen_at = self.clocks.now()

    async def since(self) -> float:
        """Seconds since another process last wrote; infinity where none ever did."""
        now = self.clocks.now()
        if now - self._asked_at >= ASK_EVERY:
            if await self.journal.changed_by_others():
                self._seen_at = now
            self._asked_at = now  # only now: another call in between must not believe an old answer
        return now - self._seen_at


class SharedLimits:
    """Asks for permits of a principal where other processes draw on the same limits.

    Args:
        is_brief: ask the journal for each permit although no other process is there: for one that appends nothing,
            makes very many calls, and is gone before it could notice another.
    """

    def __init__(
        self, principal: str, budget: Budget, connections: int, others: OtherProcesses, *, is_brief: bool = False
    ) -> None:
        self.principal = principal
        self._connections = SharedLimit(CONNECTIONS, ACCOUNT, connections, 0.0, while_alive=True)
        self._budget = budget
        self._others = others
        self._journal = others.journal
        self._clocks = others.clocks
        self._is_brief = is_brief
        self._is_known_shared = False
        others.users[principal] += 1
        self._under_way: dict[Permit, str] = {}  # triggers that left while we were alone, and their repository
        self._has_shared = any(limit.per >= SHARED_FROM for limit in budget.limits.values())

    async def take(
        self, permit: Permit, names: Sequence[str], repo: str | None, *, trigger: bool = False, look: bool = False
    ) -> tuple[float, str]:
        """Makes all processes count the call of a permit.

        Args:
            trigger: it has its repository to itself until it is answered, over all runs.
            look: it need not be recorded while we are alone. A trigger is recorded with its intent; what else changes
                something, as a cancel does, at once: a process that dies just after it leaves no other trace.

        Returns:
            Zero when all count it, from the next append on at the latest; else the seconds until it makes
            sense to ask again, and the name of the limit that is used up: then the permit is to be settled.
        """
        limits, since = self._limits(names, repo), 0.0
        if not self._is_brief and self._others.users[self.principal] == 1:
            since = await self._since_others()
        is_last_word = not (trigger or look)
        together = [limit for limit in limits if is_last_word or since < CALL_TIMEOUT + limit.per]
        alone = [limit for limit in limits if limit not in together] if together else limits
        if trigger and repo is not None and since < OTHERS_FOR:
            together.append(SharedLimit(TURN, Scope("repo", repo), 1, 0.0))
        if since < OTHERS_FOR:
            together.append(self._connections)
        until = self._clocks.steady() + CALL_TIMEOUT
        if together:
            reserved = await self._journal.reserve(self.principal, together, self._clocks.steady(), until)
            if reserved.delay:
                return reserved.delay, reserved.name
            permit.records += [(key, limit.name) for key, limit in zip(reserved.keys, together, strict=True)]
        if alone and not look:
            records = [UsageRecord(self.principal, limit.name, limit.scope, until, limit.per) for limit in alone]
            keys = await self._journal.record_usage(records)
            permit.records += [(key, limit.name) for key, limit in zip(keys, alone, strict=True)]
        if trigger and repo is not None and since >= OTHERS_FOR:
            self._under_way[permit] = repo
        return 0.0, ""

    def settle(self, permit: Permit, at: float | None, refused: bool) -> None:
        """Corrects the usage records of a permit whose call is over.

        Args:
            at: the latest instant at which it can have been counted; None where it never left.
            refused: it does not count where only accepted calls do.
        """
        self._under_way.pop(permit, None)
        if not permit.records:
            return
        steady = None if at is None else at + self._clocks.steady() - self._clocks.now()
        self._journal.settle([key for key, _ in permit.records], steady)
        spared = [key for key, name in permit.records if refused and name.partition(".")[0] in self._budget.accepted]
        if spared:
            self._journal.settle(spared, None)
        permit.records = []

    async def _since_others(self) -> float:
        since = await self._others.since()
        if since < OTHERS_FOR and not self._is_known_shared:
            await self._show_turns()
        self._is_known_shared = since < OTHERS_FOR
        return since

    async def _show_turns(self) -> None:
        """Another process appeared: publishes which repositories have a trigger in flight."""
        until = self._clocks.steady() + CALL_TIMEOUT
        for permit, repo in list(self._under_way.items()):
            record = UsageRecord(self.principal, TURN, Scope("repo", repo), until, 0.0)
            permit.records += [(key, TURN) for key in await self._journal.record_usage([record])]

    def _limits(self, names: Sequence[str], repo: str | None) -> list[SharedLimit]:
        """The limits of these names, as all processes count them."""
        rules = self._budget.rules(names, repo) if self._has_shared else ()
        return [  # room for all that the call costs, or for none of it
            SharedLimit(limit.name, scope, max(1, calls - names.count(limit.kind) + 1), per)
            for limit, scope, calls, per in rules
            if limit.per >= SHARED_FROM
        ]
