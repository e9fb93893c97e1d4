"""How long each build of a simulation runs: what earlier builds took, dealt out like cards.

With one length for every build nothing ever ends late: no build keeps its place longer than the others, and the last
one to start would be the last to end. So each build gets a length of its own, each as often as the others, shuffled;
always in the same order, so that the same plan gets the same forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from orchestrator.forecast.durations import Times


class Deal:
    """Lengths of builds, by account and repository."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._decks: dict[Sequence[float], list[float]] = {}  # by its lengths: who has the same may share one
        self._random = Random(0)  # noqa: S311 - an order that is always the same, no secret

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
