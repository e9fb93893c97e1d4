"""The verbs with which people steer a run that goes on, from any terminal: `approve`, `pause` and `unpause`."""

from __future__ import annotations

from orchestrator.app import wishes as app
from orchestrator.app.context import writable
from orchestrator.cli.face import Face, user, verb
from orchestrator.cli.help import argument, option

RUN = argument("run", "runs")
BY = option("--by", metavar="WHO", unset="the user", help="In whose name.")


@verb(
    RUN,
    option("--wave", metavar="NAME", unset="the one that waits", help="The wave to be opened, by name or number."),
    option("--deny", is_flag=True, help="Do not let it open; the run stops."),
    BY,
    formats=(),
    examples=(
        ("the wave that waits", "orchestrator approve latest"),
        ("this one, or none", "orchestrator approve latest --wave early"),
        ("stop the rollout", "orchestrator approve latest --deny"),
    ),
)
async def approve(face: Face, run: str, wave: str | None, deny: bool, by: str | None) -> None:
    """Let the wave of RUN open that waits for a person, or stop the run instead (--deny).

    An approval is of the verdict on the wave before, so it can be given once that is there. Who and when is journaled.
    """
    async with writable(face.context) as journal:
        who = app.person(user(), by)
        _tell(face, await app.approve(journal, run, who, face.machine.now(), wave=wave, deny=deny))


@verb(RUN, BY, formats=(), examples=(("hold the latest run", "orchestrator pause latest"),))
async def pause(face: Face, run: str, by: str | None) -> None:
    """Hold the triggers, reruns and waves of RUN; its builds are followed on. `unpause` lets it go on."""
    async with writable(face.context) as journal:
        _tell(face, await app.pause(journal, run, app.person(user(), by), face.machine.now()))


@verb(RUN, BY, formats=(), examples=(("let it go on", "orchestrator unpause latest"),))
async def unpause(face: Face, run: str, by: str | None) -> None:
    """Let RUN go on that was paused."""
    async with writable(face.context) as journal:
        _tell(face, await app.unpause(journal, run, app.person(user(), by), face.machine.now()))


def _tell(face: Face, said: app.Said) -> None:
    face.note(said.sentence)
    if said.hint is not None:
        face.note(said.hint.line(face.flags.suffix))
