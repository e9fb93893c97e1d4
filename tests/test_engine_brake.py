"""The brake at work: the engine against the sandbox in memory, in virtual time, with other people at the same queue."""

import json
import random
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import anyio
import pytest
from fake_service import FakeService, Notices, Script, make_run, targets

from orchestrator.core.calls import Call
from orchestrator.core.concurrency import Cap, Concurrency, QueueRule, parse_quiet
from orchestrator.core.errors import Exit, JournalError, LookFailed
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Limit, Outcome, Target
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import Settings, numbered
from orchestrator.providers.port import Line
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis
from orchestrator.testing import Crash, MemoryJournal

pytestmark = pytest.mark.anyio

EPOCH = 1_767_571_200.0  # Monday 2026-01-05, 00:00 UTC
OFTEN = (Limit("triggers", 400, 1.0), Limit("calls", 10_000, 1.0), Limit("triggers_per_repo", 50, 3600.0, "repo"))
PEOPLE = "people-token"


class Place:
    """A world, the engine's way to it, and what was seen on the way."""

    def __init__(self, began=EPOCH, **settings):
        self.began = began
        defaults = {"hourly": 50, "burst": None, "minute": None, "latency": (0.02, 0.1), "build": (30.0, 60.0)}
        self.world = TravisLookAlike(
            Settings(**{**defaults, "others": {PEOPLE: "ann"}, "concurrency": 1000, "seed": 7, **settings})
        )
        self.journal = MemoryJournal(now=self.now)
        self.told = []
        self.looks = []

    def now(self):
        return self.began + anyio.current_time()

    async def drive(self, wanted, brake, journal=None, patience=None, limits=OFTEN, **options):
        send = self.world.send(self.now, anyio.sleep, random.Random(1))
        account = Account("travis", "travis", DECLARATION.url, limits=limits, concurrency=brake)

        async def seen(call):
            if call.path.endswith("/active"):
                self.looks.append(self.now())
            return await send(call)

        @asynccontextmanager
        async def connect(account):
            yield Line(account, DECLARATION, seen, lambda send: Travis(account, send, lambda reference: ""), "hash")

        journal = journal or self.journal
        with suppress(Exception):  # it is made only once
            made = RunMade("nightly", None, "", accounts={"travis": to_json(account)})
            await journal.make_run("r1", made, wanted, self.now())
        engine = Engine(
            "r1",
            journal,
            connect,
            Options(**options),
            now=self.now,
            process=Process("here", "boot", 1, "1"),
            random=random.Random(1),
            observer=Notices(self.told),
        )
        with anyio.move_on_after(patience):
            return await engine.run(), await load(journal, "r1")
        return engine, await load(journal, "r1")

    async def people(self, start, every, number, repo="acme/svc-001"):
        """So many builds of somebody else."""
        send = self.world.send(self.now, anyio.sleep, random.Random(2), PEOPLE)
        path = f"/repo/{repo.replace('/', '%2F')}/requests"
        await anyio.sleep(start)
        for _ in range(number):
            answer = await send(Call("POST", path, body={"request": {"branch": "main", "message": "mine"}}))
            assert answer.status == 202
            await anyio.sleep(every)

    def spans(self, login="sandbox", owner=None, repos=None):
        """From the 202 to the end of each build of this user."""
        for request in self.world.counters.accepted:
            if request.user.login != login or (owner is not None and request.repo.owner.login != owner):
                continue
            if repos is not None and request.repo.slug not in repos:
                continue
            ends = [build.finished_at for build in request.builds]
            yield request.created_at, ends[0] if ends and ends[0] is not None else float("inf")


def most_at_once(*groups):
    """The most spans that overlap at any instant."""
    steps = sorted(step for spans in groups for start, end in spans for step in ((start, 1), (end, -1)))
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def wanted_of(repos, **fields):
    return [Target(f"travis:{repo.slug}@main", "travis", repo.slug, "main", **fields) for repo in repos]


# -- builds of this run ---------------------------------------------------------------------------------------------


def labelled(repos):
    return [
        replace(target, labels=("core",) if number % 3 == 0 else ("core", "slow") if number % 7 == 0 else ())
        for number, target in enumerate(wanted_of(repos))
    ]


BRAKE = Concurrency((Cap("owner", 8), Cap("owner:beta", 3), Cap("label:core", 4), Cap("label:slow", 1)))


