"""What a forecast says, as frozen values. Times are seconds from the start of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import Limit


class Span(Struct, frozen=True):
    """A time in which one rule makes the next trigger of an account wait.

    Args:
        rule: a limit (`triggers 40/30s`), a rule for builds (`in_flight 20`), `connections 16`, or `needs`.
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
        return f" of {self.where}" if self.places == 1 else f" of {self.places:,} repositories"


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
    """Something that would help, tried in the same simulation.

    Args:
        what: `two accounts`.
        last_trigger: when the last trigger would leave.
        last_build: when the last build would end.
    """

    what: str
    last_trigger: float
    last_build: float


class Forecast(Struct, frozen=True):
    """How long a plan takes, and which rule makes it take that long.

    Args:
        last_trigger: when the last trigger leaves; what comes before it (needs, their builds) is in it.
        last_build: when the end of the last build is seen.
        levels: how many builds must pass one after the other before the last trigger.
        supposed: what it supposes, sentences for a person.
        text: the forecast in a sentence.
        warnings: sentences for a person.
        asked: for each target of the plan when its trigger leaves; negative where it never does.
        steps: events of the simulation.
    """

    last_trigger: float
    last_build: float
    accounts: Mapping[str, AccountForecast] = field(default_factory=dict)
    levels: int = 0
    supposed: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
    text: str = ""
    warnings: tuple[str, ...] = ()
    asked: Sequence[float] = ()
    steps: int = 0
