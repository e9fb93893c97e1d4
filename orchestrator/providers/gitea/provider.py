"""The providers of Gitea and Forgejo: values into calls, answers into values; they neither wait nor count.

No text of a trigger is shown by its run. So a run is known by the id in the receipt, a lost answer is settled only by a
listing in which no run could be ours, and what an older server accepted without an id is the one run that it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed, NotShown, NotTriggered, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Interval, Json, Request, Target, Trigger
from orchestrator.providers.gitea import wire
from orchestrator.providers.gitea.declaration import DECLARATION, FORGEJO
from orchestrator.providers.gitea.wire import Run, build_of, may_be
from orchestrator.providers.kit.answers import (
    is_refusal,
    mapping,
    not_welcome,
    number,
    other_question,
    quoted,
    read,
    text,
)
from orchestrator.providers.kit.forge import Forge, renamed, repo_path, run_path
from orchestrator.providers.kit.listings import Listing, Search, entries_of, walk
from orchestrator.providers.kit.rounds import polled
from orchestrator.providers.kit.workflow import Workflow, read_workflow
from orchestrator.providers.port import Declaration, Followed, JobLog, Observation, Principal, Secrets

MOST_PAGES, MOST_RUN_PAGES = 4000, 200  # of 50 repositories or branches; of runs in the time of a doubt
WIDER = 120.0  # seconds before a lost call from which runs are read: clocks differ, and times are whole seconds
CLOCKS = 2.0  # seconds by which the server's own clocks may differ
SLOWEST = 30.0  # seconds that a dispatch takes at most from its run to its answer: then the call is given up


class Forgejo(Forge):
    """One account on Forgejo."""

    declared: Declaration = FORGEJO
    folders: tuple[str, ...] = (".forgejo", ".gitea", ".github")  # that may hold its workflows; the first counts
    too_old = "a Forgejo before 16"
    tags = "tags"

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        super().__init__(send)
        self._root = account.url.rstrip("/")
        self._target_of: dict[int, str] = {}  # by run that was accepted without an id

    async def prepare(self, target: Target) -> Json:
        """What the repository is called now, and the default branch where the target names none: one is wanted."""
        facts = await self.ready(target.repo)
        return {"v": 1, **({} if target.branch else {"ref": facts.default_branch}), **renamed(target, facts)}

    async def trigger(self, trigger: Trigger) -> Request:
        answer = await self._send(wire.trigger_call(trigger))
        return wire.read_receipt(trigger, answer, self.declared)

    def carries(self, trigger: Trigger) -> bool:
        return False  # neither of them shows anything of a dispatch that could

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """Nothing where no run of that time could be the trigger's; never a run, as none shows whose it is."""
        target, since, until = trigger.target, asked.start - WIDER, asked.end + trigger.target.timeouts.settle
        search = Search[Run](
            replace(trigger, is_shown=True),
            known,
            since,
            "that carry no marker",
            lambda run: build_of(run, self.declared)[0],
        )

        def take(runs: list[Run]) -> bool:
            for run in runs:
                is_later = run.made is not None and run.made > until
                if not is_later and may_be(target, run, mapping(trigger.prepared).get("ref")):
                    search.add(str(run.id), None, run.seen, run)
            return bool(runs) and runs[-1].seen is not None and runs[-1].seen < since

        await self._walk(target, "find", take)
        search.found()
        return None

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        return await polled(
            followed, lambda one: self._seek(one) if one.request.id == wire.ACCEPTED else self._look(one)
        )

    async def cancel(self, target: Target, build: Build) -> bool:
        path = f"{run_path(target.repo, build.id)}/cancel"
        answer = await read(self._send, wire.write(path, target.repo))
        if answer.status in (200, 202, 204):
            return True
        if answer.status == 409:  # it has ended
            return False
        if answer.status in (404, 405):
            raise Rejected("not_canceled", f"there is no such run, or it is {self.too_old}: {build.url}")
        raise wire.refusal(answer, self.declared) if is_refusal(answer) else self._failed(answer, path)

    async def whoami(self) -> Principal | None:
        """Whose token it is; None for one that may not read that."""
        answer = await read(self._send, self._get("/user"))
        body, host = mapping(answer.body), urlsplit(self._root).netloc
        if answer.status == 200 and number(body.get("id")) is not None and text(body.get("login")):
            return Principal(
                f"{host}/user/{body['id']}", quoted(body["login"], 100), quoted(body.get("full_name"), 100)
            )
        if wire.lacks_scope(answer):
            return None
        raise not_welcome(answer, self._root, self.declared.title) or self._failed(answer, "/user")

    def requests_page(self, target: Target) -> str:
        return f"{self._root}/{quote(target.repo, safe='/')}/actions"

    async def advise(self, target: Target) -> tuple[str, str] | None:
        """Which of the inputs that are sent would be dropped."""
        ref = target.branch or (await self.ready(target.repo)).default_branch or ""
        said = {**mapping(target.request.get("inputs")), **mapping(target.request.get("env"))}
        workflow = await self._workflow(target, wire.bare(ref)) if said else Workflow()
        name = quoted(str(target.request.get("workflow")), 100)
        if workflow is None:
            return f"no workflow {name} can be read on {quoted(ref, 60)}", "check its name, and the token's rights"
        if unknown := sorted(name for name in said if name not in workflow.inputs):
            told = f"workflow {name} does not declare {', '.join(unknown)[:200]}"
            return (
                f"{told}: {self.declared.title} drops them without a word",
                "declare them below `on: workflow_dispatch: inputs:`, or leave them out",
            )
        return None

    async def _look(self, one: Followed) -> Observation:
        """The run of a request whose id is known."""
        path = run_path(one.target.repo, one.request.id)
        answer = await read(self._send, wire.get(path, one.target.repo, "poll"))
        if answer.status == 404:
            nothing = f"{self.declared.title} shows no run {one.request.id[:40]!r}, or not to this token"
            return Observation(warning=nothing)
        run = wire.run_of(mapping(answer.body), self.declared) if answer.status == 200 else None
        if run is None:
            raise self._failed(answer, path)
        if str(run.id) != one.request.id:
            raise LookFailed(f"{path}: {other_question(answer, 'it shows another run').cause}")
        build, warning = build_of(run, self.declared)
        return Observation((build,), warning=warning)

    async def _seek(self, one: Followed) -> Observation:
        """The run of a request that was accepted without an id: it was there when the answer came."""
        sent = one.request.handle.get("sent")
        at = sent if isinstance(sent, int | float) else one.since
        since = at - SLOWEST - CLOCKS
        found: dict[int, Run] = {}

        def take(runs: list[Run]) -> bool:
            for run in runs:
                is_then = not (run.made or at) > at + CLOCKS and not (run.seen or at) < since
                is_free = self._target_of.get(run.id, one.target.id) == one.target.id
                if is_then and is_free and may_be(one.target, run, None):
                    found[run.id] = run
            return bool(runs) and runs[-1].seen is not None and runs[-1].seen < since

        await self._walk(one.target, "poll", take)
        if len(found) != 1:
            told = f"{len(found)} runs may be the one that was accepted, and this server tells no id"
            return Observation(warning=told if found else None)
        [run] = found.values()
        self._target_of[run.id] = one.target.id
        build, warning = build_of(run, self.declared)
        return Observation((build,), request=Request(str(run.id), {"v": 1}, run.url), warning=warning)

    async def _walk(self, target: Target, purpose: str, take: Callable[[list[Run]], bool]) -> None:
        """Hands all runs of a repository to `take`, newest first, until it has enough."""
        call = wire.get(f"{repo_path(target.repo)}/actions/runs", target.repo, purpose)

        def read_all(rows: list[Mapping[str, Any]]) -> bool:
            runs = [wire.run_of(row, self.declared) for row in rows]
            if None in runs:
                raise InDoubt("a row of the listing shows no run, so that the listing proves nothing")
            return take([run for run in runs if run is not None])

        await walk(self._send, wire.listing(call, "workflow_runs", MOST_RUN_PAGES, self.declared), read_all)

    async def _workflow(self, target: Target, ref: str) -> Workflow | None:
        """The target's workflow as its ref has it; None where its file cannot be read."""
        name = quote(str(target.request.get("workflow")), safe="")
        for folder in self.folders:
            path = f"{repo_path(target.repo)}/contents/{folder}/workflows/{name}"
            answer = await read(self._send, replace(wire.get(path, target.repo), query=(("ref", ref),)))
            if answer.status == 200:
                return read_workflow(mapping(answer.body))
            if not isinstance(error := self._failed(answer, path), NotShown):
                raise error
        return None

    def _get(self, path: str, repo: str | None = None) -> Call:
        return wire.get(path, repo)

    def _all_of(self, call: Call) -> Listing[Any]:
        return wire.listing(call, None, MOST_PAGES, self.declared)

    def _failed(self, answer: Answer, path: str) -> NotTriggered | LookFailed:
        return wire.read_failed(answer, path, self.declared)


