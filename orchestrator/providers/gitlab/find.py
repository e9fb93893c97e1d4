"""Finds the pipeline of a lost call again: by the marker in its name, else by the marker in its variables.

Variables are read one pipeline at a time, and only by Maintainers and by the user who started it: a pipeline whose
variables may not be read could be ours. An input is shown by the pipeline's name alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.core.calls import Send
from orchestrator.core.errors import NotShown
from orchestrator.core.model import Interval, Request, Trigger
from orchestrator.providers.gitlab import wire
from orchestrator.providers.gitlab.declaration import MARKER
from orchestrator.providers.kit.answers import instant, mapping, number, read, rows, text
from orchestrator.providers.kit.listings import Search, markers_in, walk

MOST_PAGES = 50  # of pipelines in the time of a doubt
MOST_READ = 100  # pipelines whose variables one look reads; more could be ours
MOST_KNOWN = 20_000  # pipelines whose markers are kept
WIDER = 120.0  # seconds before a lost call from which rows are read: clocks differ
SOURCES = ("api", "trigger", "pipeline")  # of pipelines that calls such as ours start


class Find:
    """The looks for lost calls of one account; what pipelines show of their markers is asked once, as it stays so."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._known: dict[str, str | None] = {}

    async def shown(self, lead: str, id_: int, repo: str, purpose: str) -> str | None:
        """The marker's variable of a pipeline, empty where it has none; None where variables may not be read.

        Args:
            lead: the path of its project.

        Raises:
            LookFailed: it cannot be learnt now.
        """
        path = f"{lead}/pipelines/{id_}/variables"
        if path not in self._known:
            answer = await read(self._send, wire.get(path, repo, purpose=purpose))
            found, shown = rows(answer.body), None
            if answer.status == 200 and isinstance(answer.body, list) and len(found) == len(answer.body):
                own = [row.get("value") for row in found if row.get("key") == MARKER]
                shown = " ".join(map(str, own)) if all(isinstance(one, str) for one in own) else None
            elif not isinstance(error := wire.read_failed(answer, path), NotShown | wire.Forbidden):
                raise error
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[path] = shown
        return self._known[path]

    async def __call__(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """One look, as the port says.

        Raises:
            InDoubt: a pipeline may be ours.
            LookFailed: the listing did not come.
        """
        since, until = asked.start - WIDER, asked.end + trigger.target.timeouts.settle
        unmarked = "whose marker may not be read"
        search = Search[Mapping[str, Any]](trigger, known, since, unmarked, lambda row: wire.build_of(row)[0])
        lead, repo = wire.home(trigger.target, trigger.prepared), trigger.target.repo
        is_input = "marker_input" in trigger.target.request
        possible: list[Mapping[str, Any]] = []

        def take(entries: list[Mapping[str, Any]]) -> bool:
            possible.extend(row for row in entries if _may_be(trigger, row, since, until))
            made = instant(entries[-1].get("created_at")) if entries else None
            return made is not None and made < since

        call = wire.get(f"{lead}/pipelines", repo, (("order_by", "id"), ("sort", "desc")), "find")
        await walk(self._send, wire.listing(call, MOST_PAGES), take)
        for place, row in enumerate(possible):
            id_, shown = number(row.get("id")), text(row.get("name"))
            if str(id_) in known:  # what it shows matters only where it is this marker
                shown = shown or ""
            elif id_ is not None and str(trigger.marker) not in (shown or "") and not is_input:
                shown = await self.shown(lead, id_, repo, "find") if place < MOST_READ else None
            found = list(markers_in(shown or ""))
            if id_ is None or not found or trigger.marker in found:  # else it is another's
                search.add(None if id_ is None else str(id_), shown, instant(row.get("created_at")), row)
        ours = search.found()
        if not ours:
            return None
        first = min(ours, key=int)  # had there been several, the first was answered
        return wire.request_of(first, ours[first])


def _may_be(trigger: Trigger, row: Mapping[str, Any], since: float, until: float) -> bool:
    """Whether a row may be the trigger's, by its time, kind and ref."""
    made, source, shown = instant(row.get("created_at")), row.get("source"), row.get("ref")
    ref = trigger.target.branch or mapping(trigger.prepared).get("ref")
    if number(row.get("id")) is None or str(trigger.marker) in (text(row.get("name")) or ""):
        return True
    if made is not None and not since <= made <= until:
        return False
    if isinstance(source, str) and source not in SOURCES:
        return False
    return not isinstance(ref, str) or not isinstance(shown, str) or wire.bare_ref(ref) == wire.bare_ref(shown)
