"""Builds that failed are started again: so often as is written, on the same request, never after a stop."""

import contextlib
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from fake_service import FAKE, FakeProvider, FakeService, targets
from test_engine import engine

from orchestrator.app.resume import refuse_what_is_sure
from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import Exit, InDoubt, Rejected, UsageError
from orchestrator.core.events import PauseAsked, RestartAsked, Restarted, RunMade, Stopped, UnpauseAsked, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState
from orchestrator.core.waves import Reruns, Wave
from orchestrator.journal.history import load
from orchestrator.providers.port import Line
from orchestrator.testing import Crash, MemoryJournal

pytestmark = pytest.mark.anyio

DECLARED = replace(FAKE, restarts=True)
ONCE = Reruns(1)
P, F, E = BuildState.PASSED, BuildState.FAILED, BuildState.ERRORED


class Restarting(FakeProvider):
    """A provider that can start a build again."""

    async def restart(self, target, build):
        call = Call("POST", f"/restart/{build.id}", (), None, "trigger", FAKE.trigger_limits, target.repo)
        answer = await self._send(call)
        if answer.status == 403:
            raise Rejected("no_credit", "no credit is left")
        if answer.status != 202:
            raise InDoubt(f"HTTP {answer.status}")


@dataclass
class World(FakeService):
    """A service whose builds end as `ends` says, by repository and start; what is not said has passed.

    Attributes:
        answers: what befalls each restart of a repository: `ok`, `lost_after`, `lost_before`, `refused`.
        started: when each build was started, again and again.
        lasts: seconds from a start to the end.
    """

    ends: dict = field(default_factory=dict)
    answers: dict = field(default_factory=dict)
    started: dict = field(default_factory=dict)
    asked: Counter = field(default_factory=Counter)
    lasts: float = 60.0

    def _answer(self, call):
        if not call.path.startswith("/restart/"):
            return super()._answer(call)
        id_, number = call.path.removeprefix("/restart/b"), self.asked[call.repo]
        self.asked[call.repo] += 1
        words = self.answers.get(call.repo, ())
        word = words[number] if number < len(words) else "ok"
        if word == "refused":
            return Answer(403, "no credit")
        if word != "lost_before":
            self.started.setdefault(id_, []).append(self.now())
        return None if word.startswith("lost") else Answer(202)

    def _build(self, one):
        starts = [one.at, *self.started.get(one.id, ())]
        ends = self.ends.get(one.repo, ())
        state = ends[len(starts) - 1] if len(starts) <= len(ends) else P
        began, now = starts[-1], self.now()
        build = {"id": f"b{one.id}", "url": f"https://ci.invalid/b{one.id}", "started_at": began}
        if one.canceled_at is not None:
            return {**build, "state": "canceled", "finished_at": one.canceled_at}
        if now < began + self.lasts:
            return {**build, "state": "running"}
        return {**build, "state": state.value, "finished_at": began + self.lasts}

    @asynccontextmanager
    async def connect(self, account):
        yield Line(account, DECLARED, self.send, lambda send: Restarting(account, send), "hash")


async def make(journal, wanted, service, waves=()):
    one = Account("fake", "fake", FAKE.url, "env:FAKE_TOKEN", limits=FAKE.limits)
    made = RunMade("nightly", None, "", accounts={"fake": to_json(one)}, waves=tuple(waves))
    await journal.make_run("r1", made, wanted, service.now())


async def drive(service, *names, reruns=ONCE, waves=(), **options):
    journal = MemoryJournal(now=service.now)
    await make(journal, targets(*names, reruns=reruns), service, waves)
    one = engine(journal, service, **options)
    code = await one.run()
    return code, await load(journal, "r1"), journal, one


def verdicts(history):
    return {t.repo: (v := history.of(t.id).verdict) and (v.outcome.value, v.code) for t in history.targets}


def facts(entries, *kinds):
    return [entry.event for entry in entries if isinstance(entry.event, kinds)]


