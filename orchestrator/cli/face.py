"""What every verb shares: its frame, its context, how it prints and asks, and a run that is shown while it goes on."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from orchestrator.cli.command import Verb
from orchestrator.cli.flags import ALWAYS, Flags, declared, taken
from orchestrator.cli.help import Rows, Terms
from orchestrator.cli.main import Machine, let_go_of_stdout
from orchestrator.core.errors import Exit, JournalError, NotStarted, OrchestratorError, UsageError, flat
from orchestrator.core.frozen import Struct, asdict, replace
from orchestrator.report.words import shell

if TYPE_CHECKING:
    from signal import Signals

    from orchestrator.app.context import Context, Observer
    from orchestrator.app.drive import Drive, Ended
    from orchestrator.app.plan import Choices
    from orchestrator.cli.live import Screen
    from orchestrator.cli.log import Log
    from orchestrator.report.view import Report
    from orchestrator.report.wrap import Line, Look

T = TypeVar("T")

SUMMARY = "GITHUB_STEP_SUMMARY"
TEXT_WIDTH = 100  # columns of a report that no terminal shows
NOTHING: Mapping[str, str] = {}
ENDLESS = 100_000  # columns of what is no terminal: a line stays one
TEXT = ("text", "json")
DRIVES = ("run", "watch", "resume", "retry", "cancel")  # the run's own exit code stands, shown or not


class Face:
    """One command line at work."""

    def __init__(self, machine: Machine, flags: Flags, *, observes: bool = True) -> None:
        self.machine = machine
        self.flags = flags
        self._observes = observes
        self.is_unshown = False
        self.withheld: list[str] = []

    @cached_property
    def context(self) -> Context:
        """What the use cases may see."""
        from orchestrator.app.context import Context
        from orchestrator.report import EVENTS, FORMATS

        machine, flags = self.machine, self.flags
        return Context(
            environ=machine.environ,
            cwd=machine.cwd,
            home=machine.home,
            now=machine.now,
            redactor=machine.redactor,
            state=flags.state,
            sandbox=flags.sandbox,
            rates=flags.rate,
            observer=self._observer() if self._observes else None,
            traces=flags.verbose > 1,
            wants_facts=any(output.format == EVENTS for output in flags.output),
            wants_foretold=any(FORMATS[one.format].foretells for one in flags.output if one.format in FORMATS),
            read_stdin=_stdin,
            free_files=machine.free_files,
        )

    def _observer(self) -> Observer:
        from orchestrator.cli.log import Follower

        return Follower(self.log, self.screen, self.machine.now, self.flags.suffix)

    @cached_property
    def choices(self) -> Choices:
        """What the use cases take of the flags."""
        return self.flags.choices(self.machine.cwd)

    @property
    def draws(self) -> bool:
        """Whether a run is shown as a picture that is redrawn in place, and not as lines."""
        return self.machine.may_redraw and not self.flags.quiet and self.flags.log_format == "console"

    @cached_property
    def screen(self) -> Screen:
        """Where lines and the state of a run are shown."""
        from orchestrator.cli.live import Plain, Redrawn

        flags, machine = self.flags, self.machine
        if self.draws:
            colour = machine.colours(sys.stderr, flags.no_color)
            return Redrawn(sys.stderr, colour=colour, logs=flags.verbose > 0, suffix=flags.suffix)
        return Plain(_to_stderr, lambda text: self.log.info("run.progress", now=text))

    @cached_property
    def log(self) -> Log:
        """The log on stderr."""
        from orchestrator.cli.log import Log

        flags, machine = self.flags, self.machine
        return Log(
            lambda line: self.screen.say(line),
            machine.redactor,
            verbosity=-1 if flags.quiet else flags.verbose,
            format=flags.log_format,
            now=machine.now,
            colour=machine.colours(sys.stderr, flags.no_color),
            terse=self.draws,
        )

    # -- words --------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """Prints on stdout what the verb was asked for; that it cannot be shown is said once, and ends nothing."""
        try:
            click.echo(text)
        except OSError as error:
            let_go_of_stdout()
            if not isinstance(error, BrokenPipeError):  # of its own accord nobody reads on (`| head`)
                self.is_unshown = True
                self._say(f"orchestrator: the output could not be shown: {error.strerror or error}")

    def tell_lines(self, lines: Iterable[str]) -> None:
        """Prints lines for people on stdout; on a terminal each is wrapped to its width."""
        self.tell(self._fitted("\n".join(lines), sys.stdout))

    @property
    def columns(self) -> int | None:
        """How wide stdout is; None where it is no terminal."""
        return self.machine.columns(sys.stdout)

    def draw(self, lines: Iterable[Line], hang: int = 0) -> None:
        """Prints lines for people on stdout, in colour and with links where the terminal has them.

        Args:
            hang: columns before what does not fit on a line and goes on below.
        """
        from orchestrator.report.wrap import written

        look = replace(self.look(sys.stdout), width=self.columns or ENDLESS)
        self.tell("\n".join(written(lines, look, hang)))

    def _fitted(self, text: str, stream: TextIO) -> str:
        width = self.machine.columns(stream)
        if width is None:
            return text
        from orchestrator.report.wrap import fit

        return fit(text, width)

    def note(self, text: str) -> None:
        """Prints on stderr: what a person may also want to know; with `-q` at the end, and only if all is not well."""
        if self.flags.quiet:
            self.withheld.append(text)
        else:
            self._say(text)

    def _say(self, text: str) -> None:
        with suppress(OSError):  # the run matters more than what is said of it
            click.echo(self._fitted(text, sys.stderr), err=True)

    def tell_withheld(self) -> None:
        """Prints what `-q` has kept back."""
        for text in self.withheld:
            self._say(text)

    def json(self, value: object) -> None:
        """Prints a value for programs."""
        import json  # other verbs start without it

        self.tell(json.dumps(value, default=_plain, indent=1, ensure_ascii=False))

    @property
    def asks(self) -> bool:
        """Whether questions are put to somebody."""
        return not self.flags.yes and self.machine.may_ask

    def ask_below(self, lines: Iterable[str]) -> None:
        """Prints what a question is about, above it."""
        self._say("\n".join(lines))

    def confirm(self, question: str | None, done: str = "nothing was sent") -> None:
        """Goes on when the answer is yes, when there is no question, or when there is nobody to ask.

        Args:
            done: what has become of it where the answer is no.

        Raises:
            NotStarted: the answer is no.
        """
        if question is None or not self.asks:
            return
        with _interruptible():
            is_yes = click.confirm(question, default=False, err=True)
        if not is_yes:
            raise NotStarted(f"answered no; {done}")

    def check_formats(self, formats: Sequence[str] | None) -> None:
        """Whether the verb writes what `-o` asks for; `formats` as of `verb`.

        Raises:
            UsageError: it does not.
        """
        from orchestrator.report import FORMATS

        for name, file in [(output.format, output.file) for output in self.flags.output]:
            if formats and file is not None:
                raise UsageError(
                    f"-o {name}={file}: this verb writes to stdout; redirect it, as in `... -o {name} > FILE`"
                )
            if formats is None and name not in FORMATS:
                raise UsageError(f"-o {name}: there is no such report; there are: {', '.join(FORMATS)}")
            if formats and name not in formats:
                raise UsageError(f"-o {name}: this verb writes {', '.join(formats)}")

    @asynccontextmanager
    async def signals(self) -> AsyncIterator[AsyncIterator[Signals]]:
        """What asks this process to leave, as it comes."""
        import signal

        import anyio

        names = ("SIGINT", "SIGTERM", "SIGHUP")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        with anyio.open_signal_receiver(*numbers) as received:
            yield received

    # -- reports ------------------------------------------------------------------------------------------------

    def show(self, report: Report, *, is_silent: bool = False, files: Mapping[str, str] = NOTHING) -> None:
        """Prints the report on stdout: the text report, or what `-o FORMAT` without a file asks for.

        Args:
            is_silent: whether the text report is left out (`-q` and all went well).
            files: path to format of the reports that were written, too.
        """
        from orchestrator.report import render

        report, name = replace(report, suffix=self.flags.suffix), self.flags.stdout
        if name is None and is_silent:
            return
        if name in (None, "text"):
            self.tell(self._text(report, sys.stdout, files))
        else:
            self.tell(render(report, name).rstrip("\n"))

    def _text(self, report: Report, stream: TextIO, files: Mapping[str, str]) -> str:
        """The text report for a stream: as wide and as high as its terminal."""
        from orchestrator.report import render

        machine, no_color = self.machine, self.flags.no_color
        page = next((path for path, name in files.items() if name == "html"), None)
        return render(
            replace(report, suffix=self.flags.suffix),
            "text",
            width=machine.columns(stream) or TEXT_WIDTH,
            height=machine.lines(stream),
            colour=machine.colours(stream, no_color),
            links=machine.links(stream, no_color),
            page=page and self._near(page),
        ).rstrip("\n")

    def look(self, stream: TextIO) -> Look:
        """What the stream's terminal takes; where there is none, lines stay whole."""
        from orchestrator.report.wrap import Look

        machine, no_color = self.machine, self.flags.no_color
        return Look(
            machine.columns(stream) or 10_000, machine.colours(stream, no_color), machine.links(stream, no_color)
        )

    def _near(self, path: str) -> str:
        """The path as a person would type it here."""
        place = Path(path)
        return str(place.relative_to(self.machine.cwd)) if place.is_relative_to(self.machine.cwd) else path

    def write(self, report: Report, files: Mapping[str, str]) -> bool:
        """Writes each file atomically; one that cannot be written does not keep the others from it.

        Args:
            files: path to format.

        Returns:
            Whether all were written; what went wrong was printed.
        """
        from orchestrator.report import pieces, render, write

        report = replace(report, suffix=self.flags.suffix)
        is_whole = True
        for path, name in files.items():
            try:
                write(pieces(report, name), path)
            except OSError as error:
                is_whole = False
                self.note(f"orchestrator: the {name} report could not be written to {path}: {error.strerror or error}")
                again = f"orchestrator report {report.run.id} -o {shell(f'{name}={path}')}{report.suffix}"
                self.note(f"  mend that, then: {again}")
        summary = self.machine.environ.get(SUMMARY)  # the job's summary page, where the CI server has one
        if not is_whole or not summary:
            return is_whole
        from orchestrator.report.formats.markdown import AT_MOST, LEAST

        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                room = AT_MOST - file.tell()  # what other steps have written counts, too
                if room < LEAST:
                    self.note(f"orchestrator: {SUMMARY}: {summary} is full; the report was not added")
                    return True
                file.write(render(report, "markdown", at_most=room) + "\n")
        except OSError as error:
            self.note(f"orchestrator: {SUMMARY}: {summary} could not be written: {error.strerror or error}")
            return False
        return True

    # -- a run --------------------------------------------------------------------------------------------------

    async def attend(self, what: Drive | Ended) -> Ended:
        """Shows a run while it is driven, and writes its reports; its exit code is not 0 when one cannot be written."""
        from orchestrator.app.drive import Drive

        try:
            ended = await self._driven(what) if isinstance(what, Drive) else what
        except (JournalError, BaseExceptionGroup):
            if isinstance(what, Drive) and what.left is not None:
                self.write(what.left.report, what.left.files)
            raise
        for path, later in ended.spared.items():
            self.note(f"{path} is left as it is: run {later}, which came later, writes it, too")
        is_whole = self.write(ended.report, ended.files)
        return ended if is_whole or ended.code is not Exit.OK else replace(ended, code=Exit.FAILED)

    async def _driven(self, drive: Drive) -> Ended:
        import anyio

        from orchestrator.app.drive import sole

        self.screen.open()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._heed_signals, drive)
                ended = await drive.run()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole(group) from None
        finally:
            self.screen.close()
        return ended

    async def _heed_signals(self, drive: Drive) -> None:
        """The first signal lets calls under way finish, the second leaves at once, the third ends the process."""
        presses = 0
        async with self.signals() as received:
            async for number in received:
                presses += 1
                name = number.name
                if presses > 2:
                    self.screen.close()
                    os._exit(Exit.SIGINT if name == "SIGINT" else Exit.SIGTERM)
                drive.interrupt(name)
                if presses == 1:
                    self.screen.say(f"{name}: no new triggers, calls under way finish; once more leaves at once")

    def conclude(self, ended: Ended, *, detach: bool = False) -> Exit:
        """Prints the report, or with `detach` the run's id, and gives the exit code back."""
        flags, code, run = self.flags, ended.code, ended.report.run.id
        is_silent = flags.quiet and code is Exit.OK
        if detach and flags.stdout is None:
            self.tell(run)  # alone on stdout, so that a script can keep it
            if not is_silent:
                self.note(self._text(ended.report, sys.stderr, ended.files))
        else:
            self.show(ended.report, is_silent=is_silent, files=ended.files)
        if code in (Exit.SIGINT, Exit.SIGTERM, Exit.TIMEOUT, Exit.ACCOUNT) and not ended.report.is_rehearsal:
            self.note(f"orchestrator: nothing is lost; go on with: orchestrator resume {run}{flags.suffix}")
        return code


