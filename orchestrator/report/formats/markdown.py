"""Markdown for a job summary or a pull request: the verdict, the causes, then what did not pass.

Text from outside is shown, never rendered: every character that means something is written as an entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.core.times import counted, duration
from orchestrator.report.formats.text import OWNERS, forecast_lines, since_line, wave_lines
from orchestrator.report.groups import counts, flake_line, groups, read_line, reason_of, tally
from orchestrator.report.hints import next_steps
from orchestrator.report.verdict import verdict
from orchestrator.report.view import Report, Row
from orchestrator.report.words import link, plain, seconds_between, short
from orchestrator.report.wrap import named

AT_MOST = 1_000_000  # bytes; GitHub drops a job summary of more than 1 MiB as a whole
LEAST = 2_000  # bytes that are worth a report

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
    yield from ((line, 0) for line in _head(report))
    found = groups(report)
    if found:
        yield from (("", 0), ("| | Cause | Targets | Owners |", 0), ("|---|---|---:|---|", 0))
    for group in found:
        owners = ", ".join(f"{named(owner)} {number:,}" for owner, number in group.owners[:OWNERS])
        more = f", +{len(group.owners) - OWNERS:,}" if len(group.owners) > OWNERS else ""
        symbol = _shown(group.mark.symbol)
        yield f"| {symbol} | {_shown(short(group.reason))} | {len(group.rows):,} | {_shown(owners)}{more} |", 0
    for line in filter(None, (read_line(report), flake_line(report), since_line(report))):
        yield from (("", 0), (_shown(_sentence(line)), 0))
    yield from ((line, 0) for line in _limits(report))
    steps = list(next_steps(report))
    if steps:
        yield "", 0
    for hint in steps:
        yield f"- {_shown(hint.label)}: {_code(hint.typed(report.suffix))}", 0
    if found:
        yield from (("", 0), ("| Outcome | Target | Reason | Build | Took |", 0), ("|---|---|---|---|---:|", 0))
    for group in found:
        for row in group.rows:
            yield _table_row(group.word, row), 1


def _head(report: Report) -> Iterator[str]:
    """The verdict, the numbers, what it is about; then waves, and the forecast beside what happened."""
    told, run = verdict(report), report.run
    yield f"## {told.symbol} {_shown(named(run.name) or 'run')}: {_shown(told.pill)}"
    yield from ("", _shown(told.sentence))
    numbers = ", ".join(f"{mark.symbol.strip()} {number:,} {mark.word}".strip() for mark, number in tally(report))
    lasted = seconds_between(run.started_at, run.finished_at)
    took = f", {duration(lasted)}" if lasted is not None else ""
    retries = f"; retried as {', '.join(run.merged[1:])}" if run.merged else ""
    yield from ("", f"{_shown(numbers or 'no targets')}. Run `{run.id}`{took}{_shown(retries)}.")
    if waves := [f"- {_shown(line)}" for line in wave_lines(report)]:
        yield from ("", *waves)
    if report.forecast is not None:
        for line in forecast_lines(report.forecast):
            yield from ("", _shown(_sentence(line)))


def _sentence(line: str) -> str:
    return line[:1].upper() + line[1:]


def _code(text: str) -> str:
    """As code that a person copies; where it holds what would end that, as plain text."""
    return _shown(text) if "`" in text or "|" in text else f"`{plain(text)}`"


def _limits(report: Report) -> Iterator[str]:
    used = [limit for limit in report.limits if limit.used or limit.waited_seconds >= 1]
    if used:
        yield from ("", "| Account | Limit | Calls | Waited |", "|---|---|---:|---:|")
    for limit in used:
        waited = duration(limit.waited_seconds)
        yield f"| {_shown(limit.account)} | {_shown(limit.limit)} | {limit.used:,} | {waited} |"


def _table_row(word: str, row: Row) -> str:
    url = link(row.url)
    name = _shown(f"#{row.build_number}" if row.build_number else "open")
    build = f"[{name}]({_in_link(url)})" if url else ""
    took = duration(row.run_seconds) if row.run_seconds is not None else ""
    return f"| {word} | {_shown(named(row.id))} | {_shown(short(reason_of(row)))} | {build} | {took} |"


def _shown(text: str) -> str:
    """Text as it is; isolates around a name that is read from right to left stay."""
    return _MEANING.sub(_entities, " ".join(named(word) for word in plain(text).split(" ")))


def _entities(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(character)};" for character in found.group())


def _in_link(url: str) -> str:
    return re.sub(r"[()|\\\[\]`]", lambda found: f"%{ord(found.group()):02X}", url)
