"""The rows of a Buildbot: builders, buildsets, buildrequests; a request that left the queue is a build, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.buildbot.settings import RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object, exact
from orchestrator.lookalike.kit.life import Lived, Stage, Words
from orchestrator.lookalike.kit.rows import Rows
from orchestrator.providers.buildbot.declaration import RESULTS

FIRST_BUILD = 10_000  # builds and requests are numbered apart
UNDONE = -1  # results of what has not ended


class Builder(Struct, frozen=True):
    """A builder, with the repository that it builds."""

    id: int
    spec: RepoSpec


class Request(Lived, eq=False, kw_only=True):
    """A buildrequest and its one build, which there is once it left the queue."""

    id: int
    builder: Builder
    buildset: Buildset
    properties: Object
    priority: int

    @property
    def build(self) -> int:
        """The number of its build."""
        return FIRST_BUILD + self.id

    @property
    def marked(self) -> str:
        """The text that may hold a marker."""
        return f"{self.buildset.reason} {self.properties.get('orchestrator_marker', [''])[0]}"

    @property
    def results(self) -> int:
        """Buildbot's number for how it ended."""
        return UNDONE if self.outcome is None else RESULTS.index(self.outcome)

    def as_json(self) -> Object:
        """It as it was sent, and what became of it."""
        sent = {name: value[0] for name, value in self.properties.items()}
        more = {"id": self.id, "builder": self.builder.spec.name, "branch": self.branch, "outcome": self.outcome}
        received = exact(self.created_at)
        return {"repo": self.slug, "received_at": received, "marker": marker_in(self.marked), "sent": sent, **more}


class Buildset(Struct, eq=False):
    """What one call forced; `rebuilt`: the build of which it is another try."""

    id: int
    reason: str
    branch: str
    created_at: float
    visible_at: float
    rebuilt: int | None = None


class Tables(Rows[Settings]):
    """All rows, oldest first; numbers count from 1."""

    words = Words("success", "failure", "cancelled")
    outcomes = (("failure", "failed"), ("exception", "errored"), ("cancelled", "canceled"))

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        super().__init__(settings, chance, events, counters)
        self.buildsets: list[Buildset] = []
        self.requests: list[Request] = []
        specs = sorted(settings.repos, key=lambda spec: chance.roll("builder", spec.name))  # in no order that one knows
        self.builders = {spec.name: Builder(number, spec) for number, spec in enumerate(specs, 1)}

    def request(self, id_: int) -> Request | None:
        """A request by its number."""
        return self.requests[id_ - 1] if 0 < id_ <= len(self.requests) else None

    def of_build(self, id_: int) -> Request | None:
        """A request by the number of its build."""
        found = self.request(id_ - FIRST_BUILD)
        return found if found is not None and found.ran_at is not None else None

    def force(
        self, at: float, builders: Iterable[Builder], branch: str, reason: str, properties: Object, *, stuck: bool
    ) -> list[Request]:
        """One buildset with a request for each builder; older ones that wait for the same are merged into them."""
        made = self._set(at, reason, branch)
        requests = [self._request(at, made, each, properties) for each in builders]
        for request in requests:
            self.life.start(at, request, stuck=stuck)
        self.counters.accepted.append(requests[0])
        return requests

    def rebuild(self, at: float, old: Request) -> Request:
        """Another try of the same."""
        made = self._set(at, "rebuild", old.branch)
        made.rebuilt = old.build if old.buildset.rebuilt is None else old.buildset.rebuilt
        request = self._request(at, made, old.builder, old.properties)
        request.attempt = old.attempt + 1
        self.life.start(at, request)
        return request

    def _set(self, at: float, reason: str, branch: str) -> Buildset:
        number = len(self.buildsets) + 1
        visible = at + self.chance.between(self.settings.lag, "lag", number)
        self.buildsets.append(Buildset(number, reason, branch, at, visible))
        return self.buildsets[-1]

    def _request(self, at: float, buildset: Buildset, builder: Builder, properties: Object) -> Request:
        before = [one for one in self.requests if one.builder is builder]
        for one in before if self.settings.collapse else ():
            if one.stage is Stage.QUEUED and one.branch == buildset.branch:
                self.life.end(at, one, "skipped")
        request = Request(
            id=len(self.requests) + 1,
            slug=builder.spec.slug,
            branch=buildset.branch,
            nth=len(before) + 1,
            created_at=at,
            builder=builder,
            buildset=buildset,
            properties=properties,
            priority=0,
        )
        self.requests.append(request)
        return request


def builder(row: Builder) -> Object:
    """As it is shown."""
    return {"builderid": row.id, "name": row.spec.name, "description": None, "masterids": [1], "tags": []}


def buildset(row: Buildset, requests: Iterable[Request]) -> Object:
    """As it is shown, with all of its requests."""
    all_ = [request for request in requests if request.buildset is row]
    is_over = all(request.stage is Stage.OVER for request in all_)
    ended = max((request.updated_at for request in all_), default=0.0)
    stamp = {"ssid": row.id, "branch": row.branch, "codebase": "", "repository": "", "project": "", "revision": ""}
    return {
        "bsid": row.id,
        "reason": row.reason,
        "submitted_at": int(row.created_at),
        "rebuilt_buildid": row.rebuilt,
        "complete": is_over,
        "complete_at": int(ended) if is_over else None,
        "sourcestamps": [stamp],
        "results": max((one.results for one in all_), default=0) if is_over else UNDONE,
        "parent_buildid": None,
        "parent_relationship": None,
        "external_idstring": None,
    }


def request(row: Request) -> Object:
    """As it is shown."""
    is_over, is_claimed = row.stage is Stage.OVER, row.stage is not Stage.QUEUED
    return {
        "buildrequestid": row.id,
        "buildsetid": row.buildset.id,
        "builderid": row.builder.id,
        "priority": row.priority,
        "waited_for": False,
        "properties": None,
        "claimed": is_claimed,
        "claimed_at": int(row.ran_at or row.updated_at) if is_claimed else None,
        "claimed_by_masterid": 1 if is_claimed else None,
        "submitted_at": int(row.created_at),
        "complete": is_over,
        "complete_at": int(row.updated_at) if is_over else None,
        "results": row.results,
    }


def build(row: Request) -> Object:
    """Its build, as it is shown."""
    is_over = row.stage is Stage.OVER
    words = {"success": "build successful", "failure": "failed 'make test' (failure)"}
    state = words.get(row.outcome or "", f"build {row.outcome}") if is_over else "building"
    return {
        "buildid": row.build,
        "number": row.nth,
        "builderid": row.builder.id,
        "buildrequestid": row.id,
        "masterid": 1,
        "workerid": 1,
        "locks_duration_s": 0,
        "properties": {},
        "state_string": state,
        "started_at": int(row.ran_at or 0),
        "complete": is_over,
        "complete_at": int(row.updated_at) if is_over else None,
        "results": row.results if is_over else None,
    }


def with_properties(shown: Object, row: Request, wanted: Iterable[str]) -> Object:
    """What is shown, with those of its properties that are asked for."""
    names = list(wanted)
    every = {**row.properties, "branch": [row.branch, "Build"]}
    found: Mapping[str, Any] = {name: value for name, value in every.items() if name in names or "*" in names}
    return {**shown, "properties": found} if names else shown
