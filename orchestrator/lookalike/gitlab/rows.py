"""The rows of a GitLab."""

from __future__ import annotations

from itertools import accumulate, count

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.gitlab.settings import RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object
from orchestrator.lookalike.kit.life import Stage, Words
from orchestrator.lookalike.kit.rows import Row, Rows

FIRST_PIPELINE, FIRST_PROJECT = 910_023, 77
ATTEMPTS = 100  # a job's number is that of its pipeline times this, and the attempt
UNRUN = ("skipped",)
OUTCOMES = tuple((word, word) for word in ("failed", "canceled", "skipped"))
RESTS_RUNNING = ("manual", "scheduled")


class Project(Struct, eq=False):
    """A project, and its pipelines in the order of making."""

    id: int
    slug: str
    spec: RepoSpec
    default_branch: str
    branches: dict[str, str]  # with the commit at the head
    pipelines: list[Pipeline] = field(default_factory=list)


class Pipeline(Row, eq=False, kw_only=True):
    """A pipeline with one job; `below` are those that it started."""

    told = ("id", "source", "branch", "variables", "inputs", "status", "attempt")

    id: int
    project: Project
    source: str
    variables: dict[str, str]
    inputs: Object
    name: str | None
    marked: str | None
    is_canceling: bool = False
    below: list[Pipeline] = field(default_factory=list)

    @property
    def status(self) -> str:
        """GitLab's word for how far it has come."""
        rests = self.project.spec.rests
        if self.stage is Stage.OVER:
            return str(self.outcome)
        if self.is_canceling:
            return "canceling"
        if self.stage is Stage.QUEUED:
            return rests if rests and rests not in RESTS_RUNNING else "pending"
        return rests if rests in RESTS_RUNNING else "running"

    @property
    def sha(self) -> str:
        """The commit at the head of its ref."""
        return self.project.branches.get(self.branch, "0" * 40)


class Tables(Rows[Settings]):
    """Projects by path and number, pipelines by number."""

    words = Words("success", "failed", "canceled", UNRUN)
    outcomes = OUTCOMES

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        super().__init__(settings, chance, events, counters)
        self.projects: dict[str, Project] = {}
        self.moved: dict[str, Project] = {}
        self.listed: list[Project] = []
        self.groups: dict[str, str] = {}  # paths, as they are written
        self.pipelines: dict[int, Pipeline] = {}
        self._ids = count(FIRST_PIPELINE)
        for number, spec in enumerate(settings.repos):
            self._add(FIRST_PROJECT + number, spec)

    def _add(self, id_: int, spec: RepoSpec) -> None:
        slug, default = spec.moved_to or spec.slug, spec.default_branch or self.settings.default_branch
        names = dict.fromkeys((default, *(spec.branches or self.settings.branches)))
        heads = {name: self.chance.digest("sha", slug, name).hex() for name in names}
        number = slug.removeprefix("sandbox/project-")  # one that is only known by its number
        project = Project(int(number) if number.isdigit() else id_, slug, spec, default, heads)
        self.projects[slug.lower()] = self.projects[str(project.id)] = project
        self.listed.append(project)
        *above, _ = accumulate(slug.split("/"), "{}/{}".format)
        self.groups.update({path.lower(): path for path in above})
        if spec.moved_to is not None:
            self.moved[spec.slug.lower()] = project

    def start(
        self, at: float, project: Project, kind: str, ref: str, sent: dict[str, str], inputs: Object, *, stuck: bool
    ) -> Pipeline:
        """A new pipeline, and those that it starts; `stuck`: it stays queued for ever."""
        found = self._one(at, project, kind, ref, sent, inputs, stuck=stuck)
        self.counters.accepted.append(found)
        for slug in project.spec.starts:
            other = self.projects[slug.lower()]
            more, branch = ("parent_pipeline", ref) if other is project else ("pipeline", other.default_branch)
            found.below.append(self._one(at, other, more, branch, {}, {}, stuck=stuck))
        return found

    def _one(
        self, at: float, project: Project, kind: str, ref: str, sent: dict[str, str], inputs: Object, *, stuck: bool
    ) -> Pipeline:
        texts = [text for text in (*sent.values(), *inputs.values()) if isinstance(text, str)]
        marked = next((text for text in texts if marker_in(text)), None)
        nth = len(project.pipelines) + 1
        found = Pipeline(
            id=next(self._ids),
            slug=project.slug,
            branch=ref,
            nth=nth,
            created_at=at,
            project=project,
            source=kind,
            variables=sent,
            inputs=inputs,
            name=marked if project.spec.names else None,
            visible_at=self.seen_at(at, project.slug, nth),
            marked=marked,
        )
        project.pipelines.append(found)
        self.pipelines[found.id] = found
        self.life.start(at, found, stuck=stuck)
        return found