def assert_no_cap_is_exceeded(place, wanted):
    assert most_at_once(place.spans(owner="acme")) <= 8
    assert most_at_once(place.spans(owner="beta")) <= 3
    for label, most in (("core", 4), ("slow", 1)):
        repos = {target.repo for target in wanted if label in target.labels}
        assert most_at_once(place.spans(repos=repos)) <= most


async def test_caps_of_owners_and_labels_are_never_exceeded_and_used_to_the_full():
    repos = numbered(60, ("acme", "Beta"))
    place, wanted = Place(repos=repos), labelled(repos)
    code, history = await place.drive(wanted, BRAKE)
    assert code == Exit.OK
    assert {history.of(target.id).verdict.outcome for target in wanted} == {Outcome.PASSED}
    place.world.advance(place.now())
    for repo in place.world.tables.repos.values():
        repo.owner.login = repo.owner.login.lower()
    assert_no_cap_is_exceeded(place, wanted)
    assert most_at_once(place.spans(owner="acme")) == 8
    assert most_at_once(place.spans(owner="beta")) == 3


@pytest.mark.parametrize("dies_at", [12, 25, 40, 61])
async def test_after_a_crash_the_builds_of_the_journal_count(dies_at):
    repos = numbered(30, ("acme", "beta"))
    place, wanted = Place(repos=repos), labelled(repos)
    first = MemoryJournal(now=place.now, dies_at=dies_at)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # a crash is no Exception, alone or in a group
        await place.drive(wanted, BRAKE, first)
    assert isinstance(caught.value, Crash) or caught.group_contains(Crash)
    code, _ = await place.drive(wanted, BRAKE, MemoryJournal(first.disk, now=place.now))
    assert code == Exit.OK
    assert not place.world.counters.duplicates()
    assert len(place.world.counters.accepted) == 30
    assert_no_cap_is_exceeded(place, wanted)


async def test_rows_that_wait_cost_nothing_until_a_build_ends():
    place = Place(repos=numbered(500), build=(300.0, 300.0))
    engine, _ = await place.drive(wanted_of(numbered(500)), Concurrency((Cap("owner", 2),)), patience=250.0)
    wanted = "in_flight_per_owner 2 of acme: 2 builds of this run are queued or running there"
    assert engine.snapshot().waiting_for == wanted
    admission = engine._drivers["travis"].admission
    assert admission.waiting == 498
    assert not admission._ready


async def test_an_owner_at_its_cap_holds_nobody_else_up():
    repos = numbered(40, ("acme", "beta"))
    place = Place(repos=repos, build=(600.0, 600.0))
    await place.drive(wanted_of(repos), Concurrency((Cap("owner:acme", 1),)), patience=60.0)
    assert len(list(place.spans(owner="acme"))) == 1
    assert len(list(place.spans(owner="beta"))) == 20


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))])
async def test_whatever_the_rules_every_target_has_its_turn_and_no_cap_is_exceeded(seed):
    dice = random.Random(seed)
    repos = numbered(8, ("acme", "beta"))
    labels = ("core", "slow", "odd")
    caps = {f"label:{label}": dice.randint(1, 4) for label in labels if dice.random() < 0.7}
    caps |= {scope: dice.randint(1, 6) for scope in ("owner", "owner:acme") if dice.random() < 0.7}
    queue = QueueRule(dice.randint(3, 9), 2, dice.randint(0, 2)) if dice.random() < 0.5 else None
    wanted = [
        Target(
            f"travis:{repo.slug}@{branch}",
            "travis",
            repo.slug,
            branch,
            labels=tuple(label for label in labels if dice.random() < 0.4),
        )
        for branch in ("main", "next", "old")
        for repo in repos
    ]
    place = Place(repos=repos, branches=("main", "next", "old"), hourly=2, hour=600.0, build=(5.0, 90.0), seed=seed)
    brake = Concurrency(tuple(Cap(scope, most) for scope, most in caps.items()), queue)
    rules = (Limit("triggers", 20, 30.0), Limit("calls", 900, 60.0), Limit("triggers_per_repo", 2, 600.0, "repo"))
    code, history = await place.drive(wanted, brake, limits=rules, in_flight=dice.choice([None, 4]))
    assert code == Exit.OK
    assert len(place.world.counters.accepted) == 24
    spans = {
        request.marked.rpartition(" ")[2]: span
        for request, span in zip(place.world.counters.accepted, place.spans(), strict=True)
    }
    for scope, most in caps.items():
        name = scope.partition(":")[2]
        for group in [name] if name else ["beta", *([] if "owner:acme" in caps else ["acme"])]:
            under = [target for target in wanted if group in (*target.labels, target.owner)]
            assert most_at_once(spans[history.of(target.id).marker] for target in under) <= most