async def test_a_build_that_failed_is_started_again_and_its_new_end_counts():
    world = World(ends={"acme/flaky": (F,), "acme/bad": (F, F), "acme/err": (E, E), "acme/both": (E, F)})
    code, history, journal, _ = await drive(world, "acme/flaky", "acme/bad", "acme/err", "acme/both", "acme/ok")
    assert code == Exit.FAILED
    assert verdicts(history) == {
        "acme/flaky": ("passed", "passed_after_rerun"),
        "acme/bad": ("failed", "failed_every_time"),
        "acme/err": ("errored", "build_errored"),
        "acme/both": ("failed", "failed_every_time"),
        "acme/ok": ("passed", "passed"),
    }
    assert {t.repo: history.of(t.id).reruns for t in history.targets} == {
        "acme/flaky": 1, "acme/bad": 1, "acme/err": 1, "acme/both": 1, "acme/ok": 0,
    }  # fmt: skip
    assert Counter(one.repo for one in world.requests) == Counter(dict.fromkeys(world.ends, 1) | {"acme/ok": 1})
    entries = await journal.read("r1", {})
    assert len(facts(entries, RestartAsked)) == len(facts(entries, Restarted)) == 4


async def test_a_build_is_started_again_no_more_often_than_is_written():
    world = World(ends={"acme/a": (F, F, F, F), "acme/b": (F, F, P)})
    _, history, _, _ = await drive(world, "acme/a", "acme/b", reruns=Reruns(2))
    assert world.asked == {"acme/a": 2, "acme/b": 2}
    assert verdicts(history) == {"acme/a": ("failed", "failed_every_time"), "acme/b": ("passed", "passed_after_rerun")}
    assert history.of("fake:acme/a").verdict.reason == "build failed 3 times"


async def test_a_restart_that_the_provider_refuses_leaves_the_outcome_as_it_was():
    world = World(ends={"acme/a": (F,)}, answers={"acme/a": ("refused",)})
    code, history, _, _ = await drive(world, "acme/a", reruns=Reruns(3))
    assert code == Exit.FAILED
    assert verdicts(history) == {"acme/a": ("failed", "build_failed")}
    assert "could not be started again: no credit is left" in history.of("fake:acme/a").verdict.reason
    assert world.asked["acme/a"] == 1


@pytest.mark.parametrize(("word", "asked"), [("lost_after", 1), ("lost_before", 2)])
async def test_a_lost_answer_is_settled_by_the_build(word, asked):
    world = World(ends={"acme/a": (F,)}, answers={"acme/a": (word,)})
    code, history, _, _ = await drive(world, "acme/a")
    assert code == Exit.OK
    assert verdicts(history) == {"acme/a": ("passed", "passed_after_rerun")}
    assert world.asked["acme/a"] == asked
    assert len(world.requests) == len(world.started["1"]) == 1


async def test_a_build_that_ends_again_within_the_same_seconds_is_seen_to_have_ended_again():
    world = World(ends={"acme/a": (F, F), "acme/b": (E, P)}, lasts=0.5)
    _, history, _, _ = await drive(world, "acme/a", "acme/b")
    assert verdicts(history) == {"acme/a": ("failed", "failed_every_time"), "acme/b": ("passed", "passed_after_rerun")}
    assert world.now() < 60.0 + world.started["1"][0]


async def test_of_a_lost_rerun_a_person_is_not_asked_since_its_build_tells():
    world = World(ends={"acme/a": (F,)}, answers={"acme/a": ("lost_before",)})
    journal = MemoryJournal(now=world.now)
    await make(journal, targets("acme/a", reruns=ONCE), world)
    await engine(journal, world, timeout=75.0).run()
    history = await load(journal, "r1")
    assert history.of("fake:acme/a").is_restarting
    with pytest.raises(UsageError, match="not in doubt, its request is 1"):
        refuse_what_is_sure(history, ["fake:acme/a"], "--adopt-request")
    await engine(journal, world, adopt_request={"fake:acme/a": "7"}).run()
    history = await load(journal, "r1")
    assert history.of("fake:acme/a").request.id == "1"
    assert world.asked["acme/a"] == 2


