"""How long a run still takes: the simulation begun again where it stands, as often as what happens asks for it.

Between two looks the clock runs down towards what the last one found; as soon as that no longer holds (a wave was
judged, an account stopped, the time is over and the run is not) the next look is due.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from statistics import median

from anyio.lowlevel import checkpoint

from orchestrator.core.frozen import Struct, gc_paused
from orchestrator.core.history import History
from orchestrator.core.model import ACCOUNT, Phase, Target
from orchestrator.core.times import counted
from orchestrator.forecast.durations import ASSUMED, Times
from orchestrator.forecast.relearnt import Relearnt, relearnt
from orchestrator.forecast.remaining import standing
from orchestrator.forecast.simulate import Simulation
from orchestrator.limits.rules import NOTHING, Wait
from orchestrator.providers.port import Declaration

SHARE = 0.01  # of one core's time that looks may take
OFTEN = 1.0  # seconds between two looks at least, where nothing has changed
A_TARGET, A_STEP = 12e-6, 10e-6  # seconds that a look takes for each target, and for each step of the simulation
DEALS, MANY = 5, 2_000  # ways in which a run may go on that are played; one of a run of more targets
ENOUGH, LONG = 20, 10.0  # triggers foreseen, and seconds, after which the pace is compared
SLOWEST = 4.0  # times as slow as foreseen, at most
SLICE = 2_000  # steps of the simulation after which others have their turn


class Ahead(Struct, frozen=True):
    """What a look has found; times are instants by the wall clock.

    Args:
        trigger_at: when the last trigger leaves, about; None where none is to come.
        build_at: when the end of the last build is seen, about; None where none is to come.
        trigger_why: why that cannot be known, for people; empty where it can.
        build_why: the same of the last build.
        wait: what the next trigger waits for.
        allowed: triggers in a second that the limits of the accounts allow; None where none does.
        in_flight: builds of this run that may be queued or running; None: any number.
        is_chosen: whether that was said for this run (`-j`), and not for an account.
    """

    trigger_at: float | None = None
    build_at: float | None = None
    trigger_why: str = ""
    build_why: str = ""
    wait: Wait = NOTHING
    allowed: float | None = None
    in_flight: int | None = None
    is_chosen: bool = False


UNSEEN = Ahead()


class Pace:
    """How much slower triggers leave than was foreseen: this machine, its network or the polls may hold them up.

    Attributes:
        slowness: what the time to the last trigger is to be multiplied by.
    """

    def __init__(self) -> None:
        self.slowness = 1.0
        self._expected: list[float] = []
        self._sent, self._since = 0, math.inf

    def forget(self) -> None:
        """What was foreseen does not hold any more."""
        self._since = math.inf

    def expect(self, asked: Iterable[float], sent: int, now: float) -> None:
        """So was it foreseen; what was foreseen before counts until it could be compared."""
        if self._since == math.inf:
            self._expected = sorted(at for at in asked if at >= 0.0)
            self._sent, self._since = sent, now

    def seen(self, sent: int, now: float) -> None:
        """So many have left by now."""
        foreseen = bisect_right(self._expected, now - self._since) if now > self._since else 0
        if foreseen < ENOUGH or foreseen == len(self._expected) or now - self._since < LONG:
            return
        found = min(SLOWEST, max(1.0, foreseen / max(1, sent - self._sent)))
        self.slowness += (found - self.slowness) / 2.0
        self.forget()


class Outlook:
    """Looks ahead in one run.

    Args:
        history: the run's, which goes on while this looks.
        declarations: by type of provider.
        before: how long builds took before this run.

    Attributes:
        ahead: what the last look has found.
        has_looked: whether there was one.
    """

    def __init__(self, history: History, declarations: Mapping[str, Declaration], before: Times = ASSUMED) -> None:
        self._history = history
        self._declarations = declarations
        self.before = before
        self.ahead = UNSEEN
        self.has_looked = False
        self._next_at = -math.inf
        self._again_at = -math.inf  # when a look may be made that is due since something has changed
        self._stands: Sequence[object] = ()
        self._pace = Pace()

    def usual(self, target: str) -> float | None:
        """Seconds that builds of a target's repository usually ran before this run; None where none is known."""
        account, _, rest = target.partition(":")
        repo = rest.partition("@")[0].partition("[")[0].partition("#")[0]
        lengths = self.before.repos.get((account, repo.lower()))
        return median(lengths) if lengths else None

    def is_due(self, now: float) -> bool:
        """Whether to look again."""
        if now >= self._next_at:
            return True
        expected = [at for at in (self.ahead.trigger_at, self.ahead.build_at) if at is not None]
        is_over = bool(expected) and min(expected) <= now
        return now >= self._again_at and (is_over or self._stands != self._standing())

    def _standing(self) -> Sequence[object]:
        """What changes all that was foreseen, when it changes."""
        history, course = self._history, self._history.course
        judged = sum(one.judged_at is not None for one in course.waves.values())
        is_held = course.pause is not None, len(course.held), course.wish
        frozen = sum(freeze.until for freeze in history.frozen.values())
        stops = history.stopped, frozenset(history.accounts_stopped)
        return (len(course.waves), judged, *is_held, *stops, frozen, len(history.learnt), history.claimed_at)

    async def look(self, now: float) -> None:
        """Looks; others have their turn meanwhile."""
        history, stands = self._history, self._standing()
        if stands != self._stands:
            self._pace.forget()
        self._stands = stands
        sent = sum(one.attempts > 0 and one.phase is not Phase.WAITING for one in history.progress.values())
        self._pace.seen(sent, now)
        with gc_paused():
            learnt = relearnt(self.before, history, now)
        runs = [self._simulated(learnt, now, deal) for deal in range(self._deals)]
        waits = [_held_by(run, history.targets[min(run.released)], min(run.released)) for run in runs if run.released]
        for run in runs:
            run.begin()
            while run.advance(SLICE):
                await checkpoint()
        # of several ways in which it may go on, the one in the middle
        run = sorted(runs, key=attrgetter("last_build"))[len(runs) // 2]
        self.ahead = self._found(run, learnt, now, waits[0] if waits else NOTHING)
        self._pace.expect(run.asked, sent, now)
        self.has_looked = True
        cost = len(runs) * A_TARGET * len(history.targets) + A_STEP * sum(run.steps for run in runs)
        self._next_at = now + max(OFTEN, cost / SHARE)
        self._again_at = now + max(OFTEN / 2, 10 * cost)

    def _simulated(self, learnt: Relearnt, now: float, deal: int) -> Simulation:
        with gc_paused():
            return standing(self._history, self._declarations, now, learnt.times, deal)

    @property
    def _deals(self) -> int:
        """In how many ways it is played: of many builds one tells as much as several of few."""
        return DEALS if len(self._history.targets) <= MANY else 1

    def _found(self, run: Simulation, learnt: Relearnt, now: float, wait: Wait) -> Ahead:
        history = self._history
        waiting = [row for row, at in enumerate(run.asked) if at >= 0.0]
        open_ = [row for row, at in enumerate(run.ended) if at >= 0.0]
        held, never = self._held(run), self._unsent(run)
        accounts = {history.targets[row].account for row in waiting} or {history.targets[row].account for row in open_}
        whole, chosen = _in_flight(run, accounts)
        last = max(open_, key=run.ended.__getitem__, default=None)
        late = counted(len(learnt.overdue), "build")
        build_why = held
        if not held and last is not None and history.targets[last].id in learnt.overdue:
            build_why = f"{late} {'takes' if len(learnt.overdue) == 1 else 'take'} longer than before"
        elif not held and learnt.unknown:
            build_why = "too few builds have ended yet"
        waits_for_builds = whole is not None or run.decisions.are_asked
        last_trigger = run.last_trigger * self._pace.slowness
        return Ahead(
            trigger_at=now + last_trigger if waiting or never else None,
            build_at=now + run.last_build + last_trigger - run.last_trigger if open_ or never else None,
            trigger_why=(held or (build_why if waits_for_builds else "")) if waiting or never else "",
            build_why=build_why if open_ or never else "",
            wait=wait,
            allowed=_allowed(run, accounts),
            in_flight=whole,
            is_chosen=chosen,
        )

    def _unsent(self, run: Simulation) -> bool:
        """Whether targets wait that are never triggered, as it is."""
        if self._history.stopped is not None:
            return False
        return any(at < 0.0 and run.is_waiting(row) for row, at in enumerate(run.asked))

    def _held(self, run: Simulation) -> str:
        """What time alone does not end; empty where nothing of that is in the way."""
        history, course = self._history, self._history.course
        if history.stopped is not None:
            return ""
        if course.pause is not None:
            return "it is paused"
        stopped = [name for name in history.accounts_stopped if name in run.queues]
        if stopped:
            return f"account {stopped[0]} is stopped"
        return "a person has to approve a wave" if course.is_up_to_a_person(history.waves, len(history.waves)) else ""


def _held_by(run: Simulation, target: Target, row: int) -> Wait:
    """The rule that holds the next trigger back for longest."""
    certain = (wait for wait in run.queues[target.account].admission.reasons(row, 0.0) if wait.is_certain)
    return max(certain, key=lambda wait: wait.until, default=NOTHING)


def _allowed(run: Simulation, accounts: Collection[str]) -> float | None:
    """Triggers in a second that the limits of these accounts allow, as a whole; None where one has none."""
    total = 0.0
    for queue in (run.queues[name] for name in accounts):
        rules = queue.budget.rules(queue.admission.costs, None)
        rates = [calls / per for limit, _, calls, per in rules if limit.scope == ACCOUNT]
        if not rates:
            return None
        total += min(rates)
    return total or None


def _in_flight(run: Simulation, accounts: Collection[str]) -> tuple[int | None, bool]:
    """How many builds of the run may be queued or running at once, and whether that was chosen for the run."""
    bounds = [run.queues[name].in_flight for name in accounts]
    whole = [most for most, _ in bounds if most is not None]
    if len(whole) < len(bounds):
        return None, False
    return (sum(whole), all(is_chosen for _, is_chosen in bounds)) if whole else (None, False)
