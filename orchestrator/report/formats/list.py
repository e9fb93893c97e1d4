"""`repo@branch` lines of what did not pass: input for `run --from`, for a shell loop, for a person's eye.

As with `retry`, what may still have a build of its own (in doubt, or being followed) is named in comments only, so
that feeding the list to another run doubles nothing.
"""

from __future__ import annotations

from orchestrator.report.groups import to_rerun, word_of
from orchestrator.report.view import Report, Row
from orchestrator.report.words import plain


def render(report: Report) -> str:
    """The lines, without duplicates, in plan order."""
    safe, unsafe = to_rerun(report.targets)
    comments = [f"# left out, {word_of(row)}: {short_form(row)}" for row in unsafe]
    return "".join(f"{line}\n" for line in dict.fromkeys([*map(short_form, safe), *comments]))


def short_form(row: Row) -> str:
    """`owner/name@branch` as manifests take it: the id without account, matrix and name."""
    rest = row.id.removeprefix(f"{row.account}:")
    return plain(rest.partition("[")[0].partition("#")[0])