async def test_no_more_than_at_most_of_a_wave_are_started_again_and_that_is_told_once():
    names = [f"acme/svc-{n:02}" for n in range(20)]
    world = World(ends=dict.fromkeys(names, (F,)))
    _, history, _, one = await drive(world, *names, reruns=Reruns(2, "10%"), waves=[Wave(1, "canary", 20)])
    assert sum(world.asked.values()) == 2
    assert Counter(code for _, code in verdicts(history).values()) == {"passed_after_rerun": 2, "build_failed": 18}
    assert [more for name, more in one.facts if name == "reruns.over"] == [{"wave": "canary", "started_again": 2}]


async def test_nothing_is_started_again_after_a_stop():
    names = [f"acme/svc-{n}" for n in range(6)]
    world = World(ends=dict.fromkeys(names, (F, F)))
    code, history, journal, _ = await drive(world, *names, max_fail="1")
    assert code == Exit.FAILED
    entries = await journal.read("r1", {})
    [stopped] = [entry.at for entry in entries if isinstance(entry.event, Stopped)]
    assert all(entry.at <= stopped for entry in entries if isinstance(entry.event, RestartAsked))
    assert all(verdict is not None for verdict in verdicts(history).values())


async def test_what_waits_to_be_started_again_when_the_run_stops_has_the_outcome_that_it_had():
    world = World(ends={"acme/a": (F, F), "acme/z": (F, F)})
    journal = MemoryJournal(now=world.now)
    limited = targets("acme/a", reruns=Reruns(0)) + targets("acme/z", reruns=Reruns(1))
    await make(journal, limited, world)
    code = await engine(journal, world, max_fail="1").run()
    history = await load(journal, "r1")
    assert code == Exit.FAILED
    assert verdicts(history)["acme/a"] == ("failed", "build_failed")
    assert verdicts(history)["acme/z"][0] == "failed"


async def test_nothing_is_started_again_while_the_run_is_paused():
    world = World(ends={"acme/a": (F,)})
    journal = MemoryJournal(now=world.now)
    await make(journal, targets("acme/a", reruns=Reruns(1)), world)
    await journal.wish("r1", PauseAsked("me", world.now()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine(journal, world).run)
        await anyio.sleep(5.0)
        await journal.wish("r1", UnpauseAsked("me", world.now()))
        await anyio.sleep(30.0)
        await journal.wish("r1", PauseAsked("me", world.now()))
        await anyio.sleep(600.0)
        assert world.asked["acme/a"] == 0
        assert (await load(journal, "r1")).of("fake:acme/a").verdict is None
        await journal.wish("r1", UnpauseAsked("me", world.now()))
    assert world.asked["acme/a"] == 1
    assert verdicts(await load(journal, "r1")) == {"acme/a": ("passed", "passed_after_rerun")}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("record", range(18))
async def test_dying_at_any_record_makes_no_second_request_and_reruns_no_more_than_written(record, before):
    world = World(ends={"acme/a": (F,), "acme/b": (F, F)})
    first = MemoryJournal(dies_at=record, dies_before=before, now=world.now)
    await first.remember("fake:https://ci.invalid:1", marker_proven=True)
    await make(first, targets("acme/a", "acme/b", reruns=Reruns(1)), world)
    with contextlib.suppress(Crash):
        await engine(first, world).run()
    second = MemoryJournal(first.disk, now=world.now)
    await engine(second, world).run()
    assert Counter(one.repo for one in world.requests) == {"acme/a": 1, "acme/b": 1}
    assert verdicts(await load(second, "r1")) == {
        "acme/a": ("passed", "passed_after_rerun"),
        "acme/b": ("failed", "failed_every_time"),
    }
    assert all(len(starts) == 1 for starts in world.started.values())
