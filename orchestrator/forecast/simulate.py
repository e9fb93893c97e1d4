"""A whole run in virtual time: a heap of what happens next, and for each account the admission that the engine asks.

Only the calls are missing. Linear in the number of targets.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

from orchestrator.core.frozen import Struct
from orchestrator.core.model import ACCOUNT, Account, Limit, Plan
from orchestrator.core.next_step import NARROWEST, next_poll
from orchestrator.core.options import Options
from orchestrator.forecast.durations import DealtDurations, Times, seen_at
from orchestrator.forecast.result import NEEDS, WAVES, Binding, WaveForecast
from orchestrator.limits.admission import SERIAL, Admission, Candidate, Terms, Wait
from orchestrator.limits.budget import Budget, Permit
from orchestrator.providers.port import Declaration

ANSWERED, POLL, ENDED, OPENED, WAKE = range(5)  # in this order where they fall together
NEVER = -1.0
BULK = 32  # polls that are taken in one go; a power of two
BREATH = 1.0  # seconds after which polls that found no room are tried again, at the soonest: some may leave by then
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


class Polls:
    """Builds of an account that are followed, how many calls that takes (`made`), and when."""

    def __init__(self, account: Account, declaration: Declaration, budget: Budget) -> None:
        self._budget = budget
        self._cost = declaration.polling
        self._names = _names(account, declaration)
        self._bulk = _bulk([limit for limit in account.limits if limit.kind in self._names])
        self._owners: dict[str, int] = {}  # builds that are followed; with none there is nothing to poll
        self._crowded = 0  # owners with several of them
        self._place: dict[int, int] = {}  # of what is followed: how many triggers had left
        self._owed = 0.0  # calls, and parts of them
        self._changed = 0.0
        self.made = 0

    def follow(self, row: int, owner: str, triggered: int) -> None:
        """A row's build is to be followed; so many triggers have left."""
        count = self._owners[owner] = self._owners.get(owner, 0) + 1
        self._crowded += count == 2
        self._place[row] = triggered

    def ended(self, row: int, owner: str, triggered: int) -> None:
        """The build of a row has ended; so many triggers have left."""
        if triggered - self._place.pop(row) > self._cost.far:
            self._owed += self._cost.at_end
        count = self._owners[owner] = self._owners[owner] - 1
        self._crowded -= count == 1
        if not count:
            del self._owners[owner]

    def changed(self, now: float) -> None:
        """Something happened: from now on polls are frequent again."""
        self._changed = now

    def next_at(self, now: float) -> float:
        """When the next round is due; infinity while nothing is followed."""
        return next_poll(now, now - self._changed) if self._owners else math.inf

    def round(self, now: float) -> float:
        """A round of polls, as far as the limits have room: the listings, and the ends of builds.

        Returns:
            Seconds until the rest may go; zero when all went.
        """
        many = self._bulk
        self._owed += self._listings if self._owners else 0.0
        while self._owners and self._owed >= 1:
            while many > self._owed:
                many //= 2
            delay, _ = self._budget.wait(self._names * many, None, now, look=True)
            if not delay:
                self._budget.take(self._names * many, None).answered(now)
                self._owed -= many
                self.made += many
            elif many > 1:
                many //= 2
            else:
                return NARROWEST if delay == math.inf else max(delay, BREATH)
        return 0.0

    @property
    def _listings(self) -> float:
        """Calls, about, that show how all that is followed stands."""
        cost, followed = self._cost, len(self._place)
        per_owner = cost.per_owner * self._crowded if followed > cost.page else 0.0
        return cost.per_round + cost.per_build * followed + per_owner


def _bulk(limits: Sequence[Limit]) -> int:
    """How many polls are taken of their limits in one go: a power of two, at most half of what any allows."""
    least = min((limit.calls for limit in limits), default=2 * BULK)
    many = BULK
    while many > 1 and 2 * many > least:
        many //= 2
    return many


def _names(account: Account, declaration: Declaration) -> tuple[str, ...]:
    """The limits that polls share with triggers: all of the account's but the one that is for triggers alone.

    That is the tightest by the provider's own rules, whatever a person wrote.
    """
    whole = [
        limit for limit in declaration.limits if limit.scope == ACCOUNT and limit.kind in declaration.trigger_limits
    ]
    tightest = min(whole, key=lambda limit: limit.calls / limit.per, default=None)
    own = tightest.kind if tightest is not None and len(whole) > 1 else None
    kinds = [limit.kind for limit in account.limits if limit.scope == ACCOUNT and limit.kind != own]
    return tuple(dict.fromkeys(kinds))


class AccountQueue:
    """The targets of one account in a simulated run.

    Attributes:
        wake_at: when the next row can be triggered by time alone; infinity where only an event can change anything.
        triggered: how many triggers left.
        binding: which rule made the next trigger wait, and when.
        unreleased: rows that wait for what they need.
        held: rows of waves that are not open.
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
        self.held = 0
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
        """The row's build goes on, and is followed."""
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
            self.binding.binds(now, found.rule or self._held_by)
        return taken

    @property
    def _held_by(self) -> str:
        """What rows wait for that are in no rule's way."""
        if self.unreleased:
            return NEEDS
        return WAVES if self.held else ""

    def answered(self, row: int, now: float) -> None:
        """The row's trigger is answered: its build is followed from now on."""
        self._permits.pop(row).answered(now)
        self.admission.traffic.under_way -= 1
        self.polls.changed(now)
        self.take_up(row)

    def ended(self, row: int, now: float) -> None:
        """A poll showed the end of the row's build."""
        self.polls.ended(row, self._targets[row].owner, self.triggered)
        self.polls.changed(now)
        self.admission.over(row)


