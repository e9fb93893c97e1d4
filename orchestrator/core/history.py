"""All that the journal tells of one run, folded: the progress of each target and the facts about run and accounts.

The engine goes on from it and reports are views of it; both see the same thing, and the same exit code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

from orchestrator.core.course import Course
from orchestrator.core.errors import Exit, severest
from orchestrator.core.events import (
    AccountStopped,
    Claimed,
    Event,
    Frozen,
    Interrupted,
    LimitLearnt,
    MarkerProven,
    Paused,
    Prepared,
    Released,
    RunEnded,
    RunMade,
    Stopped,
    Tally,
    TargetEvent,
    Unpaused,
    WaveJudged,
    WaveOpened,
    target_of,
)
from orchestrator.core.frozen import from_json
from orchestrator.core.model import COORDINATOR, DEFAULT_FAIL_ON, Account, Json, Outcome, Scope, Target
from orchestrator.core.options import Pace, RunOptions
from orchestrator.core.progress import NEW, Progress, apply
from orchestrator.core.waves import Rollout, Wave

Moved: TypeAlias = Callable[[str, Progress, Progress, float], None]


class History:
    """The fold of a run's entries, built with `add`.

    Args:
        targets: the run's targets in plan order.

    Attributes:
        cursor: how far each stream was read.
        waves: all of the run, opened or not; one where nothing is said of them.
        course: which waves were opened and judged, and what people said of them.
        stopped: the rule that stopped the triggering, None while none did.
        interrupted: how the last process left, None while one drives or after the run's end.
        left_at: when the run ended, or the last process left (wall clock).
        frozen: by account and scope, the longest freeze; an owner's (no credit, abuse) lasts until a process takes up.
        is_watched: whether the process that last took it up is an onlooker, which leaves it to whoever wants to drive.
        pace: what that process was told to keep to; `claimed_at`, since when it drives the run (wall clock).
        hosts: the machines on which processes drove the run; several: the state was carried from one to another.
        proven: by account, the places in which `find` can be trusted (empty: everywhere).
        prepared: by account and repository, what the provider looked up for its triggers.
        tallies: what each process that left in order did, by account.
        moved: is told of each target that an event moves: its id, its progress before and after, and when.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets: Sequence[Target] = targets
        self.progress: dict[str, Progress] = {}
        self.cursor: dict[str, int] = {}
        self.made: RunMade | None = None
        self.made_at = 0.0
        self.waves: Sequence[Wave] = ()
        self.course = Course()
        self.stopped: Stopped | None = None
        self.interrupted: Interrupted | None = None
        self.has_ended = False
        self.left_at: float | None = None
        self.exit_code: int | None = None
        self.frozen: dict[tuple[str, Scope], Frozen] = {}
        self.accounts_stopped: dict[str, AccountStopped] = {}
        self.learnt: dict[tuple[str, Scope, str], LimitLearnt] = {}  # by account, scope and name of the limit
        self.is_watched = False
        self.pace = Pace()
        self.claimed_at = 0.0
        self.hosts: set[str] = set()
        self.proven: dict[str, set[str]] = {}
        self.prepared: dict[tuple[str, str], Json] = {}
        self.tallies: list[Tally] = []
        self.moved: Moved | None = None

    @property
    def options(self) -> RunOptions:
        """What was chosen when the run was made."""
        return RunOptions() if self.made is None else self.made.options

    @property
    def rollout(self) -> Rollout | None:
        """How the run spreads; None where its manifest says nothing."""
        return None if self.made is None else self.made.rollout

    @property
    def needs_a_driver(self) -> bool:
        """Whether there is anything left that ends in a trigger, or may: what is only followed needs no driver."""
        known = ((target, self.of(target.id)) for target in self.targets)
        return self.stopped is None and any(one.verdict is None and _may_be_sent(target, one) for target, one in known)

    def looked_for_until(self, target: Target) -> float:
        """How long an earlier request of a waiting target is looked for, at least (wall clock); 0: it is not.

        What an earlier process asked for may be handled until its settle time has passed.
        """
        kept = self.options
        is_looked_for = target.marked and (kept.adopt or target.id in kept.look_for)
        return self.claimed_at + target.timeouts.settle if is_looked_for and not self.of(target.id).attempts else 0.0

    def of(self, target: str) -> Progress:
        """The progress of a target, by id."""
        return self.progress.get(target, NEW)

    def advance(self, account: str, at: float, event: TargetEvent) -> tuple[Progress, Progress]:
        """Takes the stream's next entry in, a fact about a target; gives the target's progress before and after."""
        self.cursor[account] = self.cursor.get(account, 0) + 1
        before = self.progress.get(event.target, NEW)
        after = self.progress[event.target] = apply(before, event, at)
        if self.course.held and isinstance(event, Released):
            self.course.held.pop(event.target, None)
        if self.moved is not None:
            self.moved(event.target, before, after, at)
        return before, after

    def add(self, account: str, seq: int, at: float, event: Event) -> None:
        """Takes one more entry of the journal in."""
        self.cursor[account] = seq
        target = target_of(event)
        if target is not None:
            before = self.progress.get(target, NEW)
            # exactly the events with a target are TargetEvent
            after = self.progress[target] = apply(before, event, at)  # type: ignore[arg-type]
            if self.moved is not None:
                self.moved(target, before, after, at)
            if isinstance(event, Released):
                self.course.held.pop(target, None)
            return
        match event:
            case RunMade():
                self.made, self.made_at = event, at
                self.waves = event.waves or waves_of(self.targets)
            case WaveOpened() | WaveJudged() | Paused() | Unpaused():
                self.course.add(event, at)
            case Stopped(rule=rule):
                self.stopped = event if rule else None
                self.course.add(event, at)
            case Interrupted(tallies=tallies, exit_code=code):
                self.interrupted, self.exit_code, self.left_at = event, code, at
                self.tallies.extend(tallies)
            case RunEnded(exit_code=code, tallies=tallies):
                self.has_ended, self.interrupted, self.exit_code, self.left_at = True, None, code, at
                self.tallies.extend(tallies)
            case Claimed(host=host, onlooker=onlooker, pace=pace):
                self.hosts.add(host)
                self.is_watched, self.pace, self.claimed_at = onlooker, pace, at
                self._taken_up(account)
            case Frozen(scope=scope, until=until):
                known = self.frozen.get((account, scope))
                if known is None or until >= known.until:  # calls that were under way together may be told differently
                    self.frozen[account, scope] = event
            case AccountStopped():
                self.accounts_stopped[account] = event
            case LimitLearnt(scope=scope, rule=rule):
                self.learnt[account, scope, rule.partition(" ")[0]] = event
            case MarkerProven(place=place):
                self.proven.setdefault(account, set()).add(place)
            case Prepared(repo=repo, what=what):
                self.prepared[account, repo] = what
            case _:  # a wish is no fact about what happened
                return

    def _taken_up(self, account: str) -> None:
        """A process drives the stream again: what stopped the one before no longer holds."""
        if account == COORDINATOR:
            self.interrupted, self.exit_code, self.left_at, self.has_ended = None, None, None, False
        else:
            self.accounts_stopped.pop(account, None)
            owners = [key for key in self.frozen if key[0] == account and key[1].kind == "owner"]
            for key in owners:
                del self.frozen[key]


