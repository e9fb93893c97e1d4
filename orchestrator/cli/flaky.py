"""`orchestrator flaky`: which targets pass only now and then, with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.app.context import readable
from orchestrator.app.flaky import SCHEMA, Record
from orchestrator.app.flaky import flaky as flaky_in
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT
from orchestrator.cli.help import argument
from orchestrator.core.errors import Exit
from orchestrator.core.frozen import asdict
from orchestrator.core.times import counted
from orchestrator.report.words import plain

AT_MOST = 50  # targets that are named in text


@verb(
    argument("name", "names", required=False),
    flags=OUTPUT,
    formats=TEXT,
    examples=(("of the runs of one name", "orchestrator flaky nightly"),),
)
async def flaky(face: Face, name: str | None) -> Exit:
    """List the targets that pass only now and then, the most unsteady first, over the runs of the state.

    NAME: only runs of this name. Counted are runs in which the target ended by itself.
    """
    async with readable(face.context) as journal:
        found, steady = await flaky_in(journal, name)
    if face.flags.stdout == "json":
        rows = [{**asdict(one), "runs": one.runs} for one in found]
        face.json({"schema": SCHEMA, "name": name, "steady": steady, "targets": rows})
    else:
        face.tell_lines(_lines(found, steady))
    return Exit.OK


def _lines(found: Sequence[Record], steady: int) -> Iterator[str]:
    if found:
        yield "runs  passed  after rerun  failed  target"
    for one in found[:AT_MOST]:
        yield f"{one.runs:>4}  {one.passed:>6}  {one.passed_after_rerun:>11}  {one.failed:>6}  {plain(one.id)}"
    if len(found) > AT_MOST:
        yield f"... and {len(found) - AT_MOST:,} more in -o json"
    yield f"{counted(steady, 'other target' if found else 'target')} passed at once, each time"
