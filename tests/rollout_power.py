"""How often `worse_than_usual` stops a healthy rollout, and how soon it notices one that is not: by simulation.

    python tests/rollout_power.py      prints the tables of docs/rollouts.md

A history is drawn for each target of an estate, the numbers that stop a run are computed from it as the engine does,
and then rollouts of the same estate are drawn.
"""

from __future__ import annotations

import statistics
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from random import Random

from orchestrator.core.course import Course
from orchestrator.core.evidence import Past
from orchestrator.core.frozen import Struct
from orchestrator.core.model import DEFAULT_FAIL_ON, Target
from orchestrator.core.promotion import Promotion, Usually
from orchestrator.core.rollout import cut
from orchestrator.core.waves import Rollout, StopWhen, WaveRule

ALPHA, TARGETS = 0.01, 362
HISTORIES, EACH = 500, 20  # histories of each kind of estate, and rollouts of each: 10,000 together
RUNS = (1, 2, 3, 10)
ROLLOUT = Rollout(
    tuple(WaveRule(bound) for bound in ("1", "10%", "50%", "100%")), stop_when=StopWhen(worse_than_usual=ALPHA)
)
CUT = cut([Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(TARGETS)], ROLLOUT, "r1", {})


def alike(rate: float) -> Callable[[Random], list[float]]:
    """Each target fails so often."""
    return lambda dice: [rate] * TARGETS


def partly_red(dice: Random) -> list[float]:
    """12 % always fail, the others in 2 % of the runs."""
    red = set(dice.sample(range(TARGETS), round(0.12 * TARGETS)))
    return [1.0 if n in red else 0.02 for n in range(TARGETS)]


def spread(dice: Random) -> list[float]:
    """Most hardly ever fail, some often: 5 % on average."""
    return [dice.betavariate(0.3, 5.7) for _ in range(TARGETS)]


ESTATES: Mapping[str, Callable[[Random], list[float]]] = {
    "each fails at 5 %": alike(0.05),
    "each fails at 0.3 %": alike(0.003),
    "12 % always red, the others at 2 %": partly_red,
    "rates spread widely, 5 % on average": spread,
}


class Found(Struct, frozen=True):
    """What came of rollouts: how many of them were stopped, and by which target."""

    rollouts: int
    stopped_by: Sequence[int]

    @property
    def share(self) -> float:
        """How many were stopped."""
        return len(self.stopped_by) / self.rollouts

    @property
    def by_target(self) -> int | None:
        """The target by which half of those are that are stopped; None where next to none is."""
        return None if self.share < 0.05 else round(statistics.median(self.stopped_by))


def simulate(
    estate: Callable[[Random], list[float]],
    runs: int,
    factor: float = 1.0,
    histories: int = HISTORIES,
    each: int = EACH,
    seed: int = 1,
) -> Found:
    """Rollouts of an estate that fails so many times as often as in the runs before; what always fails still does."""
    dice, stopped = Random(f"{seed} {runs} {factor}"), list[int]()
    for _ in range(histories):
        rates = estate(dice)
        blocks = stop_at(rates, runs, dice)
        now = [min(1.0, rate * factor) for rate in rates]
        for _ in range(each):
            bad = [place for place, rate in enumerate(now) if dice.random() < rate]
            at = min((bad[c - 1] for size, c in blocks if bisect_left(bad, size) >= c), default=None)
            stopped += [] if at is None else [at + 1]
    return Found(histories * each, stopped)


def stop_at(rates: Sequence[float], runs: int, dice: Random) -> list[tuple[int, int]]:
    """The blocks of a rollout after so many runs, each with the number of bad targets that stops it: as the engine."""
    pasts = {
        target.id: Past(sum(dice.random() < rate for _ in range(runs)), runs)
        for target, rate in zip(CUT.targets, rates, strict=True)
    }
    fold = Promotion(CUT.targets, CUT.waves, ROLLOUT, None, DEFAULT_FAIL_ON, Course())
    fold.usually = Usually(CUT.targets, pasts)
    blocks = [block for wave in CUT.waves for block in fold.blocks(wave.number - 1, wave.number)]
    return [(block.targets, block.stop_at) for block in blocks]


def healthy() -> str:
    """How often rollouts are stopped that fail as usual."""
    lines = ["| Estate | " + " | ".join(f"{runs} runs known" if runs > 1 else "1 run known" for runs in RUNS) + " |"]
    lines.append("|---|" + "---:|" * len(RUNS))
    for name, estate in ESTATES.items():
        shares = [simulate(estate, runs).share for runs in RUNS]
        lines.append(f"| {name} | " + " | ".join(f"{100 * share:.2f} %" for share in shares) + " |")
    return "\n".join(lines)


def noticed() -> str:
    """How soon a rollout is stopped that fails more often than usual, after three runs."""
    factors = (1.5, 2.0, 5.0, 20.0)
    kinds = {
        "next to none (0.3 %)": ESTATES["each fails at 0.3 %"],
        "5 %, each target alike": ESTATES["each fails at 5 %"],
        "12 % always red, the others at 2 %": partly_red,
    }
    lines = ["| Usual failures | " + " | ".join(f"{factor:g} times" for factor in factors) + " |"]
    lines.append("|---|" + "---|" * len(factors))
    for name, estate in kinds.items():
        found = [simulate(estate, 3, factor, 100, 20) for factor in factors]
        cells = [f"{100 * it.share:.0f} %" + (f", by {it.by_target}" if it.by_target else "") for it in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{healthy()}\n\n{noticed()}\n")
