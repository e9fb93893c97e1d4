"""One call to a GitLab: whose project and pipeline it is about, its pages, its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlencode

from orchestrator.lookalike.gitlab import shapes
from orchestrator.lookalike.gitlab.rows import Pipeline, Project, Tables
from orchestrator.lookalike.kit import rows as kit
from orchestrator.lookalike.kit.counters import FixedWindows
from orchestrator.lookalike.kit.http import Object, Refused, Reply, json_reply, page_of, text

MOST_PAGE, USUAL_PAGE = 100, 20


class Context(kit.Context[Tables]):
    """One call, and all that there is; `creates` counts new pipelines, `is_known` says whether a user calls."""

    creates: FixedWindows
    is_known: bool

    @property
    def user(self) -> Object:
        """The user whose token it is."""
        return shapes.user(self.tables.settings.login, self.tables.settings.user_id, self.base)

    def project(self) -> Project:
        """The project of the path, by path or number; one that was renamed is elsewhere."""
        name = unquote(self.names["project"]).lower()
        found = self.tables.projects.get(name)
        if found is None and (moved := self.tables.moved.get(name)) is not None:
            rest = self.call.path.partition(f"/projects/{self.names['project']}")[2]
            query = f"?{urlencode(self.call.query)}" if self.call.query else ""
            reply = text(301, "This resource has been moved permanently\n")
            reply.headers["Location"] = f"{self.base}/api/v4/projects/{moved.id}{rest}{query}"
            raise Refused(reply, "moved")
        if found is None or (found.spec.private and not self.is_known):
            raise failed(404, "404 Project Not Found")
        return found

    def pipeline(self) -> Pipeline:
        """The pipeline of the path."""
        found = self.tables.pipelines.get(int(self.names["pipeline"]))
        if found is None or found.project is not self.project() or found.visible_at > self.now:
            raise failed(404, "404 Not found")
        return found

    def writable(self) -> Pipeline:
        """The pipeline of the path, where the token may change it."""
        found = self.pipeline()
        if not found.project.spec.may_trigger:
            raise failed(403, "403 Forbidden")
        return found

    def page(self, rows: Sequence[Any], show: Callable[[Any], Object]) -> Reply:
        """A page of rows, by offset or by keys, with the headers that lead on."""
        query = self.query
        if query.get("pagination") == "keyset":
            after = int(query.get("id_after", "0"))
            rows = sorted((row for row in rows if row.id > after), key=lambda row: row.id)
            shown, more = page_of(rows, {**query, "page": ""}, MOST_PAGE, USUAL_PAGE)
            reply = json_reply(200, [show(row) for row in shown])
            return self._linked(reply, {"next": {**query, "id_after": shown[-1].id}} if more else {})
        shown, more = page_of(rows, query, MOST_PAGE, USUAL_PAGE)
        page, size = int(query.get("page") or 1), min(MOST_PAGE, int(query.get("per_page") or USUAL_PAGE))
        reply = json_reply(200, [show(row) for row in shown])
        counts = {"Page": page, "Per-Page": size, "Next-Page": page + 1 if more else "", "Total": len(rows)}
        counts.update({"Prev-Page": page - 1 if page > 1 else "", "Total-Pages": max(1, -(-len(rows) // size))})
        reply.headers.update({f"X-{name}": str(it) for name, it in counts.items()})
        links = {"next": page + 1} if more else {}
        return self._linked(reply, {name: {**query, "page": it} for name, it in {**links, "first": 1}.items()})

    def _linked(self, reply: Reply, links: Mapping[str, Mapping[str, Any]]) -> Reply:
        there = [f'<{self.base}{self.call.path}?{urlencode(it)}>; rel="{name}"' for name, it in links.items()]
        reply.headers.update({"Link": ", ".join(there)} if there else {})
        return reply


def failed(status: int, message: object) -> Refused:
    """An error in GitLab's form."""
    return Refused(json_reply(status, {"message": message}), str(message)[:60])


def refused(sentence: str) -> Refused:
    """What GitLab refuses a pipeline with; nothing is stored (reference 4.4)."""
    return failed(400, {"base": [sentence]})


def lacking(**given: object) -> Refused:
    """A parameter is missing (reference 3.3)."""
    return Refused(
        json_reply(400, {"error": ", ".join(f"{it} is missing" for it in given if not given[it])}), "missing"
    )
