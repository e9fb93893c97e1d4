"""A whole run in virtual time: a heap of what happens next, and for each account the admission that the engine asks.

Only the calls are missing. Linear in the number of targets.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import count

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Account, Plan
from orchestrator.core.next_step import NARROWEST
from orchestrator.core.options import Options
from orchestrator.forecast.binding import Binding
from orchestrator.forecast.durations import DealtDurations, Times, seen_at
from orchestrator.forecast.polling import Polls
from orchestrator.limits.admission import SERIAL, Admission, Candidate, Terms, Wait
from orchestrator.limits.budget import Budget, Permit
from orchestrator.providers.port import Declaration

ANSWERED, POLL, ENDED, WAKE = range(4)  # in this order where they fall together
NEVER = -1.0
NEEDS = "needs"  # stands for a rule, where targets wait for those that they need
PHASES = 10  # parts of the shortest interval between polls; requests of the same part are seen to end alike


class Past(Struct, frozen=True, omit_defaults=True):
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


class AccountQueue:
    """The targets of one account in a simulated run.

    Args:
        number: its place among the accounts.
        start: the wall clock at the run's start; quiet hours go by it.
        options: what was chosen for the run.

    Attributes:
        wake_at: when the next row can be triggered by time alone; infinity where only an event can change anything.
        triggered: how many triggers left.
        polls: the calls that follow them.
        binding: which rule made the next trigger wait, and when.
        unreleased: rows that wait for what they need.
        is_polling: whether a round of polls is to come.
    """

    def __init__(
        self, number: int, plan: Plan, account: Account, declaration: Declaration, start: float, options: Options
    ) -> None:
        self.number = number
        self.budget = Budget(account.limits, declaration.accepted_limits, folds=declaration.fold_case)
        terms = Terms(account, self.budget, declaration.trigger_limits, lambda now: start + now, options)
        self.admission = Admission(plan.targets, terms, self._held)
        self.polls = Polls(account, declaration, self.budget)
        self.binding = Binding()
        self._targets = plan.targets
        self._permits: dict[int, Permit] = {}
        self._closed_until = -math.inf
        self.is_polling = False
        self.unreleased = 0
        self.wake_at = math.inf
        self.triggered = 0

    def _held(self, wait: Wait) -> None:
        if wait.place and wait.rule != SERIAL:
            self.binding.places.setdefault(wait.rule, {})[wait.place] = None

    def remember(self, row: int, at: float, *, refused: bool) -> None:
        """The row's trigger was answered then; oldest first."""
        budget, repo = self.budget, self.admission.repo_of(row)
        for name in self.admission.costs:
            if name in budget.limits and not (refused and name in budget.accepted):
                budget.remember(name, budget.scope_of(budget.limits[name], repo), at)
        self.admission.remember(row, at)

    def take_up(self, row: int) -> None:
        """The row's build goes on."""
        self.admission.accepted(row)
        self.polls.follow(row, self._targets[row].owner, self.triggered)

    def start_rows(self, now: float) -> list[int]:
        """The rows whose triggers leave now; `wake_at` tells when to ask again."""
        taken: list[int] = []
        if now < self._closed_until:
            self.wake_at = self._closed_until
            return taken
        while isinstance(found := self.admission.take(now), Candidate):
            self._permits[found.row] = self.budget.take(found.costs, found.repo)
            self.triggered += 1
            taken.append(found.row)
        self.wake_at = found.until
        if found.rule and not found.place and found.until < math.inf:
            self._closed_until = found.until
        if found.rule != SERIAL:  # that is over in a moment, so nothing that a person waits for
            self.binding.binds(now, found.rule or (NEEDS if self.unreleased else ""))
        return taken

    def answered(self, row: int, now: float) -> None:
        """The row's trigger is answered: its build is followed from now on."""
        self._permits.pop(row).answered(now)
        self.admission.traffic.under_way -= 1
        self.polls.changed(now)
        self.polls.follow(row, self._targets[row].owner, self.triggered)
        self.admission.accepted(row)

    def ended(self, row: int, now: float) -> None:
        """A poll showed the end of the row's build."""
        self.polls.ended(row, self._targets[row].owner, self.triggered)
        self.polls.changed(now)
        self.admission.over(row)


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
        options: Options,
        start: float,
        times: Times,
        past: Mapping[int, Past] | None = None,
    ) -> None:
        self._targets = plan.targets
        self._latency = times.latency
        self._durations = DealtDurations(times)
        self.queues = {
            name: AccountQueue(number, plan, account, declarations[account.type], start, options)
            for number, (name, account) in enumerate(plan.accounts.items())
        }
        self._queues = tuple(self.queues.values())
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
            queue, one = self.queues[self._targets[row].account], self._past[row]
            queue.remember(row, at + self._latency, refused=one.is_refused)
            if not one.is_over:
                queue.take_up(row)
                ran = 0.0 if one.started is None else -one.started
                repo = queue.admission.repo_of(row)
                queued, runs = self._durations.build(self._targets[row].account, repo, ran)
                start = max(0.0, at + queued) if one.started is None else one.started
                heappush(self._events, (max(NARROWEST, start + runs), ENDED, queue.number, row))

    def is_waiting(self, row: int) -> bool:
        """Whether the row was to be triggered when the simulation began."""
        return row not in self._past and self._targets[row].skip is None

    def _place(self) -> None:
        met = {self._targets[row].id for row, one in self._past.items() if one.is_met}
        known = {target.id for target in self._targets} - met
        for row, target in enumerate(self._targets):
            if not self.is_waiting(row):
                continue
            queue = self.queues[target.account]
            unmet = {need for need in target.needs if need in known}
            if not unmet:
                queue.admission.enqueue(row)
                continue
            self._unmet[row] = len(unmet)
            queue.unreleased += 1
            for need in unmet:
                self._dependents.setdefault(need, []).append(row)

    def run(self, until: int | None = None) -> None:
        """To the end, or until the trigger of a row has left."""
        for queue in self._queues:
            self._start(queue, 0.0)
        while self._events and (until is None or self.asked[until] < 0.0):
            now, what, number, row = heappop(self._events)
            queue = self._queues[number]
            self.steps += 1
            if what == ANSWERED:
                self._answered(queue, row, now)
            elif what == ENDED:
                self._has_ended(queue, row, now)
            elif what == POLL:
                self._poll(queue, now)
                continue
            elif now < queue.wake_at:
                continue
            self._start(queue, now)

    def _start(self, queue: AccountQueue, now: float) -> None:
        before = queue.wake_at
        for row in queue.start_rows(now):
            self.asked[row] = now
            heappush(self._events, (now + self._latency, ANSWERED, queue.number, row))
        if queue.wake_at < math.inf and queue.wake_at != before:
            heappush(self._events, (queue.wake_at, WAKE, queue.number, 0))

    def _answered(self, queue: AccountQueue, row: int, now: float) -> None:
        queue.answered(row, now)
        account, repo = self._targets[row].account, queue.admission.repo_of(row)
        seen = self._seen_at(now, *self._durations.build(account, repo))
        heappush(self._events, (seen, ENDED, queue.number, row))
        if not queue.is_polling:
            queue.is_polling = True
            heappush(self._events, (queue.polls.next_at(now), POLL, queue.number, 0))

    def _seen_at(self, now: float, queued: float, runs: float) -> float:
        """When a build's end is seen; the same for requests of about the same part of an interval between polls."""
        part = int(now / NARROWEST * PHASES)
        key = (part % PHASES, queued, runs)
        base = (part - key[0]) / PHASES * NARROWEST
        found = self._seen.get(key)
        if found is None:
            asked = (key[0] + 0.5) / PHASES * NARROWEST
            found = self._seen[key] = seen_at(asked, asked + queued, asked + queued + runs)
        return base + found

    def _has_ended(self, queue: AccountQueue, row: int, now: float) -> None:
        queue.ended(row, now)
        self.ended[row] = now
        for dependent in self._dependents.pop(self._targets[row].id, ()):
            self._unmet[dependent] -= 1
            if not self._unmet[dependent]:
                other = self.queues[self._targets[dependent].account]
                other.unreleased -= 1
                other.admission.enqueue(dependent)
                if other is not queue:
                    self._start(other, now)

    def _poll(self, queue: AccountQueue, now: float) -> None:
        if not queue.polls.any:
            queue.is_polling = False
            return
        delay = queue.polls.round(now)
        heappush(self._events, (now + delay if delay else queue.polls.next_at(now), POLL, queue.number, 0))
