"""The rows of an account: where each target that is not done waits for its next step. A row is a number, not a task."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Due:
    """Rows by the instant at which they are due. Ticks make many fall together, so that each costs eight bytes."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._rows: dict[float, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._times)

    @property
    def first(self) -> float:
        """The earliest instant; there must be one."""
        return self._times[0]

    def add(self, row: int, at: float) -> None:
        """The row is due then."""
        rows = self._rows.get(at)
        if rows is None:
            rows = self._rows[at] = []
            heappush(self._times, at)
        rows.append(row)

    def take(self, now: float, at_most: int) -> list[int]:
        """Takes out rows that are due, the earliest first."""
        taken: list[int] = []
        while self._times and self._times[0] <= now and len(taken) < at_most:
            rows, room = self._rows[self._times[0]], at_most - len(taken)
            taken += rows[:room]
            del rows[:room]
            if not rows:
                del self._rows[heappop(self._times)]
        return taken


class Rows:
    """Heaps of row numbers by what they wait for.

    Args:
        repo_of: the repository of a row, as its limits and its serial order count it.
    """

    def __init__(self, repo_of: Callable[[int], str]) -> None:
        self._repo_of = repo_of
        self.ready: list[int] = []
        self.blocked: dict[str, list[int]] = {}
        self.busy: dict[str, int] = {}
        self.wakes: list[tuple[float, str]] = []
        self.finds: list[tuple[float, int]] = []
        self.looks = Due()
        self.cancels: list[int] = []
        self.in_flight: set[int] = set()

    def make_ready(self, row: int) -> None:
        """The row may be triggered, in its turn: rows of lower number first."""
        heappush(self.ready, row)

    def block(self, row: int, until: float | None = None) -> None:
        """The row waits for its repository: until the call before is settled, or until that instant."""
        repo = self._repo_of(row)
        heappush(self.blocked.setdefault(repo, []), row)
        if until is not None:
            heappush(self.wakes, (until, repo))

    def hold(self, row: int, rule: str) -> None:
        """The row waits under a rule's name until `give_turn`."""
        heappush(self.blocked.setdefault(rule, []), row)

    def give_turn(self, rule: str) -> None:
        """The first row that waits under the rule has its turn."""
        self._unblock(rule)

    def occupy(self, row: int) -> None:
        """A trigger for the row is about to leave: its repository has no other under way until `free`."""
        self.busy[self._repo_of(row)] = row
        self.in_flight.add(row)

    def free(self, row: int) -> None:
        """The row's trigger is answered or settled: the next row of its repository has its turn."""
        repo = self._repo_of(row)
        if self.busy.get(repo) == row:
            del self.busy[repo]
            self._unblock(repo)

    def pass_over(self, row: int) -> None:
        """The row, just taken out, is not triggered: the next row of its repository has its turn."""
        self._unblock(self._repo_of(row))

    def put_back(self, row: int) -> None:
        """Nothing left for the row after all: it waits for its turn again."""
        self.in_flight.discard(row)
        self.free(row)
        self.make_ready(row)

    def wake(self, now: float) -> None:
        """Gives the repositories whose time has come their turn."""
        while self.wakes and self.wakes[0][0] <= now:
            self._unblock(heappop(self.wakes)[1])

    def due_find(self, now: float) -> int | None:
        """Takes out a row in doubt that is to be looked for now."""
        return heappop(self.finds)[1] if self.finds and self.finds[0][0] <= now else None

    def due_looks(self, now: float, at_most: int) -> list[int]:
        """Takes out the rows whose build is to be looked at now."""
        return self.looks.take(now, at_most)

    @property
    def has_triggers(self) -> bool:
        """Whether a row waits to be triggered."""
        return bool(self.ready or self.blocked)

    def waiting(self) -> int:
        """How many rows wait to be triggered."""
        return len(self.ready) + sum(map(len, self.blocked.values()))

    def next_at(self, with_looks: bool) -> float | None:
        """The earliest instant at which a row becomes due."""
        heaps: tuple[list[tuple[float, Any]], ...] = (self.wakes, self.finds)
        times = [heap[0][0] for heap in heaps if heap]
        if with_looks and self.looks:
            times.append(self.looks.first)
        return min(times, default=None)

    def _unblock(self, repo: str) -> None:
        if repo in self.busy or not (rows := self.blocked.get(repo)):
            return
        heappush(self.ready, heappop(rows))
        if not rows:
            del self.blocked[repo]