async def test_an_owner_without_credit_frees_what_waited_under_its_rules():
    service = FakeService({"acme/a2": Script(triggers=("no_credit",)), "acme/a0": Script(runs=300.0)}, latency=0.1)
    journal = MemoryJournal(now=service.now)
    wanted = [*targets(*(f"acme/a{n}" for n in range(9))), *targets("beta/b0", "beta/b1")]
    await make_run(journal, wanted, concurrency=Concurrency((Cap("owner", 2),), QueueRule(3, 2)))
    told = []
    engine = Engine(
        "r1",
        journal,
        service.connect,
        Options(),
        now=service.now,
        process=Process("here", "boot", 1, "1"),
        random=random.Random(1),
        observer=Notices(told),
    )
    with anyio.fail_after(3600.0):
        assert await engine.run() == Exit.ACCOUNT
    assert sorted(request.repo for request in service.requests) == ["acme/a0", "acme/a1", "beta/b0", "beta/b1"]
    assert [name for name, _ in told].count("queue.unread") == 2  # this provider shows no queue: said once for each


# -- the queue of an owner ------------------------------------------------------------------------------------------


async def drive_among_people(place, wanted, brake, *groups, **options):
    """The run, with other people at work beside it."""
    async with anyio.create_task_group() as tasks:
        for group in groups:
            tasks.start_soon(place.people, *group)
        result = await place.drive(wanted, brake, **options)
        tasks.cancel_scope.cancel()
    return result


async def test_the_run_keeps_the_whole_queue_below_its_bound():
    repos = numbered(80)
    place = Place(repos=repos, concurrency=10)
    brake = Concurrency(queue=QueueRule(12, 9))
    await place.people(0.0, 0.0, 5)
    await anyio.sleep(5.0)
    code, _ = await drive_among_people(place, wanted_of(repos), brake, (50.0, 200.0, 5))
    assert code == Exit.OK
    ours, theirs = list(place.spans()), list(place.spans("ann"))
    assert len(ours) == 80
    assert most_at_once(ours, theirs) <= 12 + 1  # one build of others can come between two looks
    assert most_at_once(ours) >= 11
    lasted = max(end for _, end in ours) - min(start for start, _ in ours)
    assert len(place.looks) <= lasted / 30.0 + 3


async def test_people_find_their_reserve_free_whenever_they_come():
    repos = numbered(60)
    place = Place(repos=repos, concurrency=10)
    brake = Concurrency(queue=QueueRule(10, 8, reserve=3))
    code, _ = await drive_among_people(place, wanted_of(repos), brake, (100.0, 150.0, 3), (100.1, 150.0, 3))
    assert code == Exit.OK
    assert most_at_once(place.spans()) == 7
    theirs = [request.builds[0] for request in place.world.counters.accepted if request.user.login == "ann"]
    assert len(theirs) >= 4
    assert all(build.started_at - build.created_at < 0.001 for build in theirs)  # nobody had to queue


async def test_when_people_flood_the_queue_the_run_holds_still_and_comes_back_slowly():
    repos = numbered(90)
    place = Place(repos=repos, concurrency=20)
    brake = Concurrency(queue=QueueRule(20, 10))
    code, _ = await drive_among_people(place, wanted_of(repos), brake, (60.0, 0.0, 40))
    assert code == Exit.OK
    flooded = max(start for start, _ in place.spans("ann")) + 31.0
    drained = next(at for at in sorted(place.looks) if at > flooded and in_queue(place, at) < 10)
    assert not [start for start, _ in place.spans() if flooded < start < drained]
    after = [start for start, _ in place.spans() if start >= drained]
    assert len(after) > 20
    assert sum(start < drained + 25.0 for start in after) <= 12  # half of twenty, and a tenth for the look
    held = [fields for name, fields in place.told if name == "queue.seen" and fields["may"] == 0]
    assert held


