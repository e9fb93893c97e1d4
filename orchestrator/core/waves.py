"""What a manifest says of how a run spreads, and the waves that come of it, as frozen values."""

from __future__ import annotations

from orchestrator.core.frozen import Struct

FILE, SHUFFLE, FASTEST, SLOWEST = "file", "shuffle", "fastest", "slowest"
ORDERS = (FILE, SHUFFLE, FASTEST, SLOWEST)
FOLLOW, CANCEL = "follow", "cancel"
SKIP, RUN, STOP = "skip", "run", "stop"  # what becomes of a target of which a need did not pass
WITHOUT_NEED = (SKIP, RUN, STOP)
REST = "rest"  # the name of the wave that is added for what no other one holds


class WaveRule(Struct, frozen=True, omit_defaults=True, gc=False):
    """A wave as the manifest writes it: a bound, or labels.

    Args:
        upto: how many targets stand in this wave and those before it: a number, or a share such as `10%`.
        labels: it holds the targets that have all of these, and what these need.
        approve: whether a person must let the next wave open; None: as the rollout says.
        soak: seconds between its verdict and the next wave; None: as the rollout says.
    """

    upto: str = ""
    labels: tuple[str, ...] = ()
    name: str = ""
    approve: bool | None = None
    soak: float | None = None


class StopWhen(Struct, frozen=True, omit_defaults=True, gc=False):
    """When a rollout stops; each rule is off unless it is written.

    Args:
        failed: so many bad targets, or a share such as `20%` of those sent so far.
        after: settled targets before which a share stops nothing.
        in_a_row: so many bad targets, one after the other.
        worse_than_usual: the chance with which a rollout that fails as usual is stopped.
        nothing_passed: whether a wave of which nothing passed stops the run before the next one.
    """

    failed: str = ""
    after: int = 10
    in_a_row: int | None = None
    worse_than_usual: float | None = None
    nothing_passed: bool = True


class Rollout(Struct, frozen=True, omit_defaults=True, gc=False):
    """How a run spreads; without waves it is one wave."""

    waves: tuple[WaveRule, ...] = ()
    order: str = FILE
    approve: bool = False
    soak: float = 0.0
    stop_when: StopWhen = StopWhen()
    on_stop: str = FOLLOW


class Wave(Struct, frozen=True, omit_defaults=True, gc=False):
    """Targets that may run together: those of a plan that have its number.

    Args:
        number: from 1, without gaps.
        name: as written, else the number.
        targets: how many; those that are skipped do not count.
        approve: whether a person must let the next wave open after this one's verdict.
        soak: seconds between its verdict and the next wave.
    """

    number: int
    name: str
    targets: int
    approve: bool = False
    soak: float = 0.0

    @property
    def is_unnamed(self) -> bool:
        """Whether the number stands in for a name."""
        return self.name == str(self.number)


class Reruns(Struct, frozen=True, omit_defaults=True, gc=False):
    """How often a build that failed is started again.

    Args:
        times: at most, for each target.
        at_most: targets of a wave above which none is started again: a share such as `10%`, or a number; empty: all.
    """

    times: int = 0
    at_most: str = ""


NO_RERUNS = Reruns()
