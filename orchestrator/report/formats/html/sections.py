"""What the page says below its head, as values: what did not pass, whose it is, what took long, the fine print."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from orchestrator import __version__
from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.times import counted, rounded
from orchestrator.report import minutes
from orchestrator.report.formats.html.charts import Bar
from orchestrator.report.formats.html.head import Fact, bar, prefix_of
from orchestrator.report.formats.text import forecast_lines
from orchestrator.report.groups import Group, shares
from orchestrator.report.marks import Mark
from orchestrator.report.remedies import remedy
from orchestrator.report.view import Report, Row
from orchestrator.report.words import epoch, link, plain, short

NAMES = 400  # targets that stand below their causes
NAMED = 3  # owners beside a cause
OWNERS = 8
LONGEST = 4


# -- what did not pass ---------------------------------------------------------------------------------------------


class Name(Struct, frozen=True):
    """A target below its cause: what differs from the others, and a link, where there is one."""

    id: str
    shown: str
    differs: str
    url: str
    text: str


class Told(Struct, frozen=True):
    """A cause: so many targets did not pass for it.

    Args:
        number: of the group; a filter shows its targets by it.
        tail: the end of the log of the first of them.
        more: targets that are not named here.
    """

    number: int
    mark: Mark
    title: str
    remedy: str
    owners: str
    count: int
    names: tuple[Name, ...]
    more: int
    is_open: bool
    tail: str
    source: str


def told(report: Report, groups: Sequence[Group]) -> list[Told]:
    """What did not pass, by cause; without what is open only since its time has not come."""
    shown = [(number, group) for number, group in enumerate(groups) if _is_told(report, group)]
    places = shares([len(group.rows) for _, group in shown], NAMES)
    prefix = prefix_of(report)
    return [_told(report, number, group, most, prefix) for (number, group), most in zip(shown, places, strict=True)]


def _is_told(report: Report, group: Group) -> bool:
    """What was left out on purpose, or waits or builds while the run goes on, has no cause to be told."""
    first = group.rows[0]
    if first.outcome is None and not first.is_in_doubt:
        return report.run.finished_at is not None
    return first.outcome != Outcome.SKIPPED or any(row.target.skip is None for row in group.rows)


def _told(report: Report, number: int, group: Group, most: int, prefix: str) -> Told:
    first = group.rows[0]
    title, _, rest = short(group.reason).partition("; ")
    differs = {group.differs(row) for row in group.rows}
    same = differs.pop() if len(differs) == 1 else ""
    names = tuple(_name(row, prefix, "" if same else group.differs(row)) for row in group.rows[:most])
    return Told(
        number=number,
        mark=group.mark,
        title=_sentence(title),
        remedy="; ".join(part for part in (short(same), rest or remedy(group.code)) if part),
        owners=_owners(group.owners),
        count=len(group.rows),
        names=names,
        more=len(group.rows) - len(names),
        is_open=first.is_in_doubt,
        tail="" if first.cause is None else "\n".join(plain(line) for line in first.cause.tail.split("\n")).strip(),
        source="" if first.cause is None else _source(first),
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _source(row: Row) -> str:
    """Whose log it is that is shown."""
    cause = row.cause
    if cause is None:
        return ""
    ended = "" if cause.exit is None else f", exit {cause.exit}"
    return f"{plain(row.id)}, job {plain(cause.job)}{ended}"


def _name(row: Row, prefix: str, differs: str) -> Name:
    url = link(row.url) or ""
    text = f"build {short(row.build_number or '', 40)}".strip() if row.build_id else "requests page"
    return Name(plain(row.id), plain(row.id).removeprefix(prefix), short(differs, 160), url, text)


def _owners(found: Sequence[tuple[str, int]]) -> str:
    """The owners with their numbers; a single one alone."""
    named = ", ".join(f"{short(owner, 40)} {number:,}" for owner, number in found[:NAMED] if owner)
    return f"{named} +{len(found) - NAMED:,}" if len(found) > NAMED else named


# -- whose it is, and what took long -------------------------------------------------------------------------------


class Owner(Struct, frozen=True):
    """The targets of an owner: all, and those that did not pass."""

    name: str
    number: int
    not_passed: int
    bar: list[Bar]


class Owners(Struct, frozen=True):
    """The owners with most that did not pass, and how many there are besides."""

    rows: tuple[Owner, ...]
    more: int


def owners(report: Report, *, is_open: bool) -> Owners | None:
    """By owner; None where there is one, or repositories have none."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    several = len({row.account for row in report.targets}) > 1
    for row in report.targets:
        owner, slash, _ = row.repo.rpartition("/")
        if not slash:
            return None
        found[plain(f"{row.account}:{owner}" if several else owner)].append(row)
    if len(found) < 2:
        return None
    bad = {name: sum(map(_is_bad, rows)) for name, rows in found.items()}
    order = sorted(found, key=lambda name: (-bad[name], -len(found[name]), name))
    shown = [Owner(name, len(found[name]), bad[name], bar(found[name], is_open=is_open)) for name in order[:OWNERS]]
    return Owners(tuple(shown), len(order) - len(shown))


