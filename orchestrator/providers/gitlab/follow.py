"""Polls many pipelines with few calls.

A pipeline is read by itself when it is new, when it has ended, and when it must be fresh. In between one GraphQL call
shows the states of twenty, or of as many as the server's own measure of such a call allows. Where there is no GraphQL,
each is read by itself.

Once a pipeline has ended, its bridges are read: the pipelines that it started count, too, unless they may fail. While
one of them goes on, so does the target; they may have started others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from orchestrator.core.calls import Call, Send
from orchestrator.core.errors import LookFailed, NotShown
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, Json
from orchestrator.providers.gitlab import wire
from orchestrator.providers.gitlab.declaration import READS, REASONS
from orchestrator.providers.gitlab.find import Find
from orchestrator.providers.kit.answers import instant, mapping, number, other_question, read, text
from orchestrator.providers.kit.listings import entries_of
from orchestrator.providers.kit.rounds import Seen, polled
from orchestrator.providers.port import Followed, Observation

PER_QUERY, MOST_PER_QUERY = 20, 60  # pipelines in one GraphQL call, at first and at most
LONGEST_QUERY = 9_500  # characters of the fields; 10,000 with what stands around them
LEVELS, MOST_BELOW = 3, 100  # of pipelines that start others; of pipelines below one
MOST_HIDDEN = 5  # projects that hide variables, after which no more are asked whether the marker shows
GRAPHQL = "/api/graphql"


class Poll:
    """The polls of one account. It remembers only what saves calls: no verdict rests on it."""

    def __init__(self, account: Account, send: Send, find: Find) -> None:
        self._url = account.url
        self._send = send
        self._find = find
        self._size = PER_QUERY
        self._has_graphql = True
        self._shows: set[str] = set()  # what carries markers that were seen
        self._hidden = 0

    async def __call__(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """One round."""
        return await polled(followed, self._read, self._ask_together)

    async def _read(self, one: Followed) -> Observation:
        lead, id_ = wire.home(one.target, one.request.handle), _id_of(one)
        path = f"{lead}/pipelines/{id_}"
        call = wire.get(path, one.target.repo, purpose="poll")
        answer = await read(self._send, call)
        body = mapping(answer.body)
        if answer.status == 404 and isinstance(wire.read_failed(answer, path), NotShown):
            return Observation(warning=f"GitLab shows no pipeline {id_}, or not to this token")
        if answer.status != 200 or number(body.get("id")) is None or not isinstance(body.get("status"), str):
            raise wire.read_failed(answer, path)
        if body["id"] != id_:
            raise LookFailed(f"{path}: {other_question(answer, 'it shows another pipeline').cause}")
        build, warning = wire.build_of(body)
        builds = [build]
        if build.state.is_final:
            more, told = await self._below(lead, build, one.target.repo)
            builds, warning = [build, *more], warning or told
        return Observation(tuple(builds), marked=await self._marked(one, lead, id_, body), warning=warning)

    async def _marked(self, one: Followed, lead: str, id_: int, body: Mapping[str, Any]) -> bool | None:
        """Whether the pipeline shows its marker; asked until one did."""
        carrier = str(one.target.request.get("marker_input", ""))
        proof = f"{one.target.repo} {carrier}" if carrier else ""
        if one.marker is None or proof in self._shows:
            return None
        is_marked: bool | None = one.marker in (text(body.get("name")) or "") or None
        if not is_marked and not carrier and one.build is None and self._hidden < MOST_HIDDEN:
            try:
                shown = await self._find.shown(lead, id_, one.target.repo, "poll")
            except LookFailed:  # that of the pipeline is worth more: another one will tell
                return None
            self._hidden += shown is None
            is_marked = None if shown is None else one.marker in shown
        if is_marked:
            self._shows.add(proof)
        return is_marked

    async def _below(self, lead: str, build: Build, repo: str, level: int = 1) -> tuple[list[Build], str | None]:
        """The pipelines that one started, those that they started, and a warning; without those that may fail."""
        call = wire.get(f"{lead}/pipelines/{build.id}/bridges", repo, purpose="poll")
        try:
            bridges = await entries_of(self._send, wire.listing(call, MOST_BELOW // wire.PAGE + 1))
        except (NotShown, wire.Forbidden):  # such as another project's
            return [], None
        found: list[Build] = []
        warning = None
        for bridge in bridges:
            row = mapping(bridge.get("downstream_pipeline"))
            if number(row.get("id")) is None or bridge.get("allow_failure") is True or len(found) >= MOST_BELOW:
                continue
            one, told = wire.build_of(row)
            found.append(one)
            warning = warning or told
            project = wire.project_in(one.url, self._url)
            if one.state.is_final and project is not None and level < LEVELS:
                more, told = await self._below(wire.project_path(project), one, repo, level + 1)
                found, warning = found + more, warning or told
        return found[:MOST_BELOW], warning

    async def _ask_together(self, seen: Seen, failures: list[str], followed: Sequence[Followed]) -> list[Followed]:
        """Asks GraphQL for what it can show; returns the requests that must be read by themselves."""
        asked = [(one, field) for one in followed if _is_going(one) and not one.fresh and (field := self._field(one))]
        if len(asked) < 2:
            return list(followed)
        known = {one.target.id for one, _ in asked}
        left = [one for one in followed if one.target.id not in known]
        while asked and self._has_graphql:
            lengths = accumulate(len(field) for _, field in asked[: self._size])
            some = asked[: max(1, sum(length <= LONGEST_QUERY for length in lengths))]
            try:
                shown = await self._states([field for _, field in some])
            except LookFailed as error:
                failures.append(error.cause)
                asked = asked[len(some) :]
                continue
            asked = asked if shown is None else asked[len(some) :]  # None: too much at once, or no GraphQL
            for (one, _), row in zip(some, shown or (), strict=False):
                if (observed := _going_on(one, row)) is not None:
                    seen[one.target.id] = observed
                else:
                    left.append(one)
        return left + [one for one, _ in asked]

    def _field(self, one: Followed) -> str | None:
        """What shows its pipeline in a query; None where the path of its project is not known."""
        known = one.build.url if one.build is not None else None
        project = wire.project_in(known or one.request.url, self._url)
        if project is None:
            return None
        id_ = f"gid://gitlab/Ci::Pipeline/{_id_of(one)}"
        return (
            f"project(fullPath: {json.dumps(project)}) {{ pipeline(id: {json.dumps(id_)}) {{ id status startedAt }} }}"
        )

    async def _states(self, fields: Sequence[str]) -> list[Mapping[str, Any]] | None:
        """The pipelines of these fields, empty where one is not shown; None where the server takes no such call.

        Raises:
            LookFailed: it did not answer this time.
        """
        query = " ".join(f"p{number}: {field}" for number, field in enumerate(fields))
        body: dict[str, Json] = {"query": f"query {{ queryComplexity {{ score limit }} {query} }}"}
        call = Call("POST", GRAPHQL, (), body, "poll", READS, is_look=True)
        answer = await read(self._send, call)
        found = mapping(answer.body)
        data = mapping(found.get("data"))
        if answer.status == 200 and data:
            self._measure(mapping(data.get("queryComplexity")), len(fields))
            return [mapping(mapping(data.get(f"p{number}")).get("pipeline")) for number in range(len(fields))]
        if answer.status == 200 and "errors" in found and self._size > 1:
            self._size = max(1, min(self._size, len(fields)) // 2)
            return None
        if answer.status in (404, 405) or (answer.status == 200 and "errors" in found):
            self._has_graphql = False
            return None
        raise wire.read_failed(answer, GRAPHQL)

    def _measure(self, cost: Mapping[str, Any], fields: int) -> None:
        """As many at once as the server's own measure of a call allows, and its length."""
        score, limit = number(cost.get("score")), number(cost.get("limit"))
        if score and limit:
            self._size = max(1, min(MOST_PER_QUERY, fields * limit // score))


def _is_going(one: Followed) -> bool:
    """Whether its own pipeline was last seen to go on."""
    return one.build is not None and one.build.id == one.request.id and not one.build.state.is_final


def _id_of(one: Followed) -> int:
    """The pipeline's number; 0, which none has, where an id was typed that is none."""
    id_ = one.request.id
    return int(id_) if id_.isascii() and id_.isdigit() and len(id_) < 19 else 0


def _going_on(one: Followed, row: Mapping[str, Any]) -> Observation | None:
    """What GraphQL shows of a pipeline while it goes on, in a state that is known; None: read it."""
    native, state, warning = wire.native_of(str(row.get("status")).lower())
    is_it = str(row.get("id")).endswith(f"/{_id_of(one)}")
    if one.build is None or not is_it or state.is_final or warning is not None:
        return None
    began = instant(row.get("startedAt")) or one.build.started_at
    changed: Build = replace(one.build, native=native, state=state, started_at=began, reason=REASONS.get(native))
    return Observation((changed,))
