"""Limits where many repositories, several processes or several refusals meet."""

import random

import anyio
import pytest
from fake_service import FAKE, FakeService, Script, targets
from rare import PRINCIPAL, Service, a_run, another, engine, left_by

from orchestrator.core.calls import Answer
from orchestrator.core.concurrency import Cap, Concurrency
from orchestrator.core.errors import Exit
from orchestrator.core.events import Frozen
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Learnt, Limit, Scope, scopes_around
from orchestrator.journal.port import Process
from orchestrator.journal.store import open_journal
from orchestrator.limits.budget import Budget
from orchestrator.lookalike.kit.counters import worst_window

HOURLY = Limit("triggers_per_repo", 10, 3600.0, "repo")


# -- arithmetic ---------------------------------------------------------------------------------------------------


def test_what_a_provider_told_of_a_repository_is_kept_among_thousands_of_others():
    budget = Budget([HOURLY])
    budget.learn(Learnt("triggers_per_repo", Scope("repo", "acme/strict"), 2, 3600.0), 0.0)
    for number in range(10_000):
        budget.take(["triggers_per_repo"], f"acme/r{number}").answered(0.0)
    assert budget.rule("triggers_per_repo", "acme/strict") == (2, 3600.0)


def test_usage_records_count_alike_in_whatever_order_they_come():
    limit = Limit("triggers", 3, 30.0)
    times = [100.0, 101.0, 110.0, 120.0, 125.0]
    draw = random.Random(1)
    waits = set()
    for _ in range(20):
        budget = Budget([limit])
        for at in draw.sample(times, len(times)):
            budget.remember("triggers", ACCOUNT, at)
        waits.add(budget.wait(["triggers"], None, 126.0)[0])
    assert waits == {14.0}  # until the third last one, of 110, is over


def test_a_call_that_counts_longer_than_those_after_it_does_not_hide_them():
    """Its answer was lost: it may be counted late. The others count from their answers on."""
    budget = Budget([Limit("triggers", 2, 30.0)])
    lost, answered = budget.take(["triggers"], None), budget.take(["triggers"], None)
    lost.answered(60.0)
    answered.answered(1.0)
    assert budget.wait(["triggers"], None, 1.0)[0] == 30.0


@pytest.mark.parametrize("scope", scopes_around("acme/a"))
def test_a_shorter_freeze_never_ends_a_longer_one(scope):
    budget = Budget([HOURLY])
    budget.freeze(scope, 3600.0, "a ban")
    budget.freeze(scope, 60.0, "patience")
    seconds, why = budget.frozen("acme/a", 0.0)
    assert (seconds, "a ban" in why) == (3600.0, True)
    budget.freeze(scope, 7200.0, "a longer ban")
    assert budget.frozen("acme/a", 0.0)[0] == 7200.0


# -- one run ------------------------------------------------------------------------------------------------------


def most_at_once(service, seconds):
    """The most requests under way at any instant, of those that last so long."""
    times = [one.at for one in service.requests]
    return max(sum(start <= at < start + seconds for start in times) for at in times)


@pytest.mark.anyio
@pytest.mark.parametrize("cap", [Cap("owner", 1), Cap("owner:acme", 1)])
async def test_an_owner_is_one_owner_however_its_name_is_written(cap):
    service = FakeService({f"{owner}/{name}": Script(runs=100.0) for owner in ("acme", "Acme") for name in "ab"})
    wanted = targets("acme/a", "Acme/b", "ACME/c")
    journal = await a_run(service, wanted, account={"concurrency": Concurrency((cap,))})
    assert await engine(journal, service).run() == Exit.OK
    assert len(service.requests) == 3
    assert most_at_once(service, 60.0) == 1


@pytest.mark.anyio
async def test_a_resumed_run_heeds_the_longest_freeze_that_it_was_told():
    """Two calls were under way when the repository's limit was used up, and each was told another time."""
    service = FakeService()
    journal = await a_run(service, targets("acme/a"))
    told = [Frozen(Scope("repo", "acme/a"), service.now() + seconds, "rate limited") for seconds in (3600.0, 60.0)]
    journal = await left_by(journal, service, *told)
    assert await engine(journal, service).run() == Exit.OK
    assert service.posts[0] - service.epoch >= 3600.0


@pytest.mark.anyio
async def test_owners_of_a_service_that_tells_them_apart_by_case_are_two():
    service = Service(declaration=replace(FAKE, fold_case=False))
    wanted = targets("acme/a", "Acme/b")
    journal = await a_run(service, wanted, account={"concurrency": Concurrency((Cap("owner", 1),))})
    assert await engine(journal, service).run() == Exit.OK
    assert most_at_once(service, 60.0) == 2


