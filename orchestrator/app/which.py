"""Which run a person means: RUN, wherever a verb takes it, is read here and nowhere else.

A whole id is that run. `latest` is the one that was made last, `@NAME` the last of that name. Anything else is the
beginning of an id or, where no id begins so, a part of one; it must fit a single run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.core.errors import UsageError, near
from orchestrator.core.times import clock

if TYPE_CHECKING:  # `check` starts without a journal
    from orchestrator.journal.port import Journal, RunRow

LATEST, BY_NAME = "latest", "@"
LISTED = 10


def fitting(rows: Sequence[RunRow], text: str) -> Sequence[RunRow]:
    """Those of these runs, the newest first, that a text may mean; of `@NAME` all of that name."""
    if whole := [row for row in rows if row.id == text]:
        return whole
    if text == LATEST:
        return rows[:1]
    if text.startswith(BY_NAME):
        return [row for row in rows if row.name == text.removeprefix(BY_NAME)]
    return [row for row in rows if row.id.startswith(text)] or [row for row in rows if text in row.id]


def is_target(text: str) -> bool:
    """Whether a word that may name a run or a target names a target."""
    return not text.startswith(BY_NAME) and ("/" in text or ":" in text)


async def named(journal: Journal, text: str) -> RunRow:
    """The run that is meant.

    Raises:
        UsageError: none, or several.
    """
    rows = await journal.runs()
    found = fitting(rows, text)
    if not found:
        raise UsageError(f"{none_of(rows, text)}; `orchestrator runs` lists them")
    if len(found) > 1 and not text.startswith(BY_NAME):
        begin = "begin with" if found[0].id.startswith(text) else "hold"
        raise UsageError(f"{len(found)} runs {begin} {text!r}; write more of it:\n{_listed(found)}")
    return found[0]


async def some_of(journal: Journal, text: str, *, open_only: bool = False) -> Sequence[RunRow]:
    """All runs that are meant, the newest first; none is no error. An empty text means every run."""
    rows = await journal.runs()
    found = fitting(rows, text) if text else rows
    return [row for row in found if row.ended_at is None or not open_only]


async def exact(journal: Journal, run: str) -> RunRow | None:
    """The run of exactly this id, None when there is none."""
    return next((row for row in await journal.runs(run) if row.id == run), None)


async def latest(journal: Journal, text: str | None) -> RunRow:
    """The run that is meant, by default the latest.

    Raises:
        UsageError: there is none.
    """
    if text is not None:
        return await named(journal, text)
    rows = await journal.runs()
    if not rows:
        raise UsageError("there are no runs in this state yet; `orchestrator run` makes one")
    return rows[0]


async def only_open(journal: Journal, text: str | None) -> RunRow:
    """The run that is meant, by default the only open one.

    Raises:
        UsageError: none is open, or several are.
    """
    if text is not None:
        return await named(journal, text)
    rows = await journal.runs(open_only=True)
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise UsageError("no run in this state is open; `orchestrator runs` lists them all")
    raise UsageError(f"{len(rows)} runs are open; say which:\n{_listed(rows)}")


def none_of(rows: Sequence[RunRow], text: str) -> str:
    """That none of these runs is meant, with the names that there are, where a name was asked for."""
    if text.startswith(BY_NAME):
        name, names = text.removeprefix(BY_NAME), {row.name for row in rows}
        hint = f"; {near(name, names)}" if names else ""
        return f"no run in this state is called {name!r}{hint}"
    return f"no run in this state begins with {text!r}, or has it in its id"


def _listed(rows: Sequence[RunRow]) -> str:
    """Runs as lines to choose from."""
    lines = [f"  {row.id}  {clock(row.made_at)}  {row.name}, {row.targets:,} targets" for row in rows[:LISTED]]
    return "\n".join([*lines, f"  ... and {len(rows) - LISTED} more"] if len(rows) > LISTED else lines)
