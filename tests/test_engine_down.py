"""What a person is told while a server is down: that it is, and of no limit that nobody has reached."""

import random
from contextlib import asynccontextmanager

import anyio
import pytest
from fake_service import FakeProvider, FakeService, make_run, targets

from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit, InDoubt, RateLimited, Unreachable
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.model import ACCOUNT, Account, Outcome, Request, Target, Timeouts
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.port import Process
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import Settings, numbered
from orchestrator.providers.port import Line
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

EPOCH, DOWN_FOR = 1_767_571_200.0, 90.0
HELLO = f"{DECLARATION.url} to say whose token it is"


def now():
    return EPOCH + anyio.current_time()


async def refused():
    raise Unreachable("connection refused")


async def hung():
    await anyio.sleep(30.0)
    raise InDoubt("no answer within 30 s")


async def broken():
    await anyio.sleep(0.1)
    return Answer(502, "bad gateway")


async def drive_while(befalls):
    """What 50 targets waited for, as told live and at the end, where for 90 s every call is befallen."""
    repos = numbered(50)
    world = TravisLookAlike(Settings(repos=repos, latency=(0.05, 0.3), build=(5.0, 20.0), concurrency=500, seed=2))
    reaches, began = world.send(now, anyio.sleep, random.Random(1)), now()

    async def send(call):
        return await (befalls() if now() - began < DOWN_FOR else reaches(call))

    @asynccontextmanager
    async def connect(account):
        yield Line(account, DECLARATION, send, lambda send: Travis(account, send, lambda reference: ""), "hash")

    journal = MemoryJournal(now=now)
    account = Account("travis", "travis", DECLARATION.url, limits=DECLARATION.limits)
    wanted = [Target(f"travis:{repo.slug}@main", "travis", repo.slug, "main") for repo in repos]
    await journal.make_run("r1", RunMade("nightly", None, "", accounts={"travis": to_json(account)}), wanted, now())
    engine = Engine(
        "r1",
        journal,
        connect,
        Options(),
        now=now,
        process=Process("here", "boot", 1, "1"),
        random=random.Random(1),
    )
    told = []

    async def watch():
        while True:
            await anyio.sleep(1.0)
            if (snapshot := engine.snapshot()) is not None and snapshot.waiting_for:
                told.append(snapshot.waiting_for)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        assert await engine.run() == Exit.OK
        tasks.cancel_scope.cancel()
    return told, {rule for tally in engine.history.tallies for rule in tally.waited}


@pytest.mark.parametrize("befalls", [refused, hung, broken])
async def test_a_server_that_is_down_at_the_start_is_what_a_run_waits_for(befalls):
    told, _ = await drive_while(befalls)
    assert told[0] == HELLO
    assert "calls 1800/1m" not in told


@pytest.mark.parametrize("befalls", [refused, hung, broken])
async def test_a_server_that_was_down_is_no_limit_that_made_the_run_wait(befalls):
    _, waited = await drive_while(befalls)
    assert waited <= {"triggers 40/30s"}


async def test_a_period_passes_before_the_first_trigger_where_nobody_said_whose_token_it_is():
    told, _ = await drive_while(broken)
    others = [text for text in told if "others may just have used its limits up" in text]
    assert 58 <= len(others) <= 61  # a look a second: the longest period of the account's limits is a minute


class Outage(FakeService):
    """A service that answers no trigger, or refuses each, for a while: at once, or only when the caller gives up."""

    lasts, patience, instead = 60.0, 0.05, None

    async def send(self, call):
        if call.purpose != "trigger" or anyio.current_time() >= self.lasts:
            return await super().send(call)
        self.posts.append(self.now())
        await anyio.sleep(self.patience)
        if self.instead is None:
            raise InDoubt("no answer")
        return self.instead


class Throttles(FakeProvider):
    """Says which status asks for patience: of the whole account."""

    async def trigger(self, trigger):
        answer = await self._send(self._call(trigger))
        if answer.status == 429:
            raise RateLimited(ACCOUNT, answer.body)
        if answer.status != 202:
            raise InDoubt(f"HTTP {answer.status}")
        return Request(str(answer.body), {"v": 1})


async def outage(lasts, patience=0.05, instead=None, count=120, **timeouts):
    """What came of so many targets; the service, the journaled history."""
    service = Outage(provider=Throttles)
    service.lasts, service.patience, service.instead = lasts, patience, instead
    journal = MemoryJournal(now=service.now)
    wanted = targets(*(f"acme/r{n}" for n in range(count)), timeouts=Timeouts(**timeouts))
    await make_run(journal, wanted, connections=16)
    one = Engine(
        "r1",
        journal,
        service.connect,
        Options(),
        now=service.now,
        process=Process("here", "boot", 1, "1"),
        random=random.Random(1),
    )
    return await one.run(), service, one.history


def spent(service):
    return sum(at < service.epoch + service.lasts for at in service.posts)


@pytest.mark.parametrize("patience", [0.01, 30.0])
@pytest.mark.parametrize("count", [5, 120])
async def test_an_outage_spends_a_handful_of_targets_and_all_pass_after_it(patience, count):
    code, service, history = await outage(60.0, patience, count=count)
    assert code == Exit.OK
    assert spent(service) <= min(count, 16 + 5 + 6 + 60 / 8)
    assert len({one.repo for one in service.requests}) == len(service.requests) == count
    assert all(one.verdict.outcome is Outcome.PASSED for one in history.progress.values())


async def test_an_account_that_answers_no_trigger_for_as_long_as_it_may_be_out_of_reach_stops():
    code, service, history = await outage(10_000.0, reach=120.0)
    assert code == Exit.ACCOUNT
    assert 120.0 <= service.posts[-1] - service.posts[0] < 160.0
    assert spent(service) <= 16 + 5 + 6 + 160 / 8
    assert "answered no trigger for 1" in history.accounts_stopped["fake"].cause


@pytest.mark.parametrize("said", ["0", "1"])
async def test_what_a_server_that_throttles_says_never_shortens_our_own_pauses(said):
    _, service, _ = await outage(60.0, instead=Answer(429, float(said)), count=30)
    assert spent(service) <= 16 + 5 + 6 + 60 / 8


async def test_patience_that_a_server_asks_for_with_any_status_is_kept():
    code, service, _ = await outage(5.0, instead=Answer(503, "maintenance", {"retry-after": "40"}), count=30)
    assert code == Exit.OK
    last = max(at for at in service.posts if at < service.epoch + service.lasts)
    assert min(at for at in service.posts if at > last) - last >= 40.0
