"""A whole run as a web server would drive it: through the use cases alone, without a terminal."""

import ast
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from cli_machine import context_of
from fake_service import Script
from web import Page, Server

import orchestrator.app
from orchestrator.app.context import writable
from orchestrator.app.drive import Drive
from orchestrator.app.overlap import Held
from orchestrator.app.plan import Choices, Source, plan
from orchestrator.app.rehearse import rehearsed
from orchestrator.app.resume import choose, resume, retry
from orchestrator.app.runs import report, runs, why
from orchestrator.app.start import start
from orchestrator.app.which import exact
from orchestrator.core.errors import Exit, NotStarted
from orchestrator.core.events import Ended, Intended, RunEnded
from orchestrator.core.model import BuildState, Outcome
from orchestrator.core.selection import Selection

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Server(tmp_path, monkeypatch, bad=Script(BuildState.FAILED), endless=Script(runs=None))


async def test_a_run_is_planned_started_followed_and_reported(server):
    page = Page()
    started = await server.started("one", page, "a", "bad")
    found = []

    async def drive():
        found.append(await started.drive.run())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive)
        await page.requested.wait()
        assert found == []
    (ended,) = found
    assert ended.code is Exit.FAILED
    assert {row.outcome for row in ended.report.targets} == {"passed", "failed"}
    assert Counter(one.repo for one in server.service.requests) == {"acme/a": 1, "acme/bad": 1}
    assert isinstance(page.facts[-1], RunEnded)
    assert page.count(Intended) == page.count(Ended) == 2
    assert page.snapshots[-1].targets == 2


async def test_only_the_selected_targets_are_gone_on_with_or_retried(server):
    started = await server.started("one", Page(), "a", "bad", "c")
    started.drive.interrupt("SIGTERM")
    await started.drive.run()
    journal, context = server.journal(), server.context(Page())
    some = await resume(await exact(journal, "one"), journal, Choices(), context, selection=Selection(["acme/a"]))
    assert (await some.run()).code is Exit.OK
    assert [one.repo for one in server.service.requests] == ["acme/a"]
    rest = await resume(await exact(journal, "one"), journal, Choices(), context)
    assert (await rest.run()).code is Exit.FAILED
    row = await exact(journal, "one")
    chosen = await choose(row, {Outcome.PASSED, Outcome.FAILED}, journal, context, selection=Selection(first=2))
    assert [target.repo for target in chosen.targets] == ["acme/a", "acme/bad"]
    picked = Selection(exclude=["acme/bad"], first=1)
    chosen = await choose(row, {Outcome.PASSED, Outcome.FAILED}, journal, context, selection=picked)
    assert [target.repo for target in chosen.targets] == ["acme/a"]
    with pytest.raises(NotStarted, match="none of 3 targets is selected by --only nothing"):
        await choose(row, None, journal, context, selection=Selection(["nothing"]))


async def test_an_interrupted_run_is_resumed_and_what_failed_is_retried(server):
    started = await server.started("one", Page(), "a", "bad", "c")
    page, journal = Page(), server.journal()

    async with anyio.create_task_group() as tasks:
        left = []

        async def drive():
            left.append(await started.drive.run())

        tasks.start_soon(drive)
        await anyio.sleep(3.0)
        started.drive.interrupt("SIGTERM")
    assert left[0].code is Exit.SIGTERM
    context = server.context(page)
    again = await resume(await exact(journal, "one"), journal, Choices(), context)
    assert isinstance(again, Drive)
    assert (await again.run()).code is Exit.FAILED
    chosen = await choose(await exact(journal, "one"), None, journal, context)
    assert [target.repo for target in chosen.targets] == ["acme/bad"]
    assert (await (await retry(chosen, "two", journal, Choices(), context)).run()).code is Exit.FAILED
    assert Counter(one.repo for one in server.service.requests) == {"acme/a": 1, "acme/bad": 2, "acme/c": 1}


async def test_targets_of_another_open_run_are_told_as_values(server):
    await server.started("one", Page(), "a", "b")
    with pytest.raises(Held) as caught:
        await server.started("two", Page(), "b", "c")
    assert [one.target for one in caught.value.overlaps] == ["fake:acme/b"]
    assert [(hint.verb, hint.run) for hint in caught.value.hints] == [("resume", "one"), ("cancel", "one")]


@pytest.mark.slow  # builds of some seconds, in real time
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_rehearsal_is_driven_through_the_use_cases_alone(tmp_path, anyio_backend):
    page = Page()
    context = context_of(environ={}, cwd=tmp_path, home=tmp_path, sandbox=True, observer=page)
    planned = await plan(Source(repos=("acme/x@main", "acme/y@main")), Choices(), context)
    assert planned.needs_confirmation is None
    async with writable(context) as journal, AsyncExitStack() as stack:
        planned, reached = await rehearsed(planned, context, stack)
        ended = await (await start(planned, "try", journal, reached)).drive.run()
    assert ended.report.is_rehearsal
    assert [row.id for row in await runs(context)] == ["try"]
    _, again = await report(context, "try")
    assert again.totals == ended.report.totals
    story = await why(context, "acme/x")
    assert story.history.of(story.target.id).verdict is not None


APP = Path(orchestrator.app.__file__).parent


@pytest.mark.parametrize("path", sorted(APP.glob("*.py")), ids=lambda path: path.stem)
def test_no_use_case_knows_a_terminal(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in names:
                assert name.split(".")[0] not in {"click", "rich", "sys", "getpass", "signal"}, name
                assert not name.startswith("orchestrator.cli"), name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "breakpoint"}
