"""For a terminal or a mail: what is in doubt first, then what did not pass and where to find it.

Plain text; colour is an option. Ids and URLs are never cut, so that they can be copied.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

from orchestrator.core.course import DENIED
from orchestrator.core.events import CANCELED
from orchestrator.core.times import counted, duration
from orchestrator.report.groups import (
    OPEN,
    Group,
    cause_lines,
    counts,
    flake_line,
    groups,
    shares,
)
from orchestrator.report.hints import is_stopped, next_steps, stopped_by_rule
from orchestrator.report.view import ForecastView, LimitView, Report, Row, WaveView
from orchestrator.report.words import plain, seconds_between, short

AT_MOST = 50  # targets that are named; the rest is a number
FEW = 5
REASONS_AT_MOST = 25
CAUSES_AT_MOST = 5

Paint = Callable[[str, str], str]

_COLOURS = {"in doubt": "35;1", "passed": "32", "skipped": "2", "open": "33", "canceled": "33", "superseded": "33"}


def render(
    report: Report,
    *,
    width: int = 100,
    colour: bool = False,
    at_most: int = AT_MOST,
    hints: Iterable[str] | None = None,
) -> str:
    """The text report.

    Args:
        width: columns; longer sentences are wrapped, ids and URLs are not.
        at_most: how many targets are named.
        hints: the command lines at its end, where the caller writes them (`next_steps`) in its own way.
    """
    paint = _painted if colour else _unpainted
    hints = [hint.line() for hint in next_steps(report)] if hints is None else hints
    found = (_causes(report), _groups(report, width, at_most, paint), _flaky(report))
    parts = (_head(report, paint), *found, _waits(report), hints)
    blocks = ("\n".join(lines) for part in parts if (lines := list(part)))
    return "\n\n".join(blocks) + "\n"


def _painted(text: str, word: str) -> str:
    return f"\x1b[{_COLOURS.get(word, '31')}m{text}\x1b[0m"


def _unpainted(text: str, word: str) -> str:
    return text


def _head(report: Report, paint: Paint) -> Iterator[str]:
    run, totals = report.run, report.totals
    numbers = ", ".join(paint(f"{number:,} {word}", word) for number, word in counts(report))
    lines = [f"{counted(totals['targets'], 'target')}: {numbers}" if numbers else "no targets"]
    lines.append(f"{plain(run.name) or 'run'} {run.id}: {headline(report)}")
    yield from reversed(lines) if is_stopped(report) else lines  # then the rule comes first, with its numbers
    yield from wave_lines(report)


def wave_lines(report: Report) -> Iterator[str]:
    """How far each wave of a rollout has come, a line each; nothing for a run of one wave."""
    for one in report.run.waves if len(report.run.waves) > 1 else ():
        name = f" ({plain(one.name)})" if one.name != str(one.wave) else ""
        if one.opened_at is None:
            state = "not opened"
        elif one.verdict:
            state = f"{one.verdict}: {plain(one.why or '')}"
        else:
            until = "stopped before its verdict" if is_stopped(report) else "no verdict yet"
            state = f"opened at {one.opened_at}, {until}"
        yield f"  wave {one.wave}{name}, {counted(one.targets, 'target')}: {', '.join([*_times(one), state])}"


def _times(wave: WaveView) -> Iterator[str]:
    """When a wave was approved and by whom, opened and judged."""
    if wave.approved_by:
        yield f"approved by {plain(wave.approved_by)}" + (f" at {wave.approved_at}" if wave.approved_at else "")
    if wave.judged_at:
        yield f"opened at {wave.opened_at}, judged at {wave.judged_at}"


def headline(report: Report) -> str:
    """How the run ended, by what, after which time and with which exit code."""
    run = report.run
    lasted = seconds_between(run.started_at, run.finished_at)
    words = [run.status + (f" for {_WAITS[run.waits_for]}" if run.status == "waiting" and run.waits_for else "")]
    if run.stopped_by == CANCELED:
        words = [CANCELED]
    elif run.stopped_by == DENIED:
        words = [f"{run.status}: {plain(run.stopped_why or run.stopped_by)}"]
    elif run.stopped_by is not None:
        words.append(f"by {plain(run.stopped_by)}")
    if run.stopped_why is not None and run.stopped_by != DENIED and stopped_by_rule(report):
        # the cause of an account stands with its targets
        words.append(f"({plain(run.stopped_why)})")
    if lasted is not None:
        words.append(f"after {duration(lasted)}")
    retries = f"; retried as {', '.join(run.merged[1:])}" if run.merged else ""
    return " ".join(words) + (f", exit {run.exit_code}" if run.exit_code is not None else "") + retries


_WAITS = {"approval": "a person to approve the next wave", "pause": "a person to let it go on", "soak": "the soak"}


def _causes(report: Report) -> Iterator[str]:
    lines = list(cause_lines(report, CAUSES_AT_MOST))
    yield from ["causes:", *(f"  {line}" for line in lines)] if lines else []


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


def _flaky(report: Report) -> Iterator[str]:
    if line := flake_line(report):
        yield line


def _waits(report: Report) -> Iterator[str]:
    """The limits that made the run wait, the longest first; what was never waited for is in `report.json`."""
    waited = [limit for limit in report.limits if limit.waited_seconds >= 1]
    for limit in sorted(waited, key=_longest)[:3]:
        yield f"waited: {duration(limit.waited_seconds)} for {limit.limit} of {limit.account}"
    if report.forecast is not None:
        yield from forecast_lines(report.forecast)


def forecast_lines(forecast: ForecastView) -> Iterator[str]:
    """What was forecast beside what has happened so far: a line or none."""
    pairs = (
        ("last trigger", forecast.actual_last_trigger_seconds, forecast.last_trigger_seconds),
        ("last build", forecast.actual_last_build_seconds, forecast.last_build_seconds),
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