# -- several processes --------------------------------------------------------------------------------------------

SECOND = Process("here", "boot", 2, "2")


@pytest.mark.anyio
async def test_calls_that_a_process_had_under_way_when_it_died_count_until_they_can_no_longer_be_handled():
    """The provider handles them half a minute later; then the other process must not use the limit up once more."""
    dead = [f"acme/b{n}" for n in range(40)]
    scripts = {name: Script(triggers=("late:25",)) for name in dead}
    service = FakeService({**scripts, "acme/first": Script(runs=45.0)}, latency=0.2)
    (need,) = targets("acme/first")
    rest = targets(*(f"acme/a{n}" for n in range(40)), needs=(need.id,))
    first = await a_run(service, (need, *rest), "one")
    second = await a_run(service, targets(*dead), "two", journal=another(first, service), account={"connections": 40})

    async def drive_for_a_moment():
        await anyio.sleep(10.0)
        with anyio.move_on_after(0.35):
            await engine(second, service, "two", SECOND).run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive_for_a_moment)
        assert await engine(first, service, "one").run() == Exit.OK
    counted = sorted(one.at for one in service.requests)
    assert len(counted) == 80
    assert worst_window(counted, 29.0) <= 40


class OnePost(FakeService):
    """The first trigger of `acme/x` takes 20 s from its arrival to its answer; it notes when each arrives."""

    def __init__(self, scripts):
        super().__init__(scripts)
        self.arrived = []
        self.has_arrived = anyio.Event()

    async def send(self, call):
        is_one = call.purpose == "trigger" and call.repo == "acme/x"
        if is_one:
            self.arrived.append(self.now())
            self.has_arrived.set()
        answer = await super().send(call)
        if is_one and len(self.arrived) == 1:
            await anyio.sleep(20.0)
        return answer


@pytest.mark.anyio
async def test_a_process_that_begins_while_another_drives_shares_from_its_first_call_on():
    """The other has a trigger of the same repository under way, and writes nothing in between."""
    service = OnePost({"acme/y": Script(runs=4.0)})
    (need,) = targets("acme/y")
    first = await a_run(service, (need, *targets("acme/x", needs=(need.id,))), "one")

    async def begin():
        await anyio.sleep(1.0)
        await a_run(service, targets("acme/x@other"), "two", journal=another(first, service))
        await service.has_arrived.wait()
        await anyio.sleep(0.25)
        await engine(another(first, service), service, "two", SECOND).run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin)
        await engine(first, service, "one").run()
    one, two = service.arrived
    assert two - one >= 20.0


@pytest.mark.anyio
async def test_a_process_that_another_joins_shows_which_repositories_have_a_trigger_under_way():
    service = OnePost({"acme/z": Script(runs=4.0)})
    first = await a_run(service, targets("acme/x", "acme/y"), "one")
    (need,) = targets("acme/z")
    wanted = (need, *targets("acme/x@other", needs=(need.id,)))

    async def join():
        await anyio.sleep(1.0)
        second = await a_run(service, wanted, "two", journal=another(first, service))
        await engine(second, service, "two", SECOND).run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join)
        await engine(first, service, "one").run()
    one, two = service.arrived
    assert two - one >= 20.0


@pytest.mark.anyio
async def test_what_was_called_before_the_provider_said_whose_token_it_is_counts_afterwards():
    class Shy(FakeService):
        is_shy = True

        async def send(self, call):
            if call.path == "/user" and self.is_shy:
                return Answer(500, "Internal Server Error")
            return await super().send(call)

    service = Shy()
    journal = await a_run(service, targets(*(f"acme/a{n}" for n in range(40))), "one", proven=False)
    assert await engine(journal, service, "one", detach=True).run() == Exit.OK
    service.is_shy = False
    await a_run(service, targets(*(f"acme/b{n}" for n in range(40))), "two", journal=journal)
    assert await engine(another(journal, service), service, "two", SECOND, detach=True).run() == Exit.OK
    assert len(service.posts) == 80
    assert worst_window(sorted(service.posts), 29.9) <= 40


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_shorter_freeze_of_one_run_never_ends_a_longer_one_that_the_state_remembers(tmp_path, anyio_backend):
    async with open_journal(str(tmp_path), now=lambda: 0.0) as journal:
        for until in (3600.0, 60.0):
            await journal.remember(PRINCIPAL, frozen={ACCOUNT: until, Scope("owner", "acme"): until})
        assert (await journal.memory(PRINCIPAL)).frozen == {"account": 3600.0, "owner:acme": 3600.0}
