"""The rows of a GitHub, and what becomes of its runs by itself as time goes by."""

from __future__ import annotations

from collections import deque
from itertools import count

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.github.settings import RepoSpec, Settings
from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters, marker_in
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.kit.http import Object, exact

FIRST_RUN, FIRST_JOB, FIRST_REPO, FIRST_WORKFLOW = 30_792_680_906, 58_000_000_001, 4711, 7001
OUTCOMES = (("failure", "failed"), ("startup_failure",) * 2, ("cancelled", "canceled"), ("skipped",) * 2)


class Repo(Struct, eq=False):
    """A repository with its workflows, and its runs in the order of making."""

    id: int
    slug: str
    spec: RepoSpec
    default_branch: str
    branches: dict[str, str]  # with the commit at the head
    workflows: dict[str, int]  # file names with their ids
    runs: list[Run] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """The organization."""
        return self.slug.partition("/")[0]


class Run(Struct, eq=False):
    """A run of a workflow. `sent` is what came with it, `nth` its number in its repository."""

    id: int
    repo: Repo
    workflow: str
    event: str
    branch: str
    title: str
    created_at: float
    visible_at: float
    nth: int
    sent: Object
    marked: str | None
    began_at: float = 0.0  # its attempt
    updated_at: float = 0.0
    attempt: int = 1
    status: str = "queued"
    conclusion: str | None = None

    @property
    def slug(self) -> str:
        """`owner/name`."""
        return self.repo.slug

    @property
    def node(self) -> str:
        """Its id for GraphQL."""
        return f"WFR_kwL{self.id}"

    def as_json(self) -> Object:
        """It as it was sent, and what became of it."""
        return {
            "id": self.id,
            "repo": self.slug,
            "received_at": exact(self.created_at),
            "marker": marker_in(self.marked),
            "workflow": self.workflow,
            "event": self.event,
            "branch": self.branch,
            "sent": self.sent,
            "status": self.status,
            "conclusion": self.conclusion,
            "attempt": self.attempt,
        }


class Tables:
    """Repositories by name, runs by id, and the life of the runs."""

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        self.settings = settings
        self.chance = chance
        self.events = events
        self.counters = counters
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, Repo] = {}
        self.runs: dict[int, Run] = {}
        self._ids = count(FIRST_RUN, 7)
        self._waiting: dict[str, deque[tuple[Run, int]]] = {}
        self._running: dict[str, int] = {}
        self._outcomes = [(word, share) for word, name in OUTCOMES if (share := getattr(settings.shares, name)) > 0]
        for number, spec in enumerate(settings.repos):
            self._add(number, spec)

    def _add(self, number: int, spec: RepoSpec) -> None:
        slug, default = spec.moved_to or spec.slug, spec.default_branch or self.settings.default_branch
        names = dict.fromkeys((default, *(spec.branches or self.settings.branches)))
        heads = {name: self.chance.digest("sha", slug, name).hex() for name in names}
        workflows = {name: FIRST_WORKFLOW + 10 * number + n for n, name in enumerate(spec.workflows)}
        repo = Repo(FIRST_REPO + number, slug, spec, default, heads, workflows)
        self.repos[slug.lower()] = repo
        if spec.moved_to is not None:
            self.moved[spec.slug.lower()] = repo

    def start(self, at: float, repo: Repo, workflow: str, event: str, branch: str, sent: Object, *, stuck: bool) -> Run:
        """A new run; `stuck`: it stays queued for ever."""
        marked = next((text for text in sent.values() if isinstance(text, str) and marker_in(text)), None)
        title = marked if marked is not None and repo.spec.marker else ("ci" if workflow == "ci.yml" else workflow)
        nth = len(repo.runs) + 1
        visible = at + self.chance.between(self.settings.lag, "lag", repo.slug, nth)
        run = Run(next(self._ids), repo, workflow, event, branch, title, at, visible, nth, sent, marked)
        repo.runs.append(run)
        self.runs[run.id] = run
        self.counters.accepted.append(run)
        run.began_at = run.updated_at = at
        if not stuck:
            self._queue(at, run)
        return run

    def rerun(self, at: float, run: Run) -> None:
        """Starts a run that has ended again, under its id."""
        run.attempt += 1
        run.status, run.conclusion, run.began_at, run.updated_at = "queued", None, at, at
        self._queue(at, run)

    def cancel(self, at: float, run: Run, attempt: int) -> None:
        """Ends a run that has not ended."""
        if run.attempt == attempt and run.status != "completed":
            self._end(at, run, "cancelled")

    def _queue(self, at: float, run: Run) -> None:
        wait = self.chance.between(self.settings.queue, "queue", run.slug, run.nth, run.attempt)
        self.events.add(at + wait, self._wait, run, run.attempt)

    def _wait(self, at: float, run: Run, attempt: int) -> None:
        if run.attempt != attempt or run.status == "completed":
            return
        outcome = self._outcome(run)
        if outcome in ("startup_failure", "skipped"):
            self._end(at, run, outcome)
            return
        self._waiting.setdefault(run.repo.owner, deque()).append((run, attempt))
        self._fill(at, run.repo.owner)

    def _fill(self, at: float, owner: str) -> None:
        waiting = self._waiting.get(owner)
        while waiting and self._running.get(owner, 0) < self.settings.concurrency:
            run, attempt = waiting.popleft()
            if run.attempt == attempt and run.status != "completed":
                self._running[owner] = self._running.get(owner, 0) + 1
                run.status, run.updated_at = "in_progress", at
                self.events.add(at + self._seconds(run), self._finish, run, attempt)

    def _seconds(self, run: Run) -> float:
        said = self.settings.rehearsal.seconds((run.slug,), run.branch)
        if said is not None:
            return said / self.settings.time_scale
        return self.chance.between(self.settings.build, "run", run.slug, run.nth, run.attempt)

    def _outcome(self, run: Run) -> str:
        if self.settings.rehearsal.is_to_fail((run.slug,), run.branch, run.attempt - 1):
            return "failure"
        return self.chance.first_below(self._outcomes, "end", run.slug, run.nth, run.attempt) or "success"

    def _finish(self, at: float, run: Run, attempt: int) -> None:
        if run.attempt == attempt and run.status == "in_progress":
            self._end(at, run, self._outcome(run))

    def _end(self, at: float, run: Run, conclusion: str) -> None:
        owner = run.repo.owner
        if run.status == "in_progress":
            self._running[owner] -= 1
        run.status, run.conclusion, run.updated_at = "completed", conclusion, at
        self._fill(at, owner)
