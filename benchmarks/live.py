"""What the live view of a large run costs: snapshots, pictures and looks ahead, as a share of one core."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anyio

from benchmarks.child import measure
from benchmarks.table import Asked, Row

A_SECOND = 4  # pictures
SECONDS = 120  # of the run that are watched
COLUMNS, ROWS = 120, 40


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    count = 1_000 if asked.quick else 10_000
    ours, beside = measure("live:ours", count=count), measure("live:rich_live")
    aside = f"a picture {ours['picture'] * 1e3:.2f} ms, a look ahead {ours['look'] * 1e3:.0f} ms, {ours['looks']} looks"
    goal = None if asked.quick else ("at most", 2.0)
    yield Row(f"live view of {count:,} targets, 4 a second", ours["share"] * 100, "% of a core", "", goal, aside, ours)
    yield Row("a picture", ours["picture"] / beside["picture"], "x", "rich.Live, bar and table", None, "", beside)


class Sink:
    """A terminal that takes everything."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Nothing."""
        return len(text)

    def flush(self) -> None:
        """Nothing."""


def ours(count: int) -> dict[str, Any]:
    """Watches a run of which ten builds start and end each second."""
    return anyio.run(_ours, count)


async def _ours(count: int) -> dict[str, Any]:
    from orchestrator.cli.live import Redrawn
    from orchestrator.core.events import Ended, Intended, Requested, RunMade, Sighted, to_json
    from orchestrator.core.history import History
    from orchestrator.core.model import Account, Build, BuildState, Limit, Outcome, Target
    from orchestrator.engine.counts import Counts
    from orchestrator.engine.snapshot import taken
    from orchestrator.engine.stage import Work
    from orchestrator.forecast import Times
    from orchestrator.forecast.outlook import Outlook
    from orchestrator.providers.travis.declaration import DECLARATION

    owners = [f"o{number}" for number in range(20)]
    targets = [
        Target(f"travis:{owners[n % 20]}/r{n}@main", "travis", f"{owners[n % 20]}/r{n}", "main") for n in range(count)
    ]
    limits = (Limit("triggers", 10, 1.0), Limit("triggers_per_repo", 10, 3600.0, "repo"))
    account = Account("travis", "travis", DECLARATION.url, limits=limits)
    history = History(targets)
    history.add("", 1, 0.0, RunMade("benchmark", None, "", accounts={"travis": to_json(account)}))
    counts = Counts(history)

    def begin(row: int, at: float) -> None:
        id_ = targets[row].id
        history.add("travis", row, at, Intended(id_, 1, None))
        history.add("travis", row, at, Requested(id_, str(row), "answered"))
        history.add("travis", row, at, Sighted(id_, Build(str(row), BuildState.RUNNING, "started", started_at=at)))

    def end(row: int, at: float) -> None:
        id_, state = targets[row].id, BuildState.PASSED if row % 9 else BuildState.FAILED
        build = Build(str(row), state, state.value, started_at=at - 100.0, finished_at=at)
        history.add("travis", row, at, Sighted(id_, build))
        history.add("travis", row, at, Ended(id_, Outcome(state.value), "ended", f"build {state}"))

    half, now = count // 2, count / 20
    for row in range(half):
        begin(row, row / 10)
        if row / 10 + 100.0 <= now:
            end(row, row / 10 + 100.0)
    outlook = Outlook(history, {"travis": DECLARATION}, Times(accounts={"travis": (80.0, 100.0, 120.0)}))
    screen = Redrawn(Sink(), colour=True, size=lambda: (COLUMNS, ROWS))  # type: ignore[arg-type]  # all that it needs
    drawn, looked, looks, first, oldest = 0.0, 0.0, 0, half, max(0, half - 1000)
    for step in range(SECONDS * A_SECOND):
        at = now + step / A_SECOND
        while first < min(count, at * 10):
            begin(first, first / 10)
            first += 1
        while oldest / 10 + 100.0 <= at and oldest < first:
            end(oldest, oldest / 10 + 100.0)
            oldest += 1
        began = time.process_time()
        if outlook.is_due(at):
            await outlook.look(at)
            looked += time.process_time() - began
            looks += 1
        began = time.process_time()
        screen.show(taken("r1", history, counts, at, outlook, work=Work()), at)
        drawn += time.process_time() - began
    pictures = SECONDS * A_SECOND
    found = {"share": (drawn + looked) / SECONDS, "picture": drawn / pictures, "look": looked / max(1, looks)}
    return {**found, "looks": looks}


def rich_live() -> dict[str, Any]:
    """As many lines by rich: a bar, and a table without borders."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    console = Console(file=Sink(), width=COLUMNS, height=ROWS, force_terminal=True)  # type: ignore[arg-type]
    with Live(console=console, auto_refresh=False, transient=True) as live:
        began = time.process_time()
        for number in range(200):
            table = Table.grid(padding=(0, 2))
            for line in range(ROWS - 2):
                table.add_row("01:00:00", "[red]failed[/red]", f"acme/svc-{line:03}@main", f"build #{number}")
            live.update(Group(ProgressBar(total=200, completed=number), table), refresh=True)
        return {"picture": (time.process_time() - began) / 200}
