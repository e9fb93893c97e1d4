"""Calls that are refused, lost or interrupted while others wait for them."""

import anyio
import pytest
from fake_service import FakeProvider, FakeService, Script, targets
from rare import Dated, Service, a_run, engine, facts

from orchestrator.core.calls import Call
from orchestrator.core.errors import Exit, InDoubt, Rejected
from orchestrator.core.events import CancelAsked, Canceling
from orchestrator.core.model import Build, BuildState, Limit, Request
from orchestrator.core.options import OldBuild
from orchestrator.providers.port import Observation

pytestmark = pytest.mark.anyio


# -- cancels ------------------------------------------------------------------------------------------------------


async def test_a_cancel_that_the_provider_refuses_is_asked_once():
    asked = []

    class Refuses(FakeProvider):
        async def cancel(self, target, build):
            asked.append(target.id)
            raise Rejected("not_cancelable", "it has ended")

    service = Service({"acme/a": Script(runs=300.0)}, provider=Refuses)
    journal = await a_run(service, targets("acme/a"))

    async def cancel():
        await anyio.sleep(30.0)
        await journal.wish("r1", CancelAsked("a person", service.now()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        await engine(journal, service).run()
    assert asked == ["fake:acme/a"]
    assert [event.note for event in await facts(journal, Canceling)] == ["", "could not be canceled: it has ended"]


async def test_a_cancel_that_waits_for_a_permit_goes_before_the_triggers_that_wait():
    """It counts twice against the limit, and triggers that go on taking what is free would never let it through."""
    begun = []

    class Tidy(FakeProvider):
        """Cancels something of its own when it first follows a build."""

        async def poll(self, followed):
            if not begun:
                begun.append(service.now())
                limits = ("triggers", "triggers", "calls")
                await self._send(Call("POST", "/cancel/b0", purpose="tidy", limits=limits))
            return await super().poll(followed)

    class Uneven(Service):
        """Its first answer takes longer, so that the whole limit is never free at one instant."""

        async def send(self, call):
            is_first = call.purpose == "trigger" and not self.posts
            answer = await super().send(call)
            if is_first and answer.body == "1":
                await anyio.sleep(2.0)
            return answer

    service = Uneven(provider=Tidy)
    limits = (Limit("triggers", 2, 10.0), Limit("calls", 1800, 60.0))
    wanted = targets(*(f"acme/a{n}" for n in range(12)))
    journal = await a_run(service, wanted, account={"limits": limits, "connections": 4})
    assert await engine(journal, service).run() == Exit.OK
    (tidied,) = (at for purpose, at in service.calls if purpose == "tidy")
    assert sum(at < tidied for at in service.posts) == 2


# -- a build that is started again --------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [0.0, 3600.0, -3600.0])
async def test_how_the_old_build_ended_is_not_taken_for_the_end_of_the_one_that_was_started_again(skew):
    """A restart takes a moment to show, and the provider's clock may tell another time."""

    class Restarting(FakeProvider):
        async def restart(self, target, build):
            await self._send(Call("POST", f"/restart/{build.id}", limits=("triggers", "calls")))
            times.append(service.true_time())

        async def poll(self, followed):
            await self._send(Call("GET", "/builds", purpose="poll", limits=("calls",)))
            since = service.true_time() - times[0]
            build = Build("b7", BuildState.RUNNING, "running")
            if since < 20.0:
                build = Build("b7", BuildState.FAILED, "failed", finished_at=times[0] + skew - 5.0)
            if since > 60.0:
                build = Build("b7", BuildState.PASSED, "passed", finished_at=times[0] + skew + 60.0)
            return {one.target.id: Observation((build,)) for one in followed}

    class Clocked(Dated, Service):
        behind = -skew

    times = []
    service = Clocked(provider=Restarting)
    old = {"fake:acme/a": OldBuild(Request("7"), "b7")}
    journal = await a_run(service, targets("acme/a"), restart=old)
    assert await engine(journal, service, now=service.true_time).run() == Exit.OK
    assert len(times) == 1


# -- lost looks ---------------------------------------------------------------------------------------------------


async def test_a_look_that_was_lost_counts_until_the_provider_can_no_longer_count_it():
    class Loses(FakeService):
        async def send(self, call):
            answer = await super().send(call)
            if call.purpose == "poll":
                raise InDoubt("no answer in time")
            return answer

    service = Loses({"acme/a": Script(runs=1000.0)})
    limits = (Limit("triggers", 40, 30.0), Limit("calls", 2, 10.0))
    journal = await a_run(service, targets("acme/a"), account={"limits": limits})
    await engine(journal, service, timeout=200.0).run()
    polls = [at for purpose, at in service.calls if purpose == "poll"]
    assert len(polls) >= 3
    # it may be handled, and counted, up to a minute after it was lost; with it the limit is used up
    assert min(third - first for first, third in zip(polls, polls[2:], strict=False)) > 70.0


# -- interrupts ---------------------------------------------------------------------------------------------------


async def test_an_interrupt_ends_the_wait_for_a_permit():
    service = FakeService({"acme/a": Script(runs=300.0)})
    limits = (Limit("triggers", 40, 30.0), Limit("calls", 3, 3600.0))
    journal = await a_run(service, targets("acme/a"), account={"limits": limits})
    driving = engine(journal, service)
    ended = []

    async def drive():
        ended.append((await driving.run(), anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive)
        await anyio.sleep(60.0)
        assert not ended
        driving.interrupt("SIGINT")
    ((code, at),) = ended
    assert code == Exit.SIGINT
    assert at - 60.0 < 1.0


async def test_an_interrupt_while_the_history_loads_lets_nothing_be_triggered():
    service = FakeService()
    journal = await a_run(service, targets("acme/a"))
    read = journal.targets

    async def slowly(run):
        await anyio.sleep(5.0)
        return await read(run)

    journal.targets = slowly
    driving = engine(journal, service)
    codes = []

    async def drive():
        codes.append(await driving.run())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive)
        await anyio.sleep(1.0)
        driving.interrupt("SIGINT")
    assert codes == [Exit.SIGINT]
    assert service.posts == []
