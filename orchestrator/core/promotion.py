"""Which wave of a run may open, what the verdict on it is, and whether a rule stops the run: facts in, facts out.

A first run, a resumed one and the simulation decide alike: whatever is remembered here is folded from the journal,
targets are taken in by the time of their outcome and their place in the plan, and what is journaled is never judged
again. Nothing here waits; time is passed in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from orchestrator.core import evidence
from orchestrator.core.course import DENIED, GO, STOP, UNDECIDED, Course, called
from orchestrator.core.events import Denied, Event, Stopped, WaveJudged, WaveOpened
from orchestrator.core.evidence import Block, Past, Usual
from orchestrator.core.model import Outcome, Target
from orchestrator.core.progress import Progress, Verdict
from orchestrator.core.stop_rules import Counts, Look, Rules, looks, nothing_passed
from orchestrator.core.times import counted
from orchestrator.core.waves import Rollout, StopWhen, Wave

NEUTRAL = (Outcome.SKIPPED, Outcome.IN_DOUBT)  # neither bad nor good
KNOWN_RUNS = 3  # of a target, from which on it is known how it usually fares


class Usually:
    """How targets fared in earlier runs; those of one service are compared with each other.

    Args:
        targets: of the run.
        pasts: by id of the target; those of which nothing is known are left out.
        services: account to what it is an account of.
        others: by service, what is known of targets that are not of the run.

    Attributes:
        pasts: as they were given.
        by_service: how often the targets of each service fail as a rule.
    """

    def __init__(
        self,
        targets: Sequence[Target] = (),
        pasts: Mapping[str, Past] = {},
        services: Mapping[str, str] = {},
        others: Mapping[str, Sequence[Past]] = {},
    ) -> None:
        self.pasts = pasts
        self._services = services
        found: dict[str, list[Past]] = {}
        for target in targets:
            if target.skip is None:
                found.setdefault(self._service(target), []).append(pasts.get(target.id, Past()))
        self.by_service = {service: Usual([*known, *others.get(service, ())]) for service, known in found.items()}

    def chance(self, target: Target) -> float:
        """The probability with which a target fails."""
        return self.by_service[self._service(target)].chance(self.pasts.get(target.id, Past()))

    def is_red(self, target: str) -> bool:
        """Whether a target fails as a rule: in at least half of the known runs, of which there are a few."""
        past = self.pasts.get(target, Past())
        return past.all >= KNOWN_RUNS and 2 * past.bad >= past.all

    def _service(self, target: Target) -> str:
        return self._services.get(target.account, target.account)


def sent_at(progress: Progress) -> float | None:
    """When the request was asked for that exists or may exist, or was refused; None where nothing was sent."""
    if progress.triggered_at is not None:
        return progress.triggered_at
    if progress.asked_at is not None:
        return progress.asked_at
    verdict = progress.verdict
    if verdict is None or verdict.outcome is not Outcome.REJECTED:
        return None
    return verdict.at if progress.first_asked_at is None else progress.first_asked_at


class Promotion:
    """The fold.

    Args:
        waves: of the run; without a rollout it is one.
        rollout: None where the manifest says nothing: then no verdict is given on the wave.
        failures: the outcomes that are bad.

    Attributes:
        usually: how targets fared before; to be set where `needs_history` says so.
        is_stopped: a rule or a person ended the triggering.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        waves: Sequence[Wave],
        rollout: Rollout | None,
        max_fail: str | None,
        failures: Collection[Outcome],
        course: Course,
    ) -> None:
        when = StopWhen() if rollout is None else rollout.stop_when
        self.waves = waves
        self.course = course
        self.rules = Rules(when, max_fail)
        self.usually = Usually()
        self.is_stopped = False
        self.has_rollout = rollout is not None or len(waves) > 1
        self.needs_history = when.worse_than_usual is not None
        self.counts_sent = when.failed.endswith("%")
        self._targets = targets
        self._failures = frozenset(failures)
        self._rows = {target.id: row for row, target in enumerate(targets)} if self.has_rollout else {}
        self._left = Counter(target.wave for target in targets)  # by wave, targets that are not settled
        self._outcomes: dict[str, Outcome] = {}
        self._forget()

    def _forget(self, excluded: Collection[str] = ()) -> None:
        """Nothing has been counted so far; some targets never will be."""
        self._excluded = frozenset(excluded)  # settled when a person last overrode a stop
        self._settled = self._bad = self._longest = 0
        self._order: list[tuple[float, int, bool]] = []  # when, the place in the plan, and whether it is bad
        self._sent: dict[str, float] = {}
        self._sent_times: list[float] = []
        self._passed: Counter[int] = Counter()  # by wave
        self._asked: dict[int, list[str]] = {}  # by wave, the settled targets that were sent
        self._last_at: dict[int, float] = {}  # by wave, when a target was last settled
        self._bad_places: list[int] = []
        among = self._targets if self.needs_history else ()
        in_blocks = [one for one in among if one.skip is None and one.id not in self._excluded]
        self._places = {target.id: place for place, target in enumerate(in_blocks)}  # of the targets in blocks, from 0
        in_wave = Counter(target.wave for target in in_blocks)
        self._bounds = list(accumulate(in_wave[wave.number] for wave in self.waves))

    # -- facts --------------------------------------------------------------------------------------------------

    def take_up(self, known: Mapping[str, Progress]) -> list[Event]:
        """Takes in what earlier processes learnt; gives what the last of them did not come to journal."""
        until = self.course.overridden_until
        self._forget([id_ for id_, one in known.items() if one.verdict is not None and one.verdict.at <= until])
        self._outcomes.clear()
        self._left = Counter(target.wave for target in self._targets)
        for id_, one in known.items() if self.counts_sent else ():
            self.was_sent(id_, sent_at(one))
        settled = [(id_, one) for id_, one in known.items() if one.verdict is not None]
        return [fact for id_, one in self.in_order(settled) for fact in self.settle(id_, one)]

    def in_order(self, settled: Iterable[tuple[str, Progress]]) -> Sequence[tuple[str, Progress]]:
        """Targets with an outcome, by its time and by their place in the plan."""
        return sorted(
            settled, key=lambda one: (one[1].verdict.at if one[1].verdict else 0.0, self._rows.get(one[0], 0))
        )

    def was_sent(self, target: str, at: float | None) -> None:
        """A target's request was asked for then, so that it may exist; None: it is in no number."""
        known = self._sent.pop(target, None)
        if known is not None:
            del self._sent_times[bisect_left(self._sent_times, known)]
        if at is not None and target not in self._excluded:
            self._sent[target] = at
            insort(self._sent_times, at)

    def settle(self, target: str, progress: Progress) -> list[Event]:
        """A target has an outcome: the facts that follow from it, in the order in which they are to be journaled."""
        verdict = progress.verdict
        if verdict is None:
            return []
        self._count(target, verdict, sent_at(progress))
        wave = self._targets[self._rows[target]].wave if self.has_rollout else 0
        return self._decided(wave, verdict.at)

    def _decided(self, wave: int, at: float) -> list[Event]:
        """What the rules say at that instant, and the verdict on the wave where all its targets are settled."""
        if self.is_stopped:
            return []
        stop = next((look for look in self.looks(at) if look.holds), None) if self._bad else None  # none holds without
        facts: list[Event] = []
        if self._may_be_judged(wave):
            judged, stop = self._judged(wave, stop)
            facts.append(judged)
        if stop is not None:
            self.is_stopped = True
            facts.append(Stopped(stop.rule, stop.arithmetic, wave=wave))
        return facts

    def _count(self, target: str, verdict: Verdict, sent: float | None) -> None:
        outcome, before = verdict.outcome, self._outcomes.get(target)
        self._outcomes[target] = outcome
        wave = self._targets[self._rows[target]].wave if self.has_rollout else 1
        if before is None:
            self._left[wave] -= 1
        if target in self._excluded:
            return
        self._last_at[wave] = max(verdict.at, self._last_at.get(wave, verdict.at))
        if before is not None:
            self._uncount(target, before, wave)
        is_bad = outcome in self._failures and outcome not in NEUTRAL
        if outcome is Outcome.IN_DOUBT or (sent is not None and outcome is not Outcome.SKIPPED):
            self._asked.setdefault(wave, []).append(target)
        self._passed[wave] += outcome is Outcome.PASSED
        if self.counts_sent:
            is_counted = outcome not in NEUTRAL and (sent is not None or is_bad)
            self.was_sent(target, (verdict.at if sent is None else sent) if is_counted else None)
        if outcome in NEUTRAL:
            return
        self._settled += 1
        self._bad += is_bad
        if self.rules.when.in_a_row is not None:
            self._put_in_order(verdict.at, self._rows[target], is_bad)
        if is_bad and target in self._places:
            insort(self._bad_places, self._places[target])

    def _uncount(self, target: str, outcome: Outcome, wave: int) -> None:
        """Later evidence has replaced the outcome."""
        if target in (asked := self._asked.get(wave, [])):
            asked.remove(target)
        if outcome in NEUTRAL:
            return
        is_bad = outcome in self._failures
        self._passed[wave] -= outcome is Outcome.PASSED
        self._settled -= 1
        self._bad -= is_bad
        self._order = [one for one in self._order if one[1] != self._rows.get(target)]
        if is_bad and target in self._places:
            self._bad_places.remove(self._places[target])

    def _put_in_order(self, at: float, row: int, is_bad: bool) -> None:
        """An outcome may become known later than younger ones: the row of bad ones is looked for around its place."""
        insort(self._order, (at, row, is_bad))
        if not is_bad:
            return
        first = last = bisect_left(self._order, (at, row))
        while first > 0 and self._order[first - 1][2]:
            first -= 1
        while last + 1 < len(self._order) and self._order[last + 1][2]:
            last += 1
        self._longest = max(self._longest, last - first + 1)

    # -- rules --------------------------------------------------------------------------------------------------

    def looks(self, at: float) -> Iterator[Look]:
        """What each rule that is written says at that instant (wall clock)."""
        return looks(self.rules, self.counts(at))

    def counts(self, at: float) -> Counts:
        """What the rules see, of what was sent until then (wall clock)."""
        blocks = [(block, bisect_left(self._bad_places, block.targets)) for block in self.course.blocks]
        opened = max(self.course.waves, default=0)
        done = self._bounds[opened - 1] if self._bounds and opened else 0
        return Counts(
            targets=len(self._targets),
            sent=bisect_right(self._sent_times, at),
            settled=self._settled,
            bad=self._bad,
            in_a_row=self._longest,
            blocks=blocks,
            unknown=self._unknown() if self.needs_history else "",
            has_block=any(size <= done for size in self._sizes()),
        )

    def _sizes(self) -> Sequence[int]:
        """How many targets the blocks of the run have."""
        return evidence.block_sizes(self._bounds, self._bounds[-1]) if self._bounds else ()

    def _unknown(self) -> str:
        """A service of which too few outcomes are known; empty where there is none."""
        return next((service for service, usual in self.usually.by_service.items() if not usual.is_known), "")

    def blocks(self, before: int, last: int) -> tuple[Block, ...]:
        """The blocks whose last target stands in one of these waves, each with the number of bad targets that stops.

        Args:
            before: the number of the wave before them.
            last: the number of the last of them.
        """
        alpha, sizes = self.rules.when.worse_than_usual, self._sizes()
        first, bound = self._bounds[before - 1] if before else 0, self._bounds[last - 1] if last and sizes else 0
        wanted = [size for size in sizes if first < size <= bound]
        if alpha is None or not wanted or self._unknown():
            return ()
        usually = self.usually
        chances = [usually.chance(one) for one in self._targets if self._places.get(one.id, bound) < bound]
        found = evidence.stop_numbers(chances, wanted, alpha / len(sizes))
        return tuple(Block(size, number) for size, number in found.items())

    # -- waves --------------------------------------------------------------------------------------------------

    def follow_up(self, now: float) -> list[Event]:
        """What is to be journaled now although no target was settled: a verdict that is due, a rule, a denial."""
        if not self.has_rollout or not self.course.waves:
            return []
        facts = self._decided(max(self.course.waves), now)
        wave = self.course.following(self.waves)
        if facts or self.is_stopped or wave is None or wave == 1 or not self.waves[wave - 2].approve:
            return facts
        said = self.course.answer(wave)
        if not isinstance(said, Denied):
            return []
        self.is_stopped = True
        return [Stopped(DENIED, f"{said.by} denied {called(self.waves, wave)}", wave=wave)]

    def _may_be_judged(self, wave: int) -> bool:
        standing = self.course.waves.get(wave)
        is_open = standing is not None and standing.judged_at is None
        return self.has_rollout and is_open and self._left[wave] <= 0

    def _judged(self, wave: int, stop: Look | None) -> tuple[WaveJudged, Look | None]:
        """The verdict on a wave, and the rule that stops the run, if one does."""
        found = list(self.looks(self._last_at.get(wave, 0.0)))
        nothing = self._nothing_passed(wave) if wave < len(self.waves) else None
        if stop is None and nothing is not None and nothing.holds:
            stop = nothing
        if stop is not None:
            return WaveJudged(wave, STOP, stop.rule, stop.arithmetic), stop
        unsure = [look for look in found if not look.is_sure]
        why = "; ".join(f"{look.rule}: {look.arithmetic}" for look in unsure or found)
        sent = len(self._asked.get(wave, ()))
        passed = (
            f"{self._passed[wave]:,} of {counted(sent, 'sent target')} passed" if sent else "none was sent that counts"
        )
        return WaveJudged(wave, UNDECIDED if unsure else GO, "", f"{passed}; {why}" if why else passed), None

    def _nothing_passed(self, wave: int) -> Look:
        asked = self._asked.get(wave, [])
        usual = sum(map(self.usually.is_red, asked)) if self.needs_history else 0
        return nothing_passed(self.rules, len(asked), self._passed[wave], usual)

    def to_open(self, now: float) -> int | None:
        """The number of the wave that may be opened now."""
        wave = self.course.following(self.waves)
        is_held = self.is_stopped or self.course.waiting(self.waves, now) is not None
        return None if wave is None or is_held else wave

    def opened(self, wave: int) -> WaveOpened:
        """The fact that a wave is opened."""
        one, said = self.waves[wave - 1], self.course.approval(wave)
        by, at = ("", None) if said is None else (said.by, said.at)
        return WaveOpened(wave, one.name, one.targets, self.blocks(wave - 1, wave), by, approved_at=at)

    def overridden(self, stopped: Stopped, forgiven: int, now: float) -> Stopped:
        """The fact that a person overrides a stop; what is settled until now counts in no rule any more.

        Args:
            forgiven: how many targets did not pass so far.
        """
        until = max([now, *self._last_at.values()])
        sent = {id_: at for id_, at in self._sent.items() if id_ not in self._outcomes}
        self._forget(self._outcomes)
        for id_, at in sent.items():
            self.was_sent(id_, at)
        self.is_stopped = False
        blocks = self.blocks(0, max(self.course.waves, default=0)) if self.needs_history else ()
        why = f"overridden by a person: {stopped.rule}"
        return Stopped("", why, forgiven, wave=stopped.wave, until=until, blocks=blocks)
