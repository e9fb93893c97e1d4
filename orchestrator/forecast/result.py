"""What a forecast says, as frozen values: which rule binds when, and what a run leaves of the limits for people.

Times are seconds from the start of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from orchestrator.core.frozen import Struct, field
from orchestrator.core.minutes import Minutes
from orchestrator.core.model import ACCOUNT, Account, Limit, Target
from orchestrator.providers.port import Declaration

NEEDS = "needs"  # stands for a rule, where targets wait for those that they need
WAVES = "waves"  # the same, where they wait for the verdict on the wave before theirs
AT_MOST = 6  # spans that a person reads; more are drawn together
MOMENT = 1.0  # second; the first step towards that
SHORT = 0.002  # part of the whole below which a span is left out
HOUR = 3600.0
BUSIEST = 3  # repositories or owners that are named


class Span(Struct, frozen=True):
    """A time in which one rule makes the next trigger of an account wait.

    Args:
        rule: a limit (`triggers 40/30s`), a rule for builds (`in_flight 20`), `connections 16`, `needs` or `waves`.
        where: the repository or owner that it binds; None for the whole account.
        places: how many of them it binds in this run.
    """

    start: float
    end: float
    rule: str
    where: str | None = None
    places: int = 1

    @property
    def subject(self) -> str:
        """Whom it binds, for people; empty for the whole account."""
        if self.where is None:
            return ""
        what = "repositories" if "/" in self.where else "owners"
        return f" of {self.where}" if self.places == 1 else f" of {self.places:,} {what}"


class Use(Struct, frozen=True):
    """How much of a limit a run takes in its busiest hour (or busiest period, where that is longer).

    Args:
        where: the repository or owner; None for the whole account.
        allowed: calls that the limit allows in that time.
    """

    limit: Limit
    where: str | None
    used: int
    allowed: int

    @property
    def left(self) -> float:
        """The part that is left for people, 0 to 1."""
        return max(0.0, 1.0 - self.used / self.allowed)


class AccountForecast(Struct, frozen=True):
    """What a plan means for one account.

    Args:
        triggers: calls that start builds.
        looks: calls that follow them, about.
        last_trigger: when the last trigger leaves.
        last_build: when the end of the last build is seen.
        spans: which rule makes triggers wait, in order.
        binding: the one of them that does so for the longest time; None when none does.
        uses: what the run takes of each limit that its triggers count against, the tightest places.
    """

    account: str
    triggers: int
    looks: int
    last_trigger: float
    last_build: float
    spans: tuple[Span, ...] = ()
    binding: Span | None = None
    uses: tuple[Use, ...] = ()


class Advice(Struct, frozen=True):
    """Something that would help, tried in the same simulation: `two accounts`."""

    what: str
    last_trigger: float
    last_build: float


class WaveForecast(Struct, frozen=True):
    """When a wave is opened, about, and when the last of its targets ends: then it is judged."""

    opened: float
    judged: float


class Forecast(Struct, frozen=True):
    """How long a plan takes, and which rule makes it take that long.

    Args:
        last_trigger: when the last trigger leaves; what comes before it (needs, their builds) is in it.
        last_build: when the end of the last build is seen.
        kept: what a run keeps of it, for its report to compare with what happened.
        levels: how many builds must pass one after the other before the last trigger.
        supposed: what it supposes, sentences for a person.
        text: the forecast in a sentence.
        warnings: sentences for a person.
        waves: by number.
        asked: for each target of the plan when its trigger leaves; negative where it never does.
        steps: events of the simulation.
        minutes: what the builds are expected to run, by owner; empty where no earlier build tells.
    """

    last_trigger: float
    last_build: float
    kept: Mapping[str, float]
    accounts: Mapping[str, AccountForecast] = field(default_factory=dict)
    levels: int = 0
    supposed: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
    text: str = ""
    warnings: tuple[str, ...] = ()
    waves: Mapping[int, WaveForecast] = field(default_factory=dict)
    asked: Sequence[float] = ()
    steps: int = 0
    minutes: Sequence[Minutes] = ()


class Binding:
    """Which rule made the next trigger wait, and when.

    Attributes:
        changes: in order, the last one holds; empty: none.
        places: by rule, the repositories or owners that it ever bound (a dict, for its order).
    """

    __slots__ = ("changes", "places")

    def __init__(self) -> None:
        self.changes: list[tuple[float, str]] = []
        self.places: dict[str, dict[str, None]] = {}

    def binds(self, now: float, rule: str) -> None:
        """From now on this rule binds; empty: none."""
        if self.changes and self.changes[-1][1] == rule:
            return
        if self.changes and self.changes[-1][0] == now:  # it was only passed through
            self.changes.pop()
            self.binds(now, rule)
        else:
            self.changes.append((now, rule))

    def spans(self, end: float) -> tuple[Span, ...]:
        """The rules that bound until the last trigger left, in order, without what lasted a moment only."""
        ends = [at for at, _ in self.changes[1:]] + [end]
        pairs = zip(self.changes, ends, strict=True)
        found, least = [Span(at, min(stop, end), rule) for (at, rule), stop in pairs if rule and at < end], MOMENT
        while True:
            found = _merged(found, least)
            if least >= SHORT * end and len(found) <= AT_MOST:
                break
            least *= 2.0
        return tuple(self._placed(span) for span in found)

    def _placed(self, span: Span) -> Span:
        places = self.places.get(span.rule, {})
        return Span(span.start, span.end, span.rule, next(iter(places), None), max(1, len(places)))


def _merged(spans: Sequence[Span], least: float) -> list[Span]:
    """Neighbours of one rule as one, after those that are too short were left out."""
    found: list[Span] = []
    for span in spans:
        if span.end - span.start < least:
            continue
        begin = span.start if not found else found[-1].end  # what was left out in between is the next one's
        if found and found[-1].rule == span.rule:
            begin = found.pop().start
        found.append(Span(begin, span.end, span.rule))
    return found


def uses(account: Account, declaration: Declaration, rows: Sequence[tuple[float, Target]]) -> Iterator[Use]:
    """For each limit of triggers what the run takes of it in the busiest hour.

    Args:
        rows: the account's targets with the times of their triggers, in the order of time.
    """
    name = str.lower if declaration.fold_case else str
    for limit in account.limits:
        if limit.kind not in declaration.trigger_limits:
            continue
        if limit.scope == ACCOUNT:
            yield _use(limit, None, [at for at, _ in rows])
            continue
        place_of = attrgetter(limit.scope)
        places = [name(place_of(target)) for _, target in rows]
        for place, _ in Counter(places).most_common(BUSIEST):
            yield _use(limit, place, [at for (at, _), one in zip(rows, places, strict=True) if one == place])


def _use(limit: Limit, where: str | None, times: Sequence[float]) -> Use:
    span = max(HOUR, limit.per)
    return Use(limit, where, _most_within(times, span), int(limit.calls * span / limit.per))


def _most_within(times: Sequence[float], span: float) -> int:
    most = first = 0
    for number, at in enumerate(times):
        while times[first] <= at - span:
            first += 1
        most = max(most, number - first + 1)
    return most
