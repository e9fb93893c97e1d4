"""Writes reports to where a person wants them: files, stdout, the job summary of a CI server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.app.machine import Machine
from orchestrator.cli.flags import Flags, Output
from orchestrator.core.errors import UsageError
from orchestrator.report import FORMATS, pieces, render
from orchestrator.report.writer import write

if TYPE_CHECKING:
    from orchestrator.report.view import Report

SUMMARY = "GITHUB_STEP_SUMMARY"
WIDEST = 160  # columns; wider lines are hard to read


def checked(outputs: Sequence[Output], reports: Mapping[str, str] | None = None) -> None:
    """Whether each of these formats exists.

    Raises:
        UsageError: one does not.
    """
    for name in (*(output.format for output in outputs), *(reports or {})):
        if name not in FORMATS:
            raise UsageError(f"-o {name}: there is no such report; there are: {', '.join(FORMATS)}")


def files_of(outputs: Sequence[Output], machine: Machine) -> dict[str, str]:
    """The files of `-o FORMAT=FILE`, file to format, absolute, so that another directory can go on with the run."""
    return {str(machine.cwd / Path(out.file).expanduser()): out.format for out in outputs if out.file is not None}


def write_files(report: Report, files: Mapping[str, str], machine: Machine) -> bool:
    """Writes each file atomically; one that cannot be written does not keep the others from it.

    Args:
        files: path to format.

    Returns:
        Whether all were written; what went wrong was printed.
    """
    is_whole = True
    for path, name in files.items():
        try:
            write(pieces(report, name), path)
        except OSError as error:
            is_whole = False
            note(f"orchestrator: the {name} report could not be written to {path}: {error.strerror or error}")
            note(f"  mend that, then: orchestrator report {report.run.id} -o {name}={path}")
    return is_whole and _summarize(report, machine)


def _summarize(report: Report, machine: Machine) -> bool:
    """Adds the Markdown report to the job's summary page, where the CI server has one."""
    path = machine.environ.get(SUMMARY)
    if not path:
        return True
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(render(report, "markdown") + "\n")
    except OSError as error:
        note(f"orchestrator: {SUMMARY}: {path} could not be written: {error.strerror or error}")
        return False
    return True


def show(report: Report, flags: Flags, machine: Machine, *, is_silent: bool = False) -> None:
    """Prints the report on stdout: the text report, or what `-o FORMAT` without a file asks for.

    Args:
        is_silent: whether the text report is left out (`-q` and all went well).
    """
    name = next((output.format for output in flags.outputs if output.file is None), None)
    if name is None and is_silent:
        return
    if name in (None, "text"):
        colour = machine.colours(sys.stdout, flags.no_color)
        tell(render(report, "text", width=width(), colour=colour, behind=flags.behind).rstrip("\n"))
    else:
        tell(render(report, name).rstrip("\n"))


def width() -> int:
    """Columns of the terminal, or of a page where there is none."""
    return min(WIDEST, shutil.get_terminal_size((100, 24)).columns)


def tell(text: str) -> None:
    """Prints on stdout: what the verb was asked for."""
    click.echo(text)


def note(text: str) -> None:
    """Prints on stderr: what a person may want to know besides."""
    click.echo(text, err=True)
