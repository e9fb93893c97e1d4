"""The engine with the real Travis provider against the sandbox in memory, in virtual time."""

import random
from collections import Counter
from contextlib import asynccontextmanager
from statistics import median

import anyio
import pytest

from orchestrator.core.detection import detection_of
from orchestrator.core.errors import Exit, InDoubt, Unreadable
from orchestrator.core.events import Ended, RunEnded, RunMade, to_json
from orchestrator.core.frozen import asdict
from orchestrator.core.model import Account, Limit, Outcome, Target, Timeouts
from orchestrator.core.next_step import NARROWEST, poll_interval
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.http import HTML, Refused, text
from orchestrator.lookalike.kit.settings import Rule
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, Shares, numbered
from orchestrator.providers.port import Line
from orchestrator.providers.travis.declaration import DECLARATION
from orchestrator.providers.travis.provider import Travis
from orchestrator.report.story import sentence_of
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio

EPOCH = 1_767_571_200.0
OFTEN = (Limit("triggers", 400, 1.0), Limit("calls", 10_000, 1.0), Limit("triggers_per_repo", 50, 3600.0, "repo"))


def now():
    return EPOCH + anyio.current_time()


async def drive(world, wanted, limits=DECLARATION.limits, journal=None, **options):
    dice = random.Random(1)
    send = world.send(now, anyio.sleep, dice)

    @asynccontextmanager
    async def connect(account):
        yield Line(account, DECLARATION, send, lambda send: Travis(account, send, lambda reference: ""), "hash")

    journal = journal or MemoryJournal(now=now)
    account = Account("travis", "travis", DECLARATION.url, limits=limits)
    made = RunMade("nightly", None, "", accounts={"travis": to_json(account)})
    await journal.make_run("r1", made, wanted, now())
    engine = Engine(
        "r1",
        journal,
        connect,
        Options(**options),
        now=now,
        process=Process("here", "boot", 1, "1"),
        random=dice,
    )
    return await engine.run(), await load(journal, "r1")


def wanted_of(repos, branches=("main",), **fields):
    return [
        Target(f"travis:{repo.slug}@{branch}", "travis", repo.slug, branch, **fields)
        for branch in branches
        for repo in repos
    ]


class Walled(TravisLookAlike):
    """Something before the service answers the triggers of some repositories by itself."""

    walled = ()

    def answer(self, call, now, stuck):
        if call.method == "POST" and set(self.repo_names(call.path)) & set(self.walled):
            raise Refused(text(403, "<html>Attention Required!</html>", HTML), "walled")
        return super().answer(call, now, stuck)


async def test_one_body_that_a_firewall_refuses_rejects_its_target_alone():
    world = Walled(Settings(repos=numbered(41), burst=None))
    world.walled = {"acme/svc-001", "acme/svc-020"}
    code, history = await drive(world, wanted_of(world.settings.repos), limits=OFTEN)
    verdicts = [history.of(target.id).verdict for target in history.targets]
    ends = Counter(verdict and verdict.outcome for verdict in verdicts)
    assert (code, ends) == (Exit.FAILED, {Outcome.PASSED: 39, Outcome.REJECTED: 2})
    assert history.of("travis:acme/svc-001@main").verdict.code == "http_403"


async def test_several_repositories_in_a_row_that_a_firewall_refuses_stop_the_account():
    world = Walled(Settings(repos=numbered(41), burst=None))
    world.walled = {spec.slug for spec in world.settings.repos}
    code, history = await drive(world, wanted_of(world.settings.repos), limits=OFTEN)
    verdicts = [history.of(target.id).verdict for target in history.targets]
    ends = Counter(verdict and verdict.outcome for verdict in verdicts)
    assert (code, ends) == (Exit.ACCOUNT, {None: 37, Outcome.REJECTED: 4})
    assert world.counters.accepted == []


async def test_an_account_of_which_no_answer_was_ever_readable_triggers_nothing():
    world = TravisLookAlike(Settings(repos=numbered(9)))
    world.send = lambda *args: unreadable
    code, history = await drive(world, wanted_of(world.settings.repos))
    assert code is Exit.ACCOUNT
    assert not any(history.of(target.id).attempts for target in history.targets)
    [stopped] = history.accounts_stopped.values()
    assert "no answer could be read: /user: the answer has a header above 100 KiB (x-big)" in str(stopped)
    assert anyio.current_time() < 60.0


async def test_an_account_that_is_silent_is_asked_who_we_are_until_its_time_is_over():
    world = TravisLookAlike(Settings(repos=numbered(9)))
    world.send = lambda *args: silent
    code, history = await drive(world, wanted_of(world.settings.repos, timeouts=Timeouts(reach=120.0)))
    assert code is Exit.ACCOUNT
    assert not any(history.of(target.id).attempts for target in history.targets)
    assert 120.0 <= anyio.current_time() < 200.0


