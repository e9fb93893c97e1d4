"""What the drivers of one run share: the journal, the history, the options, the counts, and whether to go on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Protocol

from orchestrator.core.events import TargetEvent, from_json
from orchestrator.core.frozen import Struct, field
from orchestrator.core.history import History
from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome, Phase, Request, marker_of
from orchestrator.core.progress import Progress
from orchestrator.journal.port import Journal

LEASE = 30.0  # seconds for which a lease holds without a heartbeat
BEAT = LEASE / 6  # seconds between heartbeats
DAY = 86_400.0  # seconds; the clocks of two machines differ by less
ADOPTED_WITHIN = 30 * DAY  # how far back a run whose state was lost is looked for: nobody lists years of requests
STALE = LEASE / 3  # seconds after the last heartbeat, from which on this process sends nothing


class Observe(Protocol):
    """Is told what happens, for the log and the live view; must not block."""

    def __call__(self, name: str, **fields: Any) -> None:
        """`name` is a dotted fact, past tense where it is one."""
        ...


class Options(Struct, frozen=True, kw_only=True):
    """How a process drives a run.

    Args:
        trigger: False follows only (`watch`).
        detach: return when nothing is left to trigger.
        in_flight: builds of this run that may be queued or running at once, for each account.
        max_fail: `5` or `20%` of the targets: so many failures stop the triggering.
        timeout: seconds after which this process leaves.
        override_stop: go on although a rule stopped the run before.
        assume_absent: ids of targets in doubt of which a person says that no build exists.
        adopt_request: target id to the provider's request id, as a person says.
        ignore_quiet: trigger in quiet hours too.
    """

    trigger: bool = True
    detach: bool = False
    in_flight: int | None = None
    max_fail: str | None = None
    timeout: float | None = None
    fail_on: frozenset[Outcome] = DEFAULT_FAIL_ON
    override_stop: bool = False
    assume_absent: frozenset[str] = frozenset()
    adopt_request: Mapping[str, str] = field(default_factory=dict)
    ignore_quiet: bool = False


async def _nobody_beats() -> None:
    """Until the engine's heart is set."""


class Run:
    """One run as this process drives it.

    Attributes:
        is_halted: somebody interrupts: nothing more starts, calls under way finish.
        is_closed: a rule or a person stopped it: no more triggers; builds are followed to their end.
        is_canceling: the builds of this run are to be canceled.
        leaves_builds: builds are not followed any further.
        look_for: target id to the marker that an earlier run, or this one before its state was lost, may have sent:
            it is looked for before the target is triggered first.
        doubts: targets without a verdict of which the answer is lost.
        look_since: from when on it may have been sent (wall clock).
        attempts_before: target id to the attempts that earlier processes made, of those to be looked for.
        is_carried: the state was carried here from another machine, and does not know what was done there since.
        restarts: target id to the request and the build that are started again in place of a trigger.
        beat: renews the leases now; raises LeaseLost when one was taken over.
        steady: the state's clock, on which the processes of this machine agree.
        beat_at, beat_wall: when that was done last, by the state's clock and by the wall's: the one may stand still
            while the machine sleeps, where the system has no better, the other may step.
        asked_at, others_at: when it was last asked whether another process writes to the state, and when one did.
    """

    def __init__(
        self,
        id: str,  # noqa: A002  # the field's name everywhere else
        journal: Journal,
        history: History,
        options: Options,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        steady: Callable[[], float],
        random: Random,
        observe: Observe,
    ) -> None:
        self.id = id
        self.journal = journal
        self.history = history
        self.options = options
        self.now = now
        self.since = now()
        self.random = random
        self.observe = observe
        self.name = history.made.name if history.made is not None else ""
        self.is_halted = False
        self.is_closed = not options.trigger
        self.is_canceling = False
        self.leaves_builds = False
        self.wall = wall
        self.steady = steady
        self.beat_at, self.beat_wall = steady(), wall()
        self.asked_at = self.others_at = -math.inf
        self.beat: Callable[[], Awaitable[None]] = _nobody_beats
        known = history.progress.values()
        self.phases: Counter[Phase] = Counter(progress.phase for progress in known)
        self.phases[Phase.WAITING] += len(history.targets) - len(known)
        self.outcomes: Counter[Outcome] = Counter(one.verdict.outcome for one in known if one.verdict is not None)
        self.triggered = 0
        self.doubts = sum(map(_is_open_doubt, known))
        self.index = {target.id: row for row, target in enumerate(history.targets)}
        self.is_carried = len(history.hosts) > 1
        self.look_for = _markers_to_look_for(id, history)
        self.look_since = look_since(history) - DAY if history.made is not None else 0.0
        self.attempts_before = {id_: n for id_ in self.look_for if (n := history.of(id_).attempts)}
        self.restarts = _restarts(history)
        self.verdict_given: Callable[[int, Progress], None] = lambda row, progress: None

    def apply(self, account: str, at: float, event: TargetEvent) -> None:
        """Takes one more fact about a target in, and tells whoever decides on verdicts."""
        before, after = self.history.advance(account, at, event)
        if (was := before.phase) is not (now := after.phase):
            self.phases[was] -= 1
            self.phases[now] += 1
        if before.doubt is not after.doubt or before.verdict is not after.verdict:
            self.doubts += _is_open_doubt(after) - _is_open_doubt(before)
        if before.request is None and after.request is not None:
            self.triggered += 1
        if before.verdict is not after.verdict:
            if before.verdict is not None:
                self.outcomes[before.verdict.outcome] -= 1
            if after.verdict is not None:
                self.outcomes[after.verdict.outcome] += 1
                self.verdict_given(self.index[event.target], after)

    def is_released(self, row: int) -> bool:
        """Whether the target's wave is open and its needs have passed."""
        target = self.history.targets[row]
        return target.wave in self.history.waves and (not target.needs or self.history.of(target.id).released)


def _is_open_doubt(progress: Progress) -> bool:
    return progress.doubt is not None and progress.verdict is None


def look_since(history: History) -> float:
    """From when on what is to be looked for may have been sent (wall clock)."""
    made = history.made
    kept = made.options.get("look_since") if made is not None else None
    if made is not None and made.options.get("adopt"):
        return history.made_at - ADOPTED_WITHIN
    return float(kept) if isinstance(kept, int | float) else history.made_at


def _markers_to_look_for(run: str, history: History) -> Mapping[str, str]:
    """What to look for before a first trigger: where the state was lost, or carried to another machine.

    A copy of the state knows nothing of what its original did after it was made.
    """
    made = history.made
    if made is None:
        return {}
    kept = made.options.get("look_for")
    markers = {str(id_): str(marker) for id_, marker in kept.items()} if isinstance(kept, Mapping) else {}
    if made.options.get("adopt") or (len(history.hosts) > 1 and not made.options.get("restart")):
        return {t.id: marker_of(made.name, run, t.id) for t in history.targets if t.marked} | markers
    return markers


def _restarts(history: History) -> Mapping[str, tuple[Request, str]]:
    kept = history.made.options.get("restart") if history.made is not None else None
    if not isinstance(kept, Mapping):
        return {}
    return {str(id_): (from_json(Request, one.get("request")), str(one.get("build"))) for id_, one in kept.items()}
