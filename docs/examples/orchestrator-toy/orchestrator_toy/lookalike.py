"""Toy CI in memory: runs that wait two seconds, go for five, and are green."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from orchestrator.core.model import Account, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit import CommonSettings, LookAlike
from orchestrator.lookalike.kit.http import Incoming, NoRoute, Refused, Reply, Routes, json_reply, route
from orchestrator.lookalike.kit.settings import convert

PAGE = 50


class ToySettings(CommonSettings, frozen=True, kw_only=True):
    repos: tuple[str, ...] = ("acme/svc-001", "acme/svc-002")
    waits: float = 2.0
    goes: float = 5.0


@dataclass
class Run:
    id: int
    slug: str
    marked: str
    created_at: float
    stopped_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "repo": self.slug, "note": self.marked, "made": stamp(self.created_at)}


class ToyLookAlike(LookAlike):
    settings: ToySettings

    @classmethod
    def from_settings(cls, given: Mapping[str, Any]) -> "ToyLookAlike":
        return cls(convert(ToySettings, given))

    @classmethod
    def for_plan(
        cls, targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID
    ) -> "ToyLookAlike":
        login = f"sandbox-{token_hex(3)}"  # limits that are remembered for one do not slow down the next
        repos = tuple({target.repo: None for target in targets})
        return cls(ToySettings(repos=repos, login=login, rehearsal=rehearsal))

    def repo_names(self, path: str) -> Collection[str]:
        return ()

    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        if call.headers.get("authorization") != f"Bearer {self.settings.token}":
            raise refused(401, "bad token")
        try:
            _, method, names = Routes(self).find(call.method, call.path)
        except NoRoute:
            raise refused(404, "no such page") from None
        return method(call, now, **names)

    @route("GET /me")
    def me(self, call: Incoming, now: float) -> Reply:
        return json_reply(200, {"login": self.settings.login})

    @route("POST /runs")
    def start(self, call: Incoming, now: float) -> Reply:
        given = json.loads(call.body)
        if given["repo"] not in self.settings.repos:
            raise refused(404, f"no repository {given['repo']}")
        run = Run(len(self.counters.accepted) + 1, given["repo"], given["note"] or "", now)
        self.counters.accepted.append(run)
        return json_reply(201, run.as_json())

    @route("GET /runs")
    def list(self, call: Incoming, now: float) -> Reply:
        query = dict(call.query)
        ids, page = query.get("ids", "").split(","), int(query.get("page", 1))
        runs = [run for run in self.counters.accepted if run.slug == query.get("repo") or str(run.id) in ids]
        shown = runs[::-1][(page - 1) * PAGE : page * PAGE]
        following = page + 1 if len(runs) > page * PAGE else None
        return json_reply(200, {"runs": [self._row(run, now) for run in shown], "next": following})

    @route("POST /runs/{run:int}/cancel")
    def cancel(self, call: Incoming, now: float, run: str) -> Reply:
        one = self.counters.accepted[int(run) - 1]
        if "ended" in self._row(one, now):
            raise refused(409, "it has ended")
        one.stopped_at = now
        return json_reply(202, {})

    def _row(self, run: Run, now: float) -> dict[str, Any]:
        began = run.created_at + self.settings.waits
        ended = began + self.settings.goes
        row = run.as_json()
        if run.stopped_at is not None:
            return {**row, "state": "stopped", "ended": stamp(run.stopped_at)}
        if now < began:
            return {**row, "state": "waiting"}
        if now < ended:
            return {**row, "state": "going", "began": stamp(began)}
        state = "red" if self.settings.rehearsal.is_to_fail((run.slug,), None, 0) else "green"
        return {**row, "state": state, "began": stamp(began), "ended": stamp(ended)}


def refused(status: int, message: str) -> Refused:
    return Refused(json_reply(status, {"message": message}), message)


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
