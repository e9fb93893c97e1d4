"""Why a target is still open, as far as the journal tells: a code and a sentence, and the rules that hold it back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from orchestrator.core.course import DENIED, PAUSE, called, stop_told
from orchestrator.core.errors import UsageError
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import BuildState, Outcome, Phase, Target, scopes_around
from orchestrator.core.progress import Progress
from orchestrator.core.times import clock
from orchestrator.forecast.remaining import reasons
from orchestrator.limits.rules import NOTHING, Wait
from orchestrator.providers import registry

PAUSED, OVERLAP = "paused", "overlap"  # the codes of a target that a pause holds, or another run
TURN = "turn"  # the code of one that waits for nothing but a rule of the admission


class Rules:
    """The rules that hold waiting targets back at an instant, as the admission knows them.

    Args:
        now: wall clock.
    """

    def __init__(self, history: History, now: float) -> None:
        self._history = history
        self._now = now
        self._reasons: Callable[[Target], Iterator[Wait]] | None = None  # made when the first target is asked for

    def of(self, target: Target) -> Iterator[Wait]:
        """What holds the target's trigger back, in the order in which the rules are asked."""
        if self._history.of(target.id).phase is not Phase.WAITING:
            return iter(())
        if self._reasons is None:
            self._reasons = self._asked()
        return self._reasons(target)

    def _asked(self) -> Callable[[Target], Iterator[Wait]]:
        accounts = accounts_in(self._history.made)
        try:
            declarations = {account.type: registry.declaration(account.type) for account in accounts.values()}
        except UsageError:  # a provider that is not installed here: its rules are not known
            return _unknown
        if not {target.account for target in self._history.targets} <= accounts.keys():  # the journal is damaged
            return _unknown
        return reasons(self._history, declarations, self._now)

    def first(self, target: Target) -> Wait:
        """The one that holds it back for longest, where there is room for one only."""
        certain = (wait for wait in self.of(target) if wait.is_certain)
        return max(certain, key=lambda wait: wait.until, default=NOTHING)


def _unknown(target: Target) -> Iterator[Wait]:
    return iter(())


def waits_for(history: History, target: Target, now: float, rules: Rules | None = None) -> tuple[str, str]:
    """What an open target waits for.

    Args:
        now: the instant for which it is told (wall clock).
        rules: of the history, at that instant; where many targets are told of, they share one.

    Returns:
        A stable code and a sentence for a person.
    """
    progress = history.of(target.id)
    told = (
        _account(history, target, progress),
        _provider(progress, is_paused=history.course.pause is not None),
        _before(history, target, now),
    )
    found = next((reason for reason in told if reason is not None), None)
    return found or _turn(history, target, rules or Rules(history, now))


def _account(history: History, target: Target, progress: Progress) -> tuple[str, str] | None:
    stop = history.accounts_stopped.get(target.account)
    if stop is None:
        return None
    later = f"; a resume makes sense after {clock(stop.until)}" if stop.until is not None else ""
    seen = f"; the build was last seen {progress.build.state}" if progress.build is not None else ""
    if progress.request is None and progress.asked_at is not None:
        seen = "; the answer to its trigger was lost, and a resume looks for its request before it asks again"
    return "account_stopped", f"account {target.account} stopped: {stop.cause}{seen}{later}"


def _provider(progress: Progress, *, is_paused: bool) -> tuple[str, str] | None:
    """What the provider still owes us, once a trigger call was made."""
    if progress.is_restarting:
        return "in_doubt", "its build was asked to start again; the build itself will show whether it did"
    if progress.build is not None and progress.build.state.is_final:
        again = f"the build {progress.build.state}; it waits to be started again"
        return (PAUSED if is_paused else TURN), again
    if progress.build is not None:
        word = "queued" if progress.build.state is BuildState.QUEUED else "running"
        detail = f": {progress.build.reason}" if progress.build.reason else ""
        return f"build_{word}", f"the build is {word}{detail}"
    if progress.request is not None:
        return "no_build_yet", "the provider has the request and shows no build yet"
    if progress.doubt is not None:
        # without a time, so that like goes with like
        return "in_doubt", f"answer lost: {progress.doubt.cause}; its request is looked for before it is asked again"
    if progress.asked_at is not None:
        return "in_doubt", "the trigger call was about to leave and its answer is not known; a lookup will tell"
    return None


def _before(history: History, target: Target, now: float) -> tuple[str, str] | None:
    """What keeps the trigger call from being made."""
    stopped = history.stopped
    if stopped is not None:
        if stopped.by_person:
            word = "run_canceled"
        elif stopped.rule == DENIED:
            word = DENIED
        else:
            is_open = target.wave == 1 or target.wave in history.course.waves
            word = "run_stopped" if is_open else "wave_not_opened"
        return word, f"not triggered: {stop_told(stopped)}"
    if target.wave not in history.course.waves and (held := _wave(history, target, now)) is not None:
        return held
    waiting = list(unmet_needs(history, target))
    if waiting:
        more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
        return "needs", f"waits for {', '.join(waiting[:3])}{more}"
    return _wave(history, target, now) or _frozen(history, target, now)


def _wave(history: History, target: Target, now: float) -> tuple[str, str] | None:
    """What keeps the target's wave from being opened, or a person from letting it be triggered."""
    course, waves = history.course, history.waves
    waiting = course.waiting(waves, now)
    if target.id in course.held:
        return OVERLAP, f"run {course.held[target.id]} has a build of it under way"
    if target.wave in course.waves:
        return None if waiting is None or waiting.kind != PAUSE else (PAUSED, course.told(waiting, waves))
    if target.wave == course.following(waves) and waiting is not None:
        return PAUSED if waiting.kind == PAUSE else waiting.kind, course.told(waiting, waves)
    if target.wave == 1:
        return None
    if target.wave == course.following(waves):
        return "wave", course.of_next(waves, is_left=history.left_at is not None)
    return "wave", f"{called(waves, target.wave)} opens after the verdict on {called(waves, target.wave - 1)}"


def unmet_needs(history: History, target: Target) -> Iterator[str]:
    """The ids of the targets that must pass before this one, and have not."""
    if history.of(target.id).released:
        return
    for need in target.needs:
        verdict = history.of(need).verdict
        if verdict is None or verdict.outcome is not Outcome.PASSED:
            yield need


def _frozen(history: History, target: Target, now: float) -> tuple[str, str] | None:
    found = [history.frozen.get((target.account, scope)) for scope in scopes_around(target.repo)]
    held = [freeze for freeze in found if freeze is not None and freeze.until > now]
    if not held:
        return None
    last = max(held, key=lambda freeze: freeze.until)
    return "frozen", f"{last.scope} is left alone until {clock(last.until)}: {last.cause}"


def _turn(history: History, target: Target, rules: Rules) -> tuple[str, str]:
    if history.interrupted is not None:
        return "not_triggered", f"not triggered before the run was left ({history.interrupted.signal})"
    # without its place, so that like goes with like
    return TURN, f"waits for {rules.first(target).rule or 'its turn'}"


def held_by(history: History, target: Target, now: float) -> Iterator[str]:
    """The rules that hold the trigger of a waiting target back until something ends, or may do so, a line each.

    Args:
        now: wall clock.
    """
    for wait in Rules(history, now).of(target):
        if wait.until == math.inf or wait.ends is not None:
            yield f"{'held' if wait.is_certain else 'may be held'} by: {wait}"
