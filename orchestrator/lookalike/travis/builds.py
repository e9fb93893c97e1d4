"""From request to finished build: what happens by itself as time goes by."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.lookalike.kit import EventQueue
from orchestrator.lookalike.kit.counters import Counters
from orchestrator.lookalike.kit.faults import Chance
from orchestrator.lookalike.travis.rows import ACTIVE, Branch, Build, Commit, Job, Owner, Request, Tables
from orchestrator.lookalike.travis.settings import Settings, Shares

_WORD = r"(?:ci|travis|travis ci|travis-ci|travisci)"
SKIP = re.compile(rf"\[(?:skip {_WORD}|{_WORD} skip)\]", re.IGNORECASE)  # (reference 13).
MERGE_MODES = frozenset({"replace", "merge", "deep_merge", "deep_merge_append", "deep_merge_prepend"})
SEVEREST_FIRST = ("canceled", "errored", "failed")  # over required jobs (reference 7.2).
MISHAPS = ("rejected", "rejected_blind", "never_processed", "no_result", "config_error")
EXCLUDED = "Branch excluded per configuration: "
SKIPPED = "Build skipped via commit message"


class Builds:
    """Processes requests, runs their builds, cancels and restarts them."""

    def __init__(self, settings: Settings, chance: Chance, events: EventQueue, counters: Counters) -> None:
        self.settings = settings
        self.chance = chance
        self.events = events
        self.counters = counters
        self.tables = Tables(settings, chance)
        shares = settings.shares
        self._mishaps = _above_zero(shares, MISHAPS)
        self._outcomes = _above_zero(shares, SEVEREST_FIRST[::-1])

    def expect(self, request: Request) -> None:
        """A new request: it is processed after a while."""
        delay = self.chance.between(self.settings.process, "process", request.repo.slug, request.branch, request.nth)
        self.events.add(request.created_at + delay, self._process, request)

    def cancel(self, at: float, build: Build) -> None:
        """Ends a build that has not ended."""
        if build.state not in ACTIVE:
            return
        for job in build.jobs:
            self._cancel_job(at, job)
        self._end(at, build, "canceled")
        self._fill(at, build.repo.owner)

    def cancel_job(self, at: float, job: Job) -> None:
        """Ends a job that has not ended, and with the last one its build."""
        if job.state in ACTIVE:
            self._cancel_job(at, job)
            self._end_if_done(at, job.build)
            self._fill(at, job.build.repo.owner)

    def restart(self, at: float, build: Build) -> None:
        """Lets a build that has ended run again, under its id and number."""
        if build.state not in ACTIVE:
            self._begin_again(at, build, build.jobs)
            self._wait(at, build, build.jobs)

    def restart_job(self, at: float, job: Job) -> None:
        """Lets a job that has ended run again, and with it its build."""
        if job.state in ACTIVE:
            return
        if job.build.state in ACTIVE:
            self._reset(at, job)
        else:
            self._begin_again(at, job.build, [job])
        self._wait(at, job.build, [job])

    def _begin_again(self, at: float, build: Build, jobs: Sequence[Job]) -> None:
        build.restarts += 1
        build.state, build.updated_at = "created", at
        build.started_at = build.finished_at = None
        build.outcome = self._outcome(build)
        for job in jobs:
            self._reset(at, job)

    def _process(self, at: float, request: Request) -> None:
        repo, branch = request.repo, request.repo.branches.get(request.branch)
        sha = request.wanted.get("sha")
        if branch is None and not self.settings.strict_branches:
            branch = repo.branches[request.branch] = Branch(repo, request.branch)
        if branch is None or (sha is not None and not re.fullmatch(r"[0-9a-f]{7,40}", str(sha))):
            request.state = "started"  # no commit, no result, for ever (reference 5.4).
            return
        fate = self.chance.first_below(self._mishaps, "request", repo.slug, request.branch, request.nth)
        if fate == "never_processed":
            return
        request.state = "finished"
        if fate != "rejected_blind":
            head = self.chance.digest("sha", repo.slug, request.branch).hex()
            text = request.marked or f"Last change on {request.branch}"
            of = head if sha is None else str(sha)
            request.commit = Commit(request.id + 50_000, repo, of, text, request.branch, at - 86_400)
        request.message = self._reason_to_reject(request, fate)
        if request.message is not None:
            request.result = "rejected"
            return
        request.result = None if fate == "no_result" else "approved"
        mode = str(request.wanted.get("merge_mode", "merge")).replace("-", "_")
        self._build(at, request, branch, broken=fate == "config_error" or mode not in MERGE_MODES)

    def _reason_to_reject(self, request: Request, fate: str | None) -> str | None:
        if request.repo.rejects is not None:
            return request.repo.rejects
        if SKIP.search(request.marked or ""):
            return SKIPPED
        return EXCLUDED + request.branch if fate in ("rejected", "rejected_blind") else None

    def _build(self, at: float, request: Request, branch: Branch, broken: bool) -> None:
        assert request.commit is not None, "only a request with a commit is approved"  # noqa: S101 - for the reader
        repo = request.repo
        previous = branch.last_build.state if branch.last_build is not None else None
        id_, number = next(self.tables.build_ids), len(repo.builds) + 1
        build = Build(id_, number, request, request.commit, at, at, previous)
        build.outcome = "errored" if broken else self._outcome(build)
        low, high = self.settings.jobs
        count = self.chance.between((low, high + 1), "jobs", repo.slug, request.branch, request.nth)
        for nth in range(1, int(count) + 1):
            self._job(at, build, nth)
        self.tables.builds[id_] = build
        request.builds.append(build)
        request.user.builds.append(build)
        repo.builds.append(build)
        if self.settings.auto_cancel:
            for other in list(repo.owner.active.values()):
                if (other.repo, other.commit.branch, other.state) == (repo, request.commit.branch, "created"):
                    self.cancel(at, other)
        branch.last_build = build
        if broken:
            for job in build.jobs:
                self._end_job(at, job, "errored")
            self._end(at, build, "errored")
        else:
            self._wait(at, build, build.jobs)

    def _job(self, at: float, build: Build, nth: int) -> None:
        share = self.settings.shares.allow_failure
        spare = share > 0 and nth > 1 and self.chance.roll("spare", build.repo.slug, build.number, nth) < share
        job = Job(next(self.tables.build_ids), f"{build.number}.{nth}", build, spare, at, at)
        self.tables.jobs[job.id] = job
        build.jobs.append(job)

    def _outcome(self, build: Build) -> str:
        request = build.request
        if self.settings.rehearsal.is_to_fail(request.repo.names, request.branch, build.restarts):
            return "failed"
        name = ("build", request.repo.slug, request.branch, request.nth, build.restarts)
        return self.chance.first_below(self._outcomes, *name) or "passed"

    def _reset(self, at: float, job: Job) -> None:
        job.attempt += 1
        job.state, job.updated_at, job.restarted_at = "created", at, at
        job.started_at = job.finished_at = None

    def _wait(self, at: float, build: Build, jobs: Sequence[Job]) -> None:
        owner = build.repo.owner
        owner.active[build.id] = build
        owner.waiting.extend((job, job.attempt) for job in jobs)
        self._fill(at, owner)

    def _fill(self, at: float, owner: Owner) -> None:
        while owner.waiting and owner.running < self.settings.concurrency:
            job, attempt = owner.waiting.popleft()
            if job.attempt == attempt:
                self._start(at, owner, job)

    def _start(self, at: float, owner: Owner, job: Job) -> None:
        build = job.build
        owner.running += 1
        job.state, job.started_at, job.updated_at = "started", at, at
        seconds = self._seconds(job)
        self.events.add(at + seconds, self._finish, job, job.attempt)
        if build.state == "created":
            build.state, build.started_at, build.updated_at = "started", at, at
            if build.outcome == "canceled":
                self.events.add(at + seconds / 2, self._cut_short, build, build.restarts)

    def _seconds(self, job: Job) -> float:
        build, said = job.build, self.settings.rehearsal.seconds(job.repo.names, job.build.request.branch)
        if said is not None:
            return said / self.settings.time_scale
        name = ("run", build.repo.slug, build.request.branch, build.request.nth, job.number, build.restarts)
        return self.chance.between(self.settings.build, *name)

    def _cut_short(self, at: float, build: Build, restarts: int) -> None:
        if build.restarts == restarts:
            self.cancel(at, build)

    def _finish(self, at: float, job: Job, attempt: int) -> None:
        if job.attempt != attempt:
            return
        build, owner = job.build, job.build.repo.owner
        owner.running -= 1
        self._end_job(at, job, self._verdict(job))
        self._end_if_done(at, build)
        self._fill(at, owner)

    def _end_if_done(self, at: float, build: Build) -> None:
        if all(each.state not in ACTIVE for each in build.jobs):
            required = {each.state for each in build.jobs if not each.allow_failure}
            self._end(at, build, next((state for state in SEVEREST_FIRST if state in required), "passed"))

    def _verdict(self, job: Job) -> str:
        build = job.build
        if job is build.jobs[0]:
            return build.outcome if build.outcome != "canceled" else "passed"
        flaky = job.allow_failure and self.chance.roll("flaky", build.repo.slug, job.number, build.restarts) < 0.5
        return "failed" if flaky else "passed"

    def _cancel_job(self, at: float, job: Job) -> None:
        if job.state in ACTIVE:
            job.build.repo.owner.running -= job.state == "started"
            self._end_job(at, job, "canceled")

    def _end_job(self, at: float, job: Job, state: str) -> None:
        job.attempt += 1
        job.state, job.finished_at, job.updated_at = state, at, at

    def _end(self, at: float, build: Build, state: str) -> None:
        build.state, build.finished_at, build.updated_at = state, at, at
        build.repo.owner.active.pop(build.id, None)


def _above_zero(shares: Shares, names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    return tuple((name, share) for name in names if (share := getattr(shares, name)) > 0)
