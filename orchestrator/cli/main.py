"""The command line's root: which verbs there are, and which exit code an error becomes.

Verbs are loaded when they are used, so that `--help` and `check` import only what they need.
"""

from __future__ import annotations

import errno
import gc
import importlib
import io
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from orchestrator import __version__
from orchestrator.cli.files import free_files
from orchestrator.cli.help import Context, Formatter
from orchestrator.core.errors import (
    AccessRefused,
    Exit,
    InDoubt,
    JournalError,
    LookFailed,
    NotStarted,
    NotTriggered,
    OrchestratorError,
    UsageError,
    flat,
)
from orchestrator.core.frozen import Struct
from orchestrator.core.secrets import Redactor

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VERBS: Mapping[str, tuple[str, str]] = {  # in the order in which a person needs them: the module, a line of help
    "init": ("manifest", "Write a commented manifest to start from."),
    "check": ("manifest", "Validate a manifest offline; exit 0 or 2."),
    "schema": ("manifest", "Print the JSON Schema of manifests."),
    "plan": ("plan", "Show what a run would send, how long it takes and why."),
    "run": ("run", "Plan, trigger, follow, report."),
    "watch": ("run", "Follow a run that goes on elsewhere or was detached."),
    "status": ("status", "Show where a run stands, or how a target fared of late."),
    "runs": ("runs", "List the runs in the state; prune or export them."),
    "resume": ("run", "Go on with an open run; nothing is triggered twice."),
    "retry": ("run", "Start a new run of what did not pass."),
    "approve": ("wishes", "Let the next wave of a rollout open, or deny it."),
    "pause": ("wishes", "Hold the triggers of a run; its builds are followed on."),
    "unpause": ("wishes", "Let a paused run go on."),
    "cancel": ("cancel", "Cancel exactly the builds that a run started."),
    "report": ("runs", "Render a run's report in any format, at any time."),
    "diff": ("runs", "Compare two runs."),
    "why": ("runs", "Tell what happened to one target, and what it waits for."),
    "flaky": ("flaky", "List the targets that pass only now and then, with numbers."),
    "doctor": ("doctor", "Ask each account and repository whether a run would work."),
    "sandbox": ("sandbox", "Serve a look-alike of a provider on loopback."),
    "completion": ("completion", "Print what makes bash, zsh or fish complete our commands."),
    "help": ("topics", "Tell about exit codes, limits, doubts and other topics."),
}
STAGES: Mapping[str, Sequence[str]] = {  # every verb once; in help
    "Before a run": ("init", "check", "doctor", "plan", "schema"),
    "A run": ("run", "resume", "retry", "watch"),
    "While it goes on": ("cancel", "pause", "unpause", "approve"),
    "What happened": ("status", "report", "why", "runs", "diff", "flaky"),
    "Besides": ("sandbox", "completion", "help"),
}
DRIVING = frozenset({"run", "resume", "retry", "doctor"})  # verbs that certainly call a provider
LACKS = {  # what a machine may refuse to anybody
    getattr(errno, name)
    for name in ("EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EAGAIN")
}
ALIASES: Mapping[str, str] = {"validate": "check"}

EXITS: Sequence[tuple[type[OrchestratorError], Exit]] = (
    (UsageError, Exit.USAGE),
    (NotStarted, Exit.NOT_STARTED),
    (JournalError, Exit.STATE),
    (AccessRefused, Exit.ACCOUNT),
    (NotTriggered, Exit.ACCOUNT),
    (LookFailed, Exit.ACCOUNT),
    (InDoubt, Exit.IN_DOUBT),
)


COMPLETES = "_ORCHESTRATOR_COMPLETE"  # in the environment: the shell that asks what may stand at the end of a line


