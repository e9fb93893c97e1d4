"""The rows of a Jenkins: jobs in folders, and items of the queue, each of which becomes a build."""

from __future__ import annotations

from itertools import count

from typing_extensions import override

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.jenkins.settings import MARKER, RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.life import Stage, Words
from orchestrator.lookalike.kit.rows import Row, Rows

OUTCOMES = (("FAILURE", "failed"), ("UNSTABLE", "unstable"), ("ABORTED", "canceled"), ("NOT_BUILT", "not_built"))


class Job(Struct, eq=False):
    """What has builds, or jobs in it. `path` as in addresses, names not encoded."""

    path: tuple[str, ...]
    kind: str
    spec: RepoSpec
    jobs: dict[str, Job] = field(default_factory=dict)
    builds: list[Item] = field(default_factory=list)  # in the order of their numbers


class Item(Row, eq=False, kw_only=True):
    """An item of the queue, and the build that it becomes; `number` is that of the build."""

    told = ("id", "number", "branch", "sent", "outcome")

    id: int
    job: Job
    sent: dict[str, str]
    number: int | None = None

    @override
    def begin(self, at: float) -> None:
        super().begin(at)
        self.job.builds.append(self)
        self.number = len(self.job.builds)

    @property
    def marked(self) -> str | None:
        """The text that may hold a marker."""
        return self.sent.get(MARKER)

    @property
    def is_waiting(self) -> bool:
        """Whether it stands in the queue."""
        return self.stage is Stage.QUEUED


class Tables(Rows[Settings]):
    """Jobs by path, in lower case, and items by number."""

    words = Words("SUCCESS", "FAILURE", "ABORTED")
    outcomes = OUTCOMES

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        super().__init__(settings, chance, events, counters)
        self.root = Job((), "hudson.model.Hudson", RepoSpec("root"))
        self.items: dict[int, Item] = {}
        self.waiting: dict[int, Item] = {}
        self._ids = count(41)
        self._equal: dict[tuple[object, ...], Item] = {}  # the last one of each
        self._made: dict[str, int] = {}
        for spec in settings.repos:
            *folders, name = spec.slug.split("/")
            inside = self.root
            for folder in folders:
                inside = self._in(inside, folder, "com.cloudbees.hudson.plugins.folder.Folder", spec)
            multi = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
            job = self._in(inside, name, multi if spec.branches else "hudson.model.FreeStyleProject", spec)
            for branch in spec.branches:
                self._in(job, branch.replace("/", "%2F"), "org.jenkinsci.plugins.workflow.job.WorkflowJob", spec)

    def _in(self, inside: Job, name: str, kind: str, spec: RepoSpec) -> Job:
        return inside.jobs.setdefault(name.lower(), Job((*inside.path, name), kind, spec))

    def find(self, path: list[str]) -> Job | None:
        """The job, or folder, of this path."""
        found: Job | None = self.root
        for name in path:
            found = None if found is None else found.jobs.get(name.lower())
        return found

    def queue(self, now: float) -> list[Item]:
        """What waits, and is shown."""
        self.waiting = {id_: item for id_, item in self.waiting.items() if item.is_waiting}
        return [item for item in self.waiting.values() if item.visible_at <= now]

    def put(self, at: float, job: Job, sent: dict[str, str], *, stuck: bool) -> tuple[Item, bool]:
        """An item of the queue, and whether it is new: equal ones that wait are one."""
        key = (*job.path, *sent.items())
        equal = self._equal.get(key)
        if equal is not None and equal.is_waiting:
            return equal, False
        slug = job.spec.slug
        nth = self._made[slug] = self._made.get(slug, 0) + 1
        item = Item(
            id=next(self._ids),
            slug=slug,
            branch=job.path[-1].replace("%2F", "/") if job.spec.branches else sent.get("BRANCH", "main"),
            nth=nth,
            created_at=at,
            job=job,
            sent=sent,
            visible_at=self.seen_at(at, slug, nth),
        )
        self.items[item.id] = self.waiting[item.id] = self._equal[key] = item
        self.accept(at, item, stuck=stuck)
        return item, True
