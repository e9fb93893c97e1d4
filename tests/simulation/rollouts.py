"""Rollouts: what a seed draws of them, the person who approves, denies and pauses, and what must hold of waves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import anyio

from orchestrator.core.course import APPROVAL, STOP
from orchestrator.core.events import (
    Approved,
    Denied,
    Intended,
    PauseAsked,
    Paused,
    RestartAsked,
    Stopped,
    UnpauseAsked,
    Unpaused,
    WaveJudged,
    WaveOpened,
    target_of,
)
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome, Target
from orchestrator.core.progress import NEW, Progress, apply
from orchestrator.core.rollout import cut
from orchestrator.core.waves import CANCEL, FOLLOW, Rollout, StopWhen, Wave, WaveRule
from orchestrator.lookalike.travis.settings import RepoSpec

from .dice import Dice
from .schedule import TIMEOUTS, Job, Schedule, fate_of

if TYPE_CHECKING:
    from .machine import Written
    from .play import Play, Stage

BOUNDS = (("1", "100%"), ("1", "50%", "100%"), ("2", "3", "100%"), ("50%", "100%"))
LOOKS_EVERY = 4.0  # seconds between two looks of the person
SLACK = 1.0  # seconds by which two clocks of one machine may differ


class Steered(Struct, frozen=True):
    """What a person said of a rollout.

    Args:
        order: among calls and entries of the journal.
    """

    order: int
    run: str
    wish: Approved | Denied | PauseAsked | UnpauseAsked


def in_waves(dice: Dice, schedule: Schedule) -> Schedule:
    """The same with one run that is rolled out."""
    repos = tuple(RepoSpec(f"acme/r{number}") for number in range(dice.choice((4, 5, 7))))
    targets = [_target(schedule.accounts[0], repo.slug) for repo in repos]
    rollout = Rollout(
        tuple(WaveRule(bound) for bound in dice.choice(BOUNDS)),
        approve=dice.chance(0.4),
        soak=dice.choice((0.0, 0.0, 20.0)),
        stop_when=StopWhen(
            failed=dice.choice(("", "1", "2", "40%")),
            after=3,
            in_a_row=2 if dice.chance(0.2) else None,
            nothing_passed=dice.chance(0.7),
        ),
        on_stop=dice.choice((FOLLOW, FOLLOW, CANCEL)),
    )
    waves = cut(targets, rollout, "r1", {})
    job = Job(
        "r1",
        tuple(waves.targets),
        fates=tuple(fate_of(dice) for _ in range(dice.choice((0, 1, 2, 3)))),
        rival=(dice.late(0.0, 50.0), fate_of(dice)) if dice.chance(0.2) else None,
        rollout=rollout,
        waves=tuple(waves.waves),
        pauses=((dice.late(0.0, 60.0), dice.choice((5.0, 40.0))),) if dice.chance(0.5) else (),
        denies=dice.chance(0.2),
    )
    shares = replace(schedule.settings.shares, failed=dice.choice((0.1, 0.3)))
    settings = replace(schedule.settings, repos=repos, shares=shares)
    return replace(schedule, settings=settings, jobs=(job,), accounts=schedule.accounts[:1], bans=())


def _target(account: str, repo: str) -> Target:
    name = repo.partition("/")[2]
    message = {"message": f"{name} says so"}
    return Target(f"{account}:{repo}@main#{name}", account, repo, "main", name=name, timeouts=TIMEOUTS, request=message)


async def steer(stage: Stage, job: Job) -> None:
    """Looks at the run now and then: approves or denies what waits, pauses it and lets it go on, as the seed says."""
    dice, began, denies = Dice(f"steer {stage.schedule.seed}"), anyio.current_time(), job.denies
    while True:
        await anyio.sleep(LOOKS_EVERY)
        history = await stage.history(job)
        if history is None or history.made is None:
            continue
        course, now = history.course, stage.machine.now()
        passed = anyio.current_time() - began
        is_held = any(at <= passed < at + seconds for at, seconds in job.pauses)
        if is_held != (course.pause is not None):
            await _say(stage, job, (PauseAsked if is_held else UnpauseAsked)("a person", now))
        waiting = course.waiting(history.waves, now)
        if waiting is not None and waiting.kind == APPROVAL and history.stopped is None and dice.chance(0.5):
            wave = dice.choice((0, waiting.wave))
            await _say(stage, job, (Denied if denies else Approved)("a person", now, wave))
            denies = False


async def _say(stage: Stage, job: Job, wish: Approved | Denied | PauseAsked | UnpauseAsked) -> None:
    await stage.journal.wish(job.id, wish)
    stage.result.steered.append(Steered(stage.kernel.ticket(), job.id, wish))


# -- what must hold ---------------------------------------------------------------------------------------------


class Checked:
    """One state directory's entries of a run, read in the order of writing."""

    def __init__(self, result: Play, job: Job) -> None:
        self._job = job
        self._waves: tuple[Wave, ...] = job.waves
        self._when = StopWhen() if job.rollout is None else job.rollout.stop_when
        self._steered = [said for said in result.steered if said.run == job.id]
        self._is_steady = not (result.schedule.steps or result.schedule.twist.disaster or result.schedule.twist.reboots)
        self._is_kept = len(result.machine.states) == 1
        self._wave_of = {target.id: target.wave for target in job.targets}
        self._progress: dict[str, Progress] = {}
        self._opened: dict[int, Written] = {}
        self._judged: dict[int, tuple[WaveJudged, Written]] = {}
        self._paused = False
        self._stopped: Stopped | None = None
        self._overridden: dict[int, int] = {}  # by wave, the order of the override
        self._excluded: set[str] = set()

    def read(self, written: list[Written]) -> Iterator[str]:
        """Everything that is wrong, as sentences."""
        for one in sorted(written, key=lambda one: one.order):
            yield from self._entry(one)

    def _entry(self, one: Written) -> Iterator[str]:
        event = one.entry.event
        if (target := target_of(event)) is not None:
            if isinstance(event, Intended | RestartAsked):
                yield from self._asked(one, event)
            before = self._progress.get(target, NEW)
            self._progress[target] = apply(before, event, one.entry.at)  # type: ignore[arg-type]  # those with a target
            return
        match event:
            case WaveOpened():
                yield from self._open(one, event)
                self._opened[event.wave] = one
            case WaveJudged():
                yield from self._judge(one, event)
                self._judged[event.wave] = event, one
            case Paused():
                self._paused = True
            case Unpaused():
                self._paused = False
            case Stopped(rule=""):
                self._stopped = None
                self._overridden[event.wave] = one.order
                self._excluded = {id_ for id_, known in self._progress.items() if known.is_done}
            case Stopped():
                self._stopped = event

    def _asked(self, one: Written, event: Intended | RestartAsked) -> Iterator[str]:
        wave, what = self._wave_of.get(event.target, 1), f"{event.target} is {event.kind} at {one.time:.1f}"
        if wave not in self._opened:
            yield f"{what}, but its wave {wave} is not open"
        if self._paused:
            yield f"{what} while the run is paused"
        if self._stopped is not None:
            yield f"{what} after the stop by {self._stopped.rule}"

    def _judge(self, one: Written, event: WaveJudged) -> Iterator[str]:
        wave = event.wave
        if wave in self._judged:
            yield f"wave {wave} is judged again at {one.time:.1f}"
        if wave not in self._opened:
            yield f"wave {wave} is judged at {one.time:.1f} before it was opened"
        waits = [id_ for id_, of in self._wave_of.items() if of == wave and not self._progress.get(id_, NEW).is_done]
        if waits and self._is_whole:
            yield f"wave {wave} is judged at {one.time:.1f} while {waits[0]} has no outcome"

    @property
    def _is_whole(self) -> bool:
        """Whether the run was not made anew without some of its targets, and its journal has lost nothing."""
        return self._is_kept and all(target.marked for target in self._job.targets)

    def _open(self, one: Written, event: WaveOpened) -> Iterator[str]:
        wave, where = event.wave, f"wave {event.wave} is opened at {one.time:.1f}"
        if wave in self._opened:
            yield f"{where} for the second time"
        if self._paused:
            yield f"{where} while the run is paused"
        if self._stopped is not None:
            yield f"{where} after the stop by {self._stopped.rule}"
        if wave == 1:
            return
        if wave - 1 not in self._judged:
            yield f"{where} before the verdict on the one before"
            return
        verdict, judged = self._judged[wave - 1]
        is_overridden = any(order > judged.order for order in self._overridden.values())
        if verdict.verdict == STOP and not is_overridden:
            yield f"{where} although the verdict on the one before is stop"
        if not is_overridden:
            yield from self._rules(wave - 1, where)
        before = self._waves[wave - 2]
        if self._is_steady and one.time - judged.time < before.soak - SLACK:
            yield f"{where} before its soak is over"
        if before.approve and not is_overridden and not self._is_approved(wave, judged.order, one.order):
            yield f"{where} without an approval"

    def _is_approved(self, wave: int, after: int, before: int) -> bool:
        said = [one.wish for one in self._steered if after < one.order < before]
        return any(isinstance(wish, Approved) and wish.wave in (0, wave) for wish in said)

    def _rules(self, wave: int, where: str) -> Iterator[str]:
        """Two of the rules, counted anew."""
        known = {id_: it.verdict.outcome for id_, it in self._progress.items() if it.verdict is not None}
        bad = sum(outcome in DEFAULT_FAIL_ON for id_, outcome in known.items() if id_ not in self._excluded)
        if self._when.failed.isdecimal() and bad >= int(self._when.failed):
            yield f"{where} although {bad} targets are bad"
        counted = [id_ for id_, of in self._wave_of.items() if of == wave and id_ not in self._excluded]
        mine = [known.get(id_) for id_ in counted]
        sent = [outcome for outcome in mine if outcome not in (None, Outcome.SKIPPED, Outcome.TIMED_OUT)]
        if self._when.nothing_passed and sent and Outcome.PASSED not in mine:
            yield f"{where} although nothing of the one before has passed"
