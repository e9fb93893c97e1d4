"""The GitHub provider: turns values into calls and answers into values; it neither waits nor counts."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed, NotShown, NotTriggered, Rejected, UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import (
    ACCOUNT,
    Account,
    Build,
    BuildState,
    Interval,
    Json,
    Request,
    Scope,
    Target,
    Trigger,
)
from orchestrator.core.secrets import Secret, checked
from orchestrator.core.secrets import Secrets as Stored
from orchestrator.providers.github import app, wire
from orchestrator.providers.github.declaration import AUTO, NONE, is_app
from orchestrator.providers.github.discovery import MOST_PAGES, listings, meant, reached
from orchestrator.providers.github.follow import Poll
from orchestrator.providers.github.observe import build_of, may_be
from orchestrator.providers.github.version import spoken
from orchestrator.providers.kit.answers import (
    instant,
    is_refusal,
    lengths,
    mapping,
    not_welcome,
    number,
    quoted,
    read,
    rows,
    text,
)
from orchestrator.providers.kit.forge import Forge, renamed, repo_path, run_path
from orchestrator.providers.kit.listings import Listing, Query, Search, entries_of, walk
from orchestrator.providers.kit.workflow import LINES, Workflow, read_workflow
from orchestrator.providers.port import Followed, JobLog, Observation, Principal, RepoFacts, Rights, Secrets

BLAMED = ("failure", "timed_out", "startup_failure")  # conclusions of jobs for which a run failed
MOST_RUN_PAGES = 50  # of jobs, or runs in the time of a doubt
WIDER = 120.0  # seconds before a lost call from which rows are read: clocks differ, and rows show whole seconds
IN_DOUBT = "a lost answer will stay in doubt"
ENTERPRISE = "/api/v3"  # with which the URL of an Enterprise Server ends
RETURNS_IDS = (3, 21)  # from which version on an Enterprise Server tells the id of the run


class GitHub(Forge):
    """One account on GitHub; an Enterprise Server is known by its URL, and has GraphQL beside it."""

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._url = account.url.rstrip("/")
        send = spoken(send)
        super().__init__(send)
        lead, is_enterprise = urlsplit(self._url).path.removesuffix(ENTERPRISE), self._url.endswith(ENTERPRISE)
        self._is_old: bool | None = None if is_enterprise else False
        self._app = mapping(account.settings.get("app")) if account.token is None else {}
        graphql = (f"{lead}/api/graphql", True) if is_enterprise else ("/graphql", False)
        self._poll = Poll(send, graphql, by_owner=is_app(account))
        self._canceled: set[str] = set()
        self._moved: set[str] = set()  # repositories of which a redirect showed that they are called otherwise now

    async def prepare(self, target: Target) -> Json:
        """The default branch where it is needed, the input that carries the marker, and whether the server is old.

        What the repository is called now, too: a file that is read without a redirect stands under that name.
        """
        found: dict[str, Json] = {"v": 1}
        is_event, is_read = "event" in target.request, False
        facts = await self.ready(target.repo) if is_event or target.branch is None else None
        if facts is not None and not is_event:
            found["ref"] = facts.default_branch
        if not is_event and target.marked and target.request.get("marker_input", AUTO) == AUTO:
            workflow = await self._workflow(target, target.branch or found.get("ref"))
            found["marker"] = None if workflow is None else workflow.carrier()
            is_read = workflow is not None and target.repo.lower() not in self._moved
        if not is_event and await self._tells_no_ids(target.repo):
            found["old"] = True
        if facts is None and not is_read:
            facts = await self.ready(target.repo)
        return found | (renamed(target, facts) if facts is not None else {})

    async def trigger(self, trigger: Trigger) -> Request:
        answer = await self._send(wire.trigger_call(trigger))
        return wire.read_receipt(trigger, answer)

    def carries(self, trigger: Trigger) -> bool:
        return wire.marker_input(trigger) is not None

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """Finds the run of a lost answer again, by the marker in its title.

        Where no title is known to show it, a run of that time, event, workflow and branch may be ours.
        """
        target, since = trigger.target, asked.start - WIDER
        if trigger.prepared is None:  # taken over from a journal: whether its marker was sent is not known yet
            try:
                trigger = replace(trigger, prepared=await self.prepare(target))
            except Rejected as error:
                raise NotShown(error.reason) from error
        wanted = replace(trigger, is_shown=trigger.is_shown and wire.marker_input(trigger) is not None)
        unmarked = "whose title is not shown yet"
        search = Search[Mapping[str, Any]](wanted, known, since, unmarked, lambda row: build_of(row, None)[0])
        until, ref = asked.end + target.timeouts.settle, mapping(trigger.prepared).get("ref")

        def take(entries: list[Mapping[str, Any]]) -> bool:
            for row in entries:
                _add(row, search, trigger, until, ref)
            made = instant(entries[-1].get("created_at")) if entries else None
            return made is not None and made < since

        await walk(self._send, wire.runs(target, "find", MOST_RUN_PAGES), take)
        ours = {int(id_): row for id_, row in search.found().items()}
        if not ours:
            return None
        first, *more = sorted(ours)
        handle: dict[str, Json] = {"v": 1}
        if more or "event" in target.request:  # had there been several, all of them are followed
            handle.update(runs=[first, *more], sent=instant(ours[first].get("created_at")))
            handle.update({"open": True} if "event" in target.request else {})
        return Request(str(first), handle, text(ours[first].get("html_url")))

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        return await self._poll(followed)

    async def cancel(self, target: Target, build: Build) -> bool:
        """Asks once; when it is asked again, since that did not help, by force."""
        how = "force-cancel" if build.id in self._canceled else "cancel"
        call = wire.write(f"{run_path(target.repo, build.id)}/{how}", target.repo)
        answer = await read(self._send, call)
        if answer.status not in (202, 409):
            raise wire.refusal(answer) if 400 <= answer.status < 500 else wire.read_failed(answer, call.path)
        self._canceled.add(build.id)
        return answer.status == 202

    async def restart(self, target: Target, build: Build) -> None:
        """Starts what failed of the run again, under its id; that it runs already is what was wanted."""
        what = "rerun-failed-jobs" if build.state in (BuildState.FAILED, BuildState.CANCELED) else "rerun"
        answer = await self._send(wire.write(f"{run_path(target.repo, build.id)}/{what}", target.repo, None, "trigger"))
        said = wire.message(answer).lower()
        if answer.status == 201 or (answer.status == 403 and "already running" in said):
            return
        if answer.status == 403 and ("cannot be retried" in said or "cannot be rerun" in said):
            raise Rejected("not_restarted", f"GitHub lets the run not be started again ({said})")
        raise wire.refusal(answer) if is_refusal(answer) else InDoubt(f"HTTP {answer.status}")

    async def whoami(self) -> Principal | None:
        """Whose token it is; None for a token of a job, or of an App that somebody else asked for: it has no user."""
        page = "/app" if self._app else "/user"
        answer = await read(self._send, wire.get(page))
        body, host = mapping(answer.body), urlsplit(self._url).netloc
        if self._app and answer.status == 200 and number(body.get("id")) is not None and text(body.get("slug")):
            whose = quoted(mapping(body.get("owner")).get("login"), 100)
            return Principal(f"{host}/app/{body['id']}", f"App {quoted(body['slug'], 100)}", whose and f"of {whose}")
        if self._app and answer.status == 401:
            raise app.refused(answer, page, ACCOUNT)
        if answer.status == 200 and number(body.get("id")) is not None and text(body.get("login")):
            return Principal(f"{host}/user/{body['id']}", quoted(body["login"], 100), quoted(body.get("name"), 100))
        if answer.status == 403 and "not accessible by" in wire.message(answer).lower():
            return None
        refusal = wire.limited(answer) or not_welcome(answer, self._url, "GitHub")
        raise refusal or wire.read_failed(answer, page)

    async def rights(self, targets: Sequence[Target]) -> Rights | None:
        """What the App's installation for the owner may do; of a token GitHub does not tell that."""
        if not self._app:
            return None
        wanted = {"actions": "write"} if any("event" not in one.request for one in targets) else {}
        wanted.update({"contents": "write"} if any("event" in one.request for one in targets) else {"contents": "read"})
        found = await app.installation(self._send, Scope("owner", targets[0].owner.lower()), self._app)
        return app.rights_of(found, wanted)

    async def discover(self, owner: str) -> list[RepoFacts]:
        if not self._app:
            return await super().discover(owner)
        return await self._owned(owner, reached(owner))

    async def narrowed(self, owner: str, keys: Mapping[str, Sequence[str]]) -> list[RepoFacts]:
        lots = [await self._owned(owner, one) for one in listings(owner, keys)]
        return meant(lots or [await self.discover(owner)], keys)

    def requests_page(self, target: Target) -> str:
        parts = urlsplit(self._url)
        web = f"{parts.scheme}://{parts.netloc.removeprefix('api.')}{parts.path.removesuffix(ENTERPRISE)}"
        return f"{web}/{quote(target.repo, safe='/')}/actions"

    async def durations(self, target: Target, at_most: int) -> list[float]:
        """From making to end, of the last runs of the workflow, on the target's branch where it has one."""
        said, lead = target.request, f"{repo_path(target.repo)}/actions"
        query: Query = (("status", "completed"), ("per_page", str(min(at_most, 100))))
        if "event" in said:
            path, query = f"{lead}/runs", (*query, ("event", "repository_dispatch"))
        else:
            path = f"{lead}/workflows/{quote(str(said.get('workflow')), safe='')}/runs"
        if target.branch is not None:
            query = (*query, ("branch", target.branch.removeprefix("refs/heads/")))
        answer = await read(self._send, wire.get(path, target.repo, query))
        found = mapping(answer.body).get("workflow_runs")
        if answer.status != 200 or not isinstance(found, list):
            error = wire.read_failed(answer, path)
            raise Rejected("not_found", error.cause) if isinstance(error, NotShown) else error
        runs = [row for row in rows(found)[:at_most] if row.get("conclusion") in ("success", "failure")]
        return lengths(runs, "run_started_at", "updated_at")

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        """The log of the first job that failed; it is served by another host, which gets no token."""
        call = wire.get(f"{run_path(target.repo, build.id)}/jobs", target.repo)
        jobs = await entries_of(self._send, wire.listing(call, "jobs", MOST_RUN_PAGES))
        job: Mapping[str, Any] = next((job for job in jobs if job.get("conclusion") in BLAMED), {})
        if (id_ := number(job.get("id"))) is None:
            return None
        path = f"{repo_path(target.repo)}/actions/jobs/{id_}/logs"
        return await self._log(replace(wire.get(path, target.repo), leaves=True), job, "html_url", at_most)

    async def advise(self, target: Target) -> tuple[str, str] | None:
        """What the target's workflow lacks: an input that is sent, or one that its runs show as their marker."""
        wished = target.request.get("marker_input", AUTO) if target.marked else NONE
        is_open = wished == AUTO
        if "event" in target.request:
            return None
        ref = target.branch or (await self.ready(target.repo)).default_branch
        workflow = await self._workflow(target, ref)
        name = quoted(str(target.request.get("workflow")), 100)
        if workflow is None:
            remedy = "give the token Contents: read"
            return (f"the file of workflow {name} cannot be read: {IN_DOUBT}", remedy) if is_open else None
        said = {**mapping(target.request.get("inputs")), **mapping(target.request.get("env"))}
        carrier = workflow.carrier() if is_open else wished
        said |= {} if carrier in (None, NONE) else {str(carrier): ""}
        if (problem := workflow.problem(said)) is not None:
            return f"workflow {name} {problem[0]}: GitHub will refuse the dispatch", problem[1]
        if carrier is not None:
            return None
        return f"workflow {name} shows no marker: {IN_DOUBT}", f"add these lines to it:\n{LINES}"

    async def _workflow(self, target: Target, ref: Json) -> Workflow | None:
        """The target's workflow as its ref has it; None where its file cannot be read."""
        name, lead = str(target.request.get("workflow")), repo_path(target.repo)
        path: object = f".github/workflows/{name}"
        if name.isdigit():
            path = (await self._there(f"{lead}/actions/workflows/{name}", target.repo)).get("path")
        query = (("ref", str(ref)),) if ref else ()
        where = f"{lead}/contents/{quote(str(path), safe='/')}"
        return read_workflow(await self._there(where, target.repo, query))

    async def _there(self, path: str, repo: str, query: Query = ()) -> Mapping[str, Any]:
        """What is there; empty where it is not, or not for this token."""
        answer = await read(self._send, wire.get(path, repo, query))
        if answer.is_moved:
            self._moved.add(repo.lower())
        error = wire.read_failed(answer, path)
        is_told = answer.status in (200, 403, 404) and isinstance(answer.body, Mapping)
        if not is_told or (answer.status != 200 and not isinstance(error, LookFailed)):
            raise error
        return mapping(answer.body) if answer.status == 200 else {}

    async def _tells_no_ids(self, repo: str) -> bool:
        """Whether it is an Enterprise Server that does not know how to tell the id of a run; asked once."""
        if self._is_old is None:
            answer = await read(self._send, wire.get("/meta", repo))
            version = text(mapping(answer.body).get("installed_version"), 40)
            if answer.status != 200 or not mapping(answer.body):
                raise wire.read_failed(answer, "/meta")
            numbers = tuple(int(part) for part in (version or "").split(".")[:2] if part.isascii() and part.isdigit())
            self._is_old = bool(numbers) and numbers < RETURNS_IDS
        return self._is_old

    def _get(self, path: str, repo: str | None = None) -> Call:
        return wire.get(path, repo)

    def _all_of(self, call: Call) -> Listing[Any]:
        return wire.listing(call, None, MOST_PAGES)

    def _failed(self, answer: Answer, path: str) -> NotTriggered | LookFailed:
        return wire.read_failed(answer, path)


