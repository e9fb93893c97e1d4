"""`orchestrator status`: where a run stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import click

from orchestrator.app import runs as app
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import SHOW
from orchestrator.cli.report import EXIT_STATUS
from orchestrator.core.model import Phase
from orchestrator.core.times import duration
from orchestrator.core.verdict import Exit
from orchestrator.journal.port import RunRow
from orchestrator.report.groups import counts
from orchestrator.report.hints import Hint
from orchestrator.report.view import Report
from orchestrator.report.words import plain, seconds_between, short

REASONS = 8


@verb(click.argument("run", required=False), EXIT_STATUS, shows=(SHOW,), formats=TEXT)
async def status(face: Face, run: str | None, exit_status: bool) -> int:
    """Show where RUN (by default the latest) stands: how many are done, how far the others are, what they wait for."""
    row, report = await app.report(face.context, run)
    if face.flags.stdout == "json":
        face.show(report)
    else:
        hint = _next(row, report)
        face.tell("\n".join([*_lines(row, report), *([hint.line(face.flags.suffix)] if hint is not None else [])]))
    return (report.run.exit_code or 0) if exit_status else Exit.OK


def _lines(row: RunRow, report: Report) -> Iterator[str]:
    run = report.run
    yield f"{plain(run.name) or 'run'} {run.id}: {_standing(row, report.run.status)}"
    lasted = seconds_between(run.started_at, run.finished_at)
    yield f"started {run.started_at}" + (f", left after {duration(lasted)}" if lasted is not None else "")
    done = report.totals["targets"] - report.totals["open"]
    numbers = ", ".join(f"{number:,} {word}" for number, word in counts(report) if word != "open")
    yield f"{done:,} of {report.totals['targets']:,} done: " + (numbers or "nothing yet")
    phases = Counter(target.phase for target in report.targets)
    open_phases = [f"{phases[phase]:,} {phase.value}" for phase in Phase if phase is not Phase.DONE and phases[phase]]
    if open_phases:
        yield f"open: {', '.join(open_phases)}"
    reasons = Counter(target.reason for target in report.targets if target.outcome is None and target.reason)
    yield from (f"  {number:>6,}  {short(reason or '')}" for reason, number in reasons.most_common(REASONS))
    if len(reasons) > REASONS:
        yield f"          ... and {len(reasons) - REASONS:,} other reasons"


def _standing(row: RunRow, status: str) -> str:
    """What goes on with a run, in words."""
    if row.ended_at is not None:
        return f"ended, exit {row.exit_code}"
    if row.driven:
        return "a process is at work on it"
    return {"running": "nobody is at work on it: its process died", "detached": "detached"}.get(status, status)


def _next(row: RunRow, report: Report) -> Hint | None:
    if row.ended_at is None and row.driven:
        return Hint("watch", row.id, (), "follow it: ")
    if row.ended_at is None and not report.is_rehearsal:
        return Hint("resume", row.id, (), "go on:     ")
    if report.totals["targets"] > report.totals["passed"]:
        return Hint("report", row.id, (), "report:    ")
    return None
