"""What all parts of an engine share of one run: clocks, leases, the history, counts, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

import anyio

from orchestrator.core.errors import TooLate
from orchestrator.core.events import Event, target_of
from orchestrator.core.history import History
from orchestrator.core.model import Target, marker_of
from orchestrator.core.options import Options
from orchestrator.core.progress import Progress
from orchestrator.core.reruns import Places
from orchestrator.core.secrets import Redactor
from orchestrator.engine.counts import Counts
from orchestrator.journal.port import Entry, Incarnation, Journal, Lease, Process
from orchestrator.journal.process import boot_clock

LEASE = 30.0  # seconds for which a lease holds without a heartbeat
BEAT = LEASE / 6  # seconds between heartbeats
STALE = LEASE / 3  # seconds after the last heartbeat, from which on this process sends nothing
DAY = 86_400.0  # seconds; the clocks of two machines differ by less
HOUR = 3600.0  # seconds; more than the clocks of one machine, and of a provider, are ever corrected by
ADOPTED_WITHIN = 30 * DAY  # how far back a run with a lost state is looked for: years cannot be listed


class Observer(Protocol):
    """Is shown what happens, for the log and the live view; must not block."""

    def fact(self, entry: Entry) -> None:
        """An entry of the journal, as soon as it is durable."""
        ...

    def notice(self, name: str, **fields: Any) -> None:
        """What happens besides; `name` is a dotted fact, past tense where it is one."""
        ...


class Unobserved:
    """An observer that ignores everything."""

    def fact(self, entry: Entry) -> None:
        """Nothing."""

    def notice(self, name: str, **fields: Any) -> None:
        """Nothing."""


class Wake:
    """Lets a task sleep until there is something to do for it; a call while it works is not lost."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """There is something to do."""
        self._event.set()

    async def wait(self, at_most: float | None = None) -> None:
        """Returns when there is, or after so many seconds."""
        with anyio.move_on_after(at_most):
            await self._event.wait()
        self._event = anyio.Event()


class Clocks:
    """The clocks of a process: `wall`, `ticks` and `up` are as of `Engine`.

    Args:
        began: the state's clock at the boot.

    Attributes:
        now: the wall clock as it was read once, advanced by `ticks`, so that steps of it change nothing.
    """

    def __init__(
        self, wall: Callable[[], float], ticks: Callable[[], float], up: Callable[[], float], began: float
    ) -> None:
        offset = wall() - ticks()
        self.wall = wall
        self.now: Callable[[], float] = lambda: ticks() + offset
        self._up = up
        self._began = began

    @classmethod
    async def read(
        cls,
        journal: Journal,
        process: Process,
        wall: Callable[[], float],
        ticks: Callable[[], float],
        up: Callable[[], float],
    ) -> Clocks:
        """The clocks of a process that uses this state."""
        return cls(wall, ticks, up, await journal.clock(boot_clock(process), up(), wall()))

    def steady(self) -> float:
        """The state's clock, on which the processes of this machine agree."""
        return self._up() + self._began


class Heartbeat:
    """Holds the leases of a process, by account, and makes sure that they still hold before anything is sent.

    The state's clock may stand still while the machine sleeps, where the system has no better, and the wall clock may
    step: both are asked how long ago the last heartbeat was.
    """

    def __init__(self, journal: Journal, by: Incarnation, clocks: Clocks) -> None:
        self.leases: dict[str, Lease] = {}
        self._journal = journal
        self._by = by
        self._clocks = clocks
        self._beating = anyio.Lock(fast_acquire=True)
        self._at, self._at_wall = clocks.steady(), clocks.wall()

    async def claim(self, run: str, streams: Sequence[str]) -> None:
        """Takes the leases on these streams; `LeaseLost` where another process drives the run."""
        self._at, self._at_wall = self._clocks.steady(), self._clocks.wall()
        leases = await self._journal.claim(run, streams, self._by, self._at)
        self.leases.update(zip(streams, leases, strict=True))

    async def beat(self) -> None:
        """Renews the leases; `LeaseLost` where another process has taken one over."""
        async with self._beating:
            await self._renew()

    async def check(self) -> None:
        """Before a call leaves: a process that was stalled makes sure that its leases were not taken meanwhile."""
        if self._is_stale:
            async with self._beating:
                while self._is_stale:  # waiting for the database may have taken as long again
                    await self._renew()

    def hold(self) -> None:
        """As `check`, when the first byte is about to leave: since then a name was looked up, a connection made.

        Raises:
            TooLate: the leases are to be looked at again.
        """
        if self._is_stale:
            raise TooLate("the process was stopped before the call left")

    @property
    def _is_stale(self) -> bool:
        return self._clocks.steady() - self._at > STALE or self._clocks.wall() - self._at_wall > STALE

    async def _renew(self) -> None:
        """One at a time: of two heartbeats of an expired incarnation the second would make an heir without streams."""
        at, wall = self._clocks.steady(), self._clocks.wall()
        await self._journal.renew(self._by, at)
        self._at, self._at_wall = at, wall

    async def release(self) -> None:
        """Gives the leases back."""
        await self._journal.release(list(self.leases.values()))


