"""The life of builds in a look-alike: they wait, run within their owner's capacity, and end as chance decides.

What a rehearsal says goes before chance. A build that is started again goes through all of it once more, as another
attempt; what is due for an earlier attempt is ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import StrEnum

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit import CommonSettings, EventQueue
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.settings import Count, Range

LAST_WORDS = (  # of builds that fail, one for each repository
    "make: *** [test] Error 1",
    "E   AssertionError: assert 503 == 200",
    "npm ERR! network request to https://packages.example/left-pad failed, reason: connect ETIMEDOUT 192.0.2.35:443",
    "tar: ./build/cache-8f14e45f.tar: Cannot write: No space left on device",
)


class Stage(StrEnum):
    """How far a build has come."""

    QUEUED = "queued"
    RUNNING = "running"
    OVER = "over"


class LifeSettings(CommonSettings, frozen=True, kw_only=True):
    """How builds live: seconds in the queue, of running, until a cancel shows; how many of an owner run at once."""

    queue: Range = (1.0, 3.0)
    build: Range = (30.0, 300.0)
    change: Range = (0.5, 1.0)
    concurrency: Count = 60


class Lived(Struct, eq=False, kw_only=True):
    """A build: `nth` is its number in its repository, `outcome` the service's word once it is over.

    `began_at` is of its attempt, `ran_at` when that left the queue.
    """

    slug: str
    branch: str
    nth: int
    created_at: float
    began_at: float = 0.0
    ran_at: float | None = None
    updated_at: float = 0.0
    attempt: int = 1
    stage: Stage = Stage.QUEUED
    outcome: str | None = None

    @property
    def owner(self) -> str:
        """Whose capacity it takes."""
        return self.slug.partition("/")[0]

    def begin(self, at: float) -> None:
        """It runs from now on."""
        self.stage, self.updated_at, self.ran_at = Stage.RUNNING, at, at


class Words(Struct, frozen=True):
    """The service's words for ends; `unrun`: of builds that never begin."""

    passed: str
    failed: str
    canceled: str
    unrun: Sequence[str] = ()


class Life:
    """Lets builds live; `chances` are words for ends other than passed, with their shares."""

    def __init__(
        self,
        settings: LifeSettings,
        chance: Chance,
        events: EventQueue,
        words: Words,
        chances: Sequence[tuple[str, float]] = (),
    ) -> None:
        self._settings = settings
        self._chance = chance
        self._events = events
        self._words = words
        self._chances = chances
        self._waiting: dict[str, deque[tuple[Lived, int]]] = {}
        self._running: dict[str, int] = {}

    def start(self, at: float, build: Lived, *, stuck: bool = False) -> None:
        """It waits from now on; `stuck`: for ever."""
        build.began_at = build.updated_at = at
        build.stage, build.outcome, build.ran_at = Stage.QUEUED, None, None
        if not stuck:
            wait = self._chance.between(self._settings.queue, "queue", build.slug, build.nth, build.attempt)
            self._events.add(at + wait, self._wait, build, build.attempt)

    def again(self, at: float, build: Lived) -> None:
        """It is started again, under its id."""
        build.attempt += 1
        self.start(at, build)

    def cancel(self, at: float, build: Lived) -> None:
        """It ends a moment later, unless it has ended by then."""
        delay = self._chance.between(self._settings.change, "cancel", build.slug, build.nth, build.attempt)
        self._events.add(at + delay, self._end, build, build.attempt, self._words.canceled)

    def end(self, at: float, build: Lived, outcome: str) -> None:
        """It ends at once, with this word."""
        self._end(at, build, build.attempt, outcome)

    def printed(self, build: Lived) -> list[str]:
        """The lines that its job prints: what a rehearsal says, else which build it is, and why it failed."""
        told = self._settings.rehearsal.printed((build.slug,), build.branch)
        if told is not None:
            return told.splitlines()
        why = LAST_WORDS[int(self._chance.roll("log", build.slug) * len(LAST_WORDS))]
        has_failed = build.outcome not in (None, self._words.passed, self._words.canceled)
        return [f"{build.slug} #{build.nth}", *([why] if has_failed else [])]

    def _wait(self, at: float, build: Lived, attempt: int) -> None:
        if build.attempt != attempt or build.stage is Stage.OVER:
            return
        if (outcome := self._outcome(build)) in self._words.unrun:
            self._end(at, build, attempt, outcome)
            return
        self._waiting.setdefault(build.owner, deque()).append((build, attempt))
        self._fill(at, build.owner)

    def _fill(self, at: float, owner: str) -> None:
        waiting = self._waiting.get(owner)
        while waiting and self._running.get(owner, 0) < self._settings.concurrency:
            build, attempt = waiting.popleft()
            if build.attempt == attempt and build.stage is Stage.QUEUED:
                self._running[owner] = self._running.get(owner, 0) + 1
                build.begin(at)
                self._events.add(at + self._seconds(build), self._end, build, attempt, self._outcome(build))

    def _end(self, at: float, build: Lived, attempt: int, outcome: str) -> None:
        if build.attempt != attempt or build.stage is Stage.OVER:
            return
        self._running[build.owner] = self._running.get(build.owner, 0) - (build.stage is Stage.RUNNING)
        build.stage, build.outcome, build.updated_at = Stage.OVER, outcome, at
        self._fill(at, build.owner)

    def _seconds(self, build: Lived) -> float:
        said = self._settings.rehearsal.seconds((build.slug,), build.branch)
        if said is not None:
            return said / self._settings.time_scale
        return self._chance.between(self._settings.build, "run", build.slug, build.nth, build.attempt)

    def _outcome(self, build: Lived) -> str:
        if self._settings.rehearsal.is_to_fail((build.slug,), build.branch, build.attempt - 1):
            return self._words.failed
        found = self._chance.first_below(self._chances, "end", build.slug, build.nth, build.attempt)
        return found or self._words.passed
