"""Who only looks on never stands in the way of who wants to drive a run, and says what nobody does."""

from contextlib import asynccontextmanager

import anyio
import pytest
from fake_service import Script, targets
from web import Page, Server

from orchestrator.app import runs
from orchestrator.app.cancel import cancel, canceled
from orchestrator.app.drive import Drive
from orchestrator.app.onlookers import let_go
from orchestrator.app.plan import Choices
from orchestrator.app.resume import resume
from orchestrator.app.which import exact
from orchestrator.core.errors import Exit
from orchestrator.core.events import Claimed
from orchestrator.core.frozen import replace
from orchestrator.core.history import History
from orchestrator.core.model import COORDINATOR, Outcome, Request
from orchestrator.core.progress import Progress, Verdict
from orchestrator.core.waves import Reruns
from orchestrator.report.hints import Hint

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Server(tmp_path, monkeypatch, slow=Script(runs=300.0), endless=Script(runs=None))


def watch(server, page, run="one"):
    return Drive(run, server.journal(), Choices(), server.context(page), looks_on=True)


async def left(server, *names):
    """A run whose driver left before it triggered anything."""
    started = await server.started("one", Page(), *names)
    started.drive.interrupt("SIGTERM")
    await started.drive.run()


async def detached(server, *names):
    """A run whose driver left it when everything was triggered."""
    started = await server.started("one", Page(), *names, choices=Choices(detach=True))
    assert (await started.drive.run()).code is Exit.OK


async def claims(server):
    entries = await server.journal().read("one", {})
    return [entry.event for entry in entries if isinstance(entry.event, Claimed) and entry.account == COORDINATOR]


async def test_an_onlooker_of_a_run_that_nobody_triggers_takes_nothing_and_says_so(server):
    await left(server, "a", "b")
    before, page, found = await claims(server), Page(), []

    async def look_on():
        found.append(await watch(server, page).run())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look_on)
        await anyio.sleep(60.0)
        journal = server.journal()
        row = await exact(journal, "one")
        assert not row.driven
        assert await claims(server) == before
        assert page.told["run.unattended"] == {"run": "one", "not_triggered": 2, "next": Hint("resume", "one")}
        assert page.notices.count("run.unattended") == 1
        assert not page.snapshots[-1].is_driven
        began = anyio.current_time()
        driver = await resume(row, journal, Choices(), server.context(one := Page()))
        tasks.start_soon(driver.run)
        await one.requested.wait()
        assert anyio.current_time() - began < 65.0  # what it took over it looks for first
    assert found[0].code is Exit.OK
    assert {target.outcome for target in found[0].report.targets} == {"passed"}
    assert page.snapshots[-1].is_driven


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_report_of_a_driven_run_foretells_what_is_open_where_a_format_wants_it(server, monkeypatch, wanted):
    @asynccontextmanager
    async def readable(*_):
        yield server.journal()

    monkeypatch.setattr(runs, "readable", readable)
    started = await server.started("one", Page(), "slow", "quick")
    context = server.context(Page())
    context.wants_foretold = wanted
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started.drive.run)
        await anyio.sleep(120.0)
        _, found = await runs.report(context, "one")
        open_ = found.totals["open"]
        assert 0 < open_ < len(found.targets)
        assert len(found.to_come) == (open_ if wanted else 0)
        assert all(found.as_of <= asked < ended for asked, ended in found.to_come)
    _, found = await runs.report(context, "one")
    assert found.to_come == ()


async def test_an_onlooker_that_is_interrupted_leaves(server):
    await left(server, "a")
    drive = watch(server, Page())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive.run)
        await anyio.sleep(20.0)
        drive.interrupt("SIGINT")


async def test_the_builds_of_a_detached_run_are_followed_by_who_watches(server):
    await detached(server, "a", "slow")
    ended = await watch(server, page := Page()).run()
    assert ended.code is Exit.OK
    assert "run.unattended" not in page.notices
    assert {target.outcome for target in ended.report.targets} == {"passed"}


async def test_who_watches_leaves_the_run_to_a_resume(server):
    await detached(server, "a", "slow")
    codes = {}

    async def look_on():
        codes["watch"] = (await watch(server, Page()).run()).code

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look_on)
        await anyio.sleep(20.0)
        journal = server.journal()
        row = await exact(journal, "one")
        assert row.driven
        known = len(await claims(server))
        driver = await resume(row, journal, Choices(), server.context(Page()))
        async with anyio.create_task_group() as driving:

            async def drive():
                codes["resume"] = (await driver.run()).code

            driving.start_soon(drive)
            await anyio.sleep(5.0)
            assert len(await claims(server)) > known
    assert codes == {"watch": Exit.OK, "resume": Exit.OK}
    assert [claim.onlooker for claim in await claims(server)] == [False, True, False]


async def test_a_second_resume_is_no_onlooker_and_is_not_let_in(server):
    started = await server.started("one", Page(), "slow")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started.drive.run)
        await anyio.sleep(10.0)
        await let_go("one", server.journal(), server.context(page := Page()))
        assert (await exact(server.journal(), "one")).driven
        assert page.notices == []


async def test_who_watches_cancels_for_a_person_who_asks_for_it(server):
    await detached(server, "endless", "a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch(server, Page()).run)
        await anyio.sleep(20.0)
        journal = server.journal()
        asked = await cancel(await exact(journal, "one"), journal, "anna@web", Choices(), server.context(Page()))
        assert (await canceled(await asked.run(), journal)).code is Exit.OK
    assert all(one.canceled_at is not None for one in server.service.requests)


async def test_who_asks_before_it_has_begun_is_not_forgotten(server):
    """A wish from before it took the run up may have been for another onlooker, so it is asked for again."""
    await detached(server, "slow")
    async with anyio.create_task_group() as tasks:
        drive = watch(server, Page())
        tasks.start_soon(drive.run)
        for _ in range(1000):
            if (await exact(server.journal(), "one")).driven:
                break
            await anyio.sleep(0.001)
        await let_go("one", server.journal(), server.context(Page()))
        assert not (await exact(server.journal(), "one")).driven
        drive.interrupt("SIGINT")


@pytest.mark.parametrize(
    ("reruns", "progress", "expected"),
    [
        (0, Progress(), True),
        (0, Progress(asked_at=1.0), True),
        (0, Progress(request=Request("1")), False),
        (2, Progress(request=Request("1"), reruns=1), True),
        (2, Progress(request=Request("1"), reruns=2), False),
        (2, Progress(request=Request("1"), reruns=2, asked_at=1.0), True),
        (2, Progress(request=Request("1"), verdict=Verdict(Outcome.FAILED, "", "", 1.0)), False),
    ],
)
def test_what_may_still_be_sent_needs_a_driver(reruns, progress, expected):
    (one,) = targets("acme/a")
    history = History([replace(one, reruns=Reruns(reruns))])
    history.progress[one.id] = progress
    assert history.needs_a_driver == expected
