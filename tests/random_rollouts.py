"""Random rollouts on random estates, played by the engine against the look-alike in virtual time: what forecasts are
held against. Nothing of the forecast's own arithmetic is used here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import anyio
from cli_machine import context_of
from simulation.backend import run as in_virtual_time

from orchestrator.app.lookups import times_in
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import History
from orchestrator.core.model import Account, Plan, Target
from orchestrator.core.options import RunOptions
from orchestrator.core.rehearsal import Rehearsal
from orchestrator.core.rollout import cut
from orchestrator.core.waves import Reruns, Rollout, StopWhen, WaveRule
from orchestrator.engine.engine import Engine, Options
from orchestrator.forecast import Forecast, Times, forecast
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, Shares
from orchestrator.providers.port import Line
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis
from orchestrator.testing import MemoryJournal

EPOCH = 1_767_571_200.0
NAME = "rebuild"
ON_ONE = 10  # rollouts of one estate, one after the other
WAVES = ((), ("1", "100%"), ("1", "10%", "50%", "100%"), ("20%", "100%"), ("2", "30%", "60%", "100%"))
SOAKS = (0.0, 0.0, 30.0, 180.0)
STOPS = (
    StopWhen(),
    StopWhen(),
    StopWhen(failed="20%"),
    StopWhen(failed="4"),
    StopWhen(in_a_row=4),
    StopWhen(failed="40%"),
)


class Told(Struct, frozen=True):
    """What was forecast of a rollout, and what came of it, in seconds."""

    forecast: Forecast
    last_build: float
    stopped: str

    @property
    def off_by(self) -> float:
        """As a share of what came."""
        return abs(self.forecast.last_build - self.last_build) / self.last_build


def estate(dice: Random) -> Settings:
    """Repositories of one or two owners: some always fail, some flake, and the service runs so many builds at once."""
    owners = ("acme", "umbrella")[: dice.choice((1, 1, 2))]
    repos = [RepoSpec(f"{dice.choice(owners)}/r{number}") for number in range(dice.randint(8, 24))]
    names = [repo.slug for repo in repos]
    dice.shuffle(names)
    red, flaky = (int(len(names) * dice.choice((0.0, 0.0, 0.05, 0.15))) for _ in range(2))
    shortest = dice.choice((10.0, 40.0, 120.0))
    return Settings(
        repos=tuple(repos),
        build=(shortest, shortest * dice.choice((1.2, 2.0, 4.0))),
        concurrency=dice.choice((2, 4, 8, 30, 1000)),
        latency=(0.1, 0.4),
        shares=Shares(failed=dice.choice((0.0, 0.02, 0.08))),
        rehearsal=Rehearsal(fails=tuple(names[:red]), flakes=tuple(names[red : red + flaky])),
        seed=dice.randrange(10**6),
    )


def with_needs(dice: Random, targets: Sequence[Target]) -> tuple[Target, ...]:
    """Some of them need some of those before."""
    chance = dice.choice((0.0, 0.0, 0.2, 0.6))
    found: list[Target] = []
    for target in targets:
        needs = dice.sample(found, min(len(found), dice.randint(1, 3))) if dice.random() < chance else []
        found.append(replace(target, needs=tuple(one.id for one in needs)))
    return tuple(found)


def rollout(dice: Random, settings: Settings, run: str) -> Plan:
    """A plan to roll some of them out."""
    slugs = [repo.slug for repo in settings.repos]
    chosen = dice.sample(slugs, dice.randint(len(slugs) // 2, len(slugs)))
    reruns = Reruns(dice.choice((0, 0, 1, 2)), dice.choice(("", "", "10%")))
    targets = with_needs(
        dice, [Target(f"travis:{repo}@main", "travis", repo, "main", reruns=reruns) for repo in chosen]
    )
    account = Account("travis", "travis", DECLARATION.url, limits=DECLARATION.limits)
    account = replace(account, in_flight=dice.choice((None, None, 3, 10)))
    rules = tuple(WaveRule(bound) for bound in dice.choice(WAVES))
    if not rules:
        return Plan(NAME, targets, {"travis": account})
    steps = Rollout(rules, soak=dice.choice(SOAKS), stop_when=dice.choice(STOPS))
    found = cut(targets, steps, run, {})
    return Plan(NAME, tuple(found.targets), {"travis": account}, rollout=steps, waves=tuple(found.waves))


async def drive(world: TravisLookAlike, journal: MemoryJournal, plan: Plan, run: str, dice: Random) -> History:
    """Plays a run to its end."""

    def now() -> float:
        return EPOCH + anyio.current_time()

    send = world.send(now, anyio.sleep, dice)

    @asynccontextmanager
    async def connect(account: Account):
        yield Line(account, DECLARATION, send, lambda send: Travis(account, send, lambda reference: ""), "hash")

    accounts = {name: to_json(account) for name, account in plan.accounts.items()}
    made = RunMade(NAME, None, "", accounts=accounts, options=RunOptions(), rollout=plan.rollout, waves=plan.waves)
    await journal.make_run(run, made, plan.targets, now(), forbid_overlap=False)
    me = Process("here", "boot", 1, run)
    await Engine(run, journal, connect, Options(), now=now, process=me, random=dice).run()
    return await load(journal, run)


def played(seed: int, rollouts: int = ON_ONE, knows: Callable[[Times], Times] = lambda times: times) -> list[Told]:
    """Rollouts of an estate that was built twice before, each forecast by what the state knows by then.

    Args:
        knows: what the forecast is given of that.
    """
    told: list[Told] = []

    async def main(kernel: object) -> None:
        dice = Random(f"estate {seed}")
        settings = estate(dice)
        world, journal = TravisLookAlike(settings), MemoryJournal(now=lambda: EPOCH + anyio.current_time())
        account = Account("travis", "travis", DECLARATION.url, limits=DECLARATION.limits)
        every = [Target(f"travis:{repo.slug}@main", "travis", repo.slug, "main") for repo in settings.repos]
        for run in ("before-1", "before-2"):
            await drive(world, journal, Plan(NAME, tuple(every), {"travis": account}), run, dice)
            await anyio.sleep(3600.0)
        for number in range(rollouts):
            run = f"rollout-{number}"
            plan = rollout(dice, settings, run)
            times = knows(await times_in(journal, NAME, plan.accounts, context_of()))
            began = EPOCH + anyio.current_time()
            cast = forecast(plan, {"travis": DECLARATION}, start=began, times=times, advise=False)
            history = await drive(world, journal, plan, run, dice)
            verdicts = [one.verdict for target in history.targets if (one := history.of(target.id)).verdict is not None]
            stopped = "" if history.stopped is None else history.stopped.rule
            told.append(Told(cast, max(one.at for one in verdicts) - began, stopped))
            await anyio.sleep(3600.0)

    in_virtual_time(main, Random(f"order {seed}"), most_time=1e9)
    return told