def _is_bad(row: Row) -> bool:
    return row.is_in_doubt or row.outcome not in (None, Outcome.PASSED, Outcome.SKIPPED)


class Long(Struct, frozen=True):
    """A build, and for how long it ran, or has run."""

    shown: str
    url: str
    took: str


def longest(report: Report, *, running: bool = False) -> list[Long]:
    """The builds that ran longest; or those that run for the longest time until now."""
    if running:
        began = [(report.as_of - at, row) for row in report.targets if _runs(row) and (at := epoch(row.started_at))]
    else:
        began = [(row.run_seconds, row) for row in report.targets if row.run_seconds is not None]
    found = sorted(began, key=lambda one: -one[0])[: LONGEST + running]
    prefix = prefix_of(report)
    return [Long(plain(row.id).removeprefix(prefix), link(row.url) or "", rounded(took)) for took, row in found]


def _runs(row: Row) -> bool:
    return row.outcome is None and row.phase == Phase.RUNNING


# -- fine print ----------------------------------------------------------------------------------------------------


def fine_print(report: Report) -> Iterator[Fact]:
    """Forecast against fact, limits, calls, and what made the page."""
    for line in () if report.forecast is None else forecast_lines(report.forecast):
        yield Fact("Forecast", line.partition(": ")[2])
    limits = [_limit(report, one.account, one.limit, one.used, one.waited_seconds) for one in report.limits]
    if limits:
        yield Fact("Limits", " \u00b7 ".join(limits))
    words = {"trigger": "trigger", "find": "search for lost answers", "poll": "look at builds", "other": "other"}
    calls = [_calls(number, words.get(purpose, purpose)) for purpose, number in report.calls.items() if number]
    if calls:
        yield Fact("Calls", ", ".join(calls))
    for text in minutes.line(minutes.used(report)):
        yield Fact("Used", text)
    seen = report.run.detection_seconds
    if seen is not None:
        text = f"in the median after {rounded(seen.median)}, nine of ten within {rounded(seen.p90)}"
        yield Fact("Ends seen", text)
    as_of = datetime.fromtimestamp(report.as_of, UTC)
    yield Fact("Made by", f"orchestrator {__version__} from the journal, as of {as_of.day} {as_of:%b %Y, %H:%M} UTC")


def _limit(report: Report, account: str, limit: str, used: int, waited: float) -> str:
    whose = f"{plain(account)} " if len(report.accounts) > 1 else ""
    wait = f", waited {rounded(waited)} for it" if waited >= 1 else ""
    return f"{whose}{plain(limit)}: {used:,} used{wait}"


def _calls(number: int, word: str) -> str:
    if word in ("other", "trigger"):
        return counted(number, word) if word == "trigger" else f"{number:,} other"
    noun, _, rest = word.partition(" ")
    plural = {"search": "searches", "look": "looks"}.get(noun, noun)
    return f"{number:,} {noun if number == 1 else plural} {rest}"
