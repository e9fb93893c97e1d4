"""One decision, asked from everywhere: a rule that is added once is kept by the engine and told by all others."""

import random
from itertools import pairwise

import anyio
import pytest
from fake_service import FAKE, FakeService, make_run, targets

from orchestrator.cli.runs import foreseen_lines
from orchestrator.core.errors import Exit
from orchestrator.core.model import Account, Limit, Plan
from orchestrator.engine.engine import Engine, Options
from orchestrator.forecast import Times, expected, forecast
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.limits import admission
from orchestrator.limits.admission import RULES, SERIAL, Admission, Candidate
from orchestrator.limits.budget import Budget
from orchestrator.limits.rules import Rule, Terms, Wait
from orchestrator.report.reasons import held_by
from orchestrator.testing import MemoryJournal

TIMES = Times(latency=0.1, accounts={"fake": (45.0,)})
GAP = 60.0


class MinimumGap(Rule):
    """A minute between two triggers."""

    def __init__(self, terms, index):
        self._last = -GAP

    def account(self, now):
        return Wait(self._last + GAP, "minimum gap 60s") if now < self._last + GAP else None

    def taken(self, row, now):
        self._last = now


class NobodysTurn(Rule):
    """A rule that lets nothing go before something ends that never does."""

    def __init__(self, terms, index):
        """Knows nothing."""

    def account(self, now):
        return Wait(float("inf"), "the owner's holiday", detail="back on Monday")


@pytest.fixture
def add(monkeypatch):
    """Adds a rule, in the one place where rules are named."""
    return lambda rule: monkeypatch.setattr(admission, "RULES", [*RULES, rule])


def engine_of(journal, service, **options):
    me = Process("here", "boot", 1, "1")
    how = {"now": service.now, "process": me, "random": random.Random(1)}
    return Engine("r1", journal, service.connect, Options(**options), **how)


@pytest.mark.anyio
async def test_a_new_rule_is_kept_by_the_engine_and_told_by_plan_why_and_the_live_view(add):
    add(MinimumGap)
    service, wanted = FakeService(), targets("acme/a", "acme/b", "acme/c")
    journal = MemoryJournal(now=service.now)
    plan = await make_run(journal, wanted, "r1", service.now())

    cast = forecast(plan, {"fake": FAKE}, start=service.now(), times=TIMES)
    assert cast.last_trigger == pytest.approx(2 * GAP, abs=1.0)
    assert "what takes longest is minimum gap 60s" in cast.text

    engine = engine_of(journal, service)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.run)
        await anyio.sleep(10.0)
        assert engine.snapshot().waiting_for == "minimum gap 60s"
        now, history = service.now(), await load(journal, "r1")
        told = expected(history, wanted[2], {"fake": FAKE}, now, TIMES)
        assert told.at == pytest.approx(service.posts[0] + 2 * GAP, abs=1.0)
        first, *_ = foreseen_lines(told, now, has_needs=False)
        assert first.startswith("waits for minimum gap 60s of account fake: next at ")
        assert first.endswith("; before it 1 other")
    gaps = [later - earlier for earlier, later in pairwise(service.posts)]
    assert gaps == pytest.approx([GAP, GAP], abs=1.0)


@pytest.mark.anyio
async def test_a_new_rule_that_only_an_end_lets_go_is_told_as_what_holds_a_target(add, monkeypatch):
    from orchestrator.providers import registry

    add(NobodysTurn)
    monkeypatch.setattr(registry, "declaration", lambda type_: FAKE)
    service, wanted = FakeService(), targets("acme/a")
    journal = MemoryJournal(now=service.now)
    plan = await make_run(journal, wanted, "r1", service.now())
    assert forecast(plan, {"fake": FAKE}).asked[0] < 0.0
    history = await load(journal, "r1")
    assert list(held_by(history, wanted[0], service.now())) == ["held by: the owner's holiday: back on Monday"]
    assert await engine_of(journal, service, timeout=30.0).run() == Exit.TIMEOUT
    assert service.posts == []


# the decision itself


def admission_of(wanted, *limits, **account):
    one = Account("fake", "fake", FAKE.url, limits=limits, **account)
    budget = Budget(limits, folds=True)
    made = Admission(wanted, Terms(one, budget, tuple(limit.name for limit in limits), lambda now: now))
    for row in range(len(wanted)):
        made.enqueue(row)
    return made


def take(one, now):
    found = one.take(now)
    if isinstance(found, Candidate):
        return found.row, one.budget.take(found.costs, found.repo)
    return found


