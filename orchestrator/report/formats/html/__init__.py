"""One self-contained page: the verdict, its causes and what to do, how it went, and a table of all targets.

It loads nothing from anywhere. Everything from outside goes through autoescaping, or stands in data that a script reads
as text; the page's own policy allows no style and no script but ours, which it names by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files

import jinja2

from orchestrator.core.frozen import Struct
from orchestrator.core.times import counted, moment
from orchestrator.report.diff import Diff
from orchestrator.report.formats.html import charts, head, sections
from orchestrator.report.formats.html.table import table
from orchestrator.report.groups import flake_line, groups
from orchestrator.report.hints import Hint, for_a_person, next_steps
from orchestrator.report.marks import COLOURS, Meaning
from orchestrator.report.states import State, Verdict
from orchestrator.report.verdict import Ahead, verdict
from orchestrator.report.view import Report, WaveView
from orchestrator.report.words import epoch, plain

AT_MOST = 100_000  # rows; a browser that gets more is slow
GOING_ON = (State.RUNNING, State.WAITING, State.DETACHED)


def render(report: Report, *, at_most: int = AT_MOST) -> str:
    """The page.

    Args:
        at_most: rows in the table; what did not pass comes first.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    script, style = _file("page.js"), colours() + _file("page.css")
    found, said, drawn = groups(report), verdict(report, ahead=_ahead(report)), charts.over_time(report)
    is_open = said.state in GOING_ON
    return environment.get_template("page.html").render(
        report=report,
        policy=_policy(script, style),
        script=script,
        style=style,
        title=plain(report.run.name) or report.run.id,
        verdict=said,
        sentence=list(strong(said.sentence)),
        then=_then(said),
        facts=list(head.facts(report)),
        is_open=is_open,
        bar=head.bar(report.targets, is_open=is_open),
        numbers=list(head.numbers(report)),
        causes=sections.told(report, found),
        flaky=flake_line(report).capitalize() if report.targets else "",
        running=sections.longest(report, running=True) if is_open else [],
        steps=list(_steps(report, is_open=is_open)),
        since=None if report.since is None else _since(report.since),
        owners=sections.owners(report, is_open=is_open),
        waves=[_wave(one, report.as_of) for one in report.run.waves] if len(report.run.waves) > 1 else [],
        has_waves=len(report.run.waves) > 1,
        charts=drawn,
        rates_key=[] if drawn is None else list(_rates_key(report, drawn[0])),
        at_once_key=[] if drawn is None else list(_at_once_key(drawn[1])),
        durations=charts.durations(report.targets),
        longest=sections.longest(report),
        targets=counted(len(report.targets), "target"),
        is_cut=len(report.targets) > at_most,
        left_out=counted(max(0, len(report.targets) - at_most), "target"),
        fine_print=list(sections.fine_print(report)),
        data=table(report, found, at_most),
    )


def _file(name: str) -> str:
    return (files("orchestrator.report") / "page" / name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """What the page may load and run: nothing but its own style and script, which are named by their hashes."""
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, script)]
    own = (f"{kind}-src 'sha256-{digest}'" for kind, digest in zip(("style", "script"), hashes, strict=True))
    return "; ".join(["default-src 'none'", *own, "base-uri 'none'", "form-action 'none'"])


def colours() -> str:
    """The table of colours as style: for each meaning a variable, on light and dark paper, and a class with it."""
    light = "".join(f"--{one}: {colour.light}; " for one, colour in COLOURS.items())
    dark = "".join(f"--{one}: {colour.dark}; " for one, colour in COLOURS.items())
    kinds = "".join(f".{one} {{ --mark: var(--{one}); }}\n" for one in Meaning)
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n{kinds}"


def strong(sentence: str) -> Iterator[tuple[str, bool]]:
    """The sentence in parts, each with whether it is what a person must not miss."""
    for part in re.split(r"([\d,]+ (?:is|are) in doubt:?)", sentence):
        if part:
            yield part, "in doubt" in part


def _ahead(report: Report) -> Ahead:
    """What is still expected of the run, as its sentence has it."""
    unsent = [at for at, _ in report.to_come if at > report.as_of]
    last_trigger = max(unsent) - report.as_of if unsent else None
    last_build = max(end for _, end in report.to_come) - report.as_of if report.to_come else None
    return Ahead(last_trigger, last_build)


