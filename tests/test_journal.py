"""What every journal does, whatever stands behind it."""

from contextlib import asynccontextmanager

import pytest
from leases import claim
from ram import folder_in_memory

from orchestrator.core import events
from orchestrator.core.errors import JournalError, LeaseLost
from orchestrator.core.events import (
    CancelAsked,
    Claimed,
    Ended,
    Intended,
    PauseAsked,
    Requested,
    RunEnded,
    RunMade,
    Sighted,
    WaveOpened,
)
from orchestrator.core.evidence import Block
from orchestrator.core.model import ACCOUNT, COORDINATOR, Build, BuildState, Outcome, Scope, Target, Timeouts
from orchestrator.journal.port import AccountMemory, Entry, Overlap, Process, UsageRecord
from orchestrator.journal.store import open_journal
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

ME = Process("here", "no-such-boot", 1, "1")
OTHER = Process("elsewhere", "another-boot", 2, "2")
A, B, C = (Target(f"fake:acme/{name}", "fake", f"acme/{name}") for name in "abc")
MADE = RunMade("nightly", "nightly.yaml", "0" * 64, params={"image": "ubuntu"})


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tmp_path():
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(params=["memory", "sqlite"])
def opened(request, tmp_path, clock):
    """Opens a process's way to the same state, again and again."""
    if request.param == "sqlite":
        return lambda: open_journal(str(tmp_path / "state"), now=clock)
    disk = MemoryJournal().disk

    @asynccontextmanager
    async def memory():
        journal = MemoryJournal(disk, now=clock)
        yield journal
        await journal.aclose()

    return memory


@pytest.fixture
async def journal(opened):
    async with opened() as journal:
        yield journal


async def claimed(journal, run="r1", account="fake", targets=(A, B, C), process=ME, now=1.0):
    await journal.make_run(run, MADE, targets, 1.0, forbid_overlap=False)
    return await claim(journal, run, account, process, now, 30.0)


async def facts(journal, run="r1", account="fake"):
    return [entry.event for entry in await journal.read(run, {}) if entry.account == account]


async def test_a_run_begins_with_its_own_making(journal):
    assert await journal.make_run("r1", MADE, [A, B], 5.5) == []
    assert await journal.read("r1", {}) == [Entry(COORDINATOR, 1, 5.5, MADE)]


async def test_targets_come_back_in_plan_order_and_whole(journal):
    rich = Target(
        "fake:acme/z@main[py=3.11,os=a%2Cb]#nightly",
        "fake",
        "acme/z",
        "main",
        matrix=(("py", "3.11"), ("os", "a,b")),
        name="nightly",
        labels=("core", "slow"),
        wave=3,
        needs=("fake:acme/a",),
        skip="frozen",
        marked=False,
        timeouts=Timeouts(settle=1.5, build=7.0),
        request={"message": "é\n\"'", "env": {"A": "1"}, "config": {"a": [1, 2.5, None, True]}},
        where="m.yaml:3:5",
    )
    shared = {"message": "same"}
    plain = [Target(f"fake:acme/{n}", "fake", f"acme/{n}", request=shared, where=f"m.yaml:{n}:1") for n in range(5)]
    await journal.make_run("r1", MADE, [*plain, rich, A], 1.0)
    found = await journal.targets("r1")
    assert list(found) == [*plain, rich, A]
    assert [(t.request, t.where) for t in found] == [(t.request, t.where) for t in [*plain, rich, A]]


async def test_what_a_process_wrote_the_next_one_reads(opened):
    async with opened() as first:
        lease = await claimed(first)
        await first.append(lease, [Intended(A.id, 1, "[m]")], 2.25)
    async with opened() as second:
        assert list(await second.targets("r1")) == [A, B, C]
        assert (await second.read("r1", {}))[-1] == Entry("fake", 2, 2.25, Intended(A.id, 1, "[m]"))


async def test_entries_are_numbered_densely_within_each_stream(journal):
    own = await claimed(journal)
    run = await claim(journal, "r1", COORDINATOR, ME, 1.0, 30.0)
    await journal.append(own, [Intended(A.id, 1, None), Intended(B.id, 1, None)], 2.0)
    await journal.append(run, [WaveOpened(1)], 3.0)
    await journal.append(own, [Intended(C.id, 1, None)], 4.0)
    seen = [(entry.account, entry.seq) for entry in await journal.read("r1", {})]
    assert seen == [
        (COORDINATOR, 1),
        (COORDINATOR, 2),
        (COORDINATOR, 3),
        ("fake", 1),
        ("fake", 2),
        ("fake", 3),
        ("fake", 4),
    ]


