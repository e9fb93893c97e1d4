"""What outcomes mean for waves, needs and rules in a simulated run: the folds that the engine's coordinator asks."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

from orchestrator.core.course import Course
from orchestrator.core.events import Event, Released, Skipped, Stopped, WaveJudged, WaveOpened
from orchestrator.core.frozen import Struct, field, replace
from orchestrator.core.model import Build, BuildState, Outcome, Plan
from orchestrator.core.needs import Needs
from orchestrator.core.options import Options
from orchestrator.core.progress import NEW, Progress, Verdict
from orchestrator.core.promotion import Promotion
from orchestrator.core.reruns import Places
from orchestrator.core.waves import Rollout
from orchestrator.forecast.result import NEEDS, WAVES

FAILED = Progress(builds=(Build("", BuildState.FAILED, ""),))


class Standing(Struct, frozen=True):
    """Where a run stands when its simulation begins.

    Args:
        known: by id, of the targets that have any progress.
        course: how the run went through its waves; None: not at all.
        is_stopped: whether nothing is triggered any more.
    """

    known: Mapping[str, Progress] = field(default_factory=dict)
    course: Course | None = None
    is_stopped: bool = False


class Decisions:
    """Decides as the coordinator does. Time is the wall clock; an approval is given at once.

    Attributes:
        course: how the run goes through its waves.
        is_closed: whether nothing is triggered any more.
        stopped: by which rule.
        has_rollout: whether waves are opened and judged.
        needed: rows that others need.
    """

    def __init__(self, plan: Plan, options: Options, standing: Standing) -> None:
        self._targets = plan.targets
        self._waves = [replace(wave, approve=False) if wave.approve else wave for wave in plan.waves]
        self._rows = {target.id: row for row, target in enumerate(plan.targets)}
        self._by_wave: defaultdict[int, list[int]] = defaultdict(list)
        for row, target in enumerate(plan.targets):
            self._by_wave[target.wave].append(row)
        self._known = dict(standing.known)
        self.course = Course() if standing.course is None else deepcopy(standing.course)
        self.is_closed = standing.is_stopped
        self.stopped: Stopped | None = None
        failures = options.failures if options.fail_on is not None else plan.fail_on or options.failures
        rollout = None if plan.rollout is None else _without_history(plan.rollout)
        promotion = Promotion(plan.targets, self._waves, rollout, options.max_fail, failures, self.course)
        self._promotion = promotion if promotion.has_rollout or options.max_fail is not None else None
        self.has_rollout = promotion.has_rollout
        self._needs = Needs(plan.targets, self._known, are_open=self.course.waves if self.has_rollout else None)
        self.needed = {self._rows[need] for target in plan.targets for need in target.needs if need in self._rows}
        again = any(target.reruns.times for target in plan.targets)
        self._places = Places(plan.targets, plan.waves, self._known) if again else None

    @property
    def are_asked(self) -> bool:
        """Whether an outcome decides about other targets."""
        return self._promotion is not None or bool(self.needed)

    @property
    def minds_failures(self) -> bool:
        """Whether it makes a difference which builds fail."""
        return self.are_asked or self._places is not None

    def begin(self, now: float) -> list[int]:
        """What follows from what was known before; the rows that may be triggered."""
        facts: list[Event] = [] if self._promotion is None else self._promotion.take_up(self._known)
        skips = [Skipped(one.id, one.skip) for one in self._targets if one.skip is not None]
        facts += [one for one in skips if not self._known.get(one.target, NEW).is_done]
        rows = [row for row in range(len(self._targets)) if self._is_free(row)]
        facts += self._needs.begin()
        return [*rows, *self._take_in(facts or self._goes_on(now), now)]

    def is_waiting(self, row: int) -> bool:
        """Whether nothing was asked for the row before the simulation began, and it may be triggered at all."""
        target = self._targets[row]
        progress = self._known.get(target.id, NEW)
        return target.skip is None and not (progress.is_done or progress.may_exist)

    def _is_free(self, row: int) -> bool:
        is_open = not self.has_rollout or self._targets[row].wave in self.course.waves
        return is_open and not self._needs.hold(row) and self.is_waiting(row)

    @property
    def waits_for(self) -> str:
        """What targets wait for that are in no rule's way: others that they need, or their wave."""
        if self._needs.are_awaited:
            return NEEDS
        return WAVES if self.has_rollout and len(self.course.waves) < len(self._waves) else ""

    def was_sent(self, row: int, at: float) -> None:
        """The row's trigger leaves."""
        if self._promotion is not None and self._promotion.counts_sent:
            self._promotion.was_sent(self._targets[row].id, at)

    def starts_again(self, row: int, reruns: int) -> bool:
        """Whether the row's build, which has failed, is started again."""
        if self._places is None or self.is_closed:
            return False
        return self._places.take(self._targets[row], replace(FAILED, reruns=reruns))

    def settled(self, row: int, outcome: Outcome, sent: float, now: float) -> list[int]:
        """A target has its outcome; the rows that may be triggered from now on."""
        return self._take_in(self._settled(self._targets[row].id, Verdict(outcome, "", "", now), sent), now)

    def _settled(self, target: str, verdict: Verdict, sent: float | None = None) -> list[Event]:
        progress = self._known[target] = Progress(triggered_at=sent, verdict=verdict)
        facts = self._needs.settled(target, progress)
        return facts if self._promotion is None else [*facts, *self._promotion.settle(target, progress)]

    def next_wave(self, now: float) -> list[int]:
        """The rows that may be triggered, where the time has come to open the next wave."""
        return self._take_in(self._goes_on(now), now)

    def opens_at(self, now: float) -> float | None:
        """When a soak is over; None where none is left."""
        return None if self.is_closed else self.course.soaks_until(self._waves, now)

    def _take_in(self, facts: Iterable[Event], now: float) -> list[int]:
        """Takes facts in as if they were journaled, and what follows from them."""
        todo, released = deque(facts), list[int]()
        while todo:
            fact = todo.popleft()
            match fact:
                case Released(target=target):
                    released += [self._rows[target]] if self._is_free(self._rows[target]) else ()
                case Skipped(target=target, code=code, root=root, steps=steps):
                    todo += self._settled(target, Verdict(Outcome.SKIPPED, code, "", now, root, steps))
                case WaveOpened(wave=wave):
                    self.course.add(fact, now)
                    todo += self._needs.opened(wave)
                    released += filter(self._is_free, self._by_wave[wave])
                case WaveJudged():
                    self.course.add(fact, now)
                case Stopped() if not self.is_closed:
                    self._close(fact)
            if not todo:
                todo += self._goes_on(now)
        return [] if self.is_closed else released

    def _close(self, stop: Stopped) -> None:
        self.is_closed, self.stopped = True, stop
        if self._promotion is not None:
            self._promotion.is_stopped = True

    def _goes_on(self, now: float) -> Sequence[Event]:
        """A verdict, a stop or the next wave, where it is time for one; as the coordinator."""
        promotion = self._promotion
        if promotion is None or self.is_closed:
            return ()
        if facts := promotion.follow_up(now):
            return facts
        wave = promotion.to_open(now) if self.has_rollout else None
        return () if wave is None else [promotion.opened(wave)]


def _without_history(rollout: Rollout) -> Rollout:
    """Without the rules that ask what is usual: in a simulation targets fare as usual."""
    if rollout.stop_when.worse_than_usual is None:
        return rollout
    return replace(rollout, stop_when=replace(rollout.stop_when, worse_than_usual=None, nothing_passed=False))