async def test_the_runs_own_builds_are_never_taken_for_other_peoples():
    repos = numbered(40)
    place = Place(repos=repos, build=(2.0, 30.0), process=(0.2, 0.5))
    code, _ = await place.drive(wanted_of(repos), Concurrency(queue=QueueRule(6, 4, every=5.0)))
    assert code == Exit.OK
    seen = [fields for name, fields in place.told if name == "queue.seen"]
    assert len(seen) > 10
    assert {fields["others"] for fields in seen} == {0}


def in_queue(place, at):
    spans = [*place.spans(), *place.spans("ann")]
    return sum(start <= at < end for start, end in spans)


@pytest.mark.parametrize("status", [500, 404])
async def test_where_the_queue_cannot_be_read_the_runs_own_builds_count(status, monkeypatch):
    async def fail(self, target):
        raise LookFailed(f"HTTP {status}")

    monkeypatch.setattr(Travis, "queue", fail)
    repos = numbered(40)
    place = Place(repos=repos)
    code, _ = await drive_among_people(place, wanted_of(repos), Concurrency(queue=QueueRule(8, 6, 2)), (0.0, 0.0, 20))
    assert code == Exit.OK
    assert most_at_once(place.spans()) == 6
    assert [fields["cause"] for name, fields in place.told if name == "queue.unread"] == [f"HTTP {status}"]


async def test_a_queue_that_can_be_read_again_counts_again():
    repos = numbered(60)
    harm = FaultRule("error_before", methods=("GET",), between=(0.5, 200.0))
    place = Place(repos=repos, faults=(harm,), build=(100.0, 100.0))
    brake = Concurrency(queue=QueueRule(10, 8))
    code, _ = await drive_among_people(place, wanted_of(repos), brake, (0.0, 30.0, 4))
    assert code == Exit.OK
    assert [name for name, _ in place.told].count("queue.unread") >= 1
    assert any(name == "queue.seen" for name, _ in place.told)
    assert most_at_once(place.spans()) <= 10
    assert len(place.looks) < 60


async def test_dead_entries_of_a_queue_are_ignored():
    repos = numbered(30)
    place = Place(repos=repos, began=EPOCH + 90_000)
    dead = Place(began=EPOCH)
    dead.world = place.world
    await dead.people(0.0, 0.0, 9)
    place.world.advance(EPOCH + 20)
    for build in place.world.tables.builds.values():
        build.jobs[0].attempt += 1  # what would end it finds another turn
    wanted = wanted_of(repos)
    code, _ = await place.drive(wanted, Concurrency(queue=QueueRule(10, 8)))
    assert code == Exit.OK
    assert len(place.world.tables.repos[4711].owner.active) == 9
    assert most_at_once(place.spans()) >= 9


async def test_entries_that_are_not_dead_yet_are_not_ignored():
    repos = numbered(20)
    place = Place(repos=repos, began=EPOCH + 3300)
    young = Place(began=EPOCH)
    young.world = place.world
    await young.people(0.0, 0.0, 9)
    place.world.advance(EPOCH + 20)
    for build in place.world.tables.builds.values():
        build.jobs[0].attempt += 1
    brake = Concurrency(queue=QueueRule(10, 10, dead_after=3600.0))
    code, _ = await place.drive(wanted_of(repos), brake, timeout=1000.0)
    first = [start - place.began for start, _ in place.spans()][:3]
    assert first[1] - first[0] > 30.0  # one place, until the nine are old enough
    assert code == Exit.OK
    assert most_at_once(span for span in place.spans() if span[0] > EPOCH + 3602) > 1


# -- quiet hours ----------------------------------------------------------------------------------------------------


