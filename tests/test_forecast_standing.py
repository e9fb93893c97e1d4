"""When a target of a run that goes on will be triggered, and what it waits for until then."""

import random

import anyio
import pytest
from fake_service import FAKE, FakeService, Script, make_run, targets

from orchestrator.cli.runs import foreseen_lines
from orchestrator.core.events import LimitLearnt, RunMade, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.history import History
from orchestrator.core.model import Account, Outcome, Scope, Target, Timeouts
from orchestrator.core.options import Pace, RunOptions
from orchestrator.core.progress import Progress, Verdict
from orchestrator.engine.engine import Engine, Options
from orchestrator.forecast import Expected, Times, Waits, expected
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.testing import MemoryJournal

NOW = 1_767_571_200.0
TIMES = Times(latency=0.1, queued={"fake": 17.0}, accounts={"fake": (45.0,)})


async def seen_and_fact(wanted, after, service, **account):
    """What is expected for each target that waits after so many seconds, and when they are triggered in fact."""
    journal = MemoryJournal(now=service.now)
    await make_run(journal, wanted, "r1", service.now(), **account)
    engine = Engine(
        "r1",
        journal,
        service.connect,
        Options(),
        now=service.now,
        process=Process("here", "boot", 1, "1"),
        random=random.Random(1),
    )
    seen = {}

    async def look():
        await anyio.sleep(after)
        history = await load(journal, "r1")
        for target in wanted:
            if not history.of(target.id).may_exist:
                seen[target.id] = expected(history, target, {"fake": FAKE}, service.now(), TIMES)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await engine.run()
    history = await load(journal, "r1")
    return seen, {id_: history.of(id_).triggered_at for id_ in seen}


@pytest.mark.anyio
async def test_a_target_leaves_about_when_it_was_expected_to():
    wanted = targets(*(f"acme/r{number % 45}@b{number // 45}" for number in range(90)))
    seen, fact = await seen_and_fact(wanted, 10.0, FakeService())
    assert len(seen) == 50
    assert {id_: one.at for id_, one in seen.items()} == pytest.approx(fact, abs=1.0)
    account = seen[wanted[-1].id].waits[-1]
    assert (account.rule, account.subject, account.before) == ("triggers 40/30s", "of account fake", 49)


@pytest.mark.anyio
async def test_a_repository_that_has_had_its_hour_is_named_with_those_before():
    wanted = targets(*(f"acme/api@b{number}" for number in range(14)))
    seen, fact = await seen_and_fact(wanted, 60.0, FakeService())
    [(id_, last)] = [pair for pair in seen.items() if pair[0] == wanted[-1].id]
    assert (last.waits[0].rule, last.waits[0].subject, last.waits[0].before) == (
        "triggers_per_repo 10/1h",
        "of acme/api",
        3,
    )
    assert last.at == pytest.approx(fact[id_], abs=5.0)


@pytest.mark.anyio
async def test_a_target_with_needs_is_expected_when_their_builds_have_ended():
    (need,) = targets("acme/lib")
    (one,) = targets("acme/api", needs=(need.id,))
    seen, fact = await seen_and_fact((need, one), 20.0, FakeService({"acme/lib": Script(runs=60.0)}))
    assert seen[one.id].waits == ()
    assert seen[one.id].at == pytest.approx(fact[one.id], abs=10.0)


@pytest.mark.anyio
async def test_a_target_that_builds_in_flight_hold_back_is_expected_when_they_end():
    wanted = targets(*(f"acme/r{number}" for number in range(6)))
    seen, fact = await seen_and_fact(wanted, 20.0, FakeService(), in_flight=2)
    assert len(seen) == 4
    assert {id_: one.at for id_, one in seen.items()} == pytest.approx(fact, abs=25.0)


def history_of(wanted, **account):
    history = History(wanted)
    one = Account("fake", "fake", FAKE.url, limits=FAKE.limits, **account)
    history.made, history.made_at = RunMade("n", None, "", accounts={"fake": to_json(one)}), NOW
    return history


def test_a_need_that_passed_before_is_met_and_one_that_cannot_come_is_never_expected():
    wanted = (
        Target("fake:a/a", "fake", "a/a", skip="gone"),
        Target("fake:a/b", "fake", "a/b", needs=("fake:a/a",)),
    )
    assert expected(history_of(wanted), wanted[1], {"fake": FAKE}, NOW, TIMES) == Expected(None, ())


def test_a_trigger_that_left_before_counts_under_its_limits():
    wanted = targets("acme/a", "acme/b")
    history = history_of(wanted)
    history.progress[wanted[0].id] = Progress(asked_at=NOW - 5.0, attempts=1)
    assert expected(history, wanted[1], {"fake": FAKE}, NOW, TIMES).at == NOW


