"""Decides what concerns several accounts, and journals it as facts: waves, needs, rules that stop a run, wishes.

Drivers act only on those facts, so that several processes could later share a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.core.course import Waiting
from orchestrator.core.events import (
    ASKED,
    CANCELED,
    KEPT,
    CancelAsked,
    DriveAsked,
    Event,
    Released,
    Skipped,
    Stopped,
    WaveJudged,
    WaveOpened,
)
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import accounts_in
from orchestrator.core.needs import Needs
from orchestrator.core.progress import Progress
from orchestrator.core.promotion import Promotion, Usually
from orchestrator.core.waves import CANCEL
from orchestrator.engine.overlap import under_way
from orchestrator.engine.run import Run, Wake
from orchestrator.journal.pasts import Read, usually
from orchestrator.journal.port import Lease

WISHES_EVERY = 2.0  # seconds between two readings of what people wish
OVERLAPS_EVERY = 10.0  # seconds between two looks at what another run has under way


class Decided(Struct, frozen=True):
    """What follows from what was just journaled.

    Args:
        released: rows that may now be triggered.
        cancels: whether the builds of the run are to be canceled.
        is_news: whether there was anything.
        hands_over: whether another process wants to drive the run, and this one only looks on.
    """

    released: tuple[int, ...] = ()
    cancels: bool = False
    is_news: bool = False
    hands_over: bool = False


class Coordinator:
    """Decides for one run.

    Attributes:
        wake: set when a decision is to be journaled.
    """

    def __init__(self, run: Run, lease: Lease) -> None:
        history, options = run.history, run.options
        self.wake = Wake()
        self._run = run
        self._lease = lease
        self._todo: list[Event] = []
        self._wish = 0
        self._read: Read = {}  # of earlier runs, from the opening of one wave to the next
        self._needs = Needs((), {})
        self._releasing: dict[str, int] = {}  # by id, rows of which it is to be journaled that they are released
        self._cancels = False
        self._hands_over = False
        self._has_begun = False
        self._is_writing = False
        self._told: Waiting | None = None
        self._looks_at = -math.inf  # when other runs are to be looked at next
        self._course, self._waves = history.course, history.waves
        self._promotion = Promotion(
            history.targets, self._waves, history.rollout, options.max_fail, options.failures, self._course
        )
        self._judges = options.trigger and (self._promotion.has_rollout or options.max_fail is not None)
        if self._judges and self._promotion.counts_sent:
            run.sent = self._promotion.was_sent

    # -- for the engine -----------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether every decision taken so far is journaled."""
        return not self._todo and not self._is_writing

    @property
    def nothing_to_come(self) -> bool:
        """Whether no target waits for a need or a wave any more."""
        return (
            not self._needs.are_awaited
            and not self._course.held
            and (self._run.is_closed or len(self._course.waves) >= len(self._waves))
        )

    @property
    def awaits(self) -> bool:
        """Whether a wave is opened by time alone, or by a person for whom this process waits."""
        run, now = self._run, self._run.now()
        if run.is_closed or run.is_halted:
            return False
        if self._course.held and not run.is_paused:
            return True
        waiting = self._course.waiting(self._waves, now)
        if waiting is None:
            return self._promotion.to_open(now) is not None
        if run.options.detach:
            return self._course.soaks_until(self._waves, now) is not None
        return waiting.wave > 0

    @property
    def waiting(self) -> Waiting | None:
        """What keeps the next wave from being opened, or triggers from leaving; None where nothing does."""
        return None if self._run.is_closed else self._course.waiting(self._waves, self._run.now())

    @property
    def waits_for(self) -> str | None:
        """The same as a sentence."""
        waiting = self.waiting
        return None if waiting is None else self._course.told(waiting, self._waves)

    @property
    def seconds(self) -> float:
        """Until there may be something to decide by itself."""
        now = self._run.now()
        soak = self._course.soaks_until(self._waves, now)
        return WISHES_EVERY if soak is None else min(WISHES_EVERY, soak - now)

    # -- decisions ----------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Opens the first wave, skips what the manifest skips, and takes up what an earlier process decided."""
        run, promotion, stopped = self._run, self._promotion, self._run.history.stopped
        if self._judges and promotion.needs_history:
            promotion.usually = await self._usually()
        if stopped is not None:
            promotion.is_stopped = True
        facts = promotion.take_up(run.history.progress) if self._judges else []
        overridden_until = self._course.overridden_until
        if stopped is not None and run.options.override_stop and not stopped.by_person:
            override = promotion.overridden(stopped, self._failures, run.now())
            overridden_until = override.until
            facts.append(override)
        elif stopped is not None:
            run.is_closed = True
            self._cancel_where_written(stopped)
        self._decide(facts)
        self._read_plan(overridden_until)
        await self.decide()
        self._run.is_releasing = False  # no driver has begun
        self._has_begun = True

    async def _usually(self) -> Usually:
        """How targets fared as a rule, as the state tells it now."""
        run, history = self._run, self._run.history
        accounts, failures = accounts_in(history.made), history.options.failures
        return await usually(run.journal, history.targets, accounts, failures, run.id, self._read)

    def _read_plan(self, overridden_until: float) -> None:
        """Skips what the manifest skips, and takes up what waits for needs."""
        history = self._run.history
        skipped = [one for one in history.targets if one.skip is not None and not history.of(one.id).is_done]
        self._todo += [Skipped(one.id, one.skip or "") for one in skipped]
        self._needs = Needs(history.targets, history.progress, overridden_until, self._course.waves)
        self._decide_needs(self._needs.begin())

    def _decide_needs(self, facts: Sequence[Event]) -> None:
        """As `_decide`; a run that has stopped is not stopped once more, and what another run holds is not released."""
        for fact in facts:
            if isinstance(fact, Released):
                if fact.target not in self._course.held:
                    self._release(self._needs.row_of(fact.target))
            elif not (isinstance(fact, Stopped) and self._run.is_closed):
                self._decide([fact])

    def _decide(self, facts: Sequence[Event]) -> None:
        """These facts are to be journaled; a stop acts at once."""
        run = self._run
        self._todo += facts
        for stop in [fact for fact in facts if isinstance(fact, Stopped) and fact.rule]:
            run.is_closed = self._promotion.is_stopped = True
            run.notice("run.stopped", rule=stop.rule, why=stop.arithmetic)
            self._cancel_where_written(stop)

    def _cancel_where_written(self, stop: Stopped) -> None:
        """Where the manifest says so, the builds of a run that a rule has stopped are canceled."""
        rollout = self._run.history.rollout
        if rollout is not None and rollout.on_stop == CANCEL and not stop.by_person:
            self._run.is_canceling = self._cancels = True
            self._run.stopping_since = self._run.now()

    def verdicts_given(self, verdicts: Sequence[tuple[str, Progress]]) -> None:
        """Targets have ended: what follows for their dependents and for the run."""
        for target, progress in self._promotion.in_order(verdicts) if self._judges else verdicts:
            self._decide_needs(self._needs.settled(target, progress))
            if self._judges:
                self._decide(self._promotion.settle(target, progress))
        if self._todo:
            self.wake.set()

    @property
    def _failures(self) -> int:
        return sum(self._run.counts.outcomes[outcome] for outcome in self._run.options.failures)

    async def decide(self) -> Decided:
        """Reads what people wish, and journals what was decided; a skipped target may decide about others."""
        await self._read_wishes()
        if self._course.held:
            await self._let_go()
        is_news, released = bool(self._todo), list[int]()
        self._is_writing = True
        try:
            while self._todo or await self._goes_on():
                batch, self._todo = [self._stamped(event) for event in self._todo], []
                is_news = True
                self.verdicts_given(await self._run.append(self._lease, batch, self._run.now()))
                for event in batch:
                    if isinstance(event, Released):
                        released.append(self._releasing.pop(event.target))
                    elif isinstance(event, WaveOpened):
                        released += self._rows_of(event.wave)
                        self._decide_needs(self._needs.opened(event.wave))
        finally:
            self._is_writing = False
        self._tell_waiting()
        cancels, self._cancels = self._cancels, False
        return Decided(tuple(released), cancels, is_news or cancels, self._hands_over)

    def _stamped(self, event: Event) -> Event:
        """A verdict tells which wishes came before it."""
        return replace(event, wish=self._wish) if isinstance(event, WaveJudged) else event

    async def _goes_on(self) -> bool:
        """Whether the run goes on by a verdict, a stop, or a wave, which is then to be journaled."""
        run, promotion = self._run, self._promotion
        if run.is_closed or run.is_halted:
            return False
        self._decide(promotion.follow_up(run.now()) if self._judges else [])
        if not self._todo and (wave := promotion.to_open(run.now())) is not None:
            if promotion.needs_history and wave > 1:
                promotion.usually = await self._usually()
            ids = {run.history.targets[row].id for row in self._rows_of(wave)} if wave > 1 else ()
            held = await under_way(run.journal, run.id, run.history, ids) if ids else {}
            self._todo.append(replace(promotion.opened(wave), held=held))
        return bool(self._todo)

    async def _let_go(self) -> None:
        """Releases what another run had under way, once it has ended there."""
        run, held = self._run, self._course.held
        if run.is_closed or run.is_halted or run.now() < self._looks_at:
            return
        self._looks_at = run.now() + OVERLAPS_EVERY
        still = await under_way(run.journal, run.id, run.history, held.keys())
        for row, target in enumerate(run.history.targets):
            if target.id in held and target.id not in still and not self._needs.hold(row):
                self._release(row)

    def _release(self, row: int) -> None:
        target = self._run.history.targets[row]
        if target.id not in self._releasing:
            self._releasing[target.id] = row
            self._run.is_releasing = True
            self._todo.append(Released(target.id))

    def _tell_waiting(self) -> None:
        """Says once who waits for whom."""
        waiting = self.waiting
        if waiting is not None and waiting != self._told:
            run, waits = self._run, self._course.told(waiting, self._waves)
            run.notice("run.waits", waits=waits, run=run.id, on=waiting.kind)
        self._told = waiting

    def _rows_of(self, wave: int) -> list[int]:
        return [row for row, target in enumerate(self._run.history.targets) if target.wave == wave]

    async def _read_wishes(self) -> None:
        run = self._run
        numbered = await run.journal.wishes(run.id, self._wish)
        for number, wish in numbered:
            self._wish = number
            self._course.wished(number, wish)
            if isinstance(wish, DriveAsked) and run.options.looks_on:
                self._hands_over |= self._has_begun  # those from before this process took it up were for others
        cancels = [wish for _, wish in numbered if isinstance(wish, CancelAsked)]
        of_all = [wish for wish in cancels if not wish.only][-1:]  # the last one wins
        for wish in [wish for wish in cancels if wish.only] + of_all:
            self._grant(wish)
        if (news := self._course.pause_news) is not None and run.options.trigger:
            self._todo.append(news)
        run.is_paused = self._course.pause is not None

    def _grant(self, wish: CancelAsked) -> None:
        run = self._run
        if (run.is_canceling and not wish.keep_builds) or (run.leaves_builds and wish.only):
            return  # builds that are left alone are not known any more
        if wish.only:
            self._cancels = True
            run.unwanted |= dict.fromkeys(wish.only, wish.by)
            self._needs.forget(run.unwanted)
            run.notice("targets.canceled", by=wish.by, targets=len(wish.only))
            return
        run.is_closed = True
        run.is_canceling = not wish.keep_builds
        run.leaves_builds = wish.keep_builds
        run.stopping_since = run.now()
        stopped = run.history.stopped
        if stopped is None or not stopped.by_person or stopped.keeps_builds != wish.keep_builds:
            kept = KEPT if wish.keep_builds else ""
            self._todo.append(Stopped(CANCELED, f"{ASKED}{wish.by}{kept}"))
        run.notice("run.canceled", by=wish.by, keep_builds=wish.keep_builds)
        self._cancels = True
