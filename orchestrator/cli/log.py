"""Logs: dotted facts with pairs, on stderr, for people or as JSON lines; nothing leaves before it was redacted."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import structlog

from orchestrator.core.redact import Redactor
from orchestrator.report.words import plain

FORMATS = ("console", "json")
LEVELS = {-1: logging.ERROR, 0: logging.INFO, 1: logging.DEBUG}

Fields: TypeAlias = MutableMapping[str, Any]
_COLOURS = {"error": "31", "critical": "31", "warning": "33", "debug": "2"}


class Log(Protocol):
    """What the rest of the program sees of structlog."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Every change, `-v`; every call, `-vv`."""
        ...

    def info(self, event: str, **fields: Any) -> Any:
        """How it goes on."""
        ...

    def warning(self, event: str, **fields: Any) -> Any:
        """What did not go well for one target, or may not."""
        ...

    def error(self, event: str, **fields: Any) -> Any:
        """What keeps the exit code from being 0."""
        ...

    def bind(self, **fields: Any) -> Log:
        """The same log with pairs that every line carries."""
        ...


def make(
    write: Callable[[str], object],
    redactor: Redactor,
    *,
    verbosity: int = 0,
    format: str = "console",  # noqa: A002  # the word of the command line
    now: Callable[[], float],
    colour: bool = False,
) -> Log:
    """A log of its own; no global configuration is touched.

    Args:
        write: takes a whole line without its end.
        verbosity: -1 errors only, 0 what a person should see, 1 and above everything.
    """
    render = _as_json if format == "json" else _as_text(colour)

    def stamp(logger: Any, level: str, fields: Fields) -> Fields:
        return {"at": _clock(now()), "level": level, **fields}

    def redact(logger: Any, level: str, fields: Fields) -> Fields:
        return dict(redactor.value(fields))

    def finish(logger: Any, level: str, fields: Fields) -> str:
        return redactor.text(render(fields))  # once more, on what was really made of it

    log: Log = structlog.wrap_logger(
        _Lines(write),
        processors=[stamp, structlog.processors.format_exc_info, redact, finish],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[max(-1, min(1, verbosity))]),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    return log


class _Lines:
    """What structlog writes to: every level is one and the same function."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = write


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_json(fields: Fields) -> str:
    return json.dumps(fields, ensure_ascii=False, default=str, separators=(",", ":"))


def _as_text(colour: bool) -> Callable[[Fields], str]:
    """`01:00:02 warning target.ended travis:acme/x@main outcome=failed`; whatever steers a terminal is taken out."""

    def render(fields: Fields) -> str:
        rest = dict(fields)
        at, level, event = (str(rest.pop(name, "")) for name in ("at", "level", "event"))
        traceback = rest.pop("exception", None)
        subject = rest.pop("target", None)
        words = [at[11:19], _painted(level, colour), plain(event), *([plain(str(subject))] if subject else [])]
        words += [f"{key}={_value(value)}" for key, value in rest.items() if value is not None]
        lines = [" ".join(words), *(f"    {_kept(line)}" for line in str(traceback or "").splitlines())]
        return "\n".join(lines)

    return render


def _kept(line: str) -> str:
    """A line of a traceback, its indentation kept."""
    return " " * (len(line) - len(line.lstrip(" "))) + plain(line)


def _painted(level: str, colour: bool) -> str:
    code = _COLOURS.get(level)
    return f"\x1b[{code}m{level:<7}\x1b[0m" if colour and code else f"{level:<7}"


def _value(value: Any) -> str:
    text = plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    return f'"{text}"' if " " in text else text
