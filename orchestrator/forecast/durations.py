"""How long calls and builds take: what earlier runs showed, else assumptions, which are named as such."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from statistics import median

from orchestrator.core.evidence import Past
from orchestrator.core.frozen import Struct, field, replace
from orchestrator.core.minutes import Minutes, summed
from orchestrator.core.model import Build, Plan, Target
from orchestrator.core.next_step import FIRST_POLL, NARROWEST, next_poll, tick
from orchestrator.core.reruns import FAILED
from orchestrator.forecast.at_once import Place, Span, shown_by

LATENCY = 0.25  # seconds from a call to its answer
APPEARS = 2.0  # seconds from the receipt to the build
BUILD = 300.0  # seconds that a build runs where nothing is known
KEPT = 20  # lengths of a repository's builds that count, the newest
LONGEST = 7 * 86400.0  # seconds; what a clock that was wrong shows as longer is left out
QUANTILES = 20  # lengths that stand for the builds of an account


class Times(Struct, frozen=True):
    """What a forecast supposes.

    Args:
        latency: seconds from a call to its answer.
        queued: seconds from a request to the start of its build; by account where earlier runs showed it.
        repos: seconds that builds ran, by account and repository: each as often in a run as the others.
        accounts: the same, by account, for the builds of repositories that are not there.
        starts: seconds from a request to the start of its build where no earlier run tells.
        runs: seconds that a build runs where no earlier run tells.
        beside: ids of runs that go on in the same state; what they call is not known here.
        builds: how many builds of earlier runs this rests on.
        failing: by account, the share of those builds that failed, where some did.
        pasts: by account and repository, how many of those builds failed.
        at_once: how many builds the service runs at once, where earlier runs showed that.
        rehearsed: the places in `at_once` of which no run showed it, but a look-alike does so.
        is_sure: whether `runs` is more than an assumption.
        looked_up: places in `repos` of which only the provider's last builds tell.
    """

    latency: float = LATENCY
    queued: Mapping[str, float] = field(default_factory=dict)
    repos: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)
    accounts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    starts: float = APPEARS
    runs: float = BUILD
    builds: int = 0
    failing: Mapping[str, float] = field(default_factory=dict)
    pasts: Mapping[Place, Past] = field(default_factory=dict)
    at_once: Mapping[Place, int] = field(default_factory=dict)
    rehearsed: frozenset[Place] = frozenset()
    is_sure: bool = False
    looked_up: frozenset[tuple[str, str]] = frozenset()
    beside: tuple[str, ...] = ()

    def build(self, account: str, repo: str) -> tuple[float, tuple[float, ...]]:
        """Seconds from a request to the start of its build, and the lengths that its build may have.

        Args:
            repo: as limits count it.
        """
        lengths = self.repos.get((account, repo)) or self.accounts.get(account) or (self.runs,)
        return self.queued.get(account, self.starts), lengths

    def minutes(self, plan: Plan) -> Sequence[Minutes]:
        """What the builds of a plan are expected to run in all; nothing where no earlier build tells of any."""
        if not self.repos and not self.accounts:
            return ()
        wanted = [target for target in plan.targets if target.skip is None]
        lengths = ((target, self.build(target.account, target.repo.lower())[1]) for target in wanted)
        return summed(((one.account, one.owner, sum(all_) / len(all_)) for one, all_ in lengths), plan.accounts)


ASSUMED = Times()


def times_of(builds: Iterable[tuple[Target, Build]]) -> Times:
    """What builds of earlier runs tell.

    Args:
        builds: ended ones, the newest first; each as created when it was known that it was asked for.
    """
    runs: defaultdict[Place, list[float]] = defaultdict(list)
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    ended: Counter[Place] = Counter()
    failed: Counter[Place] = Counter()
    for target, build in builds:
        place = target.account, target.repo.lower()
        ended[place] += 1
        failed[place] += build.state in FAILED
        asked, started, finished = build.created_at, build.started_at, build.finished_at
        if started is None or finished is None or not _is_length(finished - started):
            continue
        if len(runs[place]) < KEPT:
            runs[place].append(finished - started)
        if asked is not None and _is_length(started - asked):
            spans[target.account].append(Span(target.owner.lower(), asked, started, finished))
    accounts: defaultdict[str, list[float]] = defaultdict(list)
    for (account, _), found in runs.items():
        accounts[account] += found
    shown = {name: shown_by(them) for name, them in spans.items()}
    return Times(
        queued={name: median(one.queued) for name, one in shown.items() if one.queued},
        repos={place: tuple(sorted(found)) for place, found in runs.items()},
        accounts={name: quantiles(found) for name, found in accounts.items()},
        builds=sum(map(len, runs.values())),
        failing=dict(_shares(ended, failed)),
        pasts={place: Past(failed[place], count) for place, count in ended.items()},
        at_once={(name, owner): bound for name, one in shown.items() for owner, bound in one.at_once.items()},
    )


def _shares(ended: Mapping[Place, int], failed: Mapping[Place, int]) -> Iterator[tuple[str, float]]:
    """By account, how large a share failed, where some did."""
    for account in {account for account, _ in ended}:
        if bad := sum(count for (name, _), count in failed.items() if name == account):
            yield account, bad / sum(count for (name, _), count in ended.items() if name == account)


def with_last_builds(times: Times, lengths: Mapping[tuple[str, str], tuple[float, ...]]) -> Times:
    """The same, with what a look at the provider's last builds tells of repositories that earlier runs did not have.

    Args:
        lengths: seconds that builds ran, by account and repository.
    """
    sound = {place: tuple(sorted(filter(_is_length, found))) for place, found in lengths.items()}
    new = {place: found for place, found in sound.items() if found and place not in times.repos}
    repos = {**times.repos, **new}
    spread = {
        name: quantiles([length for (of, _), found in repos.items() if of == name for length in found])
        for name in {name for name, _ in new}
    }
    return replace(times, repos=repos, accounts={**times.accounts, **spread}, looked_up=times.looked_up | new.keys())


def _is_length(seconds: float) -> bool:
    return 0.0 <= seconds <= LONGEST


def quantiles(values: Sequence[float], at_most: int = QUANTILES) -> tuple[float, ...]:
    """So many values, in order, that are spread as those are; the values themselves where they are no more."""
    ordered = sorted(values)
    if len(ordered) <= at_most:
        return tuple(ordered)
    return tuple(ordered[int((number + 0.5) * len(ordered) / at_most)] for number in range(at_most))


def seen_at(asked: float, starts: float, ends: float, latency: float = 0.0) -> float:
    """When a look is answered that shows the end of a build; looks widen as the engine's do.

    Args:
        asked: when the request was answered; this and what follows in seconds of one clock.
        latency: seconds from a look to its answer.
    """
    at, changed, stage = tick(asked + FIRST_POLL), asked, 0
    while at < ends:
        answered = at + latency
        now = (at >= asked + APPEARS) + (at >= starts)
        if now != stage:
            stage, changed = now, answered
            at = tick(answered + 1.0)
        else:
            at = next_poll(at, at - changed)
        if ends - at > 10 * NARROWEST and at - changed > 8 * 60.0:
            at += (ends - at) // 60.0 * 60.0  # from here on it is polled every minute
    return at + latency


class DealtDurations:
    """Lengths of builds by account and repository: what earlier builds took, dealt out like cards.

    With one length for every build nothing ever ends late: no build keeps its place longer than the others, and the
    last one to start would be the last to end. So each build gets a length of its own, each as often as the others,
    shuffled; always in the same order, so that the same plan gets the same forecast.

    Args:
        deal: which order it is.
    """

    def __init__(self, times: Times, deal: int = 0) -> None:
        self._times = times
        self._decks: dict[Sequence[float], list[float]] = {}  # by its lengths: who has the same may share one
        self._random = Random(deal)  # noqa: S311 - an order that is always the same, no secret

    def build(self, account: str, repo: str, past: float = 0.0) -> tuple[float, float]:
        """Seconds from a request to the start of its build, and from there to its end.

        Args:
            repo: as limits count it.
            past: seconds for which the build has run already.
        """
        queued, lengths = self._times.build(account, repo)
        runs = self._next(lengths)
        for _ in lengths if past else ():  # those that would have ended are not this one
            if runs > past:
                break
            runs = self._next(lengths)
        return queued, max(runs, past)

    def _next(self, lengths: Sequence[float]) -> float:
        if len(lengths) == 1:
            return lengths[0]
        deck = self._decks.get(lengths)
        if not deck:
            deck = self._decks[lengths] = list(lengths)
            self._random.shuffle(deck)
        return deck.pop()