def waves_of(targets: Sequence[Target]) -> Sequence[Wave]:
    """The waves of targets of which only the numbers are known."""
    counted = Counter(target.wave for target in targets if target.skip is None)
    return [Wave(number, str(number), counted[number]) for number in range(1, max(counted, default=1) + 1)]


def _may_be_sent(target: Target, progress: Progress) -> bool:
    """Whether a call that starts a build of an open target may still leave, or is not answered."""
    return progress.request is None or progress.asked_at is not None or progress.reruns < target.reruns.times


def accounts_in(made: RunMade | None) -> dict[str, Account]:
    """The accounts of a run as they were when it was made, by name.

    Raises:
        JournalError: the run's first event is damaged.
    """
    return {} if made is None else {name: from_json(Account, one) for name, one in made.accounts.items()}


# -- the exit code ----------------------------------------------------------------------------------------------

# The exit code for why a process left a run; `detached` leaves everything in order.
LEFT_BY = {
    "SIGINT": Exit.SIGINT,
    "SIGTERM": Exit.SIGTERM,
    "SIGHUP": Exit.SIGTERM,  # a closed terminal counts as a polite request to leave
    "account": Exit.ACCOUNT,
    "stopped": Exit.STOPPED,
    "timeout": Exit.TIMEOUT,
}


def exit_code(
    history: History,
    fail_on: Collection[Outcome] = DEFAULT_FAIL_ON,
    left_by: str = "",
    only: Collection[str] | None = None,
) -> Exit:
    """The code for a run that has ended, or that a process leaves; the severest reason wins.

    Args:
        fail_on: outcomes that make it 1.
        left_by: why the process leaves (`events.Interrupted.signal`); empty: what the journal says.
        only: ids of the targets that count; None: all.
    """
    return severest(_reasons(history, fail_on, left_by, only))


def _reasons(
    history: History, fail_on: Collection[Outcome], left_by: str, only: Collection[str] | None
) -> Iterator[Exit]:
    signal = left_by or (history.interrupted.signal if history.interrupted else "")
    if signal in LEFT_BY:
        yield LEFT_BY[signal]
    for target in history.targets:
        if only is None or target.id in only:
            yield _of(history, target, history.of(target.id), fail_on)


def _of(history: History, target: Target, progress: Progress, fail_on: Collection[Outcome]) -> Exit:
    if progress.verdict is None:
        return _of_open(history, target, progress)
    if progress.verdict.outcome is Outcome.IN_DOUBT:
        return Exit.IN_DOUBT
    return Exit.FAILED if progress.verdict.outcome in fail_on else Exit.OK


def _of_open(history: History, target: Target, progress: Progress) -> Exit:
    """Why an open target is open; OK when nothing but time is in its way."""
    if target.account in history.accounts_stopped:
        return Exit.ACCOUNT
    if history.stopped is not None and not progress.may_exist:
        return Exit.FAILED if history.stopped.by_person else Exit.STOPPED
    return Exit.IN_DOUBT if progress.doubt is not None else Exit.OK
