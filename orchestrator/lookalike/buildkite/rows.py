"""The rows of a Buildkite: pipelines, their builds, and the one job that each build has, with its retries."""

from __future__ import annotations

from uuid import UUID

from typing_extensions import override

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.buildkite.settings import RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object, exact
from orchestrator.lookalike.kit.life import Life, Lived, Stage, Words

OUTCOMES = (("failed", "failed"), ("canceled", "canceled"), ("not_run", "not_run"))
STATE = {Stage.QUEUED: "scheduled", Stage.RUNNING: "running"}
SKIPPED = "skipped"


class Pipeline(Struct, eq=False):
    """A pipeline, and its builds in the order of their numbers."""

    id: str
    spec: RepoSpec
    builds: list[Build] = field(default_factory=list)


class Build(Lived, eq=False, kw_only=True):
    """A build; `sent` is what it was created with."""

    id: str
    pipeline: Pipeline
    sent: Object
    source: str
    visible_at: float
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

    def as_json(self) -> Object:
        """It as it was sent, and what became of it."""
        own = ("id", "nth", "branch", "sent", "state", "attempt")
        received, marker = exact(self.created_at), marker_in(self.marked)
        more = {name: getattr(self, name) for name in own}
        return {"repo": self.slug, "received_at": received, "marker": marker, **more}


class Tables:
    """Pipelines by organization and slug, in lower case, and all builds in the order of making."""

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        self.settings = settings
        self.chance = chance
        self.counters = counters
        self.builds: list[Build] = []
        chances = [(word, share) for word, name in OUTCOMES if (share := getattr(settings.shares, name)) > 0]
        self.life = Living(settings, chance, events, Words("passed", "failed", "canceled", chances, ("not_run",)))
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
            visible_at=at + self.chance.between(self.settings.lag, "lag", slug, nth),
            rebuilt_from=of,
        )
        for other in pipeline.builds if pipeline.spec.skips else ():
            if other.stage is Stage.QUEUED and other.branch == build.branch:
                self.life.skip(at, other)
        pipeline.builds.append(build)
        self.builds.append(build)
        self.counters.accepted.append(build)
        self.life.start(at, build, stuck=stuck)
        return build


class Living(Life):
    """How builds live here: one may be skipped for another."""

    def skip(self, at: float, build: Lived) -> None:
        """It ends now, and ran nothing."""
        self._end(at, build, build.attempt, SKIPPED)

    @override
    def again(self, at: float, build: Lived) -> None:
        super().again(at, build)
        build.ran_at = None
