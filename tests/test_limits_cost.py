"""Calls that cost several of a limit, what others have used, and turns at the gate."""

import math
import random
import tracemalloc
from collections import Counter

import anyio
import anyio.lowlevel
import pytest
from fake_service import FAKE, FakeProvider

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import LeaseLost
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Account, Learnt, Limit, Scope
from orchestrator.engine.gate import Gate, Sender
from orchestrator.engine.run import Clocks
from orchestrator.engine.shared_limits import SharedLimits
from orchestrator.limits.budget import Budget
from orchestrator.limits.rules import Traffic
from orchestrator.providers.port import Line
from orchestrator.testing import MemoryJournal

POINTS = Limit("points", 12, 60.0)
WRITE, READ = ("points",) * 5, ("points",)


def test_a_call_waits_until_all_that_it_costs_is_free():
    one = Budget([POINTS])
    one.take(WRITE, None).answered(0.0)
    one.take(READ, None).answered(3.0)
    one.take(WRITE, None).answered(7.0)
    assert one.wait(WRITE, None, 10.0) == (50.0, "points 12/1m")
    assert one.wait(READ, None, 10.0)[0] == 0.0
    assert one.wait(WRITE, None, 60.0)[0] == 0.0
    assert one.used == {"points 12/1m": 11}


def test_a_call_that_costs_more_than_there_is_goes_out_alone():
    one = Budget([Limit("points", 3, 60.0)])
    assert one.wait(WRITE, None, 0.0)[0] == 0.0
    one.take(READ, None).answered(0.0)
    assert one.wait(WRITE, None, 1.0)[0] == 59.0


def test_what_a_call_costs_is_given_back_as_a_whole():
    one = Budget([POINTS])
    one.take(WRITE, None).give_back()
    assert one.used == {"points 12/1m": 0}
    assert one.wait(("points",) * 12, None, 0.0)[0] == 0.0


def test_what_others_used_is_free_again_at_the_reset_and_is_no_news_when_told_again():
    one = Budget([Limit("calls", 1000, 3600.0)])
    assert one.learn(Learnt("calls", ACCOUNT, 5000, 3600.0, left=1, reset=60.0), 0.0)
    assert not one.learn(Learnt("calls", ACCOUNT, 5000, 3600.0, left=1, reset=60.0), 0.0)
    assert one.wait(("calls",), None, 0.0)[0] == 0.0
    one.take(("calls",), None).answered(0.0)
    assert one.wait(("calls",), None, 0.0)[0] == 60.0


@pytest.mark.parametrize("reset", [-5.0, float("nan"), float("inf"), 10.0**18])
def test_no_reset_that_a_server_tells_keeps_us_away_for_more_than_a_day(reset):
    one = Budget([Limit("calls", 10, 60.0)])
    one.learn(Learnt("calls", ACCOUNT, 10, 60.0, left=0, reset=reset), 0.0)
    assert 0.0 <= one.wait(("calls",), None, 0.0)[0] <= 86400.0


@pytest.mark.parametrize(("calls", "per"), [(10**8, 60.0), (5, 0.0), (5, -1.0), (5, float("nan")), (5, 1e-9)])
def test_a_rule_that_no_server_can_have_is_not_believed(calls, per):
    one = Budget([Limit("calls", 10, 60.0)])
    assert not one.learn(Learnt("calls", ACCOUNT, calls, per, left=10**12), 0.0)
    assert one.rule("calls", None) == (10, 60.0)


class Present:
    """Another process is there, now and always."""

    def __init__(self, journal):
        self.journal, self.clocks = journal, Clocks(lambda: 1000.0, lambda: 1000.0, lambda: 1000.0, 0.0)
        self.users = Counter()

    async def since(self):
        return 0.0


