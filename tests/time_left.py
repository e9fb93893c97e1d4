"""Random runs in virtual time, and how long each still took at every tenth of it: what the time left is held against.

The runs are driven by the engine against a small service with a bound on the builds that it runs at once; builds take
longer or shorter than before, or nothing is known of them. Nothing of the forecast's own arithmetic is used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from random import Random
from typing import Any

from fake_service import FAKE, FakeService, Received, make_run, targets

from orchestrator.core.errors import Exit
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import Limit, Target
from orchestrator.engine.engine import Engine, Options
from orchestrator.forecast import Times
from orchestrator.forecast.outlook import Ahead, Outlook
from orchestrator.journal.history import facts_of
from orchestrator.journal.port import Process
from orchestrator.testing import MemoryJournal

PACES = ((40, 30.0), (10, 60.0), (5, 10.0), (100, 30.0), (30, 60.0))
DRIFTS = (1.0, 1.0, 1.0, 0.6, 1.5, 2.5)  # how many times as long as before builds take
TENTHS = range(1, 10)


@dataclass(slots=True)
class BusyService(FakeService):
    """The same with builds of random lengths, of which it runs so many at once.

    Args:
        usual: seconds that builds of a repository take in the middle.
        at_once: builds that run at once.
        spread: how much the builds of one repository differ (sigma of the logarithm).
    """

    usual: Mapping[str, float] = field(default_factory=dict)
    at_once: int = 1000
    spread: float = 0.1
    dice: Random = field(default_factory=lambda: Random(0))
    _spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    _ends: list[float] = field(default_factory=list)

    def _accept(self, repo: str, message: str) -> Received:
        one = FakeService._accept(self, repo, message)
        ready, runs = one.at + self.dice.uniform(2.0, 5.0), self.usual[repo] * self.dice.lognormvariate(0, self.spread)
        if len(self._ends) < self.at_once:
            start = ready
            heappush(self._ends, start + runs)
        else:
            start = max(ready, self._ends[0])
            heapreplace(self._ends, start + runs)
        self._spans[one.id] = start, start + runs
        return one

    def _build(self, one: Received) -> dict[str, Any] | None:
        now, (start, end) = self.now(), self._spans[one.id]
        if now < one.at + 1.0:
            return None
        build: dict[str, Any] = {"id": f"b{one.id}"}
        if now < start:
            return {**build, "state": "queued"}
        build |= {"started_at": start}
        return {**build, "state": "running"} if now < end else {**build, "state": "passed", "finished_at": end}


class Told(Struct, frozen=True):
    """What was told at a tenth of a run, and what came of it: seconds to the last trigger, and to the last build."""

    tenth: int
    ahead: Ahead
    trigger_left: float
    trigger_fact: float
    build_left: float
    build_fact: float

    @property
    def build_off(self) -> float:
        """As a share of what came."""
        return abs(self.build_left - self.build_fact) / self.build_fact

    @property
    def trigger_off(self) -> float | None:
        """The same of the last trigger; None once it has left."""
        return abs(self.trigger_left - self.trigger_fact) / self.trigger_fact if self.trigger_fact > 1.0 else None


def engine_of(journal: MemoryJournal, service: FakeService) -> Engine:
    """The engine that drives them."""
    return Engine(
        "r1", journal, service.connect, Options(), now=service.now, process=Process("h", "b", 1, "1"), random=Random(1)
    )


def plan_of(dice: Random, most: int) -> tuple[Target, ...]:
    """Targets of a few owners: some with several branches, some that need others."""
    owners = [f"o{number}" for number in range(dice.choice((1, 1, 2, 4)))]
    names = [f"{dice.choice(owners)}/r{number}" for number in range(dice.randint(12, most))]
    branches = dice.choice((("main",), ("main",), ("main", "next", "old")))
    made = list(targets(*(f"{name}@{branch}" for branch in branches for name in names)))
    if dice.random() < 0.25:
        base = made[0].id
        later = {one.id for one in dice.sample(made[1:], len(made) // 3)}
        made = [targets(one.id[5:], needs=(base,))[0] if one.id in later else one for one in made]
    return tuple(made)


def before(dice: Random, usual: Mapping[str, float], drift: float, spread: float) -> Times:
    """What earlier runs tell: nothing, of most repositories, or of all."""
    known = dice.choice((0.0, 0.8, 1.0, 1.0))
    repos = {
        ("fake", repo): tuple(
            sorted(seconds / drift * dice.lognormvariate(0, spread) for _ in range(dice.randint(1, 6)))
        )
        for repo, seconds in usual.items()
        if dice.random() < known
    }
    spread_out = sorted(length for lengths in repos.values() for length in lengths)
    accounts = {"fake": tuple(spread_out[:: max(1, len(spread_out) // 20)])} if repos else {}
    return Times(latency=0.1, repos=repos, accounts=accounts, builds=len(spread_out))


async def played(seed: int, most: int = 90) -> Sequence[Told]:
    """One random run, and what is told at each tenth of it.

    Args:
        most: repositories.
    """
    dice = Random(seed)
    wanted = plan_of(dice, most)
    middle, spread, drift = dice.choice((30.0, 90.0, 300.0)), dice.choice((0.05, 0.15, 0.3)), dice.choice(DRIFTS)
    usual = {repo: middle * dice.lognormvariate(0, 0.5) for repo in sorted({one.repo for one in wanted})}
    times = before(dice, usual, drift, spread)
    service = BusyService(usual=usual, at_once=dice.choice((4, 12, 1000)), spread=spread, dice=Random(seed + 1))
    journal = MemoryJournal(now=service.now)
    pace = (Limit("triggers", *dice.choice(PACES)), Limit("triggers_per_repo", 10, 3600.0, "repo"))
    began = service.now()
    await make_run(journal, wanted, "r1", began, limits=pace, in_flight=dice.choice((None, None, 6, 20)))
    engine = engine_of(journal, service)
    assert await engine.run() == Exit.OK
    assert engine.history is not None
    known = [engine.history.of(one.id) for one in wanted]
    last_trigger = max(one.triggered_at or 0.0 for one in known)
    last_build = max(one.verdict.at for one in known if one.verdict)
    entries = sorted((entry for _, entry in await facts_of(journal, "r1")), key=lambda entry: entry.at)
    history, told, place = History(wanted), list[Told](), 0
    for tenth in TENTHS:
        now = began + (last_build - began) * tenth / 10
        while place < len(entries) and entries[place].at <= now:
            entry = entries[place]
            history.add(entry.account, entry.seq, entry.at, entry.event)
            place += 1
        outlook = Outlook(history, {"fake": FAKE}, times)
        await outlook.look(now)
        ahead = outlook.ahead
        lefts = [0.0 if at is None else at - now for at in (ahead.trigger_at, ahead.build_at)]
        told.append(Told(tenth, ahead, lefts[0], last_trigger - now, lefts[1], last_build - now))
    return told
