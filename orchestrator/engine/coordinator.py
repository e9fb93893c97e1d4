"""Decides what concerns several accounts, and journals it as facts: waves, needs, rules that stop a run, wishes.

Drivers act only on those facts, so that several processes could later share a run.
"""

from __future__ import annotations

import math

from orchestrator.core.events import (
    CANCELED,
    KEPT,
    CancelAsked,
    Event,
    Released,
    Skipped,
    Stopped,
    WaveOpened,
    Wish,
)
from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome
from orchestrator.core.progress import Progress
from orchestrator.engine.run import Run, Wake
from orchestrator.journal.port import Lease

WISHES_EVERY = 2.0  # seconds between two readings of what people wish


class Decided(Struct, frozen=True):
    """What follows from what was just journaled.

    Args:
        released: rows that may now be triggered.
        cancels: whether the builds of the run are to be canceled.
        is_news: whether there was anything.
    """

    released: tuple[int, ...] = ()
    cancels: bool = False
    is_news: bool = False


class Coordinator:
    """Decides for one run.

    Attributes:
        wake: set when a decision is to be journaled.
    """

    def __init__(self, run: Run, lease: Lease) -> None:
        self.wake = Wake()
        self._run = run
        self._lease = lease
        self._todo: list[Event] = []
        self._wish = 0
        self._unmet: dict[int, set[str]] = {}
        self._releasing: dict[str, int] = {}  # by id, rows of which it is to be journaled that they are released
        self._dependents: dict[str, list[int]] = {}
        self._cancels = False
        self._is_writing = False

    @property
    def is_idle(self) -> bool:
        """Whether every decision taken so far is journaled."""
        return not self._todo and not self._is_writing

    @property
    def nothing_to_come(self) -> bool:
        """Whether no target waits for a need any more."""
        return not self._unmet

    async def begin(self) -> None:
        """Opens the first wave, skips what the manifest skips, and takes up what an earlier process decided."""
        run = self._run
        if run.history.stopped is not None:
            if run.options.override_stop and not run.history.stopped.by_person:
                rule = f"overridden by a person: {run.history.stopped.rule}"
                self._todo.append(Stopped("", rule, self._failures))
            else:
                run.is_closed = True
        waves = {target.wave for target in run.history.targets}
        self._todo.extend(WaveOpened(wave) for wave in sorted(waves) if wave not in run.history.waves)
        self._read_needs()
        await self.decide()
        self._decide_stop()  # the process before may have died between the last failure and the stop
        if self._todo:
            await self.decide()

    def _read_needs(self) -> None:
        run = self._run
        for row, target in enumerate(run.history.targets):
            if target.skip is None and not target.needs:
                continue
            progress = run.history.of(target.id)
            if progress.is_done:
                continue
            if target.skip is not None:
                self._todo.append(Skipped(target.id, target.skip))
            elif target.needs and not progress.released:
                self._unmet[row] = set(target.needs)
                for need in target.needs:
                    self._dependents.setdefault(need, []).append(row)
        for id_, progress in run.history.progress.items() if self._dependents else ():
            if progress.is_done:
                self._decide_needs(id_, progress)

    def verdict_given(self, target: str, progress: Progress) -> None:
        """A target has ended: what follows for its dependents and for the run."""
        self._decide_needs(target, progress)
        self._decide_stop()
        if self._todo:
            self.wake.set()

    def _decide_needs(self, need: str, progress: Progress) -> None:
        passed = progress.verdict is not None and progress.verdict.outcome is Outcome.PASSED
        for row in self._dependents.pop(need, ()):
            unmet = self._unmet.get(row)
            if unmet is None:
                continue
            target = self._run.history.targets[row]
            if passed:
                unmet.discard(need)
                if not unmet:
                    del self._unmet[row]
                    self._releasing[target.id] = row
                    self._todo.append(Released(target.id))
            else:
                del self._unmet[row]
                outcome = progress.verdict.outcome if progress.verdict is not None else "open"
                self._todo.append(Skipped(target.id, f"{need}, which it needs, {_words(outcome)}", "need_not_passed"))

    def _decide_stop(self) -> None:
        run = self._run
        if run.options.max_fail is None or run.is_closed:
            return
        failures = self._failures - run.history.forgiven
        total = len(run.history.targets)
        allowed = allowed_failures(run.options.max_fail, total)
        if failures >= allowed:
            run.is_closed = True
            rule = f"max_fail {run.options.max_fail}"
            self._todo.append(Stopped(rule, f"{failures} of {total} targets did not pass; {allowed} stop the run"))
            run.notice("run.stopped", rule=rule, failures=failures)

    @property
    def _failures(self) -> int:
        return sum(self._run.outcomes[outcome] for outcome in self._run.options.failures)

    async def decide(self) -> Decided:
        """Reads what people wish, and journals what was decided; a skipped target may decide about others."""
        await self._read_wishes()
        is_news, released = bool(self._todo), list[int]()
        self._is_writing = True
        try:
            while self._todo:
                batch, self._todo = self._todo, []
                for target, progress in await self._run.append(self._lease, batch, self._run.now()):
                    self.verdict_given(target, progress)
                released += [self._releasing.pop(event.target) for event in batch if isinstance(event, Released)]
        finally:
            self._is_writing = False
        cancels, self._cancels = self._cancels, False
        return Decided(tuple(released), cancels, is_news or cancels)

    async def _read_wishes(self) -> None:
        for number, wish in await self._run.journal.wishes(self._run.id, self._wish):
            self._wish = number
            self._grant(wish)

    def _grant(self, wish: Wish) -> None:
        run = self._run
        if not isinstance(wish, CancelAsked) or run.leaves_builds or (run.is_canceling and not wish.keep_builds):
            return  # of two wishes the later one wins; builds that are left alone are not known any more
        if wish.only:
            self._cancels = True
            run.unwanted |= dict.fromkeys(wish.only, wish.by)
            for row in [row for row in self._unmet if run.history.targets[row].id in run.unwanted]:
                del self._unmet[row]
            run.notice("targets.canceled", by=wish.by, targets=len(wish.only))
            return
        run.is_closed = True
        run.is_canceling = not wish.keep_builds
        run.leaves_builds = wish.keep_builds
        run.stopping_since = run.now()
        if run.history.stopped is None or not run.history.stopped.by_person or wish.keep_builds:
            kept = KEPT if wish.keep_builds else ""
            self._todo.append(Stopped(CANCELED, f"asked by {wish.by}{kept}"))
        run.notice("run.canceled", by=wish.by, keep_builds=wish.keep_builds)
        self._cancels = True


def allowed_failures(rule: str, total: int) -> int:
    """The number of failures at which `--max-fail` stops a run of so many targets; at least one."""
    if rule.endswith("%"):
        return max(1, math.ceil(total * float(rule[:-1]) / 100.0))
    return max(1, int(rule))


def _words(outcome: str) -> str:
    verb = "was" if outcome in ("canceled", "rejected", "skipped", "superseded") else ""
    return {"in_doubt": "is in doubt", "timed_out": "timed out", "open": "is open"}.get(
        outcome, f"{verb} {outcome}".strip()
    )
