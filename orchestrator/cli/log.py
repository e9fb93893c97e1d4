"""Logs: dotted facts with pairs, on stderr, for people or as JSON lines; nothing leaves before it was redacted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.core.events import (
    CANCELED,
    Absent,
    Doubted,
    Ended,
    Frozen,
    Refused,
    Requested,
    RestartAsked,
    Sighted,
    Stopped,
    target_of,
)
from orchestrator.core.model import Outcome
from orchestrator.core.secrets import Redactor
from orchestrator.report.hints import Hint
from orchestrator.report.story import LOOK_AT_BUILD, LOOKUP, line_of
from orchestrator.report.words import plain

if TYPE_CHECKING:
    from orchestrator.cli.live import Screen
    from orchestrator.engine.engine import Snapshot
    from orchestrator.journal.port import Entry

LEVELS: Mapping[str, int] = {"debug": 1, "info": 0, "warning": 0, "error": -1}  # the least verbosity that shows it
Fields: TypeAlias = MutableMapping[str, Any]
_COLOURS = {"error": "31", "warning": "33", "debug": "2"}

# Notices that repeat an event of the journal; said once.
_EVENTS = frozenset(
    {
        "account.stopped",
        "limit.frozen",
        "owner.refused",
        "request.accepted",
        "request.found",
        "run.stopped",
        "target.ended",
        "trigger.absent",
        "trigger.in_doubt",
    }
)
_MAY_REPEAT = frozenset({"account.hello_failed", "look.failed", "prepare.failed", "trigger.unreachable"})
_WARNINGS = frozenset(
    {
        *_MAY_REPEAT,
        "cancel.failed",
        "connections.bounded",
        "limit.raised",
        "metrics.unwritten",
        "notify.failed",
        "provider.warning",
        "queue.unread",
    }
)
_INFOS = frozenset({"quiet.began", "run.canceled", "run.waits", "targets.taken_over", "trigger.unreachable"})
_ANSWERS: Mapping[str, str] = {"approval": "approve", "pause": "unpause"}  # the verb for what a run waits for
_ERRORS = frozenset({"run.unattended"})  # nothing goes on until a person does something
PATIENCE = 30.0  # seconds for which the same trouble is not told again


class Log:
    """Writes lines; nothing global is touched.

    Args:
        write: takes a whole line without its end.
        verbosity: -1 errors only, 0 what a person should see, 1 and above everything.
        format: `console` or `json`.
        terse: of what a person should see only what is wrong: how it goes on a picture shows.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        redactor: Redactor,
        *,
        verbosity: int = 0,
        format: str = "console",  # noqa: A002  # the word of the command line
        now: Callable[[], float],
        colour: bool = False,
        terse: bool = False,
    ) -> None:
        self._write = write
        self._redactor = redactor
        self._terse = terse
        self._verbosity = max(-1, min(1, verbosity))
        self._is_json = format == "json"
        self._now = now
        self._colour = colour
        self._logger: Any = None

    def shows(self, level: str) -> bool:
        """Whether lines of this level are written."""
        return self._verbosity >= LEVELS[level] + (self._terse and level == "info")

    def debug(self, event: str, **fields: Any) -> None:
        """Every change, `-v`; every call, `-vv`."""
        self.line("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """How it goes on."""
        self.line("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What did not go well for one target, or may not."""
        self.line("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """What keeps the exit code from being 0."""
        self.line("error", event, fields)

    def line(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """One line at a level."""
        if not self.shows(level):
            return
        if self._logger is None:  # imported with the first line that is shown: it takes its time
            self._logger = self._made()
        getattr(self._logger, level)(event, **fields)

    def _made(self) -> Any:
        import structlog

        def stamp(_: Any, level: str, fields: Fields) -> Fields:
            return {"at": _clock(self._now()), "level": level, **fields}

        def redact(_: Any, __: str, fields: Fields) -> Fields:
            return dict(self._redactor.value(fields))

        def render(_: Any, __: str, fields: Fields) -> str:
            text = _as_json(fields) if self._is_json else _as_text(fields, self._colour)
            return self._redactor.text(text)  # once more, on what was really made of it

        return structlog.wrap_logger(
            _Lines(self._write),
            processors=[stamp, structlog.processors.format_exc_info, redact, render],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=False,
        )


class _Lines:
    """What structlog writes to: every level is one and the same function."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.debug = self.info = self.warning = self.error = write


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, default=str, separators=(",", ":"))


def _as_text(fields: Mapping[str, Any], colour: bool) -> str:
    """`01:00:02 warning target.ended travis:acme/x@main outcome=failed`; whatever steers a terminal is taken out."""
    rest = dict(fields)
    at, level, event = (str(rest.pop(name, "")) for name in ("at", "level", "event"))
    trace = rest.pop("exception", None)
    subject = rest.pop("target", None)
    words = [at[11:19], _painted(level, colour), plain(event), *([plain(str(subject))] if subject else [])]
    words += [f"{key}={_value(value)}" for key, value in rest.items() if value is not None]
    return "\n".join([" ".join(words), *(f"    {_kept(line)}" for line in str(trace or "").splitlines())])


def _kept(line: str) -> str:
    return " " * (len(line) - len(line.lstrip(" "))) + plain(line)


def _painted(level: str, colour: bool) -> str:
    code = _COLOURS.get(level)
    return f"\x1b[{code}m{level:<7}\x1b[0m" if colour and code else f"{level:<7}"


def _value(value: Any) -> str:
    text = plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    return f'"{text}"' if " " in text else text


class Follower:
    """Writes the log of a run and moves its live view: the observer of the use cases.

    Args:
        now: the clock that keeps repeated trouble apart.
        suffix: is appended to the command lines that it advises.
    """

    def __init__(self, log: Log, screen: Screen, now: Callable[[], float], suffix: str = "") -> None:
        self._log = log
        self._suffix = suffix
        self._screen = screen
        self._now = now
        self._urls: dict[str, str] = {}
        self._quiet_until: dict[str, float] = {}
        self._in_doubt: set[str] = set()
        self._restarting: set[str] = set()

    def progress(self, snapshot: Snapshot) -> None:
        """Where the run stands."""
        self._screen.show(snapshot, self._now())

    def notice(self, name: str, **fields: Any) -> None:
        """What happens beside the events."""
        if name in _EVENTS:
            return
        if (verb := _ANSWERS.get(fields.pop("on", ""))) is not None:
            fields["answer"] = f"orchestrator {verb} {fields.pop('run')}{self._suffix}"
        levels = {"error": _ERRORS, "info": _INFOS, "warning": _WARNINGS}
        level = next((level for level, names in levels.items() if name in names), "debug")
        if isinstance(hint := fields.get("next"), Hint):
            fields["next"] = hint.line(self._suffix)
        if name in _MAY_REPEAT and not self._is_new(name):
            level = "debug"
        self._log.line(level, name, fields)

    def fact(self, entry: Entry) -> None:
        """One event, as soon as it is durable."""
        event = entry.event
        line, level, more = line_of(event), "", {}
        match event:
            case Sighted(target=target, build=build) if build.url:
                self._urls[target] = build.url
            case RestartAsked(target=target):
                self._restarting.add(target)
            case Doubted(target=target):
                self._in_doubt.add(target)  # one line now and then tells what happens, how many there are, and why
                level = "warning" if self._is_new(line.name) else "debug"
                then = LOOK_AT_BUILD if target in self._restarting else LOOKUP
                more = {"others": len(self._in_doubt) - 1 or None, "next": then}
            case Frozen(scope=scope):  # each call that was under way is refused, and each refusal is an event
                level = "info" if self._is_new(f"{line.name} {scope}") else "debug"
            case Stopped(rule=rule) if rule == CANCELED:
                level = "warning"  # it was asked for
            case Requested(target=target) | Absent(target=target) | Refused(target=target):
                self._in_doubt.discard(target)
            case Ended(target=target, outcome=outcome):
                self._in_doubt.discard(target)
                more = {"url": self._urls.pop(target, None)}
                level = "debug" if outcome is Outcome.PASSED else "warning"
        level = level or line.level
        if self._log.shows(level):
            about = {} if target_of(event) is not None else {"account": entry.account or None}
            self._log.line(level, line.name, {**about, **line.pairs(event), **more})

    def _is_new(self, name: str) -> bool:
        now = self._now()
        if now < self._quiet_until.get(name, 0.0):
            return False
        self._quiet_until[name] = now + PATIENCE
        return True