async def unreadable(call):
    raise Unreadable("the answer has a header above 100 KiB (x-big)")


async def silent(call):
    raise InDoubt("reset")


async def test_five_hundred_targets_each_get_one_request_or_their_refusal():
    world = TravisLookAlike(
        Settings(
            repos=numbered(300),
            branches=("main", "next"),
            shares=Shares(inactive=0.03, forbidden=0.02, unknown=0.02, failed=0.05, rejected=0.02),
            hourly=50,
            burst=None,
            minute=None,
            build=(5.0, 60.0),
            concurrency=200,
            latency=(0.01, 0.2),
            seed=4,
        )
    )
    wanted = wanted_of(world.settings.repos, ("main", "next"))[:500]
    code, history = await drive(world, wanted, OFTEN)
    assert code == Exit.FAILED
    codes = Counter(v.code for t in wanted if (v := history.of(t.id).verdict))
    assert {"passed", "build_failed", "repository_inactive", "insufficient_access", "not_found"} <= set(codes)
    assert sum(codes.values()) == 500
    refused = sum(codes[code] for code in ("repository_inactive", "insufficient_access", "not_found"))
    assert len(world.counters.accepted) == 500 - refused
    assert not world.counters.duplicates()


async def test_default_limits_are_never_banned_and_use_nearly_all_that_is_allowed():
    repos = numbered(300)
    world = TravisLookAlike(Settings(repos=repos, latency=(0.05, 0.3), build=(5.0, 20.0), concurrency=500, seed=2))
    _, history = await drive(world, wanted_of(repos))
    assert worst_window(world.counters.posts, 30.0) <= 40
    assert world.counters.statuses.get("429", 0) == 0
    first, last = world.counters.posts[0], world.counters.posts[-1]
    assert last - first <= 7 * 30.3 + 1.0  # seven full windows, and what is left of 300 in the eighth
    assert {history.of(t.id).verdict.outcome for t in history.targets} == {Outcome.PASSED}


@pytest.mark.slow
async def test_following_a_thousand_builds_of_one_owner_costs_little_more_than_a_call_a_build():
    repos = numbered(1000)
    settings = Settings(
        repos=repos, burst=None, minute=None, build=(60.0, 900.0), concurrency=400, latency=(0.02, 0.1), seed=3
    )
    world = TravisLookAlike(settings)
    _, history = await drive(world, wanted_of(repos), OFTEN)
    polls = sum(tally.calls.get("poll", 0) for tally in history.tallies)
    lasted = history.left_at - history.made_at
    assert {history.of(t.id).verdict.outcome for t in history.targets} == {Outcome.PASSED}
    assert polls <= 1.2 * len(repos) + lasted / NARROWEST


async def test_faults_on_every_kind_of_call_never_start_a_build_twice():
    kinds = (
        "lost_before",
        "lost_after",
        "timeout_after",
        "error_before",
        "error_after",
        "torn",
        "html",
        "applied_late",
    )
    repos = numbered(60)
    faults = tuple(FaultRule(kind, share=0.05, methods=()) for kind in kinds)
    world = TravisLookAlike(Settings(repos=repos, faults=faults, latency=(0.05, 0.5), build=(5.0, 30.0), seed=5))
    code, history = await drive(world, wanted_of(repos))
    assert code == Exit.OK
    assert not world.counters.duplicates()
    assert len(world.counters.accepted) == 60
    assert any(history.of(t.id).how == "found" for t in history.targets)
    assert any(history.of(t.id).attempts > 1 for t in history.targets)


async def test_a_request_that_stays_pending_for_ever_is_in_doubt_and_never_repeated():
    repos = (RepoSpec("acme/a"), RepoSpec("acme/b"))
    world = TravisLookAlike(Settings(repos=repos, faults=(FaultRule("error_stuck", nth=(1,), repo="acme/a"),)))
    code, history = await drive(world, wanted_of(repos, timeouts=Timeouts(accept=600.0)))
    assert code == Exit.IN_DOUBT
    assert history.of("travis:acme/a@main").verdict.outcome is Outcome.IN_DOUBT
    assert world.counters.by_repo() == {"acme/a": 1, "acme/b": 1}


@pytest.mark.parametrize(
    ("settings", "timeouts", "reason", "evidence"),
    [
        (
            {"shares": Shares(never_processed=1.0)},
            Timeouts(accept=600.0),
            "no build appeared",
            "the last look showed request 31337 without a build",
        ),
        ({"concurrency": 0}, Timeouts(queue=600.0), "did not start", "the last look showed build 1 created"),
        ({"build": (9e9, 9e9)}, Timeouts(build=600.0), "did not end", "the last look showed build 1 started"),
    ],
)
async def test_what_nothing_comes_of_ends_with_what_the_last_look_showed(settings, timeouts, reason, evidence):
    world = TravisLookAlike(Settings(repos=(RepoSpec("acme/a"),), **settings))
    journal = MemoryJournal(now=now)
    await drive(world, wanted_of(world.settings.repos, timeouts=timeouts), journal=journal)
    (ended,) = (one.event for one in await journal.read("r1", {}) if isinstance(one.event, Ended))
    assert (ended.outcome, ended.reason, ended.evidence) == (Outcome.TIMED_OUT, reason, evidence)
    assert evidence in sentence_of(ended)


