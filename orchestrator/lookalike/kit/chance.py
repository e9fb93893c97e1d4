"""Chance that depends on names, not on the order of calls: the same seed and name give the same draw."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from orchestrator.lookalike.travis.settings import Range


class Chance:
    """Draws for one seed."""

    __slots__ = ("_seed",)

    def __init__(self, seed: int) -> None:
        self._seed = str(seed).encode()

    def roll(self, *name: str | int) -> float:
        """A number from 0 to below 1 for this name."""
        return int.from_bytes(self.digest(*name)[:7], "big") / (1 << 56)

    def digest(self, *name: str | int) -> bytes:
        """20 bytes for this name."""
        text = "\0".join(map(str, name)).encode()
        return blake2b(text, digest_size=20, key=self._seed).digest()

    def between(self, span: Range, *name: str | int) -> float:
        """A number within the range."""
        low, high = span
        return low if low == high else low + (high - low) * self.roll(*name)

    def first_below(self, shares: Sequence[tuple[str, float]], *name: str | int) -> str | None:
        """One of the words, each as often as its share says; None for the rest."""
        roll = self.roll(*name) if shares else 0.0
        for word, share in shares:
            if roll < share:
                return word
            roll -= share
        return None
