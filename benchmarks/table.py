"""What was measured, as values, and how it is printed: ratios against yardsticks first, absolute figures aside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Goal = tuple[str, float]
"""`("at least", 0.8)` or `("at most", 2.5)`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How thorough the measurements are to be.

    Args:
        quick: small sizes, one repetition: only to see that everything works.
        million: a million targets too, where sizes grow.
    """

    quick: bool = False
    million: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Args:
        what: what was measured, in words.
        value: the figure; a ratio wherever there is a yardstick.
        unit: what stands behind it (`x` for a ratio).
        yardstick: what it is compared with.
        goal: what it should reach; None for a figure without one.
        aside: absolute figures, for people.
        data: everything that was measured, for machines.
    """

    what: str
    value: float
    unit: str = "x"
    yardstick: str = ""
    goal: Goal | None = None
    aside: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        if self.goal is None:
            return None
        word, number = self.goal
        return self.value >= number if word == "at least" else self.value <= number


@dataclass(frozen=True, slots=True)
class Beside:
    """Many figures of many competitors, side by side.

    Args:
        head: what the columns are; the first names the competitor.
        cells: a line for each competitor.
        notes: what a person has to know to read it.
    """

    title: str
    head: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


HEAD = ("what", "measured", "goal", "", "yardstick", "absolute figures")
WORDS = {True: "ok", False: "MISSED", None: ""}


def lines_of(rows: Iterable[Row]) -> list[str]:
    """The table as text, Markdown at the same time."""
    return _drawn([HEAD, *(_cells(row) for row in rows)])


def lines_beside(beside: Beside) -> list[str]:
    """What stands side by side as text, Markdown at the same time."""
    return ["", f"{beside.title}:", "", *_drawn([beside.head, *beside.cells]), "", *beside.notes]


def _drawn(lines: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    drawn = [_line(line, widths) for line in cells]
    return [drawn[0], _line(["-" * width for width in widths], widths), *drawn[1:]]


def to_json(rows: Iterable[Row], besides: Iterable[Beside] = (), **machine: Any) -> dict[str, Any]:
    """The rows for machines, with what is known of the machine."""
    return {
        "schema": "orchestrator.benchmarks/1",
        "machine": machine,
        "rows": [
            {
                "what": row.what,
                "value": row.value,
                "unit": row.unit,
                "yardstick": row.yardstick,
                "goal": None if row.goal is None else {"word": row.goal[0], "value": row.goal[1]},
                "met": row.is_met,
                "aside": row.aside,
                "data": row.data,
            }
            for row in rows
        ],
        "tables": [{"title": one.title, "head": one.head, "lines": one.cells, "notes": one.notes} for one in besides],
    }


def number(value: float) -> str:
    """A figure with three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cells(row: Row) -> tuple[str, ...]:
    goal = "" if row.goal is None else f"{row.goal[0]} {number(row.goal[1])}"
    return (row.what, f"{number(row.value)} {row.unit}".strip(), goal, WORDS[row.is_met], row.yardstick, row.aside)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
