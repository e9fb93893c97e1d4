"""How a run stands now, as one value: terminal, page and programs draw from it, whoever drives the run.

It is made here and nowhere else, of the history's counts, of the last look ahead, and of what only the process at work
knows. What is not known is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

from orchestrator.core.course import APPROVAL, PAUSE
from orchestrator.core.events import AccountStopped
from orchestrator.core.frozen import Struct, field
from orchestrator.core.history import History
from orchestrator.core.model import ACCOUNT, Outcome, Phase
from orchestrator.core.progress import Progress
from orchestrator.engine.counts import Counts, Key, rate
from orchestrator.forecast.outlook import UNSEEN, Outlook
from orchestrator.limits.rules import NOTHING, Wait

__all__ = ["Left", "NotPassed", "OwnerCounts", "RunningLong", "Snapshot", "Stage", "State", "WaveAt", "Work", "taken"]

LONGEST = 12  # builds that run, by name
NOBODY = "no process is at work on it"
NEWEST = 40  # targets that did not pass, by name
VERBS = {APPROVAL: "approve", PAUSE: "unpause"}  # what a person answers to what a run waits for


class Stage(StrEnum):
    """What the run is at."""

    STARTING = "starting"
    TRIGGERING = "triggering"
    FOLLOWING = "following"
    WAITING = "waiting"
    STOPPING = "stopping"
    CANCELING = "canceling"
    STOPPED = "stopped"
    ACCOUNT_STOPPED = "account stopped"
    UNATTENDED = "unattended"
    ENDED = "ended"


class State(Struct, frozen=True, omit_defaults=True):
    """What the run is at, and why.

    Args:
        why: what it waits for, or what stopped it, as a clause for people.
        until: when that is over by itself (wall clock).
        at_most: seconds after which it is given up.
        verb: the command with which a person lets it go on; empty where none does.
    """

    stage: Stage
    why: str = ""
    until: float | None = None
    at_most: float | None = None
    verb: str = ""


class Left(Struct, frozen=True, omit_defaults=True):
    """How long something still takes.

    Args:
        seconds: about so long, as far as can be told.
        why: why that cannot be relied on; empty where it can.
    """

    seconds: float
    why: str = ""


class WaveAt(Struct, frozen=True):
    """The wave that was opened last, of so many."""

    number: int
    of: int
    name: str


class OwnerCounts(Struct, frozen=True):
    """How the targets of one owner stand."""

    owner: str
    targets: int
    keys: Mapping[Key, int]


class RunningLong(Struct, frozen=True, omit_defaults=True):
    """A build that runs.

    Args:
        seconds: so long by now.
        usually: seconds that builds of its repository usually ran before; None where none is known.
    """

    target: str
    seconds: float
    usually: float | None = None


class NotPassed(Struct, frozen=True, omit_defaults=True):
    """A target that did not pass.

    Args:
        at: when that was known (wall clock).
        note: what there is to say of it, in few words.
    """

    at: float
    target: str
    outcome: Outcome
    note: str
    url: str | None = None


class Work(Struct, frozen=True):
    """What only the process at work knows.

    Args:
        calls: calls that are under way.
        is_halted: whether it was asked to leave; `leaves_in`, seconds after which it does at the latest.
        is_ready: whether its accounts have answered.
        wait: what the next trigger waits for.
        triggers: whether it triggers at all.
        is_canceling: whether builds are to stop; `gives_up_in`, seconds after which those that go on are left.
    """

    calls: int = 0
    is_halted: bool = False
    leaves_in: float | None = None
    is_ready: bool = True
    wait: Wait = NOTHING
    triggers: bool = True
    is_canceling: bool = False
    gives_up_in: float | None = None


class Snapshot(Struct, frozen=True, omit_defaults=True):
    """Where a run stands now, for people.

    Args:
        run: its id; `name`, that of its manifest.
        at: the instant that is shown (wall clock); `age`, seconds since the run was made.
        phases: by phase; `outcomes`, by outcome; `keys`, both: each target where it stands, a lost answer in doubt.
        sent: triggers that have left, of `to_send`: those that have, or may.
        rate: triggers in a second over the last minute; `allowed`, what the accounts' limits allow.
        in_flight: builds queued or running, or asked for; `in_flight_limit`, how many there may be, and whether `-j`
            says so.
        trigger_left: to the last trigger; `build_left`, until the last build has ended; None where none is to come,
            or nobody has looked ahead yet.
        wave: None where there is only one.
        owners: the largest; `other_owners`, how many more there are.
        longest: builds that run, the longest first.
        newest: targets that did not pass, the newest first.
        accounts_stopped: account to cause.
        accounts: names of all accounts.
        doubts: targets whose answer was lost, and whose request is looked up.
        waiting_for: the one limit or rule that the next trigger waits for.
        held_by: who or what keeps the next wave from being opened, or triggers from leaving, as a sentence.
        is_driven: whether any process is at work on it; `is_ours`, whether this one is, and triggers.
        is_rehearsal: whether its service ends with its process.
    """

    run: str
    name: str
    at: float
    age: float
    state: State
    targets: int
    phases: Mapping[Phase, int]
    outcomes: Mapping[Outcome, int]
    keys: Mapping[Key, int]
    sent: int
    to_send: int
    in_flight: int
    accounts: tuple[str, ...] = ()
    rate: float | None = None
    allowed: float | None = None
    in_flight_limit: int | None = None
    is_limit_chosen: bool = False
    trigger_left: Left | None = None
    build_left: Left | None = None
    wave: WaveAt | None = None
    owners: tuple[OwnerCounts, ...] = ()
    other_owners: int = 0
    longest: tuple[RunningLong, ...] = ()
    newest: tuple[NotPassed, ...] = ()
    accounts_stopped: Mapping[str, str] = field(default_factory=dict)
    doubts: int = 0
    waiting_for: str | None = None
    held_by: str | None = None
    is_driven: bool = True
    is_ours: bool = False
    is_rehearsal: bool = False

    @property
    def done(self) -> int:
        """Targets that have an outcome."""
        return self.phases.get(Phase.DONE, 0)


def taken(
    run: str,
    history: History,
    counts: Counts,
    now: float,
    outlook: Outlook | None = None,
    *,
    work: Work | None = None,
    is_driven: bool = True,
) -> Snapshot:
    """The snapshot.

    Args:
        counts: of that history.
        now: wall clock.
        outlook: what was seen of the future; None where nobody looks.
        work: what the process at work knows; None where another one is at work, or none.
    """
    ahead = UNSEEN if outlook is None else outlook.ahead
    made, phases = history.made, counts.phases
    held = None if history.stopped is not None else history.course.waiting(history.waves, now)
    told = None if held is None else history.course.told(held, history.waves)
    wait = ahead.wait if work is None or not work.wait.rule else work.wait
    wait = wait if phases[Phase.WAITING] else NOTHING
    stopped = {account: event.cause for account, event in history.accounts_stopped.items()}
    verb = "" if held is None else VERBS.get(held.kind, "")
    nobody = "" if is_driven else NOBODY
    state = _state(history, counts, now, wait, State(Stage.WAITING, told or "", verb=verb), work, is_driven=is_driven)
    return Snapshot(
        run=run,
        name="" if made is None else made.name,
        at=now,
        age=max(0.0, now - history.made_at),
        state=state,
        targets=len(history.targets),
        phases={phase: n for phase, n in phases.items() if n},
        outcomes={outcome: n for outcome, n in counts.outcomes.items() if n},
        keys={key: n for key, n in counts.keys.items() if n},
        sent=counts.sent,
        to_send=len(history.targets) - counts.never_sent,
        in_flight=phases[Phase.REQUESTED] + phases[Phase.QUEUED] + phases[Phase.RUNNING],
        accounts=tuple(() if made is None else made.accounts),
        rate=rate(counts, max(history.made_at, history.claimed_at), now) if phases[Phase.WAITING] else None,
        allowed=ahead.allowed,
        in_flight_limit=ahead.in_flight,
        is_limit_chosen=ahead.is_chosen,
        trigger_left=_left(ahead.trigger_at, nobody or ahead.trigger_why, now) if phases[Phase.WAITING] else None,
        build_left=_left(ahead.build_at, nobody or ahead.build_why, now),
        wave=_wave(history),
        owners=tuple(
            OwnerCounts(owner, keys.total(), {key: n for key, n in keys.items() if n})
            for owner, keys in counts.owners.items()
        ),
        other_owners=counts.others,
        longest=tuple(
            RunningLong(target, now - since, None if outlook is None else outlook.usual(target))
            for since, target in counts.longest(LONGEST)
        ),
        newest=tuple(_not_passed(target, progress) for target, progress in counts.newest(NEWEST)),
        accounts_stopped=stopped,
        doubts=counts.doubts,
        waiting_for=str(wait) or None,
        held_by=told,
        is_driven=is_driven,
        is_ours=work is not None and work.triggers,
        is_rehearsal=history.options.sandbox,
    )


def _left(at: float | None, why: str, now: float) -> Left | None:
    return None if at is None else Left(max(0.0, at - now), why)


def _wave(history: History) -> WaveAt | None:
    waves, number = history.waves, max(history.course.waves, default=1)
    return WaveAt(number, len(waves), waves[number - 1].name) if len(waves) > 1 and number <= len(waves) else None


def _not_passed(target: str, progress: Progress) -> NotPassed:
    verdict, build = progress.verdict, progress.build
    assert verdict is not None  # noqa: S101  # only those are asked for
    number = f"build #{build.number}" if build is not None and build.number else ""
    if progress.cause is not None:
        note = f"{number}: {progress.cause.text}" if number else progress.cause.text
    else:
        note = number or verdict.reason
    return NotPassed(verdict.at, target, verdict.outcome, note, None if build is None else build.url)


# -- what it is at ------------------------------------------------------------------------------------------------


def _state(
    history: History, counts: Counts, now: float, wait: Wait, held: State, work: Work | None, *, is_driven: bool
) -> State:
    phases = counts.phases
    stop, stopped = history.stopped, history.accounts_stopped
    if phases[Phase.DONE] == len(history.targets):
        return State(Stage.ENDED)
    if not is_driven:
        return State(Stage.UNATTENDED, NOBODY, verb="resume")
    if work is not None and work.is_halted:
        calls = f"{work.calls:,} {'call' if work.calls == 1 else 'calls'} under way" if work.calls else ""
        return State(Stage.STOPPING, calls, at_most=work.leaves_in)
    if work.is_canceling if work is not None else stop is not None and stop.by_person and not stop.keeps_builds:
        return State(Stage.CANCELING, _to_stop(phases), at_most=None if work is None else work.gives_up_in)
    if stop is not None:
        return State(Stage.STOPPED, f"{stop.rule}: {stop.arithmetic}")
    if stopped and counts.accounts <= stopped.keys():
        return _account_stopped(stopped)
    if held.why:
        return held
    if not phases[Phase.WAITING]:
        return State(Stage.FOLLOWING)
    if work is not None and not work.is_ready:
        return State(Stage.STARTING, f"waits for {wait}" if wait.rule else "")
    if (freeze := _frozen(history, counts, now)) is not None:
        return freeze
    if wait.ends is not None:
        return State(Stage.WAITING, wait.rule, until=wait.ends)
    return State(Stage.TRIGGERING, _narrow(wait))


def _to_stop(phases: Mapping[Phase, int]) -> str:
    """What a canceled run waits for."""
    builds = phases[Phase.QUEUED] + phases[Phase.RUNNING]
    waits = [f"{builds:,} {'build' if builds == 1 else 'builds'} to stop"] if builds else []
    if requests := phases[Phase.REQUESTED]:
        waits.append(f"{requests:,} {'request' if requests == 1 else 'requests'} to show a build, or none")
    return f"waits for {' and '.join(waits)}" if waits else ""


def _account_stopped(stopped: Mapping[str, AccountStopped]) -> State:
    account, event = next(iter(stopped.items()))
    return State(Stage.ACCOUNT_STOPPED, f"{account}: {event.cause}", until=event.until)


def _frozen(history: History, counts: Counts, now: float) -> State | None:
    """Where each account that has targets is left alone for a while, as its service asks."""
    until, why = math.inf, ""
    for account in counts.accounts:
        freeze = history.frozen.get((account, ACCOUNT))
        if freeze is None or freeze.until <= now:
            return None
        if freeze.until < until:
            until, why = freeze.until, f"{account}: {freeze.cause.replace('_', ' ')}"
    return State(Stage.WAITING, why, until=until) if until < math.inf else None


def _narrow(wait: Wait) -> str:
    """What holds the next trigger back beside what is told elsewhere: the pace of all, builds in flight, answers."""
    is_room = wait.until == math.inf and wait.detail and not wait.rule.startswith("in_flight ")
    is_place = wait.until < math.inf and (wait.place or not wait.is_limit)
    if not (is_room or is_place):
        return ""
    return f"waits for {wait.place}: {wait.rule}" if wait.place else f"waits for {wait.rule}"
