"""The forecast beside the engine, rule by rule, in virtual time: both take the same course."""

import random

import anyio
import pytest
from fake_service import FAKE, FakeService, make_run, targets

from orchestrator.core.concurrency import Cap, Concurrency, parse_quiet
from orchestrator.core.errors import Exit
from orchestrator.core.model import Limit
from orchestrator.engine.engine import Engine, Options
from orchestrator.forecast import Times, forecast
from orchestrator.forecast.outlook import Outlook
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

TIMES = Times(latency=0.1, queued={"fake": 17.0}, accounts={"fake": (45.0,)})


def repos(count, branches=1):
    return targets(*(f"acme/r{number}@b{branch}" for branch in range(branches) for number in range(count)))


def chain(length):
    """Each needs the one before."""
    made = [targets("acme/r0")[0]]
    for number in range(1, length):
        made += targets(f"acme/r{number}", needs=(made[-1].id,))
    return tuple(made)


def engine_of(journal, service):
    return Engine(
        "r1",
        journal,
        service.connect,
        Options(),
        now=service.now,
        process=Process("here", "boot", 1, "1"),
        random=random.Random(1),
    )


CASES = {
    "the limit of the account": (repos(130), {}),
    "the limit of repositories": (repos(5, 13), {}),
    "the limit of owners": (
        targets(*(f"{owner}/r{number}" for number in range(7) for owner in ("acme", "other"))),
        {"limits": (Limit("triggers", 40, 30.0), Limit("triggers_per_repo", 2, 60.0, "owner"))},
    ),
    "both": (repos(50, 11), {}),
    "in flight": (repos(40), {"in_flight": 7}),
    "in flight for an owner": (repos(40), {"concurrency": Concurrency(caps=(Cap("owner", 7),))}),
    "in flight for a label": (
        (*repos(9), *targets("acme/x", "acme/y", "acme/z", labels=("core",))),
        {"concurrency": Concurrency(caps=(Cap("label:core", 1),))},
    ),
    "connections": (repos(200), {"connections": 1, "limits": (Limit("triggers", 1000, 30.0),)}),
    "needs": (chain(5), {}),
    "quiet hours": (repos(60), {"concurrency": Concurrency(quiet=(parse_quiet("00:00-03:00"),))}),
    "a limit of all calls": (repos(60), {"limits": (Limit("triggers", 40, 30.0), Limit("calls", 20, 60.0))}),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_engine_takes_as_long_as_forecast_under(case):
    wanted, account = CASES[case]
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    began = service.now()
    plan = await make_run(journal, wanted, "r1", began, **account)
    cast = forecast(plan, {"fake": FAKE}, start=began, times=TIMES)
    assert await engine_of(journal, service).run() == Exit.OK
    history = await load(journal, "r1")
    told = [history.of(target.id) for target in wanted]
    assert cast.last_trigger == pytest.approx(max(one.triggered_at for one in told) - began, rel=0.05, abs=1.0)
    assert cast.last_build == pytest.approx(max(one.verdict.at for one in told) - began, rel=0.05, abs=5.0)


async def test_the_live_view_tells_how_long_it_still_takes_to_the_last_trigger_and_to_the_last_build():
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    await make_run(journal, repos(1, 25), "r1", service.now(), limits=(Limit("triggers_per_repo", 10, 3600.0, "repo"),))
    engine = engine_of(journal, service)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.run)
        await anyio.sleep(10.0)
        assert engine.snapshot().trigger_left is None  # nobody has looked ahead
        outlook = Outlook(engine.history, {"fake": FAKE}, TIMES)
        await outlook.look(service.now())
        seen = engine.snapshot(outlook)
        assert seen.trigger_left.seconds == pytest.approx(7190.0, abs=5.0)
        assert seen.build_left.seconds == pytest.approx(7190.0 + 17.0 + 45.0, abs=10.0)
        assert not outlook.is_due(service.now())
        tasks.cancel_scope.cancel()
