"""The limits of a principal as several processes share them, through the journal.

A process that is alone keeps its permits in memory and only leaves stamps behind. As soon as another one writes to the
same state, both ask the journal for each permit: one transaction counts the stamps of all and adds one, so that no
window is ever overdrawn. Another process is noticed by its writes, of which its heartbeat makes one every few seconds;
a process that starts while another drives a run asks from its first call on. Once the other is gone, or stands still,
the journal is asked for each limit until the last call of the other can no longer count.

A stamp stands for as long as the call is under way, and from its answer on for one period more: exactly as a permit
counts in memory. When it is left, its time is the latest at which the provider can come to count the call; the answer
sets it right. So whoever dies leaves stamps that count too long rather than too short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.core.model import ACCOUNT, Scope
from orchestrator.engine.run import LEASE, Run
from orchestrator.journal.port import SharedLimit, UsageRecord
from orchestrator.limits.budget import Budget, Permit

OTHERS_FOR = LEASE / 2  # seconds after another process's last write for which it counts as being there
ASK_EVERY = 0.02  # seconds between two questions whether another process wrote; less than a call takes
SHARED_FROM = 5.0  # seconds; limits of a shorter period are shared by nobody: they are over before it matters
CALL_TIMEOUT = 30.0  # seconds; how long after it was intended a call can have been counted
CONNECTIONS = "connections"  # the name under which calls under way are counted, over all processes that live
TURN = "turn"  # the name under which triggers of a repository are serialised: one under way, counted until its answer


class Commons:
    """Asks for permits of the principal where other processes draw on the same limits."""

    def __init__(self, run: Run, budget: Budget, connections: int) -> None:
        self.principal = ""
        self._connections = SharedLimit(CONNECTIONS, ACCOUNT, connections, 0.0, while_alive=True)
        self._run = run
        self._budget = budget
        self._others_at = -math.inf
        self._is_known_shared = False
        self._under_way: dict[Permit, tuple[str, list[int]]] = {}  # triggers that left while nobody else was there
        self._has_shared = any(limit.per >= SHARED_FROM for limit in budget.limits.values())

    async def begin(self, principal: str) -> None:
        """Knows the principal from now on, and whether another process is at work at this moment."""
        self.principal = principal
        rows = await self._run.journal.runs(open_only=True)
        if any(row.driven and row.id != self._run.id for row in rows):
            self._others_at = self._run.now()

    async def take(
        self, permit: Permit, names: Sequence[str], repo: str | None, *, trigger: bool = False, look: bool = False
    ) -> tuple[float, str]:
        """Lets everybody count the call of a permit.

        Args:
            trigger: it has its repository to itself until it is answered, over all runs.
            look: nobody needs to know of it while we are alone.

        Returns:
            Zero when everybody counts it, from the next append on at the latest; else the seconds until it makes
            sense to ask again, and the name of the limit that is used up: then the permit is to be given back.
        """
        if not self.principal:
            return 0.0, ""
        shares, since = self._shares(names, repo), await self._since_others()
        together = [share for share in shares if since < CALL_TIMEOUT + share.per]
        alone = [share for share in shares if share not in together] if together else shares
        if trigger and repo is not None and since < OTHERS_FOR:
            together.append(SharedLimit(TURN, Scope("repo", repo), 1, 0.0))
        if since < OTHERS_FOR:
            together.append(self._connections)
        keys: list[int] = []
        until = self._run.steady() + CALL_TIMEOUT
        if together:
            reserved = await self._run.journal.reserve(self.principal, together, self._run.steady(), until)
            if reserved.delay:
                return reserved.delay, reserved.name
            keys += reserved.keys
        if alone and not look:
            stamps = [UsageRecord(self.principal, share.name, share.scope, until, share.per) for share in alone]
            keys += await self._run.journal.record_usage(stamps)
        if trigger and repo is not None and since >= OTHERS_FOR:
            self._under_way[permit] = repo, keys
        if keys or trigger:
            self._tell(permit, [*together, *alone], keys)
        return 0.0, ""

    def _tell(self, permit: Permit, shares: Sequence[SharedLimit], keys: list[int]) -> None:
        """Has the stamps set right as soon as the permit's call is over."""
        journal, accepted = self._run.journal, self._budget.accepted

        def over(at: float | None, refused: bool) -> None:
            self._under_way.pop(permit, None)
            if not keys:
                return
            steady = None if at is None else at + self._run.steady() - self._run.now()
            spared = [key for key, share in zip(keys, shares, strict=False) if refused and share.name in accepted]
            journal.settle(keys, steady)
            if spared:
                journal.settle(spared, None)

        permit.tell = over

    async def _since_others(self) -> float:
        """Seconds since another process last wrote; infinity where none ever did."""
        run = self._run
        now = run.now()
        if now - run.asked_at >= ASK_EVERY:
            if await run.journal.changed_by_others():
                run.others_at = now
            run.asked_at = now  # only now: whoever comes in between must not believe an old answer
        since = now - max(self._others_at, run.others_at)
        if since < OTHERS_FOR and not self._is_known_shared:
            await self._show_turns()
        self._is_known_shared = since < OTHERS_FOR
        return since

    async def _show_turns(self) -> None:
        """Somebody came: which repositories have a trigger under way is now to be seen."""
        until = self._run.steady() + CALL_TIMEOUT
        for repo, keys in list(self._under_way.values()):
            keys += await self._run.journal.record_usage(
                [UsageRecord(self.principal, TURN, Scope("repo", repo), until, 0.0)]
            )

    def _shares(self, names: Sequence[str], repo: str | None) -> list[SharedLimit]:
        """The limits of these names, as they are counted for everybody."""
        found = []
        for name in names if self._has_shared else ():
            limit = self._budget.limits.get(name)
            if limit is not None and limit.per >= SHARED_FROM and (limit.scope == ACCOUNT or repo is not None):
                calls, per = self._budget.rule(name, repo)
                least = max(1, calls - names.count(name) + 1)  # room for all that the call costs, or for none of it
                found.append(SharedLimit(name, self._budget.scope_of(limit, repo), least, per))
        return found
