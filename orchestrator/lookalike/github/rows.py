"""The rows of a GitHub."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.github.settings import RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object
from orchestrator.lookalike.kit.life import Stage, Words
from orchestrator.lookalike.kit.rows import Row, Rows

if TYPE_CHECKING:
    from orchestrator.lookalike.github.apps import Apps

FIRST_RUN, FIRST_JOB, FIRST_REPO, FIRST_WORKFLOW = 30_792_680_906, 58_000_000_001, 4711, 7001
UNRUN = ("startup_failure", "skipped")
OUTCOMES = (("failure", "failed"), ("cancelled", "canceled"), *((word, word) for word in UNRUN))
STATUS = {Stage.QUEUED: "queued", Stage.RUNNING: "in_progress", Stage.OVER: "completed"}


class Repo(Struct, eq=False):
    """A repository with its workflows, and its runs in the order of making."""

    id: int
    slug: str
    spec: RepoSpec
    default_branch: str
    branches: dict[str, str]  # with the commit at the head
    workflows: dict[str, int]  # file names with their ids
    runs: list[Run] = field(default_factory=list)


class Run(Row, eq=False, kw_only=True):
    """A run of a workflow; `sent` is what came with it."""

    told = ("id", "workflow", "event", "branch", "sent", "status", "outcome", "attempt")

    id: int
    repo: Repo
    workflow: str
    event: str
    title: str
    sent: Object
    marked: str | None

    @property
    def node(self) -> str:
        """Its id for GraphQL."""
        return f"WFR_kwL{self.id}"

    @property
    def status(self) -> str:
        """GitHub's word for how far it has come."""
        return STATUS[self.stage]


class Tables(Rows[Settings]):
    """Repositories by name, runs by id."""

    apps: Apps
    words = Words("success", "failure", "cancelled", UNRUN)
    outcomes = OUTCOMES

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        super().__init__(settings, chance, events, counters)
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, Repo] = {}
        self.runs: dict[int, Run] = {}
        self._ids = count(FIRST_RUN, 7)
        for number, spec in enumerate(settings.repos):
            self._add(number, spec)

    def _add(self, number: int, spec: RepoSpec) -> None:
        slug, default = spec.moved_to or spec.slug, spec.default_branch or self.settings.default_branch
        names = dict.fromkeys((default, *(spec.branches or self.settings.branches)))
        heads = {name: self.chance.digest("sha", slug, name).hex() for name in names}
        workflows = {name: FIRST_WORKFLOW + 10 * number + n for n, name in enumerate(spec.workflows)}
        repo = self.repos[slug.lower()] = Repo(FIRST_REPO + number, slug, spec, default, heads, workflows)
        if spec.moved_to is not None:
            self.moved[spec.slug.lower()] = repo

    def start(self, at: float, repo: Repo, workflow: str, event: str, branch: str, sent: Object, *, stuck: bool) -> Run:
        """A new run; `stuck`: it stays queued for ever."""
        marked = next((text for text in sent.values() if isinstance(text, str) and marker_in(text)), None)
        shown = marked or str(sent.get("marker") or "")  # as the `run-name` says
        nth = len(repo.runs) + 1
        run = Run(
            id=next(self._ids),
            slug=repo.slug,
            branch=branch,
            nth=nth,
            created_at=at,
            repo=repo,
            workflow=workflow,
            event=event,
            title=shown if shown and repo.spec.marker else workflow.rpartition(".")[0],
            visible_at=self.seen_at(at, repo.slug, nth),
            sent=sent,
            marked=marked,
        )
        repo.runs.append(run)
        self.runs[run.id] = run
        self.accept(at, run, stuck=stuck)
        return run
