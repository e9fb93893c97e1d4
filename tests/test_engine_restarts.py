"""Builds that are started again (`retry --same-commit`): a lost answer is settled by the build itself."""

import anyio
import pytest
from fake_service import FakeProvider, targets
from rare import FAKE_A, TIMES, Dated, Service, a_run, another, engine, facts, left_by

from orchestrator.core.calls import Call
from orchestrator.core.errors import Exit, InDoubt, LookFailed, Unreachable
from orchestrator.core.events import Absent, Doubted, Intended, RestartAsked, Restarted
from orchestrator.core.model import Build, BuildState, Outcome, Request
from orchestrator.core.options import OldBuild
from orchestrator.journal.history import load
from orchestrator.providers.port import Observation

pytestmark = pytest.mark.anyio

RUNS = 60.0  # seconds


class World(Dated, Service):
    """One build, `b7`, which failed long ago, and can be started again.

    Args:
        answers: what befalls each call that starts it again: `ok`, `lost` (handled, no answer), `never` (not handled,
            no answer), `unreachable`; later ones are `ok`.
        shown: whether the build can be read.
        shows_after: seconds until a restart shows.
    """

    def __init__(self, *answers, shown=True, shows_after=0.0, behind=0.0):
        super().__init__(provider=Restarts)
        self.answers, self.shown, self.shows_after, self.behind = answers, shown, shows_after, behind
        self.asked = []  # times of the calls
        self.handled = []

    def restart(self):
        at = len(self.asked)
        word = self.answers[at] if at < len(self.answers) else "ok"
        self.asked.append(self.true_time())
        if word == "unreachable":
            raise Unreachable("connection refused")
        if word != "never":
            self.handled.append(self.now())
        if word != "ok":
            raise InDoubt("connection reset")

    def build(self):
        began = next((at for at in reversed(self.handled) if at + self.shows_after <= self.now()), None)
        if began is None:
            return OLD if not self.behind else moved(OLD, -self.behind)
        if self.now() < began + RUNS:
            return Build("b7", BuildState.RUNNING, "running", started_at=began)
        return Build("b7", BuildState.PASSED, "passed", started_at=began, finished_at=began + RUNS)


class Restarts(FakeProvider):
    async def restart(self, target, build):
        await self._send(Call("POST", "/restart", limits=("triggers", "calls")))
        world().restart()

    async def poll(self, followed):
        await self._send(Call("GET", "/builds", purpose="poll", limits=("calls",)))
        if not world().shown:
            raise LookFailed("HTTP 500")
        return {one.target.id: Observation((world().build(),)) for one in followed}


OLD = Build("b7", BuildState.FAILED, "failed", started_at=1_767_570_000.0, finished_at=1_767_571_100.0)
_worlds = []


def world():
    return _worlds[-1]


def moved(build, seconds):
    return Build(
        build.id,
        build.state,
        build.native,
        started_at=build.started_at + seconds,
        finished_at=build.finished_at + seconds,
    )


async def play(service, *, seen=OLD, journal=None, **options):
    """Drives a run that starts the build again; returns its exit code and the journal."""
    _worlds[:] = [service]
    if journal is None:
        old = {FAKE_A: OldBuild(Request("7", {}, "https://ci.invalid/7"), "b7", seen)}
        journal = await a_run(service, targets("acme/a", timeouts=TIMES), restart=old)
    return await engine(journal, service, now=service.true_time, **options).run(), journal


async def end(journal):
    progress = (await load(journal, "r1")).of(FAKE_A)
    return progress.verdict.outcome, progress.verdict.reason, progress


async def test_it_is_durable_before_the_call_leaves():
    service = World()
    code, journal = await play(service)
    assert code == Exit.OK
    assert [type(e.event) for e in await journal.read("r1", {}) if isinstance(e.event, RestartAsked | Restarted)] == [
        RestartAsked,
        Restarted,
    ]
    assert await facts(journal, RestartAsked) == [RestartAsked(FAKE_A, "b7", 1)]
    assert await facts(journal, Restarted) == [Restarted(FAKE_A, "b7", 1)]
    assert await facts(journal, Intended) == []


@pytest.mark.parametrize("behind", [0.0, 3600.0, -3600.0])
@pytest.mark.parametrize("seen", [OLD, None], ids=["seen", "unseen"])
@pytest.mark.parametrize("shows_after", [0.0, 20.0, 80.0])
async def test_a_lost_answer_is_settled_by_the_build_that_runs_or_has_run_again(shows_after, seen, behind):
    """Also where the restart shows after it has ended, and where the provider's clock tells another time."""
    service = World("lost", shows_after=min(shows_after, 50.0), behind=behind)
    if shows_after > RUNS:
        service.shown = False
        _worlds[:] = [service]
        async with anyio.create_task_group() as tasks:

            async def hide():
                await anyio.sleep(shows_after)
                service.shown = True

            tasks.start_soon(hide)
            code, journal = await play(service, seen=seen)
    else:
        code, journal = await play(service, seen=seen)
    assert code == Exit.OK
    outcome, _, progress = await end(journal)
    assert outcome is Outcome.PASSED
    assert len(service.asked) == 1
    assert (progress.request.id, progress.build.id, progress.how) == ("7", "b7", "restarted")


async def test_a_build_that_stays_unchanged_for_the_settle_time_is_asked_again():
    service = World("never", "never")
    code, journal = await play(service)
    assert code == Exit.OK
    assert (await end(journal))[0] is Outcome.PASSED
    assert len(service.asked) == 3
    assert all(
        later - earlier >= TIMES.settle for earlier, later in zip(service.asked, service.asked[1:], strict=False)
    )
    assert [one.attempt for one in await facts(journal, Absent)] == [1, 2]
    assert [one.attempt for one in await facts(journal, RestartAsked)] == [1, 2, 3]


async def test_a_restart_that_never_left_is_asked_again_without_a_look():
    service = World("unreachable")
    code, journal = await play(service)
    assert code == Exit.OK
    assert len(service.asked) == 2
    assert await facts(journal, Doubted) == []


async def test_a_build_that_cannot_be_read_until_accept_ends_keeps_its_outcome():
    service = World("lost", shown=False)
    code, journal = await play(service)
    assert code == Exit.FAILED
    outcome, reason, progress = await end(journal)
    assert outcome is Outcome.FAILED
    assert "HTTP 500" in reason
    assert "--adopt-request" not in reason
    assert (progress.request.id, progress.build) == ("7", OLD)  # so that it can be retried, and looked at
    assert service.now() - service.asked[0] >= TIMES.accept
    assert len(service.asked) == 1


@pytest.mark.parametrize("asked", [RestartAsked(FAKE_A, "b7", 1), Intended(FAKE_A, 1, None)], ids=["now", "before"])
@pytest.mark.parametrize("was_handled", [True, False])
async def test_a_process_that_died_over_it_leaves_it_to_the_build(was_handled, asked):
    """A version before wrote it as a trigger without a marker."""
    service = World()
    _worlds[:] = [service]
    old = {FAKE_A: OldBuild(Request("7"), "b7", OLD)}
    journal = await a_run(service, targets("acme/a", timeouts=TIMES), restart=old)
    journal = await left_by(journal, service, asked)
    if was_handled:
        service.handled.append(service.now())
    code, journal = await play(service, journal=journal)
    assert code == Exit.OK
    assert (await end(journal))[0] is Outcome.PASSED
    assert len(service.asked) == (not was_handled)
    assert (await load(another(journal, service), "r1")).of(FAKE_A).how == "restarted"