class Gitea(Forgejo):
    """One account on Gitea, which can also start a run again, and show its logs."""

    declared = DECLARATION
    folders = (".gitea", ".github")
    too_old = "a Gitea before 1.28"

    async def restart(self, target: Target, build: Build) -> None:
        """Starts what failed of the run again, under its id; that it runs already is what was wanted."""
        what = "rerun-failed-jobs" if build.state in (BuildState.FAILED, BuildState.CANCELED) else "rerun"
        call = wire.write(f"{run_path(target.repo, build.id)}/{what}", target.repo, None, "trigger")
        answer = await self._send(call)
        said = quoted(mapping(answer.body).get("message"))
        if answer.status in (200, 201, 202, 204) or (is_refusal(answer) and "not done" in said):
            return
        if answer.status in (400, 404, 405, 409, 422):
            told = f"({said})" if said else f"(HTTP {answer.status})"
            raise Rejected("not_restarted", f"Gitea does not start the run again, or is too old to {told}")
        raise wire.refusal(answer, self.declared) if is_refusal(answer) else InDoubt(f"HTTP {answer.status}")

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        """The log of the first job that failed."""
        call = wire.get(f"{run_path(target.repo, build.id)}/jobs", target.repo)
        jobs = await entries_of(self._send, wire.listing(call, "jobs", MOST_RUN_PAGES, self.declared))
        job: Mapping[str, Any] = next((job for job in jobs if job.get("conclusion") == "failure"), {})
        if (id_ := number(job.get("id"))) is None:
            return None
        path = f"{repo_path(target.repo)}/actions/jobs/{id_}/logs"
        return await self._log(wire.get(path, target.repo), job, "html_url", at_most)
