"""The example manifests are played, and what `plan -o curl` prints is run by a shell, against the sandbox."""

import os
import random
import sys
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import anyio
import pytest

from orchestrator import manifest as manifests
from orchestrator.app.start import made_of
from orchestrator.core.errors import Exit
from orchestrator.core.frozen import replace
from orchestrator.core.rollout import cut
from orchestrator.core.waves import Rollout
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import Settings, numbered
from orchestrator.providers.port import Line
from orchestrator.providers.registry import known, lookalike_of
from orchestrator.providers.registry import load as load_code
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "manifests").glob("*.yaml"))
EPOCH = 1_767_571_200.0


def now():
    return EPOCH + anyio.current_time()


def plan_of(path):
    declarations = known()
    read = manifests.read(
        str(path), path.read_bytes(), declarations=declarations, run_id="r1", load=lambda name: Path(name).read_bytes()
    )
    return manifests.expand(read, today=date(2026, 1, 5))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_every_example_manifest_plays_against_the_sandbox_to_its_end(path):
    plan = plan_of(path)
    worlds = {
        name: lookalike_of(account.type).for_plan([one for one in plan.targets if one.account == name], [account])
        for name, account in plan.accounts.items()
    }

    @asynccontextmanager
    async def connect(account):
        declared, made = known()[account.type], load_code(known()[account.type].factory)
        world = worlds[account.name]
        send = world.send(now, anyio.sleep, random.Random(1))
        yield Line(account, declared, send, lambda send: made(account, send, lambda _: world.settings.token), "hash")

    journal = MemoryJournal(now=now)
    rollout = plan.rollout or Rollout()
    cut_up = cut(plan.targets, rollout, "r1", {})
    plan = replace(plan, targets=tuple(cut_up.targets), waves=tuple(cut_up.waves))
    await journal.make_run("r1", made_of(plan, {}), plan.targets, now())
    code = await Engine(
        "r1",
        journal,
        connect,
        Options(),
        now=now,
        process=Process("here", "boot", 1, "1"),
        random=random.Random(1),
    ).run()
    history = await load(journal, "r1")
    assert code in (Exit.OK, Exit.FAILED)
    assert all(history.of(target.id).is_done for target in plan.targets)
    for world in worlds.values():
        assert world.counters.accepted
        assert not world.counters.duplicates()
        assert not {"429", "404", "422"} & world.counters.statuses.keys()


AWKWARD = """\
version: 1
name: awkward
providers: {{travis: {{type: travis, url: "{url}", token: env:TRAVIS_TOKEN}}}}
defaults: {{marker: none}}
targets:
  - {{repo: acme/svc-001, branch: main, message: 'it''s "quoted" and 100 % \\ $HOME `id` !'}}
  - repo: acme/svc-002
    branch: feature/ü
    message: "two\\nlines, and a tab\\t"
    config: {{script: ["echo '$A' \\"%s\\" > /dev/null; echo \\\\n"]}}
    merge_mode: deep_merge
  - {{repo: acme/svc-003, branch: main, env: {{GREETING: "grüß 'Gott' & $PATH"}}, merge_mode: deep_merge_append}}
  - acme/svc-004
"""


def said(world):
    """What was asked for, without ids and times."""
    keys = ("repo", "branch", "message", "config", "configs", "merge_mode", "sha", "tag_name")
    return sorted(
        (tuple(str(row.get(key)) for key in keys) for row in [each.as_json() for each in world.counters.accepted]),
        key=str,
    )


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_curl_lines_of_plan_ask_for_the_same_as_run_without_a_marker(tmp_path, anyio_backend):
    def world():
        return TravisLookAlike(Settings(repos=numbered(9), strict_branches=False, build=(0.1, 0.2), process=(0.1, 0.2)))

    async def orchestrator(*words):
        program = [sys.executable, "-m", "orchestrator", *words, "--state", str(tmp_path / "state")]
        return await anyio.run_process(program, cwd=tmp_path, env=environ, check=False)

    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TRAVIS_TOKEN": "sandbox-token"}
    asked_by_curl, asked_by_run = world(), world()
    async with serve(asked_by_curl) as by_curl:
        (tmp_path / "orchestrator.yaml").write_text(AWKWARD.format(url=by_curl.url), encoding="utf-8")
        lines = await orchestrator("plan", "-o", "curl")
        assert lines.returncode == 0, lines.stderr
        script = b"set -e\n" + lines.stdout
        ran = await anyio.run_process(["bash", "-c", script.decode()], cwd=tmp_path, env=environ, check=False)
        assert ran.returncode == 0, ran.stderr
    async with serve(asked_by_run) as by_run:
        (tmp_path / "orchestrator.yaml").write_text(AWKWARD.format(url=by_run.url), encoding="utf-8")
        ran = await orchestrator("run", "--yes")
        assert ran.returncode == 0, ran.stderr
    assert len(said(asked_by_curl)) == 4
    assert said(asked_by_curl) == said(asked_by_run)
