"""How long builds take, learnt again from a run that goes on: from its own builds, in the light of earlier ones.

Builds that still run tell something, too: that they take longer than so. Without them the short builds, which end
first, would make all look short.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TypeAlias

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import History
from orchestrator.core.model import Build
from orchestrator.forecast.at_once import Place, Span, shown_by
from orchestrator.forecast.durations import KEPT, LONGEST, QUANTILES, Times, quantiles

Lengths: TypeAlias = list[tuple[float, bool]]
"""Seconds that builds ran, or have run so far, and whether they have ended."""

ENOUGH = 5  # builds that have ended, from which on they tell more than other repositories' builds of earlier runs
LONGER = 1.15  # a build that runs for longer than any known one is taken to run for so much of its age
OVERDUE, GRACE = 1.5, 10.0  # of the longest known length, and seconds on top: from there on nothing is known of it
LATELY = 120.0  # seconds; what answers took before that tells nothing of those to come
WIDE = 5.0  # builds take so many times as long as before, or such a part of it, at most


class Relearnt(Struct, frozen=True):
    """What a run shows.

    Args:
        overdue: ids of targets whose builds run for much longer than any that is known.
        unknown: accounts of which nothing tells how long the builds take that are still to come or to end.
    """

    times: Times
    overdue: frozenset[str]
    unknown: frozenset[str]


def relearnt(before: Times, history: History, now: float) -> Relearnt:
    """What is known now of the builds of a run.

    Args:
        before: what was known when it began.
        now: wall clock.
    """
    seen = _Seen(before, history, now)
    factors = {account: _factor(them) for account, them in seen.factors.items()}
    accounts, unknown = dict(before.accounts), set[str]()
    for account in {target.account for target in history.targets}:
        new, factor = seen.new[account], factors.get(account, 1.0)
        ended = sum(has_ended for _, has_ended in new)
        known = tuple(factor * length for length in before.accounts.get(account, ()))
        if ended >= ENOUGH or (ended and not known):
            spread = _spread(new, max(known, default=before.runs))
            known = spread.lengths
            unknown |= {account} if spread.is_guess and not before.is_sure else set()
        elif not known:
            unknown |= set() if before.is_sure else {account}
            known = (max([before.runs, *(LONGER * length for length, _ in new)]),)
        accounts[account] = known
    repos = {place: tuple(factors.get(place[0], 1.0) * length for length in at) for place, at in before.repos.items()}
    for place, own in seen.own.items():
        repos[place] = tuple(sorted([*own[-KEPT:], *repos.get(place, ())]))
    shown = {name: shown_by(them) for name, them in seen.spans.items()}
    bounds = {(name, owner): bound for name, one in shown.items() for owner, bound in one.at_once.items()}
    times = replace(
        before,
        repos=repos,
        accounts=accounts,
        queued={**before.queued, **{name: median(one.queued) for name, one in shown.items() if one.queued}},
        at_once={**before.at_once, **bounds},
        latency=median(seen.latencies) if len(seen.latencies) >= ENOUGH else before.latency,
    )
    overdue = set[str]()
    for id_, place, age in seen.running:
        longest = max(times.build(*place)[1])
        if age >= longest:  # of those that are known none fits: it gets a length of its own
            repos[place] = tuple(sorted([*times.build(*place)[1], LONGER * age]))
            overdue |= {id_} if age > OVERDUE * longest + GRACE else set()
    return Relearnt(times, frozenset(overdue), frozenset(unknown & seen.open))


class _Seen:
    """The builds of a run, sorted out.

    Attributes:
        factors: by account, how many times as long as before, of repositories that are known from before.
        new: by account, lengths of builds of repositories that are not.
        own: by repository, lengths of those that have ended.
        running: target, repository and age of those that run.
        spans: by account, when they were asked for, started and ended, or stand now.
        latencies: seconds to the answers of the triggers of the last minutes.
        open: accounts of which a target is open whose repository is not known from before.
    """

    def __init__(self, before: Times, history: History, now: float) -> None:
        self.factors: defaultdict[str, Lengths] = defaultdict(list)
        self.new: defaultdict[str, Lengths] = defaultdict(list)
        self.own: defaultdict[Place, list[float]] = defaultdict(list)
        self.running: list[tuple[str, Place, float]] = []
        self.spans: defaultdict[str, list[Span]] = defaultdict(list)
        self.latencies: list[float] = []
        self.open: set[str] = set()
        usual: dict[Place, float] = {}
        for target in history.targets:
            progress, place = history.of(target.id), (target.account, target.repo.lower())
            is_known = place in before.repos
            if not progress.is_done and not is_known:
                self.open.add(target.account)
            asked, answered = progress.triggered_at, progress.requested_at
            if asked is not None and answered is not None and answered > now - LATELY and progress.how == "answered":
                self.latencies.append(max(0.0, answered - asked))
            build = progress.build
            if build is None:
                continue
            asked = progress.requested_at or now
            started, finished = _times(build, now, is_over=progress.is_done)
            if 0.0 <= finished - started <= LONGEST and 0.0 <= started - asked <= LONGEST:
                self.spans[target.account].append(Span(target.owner.lower(), asked, started, finished))
            length, has_ended = finished - started, build.state.is_final
            if build.started_at is None or not 0.0 <= length <= LONGEST or has_ended > (build.finished_at is not None):
                continue
            if has_ended:
                self.own[place].append(length)
            else:
                self.running.append((target.id, place, length))
            if not is_known:
                self.new[target.account].append((length, has_ended))
                continue
            if place not in usual:
                usual[place] = max(1.0, median(before.repos[place]))
            self.factors[target.account].append((length / usual[place], has_ended))


def _times(build: Build, now: float, *, is_over: bool) -> tuple[float, float]:
    """When it started and ended, as far as it has come."""
    finished = build.finished_at if build.finished_at is not None and (is_over or build.state.is_final) else now
    return (finished if build.started_at is None else build.started_at), finished


def _factor(lengths: Lengths) -> float:
    """How many times as long as before builds take: of few nothing is concluded.

    Where few have ended, those that run tell at least that they take longer than so.
    """
    if sum(has_ended for _, has_ended in lengths) >= ENOUGH:
        return min(WIDE, max(1 / WIDE, median(_spread(lengths, 1.0).lengths)))
    return min(WIDE, max(1.0, LONGER * median(length for length, _ in lengths))) if len(lengths) >= ENOUGH else 1.0


class Spread(Struct, frozen=True):
    """Lengths each as likely as the others; `is_guess` where less than half of them are known."""

    lengths: tuple[float, ...]
    is_guess: bool


def _spread(lengths: Lengths, longest: float) -> Spread:
    """The product-limit estimate: what has not ended yet counts up to where it has come.

    Args:
        longest: where most run for longer than all that have ended: what these are taken for, at least.
    """
    if all(has_ended for _, has_ended in lengths):
        return Spread(quantiles([length for length, _ in lengths]), is_guess=False)
    steps = list(_survival(lengths))
    tail = LONGER * max(length for length, _ in lengths)
    if not steps or steps[-1][1] > 0.5:
        tail = max(tail, longest)
    found = []
    for number in range(QUANTILES):
        part = 1.0 - (number + 0.5) / QUANTILES
        found.append(next((length for length, left in steps if left <= part), tail))
    return Spread(tuple(found), is_guess=found.count(tail) > QUANTILES // 2)


def _survival(lengths: Sequence[tuple[float, bool]]) -> Iterator[tuple[float, float]]:
    """Each length at which a build has ended, with the part of all builds that take longer."""
    left, at_risk = 1.0, len(lengths)
    for length, has_ended in sorted(lengths, key=lambda one: (one[0], not one[1])):
        if has_ended:
            left *= 1.0 - 1.0 / at_risk
            yield length, left
        at_risk -= 1