def _then(said: Verdict) -> tuple[str, str, str]:
    """What to do then: the words before the command, the command, the words after it."""
    before, _, after = said.then.partition(said.command) if said.command else (said.then, "", "")
    return before, said.command, after


def _steps(report: Report, *, is_open: bool) -> Iterator[head.Fact]:
    """What may be run next, as what it is for and a command line."""
    run = report.run.id
    hints = list(for_a_person(report)) if is_open else list(next_steps(report))
    if is_open and not report.is_rehearsal:
        hints += [
            Hint("watch", run, label="follow it"),
            Hint("cancel", run, ("--keep-builds",), "send no more, let builds go on"),
            Hint("cancel", run, label="cancel exactly its builds"),
        ]
    for hint in hints:
        yield head.Fact(_what_for(hint, report), hint.typed(report.suffix))


def _what_for(hint: Hint, report: Report) -> str:
    """A command's label, in more words where a line has room for them."""
    doubts, still_open = sum(row.is_in_doubt for row in report.targets), report.totals["open"]
    if hint.verb == "resume" and doubts and not still_open:
        return f"settle the {doubts:,} in doubt: look again"
    said = {"why": "the whole story of one target", "report": "all targets, for a spreadsheet"}
    return said.get(hint.verb, "build again what did not pass" if hint.verb == "retry" else hint.label)


def _rates_key(report: Report, chart: charts.Chart) -> Iterator[tuple[str, str]]:
    """What the chart of triggers shows, as class and words."""
    sent = [at for row in report.targets if (at := epoch(row.triggered_at)) is not None]
    bound = chart.bound
    could = 0.0 if bound is None else bound.value * (max(sent) - min(sent)) / 60
    part = f", {min(1.0, len(sent) / could):.0%} of what was allowed" if could > 1 else ""
    so_far = " so far" if report.run.finished_at is None else " in all"
    yield "busy", f"sent, {len(sent):,}{so_far}{part}"
    if bound is not None:
        far = ", far above" if bound.at is None else ""
        yield "bound", f"allowed, {bound.value:,.{0 if bound.value >= 10 else 1}f}{far}".replace(".0", "")


def _at_once_key(chart: charts.Chart) -> Iterator[tuple[str, str]]:
    """The same of the chart of builds."""
    yield "busy", f"running, at most {chart.most['busy']:,}"
    if chart.most["waiting"]:
        yield "waiting", f"queued, at most {chart.most['waiting']:,}"
    if chart.bound is not None:
        far = ", far above" if chart.bound.at is None else ""
        yield "bound", f"limit, {chart.bound.value:,}{far}"


# -- since the run before, and waves -------------------------------------------------------------------------------


class Since(Struct, frozen=True):
    """What changed since an earlier run."""

    run: str
    lines: tuple[Change, ...]


class Change(Struct, frozen=True):
    """A number of targets that changed alike."""

    symbol: str
    meaning: Meaning
    word: str
    number: int


def _since(diff: Diff) -> Since:
    kinds = (
        ("\u2198", Meaning.BAD, "newly failing", diff.newly_failing),
        ("=", Meaning.IDLE, "still failing", diff.still_failing),
        ("\u2197", Meaning.GOOD, "fixed", diff.fixed),
        ("?", Meaning.DOUBT, "undecided", diff.undecided),
        ("+", Meaning.IDLE, "new", diff.new),
        ("\u2013", Meaning.IDLE, "gone", diff.gone),
    )
    lines = [Change(symbol, meaning, word, len(rows)) for symbol, meaning, word, rows in kinds]
    return Since(diff.before.id, tuple(one for number, one in enumerate(lines) if number < 3 or one.number))


class Wave(Struct, frozen=True):
    """One wave in words."""

    name: str
    targets: int
    approved: str
    opened: str
    judged: str
    verdict: str


def _wave(wave: WaveView, as_of: float) -> Wave:
    """What is known of a wave; instants as they are seen from the report's."""

    def when(at: str | None) -> str:
        return "" if at is None else moment(epoch(at) or 0.0, as_of)

    name = str(wave.wave) if wave.name == str(wave.wave) else f"{wave.wave} {plain(wave.name)}"
    by = " ".join(part for part in (plain(wave.approved_by or ""), when(wave.approved_at)) if part)
    said = ": ".join(plain(part) for part in (wave.verdict or "", wave.why or "") if part)
    return Wave(name, wave.targets, by, when(wave.opened_at) or "not opened", when(wave.judged_at), said)
