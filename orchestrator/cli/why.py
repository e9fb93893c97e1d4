"""`orchestrator why`: the chain of events of one target, and the rule that it waits for."""

from __future__ import annotations

from collections.abc import Iterator

import click

from orchestrator.app import runs as app
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import SHOW
from orchestrator.cli.report import EXIT_STATUS
from orchestrator.core.errors import UsageError
from orchestrator.core.times import clock, counted, duration
from orchestrator.core.verdict import Exit
from orchestrator.forecast import Expected
from orchestrator.report.reasons import unmet_needs
from orchestrator.report.why import explain


@verb(
    click.argument("words", nargs=-1, required=True, metavar="[RUN] TARGET"), EXIT_STATUS, shows=(SHOW,), formats=TEXT
)
async def why(face: Face, words: tuple[str, ...], exit_status: bool) -> int:
    """Tell what happened to TARGET in RUN (by default the latest), and what it waits for.

    TARGET is an id as reports have it, or repo@branch, or a repo.
    """
    if len(words) > 2:
        raise UsageError(f"why: expected [RUN] TARGET, found {len(words)} words; quote ids that hold spaces")
    if any(output.file is not None for output in face.flags.output):
        raise UsageError("-o FORMAT=FILE: why writes to stdout; redirect it, as in `orchestrator why ... > FILE`")
    story = await app.why(face.context, words[-1], words[0] if len(words) == 2 else None)
    has_needs = any(unmet_needs(story.history, story.target))
    foreseen = list(foreseen_lines(story.expected, story.at, has_needs=has_needs)) if story.expected else []
    found = explain(story.target, story.entries, story.history, story.at, story.run, foreseen)
    if face.flags.stdout == "json":
        face.json(found.for_programs(face.flags.suffix))
    else:
        face.tell("\n".join(found.for_people(face.flags.suffix)))
    return (story.exit_code or 0) if exit_status else Exit.OK


def foreseen_lines(found: Expected, now: float, *, has_needs: bool) -> Iterator[str]:
    """The limits that hold a waiting target back and when it is expected to be triggered, a line each.

    Args:
        has_needs: whether other targets must pass first.
    """
    for one in found.waits:
        others = "it is the next" if not one.before else f"before it {counted(one.before, 'other')}"
        yield f"waits for {one.rule} {one.subject}: next at {clock(one.next_at)}; {others}"
    if found.at is None:
        return
    needs = ", if all that it needs passes" if has_needs else ""
    yield f"expected at about {clock(found.at)} (in {duration(max(0.0, found.at - now))}){needs}"
