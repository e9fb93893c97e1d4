"""The head of the page as values: the line of facts, the bar, and the numbers that are the filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.times import counted, rounded
from orchestrator.providers import registry
from orchestrator.report.formats.html.charts import Bar
from orchestrator.report.marks import OUTCOMES, PHASES, Mark
from orchestrator.report.view import Report, Row
from orchestrator.report.words import epoch, plain, short

PARAMS = 4
LEAST = 0.35  # percent of the bar that a part of it has, so that it is seen
OPEN_WORD = "open"
OPEN = (Phase.RUNNING, Phase.QUEUED, Phase.REQUESTED, Phase.WAITING)


def mark_of(row: Row) -> Mark:
    """How a target is shown; of what is open, how far it has come."""
    if row.is_in_doubt:
        return OUTCOMES[Outcome.IN_DOUBT]
    return PHASES[Phase(row.phase)] if row.outcome is None else OUTCOMES[Outcome(row.outcome)]


def key_of(mark: Mark) -> str:
    """A mark's name in the page's address."""
    return mark.word.replace(" ", "_")


def prefix_of(report: Report) -> str:
    """How every id begins, where all targets have one account: then it tells nothing."""
    accounts = {row.account for row in report.targets}
    return f"{accounts.pop()}:" if len(accounts) == 1 else ""


class Fact(Struct, frozen=True):
    """A word and its value; either may be empty."""

    word: str
    value: str


def facts(report: Report) -> Iterator[Fact]:
    """The one line below the verdict."""
    run = report.run
    start, end = epoch(run.started_at), epoch(run.finished_at)
    if start is not None:
        last = report.as_of if end is None else end
        yield Fact(_when(start, end), rounded(max(0.0, last - start)))
    if run.manifest:
        yield Fact("manifest", plain(run.manifest))
    for name, value in list(run.params.items())[:PARAMS]:
        yield Fact(plain(name), short(str(value), 60))
    if len(run.params) > PARAMS:
        yield Fact("and", counted(len(run.params) - PARAMS, "more parameter"))
    used = {row.account for row in report.targets}
    for name in sorted(used)[:PARAMS]:
        yield Fact("on", _account(report, name))
    if len(run.merged) > 1:
        yield Fact("retried as", ", ".join(run.merged[1:]))
    elif run.parent:
        yield Fact("retry of", run.parent)


def _when(start: float, end: float | None) -> str:
    """A date with zone, and the time of day at the other end."""
    first = datetime.fromtimestamp(start, UTC)
    if end is None:
        return f"{first:%a} {first.day} {first:%b %Y}, since {first:%H:%M} UTC"
    last = datetime.fromtimestamp(end, UTC)
    other = f"{last:%H:%M}" if last.date() == first.date() else f"{last:%a} {last.day} {last:%b} {last:%H:%M}"
    return f"{first:%a} {first.day} {first:%b %Y}, {first:%H:%M}\u2013{other} UTC"


def _account(report: Report, name: str) -> str:
    """The service, its host where it is not the usual one, and the account's name where that says more."""
    account = report.accounts.get(name)
    declaration = None if account is None else registry.known().get(account.type)
    if account is None or declaration is None:
        return plain(name)
    host = urlsplit(account.url).hostname or ""
    at = f" at {plain(host)}" if account.url != declaration.url and host else ""
    called = "" if name in (account.type, declaration.title) else f" as {plain(name)}"
    return f"{declaration.title}{at}{called}"


# -- the bar, and the numbers that are the filter ------------------------------------------------------------------


class Number(Struct, frozen=True):
    """A number of targets.

    Args:
        marks: those that it counts; a filter by it shows them.
        more: of what is open, how far it has come, in words.
    """

    mark: Mark
    number: int
    marks: str
    more: str = ""


def numbers(report: Report) -> Iterator[Number]:
    """Doubt and failures first; what is open as one number; zeros are left out."""
    found = Counter(mark_of(row) for row in report.targets)
    for one in OUTCOMES.values():
        if one.word == "skipped" or one.word == "passed":
            continue
        if found[one]:
            yield Number(one, found[one], key_of(one))
    waiting = _open(found)
    if waiting:
        words = dict.fromkeys(one.word for one in waiting)
        numbers_ = {word: sum(number for one, number in waiting.items() if one.word == word) for word in words}
        more = "" if len(words) == 1 else ": " + ", ".join(f"{number:,} {word}" for word, number in numbers_.items())
        first = next(iter(waiting))
        shown = first if len(words) == 1 else Mark(OPEN_WORD, first.symbol, first.letter, first.meaning)
        yield Number(shown, sum(waiting.values()), ",".join(dict.fromkeys(map(key_of, waiting))), more)
    for one in (OUTCOMES[Outcome.PASSED], OUTCOMES[Outcome.SKIPPED]):
        if found[one]:
            yield Number(one, found[one], key_of(one))


def _open(found: Counter[Mark]) -> dict[Mark, int]:
    """Open targets by how far they have come, the farthest first."""
    return {one: found[one] for one in (PHASES[phase] for phase in OPEN) if found[one]}


def bar(rows: Sequence[Row], *, is_open: bool = False) -> list[Bar]:
    """Outcomes as parts of a whole; what is there is seen, however small it is.

    Args:
        is_open: the run goes on: then what passed begins the bar, and what is to come ends it.
    """
    found = Counter(mark_of(row) for row in rows)
    ended = [*OUTCOMES.values()]
    if is_open:
        ended = [ended[-1], *ended[:-1]]
    order = [*ended, *(PHASES[phase] for phase in OPEN)]
    sizes = [(one, found[one]) for one in order if found[one]]
    total = sum(number for _, number in sizes)
    small = [100 * number / total for _, number in sizes]
    wide = [max(LEAST, size) for size in small]
    factor = 100 / sum(wide) if wide else 1.0
    parts, at = [], 0.0
    for (one, number), size in zip(sizes, wide, strict=True):
        kind = "unsent" if one is PHASES[Phase.WAITING] else one.meaning.value
        parts.append(Bar(kind, round(at, 3), round(size * factor, 3), text=f"{number:,} {one.word}"))
        at += size * factor
    return parts