def test_rows_go_in_their_order_and_one_at_a_time_in_a_repository():
    one = admission_of(targets("acme/a@1", "acme/A@2", "acme/b"))
    assert [take(one, 0.0)[0], take(one, 0.0)[0]] == [0, 2]
    assert take(one, 0.0).rule == SERIAL
    one.accepted(0)
    assert take(one, 0.0)[0] == 1


def test_a_wait_tells_until_when_because_of_which_rule_and_where():
    one = admission_of(targets("acme/a@1", "acme/a@2", "acme/b"), Limit("hourly", 1, 3600.0, "repo"))
    _, permit = take(one, 0.0)
    permit.answered(1.0)
    one.accepted(0)
    _, other = take(one, 1.0)
    assert one.take(1.0) == Wait(3601.0, "hourly 1/1h", "acme/a")
    other.answered(1.0)
    assert str(one.take(1.0)) == "acme/a: hourly 1/1h"
    assert take(one, 3601.0)[0] == 1


def test_asking_for_reasons_changes_nothing():
    one = admission_of(targets("acme/a", "acme/b"), Limit("hourly", 1, 3600.0, "repo"), in_flight=1)
    take(one, 0.0)
    before = (one.waiting, list(one._ready), dict(one._blocked), set(one.in_flight))
    assert [wait.rule for wait in one.reasons(1, 0.0)] == ["in_flight 1"]
    assert (one.waiting, list(one._ready), dict(one._blocked), set(one.in_flight)) == before


def test_a_row_that_is_put_back_has_its_turn_again_before_later_ones():
    one = admission_of(targets("acme/a", "acme/b", "acme/c"))
    row, permit = take(one, 0.0)
    permit.give_back()
    one.put_back(row)
    assert take(one, 0.0)[0] == row


def test_no_row_of_a_closed_owner_goes_whatever_its_case():
    one = admission_of(targets("acme/a", "Acme/b", "beta/c"))
    one.close("ACME")
    assert take(one, 0.0)[0] == 2
    assert take(one, 0.0) == Wait(float("inf"), "")
    assert not one.has_any


def test_a_plan_without_rules_waits_for_nothing():
    plan = Plan("p", targets("acme/a"), {"fake": Account("fake", "fake", FAKE.url)})
    assert forecast(plan, {"fake": FAKE}).text == "1 trigger, no limit makes it wait"


def owners_played(slugs, withdrawn=(), most=10**6):
    """When each row was triggered that is not withdrawn half a minute later, and how often a row was asked about."""
    account = Account("fake", "fake", "https://x", limits=(Limit("triggers", 1, 1.0, "owner"),))
    wanted, asked, times, now = targets(*slugs), 0, {}, 0.0
    waiting = Admission(wanted, Terms(account, Budget(account.limits), ("triggers",), lambda now: now))
    target = waiting.rules[-1].target

    def counted(row, at):
        nonlocal asked
        asked += 1
        return target(row, at)

    waiting._target_rules = (*waiting._target_rules[:-1], counted)
    for row in range(len(wanted)):
        waiting.enqueue(row)
    while waiting.has_any and asked < most:
        found = waiting.take(now)
        if isinstance(found, Candidate):
            waiting.budget.take(found.costs, found.repo).answered(now)
            times[found.row] = now
            waiting.traffic.under_way -= 1
            waiting.accepted(found.row)
        else:
            now = found.until
            if withdrawn and now >= 30.0:
                waiting.withdraw(withdrawn)
                withdrawn = ()
    return times, asked


def test_the_rows_of_an_owner_wait_in_one_line_of_which_one_at_a_time_is_asked_about():
    slugs = [f"{owner}/r{number}" for number in range(100) for owner in ("acme", "beta", "gamma")]
    times, asked = owners_played(slugs)
    for owner in ("acme", "beta", "gamma"):
        made = [times[row] for row, slug in enumerate(slugs) if slug.startswith(owner)]
        assert made == pytest.approx([float(second) for second in range(100)])  # in the order of the plan
    assert asked < 4 * len(slugs)


@pytest.mark.parametrize("seed", range(20))
def test_no_row_of_an_owner_is_lost_when_others_of_it_are_withdrawn(seed):
    chance = random.Random(seed)
    slugs = [f"{chance.choice(('acme', 'beta'))}/r{number}" for number in range(120)]
    gone = {row for row in range(120) if chance.random() < 0.3}
    times, _ = owners_played(slugs, gone)
    kept = [row for row in range(120) if row not in gone]
    assert set(kept) <= times.keys()
    assert [times[row] for row in kept if slugs[row].startswith("acme")] == sorted(
        times[row] for row in kept if slugs[row].startswith("acme")
    )
