"""The flags that every verb accepts, and how their texts become values; help shows the ones that matter to a verb."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import click

from orchestrator.app.machine import Machine
from orchestrator.core.errors import UsageError
from orchestrator.core.exits import Exit
from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import Outcome
from orchestrator.report.words import shell

F = TypeVar("F", bound=Callable[..., Any])

ENV = "ORCHESTRATOR_"
DURATIONS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Output(Struct, frozen=True):
    """One `-o FORMAT[=FILE]`; without a file, stdout."""

    format: str
    file: str | None = None


class Flags(Struct, frozen=True):
    """The common flags of one command line, checked."""

    params: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    first: int | None = None
    in_flight: int | None = None
    ignore_quiet_hours: bool = False
    rate: Mapping[str | None, str] = field(default_factory=dict)
    max_fail: str | None = None
    timeout: float | None = None
    state: str | None = None
    outputs: tuple[Output, ...] = ()
    fail_on: frozenset[Outcome] | None = None
    yes: bool = False
    quiet: bool = False
    verbose: int = 0
    log_format: str = "console"
    no_color: bool = False
    sandbox: bool = False

    @property
    def verbosity(self) -> int:
        """-1 quiet, 0 what a person should see, 1 every change, 2 every call."""
        return -1 if self.quiet else self.verbose

    @property
    def behind(self) -> str:
        """What goes behind a printed command line, so that it finds the same state."""
        return "" if self.state is None else f" --state {shell(self.state)}"

    def stdout_format(self, default: str, allowed: Sequence[str]) -> str:
        """The format that goes to stdout, for a verb that writes nothing else.

        Raises:
            UsageError: the verb has no such format.
        """
        for output in self.outputs:
            if output.format not in allowed:
                raise UsageError(f"-o {output.format}: this verb writes {', '.join(allowed)}")
        return next((output.format for output in self.outputs if output.file is None), default)


PICK, PACE, END, SHOW = "selection", "pace", "verdict", "output"
ALL = (PICK, PACE, END, SHOW)

# group, declarations, settings of click.option
_OPTIONS: Sequence[tuple[str, tuple[str, ...], dict[str, Any]]] = (
    (PICK, ("-p", "--param"), {"multiple": True, "metavar": "K=V", "help": "A parameter of the manifest."}),
    (PICK, ("--only",), {"multiple": True, "metavar": "GLOB", "help": "Only these repos, repo@branch or ids."}),
    (PICK, ("--exclude",), {"multiple": True, "metavar": "GLOB", "help": "All but these."}),
    (PICK, ("--label",), {"multiple": True, "metavar": "A,B", "help": "With all these labels; repeat for `or`."}),
    (PICK, ("--first",), {"type": click.IntRange(min=1), "metavar": "N", "help": "Only the first N."}),
    (
        PACE,
        ("-j", "--in-flight"),
        {"type": click.IntRange(min=1), "metavar": "N", "help": "Builds of this run queued or running at once."},
    ),
    (
        PACE,
        ("--ignore-quiet-hours",),
        {"is_flag": True, "help": "Trigger in the manifest's quiet hours too."},
    ),
    (
        PACE,
        ("--rate",),
        {"multiple": True, "metavar": "[ACCOUNT=]40/30s", "help": "The limit on triggers, in place of the manifest's."},
    ),
    (PACE, ("--max-fail",), {"metavar": "N|P%", "help": "Stop triggering after so many failures."}),
    (PACE, ("-x", "--fail-fast"), {"is_flag": True, "help": "The same as --max-fail 1."}),
    (PACE, ("--timeout",), {"metavar": "2h", "help": "Leave after that long; the run can be resumed."}),
    (
        SHOW,
        ("--state",),
        {"metavar": "DIR|URL", "help": "Where runs are remembered (default: one place for the user)."},
    ),
    (SHOW, ("--sandbox",), {"is_flag": True, "help": "Use the built-in look-alike, with a state of its own."}),
    (
        SHOW,
        ("-o", "--output"),
        {"multiple": True, "metavar": "FORMAT[=FILE]", "help": "Write in this format; repeat for several files."},
    ),
    (END, ("--fail-on",), {"metavar": "LIST", "help": "Outcomes that make the exit code 1; `none` for none."}),
    (SHOW, ("--yes",), {"is_flag": True, "help": "Answer every question with yes."}),
    (SHOW, ("-q", "--quiet"), {"is_flag": True, "help": "Print nothing when the exit code is 0."}),
    (SHOW, ("-v", "--verbose"), {"count": True, "help": "Log every change; -vv every call."}),
    (
        SHOW,
        ("--log-format",),
        {"type": click.Choice(["console", "json"]), "default": "console", "help": "How the log on stderr is written."},
    ),
    (SHOW, ("--no-color",), {"is_flag": True, "help": "No colours."}),
)


def common(*shown: str) -> Callable[[F], F]:
    """Gives a verb the common flags as its argument `flags`, and the machine as `machine`.

    Args:
        shown: groups that its help shows; the others are accepted all the same.
    """

    def decorate(function: F) -> F:
        @click.pass_context
        @wraps(function)
        def verb(ctx: click.Context, /, **values: Any) -> Any:
            machine = ctx.find_object(Machine)
            assert machine is not None  # noqa: S101  # `cli.run` always hands one in
            return function(flags=_taken(values), machine=machine, **values)

        for group, names, settings in reversed(_OPTIONS):
            envvar = ENV + names[-1].lstrip("-").replace("-", "_").upper()
            verb = click.option(
                *names, **{"hidden": group not in shown, "envvar": envvar, "show_envvar": False, **settings}
            )(verb)
        return verb  # type: ignore[return-value]  # click's decorators keep what they wrap

    return decorate


def duration(text: str, name: str) -> float:
    """Seconds of `90s`, `2h`, `1h30m`.

    Raises:
        UsageError: it is no duration above zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{name} {text}: expected a duration such as 90s, 30m, 2h or 1h30m")
    seconds = sum(float(number) * DURATIONS[unit] for number, unit in parts)
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


