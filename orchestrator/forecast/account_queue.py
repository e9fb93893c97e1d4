"""One account in a simulated run: takes rows in the engine's order, under the engine's limits, in virtual time.

The windows are those of `limits`, the rows those of the engine, the brake that of `brake`: only the calls are missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop

from orchestrator.core.model import Account, Limit, Target
from orchestrator.engine.pending import Rows
from orchestrator.forecast.binding import SERIAL, Course
from orchestrator.forecast.looks import Looks
from orchestrator.limits.budget import Budget, Permit
from orchestrator.limits.concurrency import Loop
from orchestrator.limits.quiet_hours import quiet_until
from orchestrator.providers.port import Declaration

NEEDS = "needs"


class Scope:
    """What a rule of the brake counts."""

    __slots__ = ("count", "most", "name")

    def __init__(self, name: str, most: int) -> None:
        self.name, self.most, self.count = name, most, 0


class Lane:
    """The rows of one account.

    Args:
        start: the wall clock at the run's start; quiet hours go by it.
        in_flight: what `-j` says.
        latency: seconds from a call to its answer.

    Attributes:
        wake_at: when the next row can be triggered by time alone; infinity where only an event can change anything.
        triggered: how many triggers left.
        looks: the calls that follow them.
    """

    def __init__(
        self,
        account: Account,
        declaration: Declaration,
        targets: Sequence[Target],
        start: float,
        in_flight: int | None,
        latency: float,
    ) -> None:
        fold = declaration.fold_case
        self._targets = targets
        self._name: Callable[[str], str] = str.lower if fold else str
        self._account = account
        self._budget = Budget(account.limits, declaration.accepted_limits)
        self._names = declaration.trigger_limits
        self.looks = Looks(account, declaration, self._budget)
        self._start = start
        self._latency = latency
        self.rows = Rows(self.repo_of)
        self._most = min((n for n in (account.in_flight, in_flight) if n is not None), default=None)
        self._scopes: dict[str, Scope] = {}
        self._known: dict[tuple[str, tuple[str, ...]], tuple[Scope, ...]] = {}
        self._has_scopes = bool(account.brake.caps or account.brake.queue)
        self._causes: dict[str, str] = {}
        self._permits: dict[int, Permit] = {}
        self._free = account.connections
        self._closed_until = 0.0
        self._loud_until = -math.inf
        self.ticking = False
        self.course = Course()
        self.unreleased = 0
        self.wake_at = math.inf
        self.triggered = 0
        self.number = 0

    def repo_of(self, row: int) -> str:
        """The row's repository, as its limits count it."""
        return self._name(self._targets[row].repo)

    def owner_of(self, row: int) -> str:
        """The row's owner, as its limits count it."""
        return self._name(self._targets[row].owner)

    # -- where a run stands -------------------------------------------------------------------------------------

    def remember(self, row: int, at: float, *, refused: bool) -> None:
        """The row's trigger was answered then; oldest first."""
        repo = self.repo_of(row)
        for name in self._names:
            if name in self._budget.limits and not (refused and name in self._budget.accepted):
                self._budget.remember(name, self._budget.scope_of(self._budget.limits[name], repo), at)

    def take_up(self, row: int) -> None:
        """The row's build goes on."""
        self.rows.in_flight.add(row)
        self.looks.follow(row, self._targets[row].owner, self.triggered)
        for scope in self._scopes_of(row) if self._has_scopes else ():
            scope.count += 1

    def freeze(self, scope: str, seconds: float, cause: str) -> None:
        """The scope is left alone for so long."""
        self._budget.freeze(scope, seconds, cause)

    def waits_of(self, row: int) -> Iterator[tuple[Limit, float]]:
        """The limits that have no room for the row at the beginning, and seconds until they have."""
        for name in self._names:
            delay, _ = self._budget.wait((name,), self.repo_of(row), 0.0)
            if 0.0 < delay < math.inf and name in self._budget.limits:
                yield self._budget.limits[name], delay

    # -- triggers -----------------------------------------------------------------------------------------------

    def start_rows(self, now: float) -> list[int]:
        """The rows whose triggers leave now; `wake_at` tells when to ask again."""
        rows, taken = self.rows, list[int]()
        self.wake_at = math.inf
        if now < self._closed_until:
            self.wake_at = self._closed_until
            return taken
        rows.wake(now)
        while rows.ready:
            delay, rule = self._account_wait(now)
            if delay:
                self.course.binds(now, rule)
                if delay < math.inf:
                    self._closed_until = self.wake_at = now + delay
                return taken
            row = heappop(rows.ready)
            if self._try(row, now):
                taken.append(row)
        self._bind_waiting(now)
        return taken

    def _account_wait(self, now: float) -> tuple[float, str]:
        """Seconds until the account may trigger again, and what it waits for; infinity: until something ends."""
        if not self._free:
            return math.inf, f"connections {self._account.connections}"
        wall = self._start + now
        if self._account.brake.quiet and wall >= self._loud_until:
            until, quiet = quiet_until(self._account.brake.quiet, wall)
            if quiet is not None:
                return until - wall, f"quiet hours {quiet}"
            self._loud_until = (wall // 60.0 + 1.0) * 60.0  # quiet hours begin at whole minutes
        if self._most is not None and len(self.rows.in_flight) >= self._most:
            return math.inf, f"in_flight {self._most}"
        return self._budget.wait_account(self._names, now)

    def _try(self, row: int, now: float) -> bool:
        """Whether the row, just taken out, is triggered; else it is put where it waits."""
        repo = self.repo_of(row)
        if repo in self.rows.busy:
            self.rows.block(row)
            self._causes[repo] = SERIAL
            return False
        scopes = self._scopes_of(row) if self._has_scopes else ()
        for scope in scopes:
            if scope.count >= scope.most:
                self.rows.hold(row, scope.name)
                self.rows.pass_over(row)
                return False
        is_taken = self._fits(row, repo, now)
        if is_taken:
            self._take(row, repo, scopes)
        for scope in scopes:
            if scope.count < scope.most:
                self.rows.give_turn(scope.name)
        return is_taken

    def _fits(self, row: int, repo: str, now: float) -> bool:
        """Whether the limits of the row's repository and owner have room; else the row waits for them."""
        delay, why = self._budget.wait_repo(self._names, repo, now)
        if delay:
            self.rows.block(row, now + (self._latency if delay == math.inf else delay))
            rule = self._causes[repo] = why.rpartition(": ")[2]
            self.course.places.setdefault(rule, {})[repo] = None
        return not delay

    def _take(self, row: int, repo: str, scopes: Sequence[Scope]) -> None:
        for scope in scopes:
            scope.count += 1
        self.rows.occupy(row)
        self._permits[row] = self._budget.take(self._names, repo)
        self._free -= 1
        self.triggered += 1

    def _bind_waiting(self, now: float) -> None:
        """No row is ready: tells the course what those wait for that are there."""
        rows = self.rows
        while rows.wakes and rows.wakes[0][1] not in rows.blocked:
            heappop(rows.wakes)
        if rows.wakes:
            self.wake_at, repo = rows.wakes[0]
            self.course.binds(now, self._causes.get(repo, ""))
        elif rows.blocked:
            name = next(iter(rows.blocked))
            if name in self._scopes:
                self.course.binds(now, name)
            elif self._causes.get(name) != SERIAL:
                self.course.binds(now, self._causes.get(name, ""))
        else:
            self.course.binds(now, NEEDS if self.unreleased else "")

    def answered(self, row: int, now: float) -> None:
        """The row's trigger is answered: its build is followed from now on."""
        self._permits.pop(row).answered(now)
        self._free += 1
        self.looks.changed(now)
        self.looks.follow(row, self._targets[row].owner, self.triggered)
        self.rows.free(row)

    def ended(self, row: int, now: float) -> None:
        """A look showed the end of the row's build."""
        self.looks.ended(row, self._targets[row].owner, self.triggered)
        self.looks.changed(now)
        self.rows.in_flight.discard(row)
        for scope in self._scopes_of(row) if self._has_scopes else ():
            scope.count -= 1
            self.rows.give_turn(scope.name)

    def _scopes_of(self, row: int) -> tuple[Scope, ...]:
        target, brake = self._targets[row], self._account.brake
        owner = self._name(target.owner)
        found = self._known.get((owner, target.labels))
        if found is None:
            scopes = [self._scope(str(cap), cap.most) for cap in brake.caps_of(owner, target.labels)]
            if brake.queue is not None:  # other people's builds are not known: the places that are certainly ours
                scopes.append(self._scope(f"{brake.queue} of {owner}", Loop.of(brake.queue).places))
            found = self._known[owner, target.labels] = tuple(scopes)
        return found

    def _scope(self, name: str, most: int) -> Scope:
        return self._scopes.setdefault(name, Scope(name, most))