def epoch(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def triggered(place):
    return [datetime.fromtimestamp(request.created_at, UTC) for request in place.world.counters.accepted]


@pytest.mark.parametrize(
    ("began", "hours", "wanted"),
    [
        ("2026-01-05 06:59:58", "mon-fri 08:00-08:30 Europe/Berlin", "2026-01-05 07:30"),
        ("2026-01-05 16:30:00", "mon-fri 08:00-18:00 Europe/Berlin", "2026-01-05 17:00"),
        ("2026-03-29 00:59:58", "02:30-03:30 Europe/Berlin", "2026-03-29 01:30"),  # the clock goes from 2 to 3
        ("2026-10-25 00:29:58", "02:30-03:00 Europe/Berlin", "2026-10-25 02:00"),  # 02:30 comes twice
    ],
)
async def test_no_trigger_is_sent_in_quiet_hours_whatever_the_clock_does(began, hours, wanted):
    repos = numbered(40)
    place = Place(epoch(began), repos=repos, build=(5.0, 20.0))
    slow = Concurrency((Cap("owner", 20),), quiet=(parse_quiet(hours),))
    code, _ = await place.drive(wanted_of(repos), slow)
    assert code == Exit.OK
    again = epoch(wanted)
    early = [at for at in triggered(place) if at.timestamp() < again]
    assert all(at.timestamp() < epoch(began) + 3.0 for at in early)
    assert len(early) == (20 if began.endswith("58") else 0)
    late = [at.timestamp() for at in triggered(place) if at.timestamp() >= again]
    assert len(late) == 40 - len(early)
    assert min(late) < again + 2.0


async def test_a_resumed_run_keeps_quiet_too_and_a_person_may_ignore_it():
    place = Place(epoch("2026-01-05 12:00"), repos=numbered(3))
    brake = Concurrency(quiet=(parse_quiet("08:00-18:00 UTC"),))
    wanted = wanted_of(numbered(3))
    engine, _ = await place.drive(wanted, brake, timeout=600.0)
    assert engine == Exit.TIMEOUT
    code, _ = await place.drive(wanted, brake, MemoryJournal(place.journal.disk, now=place.now), timeout=600.0)
    assert (code, place.world.counters.accepted) == (Exit.TIMEOUT, [])
    journal = MemoryJournal(place.journal.disk, now=place.now)
    code, _ = await place.drive(wanted, brake, journal, ignore_quiet_hours=True)
    assert code == Exit.OK
    assert len(place.world.counters.accepted) == 3


async def test_the_live_line_names_the_quiet_hours_and_their_end():
    place = Place(epoch("2026-01-05 12:00"), repos=numbered(3))
    brake = Concurrency(quiet=(parse_quiet("mon 08:00-18:00 Europe/Berlin"),))
    engine, _ = await place.drive(wanted_of(numbered(3)), brake, patience=5.0)
    wanted = "quiet hours mon 08:00-18:00 Europe/Berlin: no trigger before 2026-01-05T17:00:00Z"
    assert engine.snapshot().waiting_for == wanted
    assert [name for name, _ in place.told].count("quiet.began") == 1


async def test_a_zone_that_this_machine_does_not_know_ends_the_run_before_anything_is_sent():
    place = Place(repos=numbered(1))
    brake = Concurrency(quiet=(replace(parse_quiet("08:00-18:00 UTC"), zone="Mars/Olympus"),))
    with pytest.raises(JournalError, match=r"account travis: .*unknown time zone 'Mars/Olympus'"):
        await place.drive(wanted_of(numbered(1)), brake)
    assert not place.world.counters.calls


async def test_builds_are_followed_in_quiet_hours():
    place = Place(epoch("2026-01-05 07:59:50"), repos=numbered(3))
    code, history = await place.drive(wanted_of(numbered(3)), Concurrency(quiet=(parse_quiet("08:00-18:00 UTC"),)))
    assert code == Exit.OK
    assert history.left_at < epoch("2026-01-05 08:05")
    assert json.dumps(place.told).count("quiet.began") == 0


# -- a share of the limits ------------------------------------------------------------------------------------------


async def test_a_share_is_kept_although_the_server_tells_that_more_is_left():
    """As two machines with a state each: together they may have all that one may."""
    branches = tuple(f"b{number}" for number in range(12))
    repos = numbered(2)
    place = Place(repos=repos, branches=branches, hourly=10, hour=600.0, build=(5.0, 9.0))
    rates = (
        Limit("triggers", 20, 30.0, share=50),
        Limit("calls", 900, 60.0, share=50),
        Limit("triggers_per_repo", 5, 600.0, "repo", share=50),
    )
    wanted = [
        Target(f"travis:{repo.slug}@{branch}", "travis", repo.slug, branch) for repo in repos for branch in branches
    ]
    code, _ = await place.drive(wanted, Concurrency(), limits=rates)
    assert code == Exit.OK
    assert len(place.world.counters.accepted) == 24
    assert place.world.counters.worst_of_a_repo(600.0) == 5
    assert place.world.counters.statuses.get("429", 0) == 0