@pytest.mark.anyio
async def test_processes_that_share_a_limit_share_what_calls_cost():
    first = MemoryJournal()
    second = MemoryJournal(first.disk)
    delays = []
    for journal in (first, second, first):
        budget = Budget([POINTS])
        shared = SharedLimits("p", budget, 16, Present(journal))
        delays.append((await shared.take(budget.take(WRITE, None), WRITE, None, look=True))[0])
    assert delays[:2] == [0.0, 0.0]
    assert delays[2] > 0.0  # two of twelve points are left, not five


class Absent(Present):
    """No other process was ever there."""

    async def since(self):
        return math.inf


@pytest.mark.anyio
async def test_a_cancel_is_counted_by_who_comes_after_a_process_that_died_right_after_it():
    first = MemoryJournal()
    delays = []
    for others in (Absent(first), Present(MemoryJournal(first.disk))):
        budget = Budget([Limit("triggers", 1, 15.0)])
        shared = SharedLimits("p", budget, 16, others)
        delays.append((await shared.take(budget.take(("triggers",), None), ("triggers",), None))[0])
    assert delays[0] == 0.0
    assert delays[1] > 0.0


def gate(*limits, latency=0.1, declaration=FAKE, heartbeat=None, shared=None):
    sent = []

    async def send(call):
        sent.append((call.path, anyio.current_time()))
        await anyio.sleep(latency)
        return Answer(200)

    account = Account("fake", "fake", FAKE.url, "env:TOKEN", limits=limits)
    line = Line(account, declaration, send, lambda send: FakeProvider(account, send), "hash")
    clocks = Clocks(*[anyio.current_time] * 3, 0.0)
    sender = Sender(line, Budget(limits), Traffic(), clocks, random.Random(1), reach=600.0, heartbeat=heartbeat)
    return Gate(sender, shared), sent


@pytest.mark.anyio
async def test_a_call_for_a_frozen_repository_holds_no_other_call_up():
    one, sent = gate(Limit("calls", 100, 60.0))
    began = anyio.current_time()
    one.budget.freeze(Scope.of("repo:acme/a"), began + 500.0, "refused")
    async with anyio.create_task_group() as tasks:
        for repo in ("acme/a", "acme/b", "acme/c"):
            tasks.start_soon(one.send, Call("GET", repo, repo=repo))
            await anyio.lowlevel.checkpoint()
    assert {path: round(at - began) for path, at in sent} == {"acme/b": 0, "acme/c": 0, "acme/a": 500}


@pytest.mark.anyio
async def test_calls_leave_in_the_order_in_which_they_came():
    one, sent = gate(Limit("calls", 3, 10.0))
    async with anyio.create_task_group() as tasks:
        for n in range(40):
            tasks.start_soon(one.send, Call("POST", str(n)))
            await anyio.lowlevel.checkpoint()
    assert [path for path, _ in sent] == [str(n) for n in range(40)]


@pytest.mark.anyio
async def test_calls_for_one_repository_are_not_passed_by_those_for_others():
    one, sent = gate(Limit("calls", 3, 10.0))
    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(one.send, Call("POST", str(n), repo="acme/b" if n % 4 == 3 else "acme/a"))
            await anyio.lowlevel.checkpoint()
    assert [path for path, _ in sent] == [str(n) for n in range(20)]


@pytest.mark.anyio
async def test_who_gives_up_waiting_takes_no_permit_along_and_lets_the_next_one_go():
    one, sent = gate(Limit("calls", 1, 10.0))
    scopes = [anyio.CancelScope() for _ in range(5)]

    async def wanted(n):
        with scopes[n]:
            await one.send(Call("POST", str(n)))

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for n in range(5):
            tasks.start_soon(wanted, n)
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(5.0)
        scopes[1].cancel()  # the one whose turn is next, and one that stands behind it
        scopes[3].cancel()
    assert [(path, round(at - began)) for path, at in sent] == [("0", 0), ("2", 10), ("4", 20)]
    assert one.budget.used == {"calls 1/10s": 3}
    assert one.traffic.writes_waiting == 0


