"""What people read in a terminal or a mail: what is in doubt first, then what did not pass and where to look.

Plain text; colour is an option. Ids and URLs are never cut, so that they can be copied.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence

from orchestrator.core.events import CANCELED
from orchestrator.report.foreseen import ForecastView
from orchestrator.report.groups import IN_DOUBT, OPEN, Group, counts, groups, shares
from orchestrator.report.view import LimitView, Report, Row
from orchestrator.report.words import counted, duration, plain, seconds_between, shell, short

AT_MOST = 50  # targets that are named; the rest is a number
FEW = 5
REASONS_AT_MOST = 25

Paint = Callable[[str, str], str]

_COLOURS = {"in doubt": "35;1", "passed": "32", "skipped": "2", "open": "33", "canceled": "33", "superseded": "33"}


def render(report: Report, *, width: int = 100, colour: bool = False, at_most: int = AT_MOST, behind: str = "") -> str:
    """The text report.

    Args:
        width: columns; longer sentences are wrapped, ids and URLs are not.
        at_most: how many targets are named.
        behind: goes behind each command line, such as ` --state DIR`.
    """
    paint = _painted if colour else _unpainted
    parts = (_head(report, paint), _groups(report, width, at_most, paint), _waits(report), _next(report, behind))
    blocks = ("\n".join(lines) for part in parts if (lines := list(part)))
    return "\n\n".join(blocks) + "\n"


def _painted(text: str, word: str) -> str:
    return f"\x1b[{_COLOURS.get(word, '31')}m{text}\x1b[0m"


def _unpainted(text: str, word: str) -> str:
    return text


def _head(report: Report, paint: Paint) -> Iterator[str]:
    run, totals = report.run, report.totals
    numbers = ", ".join(paint(f"{number:,} {word}", word) for number, word in counts(report))
    yield f"{counted(totals['targets'], 'target')}: {numbers}" if numbers else "no targets"
    yield f"{plain(run.name) or 'run'} {run.id}: {headline(report)}"


def headline(report: Report) -> str:
    """How the run ended, by what, after which time and with which exit code."""
    run = report.run
    lasted = seconds_between(run.started_at, run.finished_at)
    words = [run.status]
    if run.stopped_by == CANCELED:
        words = [CANCELED]
    elif run.stopped_by is not None:
        words.append(f"by {plain(run.stopped_by)}")
    if run.stopped_why is not None and _stopped_by_rule(report):  # an account's cause stands with its targets
        words.append(f"({plain(run.stopped_why)})")
    if lasted is not None:
        words.append(f"after {duration(lasted)}")
    return " ".join(words) + (f", exit {run.exit_code}" if run.exit_code is not None else "")


def _groups(report: Report, width: int, at_most: int, paint: Paint) -> Iterator[str]:
    all_groups = groups(report)
    shown = all_groups[:REASONS_AT_MOST]
    for group, share in zip(shown, shares([_worth_naming(group) for group in shown], at_most), strict=True):
        yield from _title(group, width, paint)
        yield from _named(group.rows[:share], width)
        if share < len(group.rows):
            yield f"  ... and {len(group.rows) - share:,} more"
    hidden = sum(len(group.rows) for group in all_groups[REASONS_AT_MOST:])
    if hidden:
        yield f"{counted(hidden, 'more target')} for {counted(len(all_groups) - len(shown), 'other reason')}"


def _worth_naming(group: Group) -> int:
    """How many at most: of what is only waiting or left out a few examples do."""
    return min(len(group.rows), FEW) if group.word in (OPEN, "skipped") else len(group.rows)


def _title(group: Group, width: int, paint: Paint) -> Iterator[str]:
    head = f"{group.word.upper()} ({len(group.rows):,})"
    first, *rest = textwrap.wrap(f"{head} {short(group.reason)}", max(width, 40), subsequent_indent="    ") or [head]
    yield paint(head, group.word) + first.removeprefix(head)
    yield from rest


def _named(rows: Sequence[Row], width: int) -> Iterator[str]:
    """An id a line with its URL beside it; below it where the line would be too long."""
    column = min(max((len(plain(row.id)) for row in rows), default=0), width // 2)
    for row in rows:
        name, url = plain(row.id), plain(row.url or "")
        line = f"  {name:<{column}}  {url}".rstrip()
        yield from [line] if len(line) <= width else [f"  {name}", f"      {url}"] if url else [f"  {name}"]


def _waits(report: Report) -> Iterator[str]:
    """The limits that made the run wait, the longest first; what was never waited for is in `report.json`."""
    waited = [limit for limit in report.limits if limit.waited_seconds >= 1]
    for limit in sorted(waited, key=_longest)[:3]:
        yield f"waited: {duration(limit.waited_seconds)} for {limit.limit} of {limit.account}"
    if report.forecast is not None:
        yield from foreseen_lines(report.forecast)


def foreseen_lines(told: ForecastView) -> Iterator[str]:
    """What was forecast beside what happened, as far as it has: a line or none."""
    pairs = (
        ("last trigger", told.actual_last_trigger_seconds, told.last_trigger_seconds),
        ("last build", told.actual_last_build_seconds, told.last_build_seconds),
    )
    parts = [
        f"{what} after {duration(fact)}, {duration(cast)} were forecast"
        for what, fact, cast in pairs
        if fact is not None
    ]
    if parts:
        yield f"forecast: {'; '.join(parts)}"


def _longest(limit: LimitView) -> float:
    return -limit.waited_seconds


def _next(report: Report, behind: str) -> Iterator[str]:
    """Command lines that can be pasted; a rehearsal cannot go on, since its sandbox is gone."""
    found = {group.word: group.rows[0].id for group in reversed(groups(report))}
    run = report.run
    if not found:
        return
    first = found.get(IN_DOUBT) or next(iter(reversed(found.values())))
    yield f"why:    orchestrator why {run.id} {shell(first)}{behind}"
    if not report.is_rehearsal:
        yield from _onwards(report, found, behind)
    yield f"all:    orchestrator report {run.id} -o csv{behind}"


def _onwards(report: Report, found: Collection[str], behind: str) -> Iterator[str]:
    run = report.run
    is_canceled = run.stopped_by == CANCELED
    if IN_DOUBT in found or (OPEN in found and not is_canceled):
        override = " --override-stop" if run.status == "stopped" and _stopped_by_rule(report) else ""
        yield f"go on:  orchestrator resume {run.id}{override}{behind}"
    if set(found) - {OPEN, IN_DOUBT, "skipped"} or (OPEN in found and is_canceled):
        yield f"again:  orchestrator retry {run.id}{behind}"


def _stopped_by_rule(report: Report) -> bool:
    return report.run.stopped_by is not None and not report.run.stopped_by.startswith("account ")
