"""Looks at runs that are in the state already, for the verbs that only show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import latest, readable
from orchestrator.cli.flags import Flags
from orchestrator.core.events import RunMade
from orchestrator.core.exits import Exit
from orchestrator.core.history import load
from orchestrator.journal.port import RunRow
from orchestrator.report.view import Report, view

C = TypeVar("C", bound=Callable[..., object])


async def report_of(flags: Flags, machine: Machine, run: str | None) -> tuple[RunRow, Report, RunMade | None]:
    """The report of a run, by default the latest.

    Raises:
        UsageError: there is none.
    """
    async with readable(flags, machine, run) as journal:
        row = await latest(journal, run)
        history = await load(journal, row.id)
    return row, view(row.id, history, machine.now()), history.made


def code_of(report: Report, exit_status: bool) -> Exit | int:
    """0 once shown, or with `--exit-status` the run's own code; 0 while it has none."""
    return (report.run.exit_code or 0) if exit_status else Exit.OK


def exit_status(verb: C) -> C:
    """The flag `--exit-status`."""
    return click.option("--exit-status", is_flag=True, help="Exit with the run's own code.")(verb)
