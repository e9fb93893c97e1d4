"""How targets fared in earlier runs, those that were forgotten since included."""

import pytest
from fake_service import FakeService, Script, make_run, targets
from rolling import Rolling

from orchestrator.core.events import PauseAsked
from orchestrator.core.evidence import Past
from orchestrator.core.frozen import replace
from orchestrator.core.history import accounts_in
from orchestrator.core.model import DEFAULT_FAIL_ON, BuildState
from orchestrator.journal.history import load
from orchestrator.journal.outcomes import Known
from orchestrator.journal.pasts import _past, usually
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

NAMES = ("acme/a", "acme/b@main", "acme/c")
BAD, CANCELED, SUPERSEDED = (Script(state) for state in (BuildState.FAILED, BuildState.CANCELED, BuildState.SUPERSEDED))


async def nights(*scripts):
    """A run of the same targets for each of these ways in which they fare."""
    service = FakeService()
    journal = MemoryJournal(now=service.now)
    for number, how in enumerate(scripts):
        service.scripts = how
        await make_run(journal, targets(*NAMES), f"n{number}", service.now())
        await Rolling(service, journal, f"n{number}").drive()
    return journal


async def known(journal, but="", run="n0"):
    history = await load(journal, run)
    return (await usually(journal, targets(*NAMES), accounts_in(history.made), DEFAULT_FAIL_ON, but)).pasts


async def test_a_targets_past_is_how_often_it_was_bad():
    journal = await nights({"acme/a": BAD}, {}, {"acme/a": BAD})
    assert await known(journal) == {
        "fake:acme/a": Past(2, 3),
        "fake:acme/b@main": Past(0, 3),
        "fake:acme/c": Past(0, 3),
    }


async def test_a_run_may_be_left_out():
    journal = await nights({"acme/a": BAD}, {})
    assert (await known(journal, but="n0"))["fake:acme/a"] == Past(0, 1)


async def test_what_says_nothing_of_a_target_is_left_out():
    journal = await nights({"acme/a": SUPERSEDED, "acme/c": CANCELED}, {})
    found = await known(journal)
    assert found["fake:acme/a"] == Past(0, 1)
    assert found["fake:acme/c"] == Past(1, 2)  # by somebody else: as bad as a failure


async def test_only_the_last_twenty_outcomes_count():
    journal = await nights(*[{"acme/a": BAD}] * 2, *[{}] * 20)
    assert (await known(journal))["fake:acme/a"] == Past(0, 20)


async def test_runs_that_can_add_nothing_any_more_are_not_read(monkeypatch):
    journal = await nights(*[{"acme/a": BAD}] * 4, *[{}] * 20)
    whole = await known(journal, run="n23")
    asked, read = [], journal.read

    async def counting(run, *words):
        asked.append(run)
        return await read(run, *words)

    monkeypatch.setattr(journal, "read", counting)
    assert await known(journal, run="n23") == whole
    assert whole["fake:acme/a"] == Past(0, 20)
    assert {run for run in asked if asked.count(run) > 1} == {f"n{number}" for number in range(4, 24)}


async def test_forgotten_runs_are_still_known():
    journal = await nights({"acme/a": BAD}, {}, {"acme/a": BAD})
    assert await journal.drop_runs(["n0", "n1"]) == 2
    assert (await known(journal, run="n2"))["fake:acme/a"] == Past(2, 3)
    assert await journal.drop_runs(["n2"]) == 1
    service = FakeService()
    await make_run(journal, targets(*NAMES), "new", service.now())
    assert (await known(journal, run="new"))["fake:acme/a"] == Past(2, 3)


async def test_an_export_of_one_run_carries_what_is_known_of_its_targets():
    journal = await nights({"acme/a": BAD}, {}, {"acme/a": BAD})
    await journal.wish("n2", PauseAsked("jo", 1.0))
    elsewhere = MemoryJournal(journal.disk.copy(["n2"]))
    assert [row.id for row in await elsewhere.runs()] == ["n2"]
    assert (await known(elsewhere, run="n2"))["fake:acme/a"] == Past(2, 3)


async def test_the_same_repository_on_another_branch_is_another_target():
    journal = await nights({"acme/b": BAD})
    history = await load(journal, "n0")
    other = await usually(journal, targets("acme/b@dev", "ACME/B@main"), accounts_in(history.made), DEFAULT_FAIL_ON)
    assert other.pasts == {"fake:ACME/B@main": Past(1, 1)}


async def test_what_passed_only_after_a_rerun_is_bad_for_a_target_that_is_not_rerun():
    flaky = Known("n1", 5.0, "passed", "failed")
    known = [flaky, Known("n2", 6.0, "passed")]
    assert _past(known, DEFAULT_FAIL_ON, by_last=False) == Past(1, 2)
    assert _past(known, DEFAULT_FAIL_ON, by_last=True) == Past(0, 2)


async def test_what_is_usual_of_a_service_is_learnt_from_all_of_its_targets_those_of_other_runs_included():
    journal = await nights({"acme/a": BAD}, {"acme/a": BAD}, {})
    history = await load(journal, "n0")
    accounts = accounts_in(history.made)
    one = await usually(journal, targets("acme/new"), accounts, DEFAULT_FAIL_ON)
    assert [usual.known for usual in one.by_service.values()] == [9]
    assert await journal.drop_runs(["n0", "n1"]) == 2
    again = await usually(journal, targets("acme/new"), accounts, DEFAULT_FAIL_ON)
    usual = (1 + 2) / (20 + 9)
    wrong_by = 1.28 * (usual * (1 - usual) / (20 + 9)) ** 0.5
    assert again.chance(targets("acme/new")[0]) == one.chance(targets("acme/new")[0]) == pytest.approx(usual + wrong_by)
    elsewhere = {name: replace(account, url="https://other.invalid") for name, account in accounts.items()}
    other = await usually(journal, targets("acme/new"), elsewhere, DEFAULT_FAIL_ON)
    assert [usual.known for usual in other.by_service.values()] == [0]


async def test_what_was_read_of_runs_that_have_ended_is_not_read_again():
    journal = await nights({"acme/a": BAD}, {})
    accounts, read = accounts_in((await load(journal, "n0")).made), {}
    first = await usually(journal, targets(*NAMES), accounts, DEFAULT_FAIL_ON, read=read)
    assert {run for run, _ in read} == {"n0", "n1"}
    read.update((key, ()) for key in read if key[0] == "n0")
    second = await usually(journal, targets(*NAMES), accounts, DEFAULT_FAIL_ON, read=read)
    assert (first.pasts["fake:acme/a"], second.pasts["fake:acme/a"]) == (Past(1, 2), Past(0, 1))


async def test_a_hundred_runs_of_others_since_do_not_hide_how_a_target_fared():
    journal = await nights({"acme/a": BAD})
    for number in range(101):
        await make_run(journal, targets(f"acme/x{number}"), f"o{number}", FakeService().epoch + 9000.0)
    assert len(await journal.runs()) == 102
    assert (await known(journal))["fake:acme/a"] == Past(1, 1)
