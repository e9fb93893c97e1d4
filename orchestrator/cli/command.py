"""A verb as click sees it: what it refuses, and how its help is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from orchestrator.cli.help import Context as HelpContext
from orchestrator.cli.help import Formatter, Rows, Terms, by_group, records
from orchestrator.cli.main import not_here


class Verb(click.Command):
    """A verb that refuses a flag on which it does not act, and names the verbs that do; its help is in groups.

    Args:
        terms, examples, formats: as of `verb`.
    """

    context_class = HelpContext

    def __init__(
        self, *settings: Any, terms: Terms, examples: Rows, formats: Sequence[str] | None, **more: Any
    ) -> None:
        super().__init__(*settings, **more)
        self.terms = terms
        self.examples = examples
        self.formats = formats

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The groups of options."""
        found = {group: list(records(ctx, some)) for group, some in by_group(self.get_params(ctx)).items()}
        if isinstance(formatter, Formatter):
            formatter.align(row for rows in found.values() for row in rows)
        for group, rows in found.items():
            with formatter.section(group):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What else there is to know, then the examples."""
        for title, rows in self.terms:
            with formatter.section(title):
                formatter.write_dl(rows)
        if self.examples and isinstance(formatter, Formatter):
            formatter.write_examples(self.examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it, with more to say of a flag that is not here."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            own = [name for option in self.params for name in option.opts]
            raise click.UsageError(not_here(self.name or "", error.option_name, own), ctx) from None