async def test_reading_goes_on_behind_the_cursor_in_bounded_batches(journal):
    lease = await claimed(journal)
    await journal.append(lease, [Intended(A.id, n, None) for n in range(1, 8)], 2.0)
    cursor, batches = {}, []
    while entries := await journal.read("r1", cursor, at_most=3):
        batches.append(len(entries))
        cursor |= {entry.account: entry.seq for entry in entries}
    assert batches == [3, 3, 3]
    assert cursor == {COORDINATOR: 1, "fake": 8}
    await journal.append(lease, [Intended(A.id, 8, None)], 3.0)
    assert [entry.seq for entry in await journal.read("r1", cursor)] == [9]


async def test_every_kind_of_fact_comes_back_as_it_was(journal):
    wishes = {"cancel_asked", "approved", "denied", "pause_asked", "unpause_asked", "drive_asked"}
    assert {event.kind for event in EXAMPLES} == events.KINDS.keys() - wishes
    lease = await claimed(journal)
    await journal.append(lease, EXAMPLES, 2.0)
    assert (await facts(journal))[1:] == EXAMPLES


async def test_half_a_surrogate_pair_from_a_server_is_kept(journal):
    lease = await claimed(journal)
    event = Ended(A.id, Outcome.FAILED, "failed", "torn \ud83d text é")
    await journal.append(lease, [event], 2.0)
    assert (await facts(journal))[-1] == event


async def test_a_run_id_is_used_once(journal):
    await journal.make_run("r1", MADE, [A], 1.0)
    with pytest.raises(JournalError, match=r"r1 exists.*resume"):
        await journal.make_run("r1", MADE, [B], 1.0)


async def test_an_open_run_forbids_another_that_holds_its_target(journal):
    await journal.make_run("r1", MADE, [A, B], 1.0)
    assert await journal.make_run("r2", MADE, [B, C], 2.0) == [Overlap("r1", B.id)]
    assert [row.id for row in await journal.runs()] == ["r1"]


async def test_an_overlap_that_is_allowed_is_told_and_the_run_made(journal):
    await journal.make_run("r1", MADE, [A, B], 1.0)
    assert await journal.make_run("r2", MADE, [B, C], 2.0, forbid_overlap=False) == [Overlap("r1", B.id)]
    assert [row.id for row in await journal.runs()] == ["r2", "r1"]


async def test_an_ended_run_holds_nothing(journal):
    await claimed(journal)
    lease = await claim(journal, "r1", COORDINATOR, ME, 1.0, 30.0)
    await journal.append(lease, [RunEnded(1)], 9.0)
    assert await journal.make_run("r2", MADE, [A], 10.0) == []


async def test_a_run_is_open_until_its_end_and_again_when_it_is_taken_up(journal):
    await claimed(journal)
    lease = await claim(journal, "r1", COORDINATOR, ME, 1.0, 30.0)
    await journal.append(lease, [RunEnded(3)], 9.0)
    (row,) = await journal.runs()
    assert (row.ended_at, row.exit_code) == (9.0, 3)
    assert await journal.runs(open_only=True) == []
    await journal.release([lease])
    await claim(journal, "r1", COORDINATOR, ME, 10.0, 30.0)
    (row,) = await journal.runs(open_only=True)
    assert (row.ended_at, row.exit_code) == (None, None)


async def test_runs_are_found_by_their_beginning_newest_first(journal):
    for at, run in enumerate(["a_1", "ab2", "a%3", "b"]):
        await journal.make_run(run, MADE, [A], at, forbid_overlap=False)
    assert [row.id for row in await journal.runs("a")] == ["a%3", "ab2", "a_1"]
    assert [row.id for row in await journal.runs("a_")] == ["a_1"]
    assert [row.id for row in await journal.runs("a%")] == ["a%3"]
    assert await journal.runs("c") == []


async def test_a_run_at_a_glance(journal, clock):
    lease = await claimed(journal, now=90.0)
    (row,) = await journal.runs()
    assert (row.id, row.name, row.made_at, row.targets, row.driven, row.parent) == ("r1", "nightly", 1.0, 3, True, None)
    clock.now = 121.0
    assert not (await journal.runs())[0].driven
    clock.now = 100.0
    await journal.release([lease])
    assert not (await journal.runs())[0].driven


@pytest.mark.parametrize(
    "ask",
    [
        lambda j: j.targets("nope"),
        lambda j: j.read("nope", {}),
        lambda j: j.wishes("nope"),
        lambda j: j.wish("nope", PauseAsked("me", 1.0)),
        lambda j: claim(j, "nope", "fake", ME, 1.0, 30.0),
    ],
)
async def test_an_unknown_run_is_named(journal, ask):
    with pytest.raises(JournalError, match="no run nope"):
        await ask(journal)


