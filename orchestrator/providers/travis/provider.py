"""The Travis provider: turns values into calls and answers into values; it neither waits nor counts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.concurrency import Entry
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotShown, NotTriggered, Rejected, UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import LONGEST_LOG, Account, Build, Interval, Json, Request, Scope, Target, Trigger
from orchestrator.core.secrets import Secret, checked
from orchestrator.providers.kit.answers import (
    end_of,
    instant,
    mapping,
    number,
    other_question,
    quoted,
    read,
    rejected,
    rows,
    text,
    timestamp,
)
from orchestrator.providers.kit.listings import Search, entries_of, walk
from orchestrator.providers.kit.plain_yaml import read_plain
from orchestrator.providers.port import Followed, JobLog, Observation, Principal, RepoFacts, Secrets
from orchestrator.providers.travis import wire
from orchestrator.providers.travis.declaration import CALLS, TRIGGERS
from orchestrator.providers.travis.follow import Poll
from orchestrator.providers.travis.observe import may_be_of, message_of

MOST_PAGES = 2000  # of 100 repositories or branches
MOST_REQUEST_PAGES = 20  # of 100; more requests of one repository within the time of a doubt are beyond telling
WIDER = 120.0  # seconds before a lost call from which rows are read: clocks differ, and rows show whole seconds
MOST_JOBS = 200  # Travis allows no more in a build
RAN = ("passed", "failed", "errored")  # states of builds that ended by themselves
LONGEST_FILE = 1024 * 1024  # bytes of what the travis client has stored


class Travis:
    """One account on Travis.

    Args:
        account: its URL stands in messages and leads to web pages.
        send: sends a call; the limits are kept there.
        secrets: resolves `request_token` when it is sent.
    """

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._url = account.url.rstrip("/")
        self._send = send
        self._secrets = secrets
        self._poll = Poll(send, self._url)

    async def trigger(self, trigger: Trigger) -> Request:
        answer = await self._send(wire.trigger_call(trigger, self._secrets))
        return wire.read_receipt(trigger, answer, self._url)

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """Finds the request of a lost answer again, by the marker in its commit's message.

        Travis has no idempotency key, and its rows do not name their sender: until a row has a commit, it may be ours.
        Such a row is a candidate, whatever its state or result, and while there is one the answer is "cannot tell".
        "Certainly not there" needs every page since the call, in the server's time.
        """
        target, since = trigger.target, asked.start - WIDER
        search = Search[Mapping[str, Any]](
            trigger, known, since, "without a commit", lambda row: may_be_of(row, target, self._url)
        )
        call = Call(
            "GET",
            f"{wire.repo_path(target.repo, target.request.get('vcs'))}/requests",
            query=(("skip_count", "true"), ("from", timestamp(since))),
            purpose="find",
            limits=(CALLS,),
        )

        # No upper bound: a proxy may deliver a call after we gave it up.
        def take(entries: list[Mapping[str, Any]]) -> bool:
            for row in entries:
                _add(row, search, target.repo, known)
            # Some servers do not know `from`. Rows are newest first.
            made = instant(entries[-1].get("created_at")) if entries else None
            return made is not None and made < since

        try:
            await walk(self._send, wire.listing(call, "requests", MOST_REQUEST_PAGES), take)
        except wire.NotThere as error:
            # Travis gives the same answer for "no such repository" and "not for this token".
            raise NotShown(
                f"Travis shows this token no repository {target.repo}; where that was so all along, the call started "
                "nothing (--assume-absent), else the token lost its access: give it back, and resume"
            ) from error
        ours = {int(id_): row for id_, row in search.found().items()}
        if not ours:
            return None
        first, *more = sorted(ours)  # had there been several, all their builds are reported
        request = wire.request_of(target, first, mapping(ours[first].get("repository")), self._url)
        return replace(request, handle={**request.handle, "also": more}) if more else request

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        return await self._poll(followed)

    async def cancel(self, target: Target, build: Build) -> bool:
        """Asks once; Travis cancels later, or silently not: a poll shows it."""
        answer = await read(self._send, Call("POST", f"/build/{build.id}/cancel", limits=(TRIGGERS, CALLS)))
        if answer.status not in (202, 409):
            raise _not_done(target, answer, "canceled")
        if (doubt := _of_another(answer, build)) is not None:
            raise LookFailed(doubt.cause)
        return answer.status == 202

    async def restart(self, target: Target, build: Build) -> None:
        """Starts the build again under its id; that it runs already is what was wanted."""
        call = Call("POST", f"/build/{build.id}/restart", purpose="trigger", limits=(TRIGGERS, CALLS), repo=target.repo)
        answer = await self._send(call)
        if answer.status >= 500 or (answer.status < 400 and answer.status != 202):
            raise InDoubt(f"HTTP {answer.status}")
        if answer.status not in (202, 409):
            raise _not_done(target, answer, "restarted")
        if (doubt := _of_another(answer, build)) is not None:
            raise doubt

    async def whoami(self) -> Principal:
        """Whose token it is; also the first proof that the URL leads to a Travis API."""
        answer = await read(self._send, Call("GET", "/user", limits=(CALLS,)))
        body = mapping(answer.body)
        if answer.status != 200 or body.get("@type") != "user" or number(body.get("id")) is None:
            raise wire.whoami_failed(answer, self._url)
        host = urlsplit(self._url).netloc
        return Principal(f"{host}/user/{body['id']}", quoted(body.get("login"), 100), quoted(body.get("name"), 100))

    def requests_page(self, target: Target) -> str:
        return f"{wire.page(self._url, target.repo, target)}/requests"

    async def inspect(self, repo: str, vcs: Json = None) -> RepoFacts | None:
        path = wire.repo_path(repo, vcs)
        answer = await read(self._send, Call("GET", path, limits=(CALLS,)))
        if answer.status == 404 and wire.error_type(answer) == "not_found":
            return None
        facts = _facts(mapping(answer.body)) if answer.status == 200 else None
        if facts is None:
            raise wire.read_failed(answer, path)
        if repo.lower() not in (facts.id, facts.slug.lower()):
            raise LookFailed(f"{path}: {other_question(answer, f'it shows {quoted(facts.slug, 60)}').cause}")
        return facts

    async def discover(self, owner: str) -> list[RepoFacts]:
        call = Call("GET", f"{wire.owner_path(owner)}/repos", (("sort_by", "id"),), limits=(CALLS,))

        def pick(row: Mapping[str, Any]) -> RepoFacts | None:
            facts = _facts(row)
            if facts is not None and not facts.slug.lower().startswith(f"{owner.lower()}/"):
                raise LookFailed(f"{call.path}: the listing holds {quoted(facts.slug, 60)!r}, which is not of {owner}")
            return facts

        found: list[RepoFacts] = await self._all(call, "repositories", pick)
        return list({facts.id: facts for facts in found}.values())

    async def branches(self, repo: str) -> list[str]:
        query = (("exists_on_github", "true"), ("sort_by", "name"))
        call = Call("GET", f"{wire.repo_path(repo)}/branches", query, limits=(CALLS,))
        return list(dict.fromkeys(await self._all(call, "branches", _branch)))

    async def sees_branch(self, target: Target) -> bool:
        """Whether Travis has seen the branch; one that has no builds may be missing, although it can be triggered."""
        name = target.branch or ""
        query = (("name", name), ("exists_on_github", "true"), ("limit", "100"))
        path = f"{wire.repo_path(target.repo, target.request.get('vcs'))}/branches"
        return name in await self._all(Call("GET", path, query, limits=(CALLS,)), "branches", _branch)

    async def durations(self, target: Target, at_most: int) -> list[float]:
        """By the clock: Travis' own `duration` is the sum over the jobs."""
        query = (("state", ",".join(RAN)), ("representation", "minimal"), ("skip_count", "true"))
        path = f"{wire.repo_path(target.repo, target.request.get('vcs'))}/builds"
        try:
            page = await wire.listing(Call("GET", path, query, limits=(CALLS,)), "builds", 1, at_most).page_at(
                self._send, 0
            )
        except wire.NotThere as error:
            raise Rejected("not_found", error.cause) from error
        return [length for build in page.entries[:at_most] if (length := _length(build)) is not None]

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        path = f"/build/{build.id}/jobs"
        answer = await read(self._send, Call("GET", path, (("include", "build.jobs"),), limits=(CALLS,)))
        if answer.status != 200 or not isinstance(mapping(answer.body).get("jobs"), list):
            raise wire.read_failed(answer, path)
        wire.check_place(answer, path)
        job = _that_failed(rows(mapping(answer.body)["jobs"])[:MOST_JOBS])
        if job is None:
            return None
        printed = await self._log(job["id"], at_most)
        return JobLog(quoted(job.get("number"), 40) or f"job {job['id']}", printed, build.url)

    async def queue(self, target: Target) -> list[Entry]:
        """The active builds of the target's owner; all of them in one answer, and without the time of their making."""
        path = f"{wire.owner_path(target.owner, target.request.get('vcs'))}/active"
        answer = await read(self._send, Call("GET", path, limits=(CALLS,)))
        if answer.status != 200 or not isinstance(mapping(answer.body).get("builds"), list):
            raise wire.read_failed(answer, path)
        wire.check_place(answer, path)
        return [
            Entry(
                id=str(build.get("id")),
                repo=text(mapping(build.get("repository")).get("slug"), 300) or "",
                waits=build.get("state") != "started",
                since=instant(build.get("started_at")) or instant(build.get("updated_at")),
            )
            for build in rows(mapping(answer.body)["builds"])
        ]

    async def _all(self, call: Call, key: str, pick: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
        """What is picked of all entries of a listing."""
        try:
            return await entries_of(self._send, wire.listing(call, key, MOST_PAGES), pick)
        except wire.NotThere as error:
            raise Rejected("not_found", error.cause) from error

    async def _log(self, job: int, at_most: int) -> str:
        path = f"/job/{job}/log.txt"
        answer = await read(self._send, Call("GET", path, limits=(CALLS,), at_most=LONGEST_LOG))
        if answer.status != 200:
            raise wire.read_failed(answer, path)
        return end_of(answer.body, at_most)


def _that_failed(jobs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first job to blame, those first that could not run properly, as Travis judges a build."""
    required = [job for job in jobs if number(job.get("id")) and job.get("allow_failure") is not True]
    states = ("errored", "failed")
    return next((job for state in states for job in required if job.get("state") == state), None)


def _add(row: Mapping[str, Any], search: Search[Mapping[str, Any]], repo: str, known: Collection[str]) -> None:
    """Hands a row to the search, unless it is that of a push or a schedule."""
    id_, kind = number(row.get("id")), row.get("event_type")
    if id_ is not None and str(id_) not in known and isinstance(kind, str) and kind != "api":
        return
    shown = mapping(row.get("repository")).get("id" if repo.isdecimal() else "slug", repo)
    if str(shown).lower() != repo.lower():
        raise InDoubt("a row of the listing is of another repository, so that the listing proves nothing")
    search.add(None if id_ is None else str(id_), message_of(row), instant(row.get("created_at")), row)


def _of_another(answer: Answer, build: Build) -> InDoubt | None:
    """The doubt, where the answer to a change names another build than the one that was to change."""
    shown = mapping(mapping(answer.body).get("build")).get("id", build.id)
    return None if str(shown) == build.id else other_question(answer, "it names another build")


def _not_done(target: Target, answer: Answer, done: str) -> NotTriggered | LookFailed:
    """Why a build was not canceled or restarted. Where the answer was lost, asking again does no harm."""
    refused = wire.everybody_refused(answer)
    if refused is not None or not 400 <= answer.status < 500:
        return refused or LookFailed(f"HTTP {answer.status}: not known whether the build was {done}")
    kind, detail = wire.error_type(answer), quoted(mapping(answer.body).get("error_message"))
    if kind == "error" and detail.lower().startswith("abuse detected"):
        return AccessRefused("abuse", f"Travis has flagged {target.owner}: {detail}", Scope("owner", target.owner))
    code = kind if kind and kind != "error" else f"not_{done}"
    return rejected(code, f"Travis lets the build not be {done} (HTTP {answer.status})", detail)


def _length(build: Mapping[str, Any]) -> float | None:
    """Seconds that a build ran; None where that is not shown, or it did not end by itself."""
    started, finished = instant(build.get("started_at")), instant(build.get("finished_at"))
    if build.get("state") not in RAN or started is None or finished is None or finished < started:
        return None
    return finished - started


def _branch(row: Mapping[str, Any]) -> str | None:
    name = text(row.get("name"))
    return name if name and name.isprintable() and row.get("exists_on_github") is not False else None


def _facts(row: Mapping[str, Any]) -> RepoFacts | None:
    """A repository as doctor and discover want it; None where the row is none."""
    id_, slug = number(row.get("id")), text(row.get("slug"), 300)
    if id_ is None or slug is None or not slug.isprintable():
        return None
    allowed, private = mapping(row.get("@permissions")).get("create_request"), row.get("private")
    return RepoFacts(
        id=str(id_),
        slug=slug,
        active=row.get("active") is True,
        may_trigger=allowed if isinstance(allowed, bool) else None,
        default_branch=text(mapping(row.get("default_branch")).get("name"), 300),
        private=private if isinstance(private, bool) else None,
    )


def stored_token(url: str, environ: Mapping[str, str], home: Path) -> Secret | None:
    """The token that the `travis` client has stored for the API at `url`, or None when it has none for it.

    The file is `$TRAVIS_CONFIG_PATH/config.yml`, by default `~/.travis/config.yml`, and only read; the token is at
    `endpoints.<API URL>.access_token`, where the URL is written with or without a trailing slash.

    Raises:
        UsageError: the file is there and cannot be understood.
    """
    folder = environ.get("TRAVIS_CONFIG_PATH")
    path = Path(folder) / "config.yml" if folder else home / ".travis" / "config.yml"
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); set TRAVIS_TOKEN instead") from None
    for key, entry in mapping(mapping(_parse(raw, path)).get("endpoints")).items():
        if str(key).rstrip("/").lower() == url.rstrip("/").lower():
            found = text(mapping(entry).get("access_token"), LONGEST_FILE)
            return None if found is None else Secret(checked(found, f"{path}, access_token of {url}"))
    return None


def _parse(raw: bytes, path: Path) -> object:
    with suppress(ValueError):
        return read_plain(raw, LONGEST_FILE)
    raise UsageError(f"{path}: is not what the travis client writes; set TRAVIS_TOKEN instead")
