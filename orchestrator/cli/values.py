"""What stands behind a flag, read: each function makes a value of a text, or says what was expected."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.frozen import Struct
from orchestrator.core.model import Notify, Outcome
from orchestrator.core.times import parse_duration

REFERENCE = re.compile(r"(?:env:[A-Za-z_]\w*|file:.+|command:.+)", re.DOTALL)
RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Output(Struct, frozen=True):
    """One `-o FORMAT[=FILE]`; without a file, stdout."""

    format: str
    file: str | None = None


def duration(text: str, name: str) -> float:
    """Seconds of `90s`, `2h`, `1h30m`.

    Raises:
        UsageError: it is no duration above zero.
    """
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise UsageError(f"{name} {text}: expected a duration such as 90s, 30m, 2h or 1h30m") from None
    if seconds <= 0:
        raise UsageError(f"{name} {text}: must be more than zero")
    return seconds


def outcomes(text: str, name: str) -> frozenset[Outcome]:
    """Outcomes of `failed,errored`; `none` is none.

    Raises:
        UsageError: there is no such outcome.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["none"]:
        return frozenset()
    wrong = [word for word in words if word not in tuple(Outcome)]
    if wrong or not words:
        raise UsageError(f"{name} {text}: {wrong[0] if wrong else 'nothing'!r} is no outcome; {', '.join(Outcome)}")
    return frozenset(Outcome(word) for word in words)


def run_id(text: str) -> str:
    """An id for a run, as given.

    Raises:
        UsageError: it cannot be one.
    """
    if not RUN_ID.fullmatch(text):
        raise UsageError(f"--run-id {text!r}: at most 64 of A-Z a-z 0-9 . _ -")
    return text


def params(texts: Sequence[str]) -> dict[str, str]:
    """Parameters of `K=V`.

    Raises:
        UsageError: it is written wrongly.
    """
    pairs = {text: text.partition("=") for text in texts}
    for text, (key, equals, _) in pairs.items():
        if not equals or not key:
            raise UsageError(f"--param {text}: expected K=V")
    return {key: value for key, _, value in pairs.values()}


def outputs(texts: Sequence[str]) -> tuple[Output, ...]:
    """What `-o` asks for; at most one of them goes to stdout.

    Raises:
        UsageError: it is written wrongly.
    """
    found = []
    for text in texts:
        kind, _, file = text.partition("=")
        if "=" in text and not file:
            raise UsageError(f"-o {text}: the file's name is missing")
        found.append(Output(kind, None if file in ("", "-") else file))
    on_stdout = [output.format for output in found if output.file is None]
    if len(on_stdout) > 1:
        raise UsageError(f"-o: only one format can go to stdout, not {' and '.join(on_stdout)}; write FORMAT=FILE")
    return tuple(found)


def _rate(text: str) -> tuple[str | None, str]:
    account, equals, rate = text.partition("=")
    account, rate = (account, rate) if equals else ("", text)
    if not re.fullmatch(r"\d+/\d*(?:\.\d+)?(?:ms|[smhd])", rate) or rate.startswith("0/"):
        raise UsageError(f"--rate {text}: expected [ACCOUNT=]CALLS/PERIOD such as 40/30s")
    return account or None, rate


def rates(texts: Sequence[str]) -> dict[str | None, str]:
    """Limits on triggers of `[ACCOUNT=]40/30s`, by account (None: of all).

    Raises:
        UsageError: it is written wrongly.
    """
    return dict(map(_rate, texts))


def by_glob(texts: Sequence[str]) -> dict[str, str]:
    """Values of `GLOB=VALUE`, by glob.

    Raises:
        UsageError: it is written wrongly.
    """
    pairs = {text: text.rpartition("=") for text in texts}
    for text, (glob, _, value) in pairs.items():
        if not glob or not value:
            raise UsageError(f"{text!r}: expected GLOB=VALUE, such as 'acme/*=10m' or 'acme/lib=build.log'")
    return {glob: value for glob, _, value in pairs.values()}


def slow(texts: Sequence[str]) -> dict[str, float]:
    """Seconds of `GLOB=DURATION`, by glob.

    Raises:
        UsageError: it is written wrongly.
    """
    return {glob: duration(text, f"--sandbox-slow {glob}=") for glob, text in by_glob(texts).items()}


def timeout(text: str) -> float:
    """Seconds.

    Raises:
        UsageError: it is written wrongly.
    """
    return duration(text, "--timeout")


def max_fail(text: str) -> str:
    """A number, or a share, as written.

    Raises:
        UsageError: it is written wrongly.
    """
    if not re.fullmatch(r"[1-9]\d*|(?:\d{1,2}(?:\.\d+)?|100)%", text):
        raise UsageError(f"--max-fail {text}: expected a number such as 5, or a share such as 20%")
    return text


def fail_on(text: str) -> tuple[Outcome, ...]:
    """Outcomes that make the exit code 1.

    Raises:
        UsageError: it is written wrongly.
    """
    found = outcomes(text, "--fail-on")
    if Outcome.IN_DOUBT in found:
        raise UsageError(f"--fail-on: in_doubt has an exit code of its own ({int(Exit.IN_DOUBT)}); leave it out")
    if Outcome.PASSED in found:
        raise UsageError("--fail-on: passed is no failure; leave it out")
    return tuple(sorted(found))


def notify(texts: Sequence[str]) -> tuple[Notify, ...]:
    """Who is told of a run.

    Raises:
        UsageError: it is no reference.
    """
    if not all(map(REFERENCE.fullmatch, texts)):  # not repeated: somebody may have written the URL, with its secret
        raise UsageError("--notify: name where the URL stands, as env:NAME or file:PATH, never the URL itself")
    return tuple(map(Notify, texts))
