"""What is worth a message, and what it says: values, made from the facts of a run as they become durable."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.core.errors import Exit
from orchestrator.core.events import Ended, RunEnded, Stopped
from orchestrator.core.frozen import Struct, asdict
from orchestrator.core.history import History
from orchestrator.core.model import CHANGED, END, FIRST_FAILURE, STOP, WAITING, Outcome
from orchestrator.journal.port import Entry
from orchestrator.report.hints import Hint
from orchestrator.report.verdict import verdict
from orchestrator.report.view import Report
from orchestrator.report.words import plain, short

SCHEMA = "orchestrator.notification/1"
# How a process left a run that is not over, where nobody sat before it who knows.
_LEFT = (Exit.ACCOUNT, Exit.TIMEOUT, Exit.STATE, Exit.SIGTERM)


class Message(Struct, frozen=True):
    """One message about a run; `text` is all of it, for a chat or a mail.

    Args:
        on: what it is about: `end`, `stop`, `first_failure`, `changed` or `waiting`.
        run, name: the run's id and name.
        title: one line.
        text: the title, what happened, and the command that one types next; some lines.
        exit_code: of the run, at its end; else None.
        totals: targets by outcome, where it is the end; else empty.
        is_rehearsal: whether nothing of it was real.
    """

    on: str
    run: str
    name: str
    title: str
    text: str
    exit_code: int | None = None
    totals: Mapping[str, int] = {}
    is_rehearsal: bool = False

    @property
    def body(self) -> dict[str, Any]:
        """What a webhook gets, as JSON."""
        return {"schema": SCHEMA, **asdict(self)}


class Moments:
    """Finds the moments of a run that are worth a message; each comes once, also over several processes.

    What is counted are facts that this process made durable: a process that takes the run up sees none of the earlier
    ones, and the history that it read tells whether a target had failed before.

    Args:
        history: of the run, as this process took it up.
    """

    def __init__(self, run: str, history: History) -> None:
        self._run = run
        self._name = history.made.name if history.made is not None else ""
        self._failures = history.options.failures
        self._is_rehearsal = history.options.sandbox
        verdicts = (history.of(target.id).verdict for target in history.targets)
        self._has_failed = any(one is not None and one.outcome in self._failures for one in verdicts)
        self._is_over = self._is_stopped = False
        self._waited_for: set[str] = set()

    def fact(self, entry: Entry) -> Message | None:
        """The message that an event is worth at once."""
        match entry.event:
            case RunEnded():
                self._is_over = True
            case Stopped(rule=rule) if rule:
                self._is_stopped = True
            case Ended(target=target, outcome=outcome, reason=reason) if outcome in self._failures:
                if not self._has_failed:
                    self._has_failed = True
                    return self._first_failure(target, outcome, reason)
        return None

    def waits(self, sentence: str, command: str) -> Message | None:
        """The message that a person is waited for; None where that was said already."""
        if sentence in self._waited_for:
            return None
        self._waited_for.add(sentence)
        title = f"{self._called} waits: {plain(sentence)}"
        return self._message(WAITING, title, command)

    def left(self, report: Report, code: Exit, before: int | None, wanted: Collection[str]) -> Message | None:
        """The one message about how the run ended, or how this process left it; None where it only goes on elsewhere.

        Args:
            before: the exit code of the run of this name before it; None where there is none.
            wanted: what somebody wants to hear of; the message is about the weightiest of these.
        """
        is_end = self._is_over or self._is_stopped or code in _LEFT
        is_changed = self._is_over and before is not None and (before == Exit.OK) != (code is Exit.OK)
        found = [on for on, holds in ((STOP, self._is_stopped), (CHANGED, is_changed), (END, is_end)) if holds]
        on = next((on for on in found if on in wanted), None)
        if on is None:
            return None
        told = verdict(report)
        was = "passed" if before == Exit.OK else "did not pass"
        title = f"{self._called}: {told.word}, exit {int(code)}{f'; the run before {was}' if is_changed else ''}"
        lines = (told.sentence, told.then, f"The report: {Hint('report', self._run).line()}")
        return self._message(on, title, *lines, code=code, totals=report.totals)

    def _first_failure(self, target: str, outcome: Outcome, reason: str) -> Message:
        title = f"{self._called}: the first target did not pass: {plain(target)}"
        sentence = f"{outcome.value.replace('_', ' ')}: {short(reason)}"
        return self._message(FIRST_FAILURE, title, sentence, Hint("why", self._run, (target,)).line())

    def _message(
        self, on: str, title: str, *lines: str, code: Exit | None = None, totals: Mapping[str, int] | None = None
    ) -> Message:
        title = f"rehearsal: {title}" if self._is_rehearsal else title
        text = "\n".join([title, *filter(None, lines)])
        exit_code = None if code is None else int(code)
        return Message(on, self._run, self._name, title, text, exit_code, totals or {}, self._is_rehearsal)

    @property
    def _called(self) -> str:
        return f"{plain(self._name)} {self._run}" if self._name else self._run
