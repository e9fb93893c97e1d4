"""One bar over the whole width: a part for each outcome, what a person must look at first at the left."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.marks import Mark
from orchestrator.report.wrap import Look, Piece

FULL = "\u2501"


def bar(parts: Sequence[tuple[Mark, int]], look: Look) -> list[Piece]:
    """The bar as pieces of one line; without colour letters in a frame.

    Args:
        parts: how many of each, in the order of the bar.
    """
    if look.colour:
        sizes = spread([number for _, number in parts], look.width)
        return [Piece(FULL * size, mark.meaning, whole=True) for (mark, _), size in zip(parts, sizes, strict=True)]
    sizes = spread([number for _, number in parts], look.width - 2)
    letters = "".join(mark.letter * size for (mark, _), size in zip(parts, sizes, strict=True))
    return [Piece(f"[{letters}]", whole=True)]


def spread(numbers: Sequence[int], width: int) -> list[int]:
    """So many columns shared out in proportion; whatever is there has one at least, as long as there are enough."""
    total = sum(numbers)
    if not total:
        return [0] * len(numbers)
    sizes = [max(1 if number else 0, number * width // total) for number in numbers]
    while (over := sum(sizes) - width) != 0:
        at = max(
            range(len(sizes)), key=lambda one: sizes[one] if over > 0 else numbers[one] * width / total - sizes[one]
        )
        if over > 0 and sizes[at] <= 1:
            return sizes  # more kinds than columns
        sizes[at] -= 1 if over > 0 else -1
    return sizes
