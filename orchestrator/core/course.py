"""How a run went through its waves: a fold over the facts of its journal and over what people wish, and nothing else.

What a run waits for before its next wave is a function of that, asked by engine, reports and verbs alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.core.events import (
    Approved,
    Denied,
    PauseAsked,
    Paused,
    Stopped,
    UnpauseAsked,
    Unpaused,
    WaveJudged,
    WaveOpened,
    Wish,
)
from orchestrator.core.evidence import Block
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.times import clock
from orchestrator.core.waves import Wave

GO, STOP, UNDECIDED = "go", "stop", "undecided"
DENIED = "denied"  # the rule of `Stopped` where a person did not let a wave open
APPROVAL, SOAK, PAUSE = "approval", "soak", "pause"
OVERRIDE = "--override-stop"  # approves what had been denied


class Standing(Struct, frozen=True, omit_defaults=True, gc=False):
    """How far a wave that was opened has come.

    Args:
        by: who approved it; empty where nobody was asked.
        approved_at: when they did (wall clock); None where nobody was asked.
        judged_at: when its verdict was given; None as long as there is none.
        verdict: `go`, `stop`, `undecided`; empty as long as there is none.
        why: the arithmetic of that.
        wish: the number of the last wish before the verdict.
    """

    opened_at: float
    by: str = ""
    blocks: tuple[Block, ...] = ()
    judged_at: float | None = None
    verdict: str = ""
    rule: str = ""
    why: str = ""
    wish: int = 0
    approved_at: float | None = None


class Waiting(Struct, frozen=True, gc=False):
    """What keeps a wave from being opened, or triggers from leaving.

    Args:
        kind: `approval`, `soak` or `pause`.
        wave: the number of the wave that is to be opened; 0 where a pause holds the triggers of an open one.
        until: when a soak is over (wall clock); infinity where only a person can tell.
    """

    kind: str
    wave: int
    until: float = math.inf


def called(waves: Sequence[Wave], number: int) -> str:
    """A wave as people call it: `wave 2 (early)`."""
    name = waves[number - 1].name if 0 < number <= len(waves) else str(number)
    return f"wave {number}" + (f" ({name})" if name != str(number) else "")


def stop_told(stopped: Stopped) -> str:
    """What stopped a run: the rule with its numbers; what a person did says by itself who did what."""
    if stopped.rule == DENIED:
        return stopped.arithmetic
    return f"{'' if stopped.by_person else 'stopped by '}{stopped.rule}: {stopped.arithmetic}"


class Course:
    """The fold, built with `add` and `wished`.

    Attributes:
        waves: by number, those that were opened.
        paused: the pause that is journaled, None while none is.
        blocks: those by which failures count now.
        overridden_until: targets settled until then (wall clock) are in no rule's numbers any more.
        held: targets that another open run has under way, each with that run.
        wish: the number of the last wish that was taken in.
        denial: the wish that a wave is not opened, as long as nobody has overridden it.
    """

    def __init__(self) -> None:
        self.waves: dict[int, Standing] = {}
        self.paused: Paused | None = None
        self.blocks: list[Block] = []
        self.overridden_until = -math.inf
        self.wish = 0
        self.held: dict[str, str] = {}
        self._pause: PauseAsked | UnpauseAsked | None = None
        self._answers: list[tuple[int, Approved | Denied]] = []
        self._overridden: dict[int, float] = {}  # by wave, when its denial was overridden

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Course) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, event: WaveOpened | WaveJudged | Stopped | Paused | Unpaused, at: float) -> None:
        """Takes a fact in."""
        match event:
            case WaveOpened(wave=wave, blocks=blocks, by=by, held=held, approved_at=approved_at):
                self.waves[wave] = Standing(at, by, blocks, approved_at=approved_at)
                self.held |= held
                self.blocks += blocks
            case WaveJudged(wave=wave, verdict=verdict, rule=rule, arithmetic=why, wish=wish):
                known = self.waves.get(wave, Standing(at))
                self.waves[wave] = replace(known, judged_at=at, verdict=verdict, rule=rule, why=why, wish=wish)
            case Paused():
                self.paused = event
            case Unpaused():
                self.paused = None
            case Stopped(rule="", until=until, blocks=blocks, wave=wave):
                self.overridden_until = until or at
                self.blocks = list(blocks)
                self._overridden[wave] = at
            case _:  # a stop is the history's
                return

    def wished(self, number: int, wish: Wish) -> None:
        """Takes in what a person wishes; wishes are numbered in the order of writing."""
        if number <= self.wish:
            return
        self.wish = number
        if isinstance(wish, PauseAsked | UnpauseAsked):
            self._pause = wish
        elif isinstance(wish, Approved | Denied):
            self._answers.append((number, wish))

    # -- what follows -------------------------------------------------------------------------------------------

    @property
    def pause(self) -> Paused | PauseAsked | None:
        """Who holds the run; of several wishes the last one counts, journaled as a fact or not yet."""
        if self._pause is None:
            return self.paused
        return self._pause if isinstance(self._pause, PauseAsked) else None

    @property
    def pause_news(self) -> Paused | Unpaused | None:
        """What a person wishes of a pause that is not journaled as a fact yet."""
        wish = self._pause
        if wish is None or isinstance(wish, PauseAsked) == (self.paused is not None):
            return None
        return Paused(wish.by, wish.at) if isinstance(wish, PauseAsked) else Unpaused(wish.by, wish.at)

    def following(self, waves: Sequence[Wave]) -> int | None:
        """The number of the wave that is to be opened next; None while the verdict on the last one is missing."""
        if not self.waves:
            return 1
        last = max(self.waves)
        if last >= len(waves) or self.waves[last].judged_at is None:
            return None
        return last + 1

    def answer(self, wave: int) -> Approved | Denied | None:
        """What a person said last of opening this wave, after the verdict on the one before."""
        before = self.waves.get(wave - 1)
        if before is None or before.judged_at is None:
            return None
        # by their numbers, since the clocks of those who wish and of those who judge may differ
        valid = [said for number, said in self._answers if number > before.wish and said.wave in (0, wave)]
        if not valid:
            return None
        said = valid[-1]
        if isinstance(said, Denied) and (at := self._overridden.get(wave)) is not None:
            return Approved(OVERRIDE, at, wave)
        return said

    def approval(self, wave: int) -> Approved | None:
        """Who lets this wave open, or let it, and when; None where nobody did so far."""
        said, opened = self.answer(wave), self.waves.get(wave)
        if opened is None:
            return said if isinstance(said, Approved) else None
        return Approved(opened.by, opened.approved_at or 0.0, wave) if opened.by else None

    def waiting(self, waves: Sequence[Wave], now: float) -> Waiting | None:
        """What the run waits for, beside builds; None where nothing is in the way, or there is nothing to open.

        Args:
            waves: all of the run.
            now: wall clock.
        """
        wave = self.following(waves)
        if self.pause is not None:
            return Waiting(PAUSE, wave or 0)
        if wave is None or wave == 1:
            return None
        if waves[wave - 2].approve and self.approval(wave) is None:
            return Waiting(APPROVAL, wave)
        until = self.soaks_until(waves, now)
        return None if until is None else Waiting(SOAK, wave, until)

    def is_up_to_a_person(self, waves: Sequence[Wave], upto: int) -> bool:
        """Whether nobody can foretell when this wave is open and triggered, since a person has still to let it."""
        still = range(max(self.waves, default=0) + 1, upto + 1)
        is_asked = any(wave > 1 and waves[wave - 2].approve and self.approval(wave) is None for wave in still)
        return self.pause is not None or is_asked

    def told(self, waiting: Waiting, waves: Sequence[Wave]) -> str:
        """What the run waits for, as a sentence."""
        if waiting.kind == PAUSE:
            pause = self.pause
            held = "paused" if pause is None else f"paused by {pause.by} at {clock(pause.at)}"
            by = self._approved(waiting.wave)
            return f"{held}; {called(waves, waiting.wave)}, {by}, opens after that" if by else held
        name = called(waves, waiting.wave)
        if waiting.kind == SOAK:
            before = called(waves, waiting.wave - 1)
            by = self._approved(waiting.wave)
            return f"{name}{by and f', {by},'} opens at {clock(waiting.until)}, when the soak after {before} is over"
        return f"{name} waits for a person to approve it"

    def _approved(self, wave: int) -> str:
        """That a person lets a wave open, as an attribute of it; empty where nobody does."""
        said = self.approval(wave)
        return "" if said is None else f"approved by {said.by}{f' at {clock(said.at)}' if said.at else ''}"

    def of_next(self, waves: Sequence[Wave], *, is_left: bool) -> str:
        """What is known of a wave for which nothing has to be waited any more, as a sentence.

        Args:
            is_left: whether no process drives the run.
        """
        wave = self.following(waves) or 1
        by, before = self._approved(wave), self.waves.get(wave - 1)
        said = by or ("" if before is None else f"with the verdict {before.verdict} on {called(waves, wave - 1)}")
        when = "when the run is resumed" if is_left else "as soon as a process drives the run"
        return f"{called(waves, wave)}, {said}, opens {when}"

    def soaks_until(self, waves: Sequence[Wave], now: float) -> float | None:
        """When the soak before the next wave is over, whatever else it waits for; None where none is left."""
        wave = self.following(waves)
        soak = 0.0 if wave is None or wave == 1 else waves[wave - 2].soak
        if wave is None or not soak:
            return None
        until = (self.waves[wave - 1].judged_at or 0.0) + soak
        return until if now < until else None
