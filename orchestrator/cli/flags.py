"""The flags that several verbs share, each declared in one place; a verb names those on which it acts."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from orchestrator.cli import values
from orchestrator.cli.help import Group, Option
from orchestrator.cli.values import Output
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct
from orchestrator.core.model import LONGEST_LOG, Notify, Outcome
from orchestrator.providers import registry
from orchestrator.report.words import shell

if TYPE_CHECKING:
    from orchestrator.app.plan import Choices
    from orchestrator.core.rehearsal import Rehearsal

ENV = "ORCHESTRATOR_"
ALWAYS = ("state", "sandbox", "yes", "quiet", "verbose", "log_format", "no_color")  # stand on every verb
PARAMS, OUTPUT = ("params",), ("output",)
SELECT = ("only", "exclude", "label", "first")
PACE = ("in_flight", "ignore_quiet_hours", "rate")
ENDS = ("max_fail", "fail_fast", "timeout", "fail_on", "notify", "metrics_file")
REHEARSE = ("sandbox_fails", "sandbox_flakes", "sandbox_slow", "sandbox_log")


class Flag:
    """How a field of `Flags` is written on a command line.

    Args:
        spec: `-j --in-flight N`: its names, and what stands for its value.
        read: makes the field's value of what click gives; raises UsageError.
        unset: what holds where it is not given, in words; a flag without a value is off.
        completes: as of `help.Completes`.
        settings: more for `click.option`.
    """

    def __init__(
        self,
        group: Group,
        spec: str,
        text: str,
        read: Callable[[Any], Any] | None = None,
        unset: str = "",
        completes: str = "",
        **settings: Any,
    ) -> None:
        words = spec.split()
        self.names = [word for word in words if word.startswith("-")]
        self.read = read
        envvar = ENV + self.names[-1].lstrip("-").replace("-", "_").upper()
        metavar = "".join(words[len(self.names) :]) or None
        self.settings = {"help": text, "envvar": envvar, "metavar": metavar, "group": group, **settings}
        self.settings |= {"unset": unset, "completes": completes}

    def option(self, name: str) -> Callable[[Any], Any]:
        """The same for click."""
        return click.option(name, *self.names, cls=Option, **self.settings)


class TypeOption(Option):
    """`--type TYPE`: a provider. Its help names those that are installed, and looks for them only when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help."""
        self.help = f"The provider: {', '.join(registry.names())}."
        return super().get_help_record(ctx)


TYPE = click.option("--type", "type_", cls=TypeOption, default="travis", metavar="TYPE", completes="providers")


def many(
    group: Group, spec: str, text: str, unset: str = "", read: Callable[[Any], Any] = tuple, completes: str = ""
) -> Flag:
    """A flag that may be repeated."""
    return Flag(group, spec, text, read, unset, completes, multiple=True)


def switch(group: Group, spec: str, text: str) -> Flag:
    """A flag without a value."""
    return Flag(group, spec, text, is_flag=True)


NUMBER = {"type": click.IntRange(min=1)}
LOGS = {"type": click.Choice(["console", "json"]), "default": "console"}


class Flags(Struct, frozen=True):
    """The shared flags of one command line, checked; those that `Choices` has, too, go on to the use cases."""

    params: Annotated[
        Mapping[str, str],
        many(
            Group.WHAT,
            "-p --param K=V",
            "A parameter of the manifest; repeatable.",
            "the manifest's",
            values.params,
            "params",
        ),
    ] = {}
    only: Annotated[
        tuple[str, ...],
        many(Group.WHAT, "--only GLOB", "Only these repos, repo@branch or ids; repeatable.", "all", completes="globs"),
    ] = ()
    exclude: Annotated[
        tuple[str, ...], many(Group.WHAT, "--exclude GLOB", "All but these; repeatable.", "none", completes="globs")
    ] = ()
    label: Annotated[
        tuple[str, ...],
        many(Group.WHAT, "--label A,B", "With all these labels; repeat for `or`.", "all", completes="labels"),
    ] = ()
    first: Annotated[int | None, Flag(Group.WHAT, "--first N", "Only the first N.", unset="all", **NUMBER)] = None
    in_flight: Annotated[
        int | None,
        Flag(
            Group.PACE,
            "-j --in-flight N",
            "Builds of this run queued or running at once.",
            unset="the manifest's, else no bound",
            **NUMBER,
        ),
    ] = None
    rate: Annotated[
        Mapping[str | None, str],
        many(
            Group.PACE,
            "--rate [ACCOUNT=]40/30s",
            "The limit on triggers; repeatable.",
            "the manifest's, else the provider's",
            values.rates,
            "accounts",
        ),
    ] = {}
    ignore_quiet_hours: Annotated[
        bool, switch(Group.PACE, "--ignore-quiet-hours", "Trigger in the manifest's quiet hours too.")
    ] = False
    max_fail: Annotated[
        str | None,
        Flag(Group.STOP, "--max-fail N|P%", "Stop triggering after so many failures.", values.max_fail, "never"),
    ] = None
    fail_fast: Annotated[bool, switch(Group.STOP, "-x --fail-fast", "The same as --max-fail 1.")] = False
    timeout: Annotated[
        float | None,
        Flag(Group.STOP, "--timeout 2h", "Leave after that long; the run can be resumed.", values.timeout, "none"),
    ] = None
    fail_on: Annotated[
        tuple[Outcome, ...] | None,
        Flag(
            Group.STOP,
            "--fail-on LIST",
            "Outcomes that make the exit code 1; `none` for none.",
            values.fail_on,
            "the manifest's, else all but passed, skipped, in_doubt",
            "outcomes",
        ),
    ] = None
    state: Annotated[
        str | None,
        Flag(
            Group.SAFETY,
            "--state DIR|URL",
            "Where runs are remembered.",
            unset="~/.local/state/orchestrator",
            completes="files",
        ),
    ] = None
    notify: Annotated[
        tuple[Notify, ...],
        many(
            Group.OUTPUT,
            "--notify REF",
            "Tell of the end, and when a person is waited for: env:NAME of a URL; repeatable.",
            "the manifest's",
            values.notify,
        ),
    ] = ()
    metrics_file: Annotated[
        str | None,
        Flag(Group.OUTPUT, "--metrics-file FILE", "Keep a file in Prometheus' text format up to date.", unset="none"),
    ] = None
    yes: Annotated[bool, switch(Group.SAFETY, "--yes", "Answer every question with yes.")] = False
    sandbox: Annotated[
        bool, switch(Group.REHEARSAL, "--sandbox", "Use the built-in look-alike, with a state of its own.")
    ] = False
    sandbox_fails: Annotated[
        tuple[str, ...],
        many(
            Group.REHEARSAL,
            "--sandbox-fails GLOB",
            "With --sandbox: builds of these repositories fail.",
            completes="globs",
        ),
    ] = ()
    sandbox_flakes: Annotated[
        tuple[str, ...],
        many(
            Group.REHEARSAL,
            "--sandbox-flakes GLOB",
            "With --sandbox: they fail the first time, and pass when rerun.",
            completes="globs",
        ),
    ] = ()
    sandbox_slow: Annotated[
        Mapping[str, float],
        many(
            Group.REHEARSAL, "--sandbox-slow GLOB=DURATION", "With --sandbox: builds take that long.", read=values.slow
        ),
    ] = {}
    sandbox_log: Annotated[
        Mapping[str, str],
        many(Group.REHEARSAL, "--sandbox-log GLOB=FILE", "With --sandbox: what their logs say.", read=values.by_glob),
    ] = {}
    output: Annotated[
        tuple[Output, ...],
        many(
            Group.OUTPUT,
            "-o --output FORMAT[=FILE]",
            "Write in this format; repeat for several files.",
            "text on stdout",
            values.outputs,
            "formats",
        ),
    ] = ()
    quiet: Annotated[bool, switch(Group.OUTPUT, "-q --quiet", "Print nothing when the exit code is 0.")] = False
    verbose: Annotated[int, Flag(Group.OUTPUT, "-v --verbose", "Log every change; -vv every call.", count=True)] = 0
    log_format: Annotated[str, Flag(Group.OUTPUT, "--log-format", "How the log on stderr is written.", **LOGS)] = (
        "console"
    )
    no_color: Annotated[bool, switch(Group.OUTPUT, "--no-color", "No colours; so does NO_COLOR.")] = False

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
        shared["metrics_file"] = None if self.metrics_file is None else str(cwd / Path(self.metrics_file).expanduser())
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


def taken(given_by_click: dict[str, Any]) -> Flags:
    """The shared flags out of click's values; what is left belongs to the verb.

    Raises:
        UsageError: one is written wrongly.
    """
    given = {name: (flag, given_by_click.pop(name)) for name, flag in declared().items() if name in given_by_click}
    read = {
        name: flag.read(it) if flag.read is not None and it is not None else it for name, (flag, it) in given.items()
    }
    return Flags(**read)
