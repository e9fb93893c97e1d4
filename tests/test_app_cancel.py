"""Canceling, through the use cases alone: whoever drives the run does it, and what came of it is told with an end."""

import anyio
import pytest
from fake_service import FakeService, Script
from web import Page, Server

from orchestrator.app.cancel import cancel, canceled
from orchestrator.app.plan import Choices
from orchestrator.app.resume import resume
from orchestrator.app.runs import canceled_by, meant
from orchestrator.app.which import exact
from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit
from orchestrator.core.events import CANCELED, CancelAsked, Canceling, Stopped
from orchestrator.core.selection import Selection
from orchestrator.engine.stage import Stage
from orchestrator.journal.history import load

pytestmark = pytest.mark.anyio

SCRIPTS = {"endless": Script(runs=None), "other": Script(runs=None), "none": Script(appears=None)}


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Server(tmp_path, monkeypatch, **SCRIPTS)


class Deaf(FakeService):
    """It promises to cancel, and does not."""

    def _cancel(self, path):
        return Answer(202)


async def played(server, *names, keep=False, before=(), alone=False):
    """A run that a person has canceled while it was driven, or after its driver had left it.

    Args:
        keep: whether its builds are to go on.
        before: earlier wishes.

    Returns:
        What came of it, what the person's page was shown, and how long it took.
    """
    started = await server.started("one", page := Page(), *names)
    mine, found = Page(), []

    async def person():
        journal = server.journal()
        for wish in before:
            await journal.wish("one", wish)
        began = anyio.current_time()
        asked = await cancel(
            await exact(journal, "one"), journal, "anna@web", Choices(), server.context(mine), keep_builds=keep
        )
        found.append(await canceled(await asked.run(), journal))
        found.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started.drive.run)
        await page.requested.wait()
        await anyio.sleep(20.0)
        if alone:
            started.drive.interrupt("SIGTERM")
            await anyio.sleep(5.0)
        tasks.start_soon(person)
    return found[0], mine if alone else page, found[1]


async def test_another_run_is_canceled_while_it_is_driven(server):
    page = Page()
    started = await server.started("two", page, "endless", "a")
    codes = {}

    async def drive():
        codes["driver"] = (await started.drive.run()).code

    async def person():
        journal = server.journal()
        await page.requested.wait()
        row = await exact(journal, "two")
        assert row.driven
        asked = await cancel(row, journal, "anna@web", Choices(), server.context(Page()))
        ended = await asked.run()
        found = await canceled(ended, journal)
        codes["person"], codes["left"] = found.code, found.left

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive)
        tasks.start_soon(person)
    assert codes["left"] == ()
    assert codes["person"] is Exit.OK
    assert all(one.canceled_at is not None for one in server.service.requests if one.repo == "acme/endless")


async def test_only_the_named_targets_of_another_run_are_canceled_and_that_is_awaited(server):
    page = Page()
    started = await server.started("two", page, "endless", "a", "b")
    codes = {}

    async def person():
        journal = server.journal()
        await page.requested.wait()
        row = await exact(journal, "two")
        only = await meant(row, journal, Selection(["acme/endless"]))
        asked = await cancel(row, journal, "anna@web", Choices(), server.context(Page()), only=only)
        codes["person"] = (await canceled(await asked.run(), journal, only)).code

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started.drive.run)
        tasks.start_soon(person)
    assert codes["person"] is Exit.OK
    history = await load(server.journal(), "two")
    assert [history.of(target.id).verdict.outcome for target in history.targets] == ["canceled", "passed", "passed"]
    assert [one.repo for one in server.service.requests if one.canceled_at is not None] == ["acme/endless"]


