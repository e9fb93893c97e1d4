"""Which target of an account may be triggered now; else until when none may, and because of which rule.

One object owns the order of the targets that wait, the serial order within a repository, and the account's rules
(`limits.rules`). It decides and never waits: time is passed in, so the engine awaits on it, the forecast advances a
virtual clock on it, and `why` and the reports ask it at the instant at which the journal ends.

A row is the number of a target in the plan. Where it stands:

    ready      its turn comes in the order of the plan; before others comes what the longest chain of targets needs
    blocked    under the name of what it waits for: its repository, or the rule that holds it; it costs nothing there
    in flight  its build is queued or running, or may be
    busy       in flight, and its trigger is not answered: its repository has no other one under way
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Target
from orchestrator.core.rollout import turns
from orchestrator.limits.concurrency import BuildRoom, QueueRoom
from orchestrator.limits.rules import (
    NOTHING,
    Calls,
    InFlight,
    QuietHours,
    RateLimits,
    Rule,
    Terms,
    Traffic,
    Wait,
    rules_of,
)

__all__ = ["SERIAL", "Admission", "Candidate", "Terms", "Wait"]

SERIAL = "one trigger at a time of a repository"


RULES: Sequence[Callable[[Terms, Admission], Rule | None]] = [
    Calls,
    QuietHours.of,
    InFlight.of,
    BuildRoom.of,
    RateLimits.of,
]
"""All rules, in the order in which they are asked; one that is not in force for an account is None."""


class Candidate(Struct, frozen=True):
    """A row that may be triggered now; from now on it is busy, and `costs` are to be reserved for it.

    Args:
        repo: its repository, as limits count it.
        costs: the names of the limits that its trigger counts against.
    """

    row: int
    repo: str
    costs: tuple[str, ...]


class Admission:
    """The targets of one account, and what lets them go.

    Args:
        targets: all of the plan, by row.
        held: called with each wait that a single target is put into.
    """

    def __init__(self, targets: Sequence[Target], terms: Terms, held: Callable[[Wait], None] | None = None) -> None:
        self.budget = terms.budget
        self.costs = terms.costs
        self.traffic = Traffic()
        self.in_flight: set[int] = set()
        self.closed_owners: set[str] = set()
        self._targets = targets
        self._held = held
        self._rows = turns(targets)  # by turn; what is ready or blocked stands under its turn
        self._turns: Sequence[int] = self._rows if isinstance(self._rows, range) else _inverse(self._rows)
        self._ready: list[int] = []
        self._blocked: dict[str, list[int]] = {}
        self._causes: dict[str, Wait] = {}
        self._busy: dict[str, int] = {}
        self._wakes: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}  # by owner whose rows wait in one line: when the next has its turn
        self._repos: list[str | None] = [None] * len(targets)
        self.rules = rules_of(RULES, terms, self)
        self._account_rules = self._hooks("account")
        self._target_rules = self._hooks("target")
        self._taken, self._moved = self._hooks("taken"), self._hooks("moved")
        self._entered, self._left = self._hooks("entered"), self._hooks("left")
        self._quiet = next((rule for rule in self.rules if isinstance(rule, QuietHours)), None)
        self._builds = next((rule for rule in self.rules if isinstance(rule, BuildRoom)), None)

    def _hooks(self, name: str) -> tuple[Callable[..., Any], ...]:
        """The methods of that name of the rules that have one of their own."""
        return tuple(getattr(rule, name) for rule in self.rules if getattr(type(rule), name) is not getattr(Rule, name))

    # -- what rows are ------------------------------------------------------------------------------------------

    def repo_of(self, row: int) -> str:
        """The row's repository, as limits count it."""
        repo = self._repos[row]
        if repo is None:
            repo = self._repos[row] = self.budget.name(self._targets[row].repo)
        return repo

    def owner_of(self, row: int) -> str:
        """The row's owner, as limits count it."""
        return self.repo_of(row).partition("/")[0]

    def labels_of(self, row: int) -> tuple[str, ...]:
        """The row's labels."""
        return self._targets[row].labels

    # -- the decision -------------------------------------------------------------------------------------------

    def take(self, now: float) -> Candidate | Wait:
        """The next row that may be triggered now, which is busy from now on; else what the next one waits for."""
        while self._wakes and self._wakes[0][0] <= now:
            self.give_turn(self._woken())
        ready = self._ready
        if not ready:
            return self._next()
        for account_wait in self._account_rules:
            if (wait := account_wait(now)) is not None:
                return wait  # type: ignore[no-any-return]  # hooks are typed at `Rule`
        while ready:
            row = self._rows[heappop(ready)]
            is_taken = self._try(row, now)
            for moved in self._moved:
                moved(row, now)
            if is_taken:
                return Candidate(row, self.repo_of(row), self.costs)
        return self._next()

    def _try(self, row: int, now: float) -> bool:
        """Whether the row may be triggered, as it is its turn; else it is put where it waits."""
        repo = self.repo_of(row)
        if row in self.in_flight or self.is_closed(row):
            self.give_turn(repo)
            return False
        if repo in self._busy:
            self._block(row, Wait(math.inf, SERIAL, repo, is_limit=False))
            return False
        for target_wait in self._target_rules:
            if (wait := target_wait(row, now)) is not None:
                self._block(row, wait)
                return False
        self.doubted(row)
        self.traffic.under_way += 1
        for taken in self._taken:
            taken(row, now)
        return True

    def _block(self, row: int, wait: Wait) -> None:
        key = wait.place or wait.rule
        heappush(self._blocked.setdefault(key, []), self._turns[row])
        self._causes[key] = wait
        if not wait.place:
            self.give_turn(self.repo_of(row))  # the next one of its repository may fall under other rules
        elif wait.until < self._due.get(key, math.inf):
            heappush(self._wakes, (wait.until, key))
            if wait.place != self.repo_of(row):
                self._due[key] = wait.until
        if self._held is not None:
            self._held(wait)

    def _next(self) -> Wait:
        """What those that wait for something wait for, as no row is ready."""
        while self._wakes and self._wakes[0][1] not in self._blocked:
            self._woken()
        if self._wakes:
            until, key = self._wakes[0]
        elif self._blocked:
            until, key = math.inf, next(iter(self._blocked))
        else:
            return NOTHING
        cause = self._causes[key]
        return cause if cause.until == until else Wait(until, cause.rule, cause.place, cause.detail)

    def _woken(self) -> str:
        """The repository, owner or rule whose turn is next by time."""
        key = heappop(self._wakes)[1]
        self._due.pop(key, None)
        return key

    def quiet(self, now: float) -> Wait | None:
        """The quiet hours in which we are; to be asked again where much time went by since `take`."""
        return None if self._quiet is None else self._quiet.account(now)

    def reasons(self, row: int, now: float) -> Iterator[Wait]:
        """Everything that holds a waiting row back now; changes nothing."""
        if self.repo_of(row) in self._busy:
            yield Wait(math.inf, SERIAL, self.repo_of(row))
        for rule in self.rules:
            yield from rule.explain(row, now)

    # -- what happens to rows -----------------------------------------------------------------------------------

    def remember(self, row: int, at: float) -> None:
        """The row's trigger left then, before this admission was made."""
        for taken in self._taken:
            taken(row, at)

    def enqueue(self, row: int) -> None:
        """The row may be triggered, in its turn."""
        heappush(self._ready, self._turns[row])

    def withdraw(self, rows: Collection[int]) -> None:
        """These rows wait for nothing any more."""
        gone = {self._turns[row] for row in rows}
        self._ready = sorted(turn for turn in self._ready if turn not in gone)
        for rule, waiting in list(self._blocked.items()):
            self._blocked[rule] = sorted(turn for turn in waiting if turn not in gone)
            if not self._blocked[rule]:
                del self._blocked[rule], self._causes[rule]
        for row in rows if self._due else ():  # one of them may have had its owner's turn
            self.give_turn(self.owner_of(row))

    def put_back(self, row: int) -> None:
        """The row's trigger did not leave after all: it waits for its turn again."""
        self.over(row)
        self.enqueue(row)

    def wait_until(self, row: int, wait: Wait) -> None:
        """The row's trigger did not leave after all, and its repository is to be left alone for a while."""
        self.over(row)
        self._block(row, wait)

    def doubted(self, row: int) -> None:
        """A trigger of the row is about to leave, or may have left: its repository has no other one under way."""
        self._busy[self.repo_of(row)] = row
        self._enter(row)

    def accepted(self, row: int) -> None:
        """The row's trigger is answered, its build queued or running: the next of its repository has its turn."""
        self._enter(row)
        self._free(row)

    def over(self, row: int) -> None:
        """Nothing of the row is under way any more."""
        if row in self.in_flight:
            self.in_flight.discard(row)
            for left in self._left:
                left(row)
        self._free(row)

    def _enter(self, row: int) -> None:
        if row not in self.in_flight:
            self.in_flight.add(row)
            for entered in self._entered:
                entered(row)

    def _free(self, row: int) -> None:
        repo = self.repo_of(row)
        if self._busy.get(repo) == row:
            del self._busy[repo]
            self.give_turn(repo)

    def give_turn(self, rule: str) -> None:
        """The first row that waits under the rule, or for that repository, is ready."""
        if rule in self._busy or not (rows := self._blocked.get(rule)):
            return
        heappush(self._ready, heappop(rows))
        if not rows:
            del self._blocked[rule], self._causes[rule]

    def close(self, owner: str) -> None:
        """No target of the owner is triggered any more."""
        self.closed_owners.add(self.budget.name(owner))

    def is_owner_closed(self, owner: str) -> bool:
        """Whether no target of the owner is triggered any more."""
        return self.budget.name(owner) in self.closed_owners

    def is_closed(self, row: int) -> bool:
        """Whether the row is not triggered any more, since its owner was refused."""
        return bool(self.closed_owners) and self.owner_of(row) in self.closed_owners

    def has_waiting(self, rule: str) -> bool:
        """Whether a row waits under the rule."""
        return rule in self._blocked

    @property
    def has_any(self) -> bool:
        """Whether a row waits to be triggered."""
        return bool(self._ready or self._blocked)

    @property
    def ready(self) -> int:
        """How many rows wait for nothing but the whole account."""
        return len(self._ready)

    @property
    def waiting(self) -> int:
        """How many rows wait to be triggered."""
        return len(self._ready) + sum(map(len, self._blocked.values()))

    # -- queues of owners ---------------------------------------------------------------------------------------

    @property
    def next_poll_at(self) -> float:
        """When a queue is to be polled next; infinity where no row waits for that."""
        return math.inf if self._builds is None else self._builds.next_at

    def due_queue(self, now: float) -> QueueRoom | None:
        """Takes out a queue that is to be polled now."""
        return None if self._builds is None else self._builds.due(now)

    def in_queue(self, queue: QueueRoom) -> list[int]:
        """The rows with a build in the queue, those asked for included."""
        return [row for row in self.in_flight if self._builds is not None and queue in self._builds.rooms_of(row)]


def _inverse(rows: Sequence[int]) -> Sequence[int]:
    found = [0] * len(rows)
    for turn, row in enumerate(rows):
        found[row] = turn
    return found
