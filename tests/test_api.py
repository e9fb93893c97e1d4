"""The Python API: a program plans, starts, follows, cancels and reports through `orchestrator.api` alone."""

import ast
import re
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from cli_machine import ENVIRON
from fake_service import Script
from web import MANIFEST, Page, Server

from orchestrator import api
from orchestrator.core.errors import LeaseLost, NotStarted, UsageError
from orchestrator.core.model import BuildState

pytestmark = pytest.mark.anyio
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def server(tmp_path, monkeypatch):
    made = Server(tmp_path, monkeypatch, bad=Script(BuildState.FAILED), endless=Script(runs=None))
    journal = made.journal()

    @asynccontextmanager
    async def opened(*_, **__):
        yield journal

    monkeypatch.setattr(api, "writable", opened)
    monkeypatch.setattr(api.stored, "readable", opened)
    return made


def manifest(server, *names, more=""):
    text = MANIFEST.format(name="nightly", targets=", ".join(f"acme/{name}" for name in names)) + more
    (server.folder / "m.yaml").write_text(text)
    return api.Source("m.yaml")


async def test_a_run_is_planned_started_and_reported_and_the_same_id_starts_nothing_twice(server):
    source, context = manifest(server, "a", "bad"), server.context(Page())
    planned = await api.plan(source, context=context)
    assert [target.repo for target in planned.plan.targets] == ["acme/a", "acme/bad"]
    ended = await api.start(source, run="one", context=context)
    assert (ended.code, ended.report.totals["passed"], ended.report.totals["failed"]) == (api.Exit.FAILED, 1, 1)
    again = await api.start(source, run="one", context=context)
    assert again.report.totals == ended.report.totals
    assert (await api.report("one", context=context)).totals == ended.report.totals
    assert Counter(one.repo for one in server.service.requests) == {"acme/a": 1, "acme/bad": 1}


async def test_the_very_plan_is_shown_before_anything_is_sent_and_a_no_sends_nothing(server):
    seen = []

    async def confirm(planned):
        seen.extend(target.repo for target in planned.plan.targets)
        return False

    with pytest.raises(NotStarted, match="not confirmed; nothing was sent"):
        await api.start(manifest(server, "a", "b"), confirm=confirm, context=server.context(Page()))
    assert seen == ["acme/a", "acme/b"]
    assert server.service.requests == []


async def test_a_run_that_was_left_is_gone_on_with_by_who_follows_and_drives(server):
    page, leave = Page(), anyio.Event()
    context, source = server.context(page), manifest(server, "a", "endless")
    left = []

    async def started():
        left.append(await api.start(source, run="one", leave=leave, context=context))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started)
        await page.requested.wait()
        leave.set()
    assert left[0].code is api.Exit.SIGTERM
    server.service.scripts["acme/endless"] = Script()
    ended = await api.follow("one", drives=True, context=server.context(Page()))
    assert {row.repo for row in ended.report.targets} == {"acme/a", "acme/endless"}
    assert max(Counter(one.repo for one in server.service.requests).values()) == 1


async def test_a_run_is_canceled_by_a_name_that_the_journal_keeps(server):
    page, context = Page(), server.context(Page())
    context.observer = page
    source, came = manifest(server, "endless"), []

    async def started():
        came.append(await api.start(source, run="one", context=context))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started)
        await page.requested.wait()
        found, report = await api.cancel("one", "ann", context=server.context(Page()))
    assert found.code is api.Exit.OK
    assert [row.outcome for row in report.targets] == ["canceled"]
    assert "ann" in (report.run.stopped_why or "") + "".join(row.reason or "" for row in report.targets)
    again, _ = await api.cancel("one", "ann", context=server.context(Page()))
    assert again.code is api.Exit.NOT_STARTED


async def test_what_differs_from_an_open_run_is_told_and_what_ended_otherwise_is_refused(server):
    leave = anyio.Event()
    leave.set()
    await api.start(manifest(server, "a"), run="one", leave=leave, context=server.context(Page()))
    page = Page()
    await api.start(manifest(server, "a", "b"), run="one", context=server.context(page))
    assert "acme/b" in page.told["run.differs"]["text"]
    with pytest.raises(api.AnotherPlan, match="run one has ended, and its plan was another"):
        await api.start(manifest(server, "a", "b"), run="one", context=server.context(Page()))
    assert [one.repo for one in server.service.requests] == ["acme/a"]


async def test_report_files_that_the_manifest_names_are_written_and_one_that_cannot_be_is_told(server):
    source = manifest(server, "a", more="reports: {json: out/report.json, html: m.yaml/no.html}\n")
    page = Page()
    ended = await api.start(source, run="one", context=server.context(page))
    assert ended.code is api.Exit.FAILED
    assert (server.folder / "out/report.json").exists()
    assert page.told["report.unwritten"]["format"] == "html"


async def test_an_overlap_that_only_the_command_line_has_is_refused_in_words(server):
    with pytest.raises(UsageError, match="to replace a run, cancel it first"):
        await api.start(manifest(server, "a"), overlap="replace", context=server.context(Page()))


async def test_who_drives_a_run_that_another_process_drives_is_told_so(server):
    page, context = Page(), server.context(Page())
    context.observer = page
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: api.start(manifest(server, "endless"), run="one", context=context))
        await page.requested.wait()
        with pytest.raises(LeaseLost):
            await api.follow("one", drives=True, context=server.context(Page()))
        tasks.cancel_scope.cancel()


def test_the_page_names_every_public_name_of_the_module():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert [name for name in api.__all__ if f"`{name}" not in text] == []


def script():
    (found,) = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    ast.parse(found)
    return found


@pytest.mark.slow  # a rehearsal with builds of some seconds, in real time
def test_the_script_of_the_page_runs_as_it_is_written(tmp_path):
    (tmp_path / "night.py").write_text(script(), encoding="utf-8")
    (tmp_path / "orchestrator.yaml").write_text("version: 1\ndefaults: {branches: [main]}\ntargets: [acme/a, acme/b]\n")
    done = subprocess.run(
        [sys.executable, "night.py"],
        cwd=tmp_path,
        env=ENVIRON | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 targets, asked as planned" in done.stdout
    assert "2 passed" in done.stdout
    assert (tmp_path / "night.html").read_text(encoding="utf-8").startswith("<!doctype html>")
