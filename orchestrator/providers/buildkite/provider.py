"""The Buildkite provider: turns values into calls and answers into values; it neither waits nor counts.

Many builds are followed by one listing of their organization, filtered by the run in their meta-data: a page shows a
hundred. Few, those without a marker and those that must be fresh are read by themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from orchestrator.core.calls import Send
from orchestrator.core.errors import InDoubt, LookFailed, NotShown, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import LONGEST_LOG, Account, Build, BuildState, Interval, Json, Request, Target, Trigger
from orchestrator.providers.buildkite import wire
from orchestrator.providers.buildkite.declaration import REASONS, RUN, STATES, pipeline_of
from orchestrator.providers.kit.answers import (
    end_of,
    instant,
    is_refusal,
    known_word,
    mapping,
    not_welcome,
    number,
    other_question,
    quoted,
    read,
    rows,
    text,
    timestamp,
)
from orchestrator.providers.kit.listings import Search, entries_of, walk
from orchestrator.providers.port import Followed, JobLog, Observation, Principal, RepoFacts, Secrets

MOST_ALONE = 20  # builds that are read by themselves in a round, beside those that must be fresh
FEW = 3  # builds from which on a listing is cheaper than reading each
MOST_PAGES, MOST_PIPELINES = 50, 1000  # of a hundred rows
EARLIER = 300.0  # seconds before a request was made from which the listing begins: clocks differ
WIDER = 5.0  # seconds before a lost call from which rows are read
BLAMED = ("failed", "timed_out", "broken", "expired")  # states of jobs for which a build failed


class Buildkite:
    """One account on Buildkite."""

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._url = account.url.rstrip("/")
        self._send = send

    async def prepare(self, target: Target) -> Json:
        """The default branch, where it is needed: Buildkite wants one."""
        if target.branch is not None:
            return {"v": 1}
        facts = await self.inspect(f"{target.owner}/{pipeline_of(target)}")
        if facts is None or not facts.default_branch:
            raise Rejected("not_found", "there is no such pipeline for this token, or it has no default branch")
        return {"v": 1, "branch": facts.default_branch}

    async def trigger(self, trigger: Trigger) -> Request:
        return wire.read_receipt(trigger, await self._send(wire.trigger_call(trigger)))

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """Finds the build of a lost answer again, by the marker in its meta-data; not filtered, so that all is seen."""
        target, since, until = trigger.target, asked.start - WIDER, asked.end + trigger.target.timeouts.settle
        search = Search[Mapping[str, Any]](trigger, known, since, show=lambda row: build_of(row)[0])

        def take(entries: list[Mapping[str, Any]]) -> bool:
            for row in entries:
                made, shown, branch = instant(row.get("created_at")), wire.shown_in(row), row.get("branch")
                is_other = (made is not None and made > until) or (target.branch or branch) != branch
                if shown == trigger.marker or not is_other:
                    search.add(text(row.get("id"), 64), shown, made, row)
            return False

        query = (("created_from", timestamp(since)),)
        path = f"{wire.pipeline(target)}/builds"
        await walk(self._send, wire.listing(path, target.owner, query, "find", MOST_PAGES, target.repo), take)
        for id_, row in sorted(search.found().items(), key=lambda found: number(found[1].get("number")) or 0):
            if (count := number(row.get("number"))) is None:
                raise InDoubt("the build shows no number")
            return Request(id_, {"v": 1, "number": count}, text(row.get("web_url")))
        return None

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        seen: dict[str, Observation] = {}
        failures: list[str] = []
        later: set[str] = set()  # whose listing failed: they are not read one by one
        groups: defaultdict[tuple[str, str], list[Followed]] = defaultdict(list)
        for one in followed:
            if not one.fresh and (run := wire.run_of(one.marker)) is not None:
                groups[one.target.owner, run].append(one)
        try:
            for (owner, run), some in groups.items():
                if len(some) >= FEW:
                    try:
                        await self._list(seen, owner, run, some)
                    except LookFailed as error:
                        failures.append(error.cause)
                        later.update(one.target.id for one in some)
            left = [one for one in followed if one.target.id not in seen.keys() | later]
            fresh, others = [one for one in left if one.fresh], [one for one in left if not one.fresh]
            for one in (*fresh, *sorted(others, key=lambda one: -one.polls)[:MOST_ALONE]):
                await self._look(seen, failures, one)
        except RateLimited:
            if not seen:
                raise
        if failures and not seen:
            raise LookFailed(failures[0])
        return seen

    async def _list(self, seen: dict[str, Observation], owner: str, run: str, some: Sequence[Followed]) -> None:
        """Sees what the listing of a run shows; of no more pages than calls that it saves."""
        wanted, pages = {one.request.id: one for one in some}, 0

        def take(entries: list[Mapping[str, Any]]) -> bool:
            nonlocal pages
            pages += 1
            for row in entries:
                one = wanted.get(str(row.get("id")))
                if one is not None and wire.name_of(row, one.target) == one.target.repo:
                    seen[one.target.id] = observed(wanted.pop(one.request.id), row)
            return not wanted or pages >= len(some) // FEW

        since = min(one.since for one in some) - EARLIER
        query = ((f"meta_data[{RUN}]", run), ("created_from", timestamp(since)))
        path = f"{wire.organization(owner)}/builds"
        await walk(self._send, wire.listing(path, owner, query, "poll", 2 * MOST_PIPELINES), take)

    async def _look(self, seen: dict[str, Observation], failures: list[str], one: Followed) -> None:
        try:
            row = await self._build(one.target, one.request.handle.get("number") or one.request.id, "poll")
        except NotShown:
            seen[one.target.id] = Observation(warning=f"Buildkite shows no build {quoted(one.request.id, 40)}")
            return
        except LookFailed as error:
            failures.append(error.cause)
            return
        seen[one.target.id] = observed(one, row)

    async def _build(self, target: Target, count: object, purpose: str, *, jobs: bool = False) -> Mapping[str, Any]:
        """One build.

        Raises:
            NotShown: there is none.
        """
        path = f"{wire.pipeline(target)}/builds/{quote(str(count), safe='')}"
        query = () if jobs else wire.PAGE[1:]
        answer = await read(self._send, wire.call("GET", path, target.repo, query, purpose))
        row = mapping(answer.body)
        if answer.status != 200 or not text(row.get("id"), 64) or not isinstance(row.get("state"), str):
            raise wire.read_failed(answer, path, target.owner)
        if str(count) not in (str(row.get("number")), row["id"]) or wire.name_of(row, target) != target.repo:
            raise LookFailed(f"{path}: {other_question(answer, 'it shows another build').cause}")
        return row

    async def cancel(self, target: Target, build: Build) -> bool:
        path = f"{wire.pipeline(target)}/builds/{quote(build.number or build.id, safe='')}/cancel"
        answer = await read(self._send, wire.call("PUT", path, target.repo))
        if answer.status == 422 and mapping(answer.body):
            return False
        if answer.status == 200 and mapping(answer.body).get("id") == build.id:
            return True
        raise wire.refusal(answer, target.owner) if is_refusal(answer) else wire.read_failed(answer, path, target.owner)

    async def restart(self, target: Target, build: Build) -> None:
        """Starts the jobs of the build again that failed: the same build goes on."""
        path = f"{wire.pipeline(target)}/builds/{quote(build.number or build.id, safe='')}/retry_failed_jobs"
        answer = await self._send(wire.call("PUT", path, target.repo, purpose="trigger"))
        if answer.status == 200 and mapping(answer.body).get("id") == build.id:
            return
        if answer.status == 422 and mapping(answer.body):
            said = quoted(mapping(answer.body).get("message"))
            raise Rejected("not_restarted", f"Buildkite lets its jobs not be started again ({said})")
        raise wire.refusal(answer, target.owner) if is_refusal(answer) else InDoubt(f"HTTP {answer.status}")

    async def whoami(self) -> Principal | None:
        """Whose token it is; None where it may not say (scope `read_user`)."""
        answer = await read(self._send, wire.call("GET", "/v2/user"))
        body, host = mapping(answer.body), urlsplit(self._url).netloc
        if answer.status == 200 and (id_ := text(body.get("id"), 100)):
            return Principal(f"{host}/user/{id_}", quoted(body.get("email"), 100), quoted(body.get("name"), 100))
        if answer.status == 403 and "scope" in str(body.get("message")):
            return None
        raise (
            wire.limited(answer, "") or not_welcome(answer, self._url, wire.TITLE) or wire.read_failed(answer, "/user")
        )

    def requests_page(self, target: Target) -> str:
        parts = urlsplit(self._url)
        return (
            f"{parts.scheme}://{parts.netloc.removeprefix('api.')}/{target.owner}/{quote(pipeline_of(target))}/builds"
        )

    async def inspect(self, repo: str) -> RepoFacts | None:
        """A pipeline, by organization and slug."""
        owner, _, slug = repo.partition("/")
        path = f"{wire.organization(owner)}/pipelines/{quote(slug, safe='')}"
        answer = await read(self._send, wire.call("GET", path, repo))
        facts = _facts(mapping(answer.body), owner) if answer.status == 200 else None
        if facts is None:
            error = wire.read_failed(answer, path, owner)
            if isinstance(error, NotShown):
                return None
            raise error
        if facts.slug.lower() != repo.lower():
            raise LookFailed(f"{path}: {other_question(answer, f'it shows {quoted(facts.slug, 60)}').cause}")
        return facts

    async def discover(self, owner: str) -> list[RepoFacts]:
        """The pipelines of an organization; their tags are labels."""
        path = f"{wire.organization(owner)}/pipelines"
        try:
            pages = wire.listing(path, owner, (), "other", MOST_PIPELINES)
            found: list[RepoFacts] = await entries_of(self._send, pages, lambda row: _facts(row, owner))
        except NotShown as error:
            raise Rejected("not_found", error.cause) from error
        return list({facts.id: facts for facts in found}.values())

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        """The log of the first job that failed."""
        row = await self._build(target, build.number or build.id, "other", jobs=True)
        job: Mapping[str, Any] = next(
            (job for job in rows(row.get("jobs")) if job.get("state") in BLAMED and job.get("soft_failed") is not True),
            {},
        )
        if (id_ := text(job.get("id"), 64)) is None:
            return None
        path = f"{wire.pipeline(target)}/builds/{row.get('number')}/jobs/{quote(id_, safe='')}/log.txt"
        call = replace(wire.call("GET", path, target.repo), at_most=LONGEST_LOG, leaves=True)
        answer = await read(self._send, call)
        if answer.status != 200:
            raise wire.read_failed(answer, path, target.owner)
        code = job.get("exit_status")
        name = quoted(job.get("name") or job.get("step_key"), 100) or "a job"
        is_code = isinstance(code, int) and not isinstance(code, bool)
        return JobLog(name, end_of(answer.body, at_most), text(job.get("web_url")), code if is_code else None)


def observed(one: Followed, row: Mapping[str, Any]) -> Observation:
    """What a build of a request shows."""
    build, warning = build_of(row)
    shown = wire.shown_in(row)
    marked = shown == one.marker if one.marker is not None and shown is not None else None
    return Observation((build,), marked=marked, warning=warning)


def build_of(row: Mapping[str, Any]) -> tuple[Build, str | None]:
    """A build as it is shown, and a warning where its state is not known here."""
    word = quoted(row.get("state"), 40)
    state, warning = known_word(word, STATES, wire.TITLE)
    if row.get("blocked") is True and word in ("passed", "blocked"):  # it counts as finished there, and is not
        word, state = "blocked", STATES["blocked"]
    count, sha = number(row.get("number")), text(row.get("commit"), 64)
    build = Build(
        id=str(row.get("id")),
        state=state,
        native=word,
        number=None if count is None else str(count),
        url=text(row.get("web_url")),
        sha=sha if sha != "HEAD" else None,
        branch=text(row.get("branch"), 300),
        created_at=instant(row.get("created_at")),
        started_at=instant(row.get("started_at")) if state is not BuildState.QUEUED else None,
        finished_at=instant(row.get("finished_at")) if state.is_final else None,
        reason=REASONS.get(word),
    )
    return build, warning


def _facts(row: Mapping[str, Any], owner: str) -> RepoFacts | None:
    """A pipeline as doctor and discover want it; None where the row is none."""
    id_, slug = text(row.get("id"), 64), text(row.get("slug"), 200)
    if id_ is None or slug is None or not slug.isprintable():
        return None
    tags = row.get("tags")
    return RepoFacts(
        id=id_,
        slug=f"{owner}/{slug}",
        active=row.get("archived_at") is None,
        default_branch=text(row.get("default_branch"), 300),
        private=row.get("visibility") == "private",
        labels=tuple(one for one in tags if isinstance(one, str))[:20] if isinstance(tags, list) else (),
    )
