"""Polls many runs with few calls.

A run is read by itself when it is new, when it has ended, and when it must be fresh: its id gives the id of its node.
In between one GraphQL call shows the states of five hundred nodes. Where there is no GraphQL, runs are read by
themselves, with their ETag: an answer that nothing changed costs nothing of the hourly limit.

A request without a run's id (an event; a server that tells none) is looked for in the runs of its repository: by its
marker, else, once `settle` is over, as the only one that it can be. More runs may come until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import LookFailed
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, Json, Request
from orchestrator.limits.headers import server_time
from orchestrator.providers.github import wire
from orchestrator.providers.github.declaration import READS, REASONS
from orchestrator.providers.github.observe import COMPLETED, may_be, native_of, observed
from orchestrator.providers.kit.answers import instant, mapping, number, other_question, read, rows, text
from orchestrator.providers.kit.etags import Known
from orchestrator.providers.kit.forge import run_path
from orchestrator.providers.kit.listings import walk
from orchestrator.providers.kit.rounds import Seen, polled
from orchestrator.providers.port import Followed, Observation

NODES, FIELDS = 100, 5  # ids in one field, and fields in one call
MOST = NODES * FIELDS
MOST_PAGES = 10  # of runs of one repository since a trigger
CLOCKS = 2.0  # seconds by which the server's own clocks may differ
_SHOWN = "id ... on WorkflowRun { updatedAt checkSuite { status conclusion } }"


class Poll:
    """The polls of one account. It remembers only what saves calls: no verdict rests on it.

    Args:
        graphql: its path, and whether that stands beside the account's URL.
        by_owner: whether each owner's runs are seen with a token of their own.
    """

    def __init__(self, send: Send, graphql: tuple[str, bool], *, by_owner: bool = False) -> None:
        self._send = send
        self._by_owner = by_owner
        self._graphql = graphql
        self._has_graphql = True
        self._nodes: dict[int, str] = {}
        self._known = Known(send)
        self._owner_of: dict[int, str] = {}  # by run, the target

    async def __call__(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """One round; LookFailed, AccessRefused or RateLimited where nothing at all was learnt."""
        return await polled(
            followed,
            lambda one: self._read_runs(one) if is_settled(one) else self._seek(one, followed),
            self._ask_nodes,
        )

    async def _read_runs(self, one: Followed) -> Observation:
        there = [row for id_ in ids_of(one) if (row := await self._run(one, id_)) is not None]
        nothing = Observation(warning=f"GitHub shows no run {one.request.id[:40]!r}, or not to this token")
        return observed(one, there) if there else nothing

    async def _run(self, one: Followed, id_: int) -> Mapping[str, Any] | None:
        """A run, None where it is not there.

        Raises:
            LookFailed: it cannot be read now.
        """
        path = run_path(one.target.repo, id_)
        call = wire.get(path, one.target.repo, purpose="poll")
        answer = await (read(self._send, call) if self._has_graphql else self._known.read(call, fresh=one.fresh))
        if answer.status == 404:
            return None
        body = mapping(answer.body)
        if answer.status != 200 or number(body.get("id")) is None or not isinstance(body.get("status"), str):
            raise wire.read_failed(answer, path)
        if body["id"] != id_:
            raise LookFailed(f"{path}: {other_question(answer, 'it shows another run').cause}")
        self._nodes[id_], self._owner_of[id_] = text(body.get("node_id"), 200) or "", one.target.id
        if body["status"] == COMPLETED:
            self._known.forget(path)
        return body

    def _nodes_of(self, one: Followed) -> list[str]:
        """The nodes of all its runs; none where one is not known."""
        nodes = [self._nodes.get(id_, "") for id_ in ids_of(one)]
        return nodes if all(nodes) else []

    async def _ask_nodes(self, seen: Seen, failures: list[str], followed: Sequence[Followed]) -> list[Followed]:
        """Asks for the states of the nodes that are known; returns the requests that must be read by themselves."""
        nodes = {one.target.id: self._nodes_of(one) for one in followed if is_settled(one) and not one.fresh}
        together = [one for one in followed if one.build is not None and nodes.get(one.target.id)]
        left = [one for one in followed if one.build is None or not nodes.get(one.target.id)]
        whose = dict.fromkeys(one.target.owner for one in together) if self._by_owner else (None,)
        lots = [[one for one in together if owner in (None, one.target.owner)] for owner in whose]
        for some in (lot[start : start + MOST] for lot in lots for start in range(0, len(lot), MOST)):
            owner = some[0].target.owner if self._by_owner else None
            try:
                states = await self._states([node for one in some for node in nodes[one.target.id]], owner)
            except LookFailed as error:
                failures.append(error.cause)
                continue
            for one in some:
                if (shown := _going_on(one, [states.get(node, {}) for node in nodes[one.target.id]])) is not None:
                    seen[one.target.id] = shown
                else:
                    left.append(one)
        return left

    async def _states(self, nodes: Sequence[str], owner: str | None) -> Mapping[str, Mapping[str, Any]]:
        """What GraphQL shows of nodes, by their ids; nothing where there is no GraphQL.

        Raises:
            LookFailed: it did not answer this time.
        """
        if not self._has_graphql:
            return {}
        chunks = {f"n{start // NODES}": list(nodes[start : start + NODES]) for start in range(0, len(nodes), NODES)}
        head = ", ".join(f"${name}: [ID!]!" for name in chunks)
        fields = " ".join(f"{name}: nodes(ids: ${name}) {{ {_SHOWN} }}" for name in chunks)
        body: dict[str, Json] = {"query": f"query({head}) {{ {fields} }}", "variables": chunks}
        path, beside = self._graphql
        call = Call("POST", path, (), body, "poll", READS, owner, beside=beside, is_look=True)
        answer = await read(self._send, call)
        data = mapping(mapping(answer.body).get("data"))
        if answer.status == 200 and data:
            return {str(node.get("id")): node for name in chunks for node in rows(data.get(name))}
        if answer.status in (404, 405) or (answer.status == 200 and "errors" in mapping(answer.body)):
            self._has_graphql = answer.status == 200  # else not every server has it
            return {}
        raise wire.read_failed(answer, path)

    async def _seek(self, one: Followed, all_: Sequence[Followed]) -> Observation:
        """Looks for the runs of a request in its repository's newest ones."""
        sent = one.request.handle.get("sent")
        since = (sent if isinstance(sent, int | float) else one.since) - CLOCKS
        found: dict[int, Mapping[str, Any]] = {}
        now: list[float] = []

        def take(entries: list[Mapping[str, Any]]) -> bool:
            found.update({id_: row for row in entries if (id_ := number(row.get("id"))) is not None})
            made = instant(entries[-1].get("created_at")) if entries else None
            return made is not None and made < since

        async def send(call: Call) -> Answer:
            answer = await self._send(call)
            now.append(server_time(answer.headers) or 0.0)
            return answer

        await walk(send, wire.runs(one.target, "poll", MOST_PAGES), take)
        is_over = now[-1] >= since + CLOCKS + one.target.timeouts.settle
        ours = {id_: row for id_, row in found.items() if one.marker and one.marker in (wire.shown_in(row) or "")}
        if not ours and is_over:
            ours = self._left(one, found, since)
            others = [other for other in all_ if other.target.repo == one.target.repo and not is_settled(other)]
            if len(others) > 1 or (len(ours) > 1 and "event" not in one.target.request):
                return Observation(warning=f"{len(ours)} runs may be the one that was asked for; none shows the marker")
        if not ours:
            return Observation()
        is_over, first = is_over or "event" not in one.target.request, min(ours)
        self._owner_of.update(dict.fromkeys(ours, one.target.id))
        handle = {**one.request.handle, "runs": sorted(ours), "open": not is_over}
        request = Request(str(first), handle, text(ours[first].get("html_url")))
        return replace(observed(one, ours.values(), is_over=is_over), request=request)

    def _left(
        self, one: Followed, found: Mapping[int, Mapping[str, Any]], since: float
    ) -> dict[int, Mapping[str, Any]]:
        """The runs without a marker that can be the request's, and are no other's."""
        until = since + 2 * CLOCKS + one.target.timeouts.settle
        return {
            id_: row
            for id_, row in found.items()
            if may_be(one.target, one.marker, row)
            and self._owner_of.get(id_, one.target.id) == one.target.id
            and since <= (instant(row.get("created_at")) or 0.0) <= until
        }


def is_settled(one: Followed) -> bool:
    """Whether all runs of the request are known."""
    return bool(ids_of(one)) and not one.request.handle.get("open")


def ids_of(one: Followed) -> list[int]:
    """The ids of the request's runs, as far as they are known."""
    more = one.request.handle.get("runs")
    ids = [int(one.request.id)] if one.request.id.isascii() and one.request.id.isdigit() else []
    return list(dict.fromkeys([*ids, *(id_ for id_ in more if number(id_))])) if isinstance(more, list | tuple) else ids


def _going_on(one: Followed, shown: Sequence[Mapping[str, Any]]) -> Observation | None:
    """What the states of nodes show while none of them is completed or unknown; None: read them."""
    suites = [mapping(each.get("checkSuite")) for each in shown]
    if any(suite.get("status") in (None, COMPLETED.upper()) for suite in suites):
        return None
    if len(shown) > 1 or one.build is None:
        return Observation()
    native, state, warning = native_of(str(suites[0].get("status")).lower(), None)
    began = one.build.started_at
    if began is None and native == "in_progress":
        began = instant(shown[0].get("updatedAt"))
    build: Build = replace(one.build, native=native, state=state, started_at=began, reason=REASONS.get(native))
    return Observation((build,), warning=warning)