async def test_a_ban_ends_all_traffic_with_its_first_answer():
    repos = numbered(40)
    world = TravisLookAlike(Settings(repos=repos, burst=Rule(10, 30.0, 3600.0), latency=(0.1, 0.1)))
    code, history = await drive(world, wanted_of(repos), OFTEN)
    assert code == Exit.ACCOUNT
    assert history.accounts_stopped["travis"].code == "banned"
    banned = world.counters.posts[10]
    assert max(world.counters.calls) <= banned + 0.1


async def test_a_repository_without_credit_stops_its_owner_only():
    repos = (
        RepoSpec("acme/a", rejects="Could not authorize build request for acme."),
        *numbered(12, owners=("umbrella",)),
        *(RepoSpec(f"acme/late-{n}") for n in range(5)),
    )
    world = TravisLookAlike(Settings(repos=repos, process=(1.0, 1.0)))
    code, history = await drive(world, wanted_of(repos), in_flight=1)
    assert code == Exit.ACCOUNT
    outcomes = {t.repo: history.of(t.id).verdict for t in history.targets}
    assert outcomes["acme/a"].code == "no_credit"
    assert all(verdict is None for repo, verdict in outcomes.items() if repo.startswith("acme/late"))
    assert all(v.outcome is Outcome.PASSED for repo, v in outcomes.items() if repo.startswith("umbrella"))


@pytest.mark.parametrize("seconds", [20.0, 50.0])
async def test_calls_that_the_provider_handles_late_still_count_when_it_counts_them(seconds):
    repos = numbered(250)
    faults = (FaultRule("applied_late", share=0.3, seconds=seconds),)
    world = TravisLookAlike(
        Settings(repos=repos, faults=faults, latency=(0.05, 0.3), build=(5.0, 20.0), concurrency=500, seed=3)
    )
    code, _ = await drive(world, wanted_of(repos))
    assert code == Exit.OK
    assert worst_window(world.counters.posts, 30.0) <= 40
    assert not world.counters.duplicates()


@pytest.mark.parametrize("skew", [-90_000.0, 90_000.0])
async def test_a_provider_whose_clock_is_a_day_off_makes_no_build_time_out_and_no_time_wrong(skew):
    repos = numbered(3)
    world = TravisLookAlike(Settings(repos=repos, build=(300.0, 600.0), skew=skew, seed=5))
    code, history = await drive(world, wanted_of(repos, timeouts=Timeouts(build=3600.0)))
    assert code == Exit.OK
    for target in history.targets:
        (build,) = history.of(target.id).builds
        assert history.of(target.id).triggered_at - 3.0 <= build.started_at
        assert 300.0 <= build.finished_at - build.started_at <= 610.0
        assert build.finished_at <= now() + 3.0


async def test_the_ends_of_builds_are_known_after_half_of_the_interval_at_which_they_are_polled():
    world = TravisLookAlike(Settings(repos=numbered(200), concurrency=1000, burst=None, minute=None, hourly=50))
    journal = MemoryJournal(now=now)
    _, history = await drive(world, wanted_of(world.settings.repos), OFTEN, journal)
    ran = [build.finished_at - build.started_at for one in history.progress.values() if (build := one.build)]
    held = sorted(poll_interval(seconds) for seconds in ran)
    seen = detection_of(history)
    assert seen.median <= median(held) / 2 + 1.0
    assert seen.max <= held[-1] + NARROWEST
    (ended,) = (one.event for one in await journal.read("r1", {}) if isinstance(one.event, RunEnded))
    assert ended.detection == asdict(seen)


@pytest.mark.parametrize("share", [0.05, 1.0])
async def test_rejected_requests_are_known_after_half_of_the_interval_at_which_they_are_polled(share):
    takes = 2.0
    settings = Settings(repos=numbered(150), process=(takes, takes), shares=Shares(rejected=share), concurrency=60)
    world = TravisLookAlike(settings)
    _, history = await drive(world, wanted_of(settings.repos))
    refused = [one for one in world.counters.accepted if one.result == "rejected"]
    verdicts = {target.repo: history.of(target.id).verdict for target in history.targets}
    late = [verdicts[one.slug].at - one.created_at - takes for one in refused]
    assert median(late) <= NARROWEST / 2 + 1.0
    assert detection_of(history).max >= max(late)  # no service tells when it rejected: the figure is from the receipt
