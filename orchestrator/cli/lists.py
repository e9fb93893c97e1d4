"""The lists of a run's picture: owners, the builds that run longest, the newest targets that did not pass."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cli.bar import bar
from orchestrator.cli.cells import DIM, Line, Style, cut, name, sgr, width_of
from orchestrator.core.model import Outcome
from orchestrator.core.times import clock, duration
from orchestrator.engine.snapshot import NotPassed, RunningLong, Snapshot
from orchestrator.report.marks import OUTCOMES, Meaning, mark

WIDE = 100  # columns from which on two lists stand beside each other
LABEL = 13  # columns of the words at the left
SOME = 5  # owners, and builds that run, where there is room for all
FEWEST = 3  # lines below which a list is left out
NOT_PASSED = (Outcome.FAILED, Outcome.ERRORED, Outcome.TIMED_OUT, Outcome.REJECTED, Outcome.CANCELED)
MANY = 0.1  # of an owner's targets that did not pass: from there on it is coloured


class Lists:
    """Those of one snapshot, for so many columns."""

    def __init__(self, snapshot: Snapshot, columns: int, style: Style) -> None:
        self._seen = snapshot
        self._columns = columns
        self._style = style
        self._is_wide = columns >= WIDE
        self._only = f"{snapshot.accounts[0]}:" if len(snapshot.accounts) == 1 else ""

    def lines(self, rows: int) -> list[Line]:
        """Owners, what runs longest, and what did not pass, each after a blank line."""
        seen, found = self._seen, list[Line]()
        owners = len(seen.owners) if len(seen.owners) + seen.other_owners > 1 else 0
        newest = len(seen.newest)
        least = min(newest, FEWEST) + 2 if newest else 0  # a blank line, the heading
        room = rows - least - 1
        if self._is_wide:
            most = min(room - 1, max(min(owners, SOME), min(len(seen.longest), SOME)) if owners else SOME)
            if room - 1 >= 1 and (owners or seen.longest):
                found += [Line(), *self._beside(most, owners)]
        else:
            if owners and room >= 1:
                found += [Line(), *self._owners(min(owners, SOME, room), heading=False)]
            room = rows - len(found) - least - 2
            if seen.longest and room >= FEWEST:
                found += [Line(), *self._longest(min(SOME, room), self._columns)]
        room = rows - len(found) - 2
        if newest and room >= 1:
            found += [Line(), *self._newest(room)]
        return found

    def _beside(self, rows: int, owners: int) -> list[Line]:
        """Owners at the left, what runs longest at the right."""
        seen = self._seen
        if not owners:
            return list(self._longest(rows, self._columns))
        lines = list(self._owners(min(owners, rows), heading=True))
        if not seen.longest:
            return lines
        start = max(LABEL, max(line.width for line in lines)) + 5
        right = list(self._longest(rows, self._columns - start))
        while len(lines) < len(right):
            lines.append(Line())
        for line, other in zip(lines, right, strict=False):
            line.pad(start).join(other)
        return lines

    def _owners(self, rows: int, *, heading: bool) -> Iterator[Line]:
        seen = self._seen
        owners = seen.owners[:rows]
        more = len(seen.owners) - len(owners) + seen.other_owners
        if heading:
            line = Line().add("by owner", DIM)
            yield line.add(f"   {more:,} more with fewer targets", DIM) if more else line
        label = max(LABEL, min(24, 2 + max(width_of(name(one.owner)) for one in owners)))
        length = 26 if self._is_wide else 18
        done = [sum(n for key, n in one.keys.items() if isinstance(key, Outcome)) for one in owners]
        figures = [f"{n:,} of {one.targets:,}" for n, one in zip(done, owners, strict=True)]
        wide = max(map(len, figures))
        bads = [sum(one.keys.get(outcome, 0) for outcome in NOT_PASSED) for one in owners]
        most = len(f"{max(bads):,}")
        for one, text, bad in zip(owners, figures, bads, strict=True):
            line = Line().add(cut(name(one.owner), label - 2), DIM).pad(label)
            line.join(bar(one.keys, length, colour=self._style.colour, signs=self._style.signs))
            line.add(f"   {text:>{wide}}")
            if bad:
                line.add("   ").add(f"{bad:>{most},} not passed", sgr(Meaning.BAD) if bad > MANY * one.targets else "")
            yield line

    def _longest(self, rows: int, width: int) -> Iterator[Line]:
        yield Line().add("running longest", DIM)
        running = self._seen.longest[:rows]
        times = [duration(one.seconds) for one in running]
        first = max(map(len, times), default=0)
        notes = [_usually(one) for one in running]
        room = width - first - 4 - max(map(width_of, notes), default=0)
        for one, time, note in zip(running, times, notes, strict=True):
            line = Line().add(f"{time:>{first}}  ").add(cut(self._called(one.target), max(12, room)))
            yield line.add(f"  {note}" if note else "", DIM)

    def _newest(self, rows: int) -> Iterator[Line]:
        yield Line().add("newest that did not pass", DIM)
        shown = self._seen.newest[:rows]
        word = max(width_of(OUTCOMES[one.outcome].word) for one in shown) + 1
        names = [self._called(one.target) for one in shown]
        most = max(16, self._columns - 10 - 2 - word - 2 - 24)
        wide = min(most, max(map(width_of, names)))
        for one, called in zip(shown, names, strict=True):
            yield self._not_passed(one, cut(called, wide), word, wide)

    def _not_passed(self, one: NotPassed, called: str, word: int, wide: int) -> Line:
        at = mark(one.outcome)
        line = Line().add(clock(one.at)[11:19], DIM).add("  ")
        line.add(f"{at.symbol if self._style.signs else at.letter} {at.word}", at.colour.sgr)
        line.pad(10 + 2 + word).add(called).pad(10 + 2 + word + wide + 2)
        return line.add(name(one.note), DIM)

    def _called(self, target: str) -> str:
        """A target without its account, where there is only one."""
        return name(target.removeprefix(self._only))


def _usually(one: RunningLong) -> str:
    return "" if one.usually is None else f"usually {duration(max(1.0, one.usually))}"