def _taken(values: dict[str, Any]) -> Flags:
    """The common flags out of click's values; what is left belongs to the verb."""
    params = dict(_pair(text, "--param", "K=V") for text in values.pop("param"))
    fail_fast, max_fail = values.pop("fail_fast"), values.pop("max_fail")
    fail_on, timeout = values.pop("fail_on"), values.pop("timeout")
    names = set(Flags.__struct_fields__)
    rest = {name: values.pop(name) for name in list(values) if name in names}
    return Flags(
        params=params,
        outputs=_outputs(values.pop("output")),
        rate=dict(_rate(text) for text in rest.pop("rate")),
        max_fail=_max_fail("1" if fail_fast else max_fail),
        fail_on=None if fail_on is None else _fail_on(fail_on),
        timeout=None if timeout is None else duration(timeout, "--timeout"),
        **rest,
    )


def _pair(text: str, name: str, shape: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{name} {text}: expected {shape}")
    return key, value


def _outputs(texts: Sequence[str]) -> tuple[Output, ...]:
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


def _max_fail(text: str | None) -> str | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d*|(?:\d{1,2}(?:\.\d+)?|100)%", text):
        raise UsageError(f"--max-fail {text}: expected a number such as 5, or a share such as 20%")
    return text


def _fail_on(text: str) -> frozenset[Outcome]:
    found = outcomes(text, "--fail-on")
    if Outcome.IN_DOUBT in found:
        raise UsageError(f"--fail-on: in_doubt has an exit code of its own ({int(Exit.IN_DOUBT)}); leave it out")
    if Outcome.PASSED in found:
        raise UsageError("--fail-on: passed is no failure; leave it out")
    return found
