"""What a seed's draws come from."""

from __future__ import annotations

from random import Random


class Dice(Random):
    """Draws."""

    def chance(self, share: float) -> bool:
        """True so often."""
        return self.random() < share

    def late(self, least: float, most: float) -> float:
        """An instant, sooner ones more often."""
        return least + (most - least) * self.random() ** 2
