"""The GitLab provider: turns values into calls and answers into values; it neither waits nor counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed, NotShown, NotTriggered, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Interval, Json, Request, Target, Trigger
from orchestrator.limits.headers import server_time
from orchestrator.providers.gitlab import wire
from orchestrator.providers.gitlab.declaration import API, CALLS, PROJECTS, READS, is_blind
from orchestrator.providers.gitlab.find import Find
from orchestrator.providers.gitlab.follow import Poll
from orchestrator.providers.kit.answers import (
    instant,
    is_refusal,
    lengths,
    mapping,
    not_welcome,
    number,
    quoted,
    read,
    text,
)
from orchestrator.providers.kit.forge import Forge, renamed, shaped
from orchestrator.providers.kit.listings import Listing, Query, entries_of
from orchestrator.providers.port import Followed, JobLog, Observation, Principal, Provider, RepoFacts, Secrets

MOST_PAGES = 2000  # of projects, or of branches
MOST_JOB_PAGES = 10
DEVELOPER, MAINTAINER, OWNER = 30, 40, 50  # access levels
MAY_SET = {"no_one_allowed": 1000, "owner": OWNER, "maintainer": MAINTAINER, "developer": DEVELOPER}
UNTOUCHED = 2.0  # seconds since a pipeline changed, after which the answer to a retry shows that it did nothing
GROUP: Query = (
    *(("include_subgroups", "true"), ("with_shared", "false"), ("archived", "false"), ("min_access_level", "30")),
    *(("pagination", "keyset"), ("order_by", "id"), ("sort", "asc")),
)


def made(account: Account, send: Send, secrets: Secrets) -> Provider:
    """The provider of an account: one with trigger tokens alone can do nothing but trigger."""
    return (Triggers if is_blind(account) else GitLab)(account, send, secrets)


class Triggers:
    """One account on GitLab, as far as it needs no token that may read."""

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._account = account
        self._url = account.url
        self._send = send
        self._secrets = secrets
        self._is_followed = account.settings.get("follow") != "none"

    async def prepare(self, target: Target) -> Json:
        return {"v": 1}

    async def trigger(self, trigger: Trigger) -> Request:
        own = self._trigger_token(trigger.target)
        answer = await self._send(wire.trigger_call(trigger, own, self._secrets))
        return wire.read_receipt(trigger, answer, self._url, by_trigger_token=own is not None)

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        raise InDoubt("there is no `token` with which it could be looked for")

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        taken = [(one.target.id, one.request) for one in followed]
        return {id_: Observation((Build(it.id, BuildState.ACCEPTED, "accepted", url=it.url),)) for id_, it in taken}

    def _trigger_token(self, target: Target) -> str | None:
        """The reference to the trigger token by which a target is triggered; None where it is by the account's."""
        said = target.request.get("trigger_token", self._account.settings.get("trigger_token"))
        return said if isinstance(said, str) else None

    def requests_page(self, target: Target) -> str:
        return f"{self._url}/{quote(target.repo, safe='/')}/-/pipelines"


