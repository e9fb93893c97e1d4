"""When a rollout is worse than usual: how many failures of its first targets are too many to be chance.

The question is asked at fixed places only, the *blocks*: the first 10, 20, 40, ... targets in plan order. Each has a
number of failures at which it stops the run, computed before its last target may be triggered, such that a rollout that
fails as usual reaches it with a probability of at most alpha, shared between the blocks. Members of a block are fixed
and failures only add up, so it may be looked at after every target, in any order of ending.

What is usual is learnt from earlier runs: each target's own history, drawn towards the rate of all (a beta-binomial
whose weight is the likeliest one), since a few runs tell little of one target. See docs/rollouts.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.core.frozen import Struct

FIRST_BLOCK = 10  # targets; the next ones double
KNOWN = 20  # outcomes of a target, the newest, that count
NEEDED = 50  # known outcomes of one service without which nothing is judged
UNSURE = 1.28  # standard errors that are added to the usual rate, for what it may be wrong by
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # how alike the targets of a service may be
FEW_FAILURES = 10  # below these nothing can be said about how alike they are
NEGLIGIBLE = 1e-15  # chances below it are dropped


class Past(Struct, frozen=True, gc=False):
    """What is known of earlier builds of a target: how many were bad, of how many."""

    bad: int = 0
    all: int = 0


class Block(Struct, frozen=True, omit_defaults=True, gc=False):
    """The first targets in plan order, and the number of failures among them that stops the run."""

    targets: int
    stop_at: int


class Usual:
    """How often the targets of one service fail as a rule.

    Args:
        pasts: what is known of each target; of those without a past, `Past()`.

    Attributes:
        known: outcomes that it is learnt from.
    """

    def __init__(self, pasts: Iterable[Past]) -> None:
        seen = Counter(pasts)
        bad = sum(past.bad * times for past, times in seen.items())
        self.known = sum(past.all * times for past, times in seen.items())
        rate = (1 + bad) / (20 + self.known)
        self._rate = min(1.0, rate + UNSURE * math.sqrt(rate * (1 - rate) / (20 + self.known)))
        self._weight = WEIGHTS[-1] if bad < FEW_FAILURES else _likeliest(seen, rate)

    @property
    def is_known(self) -> bool:
        """Whether there is enough to judge by."""
        return self.known >= NEEDED

    def chance(self, past: Past) -> float:
        """The probability with which a target of this past fails."""
        return (self._weight * self._rate + past.bad) / (self._weight + past.all)


def _likeliest(seen: Mapping[Past, int], rate: float) -> float:
    """The weight under which the pasts are likeliest; of equals the greater."""
    return max(WEIGHTS, key=lambda weight: (_likelihood(seen, weight * rate, weight * (1 - rate)), weight))


def _likelihood(seen: Mapping[Past, int], a: float, b: float) -> float:
    """The logarithm of the likelihood of these pasts as beta-binomial, but for what does not depend on a and b."""
    lgamma, whole = math.lgamma, math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.fsum(
        times * (lgamma(a + past.bad) + lgamma(b + past.all - past.bad) - lgamma(a + b + past.all) + whole)
        for past, times in seen.items()
    )


def block_sizes(bounds: Iterable[int], total: int) -> Sequence[int]:
    """How many targets the blocks of a run have, ascending.

    Args:
        bounds: how many targets stand in each wave and those before it.
        total: of all waves.
    """
    if total < FIRST_BLOCK:
        return [total] if total else []
    doubled, size = {total}, FIRST_BLOCK
    while size < total:
        doubled.add(size)
        size *= 2
    return sorted(doubled | {bound for bound in bounds if FIRST_BLOCK <= bound <= total})


def stop_numbers(chances: Sequence[float], sizes: Iterable[int], alpha: float) -> Mapping[int, int]:
    """By size of a block, the number of failures that stops the run; what no number of failures can stop is left out.

    Args:
        chances: of the targets in plan order, as many as the largest block that is wanted has.
        sizes: of the blocks that are wanted, ascending.
        alpha: the chance that is given to each block.
    """
    found: dict[int, int] = {}
    lowest, cells, done = 0, [1.0], 0  # the chance of exactly `lowest + n` failures
    for size in sizes:
        for chance in chances[done:size]:
            good = 1.0 - chance
            cells = [good * one + chance * below for one, below in zip([*cells, 0.0], [0.0, *cells], strict=True)]
            if cells[-1] < NEGLIGIBLE:
                cells.pop()
            if cells[0] < NEGLIGIBLE:
                del cells[0]
                lowest += 1
        done = size
        at = _least(cells, lowest, alpha)
        if at <= size:
            found[size] = at
    return found


def _least(cells: Sequence[float], lowest: int, alpha: float) -> int:
    """The least number that is reached or exceeded with a probability of at most alpha."""
    tail, number = 0.0, lowest + len(cells)
    for cell in reversed(cells):
        if tail + cell > alpha:
            break
        tail, number = tail + cell, number - 1
    return number
