"""A whole run in virtual time: a heap of what happens next, and for each account the admission that the engine asks.

Only the calls are missing. Linear in the number of targets.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome, Plan
from orchestrator.core.next_step import NARROWEST
from orchestrator.core.options import Options
from orchestrator.forecast.at_once import Slots
from orchestrator.forecast.decisions import Decisions, Standing
from orchestrator.forecast.durations import DealtDurations, Times, seen_at
from orchestrator.forecast.fates import Fates
from orchestrator.forecast.queue import AccountQueue
from orchestrator.forecast.result import WaveForecast
from orchestrator.providers.port import Declaration

ANSWERED, POLL, ENDED, OPENED, WAKE = range(5)  # in this order where they fall together
NEVER = -1.0
SLICE = 1_000_000  # steps in one go
PHASES = 10  # parts of the shortest interval between polls; requests of the same part are seen to end alike
NOT_BEGUN = Standing()


class Past(Struct, frozen=True, omit_defaults=True):
    """What has happened to a target before a simulation begins; times are seconds from its beginning, so negative.

    Args:
        asked: when its trigger left; None where it never did.
        is_over: whether nothing more is to come of it.
        started: when its build started; None where it has not.
        is_refused: whether the provider refused its trigger.
    """

    asked: float | None
    is_over: bool
    started: float | None = None
    is_refused: bool = False


class Simulation:
    """One run of a plan.

    Args:
        start: the wall clock at the run's start; quiet hours go by it.
        past: by row, what has happened before; a row that is not there waits.
        standing: the same, as waves, needs and rules see it.
        deal: in which order lengths are dealt to builds; another one is another such run.

    Attributes:
        asked: by row, when its trigger leaves; negative where it never does.
        ended: by row, when the end of its build is seen.
        decisions: what follows from outcomes.
        reruns: by row, how often its build is started again.
        steps: how many events there were.
        released: rows that may be triggered from the beginning.
    """

    def __init__(
        self,
        plan: Plan,
        declarations: Mapping[str, Declaration],
        options: Options,
        start: float,
        times: Times,
        past: Mapping[int, Past] | None = None,
        standing: Standing = NOT_BEGUN,
        deal: int = 0,
    ) -> None:
        self._targets = plan.targets
        self._begins = start
        self._latency = times.latency
        self.decisions = Decisions(plan, options, standing)
        self._fates = Fates(times, self.decisions.needed)
        self._durations = DealtDurations(times, deal)
        self._slots = Slots(times.at_once)
        self.queues = {
            name: AccountQueue(number, plan, account, declarations[account.type], start, options)
            for number, (name, account) in enumerate(plan.accounts.items())
        }
        self._queues = tuple(self.queues.values())
        self._events: list[tuple[float, int, int, int]] = []
        self._seen: dict[tuple[int, float, float], float] = {}
        self.asked = array("d", [NEVER]) * len(plan.targets)
        self.ended = array("d", [NEVER]) * len(plan.targets)
        self.reruns: Counter[int] = Counter()
        self.steps = 0
        self._opens_at = NEVER  # when the next wave is opened by time alone (wall clock)
        self._past = past or {}
        self._take_up()
        self.released = self.decisions.begin(start)
        self._release(self.released, 0.0)

    def _take_up(self) -> None:
        """What has happened before: calls count under their limits, builds go on."""
        asked = [(one.asked, row) for row, one in self._past.items() if one.asked is not None]
        for at, row in sorted(asked):
            queue, one = self.queues[self._targets[row].account], self._past[row]
            queue.remember(row, at + self._latency, refused=one.is_refused)
            if not one.is_over:
                queue.take_up(row)
                ran = 0.0 if one.started is None else -one.started
                queued, runs = self._durations.build(self._targets[row].account, queue.admission.repo_of(row), ran)
                ready = max(0.0, at + queued) if one.started is None else one.started
                start = self._slots.start(self._targets[row].account, queue.admission.owner_of(row), ready, runs)
                seen = self._seen_at(at + self._latency, start - at - self._latency, runs)
                heappush(self._events, (max(self._latency, seen), ENDED, queue.number, row))

    def is_waiting(self, row: int) -> bool:
        """Whether the row was to be triggered when the simulation began."""
        return row not in self._past and self._targets[row].skip is None

    def run(self, until: int | None = None) -> None:
        """To the end, or until the trigger of a row has left."""
        self.begin()
        while self.advance(SLICE, until):
            pass

    def begin(self) -> None:
        """What leaves at once; `advance` does the rest."""
        self._start_all(0.0)

    def advance(self, steps: int, until: int | None = None) -> bool:
        """So many steps more; whether there are others, before the trigger of a row has left."""
        end = self.steps + steps
        while self._events and (until is None or self.asked[until] < 0.0):
            if self.steps >= end:
                return True
            now, what, number, row = heappop(self._events)
            queue = self._queues[number]
            self.steps += 1
            if what == ANSWERED:
                self._answered(queue, row, now)
            elif what == ENDED:
                self._has_ended(queue, row, now)
                if self._events and self._events[0][:2] == (now, ENDED):
                    continue  # one poll shows them all: what they release is weighed together
                self._start_all(now)
                continue
            elif what == OPENED:
                self._release(self.decisions.next_wave(self._begins + now), now)
                self._start_all(now)
                continue
            elif what == POLL:
                delay = queue.polls.round(now)
                self._poll(queue, now + delay if delay else queue.polls.next_at(now))
                continue
            elif now < queue.wake_at:
                continue
            self._start(queue, now)
        return False

    @property
    def last_trigger(self) -> float:
        """When the last trigger leaves; what comes before it (needs, their builds) is in it."""
        return max(0.0, max(self.asked, default=0.0))

    @property
    def last_build(self) -> float:
        """When the end of the last build is seen."""
        return max(0.0, max(self.ended, default=0.0))

    @property
    def kept(self) -> Mapping[str, float]:
        """What a run keeps of its forecast, for its report to compare with what happened."""
        return {
            "last_trigger_seconds": round(self.last_trigger, 3),
            "last_build_seconds": round(self.last_build, 3),
            "triggers": sum(queue.triggered for queue in self._queues),
            "looks": sum(queue.polls.made for queue in self._queues),
        }

    @property
    def waves(self) -> Mapping[int, WaveForecast]:
        """By number, the waves that were opened and judged."""
        if not self.decisions.has_rollout:  # then it is one, which nobody judges
            return {1: WaveForecast(0.0, self.last_build)}
        return {
            number: WaveForecast(one.opened_at - self._begins, one.judged_at - self._begins)
            for number, one in self.decisions.course.waves.items()
            if one.judged_at is not None
        }

    def _release(self, rows: Iterable[int], now: float) -> None:
        """These rows may be triggered, each in its turn; the next wave is opened when its soak is over."""
        for row in rows:
            self.queues[self._targets[row].account].admission.enqueue(row)
        wall = self._begins + now
        if (at := self.decisions.opens_at(wall)) is not None and at != self._opens_at:
            self._opens_at = at
            heappush(self._events, (at - self._begins, OPENED, 0, 0))

    def _start_all(self, now: float) -> None:
        for queue in self._queues:
            self._start(queue, now)

    def _start(self, queue: AccountQueue, now: float) -> None:
        if self.decisions.is_closed:
            return
        before = queue.wake_at
        for row in queue.start_rows(now, self.decisions.waits_for):
            if row not in queue.again:
                self.asked[row] = now
                self.decisions.was_sent(row, self._begins + now)
            heappush(self._events, (now + self._latency, ANSWERED, queue.number, row))
        if queue.wake_at < math.inf and queue.wake_at != before:
            heappush(self._events, (queue.wake_at, WAKE, queue.number, 0))

    def _answered(self, queue: AccountQueue, row: int, now: float) -> None:
        queue.answered(row, now)
        account, admission = self._targets[row].account, queue.admission
        queued, runs = self._durations.build(account, admission.repo_of(row))
        start = self._slots.start(account, admission.owner_of(row), now + queued, runs)
        heappush(self._events, (self._seen_at(now, start - now, runs), ENDED, queue.number, row))
        if not queue.is_polling:
            self._poll(queue, queue.polls.next_at(now))

    def _poll(self, queue: AccountQueue, at: float) -> None:
        queue.is_polling = at < math.inf
        if queue.is_polling:
            heappush(self._events, (at, POLL, queue.number, 0))

    def _seen_at(self, now: float, queued: float, runs: float) -> float:
        """When a build's end is seen; the same for requests of about the same part of an interval between polls."""
        part = int(now / NARROWEST * PHASES)
        key = (part % PHASES, queued, runs)
        base = (part - key[0]) / PHASES * NARROWEST
        found = self._seen.get(key)
        if found is None:
            asked = (key[0] + 0.5) / PHASES * NARROWEST
            found = self._seen[key] = seen_at(asked, asked + queued, asked + queued + runs, self._latency)
        return base + found

    def _has_ended(self, queue: AccountQueue, row: int, now: float) -> None:
        decisions, repo = self.decisions, queue.admission.repo_of(row)
        failures = self.reruns[row] if decisions.minds_failures else 0
        is_bad = decisions.minds_failures and self._fates.fails(row, self._targets[row].account, repo, failures)
        if is_bad and queue.restarts and decisions.starts_again(row, failures):
            self.reruns[row] += 1
            queue.start_again(row, now)
            return
        queue.ended(row, now)
        self._settle(row, now, is_bad=is_bad)

    def _settle(self, row: int, now: float, *, is_bad: bool) -> None:
        self.ended[row] = now
        if not self.decisions.are_asked:
            return
        outcome = Outcome.FAILED if is_bad else Outcome.PASSED
        self._release(self.decisions.settled(row, outcome, self._begins + self.asked[row], self._begins + now), now)
        for queue in self._queues if self.decisions.is_closed else ():
            while queue.again:  # they are started no more: they have the outcome that they had
                self._settle(queue.again.pop(), now, is_bad=True)
