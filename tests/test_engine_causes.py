"""The logs of what failed are read for their cause: few, late, within the limits, and journaled without secrets."""

import anyio
import pytest
from fake_service import FakeProvider, FakeService, Script, targets
from test_engine import drive, engine

from orchestrator.core.calls import Call
from orchestrator.core.errors import Exit, LookFailed
from orchestrator.core.events import CauseFound, decode, encode
from orchestrator.core.model import ACCOUNT, BuildState, Causes, Limit
from orchestrator.journal.history import load
from orchestrator.providers.kit.answers import read
from orchestrator.providers.port import JobLog

pytestmark = pytest.mark.anyio

FAILS = Script(BuildState.FAILED)


class Logging(FakeProvider):
    """A provider whose service shows logs."""

    async def logs(self, target, build, at_most):
        await read(self._send, Call("GET", f"/log/{build.id}"))
        return JobLog("1", f"make\n/tmp/{target.repo}/x1: No such thing, token=abcdef\n", build.url)


class Broken(FakeProvider):
    """One whose service shows none."""

    async def logs(self, target, build, at_most):
        raise LookFailed("the log has expired")


class Slow(FakeProvider):
    """One whose service takes for ever."""

    async def logs(self, target, build, at_most):
        await anyio.sleep(86_400.0)


def service(failing, provider=Logging, **more):
    scripts = dict.fromkeys(failing, FAILS)
    return FakeService({**scripts, "acme/errs": Script(BuildState.ERRORED)}, provider=provider, **more)


def names(count):
    return [f"acme/svc-{n}" for n in range(count)]


def causes(history):
    return {id_: one.cause for id_, one in history.progress.items() if one.cause is not None}


async def test_what_failed_or_is_errored_has_the_cause_that_its_log_tells():
    one = service(["acme/a"])
    code, history, journal = await drive(targets("acme/a", "acme/errs", "acme/ok"), one, causes=Causes())
    assert code == Exit.FAILED
    found = causes(history)
    assert found.keys() == {"fake:acme/a", "fake:acme/errs"}
    assert found["fake:acme/a"].signature == found["fake:acme/errs"].signature == "<path>: No such thing, token=***"
    assert (found["fake:acme/a"].job, found["fake:acme/a"].url) == ("1", history.of("fake:acme/a").build.url)
    assert "abcdef" not in repr([entry.event for entry in await journal.read("r1", {})])


async def test_without_causes_no_log_is_read():
    one = service(["acme/a"])
    _, history, _ = await drive(targets("acme/a"), one)
    assert causes(history) == {}
    assert "other" not in [purpose for purpose, _ in one.calls[1:]]


async def test_a_run_reads_no_more_logs_than_it_may_in_a_second_process_either():
    one = service(names(9))
    wanted = targets(*names(9))
    _, history, journal = await drive(wanted, one, causes=Causes(logs=4))
    assert len(causes(history)) == 4
    await engine(journal, one, causes=Causes(logs=4)).run()
    assert len(causes(await load(journal, "r1"))) == 4


async def test_a_log_that_cannot_be_read_costs_two_tries_and_changes_nothing():
    code, history, _ = await drive(targets("acme/a"), service(["acme/a"], Broken), causes=Causes())
    assert code == Exit.FAILED
    assert history.has_ended
    assert causes(history) == {}


async def test_logs_that_the_limits_leave_no_room_for_are_left_out():
    one = service(names(5), Slow)
    _, history, _ = await drive(targets(*names(5)), one, causes=Causes())
    assert history.has_ended
    assert causes(history) == {}
    assert history.left_at - history.made_at < 300.0


async def test_logs_never_stand_in_the_way_of_triggers():
    limits = (
        Limit("triggers", 40, 30.0),
        Limit("calls", 20, 60.0, ACCOUNT),
        Limit("triggers_per_repo", 10, 3600.0, "repo"),
    )
    taken = {}
    for kept in (None, Causes()):
        one = service(names(60))
        await drive(targets(*names(60)), one, account={"limits": limits}, causes=kept)
        taken[kept] = max(one.posts) - min(one.posts)
    assert taken[Causes()] <= taken[None] * 1.1


async def test_a_process_that_takes_up_the_run_reads_what_the_one_before_did_not():
    one = service(["acme/a"], Broken)
    _, _, journal = await drive(targets("acme/a"), one, causes=Causes())
    one.provider = Logging
    await engine(journal, one, causes=Causes()).run()
    assert causes(await load(journal, "r1")).keys() == {"fake:acme/a"}


def test_a_cause_survives_the_journal():
    event = CauseFound("t", "s", "x", "1", 137, "https://x", "a\nb")
    assert decode("cause_found", "t", encode(event)) == event
    assert encode(CauseFound("t", "s", "x")) == '{"signature":"s","text":"x"}'