class GitLab(Triggers, Forge):
    """One account on GitLab."""

    heads, tags = "repository/branches", "repository/tags"
    owners = f"{API}/groups/{{}}/projects", f"{API}/users/{{}}/projects"  # with all subgroups

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        super().__init__(account, send, secrets)
        self._scopes = ""  # of a token that may not trigger
        self._find = Find(send)
        self._poll = Poll(account, send, self._find)

    async def prepare(self, target: Target) -> Json:
        """The project's number, by which it is called from then on, its default branch, and what it is called now."""
        facts = await self.ready(target.repo)
        return {"v": 1, "project": int(facts.id), "ref": facts.default_branch, **renamed(target, facts)}

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        if trigger.prepared is None and trigger.target.branch is None:  # taken over from a journal
            try:
                trigger = replace(trigger, prepared=await self.prepare(trigger.target))
            except Rejected as error:
                raise self._hidden(trigger.target, error.reason) from error
        try:
            return await self._find(trigger, asked, known)
        except NotShown as error:
            raise self._hidden(trigger.target, error.cause) from error

    def _hidden(self, target: Target, cause: str) -> LookFailed:
        """The error where the project is not shown: whom a trigger token lets trigger need not be let look."""
        return (NotShown if self._trigger_token(target) is None else LookFailed)(cause)

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        return await (self._poll(followed) if self._is_followed else super().poll(followed))

    async def cancel(self, target: Target, build: Build) -> bool:
        """Asks once; GitLab says 200 whatever happens, so the state tells whether there was anything to cancel."""
        call = wire.write(f"{self._pipeline(target, build)}/cancel", target.repo)
        answer = await read(self._send, call)
        shown = mapping(answer.body)
        if answer.status == 200 and str(shown.get("id")) == build.id:
            state = wire.native_of(shown.get("status"))[1]
            return not build.state.is_final and (not state.is_final or state is BuildState.CANCELED)
        raise wire.refusal(answer, target) if is_refusal(answer) else wire.read_failed(answer, call.path)

    async def restart(self, target: Target, build: Build) -> None:
        """Starts again what failed or was canceled of the pipeline, under its id.

        GitLab says 201 where there is nothing of that kind, too: then the pipeline that it shows was not touched.
        """
        answer = await self._send(wire.write(f"{self._pipeline(target, build)}/retry", target.repo, None, "trigger"))
        shown = mapping(answer.body)
        if answer.status == 201 and str(shown.get("id")) == build.id:
            changed, now = instant(shown.get("updated_at")), server_time(answer.headers)
            is_over = wire.native_of(shown.get("status"))[1].is_final
            if is_over and changed is not None and now is not None and now - changed > UNTOUCHED:
                raise Rejected("not_restarted", "no job of it failed or was canceled, so GitLab started nothing again")
            return
        raise wire.refusal(answer, target) if is_refusal(answer) else InDoubt(f"HTTP {answer.status}")

    async def whoami(self) -> Principal | None:
        """Whose token it is, its scopes, and when it ends."""
        answer = await read(self._send, wire.get(f"{API}/user"))
        body = mapping(answer.body)
        if answer.status != 200 or number(body.get("id")) is None or not text(body.get("username")):
            refusal = wire.limited(answer) or wire.banned(answer) or not_welcome(answer, self._url, "GitLab")
            raise refusal or wire.read_failed(answer, f"{API}/user")
        parts = urlsplit(self._url)
        detail = await self._about_token()
        return Principal(f"{parts.netloc}{parts.path}/user/{body['id']}", quoted(body["username"], 100), detail)

    async def _about_token(self) -> str:
        """What GitLab tells of the token itself; nothing of one that is no access token."""
        answer = await read(self._send, wire.get(f"{API}/personal_access_tokens/self"))
        scopes, ends = mapping(answer.body).get("scopes"), text(mapping(answer.body).get("expires_at"), 10)
        if answer.status != 200 or not isinstance(scopes, list):
            if (error := wire.limited(answer)) is not None:
                raise error
            return ""
        named = quoted(", ".join(one for one in scopes if isinstance(one, str)), 100)
        self._scopes = "" if "api" in scopes else named
        return f"(scopes: {named}{f'; ends on {quoted(ends)}' if ends else ''})"

    async def durations(self, target: Target, at_most: int) -> list[float]:
        """From making to end, of the last pipelines of the ref: listings show no other times."""
        query: Query = (("scope", "finished"), ("per_page", str(min(at_most, wire.PAGE))))
        query += (("ref", wire.bare_ref(target.branch)),) if target.branch else ()
        call = wire.get(f"{wire.project_path(target.repo)}/pipelines", target.repo, query)
        answer = await read(self._send, call)
        if answer.status != 200 or not isinstance(answer.body, list):
            error = wire.read_failed(answer, call.path)
            raise Rejected("not_found", error.cause) if isinstance(error, NotShown) else error
        rows = [row for row in map(mapping, answer.body[:at_most]) if row.get("status") in ("success", "failed")]
        return lengths(rows, "created_at", "updated_at")

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        """The log of the first job that failed and may not fail."""
        query: Query = (("scope[]", "failed"),)
        call = wire.get(f"{self._pipeline(target, build)}/jobs", target.repo, query)
        jobs = await entries_of(self._send, wire.listing(call, MOST_JOB_PAGES))
        failed = [job for job in jobs if job.get("status") == "failed" and job.get("allow_failure") is not True]
        if not failed or (id_ := number(failed[-1].get("id"))) is None:  # the newest stand first
            return None
        path = f"{self._pipeline(target, build).partition('/pipelines/')[0]}/jobs/{id_}/trace"
        call = replace(wire.get(path, target.repo), leaves=True, headers={"Accept": "*/*"})
        return await self._log(call, failed[-1], "web_url", at_most)

    async def advise(self, target: Target) -> tuple[str, str] | None:
        """That the token may not trigger, or that the project refuses the variables that would be sent."""
        said = target.request
        if self._scopes and self._trigger_token(target) is None:
            return f"the token may not trigger: its scopes are {self._scopes}", "make one with the scope `api`"
        sent = ["the marker's"] if target.marked and "marker_input" not in said else []
        sent += sorted({**mapping(said.get("variables")), **mapping(said.get("env"))})
        answer = await read(self._send, self._get(self._path(target.repo), target.repo))
        if answer.status != 200:
            raise wire.read_failed(answer, self._path(target.repo))
        row = mapping(answer.body)
        needed = MAY_SET.get(str(row.get("ci_pipeline_variables_minimum_override_role")), 0)
        level = _level(row)
        if not sent or needed <= DEVELOPER or (level is not None and level >= needed):
            return None
        who = "forbids pipeline variables" if needed > OWNER else f"lets only a {_role(needed)} set pipeline variables"
        remedy = "send `inputs` that its CI file declares, and name one as `marker_input`; " if needed > OWNER else ""
        return (
            f"the project {who}: GitLab will refuse the trigger, which sends {', '.join(sent)[:200]}",
            f"{remedy}or lower the role below Settings, CI/CD, Variables; `marker: none` sends no marker",
        )

    def _pipeline(self, target: Target, build: Build) -> str:
        """The path of a pipeline; one that another started may be in another project, which its page tells."""
        project = wire.project_in(build.url, self._url) or target.repo
        return f"{wire.project_path(project)}/pipelines/{quote(build.id, safe='')}"

    def _path(self, repo: str) -> str:
        return wire.project_path(repo)

    def _get(self, path: str, repo: str | None = None) -> Call:
        if repo is None:  # the projects of a group, or of a user
            return wire.get(path, repo, GROUP if "/groups/" in path else GROUP[2:])
        is_project = path == self._path(repo)
        return replace(wire.get(path, repo), limits=(CALLS, PROJECTS) if is_project else READS)

    def _facts(self, row: Mapping[str, Any]) -> RepoFacts | None:
        visibility, level = row.get("visibility"), _level(row)
        return shaped(
            row,
            row.get("path_with_namespace"),
            active=row.get("archived") is not True and row.get("builds_access_level") != "disabled",
            allowed=None if level is None else level >= DEVELOPER,
            private=visibility != "public" if isinstance(visibility, str) else None,
        )

    def _all_of(self, call: Call) -> Listing[Any]:
        return wire.listing(call, MOST_PAGES)

    def _failed(self, answer: Answer, path: str) -> NotTriggered | LookFailed:
        return wire.read_failed(answer, path)


def _level(row: Mapping[str, Any]) -> int | None:
    """The access level of the token's user; None where GitLab shows none, as to an administrator."""
    shown = mapping(row.get("permissions"))
    levels = [number(mapping(shown.get(f"{kind}_access")).get("access_level")) for kind in ("project", "group")]
    return max((level for level in levels if level is not None), default=None)


def _role(level: int) -> str:
    return next(name.capitalize() for name, needed in MAY_SET.items() if needed == level)
