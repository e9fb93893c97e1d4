"""Toy CI: values into calls, answers into values."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.model import Account, Build, BuildState, Interval, Request, Target, Trigger
from orchestrator.providers.kit.answers import (
    check_receipt,
    instant,
    listed,
    mapping,
    not_accepted,
    not_welcome,
    number,
    quoted,
    read,
    read_failed,
    text,
)
from orchestrator.providers.kit.listings import Listing, Page, Search, entries_of, walk
from orchestrator.providers.port import Followed, Observation, Principal, Secrets
from orchestrator_toy.declaration import DECLARATION

TITLE, STATES = DECLARATION.title, DECLARATION.states
TOGETHER = 50  # ids in one call
MOST_PAGES = 40
CLOCKS = 60.0  # seconds by which clocks may differ


def headers(account: Account, token: str) -> Mapping[str, str]:
    """What every call carries."""
    return {"Authorization": f"Bearer {token}"}


class Toy:
    """One account on Toy CI."""

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._send = send
        self._url = account.url.rstrip("/")

    async def trigger(self, trigger: Trigger) -> Request:
        target = trigger.target
        body = {
            "repo": target.repo,
            "ref": target.branch,
            "note": trigger.message,  # ends with the marker
            "variables": target.request.get("env"),
            "machine": target.request.get("machine"),
        }
        limits = DECLARATION.trigger_limits
        answer = await self._send(Call("POST", "/runs", (), body, "trigger", limits, target.repo))
        receipt = mapping(answer.body)
        id_ = number(receipt.get("id"))
        if answer.status != 201 or id_ is None:
            raise not_accepted(answer, TITLE)
        check_receipt(trigger, answer, text=receipt.get("note"), repo=(receipt.get("repo"),))
        return self._request(str(id_))

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        since = asked.start - CLOCKS
        search = Search[Mapping[str, Any]](trigger, known, since)

        def take(runs: list[Mapping[str, Any]]) -> bool:
            for run in runs:
                id_, note = number(run.get("id")), run.get("note")
                search.add(str(id_ or ""), note if isinstance(note, str) else None, instant(run.get("made")), run)
            made = instant(runs[-1].get("made")) if runs else None
            return made is not None and made < since  # newest first: nothing of ours is further down

        await walk(self._send, _runs((("repo", trigger.target.repo),), "find"), take)
        return next((self._request(id_) for id_ in search.found()), None)

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        runs: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(followed), TOGETHER):
            ids = ",".join(one.request.id for one in followed[start : start + TOGETHER])
            for run in await entries_of(self._send, _runs((("ids", ids),), "poll")):
                runs[str(run.get("id"))] = run
        return {one.target.id: self._observed(one, runs.get(one.request.id, {})) for one in followed}

    async def cancel(self, target: Target, build: Build) -> bool:
        path = f"/runs/{build.id}/cancel"
        answer = await read(self._send, Call("POST", path, limits=DECLARATION.trigger_limits))
        if answer.status not in (202, 409):  # 409: it has ended
            raise read_failed(answer, path, TITLE)
        return answer.status == 202

    async def whoami(self) -> Principal:
        answer = await read(self._send, Call("GET", "/me"))
        login = text(mapping(answer.body).get("login"), 100)
        if answer.status != 200 or login is None:
            raise not_welcome(answer, self._url, TITLE) or read_failed(answer, "/me", TITLE)
        return Principal(login, login)

    def _request(self, id_: str) -> Request:
        return Request(id_, {"v": 1}, f"{self._url}/runs/{id_}")

    def _observed(self, one: Followed, run: Mapping[str, Any]) -> Observation:
        native = quoted(run.get("state"), 40)
        if not native:
            return Observation()  # not there: its clock decides
        began, ended = instant(run.get("began")), instant(run.get("ended"))
        state = STATES.get(native, BuildState.RUNNING)
        build = Build(one.request.id, state, native, url=one.request.url, started_at=began, finished_at=ended)
        marked = None if one.marker is None else one.marker in str(run.get("note"))
        return Observation((build,), marked=marked, warning=None if native in STATES else f"unknown state {native!r}")


def _runs(query: tuple[tuple[str, str], ...], purpose: str) -> Listing[int]:
    """A listing of runs, by the numbers of its pages."""

    def call_at(page: int) -> Call:
        return Call("GET", "/runs", (*query, ("page", str(page))), purpose=purpose)

    def page_of(page: int, answer: Answer) -> Page[int]:
        body = mapping(answer.body)
        return Page(listed(answer, body.get("runs"), "/runs", TITLE), number(body.get("next")))

    return Listing(1, call_at, page_of, MOST_PAGES)
