"""The rows of a Gitea or Forgejo."""

from __future__ import annotations

from itertools import count

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.gitea.settings import RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object
from orchestrator.lookalike.kit.life import Stage, Words
from orchestrator.lookalike.kit.rows import Row, Rows

FIRST_RUN, FIRST_REPO = 4001, 11
OUTCOMES = (("failure", "failed"), ("cancelled", "canceled"), ("skipped", "skipped"))


class Repo(Struct, eq=False):
    """A repository with its runs, in the order of making; `branches` with the commit at the head of each."""

    id: int
    slug: str
    spec: RepoSpec
    default_branch: str
    branches: dict[str, str]
    runs: list[Run] = field(default_factory=list)


class Run(Row, eq=False, kw_only=True):
    """A run of a workflow; `sent` is what came with it and is declared, `marked` is there for the counters alone."""

    told = ("id", "workflow", "branch", "sent", "outcome", "attempt")

    id: int
    repo: Repo
    workflow: str
    sent: Object
    marked: str | None = None


class Tables(Rows[Settings]):
    """Repositories by name, runs by id."""

    words = Words("success", "failure", "cancelled", ("skipped",))
    outcomes = OUTCOMES

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        super().__init__(settings, chance, events, counters)
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, Repo] = {}
        self.runs: dict[int, Run] = {}
        self._ids = count(FIRST_RUN, 3)
        for number, spec in enumerate(settings.repos):
            self._add(number, spec)

    def _add(self, number: int, spec: RepoSpec) -> None:
        slug, default = spec.moved_to or spec.slug, spec.default_branch or self.settings.default_branch
        names = dict.fromkeys((default, *(spec.branches or self.settings.branches)))
        heads = {name: self.chance.digest("sha", slug, name).hex() for name in names}
        repo = self.repos[slug.lower()] = Repo(FIRST_REPO + number, slug, spec, default, heads)
        if spec.moved_to is not None:
            self.moved[spec.slug.lower()] = repo

    def start(self, at: float, repo: Repo, workflow: str, branch: str, sent: Object, *, stuck: bool) -> Run:
        """A new run, which ends what an earlier dispatch of the same workflow and branch started."""
        for earlier in repo.runs if self.settings.cancels else ():
            if earlier.stage is not Stage.OVER and (earlier.workflow, earlier.branch) == (workflow, branch):
                self.life.cancel(at, earlier)
        nth = len(repo.runs) + 1
        run = Run(
            id=next(self._ids),
            slug=repo.slug,
            branch=branch,
            nth=nth,
            created_at=at,
            repo=repo,
            workflow=workflow,
            sent={name: value for name, value in sent.items() if name in repo.spec.inputs},
            visible_at=self.seen_at(at, repo.slug, nth),
        )
        repo.runs.append(run)
        self.runs[run.id] = run
        self.accept(at, run, stuck=stuck)
        return run
