"""The flags that several verbs share, each declared in one place; a verb names those on which it acts."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.frozen import Struct
from orchestrator.core.model import LONGEST_LOG, Outcome
from orchestrator.core.times import parse_duration
from orchestrator.providers import registry
from orchestrator.report.words import shell

if TYPE_CHECKING:
    from orchestrator.app.plan import Choices
    from orchestrator.core.rehearsal import Rehearsal

ENV = "ORCHESTRATOR_"
RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
ALWAYS = ("state", "sandbox", "yes", "quiet", "verbose", "log_format", "no_color")  # stand on every verb
PARAMS, OUTPUT = ("params",), ("output",)
SELECT = ("only", "exclude", "label", "first")
PACE = ("in_flight", "ignore_quiet_hours", "rate")
ENDS = ("max_fail", "fail_fast", "timeout", "fail_on")
REHEARSE = ("sandbox_fails", "sandbox_flakes", "sandbox_slow", "sandbox_log")


class Output(Struct, frozen=True):
    """One `-o FORMAT[=FILE]`; without a file, stdout."""

    format: str
    file: str | None = None


class Flag:
    """How a field of `Flags` is written on a command line.

    Args:
        spec: `-j --in-flight N`: its names, and what stands for its value.
        read: makes the field's value of what click gives; raises UsageError.
        settings: more for `click.option`.
    """

    def __init__(self, spec: str, text: str, read: Callable[[Any], Any] | None = None, **settings: Any) -> None:
        words = spec.split()
        self.names = [word for word in words if word.startswith("-")]
        self.read = read
        envvar = ENV + self.names[-1].lstrip("-").replace("-", "_").upper()
        metavar = "".join(words[len(self.names) :]) or None
        self.settings = {"help": text, "envvar": envvar, "show_envvar": False, "metavar": metavar, **settings}

    def option(self, name: str) -> Callable[[Any], Any]:
        """The same for click."""
        return click.option(name, *self.names, **self.settings)


class TypeOption(click.Option):
    """`--type TYPE`: a provider. Its help names those that are installed, and looks for them only when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help."""
        self.help = f"The provider (default travis): {', '.join(registry.names())}."
        return super().get_help_record(ctx)


TYPE = click.option("--type", "type_", cls=TypeOption, default="travis", metavar="TYPE")


def many(spec: str, text: str, read: Callable[[Any], Any] = tuple) -> Flag:
    """A flag that may be repeated."""
    return Flag(spec, text, read, multiple=True)


def switch(spec: str, text: str) -> Flag:
    """A flag without a value."""
    return Flag(spec, text, is_flag=True)


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


def _params(texts: Sequence[str]) -> dict[str, str]:
    pairs = {text: text.partition("=") for text in texts}
    for text, (key, equals, _) in pairs.items():
        if not equals or not key:
            raise UsageError(f"--param {text}: expected K=V")
    return {key: value for key, _, value in pairs.values()}


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


def _rates(texts: Sequence[str]) -> dict[str | None, str]:
    return dict(map(_rate, texts))


def _by_glob(texts: Sequence[str]) -> dict[str, str]:
    pairs = {text: text.rpartition("=") for text in texts}
    for text, (glob, _, value) in pairs.items():
        if not glob or not value:
            raise UsageError(f"{text!r}: expected GLOB=VALUE, such as 'acme/*=10m' or 'acme/lib=build.log'")
    return {glob: value for glob, _, value in pairs.values()}


def _slow(texts: Sequence[str]) -> dict[str, float]:
    return {glob: duration(text, f"--sandbox-slow {glob}=") for glob, text in _by_glob(texts).items()}


def _timeout(text: str) -> float:
    return duration(text, "--timeout")


def _max_fail(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*|(?:\d{1,2}(?:\.\d+)?|100)%", text):
        raise UsageError(f"--max-fail {text}: expected a number such as 5, or a share such as 20%")
    return text


def _fail_on(text: str) -> tuple[Outcome, ...]:
    found = outcomes(text, "--fail-on")
    if Outcome.IN_DOUBT in found:
        raise UsageError(f"--fail-on: in_doubt has an exit code of its own ({int(Exit.IN_DOUBT)}); leave it out")
    if Outcome.PASSED in found:
        raise UsageError("--fail-on: passed is no failure; leave it out")
    return tuple(sorted(found))


NUMBER = {"type": click.IntRange(min=1)}
LOGS = {"type": click.Choice(["console", "json"]), "default": "console"}


class Flags(Struct, frozen=True):
    """The shared flags of one command line, checked; those that `Choices` has, too, go on to the use cases."""

    params: Annotated[Mapping[str, str], many("-p --param K=V", "A parameter of the manifest.", _params)] = {}
    only: Annotated[tuple[str, ...], many("--only GLOB", "Only these repos, repo@branch or ids.")] = ()
    exclude: Annotated[tuple[str, ...], many("--exclude GLOB", "All but these.")] = ()
    label: Annotated[tuple[str, ...], many("--label A,B", "With all these labels; repeat for `or`.")] = ()
    first: Annotated[int | None, Flag("--first N", "Only the first N.", **NUMBER)] = None
    in_flight: Annotated[
        int | None, Flag("-j --in-flight N", "Builds of this run queued or running at once.", **NUMBER)
    ] = None
    ignore_quiet_hours: Annotated[
        bool, switch("--ignore-quiet-hours", "Trigger in the manifest's quiet hours too.")
    ] = False
    rate: Annotated[
        Mapping[str | None, str],
        many("--rate [ACCOUNT=]40/30s", "The limit on triggers, in place of the manifest's.", _rates),
    ] = {}
    max_fail: Annotated[str | None, Flag("--max-fail N|P%", "Stop triggering after so many failures.", _max_fail)] = (
        None
    )
    fail_fast: Annotated[bool, switch("-x --fail-fast", "The same as --max-fail 1.")] = False
    timeout: Annotated[
        float | None, Flag("--timeout 2h", "Leave after that long; the run can be resumed.", _timeout)
    ] = None
    state: Annotated[
        str | None, Flag("--state DIR|URL", "Where runs are remembered (default: one place for the user).")
    ] = None
    sandbox: Annotated[bool, switch("--sandbox", "Use the built-in look-alike, with a state of its own.")] = False
    sandbox_fails: Annotated[
        tuple[str, ...], many("--sandbox-fails GLOB", "With --sandbox: builds of these repositories fail.")
    ] = ()
    sandbox_flakes: Annotated[
        tuple[str, ...], many("--sandbox-flakes GLOB", "With --sandbox: they fail the first time, and pass when rerun.")
    ] = ()
    sandbox_slow: Annotated[
        Mapping[str, float], many("--sandbox-slow GLOB=DURATION", "With --sandbox: builds take that long.", _slow)
    ] = {}
    sandbox_log: Annotated[
        Mapping[str, str], many("--sandbox-log GLOB=FILE", "With --sandbox: what their logs say.", _by_glob)
    ] = {}
    output: Annotated[
        tuple[Output, ...],
        many("-o --output FORMAT[=FILE]", "Write in this format; repeat for several files.", _outputs),
    ] = ()
    fail_on: Annotated[
        tuple[Outcome, ...] | None,
        Flag("--fail-on LIST", "Outcomes that make the exit code 1; `none` for none.", _fail_on),
    ] = None
    yes: Annotated[bool, switch("--yes", "Answer every question with yes.")] = False
    quiet: Annotated[bool, switch("-q --quiet", "Print nothing when the exit code is 0.")] = False
    verbose: Annotated[int, Flag("-v --verbose", "Log every change; -vv every call.", count=True)] = 0
    log_format: Annotated[str, Flag("--log-format", "How the log on stderr is written.", **LOGS)] = "console"
    no_color: Annotated[bool, switch("--no-color", "No colours.")] = False

    @property
    def suffix(self) -> str:
        """What is appended to a printed command line, so that it finds the same state."""
        return ("" if self.state is None else f" --state {shell(self.state)}") + (" --sandbox" if self.sandbox else "")

    @property
    def stdout(self) -> str | None:
        """The format that is to go to stdout; None where none was named."""
        return next((output.format for output in self.output if output.file is None), None)

    def files(self, cwd: Path) -> dict[str, str]:
        """The files of `-o FORMAT=FILE`, file to format, absolute, so that another directory can go on with the run."""
        return {str(cwd / Path(out.file).expanduser()): out.format for out in self.output if out.file is not None}

    def choices(self, cwd: Path) -> "Choices":
        """What of this the use cases take."""
        from orchestrator.app.plan import Choices  # `--help` reads no manifest

        shared = {name: getattr(self, name) for name in Choices.__struct_fields__ if name in self.__struct_fields__}
        shared["max_fail"] = "1" if self.fail_fast else self.max_fail
        return Choices(reports=self.files(cwd), rehearsal=self.rehearsal(cwd), **shared)

    def rehearsal(self, cwd: Path) -> "Rehearsal":
        """What look-alikes are told.

        Raises:
            UsageError: it is not a rehearsal, or a log cannot be read.
        """
        from orchestrator.core.rehearsal import Rehearsal

        log = {glob: _log_in(cwd / Path(name).expanduser(), name) for glob, name in self.sandbox_log.items()}
        told = Rehearsal(self.sandbox_fails, self.sandbox_flakes, self.sandbox_slow, log)
        if told and not self.sandbox:
            raise UsageError("--sandbox-fails and the like say what goes wrong in the sandbox; add --sandbox")
        return told


def _log_in(path: Path, name: str) -> str:
    from orchestrator.app.context import read_file

    try:
        text = read_file(path, LONGEST_LOG + 1)
    except OSError as error:
        raise UsageError(f"--sandbox-log: {name}: cannot be read: {error.strerror or error}") from None
    if len(text) > LONGEST_LOG:
        raise UsageError(f"--sandbox-log: {name}: is longer than 4 MiB; keep its end")
    return text.decode("utf-8", "replace")


@cache
def declared() -> Mapping[str, Flag]:
    """The flags by the names of their fields."""
    return {name: hint.__metadata__[0] for name, hint in Flags.__annotations__.items()}


def taken(values: dict[str, Any]) -> Flags:
    """The shared flags out of click's values; what is left belongs to the verb.

    Raises:
        UsageError: one is written wrongly.
    """
    given = {name: (flag, values.pop(name)) for name, flag in declared().items() if name in values}
    read = {
        name: flag.read(it) if flag.read is not None and it is not None else it for name, (flag, it) in given.items()
    }
    return Flags(**read)