@pytest.mark.parametrize("alone", [False, True], ids=["driven", "left"])
async def test_builds_that_do_not_stop_are_asked_again_and_told_with_their_urls(server, alone):
    server.service = Deaf(server.service.scripts)
    found, page, took = await played(server, "a", "endless", alone=alone)
    assert found.code is Exit.FAILED
    ((id_, why),) = [(id_, why) for id_, why in found.left if id_ == "fake:acme/endless"]
    assert why.startswith("its build did not stop: https://ci.invalid/acme/endless/builds/b")
    assert 120.0 < took < 240.0  # from the last that ended
    asked = [event for event in page.facts if isinstance(event, Canceling) and event.target == id_]
    assert 4 <= len(asked) <= 8
    canceling = [one.state for one in page.snapshots if one.state.stage is Stage.CANCELING]
    assert {one.why for one in canceling} >= {"waits for 1 build to stop"}
    assert any(one.at_most is not None and 0 < one.at_most <= 120.0 for one in canceling)


async def test_a_request_that_never_shows_a_build_is_not_waited_for_without_end(server):
    found, _, took = await played(server, "none")
    assert found.code is Exit.FAILED
    assert [why.partition(":")[0] for _, why in found.left] == ["no build to cancel appeared"]
    assert took < 200.0


async def test_it_is_known_who_had_a_run_canceled(server):
    await played(server, "endless", "a")
    row = await exact(server.journal(), "one")
    stopped = (await load(server.journal(), "one")).stopped
    assert (stopped.rule, stopped.asked_by) == (CANCELED, "anna@web")
    assert await canceled_by([row], server.journal()) == {"one": "anna@web"}


@pytest.mark.parametrize("keep", [True, False])
async def test_the_later_of_two_wishes_wins(server, keep):
    first = CancelAsked("bob", 0.0, keep_builds=not keep)
    found, _, took = await played(server, "endless", "other", keep=keep, before=[first])
    history = await load(server.journal(), "one")
    stops = [e.event for e in await server.journal().read("one", {}) if isinstance(e.event, Stopped)]
    assert [stop.keeps_builds for stop in stops] == [keep]
    assert history.stopped.asked_by == "anna@web"
    assert found.code is Exit.OK
    assert took < 30.0
    assert all((one.canceled_at is None) == keep for one in server.service.requests)


async def test_whoever_wants_the_builds_to_go_on_after_all_is_not_kept_waiting(server):
    server.service = Deaf(server.service.scripts)
    started = await server.started("one", page := Page(), "endless")
    took = []

    async def keep():
        journal = server.journal()
        began = anyio.current_time()
        row = await exact(journal, "one")
        asked = await cancel(row, journal, "anna@web", Choices(), server.context(Page()), keep_builds=True)
        assert (await canceled(await asked.run(), journal)).code is Exit.OK
        took.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started.drive.run)
        await page.requested.wait()
        await server.journal().wish("one", CancelAsked("bob", 0.0))
        await anyio.sleep(30.0)
        tasks.start_soon(keep)
    assert took[0] < 10.0


async def gone_on(server, **choices):
    """The run, resumed for some time."""
    journal = server.journal()
    drive = await resume(await exact(journal, "one"), journal, Choices(**choices), server.context(Page()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive.run)
        await anyio.sleep(20.0)
        drive.interrupt("SIGTERM")


@pytest.mark.parametrize("known", [0, 1])
async def test_builds_of_which_the_journal_has_lost_the_request_are_found_and_canceled(server, known):
    """As a copy of the state that is put back does not tell of them."""
    started = await server.started("one", Page(), "endless", "other")
    started.drive.interrupt("SIGTERM")
    await started.drive.run()
    if known:
        await gone_on(server, in_flight=1)
    assert len(server.service.requests) == known
    earlier = server.disk.copy({"one"})
    await gone_on(server, in_flight=2)
    assert len(server.service.requests) == 2
    server.disk = earlier
    journal = server.journal()
    asked = await cancel(await exact(journal, "one"), journal, "anna@web", Choices(), server.context(Page()))
    ended = await asked.run()
    assert (await canceled(ended, journal)).code is Exit.OK
    assert {target.outcome for target in ended.report.targets} == {"canceled"}
    assert all(one.canceled_at is not None for one in server.service.requests)
