"""How help looks: options in groups, each with its default and its variable, wrapped at the terminal's width."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.formatting import wrap_text

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

NARROWEST, WIDEST = 40, 160  # columns
SIDE_BY_SIDE = 64  # columns from which a text stands beside its term, else below it
FIRST = 28  # columns at most for the terms; a longer one has a line of its own
Rows: TypeAlias = Sequence[tuple[str, str]]
Terms: TypeAlias = Sequence[tuple[str, Rows]]
STUCK = "\u00a0"  # a space at which no line ends


class Group(StrEnum):
    """What options are about, in the order in which help shows them."""

    OWN = "Options"
    WHAT = "What to build"
    PACE = "Pace"
    STOP = "Stop"
    SAFETY = "Safety"
    REHEARSAL = "Rehearsal"
    OUTPUT = "Output"


class Completes(click.Parameter):
    """A parameter of which the shell offers values; `completes` names the function in `complete` that finds them."""

    completes = ""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What may stand here."""
        if not self.completes:
            return super().shell_complete(ctx, incomplete)
        from orchestrator.cli.complete import offered  # only when a shell asks

        return offered(self.completes, ctx, incomplete)


class Argument(Completes, click.Argument):
    """An argument; `completes` as of `Completes`."""

    def __init__(self, *names: Any, completes: str = "", **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.completes = completes


class Option(Completes, click.Option):
    """An option that knows its group and, in words, its default.

    Args:
        group: where help shows it.
        unset: what holds where it is not given, in words; empty: click's own default, as far as it says something.
        completes: as of `Completes`.
    """

    def __init__(
        self, *names: Any, group: Group = Group.OWN, unset: str = "", completes: str = "", **settings: Any
    ) -> None:
        super().__init__(*names, **settings)
        self.completes = completes
        self.group = group
        self.unset = unset

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option, and its text with default and variable."""
        found = super().get_help_record(ctx)
        return None if found is None else (found[0], f"{found[1]}\n{self.facts}".rstrip())

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Nothing of click's own: the text says it."""
        return {}

    @property
    def standard(self) -> str:
        """What holds where it is not given, in words; empty where that goes without saying."""
        is_plain = isinstance(self.default, str | int) and not isinstance(self.default, bool) and not self.count
        return self.unset or (str(self.default) if is_plain else "")

    @property
    def facts(self) -> str:
        """Its default and its variable, in brackets."""
        variable = self.envvar if isinstance(self.envvar, str) else ""
        facts = [f"default: {self.standard}"] * bool(self.standard) + [f"env: {variable}"] * bool(variable)
        return f"[{'; '.join(facts)}]" if facts else ""


def argument(name: str, completes: str = "", **settings: Any) -> Callable[[Any], Any]:
    """An argument of a verb; `completes` as of `Completes`."""
    return click.argument(name, cls=Argument, completes=completes, **settings)


def option(*names: str, group: Group = Group.OWN, **settings: Any) -> Callable[[Any], Any]:
    """An option of a single verb; `settings` as of `Option`."""
    return click.option(*names, cls=Option, group=group, **settings)


class Formatter(click.HelpFormatter):
    """Writes help as wide as the terminal is; commands are never broken."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = shutil.get_terminal_size().columns if width is None else width
        super().__init__(indent_increment, min(max(columns, NARROWEST), WIDEST))
        self.column = 0  # how wide terms are at least, so that several lists align

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = FIRST, col_spacing: int = 2) -> None:
        """Terms with their texts: beside them, or below them where there is no room. A text breaks at its newlines."""
        rows = list(rows)
        beside = self.width >= SIDE_BY_SIDE
        first = max(self.column, min(max((len(term) for term, _ in rows), default=0), col_max)) + col_spacing
        indent = self.current_indent + (first if beside else 4)
        for term, text in rows:
            lines = _wrapped(text, self.width - indent)
            begin = f"{'':>{self.current_indent}}{term}"
            if beside and lines and len(term) + col_spacing <= first:
                begin = f"{begin:<{indent}}{lines.pop(0)}"
            self.write("".join(f"{line}\n" for line in [begin, *(f"{'':>{indent}}{line}" for line in lines)]))

    def align(self, rows: Iterable[tuple[str, str]]) -> None:
        """Lets the lists that follow begin their texts in one column: that of these rows."""
        self.column = max((len(term) for term, _ in rows if len(term) <= FIRST), default=0)

    def write_examples(self, examples: Rows) -> None:
        """Commands, each below what it does."""
        with self.section("Examples"):
            for what, command in examples:
                self.write_text(f"# {what}")
                self.write(f"{'':>{self.current_indent}}{command}\n")


def _wrapped(text: str, width: int) -> list[str]:
    """The lines of a text; what stands on several lines is put on one where that has room."""
    whole = " ".join(text.split())
    if len(whole) <= width:
        return [whole] if whole else []
    parts = (part.replace("env: ", f"env:{STUCK}") for part in text.split("\n"))
    return [line.replace(STUCK, " ") for part in parts for line in wrap_text(part, width).splitlines()]


class Context(click.Context):
    """Click's context, with our formatter."""

    formatter_class = Formatter


def by_group(options: Sequence[click.Parameter]) -> Mapping[Group, list[click.Parameter]]:
    """The options of a verb by their groups, in the order of help."""
    found: dict[Group, list[click.Parameter]] = {group: [] for group in Group}
    for one in options:
        if isinstance(one, click.Option):
            found[getattr(one, "group", Group.OUTPUT)].append(one)  # --help is click's own
    return {group: some for group, some in found.items() if some}


def records(ctx: click.Context, options: Sequence[click.Parameter]) -> Iterator[tuple[str, str]]:
    """What help says of options."""
    yield from filter(None, (one.get_help_record(ctx) for one in options))