# -- leases ---------------------------------------------------------------------------------------------------------


async def test_a_claim_is_a_fact_of_its_stream(journal):
    lease = await claimed(journal)
    assert (lease.epoch, lease.last_alive) == (1, None)
    assert await facts(journal) == [Claimed(1, "here", 1)]


async def test_a_lease_that_a_live_process_holds_is_refused(journal):
    await claimed(journal)
    with pytest.raises(LeaseLost, match=r"r1, account fake.*process 1 on here.*30 s"):
        await claim(journal, "r1", "fake", OTHER, 1.0, 30.0)
    assert await facts(journal) == [Claimed(1, "here", 1)]


async def test_the_streams_of_a_run_have_leases_of_their_own(journal):
    await claimed(journal)
    lease = await claim(journal, "r1", "other", OTHER, 1.0, 30.0)
    assert lease.epoch == 1


async def test_a_lease_that_is_over_is_taken_under_a_higher_epoch(journal):
    await claimed(journal, now=10.0)
    with pytest.raises(LeaseLost):
        await claim(journal, "r1", "fake", OTHER, 39.9, 30.0)
    lease = await claim(journal, "r1", "fake", OTHER, 40.0, 30.0)
    assert lease.epoch == 2
    assert lease.last_alive == 20.0  # a third of the lease after the last sign of life


async def two_leases(journal, now):
    await journal.make_run("r1", MADE, (A, B, C), 1.0)
    by = journal.register(ME, 30.0)
    return by, await journal.claim("r1", ["fake", "other"], by, now)


async def test_a_heartbeat_keeps_the_lease(journal):
    by, _ = await two_leases(journal, 10.0)
    await journal.renew(by, 39.0)
    with pytest.raises(LeaseLost):
        await claim(journal, "r1", "fake", OTHER, 68.0, 30.0)
    assert (await claim(journal, "r1", "fake", OTHER, 69.0, 30.0)).last_alive == 49.0


async def test_a_lease_that_was_given_back_is_free_at_once(journal):
    lease = await claimed(journal, now=10.0)
    await journal.release([lease])
    lease = await claim(journal, "r1", "fake", OTHER, 12.0, 30.0)
    assert (lease.epoch, lease.last_alive) == (2, 12.0)


async def test_who_lost_the_lease_appends_nothing(journal):
    old = await claimed(journal, now=1.0)
    new = await claim(journal, "r1", "fake", OTHER, 99.0, 30.0)
    with pytest.raises(LeaseLost, match="took over"):
        await journal.append(old, [Intended(A.id, 1, None), Intended(B.id, 1, None)], 100.0)
    await journal.append(new, [Intended(C.id, 1, None)], 100.0)
    assert await facts(journal) == [Claimed(1, "here", 1), Claimed(2, "elsewhere", 2), Intended(C.id, 1, None)]


async def test_who_lost_one_of_two_leases_learns_it_and_keeps_the_other(journal):
    by, _ = await two_leases(journal, 1.0)
    await claim(journal, "r1", "fake", OTHER, 31.0)
    for _ in range(2):
        with pytest.raises(LeaseLost, match="account fake"):
            await journal.renew(by, 31.0)
    with pytest.raises(LeaseLost):
        await claim(journal, "r1", "other", OTHER, 60.0)


async def test_one_heartbeat_keeps_all_leases_of_a_process(journal):
    by, leases = await two_leases(journal, 1.0)
    await journal.renew(by, 20.0)
    for account in ("fake", "other"):
        with pytest.raises(LeaseLost):
            await claim(journal, "r1", account, OTHER, 49.0)
    await journal.append(leases[1], [Intended(A.id, 1, None)], 49.0)


async def test_a_claim_is_a_heartbeat(journal):
    by, _ = await two_leases(journal, 1.0)
    await journal.claim("r1", ["third"], by, 20.0)
    with pytest.raises(LeaseLost):
        await claim(journal, "r1", "fake", OTHER, 49.0)


async def test_a_process_that_stood_still_goes_on_when_nobody_took_over(journal):
    """Under another incarnation: the one that expired does not come back."""
    by, (lease, _) = await two_leases(journal, 1.0)
    await journal.renew(by, 500.0)
    await journal.append(lease, [Intended(A.id, 1, None)], 500.0)
    with pytest.raises(LeaseLost):
        await claim(journal, "r1", "fake", OTHER, 529.0)
    await journal.renew(by, 529.0)
    assert (await claim(journal, "r1", "fake", OTHER, 559.0)).last_alive == 539.0