class Machine(Struct, frozen=True):
    """Environment, places and clock, and what kind of terminal there is; tests hand in another.

    Args:
        now: wall clock, seconds since the epoch.
        redactor: knows the secrets that were resolved; everything shown goes through it.
        free_files: how many more files this process may open.
    """

    environ: Mapping[str, str]
    cwd: Path
    home: Path
    now: Callable[[], float]
    redactor: Redactor
    free_files: Callable[[], float] = lambda: math.inf

    @property
    def is_ci(self) -> bool:
        """Whether this is a CI job, where nobody answers questions and nothing may be redrawn."""
        return self.environ.get("CI", "").lower() not in ("", "0", "false", "no")

    @property
    def may_ask(self) -> bool:
        """Whether there is a person at a terminal."""
        return not self.is_ci and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def may_redraw(self) -> bool:
        """Whether stderr is a terminal that can move its cursor."""
        return not self.is_ci and sys.stderr.isatty() and self.environ.get("TERM", "") not in ("", "dumb")

    def columns(self, stream: TextIO) -> int | None:
        """How wide lines may be: as the terminal is, or as `COLUMNS` says; None where nothing does."""
        said = self.environ.get("COLUMNS", "")
        return int(said) if said.isdecimal() and 0 < int(said) < 10_000 else _size(stream)[0]

    def lines(self, stream: TextIO) -> int | None:
        """How high the terminal is; None where there is none."""
        return _size(stream)[1]

    def links(self, stream: object, no_color: bool) -> bool:
        """Whether a terminal is known to show OSC 8 links; elsewhere URLs stand in full."""
        said = self.environ.get("FORCE_HYPERLINK", "")
        if not self.colours(stream, no_color) or said == "0":
            return False
        vte = self.environ.get("VTE_VERSION", "")
        known = (
            self.environ.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm", "vscode", "Hyper", "ghostty"),
            self.environ.get("TERM", "").partition("-")[0] in ("alacritty", "foot"),
            self.environ.get("TERM") in ("xterm-kitty", "xterm-ghostty"),
            vte.isdecimal() and int(vte) >= 5000,
            bool(self.environ.get("WT_SESSION") or self.environ.get("KONSOLE_VERSION")),
        )
        return bool(said) or (any(known) and not self.environ.get("TMUX"))

    def colours(self, stream: object, no_color: bool) -> bool:
        """Whether a stream may be coloured."""
        is_terminal = bool(getattr(stream, "isatty", lambda: False)())
        return is_terminal and not no_color and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"


def _size(stream: TextIO) -> tuple[int, int] | tuple[None, None]:
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):  # no terminal, or none that tells
        return None, None
    return (columns, lines) if columns and lines else (None, None)