class Run:
    """One run as this process drives it.

    Attributes:
        since: when this process began to drive (wall clock).
        counts: how many targets stand where.
        settled: an account has nothing left to do by itself.
        is_halted: interrupted: nothing more starts, calls under way finish.
        is_closed: a rule or a person stopped it: no more triggers; builds are followed to their end.
        is_paused: a person holds triggers and waves for a while.
        is_releasing: targets may go whose needs have passed, which is being journaled: their turn may be the next.
        sent: is told of each target whose request may exist from then on; and with None, where it does not after all.
        unwanted: ids of targets that are to be canceled while the run goes on, each with who asked for it.
        look_for: target id to the marker that an earlier run, or this one before its state was lost, may have sent:
            it is looked for before the target is triggered first.
        look_since: from when on it may have been sent (wall clock).
        attempts_before: target id to the attempts that earlier processes made.
        is_carried: the state was carried here from another machine, and does not know what was done there since.
        is_taken_over: this process did not make the run, or an earlier one has driven it: what the journal does not
            tell may have been asked for all the same, since a journal that was put back cannot be told from a good one.
        went_back: a request was seen that only a lost part of the journal, or another owner of the run, can have made.
        places: for targets that are started again, by wave.
        logs_left: how many logs of failed builds may still be read.
        redact: takes the secrets that this process knows out of a text.
        restarts: target id to the request and the build that are started again in place of a trigger.
    """

    def __init__(
        self,
        id: str,  # noqa: A002  # the field's name everywhere else
        journal: Journal,
        history: History,
        options: Options,
        clocks: Clocks,
        random: Random,
        observer: Observer,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self.redact = redact or Redactor().text
        self.id = id
        self.journal = journal
        self.history = history
        self.options = options
        self.clocks = clocks
        self.now = clocks.now
        self.since = clocks.now()
        self.random = random
        self.observer = observer
        self.notice = observer.notice
        self.name = history.made.name if history.made is not None else ""
        self.settled = Wake()
        self.is_over = False
        self.is_halted = False
        self.is_closed = not options.trigger
        self.is_paused = False
        self.is_releasing = False
        self.sent: Callable[[str, float | None], None] | None = None
        self.is_canceling = False
        self.stopping_since = math.inf  # when a build was last asked to stop for the first time, or did stop
        self.leaves_builds = False
        self.unwanted: dict[str, str] = {}
        self.counts = Counts(history)
        self.is_carried = len(history.hosts) > 1
        self.look_for = _markers_to_look_for(id, history)
        self.look_since = look_since(history) - DAY if history.made is not None else 0.0
        self.is_taken_over = False
        self.went_back = False
        self.attempts_before = {id_: one.attempts for id_, one in history.progress.items() if one.attempts}
        self.restarts = history.options.restart
        self.places = Places(history.targets, history.waves, history.progress, self._no_flakes)
        explained = sum(progress.cause is not None for progress in history.progress.values())
        self.logs_left = 0 if options.causes is None else options.causes.logs - explained

    def _no_flakes(self, wave: str, targets: int) -> None:
        """Too many targets of a wave failed to be flakes: none of it is started again any more."""
        self.notice("reruns.over", wave=wave, started_again=targets)

    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> list[tuple[str, Progress]]:
        """Appends to a stream; what is in memory follows what is durable, never the other way round.

        Returns:
            The targets that have a new verdict, by id, with their progress.
        """
        verdicts: list[tuple[str, Progress]] = []
        for entry in await self.journal.append(lease, events, at):
            progress = self._take_in(entry)
            if progress is not None:
                verdicts.append((entry.event.target, progress))  # type: ignore[union-attr]  # it has one
        return verdicts

    def _take_in(self, entry: Entry) -> Progress | None:
        """The progress of the entry's target, where the entry gave it a new verdict."""
        event = entry.event
        if target_of(event) is None:
            self.history.add(entry.account, entry.seq, entry.at, event)
            self.observer.fact(entry)
            return None
        before, after = self.history.advance(entry.account, entry.at, event)  # type: ignore[arg-type]  # has a target
        if self.sent is not None and before.asked_at != after.asked_at and after.request is None:
            self.sent(event.target, after.asked_at)  # type: ignore[union-attr]  # it has one
        self.observer.fact(entry)
        return None if before.verdict is after.verdict or after.verdict is None else after

    @property
    def looks_first(self) -> bool:
        """Whether what the journal may not tell of is looked for: before it is triggered, or to be canceled, too."""
        return not self.is_closed or (self.is_canceling and not self.leaves_builds)

    def drives(self, target: Target) -> bool:
        """Whether this process cares for the target."""
        return self.options.drives is None or target.id in self.options.drives

    def is_released(self, row: int) -> bool:
        """Whether the target's wave is open, its needs have passed, and no other run has it under way."""
        target = self.history.targets[row]
        course = self.history.course
        is_open = target.wave in course.waves and target.id not in course.held
        return is_open and (not target.needs or self.history.of(target.id).released)


def look_since(history: History) -> float:
    """From when on what is to be looked for may have been sent (wall clock)."""
    if history.options.adopt:
        return history.made_at - ADOPTED_WITHIN
    kept = history.options.look_since
    return history.made_at if kept is None else kept


def _markers_to_look_for(run: str, history: History) -> Mapping[str, str]:
    """What to look for before a first trigger: where the state was lost, or carried to another machine.

    A copy of the state knows nothing of what its original did after it was made.
    """
    made, kept = history.made, history.options
    if made is not None and (kept.adopt or (len(history.hosts) > 1 and not kept.restart)):
        return {t.id: marker_of(made.name, run, t.id) for t in history.targets if t.marked} | dict(kept.look_for)
    return kept.look_for