class Simulation:
    """One run of a plan.

    Args:
        start: the wall clock at the run's start; quiet hours go by it.
        past: by row, what has happened before; a row that is not there waits.

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
        self._waves = plan.waves
        self._latency = times.latency
        self._failing = times.failing
        self._owed: dict[str, float] = {}  # by account, builds and parts of them that failed and were not dealt out
        self._reruns: Counter[int] = Counter()  # by row
        self._durations = DealtDurations(times)
        self.queues = {
            name: AccountQueue(number, plan, account, declarations[account.type], start, options)
            for number, (name, account) in enumerate(plan.accounts.items())
        }
        self._queues = tuple(self.queues.values())
        self._events: list[tuple[float, int, int, int]] = []
        self._seen: dict[tuple[int, float, float], float] = {}
        self.asked = array("d", [NEVER]) * len(plan.targets)
        self.ended = array("d", [NEVER]) * len(plan.targets)
        self.steps = 0
        self._dependents: dict[str, list[int]] = {}
        self._unmet: dict[int, int] = {}
        self._past = past or {}
        self._left: Counter[int] = Counter()  # by wave, targets that have not ended
        self._held: dict[int, list[int]] = {}  # by wave, rows that wait for it to be opened
        self._opened: dict[int, float] = {}
        self._judged: dict[int, float] = {}
        self._wave = 0  # the number of the last one that is open
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
                queued, runs = self._durations.build(self._targets[row].account, queue.admission.repo_of(row), ran)
                start = max(0.0, at + queued) if one.started is None else one.started
                heappush(self._events, (max(NARROWEST, start + runs), ENDED, queue.number, row))

    def is_waiting(self, row: int) -> bool:
        """Whether the row was to be triggered when the simulation began."""
        return row not in self._past and self._targets[row].skip is None

    def _place(self) -> None:
        met = {self._targets[row].id for row, one in self._past.items() if one.is_met}
        known = {target.id for target in self._targets} - met
        self._begin_waves()
        for row, target in enumerate(self._targets):
            if not self.is_waiting(row):
                continue
            queue = self.queues[target.account]
            if self._waves and target.wave > self._wave:
                self._held.setdefault(target.wave, []).append(row)
                queue.held += 1
            unmet = {need for need in target.needs if need in known}
            if not unmet:
                self._release(row)
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
                if self._events and self._events[0][:2] == (now, ENDED):
                    continue  # one poll shows them all: what they release is weighed together
                for one in self._queues:
                    self._start(one, now)
                continue
            elif what == OPENED:
                self._open(row, now)
                continue
            elif what == POLL:
                delay = queue.polls.round(now)
                self._poll(queue, now + delay if delay else queue.polls.next_at(now))
                continue
            elif now < queue.wake_at:
                continue
            self._start(queue, now)

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
        return {number: WaveForecast(self._opened.get(number, 0.0), at) for number, at in self._judged.items()}

    def _begin_waves(self) -> None:
        """The first wave that is not done with is open, and so are those of what was asked for."""
        over = {row for row, one in self._past.items() if one.is_over}
        rows = [row for row, target in enumerate(self._targets) if target.skip is None and row not in over]
        self._left.update(self._targets[row].wave for row in rows)
        asked = [self._targets[row].wave for row, one in self._past.items() if one.asked is not None]
        self._wave = max([min(self._left, default=1), *asked])
        self._opened[self._wave] = 0.0

    def _open(self, wave: int, now: float) -> None:
        """The targets of a wave may be triggered, those with needs once those have passed."""
        self._wave = wave
        self._opened[wave] = now
        for row in self._held.pop(wave, ()):
            self.queues[self._targets[row].account].held -= 1
            if row not in self._unmet:
                self._release(row)
        for queue in self._queues:
            self._start(queue, now)
        self._judge(now)

    def _judge(self, now: float) -> None:
        """Where all targets of the last wave that is open have ended, the next one is opened after the soak."""
        wave = self._wave
        if self._left[wave] or wave in self._judged:
            return
        self._judged[wave] = now
        if wave < len(self._waves):
            heappush(self._events, (now + self._waves[wave - 1].soak, OPENED, 0, wave + 1))

    def _release(self, row: int) -> None:
        """The row may be triggered, in its turn, unless its wave is not open."""
        target = self._targets[row]
        if not self._waves or target.wave <= self._wave:
            self.queues[target.account].admission.enqueue(row)

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
            found = self._seen[key] = seen_at(asked, asked + queued, asked + queued + runs)
        return base + found

    def _is_rerun(self, row: int) -> bool:
        """Whether the row's build fails and is started again: as often as builds of earlier runs failed."""
        target = self._targets[row]
        if self._reruns[row] >= target.reruns.times or target.account not in self._failing:
            return False
        owed = self._owed.get(target.account, 0.0) + self._failing[target.account]
        is_due = owed >= 1.0
        self._owed[target.account] = owed - is_due
        self._reruns[row] += is_due
        return is_due

    def _has_ended(self, queue: AccountQueue, row: int, now: float) -> None:
        if self._is_rerun(row):
            length = self._durations.build(self._targets[row].account, queue.admission.repo_of(row))
            queue.polls.changed(now)
            heappush(self._events, (self._seen_at(now + self._latency, *length), ENDED, queue.number, row))
            return
        queue.ended(row, now)
        self.ended[row] = now
        self._left[self._targets[row].wave] -= 1
        if self._waves:
            self._judge(now)
        for dependent in self._dependents.pop(self._targets[row].id, ()):
            self._unmet[dependent] -= 1
            if not self._unmet[dependent]:
                other = self.queues[self._targets[dependent].account]
                other.unreleased -= 1
                del self._unmet[dependent]
                self._release(dependent)