class Verbs(click.Group):
    """The verbs, each imported when it is used; their help lines stand in one table."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a person needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command; None lets click tell that there is none."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in VERBS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{VERBS[name][0]}")
        command = getattr(module, name, None) or getattr(module, f"{name}_")  # `help` is a function of Python's
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, so that nothing is loaded."""
        if isinstance(formatter, Formatter):
            formatter.align((name, "") for name in VERBS)
        for stage, names in STAGES.items():
            with formatter.section(stage):
                formatter.write_dl([(name, VERBS[name][1]) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the table, so that nothing is loaded."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, (_, text) in VERBS.items() if name.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a suggestion for a slip of the fingers."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and name not in VERBS and name not in ALIASES:
            from difflib import get_close_matches

            near = get_close_matches(name, [*VERBS, *ALIASES], n=1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; there are: {', '.join(VERBS)}"
            raise click.UsageError(f"there is no verb {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


GUESSES: Mapping[str, str] = {  # what people write first, and what it is called here
    "--branch": "write the branch behind the repository: --repo OWNER/NAME@BRANCH",
    "--concurrency": "builds at once are -j N (--in-flight N)",
    "--parallel": "builds at once are -j N (--in-flight N)",
    "--jobs": "builds at once are -j N (--in-flight N)",
    "--limit": "the first N targets are --first N, triggers for each period --rate 40/30s",
    "--filter": "targets are chosen by --only GLOB, --exclude GLOB and --label A,B",
    "--include": "targets are chosen by --only GLOB, --exclude GLOB and --label A,B",
    "--config": "the manifest is an argument: `orchestrator run FILE`",
    "--file": "the manifest is an argument: `orchestrator run FILE`; a list of repositories is --from FILE",
    "-f": "the manifest is an argument: `orchestrator run FILE`; a list of repositories is --from FILE",
    "--manifest": "the manifest is an argument: `orchestrator run FILE`",
    "--json": "write -o json",
    "--format": "write -o FORMAT",
    "--force": "questions are answered with --yes; other open runs are handled by `run --overlap`",
    "--wait": "`run` waits by itself; --detach does not",
    "--no-wait": "write --detach",
    "--token": "a token is never written on a command line; the manifest says where it stands (`token: env:NAME`)",
}


def not_here(verb: str, flag: str, own: Sequence[str]) -> str:
    """What to say of a flag that a verb does not have: which verbs have it, or what it is called here.

    Args:
        own: the flags that the verb has.
    """
    from difflib import get_close_matches

    context = click.Context(root)
    commands = [command for name in VERBS if name != verb and (command := root.get_command(context, name))]
    having = [str(command.name) for command in commands if any(flag in option.opts for option in command.params)]
    if flag in GUESSES and not having:
        return f"there is no {flag}; {GUESSES[flag]}"
    if having:
        return f"{verb} does not act on {flag}, and so does not take it; it stands on: {', '.join(having)}"
    near = get_close_matches(flag, own, n=1)
    return f"{verb} has no {flag}; " + (f"did you mean {near[0]}?" if near else f"see `orchestrator {verb} --help`")


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="VERB ...",
    epilog="`orchestrator VERB --help` shows a verb's flags with examples, `orchestrator help` lists topics such as "
    "exit-codes, limits and doubts.",
)
@click.version_option(__version__, "-V", "--version", prog_name="orchestrator", message="%(prog)s %(version)s")
def root() -> None:
    """Start CI builds in many repositories: never twice, never lost, never banned."""


def run(argv: Sequence[str], machine: Machine | None = None) -> int:
    """Runs one command line.

    Args:
        machine: what of this computer the verbs may see; the real one by default.

    Returns:
        The exit code; errors were printed on stderr.
    """
    is_ours = machine is None  # else the process is somebody else's, and so are its settings
    machine = machine or this_machine()
    try:
        if is_ours:
            _mend_streams()
        if not argv and (shell := machine.environ.get(COMPLETES)):
            from orchestrator.cli.completion import answer

            return answer(machine, shell, in_time=is_ours)
        if is_ours:
            _load(argv)
        code = root.main(list(argv), prog_name="orchestrator", standalone_mode=False, obj=machine)
        sys.stdout.flush()
        return int(code or 0)
    except click.ClickException as error:
        with suppress(OSError):
            error.show(sys.stderr)
        return int(Exit.USAGE)
    except (click.Abort, KeyboardInterrupt):
        _complain(machine, "interrupted")
        return int(Exit.SIGINT)
    except BrokenPipeError:
        let_go_of_stdout()
        return int(Exit.OK)
    except OSError as error:
        if error.errno != errno.EIO:
            return _failed(machine, error)
        let_go_of_stdout()  # the terminal was closed; what the run came to stands in the journal
        return int(Exit.SIGTERM)
    except BaseException as error:  # the last net: whatever is not known here is a bug
        return _failed(machine, error)


def _load(argv: Sequence[str]) -> None:
    """Imports the verb, and lets no collection of garbage ever look at what importing has made.

    There is no garbage among it; looking costs a tenth of a short verb's time, most of it when the process ends.
    """
    gc.disable()
    try:
        verb = next((word for word in argv if not word.startswith("-")), "")
        root.get_command(click.Context(root), verb)
        if verb in DRIVING:
            _load_http()
    finally:
        gc.freeze()
        gc.enable()


def _load_http() -> None:
    """Imports aiohttp without the system's authorities, which it reads into contexts that we never use.

    They cost up to a third of a short run's time; who calls https reads them once, for a context of its own.
    """
    import ssl

    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]  # hides the inherited one
    try:
        importlib.import_module("orchestrator.providers.kit.transport")
    finally:
        del ssl.SSLContext.set_default_verify_paths


def this_machine() -> Machine:
    """The real one: the only place that reads environment, directory and clock."""
    return Machine(dict(os.environ), Path.cwd(), Path.home(), time.time, Redactor(), free_files)


def _mend_streams() -> None:
    """Gives closed streams a place, so that no file is opened in theirs; escapes what a terminal cannot encode."""
    while (there := os.open(os.devnull, os.O_RDWR)) <= 2:  # stdin, stdout, stderr
        os.set_inheritable(there, True)
    os.close(there)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # as long as the process
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # as above
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_terminal = stream.isatty()  # elsewhere UTF-8, as report files are: an escape would break JSON
            stream.reconfigure(encoding=None if is_terminal else "utf-8", errors="backslashreplace")


def _failed(machine: Machine, error: BaseException) -> int:
    known = next((one for one in flat(error) if isinstance(one, OrchestratorError)), None)
    if known is None:
        lacks = next(filter(None, map(_lack, flat(error))), "")
        if not lacks:
            return _bug(machine, error)
        _complain(machine, f"this machine has not what it takes: {lacks}\nwhat was journaled can be resumed")
        return int(Exit.STATE)
    _complain(machine, known.text(known.suffix))
    return int(next(code for kind, code in EXITS if isinstance(known, kind)))


def _lack(error: BaseException) -> str:
    """What the machine did not give, as no bug of ours; empty where it is something else."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.errno in LACKS:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    return ""


def _bug(machine: Machine, error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return int(error.code) if isinstance(error.code, int) else int(Exit.USAGE)
    import tempfile
    import traceback

    text = machine.redactor.text("".join(traceback.format_exception(error)))
    head = f"this is a bug in orchestrator {__version__}: {type(error).__name__}: {error}"
    try:
        handle, path = tempfile.mkstemp(prefix="orchestrator-bug-", suffix=".txt")  # 0600
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as problem:
        _complain(machine, f"{head}\nthe traceback could not be kept ({problem}):\n{text}")
    else:
        _complain(machine, f"{head}\nthe traceback is in {path}; please report it\nwhat was journaled can be resumed")
    return int(Exit.BUG)


def _complain(machine: Machine, text: str) -> None:
    first, *rest = machine.redactor.text(text).splitlines() or [""]
    lines, width = "\n".join([f"orchestrator: {first}", *rest]), machine.columns(sys.stderr)
    if width is not None:
        from orchestrator.report.wrap import fit

        lines = fit(lines, width)
    with suppress(OSError):  # where nobody can be told, the exit code still tells
        click.echo(lines, err=True)


def let_go_of_stdout() -> None:
    """Whoever read us has gone (`| head`): Python must not complain about it when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
