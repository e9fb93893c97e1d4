"""What the service itself counted, sorted by whose it is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from orchestrator.core.model import Target
from orchestrator.lookalike.travis.rows import Build, Request
from orchestrator.providers.travis.wire import repo_path

from .machine import State, Written
from .network import Sent
from .people import said_by
from .play import Play
from .schedule import Job


class Evidence:
    """The calls and the requests of a play, by run and by what they said."""

    def __init__(self, result: Play) -> None:
        world = result.world
        self.by_order = {str(sent.order): sent for sent in result.machine.network.log}
        self._asked: defaultdict[tuple[str, str], list[Sent]] = defaultdict(list)
        self._made: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
        for sent in result.machine.network.log:
            if sent.tag:
                self._asked[sent.run, sent.said].append(sent)
        for row in world.counters.accepted:
            if (sent := self.by_order.get(world.callers[row.id])) is not None:
                self._made[sent.run, sent.said].append(row)
        self.rows = {row.id: row for row in world.counters.accepted}
        self.builds: dict[str, Build] = {str(build.id): build for row in self.rows.values() for build in row.builds}
        self._world = world
        self._named = {(said.run, said.target, said.adopted) for said in result.said}

    def asked(self, job: Job, target: Target) -> list[Sent]:
        """The calls that triggered the target."""
        return self._asked[job.id, said_by(target)]

    def made(self, run: str, target: Target) -> list[Request]:
        """The requests that these made."""
        return self._made[run, said_by(target)]

    def order_of(self, row: Request) -> int:
        """When the call left that made the request."""
        return self.call_of(row).order

    def call_of(self, row: Request) -> Sent:
        """The call that made the request."""
        return self.by_order[self._world.callers[row.id]]

    def looked(self, row: Request) -> float:
        """When the process that made the request had last listed its repository, in true seconds; inf if never."""
        call, path = self.call_of(row), f"{repo_path(row.repo.slug)}/requests"
        looks = [
            sent.arrived
            for sent in self.by_order.values()
            if (sent.process, sent.account, sent.method, sent.path) == (call.process, call.account, "GET", path)
            and sent.order < call.order
            and sent.arrived is not None
        ]
        return looks[-1] if looks else math.inf

    def shown(self, row: Request) -> float:
        """From when on the request is in listings, in true seconds."""
        return self._world.true(row.visible_at)

    def is_named(self, job: Job, target: Target, request: str) -> bool:
        """Whether a person named that request as the target's."""
        return (job.id, target.id, request) in self._named

    def ends(self, build: Build) -> list[str]:
        """How the build ended each time."""
        return self._world.ends.get(build.id, [])

    def ended(self, build: Build) -> list[float]:
        """When the build ended, in true seconds; several times where it was restarted."""
        return self._world.ended.get(build.id, [])

    def last_end(self, build: Build, until: float) -> list[float]:
        """When the build ended, in true seconds; empty where it was started again until then, and has not since."""
        began = max((at for at in self.restarted(str(build.id)) if at <= until), default=-math.inf)
        return [at for at in self.ended(build)[-1:] if at > began]

    def restarted(self, build: str) -> list[float]:
        """When the build was started again, in true seconds."""
        return self._world.restarted.get(int(build), [])


def states(result: Play, job: Job) -> Iterator[tuple[State, list[Written]]]:
    """Each state directory in which the run was driven, with what was written there."""
    for state in result.machine.states:
        if job.id in state.written:
            yield state, state.written[job.id]
