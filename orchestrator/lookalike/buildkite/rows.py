"""The rows of a Buildkite: pipelines, their builds, and the one job that each build has, with its retries."""

from __future__ import annotations

from uuid import UUID

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.buildkite.settings import RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object
from orchestrator.lookalike.kit.life import Stage, Words
from orchestrator.lookalike.kit.rows import Row, Rows

OUTCOMES = (("failed", "failed"), ("canceled", "canceled"), ("not_run", "not_run"))
STATE = {Stage.QUEUED: "scheduled", Stage.RUNNING: "running"}
SKIPPED = "skipped"


class Pipeline(Struct, eq=False):
    """A pipeline, and its builds in the order of their numbers."""

    id: str
    spec: RepoSpec
    builds: list[Build] = field(default_factory=list)


class Build(Row, eq=False, kw_only=True):
    """A build; `sent` is what it was created with."""

    told = ("id", "nth", "branch", "sent", "state", "attempt")

    id: str
    pipeline: Pipeline
    sent: Object
    source: str
    rebuilt_from: Build | None = None

    @property
    def state(self) -> str:
        """Buildkite's word for how far it has come."""
        return self.outcome or STATE.get(self.stage, "running")

    @property
    def marked(self) -> str | None:
        """The text that may hold a marker."""
        return next((it for it in self.meta.values() if isinstance(it, str) and marker_in(it)), None)

    @property
    def meta(self) -> Object:
        """Its meta-data."""
        found: Object = self.sent.get("meta_data") or {}
        return found


class Tables(Rows[Settings]):
    """Pipelines by organization and slug, in lower case, and all builds in the order of making."""

    words = Words("passed", "failed", "canceled", ("not_run",))
    outcomes = OUTCOMES

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        super().__init__(settings, chance, events, counters)
        self.builds: list[Build] = []
        self.pipelines = {
            spec.slug.lower(): Pipeline(self.uuid("pipeline", spec.slug), spec) for spec in settings.repos
        }

    def uuid(self, *name: str | int) -> str:
        """An id that depends on the seed and the name alone."""
        return str(UUID(bytes=self.chance.digest(*name)[:16], version=4))

    def start(
        self, at: float, pipeline: Pipeline, sent: Object, *, stuck: bool, source: str = "api", of: Build | None = None
    ) -> Build:
        """A new build; `stuck`: it stays scheduled for ever."""
        slug, nth = pipeline.spec.slug, len(pipeline.builds) + 1
        build = Build(
            id=self.uuid("build", slug, nth),
            slug=slug,
            branch=str(sent["branch"]),
            nth=nth,
            created_at=at,
            pipeline=pipeline,
            sent=sent,
            source=source,
            visible_at=self.seen_at(at, slug, nth),
            rebuilt_from=of,
        )
        for other in pipeline.builds if pipeline.spec.skips else ():
            if other.stage is Stage.QUEUED and other.branch == build.branch:
                self.life.end(at, other, SKIPPED)
        pipeline.builds.append(build)
        self.builds.append(build)
        self.accept(at, build, stuck=stuck)
        return build