def user() -> str:
    """Who sits here, as the machine calls them."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return "somebody"


def person() -> str:
    """The same, with the machine."""
    import socket

    return f"{user()}@{socket.gethostname()}"


def verb(
    *options: Callable[[Any], Any],
    flags: Sequence[str] = (),
    formats: Sequence[str] | None = None,
    terms: Terms = (),
    examples: Rows = (),
) -> Callable[[Callable[..., Any]], click.Command]:
    """Makes a click command of a function that takes a `Face` and the verb's own options; sync or async.

    Args:
        options: arguments and options of its own.
        flags: the shared flags on which it acts, by the names of their fields, beside those of every verb.
        formats: what it may write with `-o`; None: the reports' formats; empty: whatever it checks itself.
        terms: more lists for its help, each with its title.
        examples: for its help: what a command line does, and the command line.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @click.pass_context
        @wraps(function)
        def command(ctx: click.Context, /, **values: Any) -> int:
            machine = ctx.find_object(Machine)
            assert machine is not None  # noqa: S101  # `main.run` always hands one in
            face = Face(machine, taken(values), observes=inspect.iscoroutinefunction(function))
            face.check_formats(formats)
            code = int(Exit.FAILED)
            try:
                code = int(_run(face, lambda: function(face, **values)) or 0)
            finally:
                if code:
                    face.tell_withheld()
            is_only_shown = face.is_unshown and function.__name__ not in DRIVES
            return code or int(Exit.FAILED if is_only_shown else Exit.OK)

        decorated: Any = command
        shared = [flag.option(name) for name, flag in declared().items() if name in (*ALWAYS, *flags)]
        for option in reversed([*options, *shared]):
            decorated = option(decorated)
        name, own = function.__name__.rstrip("_"), {"terms": terms, "examples": examples, "formats": formats}
        return click.command(name, cls=Verb, **own)(decorated)

    return decorate


def _run(face: Face, verb: Callable[[], Any]) -> Any:
    try:
        found = verb()
        return run_async(found) if inspect.iscoroutine(found) else found
    except (OrchestratorError, BaseExceptionGroup) as error:
        for known in flat(error):
            if isinstance(known, OrchestratorError):
                known.suffix = face.flags.suffix
        raise


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Runs a verb on asyncio, which aiohttp needs; on uvloop where that is installed."""
    from importlib.util import find_spec

    import anyio

    from orchestrator.core.frozen import relax_gc

    async def run() -> T:
        return await main

    relax_gc()
    fast = sys.platform != "win32" and find_spec("uvloop") is not None
    return anyio.run(run, backend="asyncio", backend_options={"use_uvloop": fast})


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C end what blocks: on an event loop the first one only asks the loop, which does not come to it."""
    import signal

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stdin(most: int) -> bytes:
    with _interruptible():
        return sys.stdin.buffer.read(most)


def _to_stderr(line: str) -> None:
    with suppress(OSError):  # a terminal that was closed takes no more lines; the run matters more than its log
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _plain(value: Any) -> Any:
    """A value of ours as `json` takes it."""
    if isinstance(value, Struct):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is no value")