@pytest.mark.anyio
async def test_looks_without_end_leave_room_for_a_call_that_changes_something():
    one, sent = gate(Limit("calls", 20, 10.0), Limit("triggers", 5, 10.0))

    async def look():
        while True:
            await one.send(Call("GET", "look"))

    began, posts = anyio.current_time(), []
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(look)
        for n in range(4):
            await anyio.sleep(5.0)
            await one.send(Call("POST", "post", limits=("triggers", "calls")))
            posts.append(round(anyio.current_time() - began - 5.1 * (n + 1), 1))
        tasks.cancel_scope.cancel()
    assert posts == [0.0] * 4
    assert len([1 for path, _ in sent if path == "look"]) > 25


@pytest.mark.anyio
async def test_who_is_canceled_while_the_journal_is_asked_gives_the_permit_back():
    class Slow:
        async def take(self, permit, names, repo, *, trigger, look):
            await anyio.sleep(2.0)
            return 0.0, ""

        def settle(self, permit, at, refused):
            pass

    one, sent = gate(Limit("calls", 1, 10.0), shared=Slow())
    with anyio.move_on_after(1.0):
        await one.send(Call("GET", "first"))
    assert one.budget.used == {"calls 1/10s": 0}
    await one.send(Call("GET", "second"))
    assert [path for path, _ in sent] == ["second"]


@pytest.mark.anyio
async def test_a_repository_whose_limit_other_processes_used_up_holds_no_other_call_up():
    names = ("calls", "triggers_per_repo")

    class Crowded:
        async def take(self, permit, names, repo, *, trigger, look):
            is_full = repo == "acme/a" and anyio.current_time() < began + 500.0
            return (500.0, "triggers_per_repo") if is_full else (0.0, "")

        def settle(self, permit, at, refused):
            pass

    limits = Limit("calls", 100, 60.0), Limit("triggers_per_repo", 2, 3600.0, "repo")
    one, sent = gate(*limits, shared=Crowded())
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for repo in ("acme/a", "acme/b"):
            tasks.start_soon(one.send, Call("POST", repo, repo=repo, limits=names))
            await anyio.lowlevel.checkpoint()
    assert [(path, round(at - began)) for path, at in sent] == [("acme/b", 0), ("acme/a", 500)]


@pytest.mark.anyio
async def test_who_may_no_longer_act_gives_the_permit_back():
    class Lost:
        async def check(self):
            raise LeaseLost("another process drives this account")

    one, sent = gate(Limit("calls", 1, 10.0), heartbeat=Lost())
    with pytest.raises(LeaseLost):
        await one.send(Call("GET", "first"))
    assert (one.budget.used, sent) == ({"calls 1/10s": 0}, [])


@pytest.mark.anyio
async def test_a_server_that_tells_another_rule_with_every_answer_fills_no_journal():
    rules = iter(range(10, 10_000))
    declaration = replace(FAKE, learn=lambda call, answer: [Learnt("calls", ACCOUNT, next(rules), 60.0)])
    one, _ = gate(Limit("calls", 1000, 60.0), declaration=declaration)
    for _ in range(300):
        await one.send(Call("GET", "look"))
    assert len(one.sender.news) == 100


@pytest.mark.anyio
async def test_a_line_in_which_nobody_stands_takes_no_memory():
    one, _ = gate(Limit("calls", 10_000, 60.0))
    for n in range(50):
        await one.send(Call("GET", "look", repo=f"acme/r{n}"))
    assert one._turns == {}


def test_a_target_that_waits_takes_no_memory():
    one = Budget([Limit("triggers", 1, 10.0), Limit("triggers_per_repo", 2, 3600.0, "repo")])
    names = ("triggers", "triggers_per_repo")
    one.take(names, "acme/a").answered(0.0)
    tracemalloc.start()
    try:
        for n in range(20_000):
            assert one.wait(names, f"acme/r{n}", 1.0)[0] == 9.0
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000