async def test_an_incarnation_that_has_expired_claims_nothing(journal):
    by, _ = await two_leases(journal, 1.0)
    with pytest.raises(LeaseLost, match="stood still"):
        await journal.claim("r1", ["third"], by, 31.0)


async def test_what_an_earlier_holder_can_have_sent_is_known_however_long_it_is_gone(journal):
    for number in range(2):
        lease = await claim_after_making(journal, 10.0 + 100.0 * number)
        assert lease.last_alive == (None if not number else 20.0)
        await journal.release([lease])


async def claim_after_making(journal, now):
    if not await journal.runs():
        await journal.make_run("r1", MADE, (A,), 1.0)
    return await claim(journal, "r1", "fake", ME, now)


async def test_giving_a_lost_lease_back_changes_nothing(journal):
    old = await claimed(journal, now=1.0)
    await claim(journal, "r1", "fake", OTHER, 31.0, 30.0)
    await journal.release([old])
    with pytest.raises(LeaseLost, match="process 2"):
        await claim(journal, "r1", "fake", ME, 32.0, 30.0)


async def test_the_holder_is_known_to_other_ways_to_the_state(opened):
    async with opened() as first, opened() as second:
        old = await claimed(first, now=1.0)
        new = await claim(second, "r1", "fake", OTHER, 99.0, 30.0)
        with pytest.raises(LeaseLost):
            await first.append(old, [Intended(A.id, 1, None)], 100.0)
        await second.append(new, [Intended(B.id, 1, None)], 100.0)
        assert (await facts(first))[-1] == Intended(B.id, 1, None)


# -- wishes, usage, memory ------------------------------------------------------------------------------------------


async def test_anybody_may_wish_and_wishes_are_numbered(opened):
    async with opened() as holder, opened() as visitor:
        await claimed(holder)
        await visitor.wish("r1", PauseAsked("me", 1.0))
        await visitor.wish("r1", CancelAsked("me", 2.0, keep_builds=True))
        assert await holder.wishes("r1") == [(1, PauseAsked("me", 1.0)), (2, CancelAsked("me", 2.0, keep_builds=True))]
        assert await holder.wishes("r1", after=1) == [(2, CancelAsked("me", 2.0, keep_builds=True))]
        assert await facts(holder) == [Claimed(1, "here", 1)]


async def test_usage_records_are_kept_by_principal_oldest_first(journal):
    await journal.record_usage([UsageRecord("p", "triggers", ACCOUNT, 5.0), UsageRecord("q", "triggers", ACCOUNT, 4.0)])
    await journal.record_usage(
        [
            UsageRecord("p", "triggers_per_repo", Scope.of("repo:acme/a"), 3.0),
            UsageRecord("p", "calls", ACCOUNT, 5.0),
        ]
    )
    assert list((await journal.memory("p", 0.0)).usage) == [
        UsageRecord("p", "triggers_per_repo", Scope.of("repo:acme/a"), 3.0),
        UsageRecord("p", "triggers", ACCOUNT, 5.0),
        UsageRecord("p", "calls", ACCOUNT, 5.0),
    ]
    assert [stamp.at for stamp in (await journal.memory("p", 3.5)).usage] == [5.0, 5.0]
    assert (await journal.memory("r", 0.0)).usage == ()


async def test_usage_records_ride_on_the_next_append(opened):
    async with opened() as first, opened() as second:
        lease = await claimed(first)
        await first.record_usage([UsageRecord("p", "triggers", ACCOUNT, 5.0)])
        await first.append(lease, [Intended(A.id, 1, None)], 5.0)
        assert (await second.memory("p", 0.0)).usage == (UsageRecord("p", "triggers", ACCOUNT, 5.0),)


async def test_usage_records_of_a_process_that_leaves_are_kept(opened):
    async with opened() as first:
        await first.record_usage([UsageRecord("p", "triggers", ACCOUNT, 5.0)])
    async with opened() as second:
        assert (await second.memory("p", 0.0)).usage == (UsageRecord("p", "triggers", ACCOUNT, 5.0),)


async def test_usage_records_that_no_limit_looks_back_to_are_forgotten(opened):
    async with opened() as first:
        await first.record_usage(
            [
                UsageRecord("p", "triggers", ACCOUNT, 5.0),
                UsageRecord("p", "triggers", ACCOUNT, 3000.0),
            ]
        )
    async with opened() as second:
        await second.record_usage([UsageRecord("p", "triggers", ACCOUNT, 9000.0)])
    async with opened() as third:
        assert [stamp.at for stamp in (await third.memory("p", 0.0)).usage] == [3000.0, 9000.0]


