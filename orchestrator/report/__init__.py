"""Reports: views of the journal. `view` makes the values, `formats` writes them, `FORMATS` lists the formats.

A new format is a file in `formats` with `render(report) -> str` and a line in `FORMATS`; help, checks and `-o` derive
from it. One that has a line for each target yields them, so that a hundred thousand are not in memory at once.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct
from orchestrator.report.words import sound

if TYPE_CHECKING:
    from orchestrator.report.view import Report  # `check` counts targets in words, and wants no history for it


class Format(Struct, frozen=True):
    """One way to write a report.

    Args:
        function: `module:name` in `formats`, imported when it is used; its text at once, or in pieces.
        extension: of a file that holds it.
        help: one line.
        foretells: whether it shows what is expected of a run that goes on.
    """

    function: str
    extension: str
    help: str
    foretells: bool = False


EVENTS = "events"  # the format that wants the facts of the journal
FORMATS: Mapping[str, Format] = {
    "text": Format("text:render", "txt", "what did not pass, by cause, and the verdict, for people"),
    "json": Format("json:render", "json", "everything, for programs (schema orchestrator.report/1)"),
    "jsonl": Format("json:json_lines", "jsonl", "a JSON object a line for each target"),
    "events": Format("events:render", "jsonl", "the facts of the run, a JSON object a line"),
    "junit": Format("junit:render", "xml", "JUnit XML for CI servers: a suite a wave, a case a target"),
    "markdown": Format("markdown:render", "md", "tables for a pull request or a job summary"),
    "html": Format("html:render", "html", "one self-contained page: causes, charts, all targets", True),
    "csv": Format("json:csv_rows", "csv", "a row a target for spreadsheets"),
    "ctrf": Format("json:ctrf", "json", "Common Test Report Format"),
    "list": Format("json:short_forms", "txt", "repo@branch lines of what did not pass"),
    "manifest": Format("manifest:render", "yaml", "a manifest of what did not pass"),
}


def render(report: Report, format: str, **options: Any) -> str:  # noqa: A002  # the word of the command line
    """The report in a format, as text that UTF-8 can hold.

    Args:
        options: what the format's own function takes in addition to the report (`width`, `colour`, ... for text).

    Raises:
        UsageError: there is no such format.
    """
    return "".join(pieces(report, format, **options))


def pieces(report: Report, format: str, **options: Any) -> Iterator[str]:  # noqa: A002  # as above
    """As `render`, piece by piece where the format is made so."""
    if format not in FORMATS:
        raise UsageError(f"unknown report format {format!r}; there are: {', '.join(FORMATS)}")
    module, _, name = FORMATS[format].function.partition(":")
    made = getattr(importlib.import_module(f"{__name__}.formats.{module}"), name)(report, **options)
    return map(sound, [made] if isinstance(made, str) else made)


# -- files that are whole or not there ----------------------------------------------------------------------------


def write(text: str | Iterable[str], path: str | os.PathLike[str]) -> None:
    """Writes the file atomically; parents are created, an earlier file is replaced and its mode kept.

    Args:
        text: at once, or in pieces.

    Raises:
        OSError: it could not be written; an earlier file is untouched.
    """
    from orchestrator.journal.files import sync_folder  # here, since `check` is to start fast

    pieces = (text,) if isinstance(text, str) else text
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and not place.is_file():  # a device or a pipe (`/dev/stdout`) cannot be replaced by a rename
        with place.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        return
    place = place.resolve()  # a link stays a link: what it points at is replaced
    beside = place.with_name(f".{place.name[:100]}.{os.urandom(6).hex()}")
    try:
        _synced(pieces, beside, place)
        os.replace(beside, place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(place.parent)


def _synced(pieces: Iterable[str], beside: Path, place: Path) -> None:
    with open(beside, "x", encoding="utf-8", newline="") as file:
        if place.exists():
            os.chmod(beside, place.stat().st_mode & 0o777)
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
