"""A whole Travis CI in memory: one call in, one reply out, no input or output of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import gmtime, strftime

from orchestrator.lookalike.kit.chance import Chance
from orchestrator.lookalike.kit.counts import Counts
from orchestrator.lookalike.kit.faults import Fault, Faults, Handling
from orchestrator.lookalike.kit.gateway import Arrival, Gateway
from orchestrator.lookalike.kit.reply import Reply
from orchestrator.lookalike.travis.changes import Changes
from orchestrator.lookalike.travis.create import Create
from orchestrator.lookalike.travis.guard import Guard
from orchestrator.lookalike.travis.life import Life
from orchestrator.lookalike.travis.places import Places
from orchestrator.lookalike.travis.reads import Reads
from orchestrator.lookalike.travis.routes import table, way
from orchestrator.lookalike.travis.settings import FaultRule, Settings
from orchestrator.lookalike.travis.tables import Tables

Query = Sequence[tuple[str, str]]


class World:
    """The service and everything in it.

    Time is passed in as wall seconds, and must not go back. What is due since the last call is done first.

    Args:
        settings: see `Settings`.
        seed: replaces the settings' seed.
        began: when this world begins, for faults that hold for a while; the first call's time when None.
    """

    def __init__(self, settings: Settings, seed: int | None = None, began: float | None = None) -> None:
        self.settings = settings
        scaled = settings.scaled()
        self._began = began
        self._chance = Chance(settings.seed if seed is None else seed)
        self.counts = Counts()
        self.tables = Tables(scaled, self._chance)
        self.guard = Guard(scaled.burst, scaled.minute)
        self._life = Life(scaled, self._chance, self.tables)
        self._faults = Faults(settings.faults, self._chance)
        routes = table(
            Create(scaled, self._chance, self.tables, self._life, self.counts),
            Reads(scaled, self._chance, self.tables),
            Changes(scaled, self._chance, self.tables, self._life),
            Places(scaled, self.tables),
        )
        self._gateway = Gateway(scaled, self.tables, self.guard, routes, self.counts.refusals)

    def handle(
        self, method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes, now: float
    ) -> Reply:
        """One call.

        Args:
            path: as it came over the wire, still percent-encoded.
            query: decoded pairs.
            headers: names in lower case.

        Returns:
            The reply, and in `effect` what the transport is to do wrong with it.
        """
        arrival, now = Arrival(method, path, query, headers, body), now + self.settings.skew
        if self._began is None:
            self._began = now
        self._life.advance(now)
        if self._faults.rules:
            fault = self._faults.choose(method, now - self._began, lambda: self._names(path))
            if fault is not None:
                return self._faulty(fault, arrival, now)
        return self._serve(arrival, now)

    def advance(self, now: float) -> None:
        """Lets time pass without a call."""
        self._life.advance(now + self.settings.skew)

    def next_due(self) -> float | None:
        """When something next happens by itself, in the caller's time."""
        due = self._life.next_due()
        return None if due is None else due - self.settings.skew

    def plan_faults(self, rules: Sequence[FaultRule]) -> None:
        """Replaces the plan of faults; counting starts again."""
        self._faults = Faults(rules, self._chance)

    def _faulty(self, fault: Fault, arrival: Arrival, now: float) -> Reply:
        self.counts.faults[fault.name] += 1
        match fault.kind.handling:
            case Handling.NEVER:
                return fault.spoil(None)
            case Handling.LATE:
                self._life.later(now + fault.seconds, self._serve_late, arrival)
                return fault.spoil(None)
            case Handling.NOW:
                return fault.spoil(self._serve(arrival, now))
            case Handling.STUCK:
                return fault.spoil(self._serve(arrival, now, stuck=True))

    def _serve_late(self, at: float, arrival: Arrival) -> None:
        self._serve(arrival, at)

    def _serve(self, arrival: Arrival, now: float, stuck: bool = False) -> Reply:
        self.counts.calls.append(now)
        if arrival.method == "POST":
            self.counts.posts.append(now)
        reply = self._gateway.answer(arrival, now, stuck)
        self.counts.statuses[str(reply.status)] += 1
        reply.headers["Date"] = _date(int(now))
        if "x-request-id" in arrival.headers:
            reply.headers["X-Request-ID"] = arrival.headers["x-request-id"]
        return reply

    def _names(self, path: str) -> tuple[str, ...]:
        """The repository that a call is about, for faults."""
        inner = self._gateway.below_prefix(path)
        found = None if inner is None else way(inner.removeprefix("/v3"))
        if found is None:
            return ()
        kind, _, _ = found.template.partition("/")
        repo = self.tables.repo(found.vcs, found.names[0]) if kind == "repo" and found.names else None
        if kind == "build" and int(found.names[0]) in self.tables.builds:
            repo = self.tables.builds[int(found.names[0])].repo
        return () if repo is None else (repo.slug.lower(), str(repo.id))


@lru_cache(maxsize=64)
def _date(whole: int) -> str:
    return strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(whole))
