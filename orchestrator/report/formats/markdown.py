"""Markdown for a job summary or a pull request: the numbers, then what did not pass.

Text from outside is shown, never rendered: every character that means something is written as an entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.core.times import counted, duration
from orchestrator.report.formats.text import forecast_lines, headline, wave_lines
from orchestrator.report.groups import causes, counts, flake_line, groups
from orchestrator.report.view import Report, Row
from orchestrator.report.words import link, plain, short

AT_MOST = 1_000_000  # bytes; GitHub drops a job summary of more than 1 MiB as a whole

_MEANING = re.compile(r"[^\w\s.,:;/?%'\"=+^$\u00a1-\uffff-]|(?<!\w)_|_(?!\w)|://|www\.|^[+=-]")


def render(report: Report, *, at_most: int = AT_MOST) -> str:
    """The Markdown report, cut with a note before it has `at_most` bytes."""
    lines: list[str] = []
    left = at_most - 500  # the note, and a character or two
    rows = sum(number for number, word in counts(report) if word != "passed")
    for line, row in _lines(report):
        left -= len(line.encode("utf-8", "replace")) + 1
        if left < 0:
            lines += [
                "",
                f"{counted(rows, 'more target')} left out; `orchestrator report {report.run.id} -o csv{report.suffix}`",
            ]
            break
        rows -= row
        lines.append(line)
    return "\n".join(lines) + "\n"


def _lines(report: Report) -> Iterator[tuple[str, int]]:
    """The lines, each with the number of targets that it names."""
    run = report.run
    yield f"## {_shown(run.name or 'run')}: {_numbers(report)}", 0
    yield "", 0
    yield f"Run `{run.id}`: {_shown(headline(report))}", 0
    if waves := [f"- {_shown(line.strip())}" for line in wave_lines(report)]:
        yield from ((line, 0) for line in ("", *waves))
    if report.forecast is not None:
        for line in forecast_lines(report.forecast):
            yield from (("", 0), (_shown(line.capitalize()), 0))
    yield from ((line, 0) for line in _limits(report))
    found = causes(report)
    if found:
        yield from (("", 0), ("| Cause | Targets |", 0), ("|---|---:|", 0))
    for one in found:
        yield f"| {_shown(short(one.text))} | {len(one.rows):,} |", 0
    if line := flake_line(report):
        yield from (("", 0), (_shown(line), 0))
    all_groups = groups(report)
    if all_groups:
        yield from (("", 0), ("| Outcome | Target | Reason | Build | Took |", 0), ("|---|---|---|---|---:|", 0))
    for group in all_groups:
        for row in group.rows:
            yield _table_row(group.word, group.reason, row), 1


def _numbers(report: Report) -> str:
    return ", ".join(f"{number:,} {word}" for number, word in counts(report)) or "no targets"


def _limits(report: Report) -> Iterator[str]:
    used = [limit for limit in report.limits if limit.used or limit.waited_seconds >= 1]
    if used:
        yield from ("", "| Account | Limit | Calls | Waited |", "|---|---|---:|---:|")
    for limit in used:
        waited = duration(limit.waited_seconds)
        yield f"| {_shown(limit.account)} | {_shown(limit.limit)} | {limit.used:,} | {waited} |"


def _table_row(word: str, reason: str, row: Row) -> str:
    url = link(row.url)
    name = _shown(f"#{row.build_number}" if row.build_number else "open")
    build = f"[{name}]({_in_link(url)})" if url else ""
    took = duration(row.run_seconds) if row.run_seconds is not None else ""
    return f"| {word} | {_shown(row.id)} | {_shown(short(reason))} | {build} | {took} |"


def _shown(text: str) -> str:
    return _MEANING.sub(_entities, plain(text))


def _entities(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(character)};" for character in found.group())


def _in_link(url: str) -> str:
    return re.sub(r"[()|\\\[\]`]", lambda found: f"%{ord(found.group()):02X}", url)