def test_a_trigger_that_was_refused_counts_where_the_provider_counts_it():
    wanted = targets("acme/a", "acme/b", "acme/a@x")
    history = history_of(wanted)
    refused = Verdict(Outcome.REJECTED, "not_found", "", NOW - 4.0)
    history.progress[wanted[0].id] = Progress(attempts=1, last_asked_at=NOW - 5.0, verdict=refused)
    one = replace(FAKE.limits[0], calls=1), replace(FAKE.limits[2], calls=1)
    history.made = replace(history.made, accounts={"fake": to_json(Account("fake", "fake", FAKE.url, limits=one))})
    found = expected(history, wanted[1], {"fake": FAKE}, NOW, TIMES)
    assert found.at == pytest.approx(NOW + 25.1, abs=0.1)
    assert [wait.rule for wait in expected(history, wanted[2], {"fake": FAKE}, NOW, TIMES).waits] == ["triggers 1/30s"]


def test_what_is_expected_is_told_in_words():
    waits = (
        Waits("triggers_per_repo 10/1h", "of acme/api", NOW + 600.0, 3),
        Waits("triggers 4/1m", "of account a", NOW, 0),
    )
    assert list(foreseen_lines(Expected(NOW + 720.0, waits), NOW, has_needs=True)) == [
        "waits for triggers_per_repo 10/1h of acme/api: next at 2026-01-05T00:10:00Z; before it 3 others",
        "waits for triggers 4/1m of account a: next at 2026-01-05T00:00:00Z; it is the next",
        "expected at about 2026-01-05T00:12:00Z (in 12 min), if all that it needs passes",
    ]
    assert list(foreseen_lines(Expected(None, ()), NOW, has_needs=False)) == []


# -- what a later process is told, or has learnt --------------------------------------------------------------------


async def resumed(wanted, service, after, *, journal=None, **options):
    """A run that a process left before it triggered anything, taken up with options of its own.

    Returns:
        What is expected for each waiting target after so many seconds, and again a second later.
    """
    journal = journal or MemoryJournal(now=service.now)
    await make_run(journal, wanted, "r1", service.now())
    seen = []

    def driver(**given):
        process = Process("here", "boot", 1, "1")
        return Engine(
            "r1",
            journal,
            service.connect,
            Options(**given),
            now=service.now,
            process=process,
            random=random.Random(1),
            is_new=False,
        )

    first = driver()
    first.interrupt("SIGTERM")
    await first.run()

    async def look():
        for _ in range(2):
            await anyio.sleep(after if not seen else 1.0)
            history = await load(journal, "r1")
            waiting = [target for target in wanted if not history.of(target.id).may_exist]
            seen.append({t.id: expected(history, t, {"fake": FAKE}, service.now(), TIMES) for t in waiting})
        again.interrupt("SIGTERM")

    again = driver(**options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await again.run()
    return seen


@pytest.mark.anyio
async def test_what_a_resume_was_told_to_keep_to_holds_in_what_is_expected():
    wanted = targets("acme/a", "acme/b", "acme/c")
    service = FakeService({target.repo: Script(runs=500.0) for target in wanted})
    first, later = await resumed(wanted, service, 30.0, in_flight=1)
    assert set(first) == {"fake:acme/b", "fake:acme/c"}
    one, other = first["fake:acme/b"], later["fake:acme/b"]
    assert one.at - service.epoch > 40.0  # the build that is under way comes first
    assert other.at == pytest.approx(one.at, abs=1.0)  # and not a second later with each second


def test_a_rate_that_a_resume_was_told_is_the_one_that_is_named():
    wanted = targets("acme/a", "acme/b", "acme/c")
    history = history_of(wanted)
    history.pace = Pace(rates={"": "1/10m"})
    history.progress[wanted[0].id] = Progress(attempts=1, asked_at=NOW - 60.0, triggered_at=NOW - 60.0)
    found = expected(history, wanted[2], {"fake": FAKE}, NOW, TIMES)
    assert [(wait.rule, wait.before) for wait in found.waits] == [("triggers 1/10m", 1)]
    assert found.at == pytest.approx(NOW + 1140.0, abs=5.0)


def test_a_limit_that_the_server_has_told_holds_in_what_is_expected():
    wanted = targets("acme/a@one", "acme/a@two")
    history = history_of(wanted)
    scope = Scope("repo", "acme/a")
    history.learnt["fake", scope, "triggers_per_repo"] = LimitLearnt(scope, "triggers_per_repo 1/1h")
    history.progress[wanted[0].id] = Progress(attempts=1, asked_at=NOW - 60.0, triggered_at=NOW - 60.0)
    found = expected(history, wanted[1], {"fake": FAKE}, NOW, TIMES)
    assert found.at == pytest.approx(NOW + 3540.0, abs=5.0)
    assert found.waits[0].subject == "of acme/a"


def test_what_an_earlier_run_may_have_asked_for_is_not_expected_before_it_was_looked_for():
    wanted = targets("acme/a", timeouts=Timeouts(settle=60.0))
    history = history_of(wanted)
    history.made = replace(history.made, options=RunOptions(adopt=True))
    history.claimed_at = NOW - 10.0
    found = expected(history, wanted[0], {"fake": FAKE}, NOW, TIMES)
    assert found.at == NOW + 50.0
    assert [wait.next_at for wait in found.waits] == [NOW + 50.0]
    assert expected(history, wanted[0], {"fake": FAKE}, NOW + 5.0, TIMES).at == found.at