def _add(row: Mapping[str, Any], search: Search[Mapping[str, Any]], trigger: Trigger, until: float, ref: Json) -> None:
    """Hands a row to the search, unless it cannot be the trigger's."""
    id_, shown, made = number(row.get("id")), wire.shown_in(row), instant(row.get("created_at"))
    whose = mapping(row.get("repository")).get("full_name", trigger.target.repo)
    if not isinstance(whose, str):
        raise InDoubt("a row of the listing shows no repository, so that the listing proves nothing")
    is_marked = shown is not None and str(trigger.marker) in shown
    is_other = (made is not None and made > until) or not may_be(trigger.target, trigger.marker, row, ref)
    if is_marked or id_ is None or not is_other:
        search.add(None if id_ is None else str(id_), shown, made, row)


def stored_token(url: str, environ: Mapping[str, str], home: Path) -> Secret | None:
    """`GITHUB_TOKEN`, else what `gh auth token` prints for the host of `url`; None where there is neither."""
    if environ.get("GITHUB_TOKEN"):
        return Secret(checked(environ["GITHUB_TOKEN"], "env:GITHUB_TOKEN"))
    host = (urlsplit(url).hostname or "").removeprefix("api.")
    try:
        return Stored(environ, home, home).resolve(f"command:gh auth token --hostname {shlex.quote(host)}")
    except UsageError:  # there is no gh, or it knows no token: the caller tells where one may stand
        return None
