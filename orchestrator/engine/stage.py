"""What a run is at: triggering, waiting, stopping and the like, with why, until when, and what lets it go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

from orchestrator.core.events import AccountStopped
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import ACCOUNT, Phase
from orchestrator.core.times import counted
from orchestrator.engine.counts import Counts
from orchestrator.limits.rules import NOTHING, Wait

NOBODY = "no process is at work on it"


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


def state_of(
    history: History, counts: Counts, now: float, wait: Wait, held: State, work: Work | None, *, is_driven: bool
) -> State:
    """What the run is at; of several things the one that matters most.

    Args:
        now: wall clock.
        wait: what the next trigger waits for.
        held: what the run waits for beside builds, with an empty reason where it waits for nothing.
        work: as of `snapshot.taken`.
    """
    phases = counts.phases
    stop, stopped = history.stopped, history.accounts_stopped
    if phases[Phase.DONE] == len(history.targets):
        return State(Stage.ENDED)
    if not is_driven:
        return State(Stage.UNATTENDED, NOBODY, verb="resume")
    if work is not None and work.is_halted:
        calls = f"{counted(work.calls, 'call')} under way" if work.calls else ""
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
    waits = [f"{counted(builds, 'build')} to stop"] if builds else []
    if requests := phases[Phase.REQUESTED]:
        waits.append(f"{counted(requests, 'request')} to show a build, or none")
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
