"""The picture of a run on a terminal: a snapshot laid out for so many columns and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.cli.bar import ORDER, bar
from orchestrator.cli.cells import BOLD, DIM, Line, Style, cut, name, sgr, width_of
from orchestrator.cli.lists import LABEL, NOT_PASSED, WIDE, Lists
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.times import duration, moment
from orchestrator.engine.snapshot import Left, Snapshot
from orchestrator.engine.stage import Stage
from orchestrator.report.marks import OUTCOMES, PHASES, Meaning
from orchestrator.report.story import account_stopped

NARROW = 60  # columns from which on there is room for more than six lines

_STAGES: Mapping[Stage, Meaning] = {
    Stage.WAITING: Meaning.REFUSED,
    Stage.STOPPING: Meaning.REFUSED,
    Stage.CANCELING: Meaning.REFUSED,
    Stage.STOPPED: Meaning.BAD,
    Stage.ACCOUNT_STOPPED: Meaning.BAD,
    Stage.UNATTENDED: Meaning.BAD,
    Stage.ENDED: Meaning.GOOD,
}


def picture(snapshot: Snapshot, columns: int, rows: int, style: Style) -> list[Line]:
    """The lines, no more than rows."""
    if columns < NARROW:
        return list(_narrow(snapshot, columns, style))[: max(1, rows)]
    return _Wide(snapshot, columns, rows, style).lines()


def title(snapshot: Snapshot, columns: int) -> Line:
    """Which run it is, what it is at, and how old it is; a long name gives way."""
    stage, age = snapshot.state.stage, duration(snapshot.age)
    run = "" if columns < NARROW else f"  {cut(name(snapshot.run), columns // 3)}"
    room = columns - sum(map(width_of, (run, stage.value, age))) - 4
    line = Line().add(cut(name(snapshot.name), max(8, room)), BOLD).add(run)
    return line.add("  ").add(stage.value, sgr(_STAGES.get(stage, Meaning.BUSY))).end(age, DIM)


def headed(snapshot: Snapshot, columns: int, suffix: str) -> tuple[Line, list[Line]]:
    """The title, with what is to be said of the state behind it where there is room, else on lines of their own."""
    line, told = title(snapshot, columns), state_told(snapshot)
    below = list[Line]()
    if told and line.width + line.room + width_of(told) + 4 <= columns:
        line.add("  ").add(told, DIM)
    elif told:
        below.append(Line().add(told, DIM))
    if snapshot.state.verb:  # a command is never cut
        command = f"orchestrator {snapshot.state.verb} {snapshot.run}{suffix}"
        below.append(Line().add("go on with", DIM).pad(LABEL).add(command))
    return line, below


def state_told(snapshot: Snapshot, *, is_short: bool = False) -> str:
    """Why it is at that, until when or for how long at most; empty where nothing is to be said."""
    state = snapshot.state
    parts = [name(state.why)] if state.why else []
    if state.until is not None:
        wait = duration(max(0.0, state.until - snapshot.at))
        parts.append(f"until {moment(state.until, snapshot.at, is_end=True)} ({wait})")
    if state.at_most is not None:
        most, is_patient = duration(max(0.0, state.at_most)), state.stage is Stage.CANCELING
        parts.append(f"gives up in {most} unless one more stops" if is_patient else f"at most {most}")
    return ", ".join(reversed(parts) if is_short else parts)


def left_told(left: Left, *, head: str = "") -> str:
    """How long something still takes: `in about 3 s`, or why that is not known."""
    return f"{head}: unknown, {left.why}" if left.why else f"{head} in about {duration(_coarse(left.seconds))}"


def _coarse(seconds: float) -> float:
    """As precise as can be foretold."""
    for least, step in ((7200.0, 600.0), (600.0, 60.0), (120.0, 10.0), (30.0, 5.0)):
        if seconds >= least:
            return round(seconds / step) * step
    return max(1.0, seconds)


# -- under 60 columns -----------------------------------------------------------------------------------------------


def _narrow(snapshot: Snapshot, columns: int, style: Style) -> Iterator[Line]:
    """Six lines, and nothing else."""
    yield title(snapshot, columns)
    yield bar(snapshot.keys, columns, colour=style.colour, signs=style.signs)
    yield Line().add(f"{snapshot.done:,}", BOLD).add(f" of {snapshot.targets:,} done")
    keys = snapshot.keys
    bad = sum(keys.get(outcome, 0) for outcome in (*NOT_PASSED, Outcome.SUPERSEDED))
    figures = [(keys.get(Outcome.PASSED, 0), "passed", Meaning.GOOD), (bad, "not", Meaning.BAD)]
    figures.append((keys.get(Outcome.IN_DOUBT, 0), "in doubt", Meaning.DOUBT))
    yield _figures([one for one in figures if one[0]])
    going = [(keys.get(Phase.RUNNING, 0), "running", Meaning.BUSY)]
    going += [(keys.get(Phase.QUEUED, 0) + keys.get(Phase.REQUESTED, 0), "queued", Meaning.WAITING)]
    going += [(keys.get(Phase.WAITING, 0), "to send", Meaning.IDLE)]
    yield _figures([one for one in going if one[0]])
    yield Line().add(_foot(snapshot), DIM)


def _foot(snapshot: Snapshot) -> str:
    """The last of six lines: what holds it, or how long it takes."""
    if snapshot.state.stage not in (Stage.TRIGGERING, Stage.FOLLOWING, Stage.STARTING):
        return state_told(snapshot, is_short=True)
    left = snapshot.build_left
    if left is None:
        return ""
    return f"time left unknown, {left.why}" if left.why else f"all done in about {duration(_coarse(left.seconds))}"


def _figures(figures: Sequence[tuple[int, str, Meaning]]) -> Line:
    line = Line()
    for place, (number, word, meaning) in enumerate(figures):
        line.add("   " if place else "")
        line.add(f"{number:,}", BOLD, "" if meaning is Meaning.IDLE else sgr(meaning)).add(f" {word}")
    return line


# -- from 60 columns on ---------------------------------------------------------------------------------------------


class _Wide:
    def __init__(self, snapshot: Snapshot, columns: int, rows: int, style: Style) -> None:
        self._seen = snapshot
        self._columns = columns
        self._rows = rows
        self._style = style
        self._is_wide = columns >= WIDE

    def lines(self) -> list[Line]:
        """As many as there is room for: numbers first, then owners, what runs longest, what did not pass."""
        head, more = headed(self._seen, self._columns, self._style.suffix)
        found = [head, self._bar(self._columns), *more]
        if self._rows >= 10:
            found.append(Line())
        found += self._numbers()
        foot = self._foot()
        if len(found) + 2 <= self._rows:
            found += Lists(self._seen, self._columns, self._style).lines(self._rows - len(found) - 2)
        if len(found) < self._rows:
            found += [Line(), foot] if len(found) + 2 <= self._rows else [foot]
        return found[: max(1, self._rows)]

    def _bar(self, width: int) -> Line:
        return bar(self._seen.keys, width, colour=self._style.colour, signs=self._style.signs)

    # -- numbers ------------------------------------------------------------------------------------------------

    def _numbers(self) -> Iterator[Line]:
        seen = self._seen
        yield self._triggered()
        yield self._in_flight()
        yield from self._done()
        if Outcome.IN_DOUBT in seen.keys:
            yield self._in_doubt()
        if seen.wave is not None:
            yield self._wave(seen.held_by)
        told = seen.state.stage is Stage.ACCOUNT_STOPPED and len(seen.accounts_stopped) == 1
        for account, cause in () if told else seen.accounts_stopped.items():
            yield Line().add(account_stopped(name(account), name(cause)), sgr(Meaning.BAD))

    def _row(self, label: str, number: int, of: int | None = None, more: str = "") -> Line:
        line = Line().add(label, DIM).pad(LABEL).add(f"{number:,}", BOLD)
        return line.add(f" of {of:,}{more}" if of is not None else more)

    def _triggered(self) -> Line:
        seen = self._seen
        line = self._row("triggered", seen.sent, seen.to_send)
        if seen.rate is not None and seen.state.stage is Stage.TRIGGERING:
            unit, per = _unit(seen.allowed if seen.allowed is not None else seen.rate)
            allowed = "" if seen.allowed is None else f" of {_rate(seen.allowed * per)}/{unit} allowed"
            line.add(f"   {_rate(seen.rate * per)}/{unit}{allowed}")
        return self._with_left(line, seen.trigger_left, "last one", "last")

    def _in_flight(self) -> Line:
        seen, keys = self._seen, self._seen.keys
        by = " (-j)" if seen.is_limit_chosen else ""
        line = self._row("in flight", seen.in_flight, seen.in_flight_limit, by)
        running, queued = keys.get(Phase.RUNNING, 0), keys.get(Phase.QUEUED, 0) + keys.get(Phase.REQUESTED, 0)
        for number, phase in ((running, Phase.RUNNING), (queued, Phase.QUEUED)):
            if number:
                self._figure(line, number, PHASES[phase].word, PHASES[phase].colour.sgr)
        return self._with_left(line, seen.build_left, "last build", "end")

    def _with_left(self, line: Line, left: Left | None, head: str, short: str) -> Line:
        """The time left at the right edge, or behind the rest where that is near."""
        if left is None or self._seen.state.stage in (Stage.STOPPING, Stage.CANCELING):
            return line
        text = left_told(left, head=head)
        if not self._is_wide:
            room = self._columns - line.width - 3
            text = text if width_of(text) <= room else left_told(left, head=short).replace(" about", "")
            return line.add("   ").add(text, DIM)
        return (
            line.end(text, DIM) if line.width + 2 + width_of(text) <= self._columns else line.add("   ").add(text, DIM)
        )

    def _done(self) -> Iterator[Line]:
        """By outcome; what does not fit goes on below."""
        seen = self._seen
        line = self._row("done", seen.done, seen.targets)
        for outcome in ORDER:
            number = seen.keys.get(outcome, 0)
            if not isinstance(outcome, Outcome) or outcome is Outcome.IN_DOUBT or not number:
                continue
            one = OUTCOMES[outcome]
            if line.width + 3 + width_of(f"{number:,} {one.word}") > self._columns:
                yield line
                line = Line().pad(LABEL - 3)
            self._figure(line, number, one.word, "" if one.meaning is Meaning.IDLE else sgr(one.meaning))
        yield line

    def _figure(self, line: Line, number: int, word: str, colour: str) -> None:
        line.add("   ").add(f"{number:,}", BOLD, colour).add(f" {word}")

    def _in_doubt(self) -> Line:
        """Those that are looked for, and those that nobody could settle."""
        seen = self._seen
        given_up = seen.outcomes.get(Outcome.IN_DOUBT, 0)
        line = Line().add("in doubt", DIM).pad(LABEL)
        if seen.doubts:
            line.add(f"{seen.doubts:,}", BOLD, sgr(Meaning.DOUBT)).add(" looked for; nothing is sent twice")
        if given_up:
            line.add("   " if seen.doubts else "")
            line.add(f"{given_up:,}", BOLD, sgr(Meaning.DOUBT)).add(" not settled: a person has to look")
        return line

    def _wave(self, held: str | None) -> Line:
        wave = self._seen.wave
        assert wave is not None  # noqa: S101  # only then it is asked for
        called = f" ({name(wave.name)})" if wave.name != str(wave.number) else ""
        line = self._row("wave", wave.number, wave.of, called)
        is_told = held is None or self._seen.state.stage is Stage.WAITING
        return line if is_told else line.add("   ").add(name(held or ""), DIM)

    # -- the foot -----------------------------------------------------------------------------------------------

    def _foot(self) -> Line:
        return Line().add(on_ctrl_c(self._seen), DIM)


def on_ctrl_c(snapshot: Snapshot) -> str:
    """What Ctrl-C does now."""
    if snapshot.state.stage is Stage.STOPPING:
        return "Ctrl-C once more leaves at once; a lost answer is looked for by the next process"
    if not snapshot.is_ours:
        return "Ctrl-C leaves; the run goes on as it would without this"
    if snapshot.is_rehearsal:
        return "Ctrl-C ends the rehearsal: its service goes with it"
    if snapshot.state.stage not in (Stage.TRIGGERING, Stage.STARTING, Stage.WAITING):
        return "Ctrl-C leaves; what runs goes on, and `orchestrator resume` continues"
    return "Ctrl-C stops sending; what runs goes on, and `orchestrator resume` continues"


def _unit(per_second: float) -> tuple[str, float]:
    """The unit in which a rate reads best, and its seconds."""
    if per_second >= 2.0:
        return "s", 1.0
    return ("min", 60.0) if per_second * 60.0 >= 1.0 else ("h", 3600.0)


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 or abs(value - round(value)) < 0.05 else f"{value:.1f}"