async def test_what_is_known_of_a_principal_adds_up(opened):
    async with opened() as first, opened() as second:
        assert await first.memory("p") == AccountMemory()
        await first.remember("p", marker_proven=True, frozen={ACCOUNT: 5.0, Scope.of("owner:acme"): 6.0})
        await second.remember("p", frozen={ACCOUNT: 9.0})
        assert await first.memory("p") == AccountMemory(True, {"account": 9.0, "owner:acme": 6.0})
        assert await first.memory("q") == AccountMemory()


async def test_only_what_others_wrote_counts_as_a_change(opened):
    async with opened() as first, opened() as second:
        await claimed(first)
        assert await second.changed_by_others()
        assert not await second.changed_by_others()
        await second.wish("r1", PauseAsked("me", 1.0))
        assert not await second.changed_by_others()
        await first.changed_by_others()
        await second.wish("r1", PauseAsked("me", 2.0))
        assert await first.changed_by_others()


async def test_only_ended_runs_are_dropped(journal):
    await claimed(journal, "r1", targets=[A])
    await claimed(journal, "r2", targets=[B])
    await journal.append(await claim(journal, "r1", COORDINATOR, ME, 1.0, 30.0), [RunEnded(0)], 9.0)
    await journal.wish("r1", PauseAsked("me", 1.0))
    assert await journal.drop_runs(["r1", "r2", "nope", "r1"]) == 1
    assert [row.id for row in await journal.runs()] == ["r2"]
    assert list(await journal.targets("r2")) == [B]
    with pytest.raises(JournalError, match="no run r1"):
        await journal.read("r1", {})
    await journal.make_run("r1", MADE, [C], 10.0)
    assert [entry.event for entry in await journal.read("r1", {})] == [MADE]
    assert await journal.wishes("r1") == []


async def test_a_dropped_run_takes_no_facts_of_an_old_holder(journal):
    old = await claimed(journal, "r1", targets=[A])
    await journal.append(await claim(journal, "r1", COORDINATOR, ME, 1.0, 30.0), [RunEnded(0)], 9.0)
    await journal.drop_runs(["r1"])
    with pytest.raises(JournalError):
        await journal.append(old, [Intended(A.id, 1, None)], 10.0)


EXAMPLES = [
    MADE,
    WaveOpened(2, "early", 36, (Block(10, 4),), "jo"),
    events.WaveJudged(2, "stop", "failed", "9 of 37"),
    events.Paused("jo", 8.0),
    events.Unpaused("jo", 9.0),
    events.Released(A.id),
    events.Stopped("max_fail", "3 of 9"),
    events.Stopped("", "overridden", 3, 2, 12.5, (Block(10, 4),)),
    events.Interrupted("SIGINT", 130, (events.Tally("fake", {"trigger": 3}, {"triggers": 3}, {"calls": 0.5}),)),
    RunEnded(1, (events.Tally("fake"),)),
    Claimed(7, "h", 9),
    events.Frozen(Scope.of("owner:acme"), 12.5, "no credit"),
    events.LimitLearnt(Scope.of("repo:acme/a"), "triggers_per_repo 10/1h"),
    events.MarkerProven(),
    events.JournalWentBack(1.5, 31.5),
    events.Prepared("acme/api", {"id": 7}),
    events.AccountStopped("banned", 99.0, "banned"),
    Intended(A.id, 1, "[r1.abcdefgh]"),
    events.Withdrawn(A.id, 1, "unreachable"),
    events.Doubted(A.id, 1, "timed out", 1.5, 31.5),
    events.Absent(A.id, 1, "complete listing"),
    Requested(A.id, "123", "answered", {"v": 1, "repo": 5}, "https://ci.invalid/1", "[r0.abcdefgh]"),
    events.Refused(A.id, "not_found", "no such repo"),
    Sighted(A.id, Build("5", BuildState.RUNNING, "started", "12", None, "a" * 40, "main", 1.0, 2.0, None, "why")),
    events.RestartAsked(A.id, "5", 2),
    events.Restarted(A.id, "5", 2),
    events.Canceling(A.id, "had ended"),
    events.Skipped(A.id, "frozen", "skipped"),
    Ended(A.id, Outcome.TIMED_OUT, "no_build", "no build appeared"),
    events.CauseFound(A.id, "<path>: no", "/a: no", "412.1", 137, "https://ci.invalid/1", "one\ntwo"),
]
