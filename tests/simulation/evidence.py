"""What the service itself counted, sorted by whose it is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from orchestrator.core.model import Target
from orchestrator.core.progress import Progress

from .machine import State, Written
from .network import Sent
from .people import said_by
from .play import Play
from .schedule import Job
from .world import Built, Row


class Evidence:
    """The calls and the requests of a play, by run and by what they said."""

    def __init__(self, result: Play) -> None:
        self.by_order = {sent.order: sent for sent in result.machine.network.log}
        self.sites = result.machine.network.sites
        self._asked: defaultdict[tuple[str, str], list[Sent]] = defaultdict(list)
        self._made: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
        for sent in result.machine.network.log:
            if sent.said:
                self._asked[sent.run, sent.said].append(sent)
        self.rows = [row for world in result.worlds.values() for row in world.rows()]
        for row in self.rows:
            if (call := self.by_order.get(row.order)) is not None:
                self._made[call.run, call.said].append(row)
        self._by_id = {(row.world, row.id): row for row in self.rows}
        for row in self.rows:
            if len(row.builds) > 1:  # it goes by whichever of them was seen first
                self._by_id.update({(row.world, build.id): row for build in row.builds})
        self._named = {(said.run, said.target, said.adopted) for said in result.said}

    def asked(self, job: Job, target: Target) -> list[Sent]:
        """The calls that triggered the target."""
        return self._asked[job.id, said_by(target)]

    def made(self, run: str, target: Target) -> list[Row]:
        """The requests that these made."""
        return self._made[run, said_by(target)]

    def row(self, target: Target, request: str) -> Row | None:
        """The request of that id at the target's service."""
        return self._by_id.get((self.sites[target.account].world, request))

    def call_of(self, row: Row) -> Sent:
        """The call that made the request."""
        return self.by_order[row.order]

    def looked(self, row: Row) -> float:
        """When the process that made the request had last looked for one of its repository; inf if never.

        In true seconds.
        """
        call = self.call_of(row)
        looks = [
            sent.arrived
            for sent in self.by_order.values()
            if (sent.process, sent.account, sent.purpose) == (call.process, call.account, "find")
            and (sent.repo == row.slug or (sent.repo is None and _may_be_about(sent.path, row.slug)))
            and sent.order < call.order
            and sent.arrived is not None
        ]
        return looks[-1] if looks else math.inf

    def is_named(self, job: Job, target: Target, request: str) -> bool:
        """Whether a person named that request as the target's."""
        return (job.id, target.id, request) in self._named

    def build(self, target: Target, progress: Progress) -> Built | None:
        """The build that a target was last seen to have."""
        if progress.request is None or progress.build is None:
            return None
        row = self.row(target, progress.request.id)
        return None if row is None else row.build(progress.build.id)


def _may_be_about(path: str, slug: str) -> bool:
    return "%2F" not in path or slug.replace("/", "%2F") in path


def last_end(build: Built, until: float) -> list[float]:
    """When the build ended, in true seconds; empty where it was started again until then, and has not since."""
    began = max((at for at in build.restarted if at <= until), default=-math.inf)
    return [at for at in build.ended[-1:] if at > began]


def states(result: Play, job: Job) -> Iterator[tuple[State, list[Written]]]:
    """Each state directory in which the run was driven, with what was written there."""
    for state in result.machine.states:
        if job.id in state.written:
            yield state, state.written[job.id]
