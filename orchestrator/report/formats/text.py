"""For a terminal or a mail: the causes first, what is in doubt before all others; the verdict last, where it is seen.

Ids, URLs and commands are never cut, so that they can be copied. Colour and links are options; without colour no escape
sequence is written at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.core.course import DENIED
from orchestrator.core.events import CANCELED
from orchestrator.core.times import counted, duration
from orchestrator.report.bar import bar
from orchestrator.report.diff import in_numbers
from orchestrator.report.groups import OPEN, Group, flake_line, groups, read_line, shares, short_id, tally
from orchestrator.report.hints import is_stopped, next_steps, stopped_by_rule
from orchestrator.report.marks import Meaning
from orchestrator.report.minutes import line as minutes_line
from orchestrator.report.minutes import used
from orchestrator.report.states import State, Verdict
from orchestrator.report.verdict import verdict
from orchestrator.report.view import ForecastView, LimitView, Report, Row, WaveView
from orchestrator.report.words import link, plain, seconds_between, short
from orchestrator.report.wrap import Line, Look, Piece, cells, isolated, named, padded, soft, written

AT_MOST = 50  # targets that are named; the rest is a number
FEW = 5
REASONS_AT_MOST = 25
OWNERS = 3  # that are named beside a cause
NUMBER = 4  # columns of a group's number, with a space before it


def render(
    report: Report,
    *,
    width: int = 100,
    colour: bool = False,
    links: bool = False,
    height: int | None = None,
    at_most: int = AT_MOST,
    page: str | None = None,
) -> str:
    """The text report.

    Args:
        width: columns; longer sentences are wrapped, ids, URLs and commands are not.
        links: whether URLs may hide behind their words.
        height: lines of the terminal on which all of it should stand; so many fewer targets are named.
        at_most: how many targets are named.
        page: where the HTML report was written, named in the last line.
    """
    look = Look(max(width, 20), colour, links)
    end: list[Line | tuple[Line, int]] = [*_numbers(report, look), [], *_commands(report, look, page)]
    middle = list(_beside(report))
    if height is not None:
        taken = len(list(_written([*end, *middle], look))) + 2 * len(groups(report)) + 4
        at_most = min(at_most, max(FEW, height - taken))
    blocks = (_causes(report, look, at_most), middle, end)
    text = "\n\n".join("\n".join(found) for lines in blocks if (found := list(_written(lines, look))))
    return text.strip("\n") + "\n"


def _written(lines: Iterable[Line | tuple[Line, int]], look: Look) -> Iterator[str]:
    """Lines as text; a pair is a line with the columns before what follows its first."""
    for line in lines:
        pieces, hang = (line[0], line[1]) if isinstance(line, tuple) else (line, 0)
        yield from written([pieces], look, hang)


# -- the causes ---------------------------------------------------------------------------------------------------


def _causes(report: Report, look: Look, at_most: int) -> Iterator[Line | tuple[Line, int]]:
    found = groups(report)
    shown = found[:REASONS_AT_MOST]
    largest = max((len(group.rows) for group in shown), default=0)
    column = max(NUMBER, len(f" {largest:,}")) + 3
    for group, share in zip(shown, shares([_worth_naming(group) for group in shown], at_most), strict=True):
        yield from _title(group, look, column)
        yield from _named(report, group, group.rows[:share], look, column)
        if 0 < share < len(group.rows):
            yield [soft(f"{' ' * column}\u2026 {len(group.rows) - share:,} more")]
    hidden = sum(len(group.rows) for group in found[REASONS_AT_MOST:])
    if hidden:
        yield [Piece(f"{counted(hidden, 'more target')} for {counted(len(found) - len(shown), 'other cause')}")]
    if line := read_line(report):
        yield [soft(line)]


def _worth_naming(group: Group) -> int:
    """How many at most: of what is only waiting or left out a few examples do."""
    return min(len(group.rows), FEW) if group.word in (OPEN, "skipped") else len(group.rows)


def _title(group: Group, look: Look, column: int) -> Iterator[tuple[Line, int]]:
    mark, number = group.mark, f"{len(group.rows):,}"
    head = f"{mark.symbol}{number:>{column - 3}}  "
    what, semicolon, remedy = short(group.reason).partition("; ")
    line = [Piece(head, mark.meaning, bold=True), Piece(isolated(what), bold=True)]
    line += [Piece(semicolon + isolated(remedy))] if remedy else []
    room = look.width - sum(cells(piece.text) for piece in line) % look.width - 2
    owners = _owners(group, room)
    yield ([*line, soft(f"  {owners}")] if owners else line), column


def _owners(group: Group, room: int) -> str:
    """Whose they are, as many of them as there is room for; of a single target its id says it."""
    found = [(named(owner), number) for owner, number in group.owners if len(group.rows) > 1]
    for most in range(min(OWNERS, len(found)), 0, -1):
        more = [f"+{len(found) - most:,}"] if len(found) > most else []
        text = ", ".join([*(f"{owner} {number:,}" for owner, number in found[:most]), *more])
        if cells(text) <= room:
            return text
    return ""


def _named(report: Report, group: Group, rows: Sequence[Row], look: Look, column: int) -> Iterator[tuple[Line, int]]:
    """A target a line with its build, and with what is said of it alone; below it where there is no room."""
    names = [named(short_id(report, row)) for row in rows]
    before = " " * column
    widest = min(max(map(cells, names), default=0), look.width // 2)
    for name, row in zip(names, rows, strict=True):
        line = [Piece(before), Piece(padded(name, widest), whole=True)]
        for piece in _about(group, row, look):
            used = sum(cells(one.text) for one in line)
            if used + 2 + cells(piece.text) <= look.width:
                line += [Piece("  "), piece]
            else:
                yield line, column
                line = [Piece(f"{before}  "), piece]
        yield line, column + 2


def _about(group: Group, row: Row, look: Look) -> Iterator[Piece]:
    url = link(row.url)
    if url is not None and look.links:
        word = f"build #{row.build_number}" if row.build_number else "build" if row.build_id else "requests"
        yield Piece(isolated(word), Meaning.BUSY, url=url)
    elif row.url:
        text = url or isolated(row.url)  # what no click may open is text as any other
        yield Piece(plain(text), Meaning.BUSY if url else None, whole=url is not None)
    if differs := short(group.differs(row)):
        yield soft(isolated(differs))


# -- what else is worth a line --------------------------------------------------------------------------------------


def _beside(report: Report) -> Iterator[Line]:
    """Waves, flakes, the limits that made the run wait, and the forecast beside what happened."""
    yield from ([Piece(line)] for line in wave_lines(report))
    if line := flake_line(report):
        yield [Piece(line)]
    if line := since_line(report):
        yield [Piece(line)]
    waited = [limit for limit in report.limits if limit.waited_seconds >= 1]
    for limit in sorted(waited, key=_longest)[:3]:
        yield [soft(f"waited: {duration(limit.waited_seconds)} for {limit.limit} of {plain(limit.account)}")]
    if report.forecast is not None:
        yield from ([soft(line)] for line in forecast_lines(report.forecast))


def since_line(report: Report) -> str:
    """What changed since the run that it is compared with; empty where it is compared with none."""
    since = report.since
    return "" if since is None else f"since {since.before.id}: {in_numbers(since) or 'no change'}"


def wave_lines(report: Report) -> Iterator[str]:
    """How far each wave of a rollout has come, a line each; nothing for a run of one wave."""
    for one in report.run.waves if len(report.run.waves) > 1 else ():
        name = f" ({named(one.name)})" if one.name != str(one.wave) else ""
        if one.opened_at is None:
            state = "not opened"
        elif one.verdict:
            state = f"{one.verdict}: {plain(one.why or '')}"
        else:
            until = "stopped before its verdict" if is_stopped(report) else "no verdict yet"
            state = f"opened at {one.opened_at}, {until}"
        yield f"wave {one.wave}{name}, {counted(one.targets, 'target')}: {', '.join([*_times(one), state])}"


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


# -- the verdict ----------------------------------------------------------------------------------------------------


def _numbers(report: Report, look: Look) -> Iterator[Line | tuple[Line, int]]:
    """The bar, the totals, the verdict and what it is about."""
    parts = tally(report)
    if parts:
        yield bar(parts, look)
        totals: list[Piece] = []
        for mark, number in sorted(parts, key=lambda part: part[0].word != "passed"):
            totals += [Piece("   ")] if totals else []
            legend = "" if look.colour or mark.symbol.isspace() else f"{mark.symbol} "
            totals.append(Piece(f"{legend}{number:,} {mark.word}", mark.meaning, bold=True, whole=True))
        yield totals
    told, run = verdict(report), report.run
    yield [Piece(f"{told.symbol} {told.pill}", told.meaning, bold=True), Piece(f"  {isolated(told.sentence)}")], 2
    if _then(told):
        before, _, after = told.then.partition(told.command) if told.command else (told.then, "", "")
        yield [Piece(f"  {before}"), Piece(told.command, whole=True), Piece(after)], 2
    lasted = seconds_between(run.started_at, run.finished_at)
    facts = [f"{named(run.name) or 'run'} {run.id}", counted(report.totals["targets"], "target")]
    facts += [duration(lasted)] if lasted is not None else []
    facts += minutes_line(used(report), owners=False)
    retries = f"; retried as {', '.join(run.merged[1:])}" if run.merged else ""
    yield [soft(f"  {', '.join(facts)}{retries}")], 2


def _then(told: Verdict) -> bool:
    """Whether what is to be done is more than one of the commands below."""
    return told.state is State.ACCOUNT or (not told.command and told.state is not State.PASSED)


def _commands(report: Report, look: Look, page: str | None) -> Iterator[Line]:
    """What can be done, each command behind what it is for; the page last."""
    told = verdict(report)
    rows = [(hint.label, hint.typed(report.suffix)) for hint in next_steps(report)]
    rows = [row for row in rows if not (_then(told) and row[1] == told.command)]
    rows += [] if page is None else [("the page", plain(page))]
    column = max((len(label) for label, _ in rows), default=0) + 1
    for label, command in rows:
        if column + cells(command) <= look.width:
            yield [soft(f"{label:<{column}}"), Piece(command, whole=True)]
        else:
            yield [soft(label)]
            yield [Piece("  "), Piece(command, whole=True)]
