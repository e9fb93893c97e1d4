"""A whole run in virtual time: a heap of what happens next, nothing else. Linear in the number of targets."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import count

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Plan
from orchestrator.core.next_step import NARROWEST
from orchestrator.forecast.account_queue import Lane
from orchestrator.forecast.durations import Times, seen_at
from orchestrator.forecast.durations_dealt import Deal
from orchestrator.providers.port import Declaration

ANSWERED, LOOK, ENDED, WAKE = range(4)  # in this order where they fall together
NEVER = -1.0
PHASES = 10  # of a tick, for which the same answer holds


class Past(Struct, frozen=True):
    """What has happened to a target before a simulation begins; times are seconds from its beginning, so negative.

    Args:
        asked: when its trigger left; None where it never did.
        is_over: whether nothing more is to come of it.
        is_met: whether it passed.
        started: when its build started; None where it has not.
        is_refused: whether the provider refused its trigger.
    """

    asked: float | None
    is_over: bool
    is_met: bool
    started: float | None = None
    is_refused: bool = False


class Simulation:
    """One run of a plan.

    Args:
        start: the wall clock at the run's start.
        past: by row, what has happened before; who is not there waits.

    Attributes:
        asked: by row, when its trigger leaves; negative where it never does.
        ended: by row, when the end of its build is seen.
        steps: how many events there were.
    """

    def __init__(
        self,
        plan: Plan,
        declarations: Mapping[str, Declaration],
        in_flight: int | None,
        start: float,
        times: Times,
        past: Mapping[int, Past] | None = None,
    ) -> None:
        self._targets = plan.targets
        self._latency = times.latency
        self._deal = Deal(times)
        self.lanes = {
            name: Lane(account, declarations[account.type], plan.targets, start, in_flight, times.latency)
            for name, account in plan.accounts.items()
        }
        self._lanes = tuple(self.lanes.values())
        for number, lane in enumerate(self._lanes):
            lane.number = number
        self._events: list[tuple[float, int, int, int]] = []
        self._order = count()
        self._seen: dict[tuple[int, float, float], float] = {}
        self.asked = array("d", [NEVER]) * len(plan.targets)
        self.ended = array("d", [NEVER]) * len(plan.targets)
        self.steps = 0
        self._dependents: dict[str, list[int]] = {}
        self._unmet: dict[int, int] = {}
        self._past = past or {}
        self._take_up()
        self._place()

    def _take_up(self) -> None:
        """What has happened before: calls count under their limits, builds go on."""
        asked = [(one.asked, row) for row, one in self._past.items() if one.asked is not None]
        for at, row in sorted(asked):
            lane, one = self.lanes[self._targets[row].account], self._past[row]
            lane.remember(row, at + self._latency, refused=one.is_refused)
            if not one.is_over:
                lane.take_up(row)
                ran = 0.0 if one.started is None else -one.started
                queued, runs = self._deal.build(self._targets[row].account, lane.repo_of(row), ran)
                start = max(0.0, at + queued) if one.started is None else one.started
                heappush(self._events, (max(NARROWEST, start + runs), ENDED, lane.number, row))

    def is_waiting(self, row: int) -> bool:
        """Whether the row was to be triggered when the simulation began."""
        return row not in self._past and self._targets[row].skip is None

    def _place(self) -> None:
        met = {self._targets[row].id for row, one in self._past.items() if one.is_met}
        known = {target.id for target in self._targets} - met
        for row, target in enumerate(self._targets):
            if not self.is_waiting(row):
                continue
            lane = self.lanes[target.account]
            unmet = {need for need in target.needs if need in known}
            if not unmet:
                lane.rows.make_ready(row)
                continue
            self._unmet[row] = len(unmet)
            lane.unreleased += 1
            for need in unmet:
                self._dependents.setdefault(need, []).append(row)

    def run(self, until: int | None = None) -> None:
        """To the end, or until the trigger of a row has left."""
        for lane in self._lanes:
            self._start(lane, 0.0)
        while self._events and (until is None or self.asked[until] < 0.0):
            now, what, number, row = heappop(self._events)
            lane = self._lanes[number]
            self.steps += 1
            if what == ANSWERED:
                self._answered(lane, row, now)
            elif what == ENDED:
                self._has_ended(lane, row, now)
            elif what == LOOK:
                self._look(lane, now)
                continue
            elif now < lane.wake_at:
                continue
            self._start(lane, now)

    def _start(self, lane: Lane, now: float) -> None:
        before = lane.wake_at
        for row in lane.start_rows(now):
            self.asked[row] = now
            heappush(self._events, (now + self._latency, ANSWERED, lane.number, row))
        if lane.wake_at < math.inf and lane.wake_at != before:
            heappush(self._events, (lane.wake_at, WAKE, lane.number, 0))

    def _answered(self, lane: Lane, row: int, now: float) -> None:
        lane.answered(row, now)
        account, repo = self._targets[row].account, lane.repo_of(row)
        heappush(self._events, (self._seen_at(now, *self._deal.build(account, repo)), ENDED, lane.number, row))
        if not lane.ticking:
            lane.ticking = True
            heappush(self._events, (lane.looks.next_at(now), LOOK, lane.number, 0))

    def _seen_at(self, now: float, queued: float, runs: float) -> float:
        """When a build's end is seen; the same for requests of about the same part of a tick."""
        tenth = int(now / 5.0 * PHASES)
        key = (tenth % PHASES, queued, runs)
        base = (tenth - key[0]) / PHASES * 5.0
        found = self._seen.get(key)
        if found is None:
            asked = (key[0] + 0.5) / PHASES * 5.0
            found = self._seen[key] = seen_at(asked, asked + queued, asked + queued + runs)
        return base + found

    def _has_ended(self, lane: Lane, row: int, now: float) -> None:
        lane.ended(row, now)
        self.ended[row] = now
        for dependent in self._dependents.pop(self._targets[row].id, ()):
            self._unmet[dependent] -= 1
            if not self._unmet[dependent]:
                other = self.lanes[self._targets[dependent].account]
                other.unreleased -= 1
                other.rows.make_ready(dependent)
                if other is not lane:
                    self._start(other, now)

    def _look(self, lane: Lane, now: float) -> None:
        if not lane.looks.any:
            lane.ticking = False
            return
        delay = lane.looks.round(now)
        heappush(self._events, (now + delay if delay else lane.looks.next_at(now), LOOK, lane.number, 0))
