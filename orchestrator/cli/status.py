"""`orchestrator status`: where a run stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import click

from orchestrator.app.context import run_async
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import SHOW, Flags, common
from orchestrator.cli.output import show, tell
from orchestrator.cli.reading import code_of, exit_status, report_of
from orchestrator.core.model import Phase
from orchestrator.journal.port import RunRow
from orchestrator.report.groups import counts
from orchestrator.report.view import Report
from orchestrator.report.words import duration, plain, seconds_between, short

REASONS = 8


@click.command("status", short_help="Show where a run stands.")
@click.argument("run", required=False)
@exit_status
@common(SHOW)
def command(flags: Flags, machine: Machine, run: str | None, exit_status: bool) -> int:
    """Show where RUN (by default the latest) stands: how many are done, how far the others are, what they wait for."""
    form = flags.stdout_format("text", ("text", "json"))
    row, report, _ = run_async(lambda: report_of(flags, machine, run))
    if form == "json":
        show(report, flags, machine)
    else:
        tell("\n".join(_lines(row, report, flags.behind)))
    return code_of(report, exit_status)


def _lines(row: RunRow, report: Report, behind: str) -> Iterator[str]:
    run = report.run
    yield f"{plain(run.name) or 'run'} {run.id}: {standing(row, report.run.status)}"
    lasted = seconds_between(run.started_at, run.finished_at)
    yield f"started {run.started_at}" + (f", left after {duration(lasted)}" if lasted is not None else "")
    done = report.totals["targets"] - report.totals["open"]
    yield f"{done:,} of {report.totals['targets']:,} done: " + (_numbers(report) or "nothing yet")
    phases = Counter(target.phase for target in report.targets)
    open_phases = [f"{phases[phase]:,} {phase.value}" for phase in Phase if phase is not Phase.DONE and phases[phase]]
    if open_phases:
        yield f"open: {', '.join(open_phases)}"
    reasons = Counter(target.reason for target in report.targets if target.outcome is None and target.reason)
    yield from (f"  {number:>6,}  {short(reason or '')}" for reason, number in reasons.most_common(REASONS))
    if len(reasons) > REASONS:
        yield f"          ... and {len(reasons) - REASONS:,} other reasons"
    yield from (f"{line}{behind}" for line in _next(row, report))


def standing(row: RunRow, status: str) -> str:
    """What goes on with a run, in words."""
    if row.ended_at is not None:
        return f"ended, exit {row.exit_code}"
    if row.driven:
        return "a process is at work on it"
    return {"running": "nobody is at work on it: its process died", "detached": "detached"}.get(status, status)


def _numbers(report: Report) -> str:
    return ", ".join(f"{number:,} {word}" for number, word in counts(report) if word != "open")


def _next(row: RunRow, report: Report) -> Iterator[str]:
    if row.ended_at is None and row.driven:
        yield f"follow it: orchestrator watch {row.id}"
    elif row.ended_at is None and not report.is_rehearsal:
        yield f"go on:     orchestrator resume {row.id}"
    elif report.totals["targets"] > report.totals["passed"]:
        yield f"report:    orchestrator report {row.id}"
