"""The Jenkins provider: turns values into calls and answers into values; it neither waits nor counts."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed, NotShown, Rejected, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Interval, Json, Request, Target, Trigger
from orchestrator.limits.headers import number as in_header
from orchestrator.providers.jenkins import wire
from orchestrator.providers.jenkins.declaration import MARKER, job_of, parameters_of
from orchestrator.providers.jenkins.follow import QUEUE, Poll, build_of, seconds
from orchestrator.providers.kit.answers import end_of, mapping, not_welcome, number, quoted, read, refused, rows, text
from orchestrator.providers.kit.listings import Listing, Page, Search, entries_of, walk
from orchestrator.providers.port import Followed, JobLog, Observation, Principal, RepoFacts, Secrets

MOST_PAGES, MOST_JOBS = 50, 500  # of a hundred rows: builds in the time of a doubt, jobs of a folder
WIDER = 5.0  # seconds before a lost call from which rows are read
MULTIBRANCH = "MultiBranchProject"
LINES = f"parameters {{ string(name: '{MARKER}', defaultValue: '') }}"
_JOB = "_class,buildable,property[parameterDefinitions[name]],jobs[name]{0,1}"
_FIELD = re.compile(r"[A-Za-z0-9-]{1,64}")


class Jenkins:
    """One account on a Jenkins."""

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._url = account.url.rstrip("/")
        self._send = send
        self._session: Mapping[str, str] | None = None  # the crumb, and the cookie of its session
        self._poll = Poll(send, self._url, self._find_job)

    async def prepare(self, target: Target) -> Json:
        """The job, of a multibranch job that of its branch, the parameters that it declares, and the crumb."""
        row, path = await self._job(target)
        branch = None if path.count("/job/") > job_of(target).count("/") + 1 else target.branch
        found = wire.prepared_of(branch, parameters_of(target), row, path)
        await self._begin()
        return found

    async def trigger(self, trigger: Trigger) -> Request:
        if trigger.prepared is not None:
            try:
                await self._begin()
            except LookFailed as error:
                raise Unreachable(error.cause) from None
        call = wire.trigger_call(trigger, self._session or {})
        return wire.read_receipt(trigger, await self._sent(call), call.path.rpartition("/")[0])

    def carries(self, trigger: Trigger) -> bool:
        return MARKER in wire.parameters(trigger)

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """Finds the item or build of a lost answer again, by the marker among its parameters.

        The queue is read before the builds: what leaves it in between is among those. Their numbers have no gaps, so
        it is seen where a build of that time was deleted, or is about to appear.
        """
        target, since, until = trigger.target, asked.start - WIDER, asked.end + trigger.target.timeouts.settle
        try:
            prepared = mapping(trigger.prepared or await self.prepare(target))
        except Rejected as error:
            raise NotShown(error.reason) from error
        path, is_shown = str(prepared.get("path")), trigger.is_shown and prepared.get("marker") is True
        page, unmarked = f"{self._url}{path}/", "that show no marker yet"
        search = Search[Mapping[str, Any]](
            replace(trigger, is_shown=is_shown),
            known,
            since,
            unmarked,
            lambda row: build_of(row, page, target.branch)[0],
        )

        def take(row: Mapping[str, Any], made: float | None) -> None:
            shown = wire.parameter(row)
            if shown == trigger.marker or made is None or since <= made <= until:
                search.add(wire.item_of(row), shown, made, row)

        for row in await self._poll.queue("find"):
            if wire.is_of(row, path):
                take(row, seconds(row.get("inQueueSince")))
        gap = await self._builds(path, target.repo, since, until, take)
        ours = search.found()
        if not ours:
            if gap:
                raise InDoubt(gap)
            return None
        first = min(ours, key=int)
        handle: dict[str, Json] = {"v": 1, "job": path, "item": int(first), "marked": True}
        count = number(ours[first].get("number"))
        handle.update({} if count is None else {"number": count})
        return Request(first, handle)

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        return await self._poll(followed)

    async def cancel(self, target: Target, build: Build) -> bool:
        """Removes it from the queue, or stops it; also where it has left the queue in the meantime."""
        if build.state.is_final:
            return False
        await self._begin()
        job, count = await self._of(target, build), build.id
        if build.id.startswith(QUEUE):
            item = build.id.removeprefix(QUEUE)
            answer = await self._posted("/queue/cancelItem", target, {"id": item})
            if answer.status != 404:
                return True
            left = mapping((await read(self._send, wire.get(f"/queue/item/{item}", "executable[number]"))).body)
            found = number(mapping(left.get("executable")).get("number"))
            if found is None:
                return False
            count = str(found)
        return (await self._posted(f"{job}/{count}/stop", target, {})).status != 404

    async def whoami(self) -> Principal | None:
        path = "/me/api/json"
        answer = await read(self._send, wire.get("/me", "id,fullName"))
        body = mapping(answer.body)
        if answer.status == 200 and (user := text(body.get("id"), 200)):
            return Principal(f"{self._url}/user/{user}", quoted(user, 100), quoted(body.get("fullName"), 100))
        raise not_welcome(answer, self._url, wire.TITLE) or wire.read_failed(answer, path)

    def requests_page(self, target: Target) -> str:
        return f"{self._url}{wire.job_path(job_of(target))}/"

    async def discover(self, owner: str) -> list[RepoFacts]:
        """The jobs of a folder; folders in it are none."""

        def pick(row: Mapping[str, Any]) -> RepoFacts | None:
            name = text(row.get("name"), 300)
            if name is None or not name.isprintable() or str(row.get("_class")).endswith("Folder"):
                return None
            return RepoFacts(f"{owner}/{name}", f"{owner}/{name}", row.get("buildable") is not False)

        return await self._children(wire.job_path(owner), "jobs[_class,name,buildable]", pick)

    async def branches(self, repo: str) -> list[str]:
        """Those of a multibranch job; each is a job in it, whose name is percent-encoded."""
        found = await self._children(wire.job_path(repo), "jobs[name]", lambda row: text(row.get("name"), 300))
        return [name for name in dict.fromkeys(map(unquote, found)) if name.isprintable()]

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        """The end of the console: the first answer tells how long all of it is."""
        if build.state is BuildState.PASSED:
            return None
        path = f"{await self._of(target, build)}/{build.id}/logText/progressiveText"
        answer = await self._log(path, target.repo, 0, at_most)
        size = int(in_header(answer.headers.get("x-text-size", "")) or 0)
        if size > at_most:
            answer = await self._log(path, target.repo, size - at_most, at_most)
        return JobLog(f"#{build.id}", end_of(answer.body, at_most), f"{build.url}console" if build.url else None)

    async def advise(self, target: Target) -> tuple[str, str] | None:
        row, _ = await self._job(target)
        if target.marked and MARKER not in wire.declared_in(row):
            name = quoted(job_of(target), 100)
            return (f"job {name} declares no {MARKER}: a lost answer may stay in doubt, and equal triggers are merged",
                    f"let it declare that parameter, as text:\n{LINES}")  # fmt: skip
        return None

    async def _job(self, target: Target) -> tuple[Mapping[str, Any], str]:
        """The page of the job that builds the target, and its path.

        Raises:
            Rejected: there is none.
        """
        path = wire.job_path(job_of(target))
        row = await self._page(path, target.repo)
        if str(row.get("_class")).endswith(MULTIBRANCH):
            if target.branch is None:
                raise Rejected("branch_missing", "the job has a job for each branch; name a `branch`")
            path = wire.job_path(job_of(target), target.branch)
            row = await self._page(path, target.repo)
        elif str(row.get("_class")).endswith("Folder"):
            raise Rejected("not_a_job", "it is a folder; name a job in it")
        return row, path

    async def _page(self, path: str, repo: str) -> Mapping[str, Any]:
        answer = await read(self._send, wire.get(path, _JOB, repo))
        row = mapping(answer.body)
        if answer.status == 200 and row.keys() & {"_class", "buildable", "property"}:
            return row
        error = wire.read_failed(answer, path)
        raise Rejected("not_found", wire.MISSING) if isinstance(error, NotShown) else error

    async def _find_job(self, target: Target) -> str:
        try:
            return (await self._job(target))[1]
        except Rejected as error:
            raise LookFailed(error.reason) from None

    async def _of(self, target: Target, build: Build) -> str:
        """The path of a build's job, as its URL tells."""
        url = (build.url or "").removeprefix(self._url)
        if not url.startswith("/job/"):
            return await self._find_job(target)
        return url.rstrip("/") if build.id.startswith(QUEUE) else url.removesuffix(f"/{build.id}/")

    async def _begin(self) -> None:
        """Asks for a crumb, which a password needs; with an API token, or where there are none, it changes nothing."""
        if self._session is not None:
            return
        answer = await read(self._send, wire.get("/crumbIssuer", "crumb,crumbRequestField"))
        body = mapping(answer.body)
        field, crumb = text(body.get("crumbRequestField"), 100), text(body.get("crumb"), 500)
        if answer.status == 404:
            self._session = {}
        elif answer.status != 200 or not field or not crumb or not _FIELD.fullmatch(field):
            raise wire.read_failed(answer, "/crumbIssuer/api/json")
        else:
            cookie = answer.headers.get("set-cookie", "").partition(";")[0][:2000]
            found = {field: crumb, **({"Cookie": cookie} if cookie else {})}
            self._session = {name: value for name, value in found.items() if value.isascii() and value.isprintable()}

    async def _sent(self, call: Call) -> Answer:
        """The answer to a POST; a crumb that is refused is asked for again before the next one."""
        answer = await self._send(call)
        if answer.status == 403 and wire.NO_CRUMB in str(answer.body).lower():
            self._session = None
        return answer

    async def _posted(self, path: str, target: Target, form: Mapping[str, str]) -> Answer:
        """The answer to a POST that may be repeated without harm: done, or 404."""
        call = wire.post(path, target.repo, form, self._session or {})
        try:
            answer = await self._sent(call)
        except (InDoubt, Unreachable) as error:
            raise LookFailed(f"{path}: {error.cause}") from None
        if answer.status < 400 and (answer.status >= 300 or answer.body in ("", None)):
            return answer
        if answer.status == 404 and refused(answer, wire.TITLE) is None:
            return answer
        raise wire.refusal(answer) if answer.status == 403 else wire.read_failed(answer, path)

    async def _log(self, path: str, repo: str, start: int, at_most: int) -> Answer:
        call = replace(wire.get("", "", repo), path=path, query=(("start", str(start)),), at_most=at_most)
        answer = await read(self._send, call)
        if answer.status != 200:
            raise wire.read_failed(answer, path)
        return answer

    async def _children(self, path: str, tree: str, pick: Any) -> list[Any]:
        """What is picked of all jobs in a folder or a multibranch job; Rejected where there is none."""
        try:
            return await entries_of(self._send, self._pages(path, tree, "jobs", MOST_JOBS), pick)
        except NotShown as error:
            raise Rejected("not_found", error.cause) from error

    def _pages(self, path: str, tree: str, key: str, at_most: int, purpose: str = "other") -> Listing[int]:
        """A listing in ranges of a hundred; the range stands behind the key's own fields."""

        def page_of(start: int, answer: Answer) -> Page[int]:
            found = mapping(answer.body).get(key)
            entries = rows(found)
            if answer.status != 200 or not isinstance(found, list) or len(entries) != len(found):
                raise wire.read_failed(answer, path)
            return Page(entries, start + wire.RANGE if len(entries) >= wire.RANGE else None)

        def call_at(start: int) -> Call:
            return wire.get(path, f"{tree}{{{start},{start + wire.RANGE}}}", purpose=purpose)

        return Listing(0, call_at, page_of, at_most)

    async def _builds(self, path: str, repo: str, since: float, until: float, take: Any) -> str | None:
        """Hands the builds of a job since then to `take`; returns why they may not be all, or None."""
        nexts: list[int | None] = []
        numbers: list[tuple[int, float]] = []

        def some(entries: list[Mapping[str, Any]]) -> bool:
            for row in entries:
                made, count = seconds(row.get("timestamp")), number(row.get("number"))
                take(row, made)
                if made is None or count is None:
                    raise InDoubt("a build shows no number or time, so that the listing proves nothing")
                numbers.append((count, made))
                if made < since:
                    return True
            return False

        async def send(call: Call) -> Answer:
            answer = await self._send(call)
            nexts.append(number(mapping(answer.body).get("nextBuildNumber")))
            return answer

        tree = f"nextBuildNumber,allBuilds[{wire.ROW}]"
        await walk(send, self._pages(path, tree, "allBuilds", MOST_PAGES, "find"), some)
        expected = nexts[0]
        if expected is None:
            return "the job does not say which number its next build gets"
        for count, made in sorted(numbers, reverse=True):
            if count < expected - 1 and made <= until:
                return f"build {expected - 1} of the job is not shown, and may be this one"
            expected = count
            if made < since:
                return None
        return None if expected == 1 else f"builds before {expected} were deleted, and one of them may be this one"
