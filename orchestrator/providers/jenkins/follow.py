"""Polls many requests with few calls.

One listing shows all that waits in the queue, one for each folder its jobs with their newest builds. What neither
shows is read by itself: an item that has left the queue is kept for five minutes and leads to its build; after that the
build is found by its `queueId`. Jobs that are alone in their folder are read by themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from orchestrator.core.calls import Answer, Send
from orchestrator.core.errors import LookFailed, NotShown
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, BuildState, Json, Target
from orchestrator.providers.jenkins import wire
from orchestrator.providers.jenkins.declaration import STATES
from orchestrator.providers.kit.answers import (
    LATEST,
    known_word,
    listed,
    mapping,
    number,
    other_question,
    quoted,
    read,
    rows,
)
from orchestrator.providers.kit.rounds import Seen, polled
from orchestrator.providers.port import Followed, Observation

FEW = 4  # requests from which on a listing is cheaper than reading each
ENOUGH = 3  # failures in a row after which a folder's jobs are read by themselves
NEWEST = 5  # builds of each job in the listing of a folder
QUEUE = "queue-"  # with which the id of a place in the queue begins
WAITS, CANCELED, MERGED = "queued", "cancelled", "merged"


class Poll:
    """The polls of one account; `find_job` tells the path of a target's job where its request does not."""

    def __init__(self, send: Send, url: str, find_job: Callable[[Target], Awaitable[str]]) -> None:
        self._send = send
        self._url = url
        self._find_job = find_job
        self._failed: Counter[str] = Counter()  # by folder, listings in a row that could not be read

    async def __call__(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """One round; LookFailed, AccessRefused or RateLimited where nothing at all was learnt."""
        return await polled(followed, self._alone, self._together)

    async def _together(self, seen: Seen, failures: list[str], followed: Sequence[Followed]) -> list[Followed]:
        seen.update({one.target.id: self._merged(one) for one in followed if one.request.handle.get(MERGED)})
        left = await self._in_queue(seen, failures, [one for one in followed if one.target.id not in seen])
        return await self._in_folders(seen, failures, left)

    async def _in_queue(
        self, seen: dict[str, Observation], failures: list[str], followed: Sequence[Followed]
    ) -> list[Followed]:
        """Sees the requests that wait; returns the others, as far as it is known that they do not."""
        waiting = [one for one in followed if number_of(one) is None and not one.fresh]
        if len(waiting) < FEW:
            return list(followed)
        try:
            items = {wire.item_of(row): row for row in await self.queue("poll")}
        except LookFailed as error:
            failures.append(error.cause)
            return [one for one in followed if one not in waiting]
        for one in waiting:
            if (item := items.get(_item_of(one))) is not None:
                seen[one.target.id] = self._waits(one, item)
        return [one for one in followed if one.target.id not in seen]

    async def queue(self, purpose: str) -> list[Mapping[str, Any]]:
        """All that waits in the queue; LookFailed where that cannot be learnt."""
        call = wire.get("/queue", f"items[{wire.ITEM}]", purpose=purpose)
        answer = await read(self._send, call)
        if answer.status == 200:
            return listed(answer, mapping(answer.body).get("items"), call.path, wire.TITLE)
        raise wire.read_failed(answer, call.path)

    async def _in_folders(
        self, seen: dict[str, Observation], failures: list[str], followed: Sequence[Followed]
    ) -> list[Followed]:
        """Sees the builds that the listings of folders show; returns the other requests, but where a listing failed."""
        folders: defaultdict[str, list[Followed]] = defaultdict(list)
        for one in followed:
            if not one.fresh and (job := one.request.handle.get("job")) is not None:
                folders[str(job).rpartition("/job/")[0]].append(one)
        later: set[str] = set()
        for folder, some in folders.items():
            if len(some) < FEW or self._failed[folder] >= ENOUGH:
                continue
            try:
                await self._in_folder(seen, folder, some)
                self._failed[folder] = 0
            except LookFailed as error:
                self._failed[folder] += ENOUGH if isinstance(error, NotShown) else 1
                failures.append(error.cause)
                later.update(one.target.id for one in some)
        return [one for one in followed if one.target.id not in seen.keys() | later]

    async def _in_folder(self, seen: dict[str, Observation], folder: str, some: Sequence[Followed]) -> None:
        call = wire.get(folder, f"jobs[name,builds[{wire.ROW}]{{0,{NEWEST}}}]", purpose="poll")
        answer = await read(self._send, call)
        if answer.status != 200 or not isinstance(mapping(answer.body).get("jobs"), list):
            raise wire.read_failed(answer, call.path)
        jobs = {
            f"{folder}{wire.job_path(name)}": rows(row.get("builds"))
            for row in rows(mapping(answer.body).get("jobs"))
            if isinstance(name := row.get("name"), str)
        }
        for one in some:
            row = _ours(one, jobs.get(str(one.request.handle["job"]), ()))
            if row is not None:
                seen[one.target.id] = self._begun(one, str(one.request.handle["job"]), row)

    async def _alone(self, one: Followed) -> Observation:
        """What is seen of one request by reading it itself."""
        found, repo = number_of(one), one.target.repo
        if found is None:
            answer = await self._read(f"/queue/item/{_item_of(one)}", f"{wire.ITEM},executable[number]", repo)
            if answer is not None:
                row = mapping(answer.body)
                if wire.item_of(row) != _item_of(one):
                    raise LookFailed(other_question(answer, "it shows another item").cause)
                if (found := number(mapping(row.get("executable")).get("number"))) is None:
                    return self._waits(one, row)
        job = str(one.request.handle.get("job") or await self._find_job(one.target))
        if found is None:
            return await self._by_item(one, job)
        answer = await self._read(f"{job}/{found}", wire.ROW, repo)
        if answer is None:
            return Observation(warning=f"Jenkins has no build {found} any more")
        build = _ours(one, [mapping(answer.body)], found)
        if build is None:
            raise LookFailed(other_question(answer, "it shows another build").cause)
        return self._begun(one, job, build)

    async def _by_item(self, one: Followed, job: str) -> Observation:
        """The build of an item that the queue has forgotten."""
        call = wire.get(job, f"builds[{wire.ROW}]", one.target.repo, "poll")
        answer = await read(self._send, call)
        found = mapping(answer.body).get("builds")
        if answer.status != 404 and (answer.status != 200 or not isinstance(found, list)):
            raise wire.read_failed(answer, call.path)
        row = _ours(one, rows(found))
        gone = Observation(warning=f"Jenkins knows neither item {quoted(one.request.id, 40)} nor a build of it")
        return gone if row is None else self._begun(one, job, row)

    async def _read(self, path: str, tree: str, repo: str) -> Answer | None:
        """An object's own page; None where it is not there."""
        answer = await read(self._send, wire.get(path, tree, repo, "poll"))
        if answer.status == 404:
            return None
        if answer.status != 200 or not mapping(answer.body):
            raise wire.read_failed(answer, path)
        return answer

    def _merged(self, one: Followed) -> Observation:
        reason = f"merged into item {one.request.id} of the queue, which was there before with the same parameters"
        return Observation((self._place(one, BuildState.SUPERSEDED, MERGED, reason),))

    def _waits(self, one: Followed, row: Mapping[str, Any]) -> Observation:
        """What an item of the queue shows that has no build."""
        if row.get("cancelled") is True:
            build = self._place(one, BuildState.CANCELED, CANCELED, "removed from the queue")
        else:
            held = row.get("blocked") is True or row.get("stuck") is True
            why = quoted(row.get("why"), 200).partition("(")[0].strip() if held else ""  # the rest changes all the time
            build = self._place(one, BuildState.QUEUED, WAITS, why or None)
        return self._checked(one, row, Observation((build,)))

    def _place(self, one: Followed, state: BuildState, native: str, reason: str | None) -> Build:
        job = one.request.handle.get("job")
        url = None if job is None else f"{self._url}{job}/"
        return Build(f"{QUEUE}{_item_of(one)}", state, native, url=url, branch=one.target.branch, reason=reason)

    def _begun(self, one: Followed, job: str, row: Mapping[str, Any]) -> Observation:
        """What a build of a request shows."""
        build, warning = build_of(row, f"{self._url}{job}/", one.target.branch)
        build = replace(build, replaces=f"{QUEUE}{_item_of(one)}")
        handle: dict[str, Json] = {**one.request.handle, "v": 1, "job": job, "number": int(build.id)}
        request = replace(one.request, handle=handle, url=build.url)
        return self._checked(one, row, Observation((build,), request=request, warning=warning))

    def _checked(self, one: Followed, row: Mapping[str, Any], seen: Observation) -> Observation:
        """What is seen, unless it carries another marker than the one that was sent."""
        shown = wire.parameter(row)
        if one.marker is None or shown is None:
            return seen
        if shown and shown != one.marker and one.request.handle.get("marked"):
            return Observation(marked=False, warning="Jenkins shows another trigger's marker there; it is not taken")
        return replace(seen, marked=shown == one.marker)


def build_of(row: Mapping[str, Any], page: str, branch: str | None) -> tuple[Build, str | None]:
    """A row as a build, be it one or an item that still waits, and a warning where its state is not known here.

    Args:
        page: of its job.
    """
    count = number(row.get("number"))
    if count is None:
        return Build(f"{QUEUE}{wire.item_of(row)}", BuildState.QUEUED, WAITS, url=page, branch=branch), None
    native, state, warning = native_of(row)
    began, took = seconds(row.get("timestamp")), seconds(row.get("duration"))
    shas = [mapping(each.get("lastBuiltRevision")).get("SHA1") for each in rows(row.get("actions"))]
    build = Build(
        id=str(count),
        state=state,
        native=native,
        number=str(count),
        url=f"{page}{count}/",
        sha=next((sha for sha in shas if isinstance(sha, str) and sha.isalnum() and len(sha) <= 64), None),
        branch=branch,
        created_at=began,
        started_at=began,
        finished_at=began + took if state.is_final and began is not None and took is not None else None,
        reason="unstable: it ran to its end, and tests failed" if native == "UNSTABLE" else None,
    )
    return build, warning


def native_of(row: Mapping[str, Any]) -> tuple[str, BuildState, str | None]:
    """Jenkins' word for a build, what it means, and a warning where the word is not known here.

    A result counts once the build is over: a pipeline may set it before.
    """
    word = quoted(row.get("result"), 40)
    if row.get("building") is not False or not word:
        return "building", BuildState.RUNNING, None
    return word, *known_word(word, STATES, wire.TITLE)


def number_of(one: Followed) -> int | None:
    """The number of the request's build, once it is known."""
    return number(one.request.handle.get("number"))


def _item_of(one: Followed) -> str:
    found = number(one.request.handle.get("item"))
    return str(found) if found is not None else one.request.id if one.request.id.isdecimal() else "0"


def _ours(one: Followed, found: Sequence[Mapping[str, Any]], count: int | None = None) -> Mapping[str, Any] | None:
    """The build of a request among rows: by its number, where that is known, and by its place in the queue."""
    count, item = count or number_of(one), _item_of(one)
    for row in found:
        shown = number(row.get("number"))
        if shown is not None and shown == (count or shown) and wire.item_of(row) in (item, None if count else item):
            return row
    return None


def seconds(millis: object) -> float | None:
    """An instant or a duration, as Jenkins writes it; None for anything else."""
    if isinstance(millis, bool) or not isinstance(millis, int | float) or not 0 < millis < LATEST * 1000:
        return None
    return millis / 1000.0
