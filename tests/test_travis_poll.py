from collections import Counter

import pytest

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Request, Target
from orchestrator.providers.port import Followed
from orchestrator.providers.travis.follow import ASSUMED, FEW, MISSES, SINGLES, VAIN
from orchestrator.providers.travis.observe import NOTHING
from orchestrator.providers.travis.provider import Travis

pytestmark = pytest.mark.anyio

STARTED, FINISHED, CREATED = "2026-01-05T01:02:10Z", "2026-01-05T01:07:10Z", "2026-01-05T01:01:58Z"
ACTIVE = ("created", "queued", "received", "started")


class World:
    """Requests and their builds as Travis shows them, and a count of the calls by kind."""

    def __init__(self):
        self.requests = {}
        self.calls = Counter()
        self.faults = {}
        self.provider = Travis(Account("travis", "travis", "https://api.travis-ci.com"), self.send, str)

    def follow(self, n, state=None, owner="acme", **kwargs):
        """A request with the id `n`, and its build `1000 + n` once there is a state."""
        repo = f"{owner}/svc-{n}"
        kwargs.setdefault("age", ASSUMED)
        marker = kwargs.pop("marker", f"[run.{n:08d}]".translate(str.maketrans("0189", "zyxw")))
        self.requests[n] = {
            "repo": repo,
            "owner": owner,
            "marker": marker,
            "result": None,
            "message": None,
            "builds": {},
        }
        if state is not None:
            self.set(n, state)
        target = Target(f"travis:{repo}@main", "travis", repo, "main")
        handle = kwargs.pop("handle", {"v": 1, "repo": 4000 + n})
        seen = kwargs.pop("seen", None)
        build = None if seen is None else Build(str(1000 + n), BuildState.RUNNING, seen)
        return Followed(target, Request(str(n), handle), marker, build, since=0.0, **kwargs)

    def set(self, n, state, build=None):
        self.requests[n]["builds"][build or 1000 + n] = state

    def build(self, id_, state):
        started = None if state in ACTIVE[:3] else STARTED
        finished = None if state in ACTIVE else FINISHED
        shown = {"@type": "build", "id": id_, "number": "412", "state": state, "event_type": "api"}
        return {**shown, "started_at": started, "finished_at": finished}

    def commit(self, n):
        return {"@type": "commit", "sha": "0f3c", "message": f"nightly {self.requests[n]['marker']}"}

    def rows(self):
        """All builds, newest first, as `representation=list` shows them."""
        found = [(id_, n, state) for n, request in self.requests.items() for id_, state in request["builds"].items()]
        return [
            {**self.build(id_, state), "branch": {"name": "main"}, "commit": self.commit(n), "request": {"id": n}}
            for id_, n, state in sorted(found, reverse=True)
        ]

    def request(self, n):
        request = self.requests[n]
        processed = bool(request["builds"]) or request["result"] is not None
        return {
            "@type": "request",
            "id": n,
            "state": "finished" if processed else "pending",
            "result": request["result"],
            "message": request["message"],
            "repository": {"id": 4000 + n, "slug": request["repo"]},
            "branch_name": "main" if processed else None,
            "commit": self.commit(n) if processed else None,
            "builds": [self.build(id_, state) for id_, state in request["builds"].items()],
            "created_at": CREATED,
        }

    async def send(self, call):
        kind = "newest" if call.path == "/builds" else "active" if call.path.endswith("/active") else "single"
        self.calls[kind] += 1
        assert (call.method, call.purpose, call.limits, call.repo) == ("GET", "poll", ("calls",), None)
        fault = self.faults.get(call.path, self.faults.get(kind))
        if isinstance(fault, Exception):
            raise fault
        return fault or Answer(200, getattr(self, f"_{kind}")(call))

    def _newest(self, call):
        query = dict(call.query)
        assert (query["sort_by"], query["representation"]) == ("id:desc", "list")
        offset = int(query.get("offset", 0))
        pagination = {"limit": 100, "offset": offset, "next": {"offset": offset + 100, "limit": 100}}
        return {"@type": "builds", "builds": self.rows()[offset : offset + 100], "@pagination": pagination}

    def _active(self, call):
        owner = call.path.split("/")[-2]
        theirs = [row for row in self.rows() if self.requests[row["request"]["id"]]["owner"] == owner]
        shown = [{k: v for k, v in row.items() if k != "request"} for row in theirs if row["state"] in ACTIVE]
        return {"@type": "active", "builds": shown}

    def _single(self, call):
        return self.request(int(call.path.rpartition("/")[2]))


@pytest.fixture
def world():
    return World()


def states(observations):
    return {id_: observation.builds[0].native for id_, observation in observations.items() if observation.builds}


async def test_one_request_alone_is_looked_at_itself(world):
    [observation] = (await world.provider.poll([world.follow(7, "started")])).values()
    assert observation.builds == (
        Build(
            id="1007",
            state=BuildState.RUNNING,
            native="started",
            number="412",
            url="https://app.travis-ci.com/github/acme/svc-7/builds/1007",
            sha="0f3c",
            branch="main",
            created_at=1767574918.0,
            started_at=1767574930.0,
        ),
    )
    assert (observation.marked, observation.refusal, observation.warning) == (True, None, None)
    assert world.calls == {"single": 1}


@pytest.mark.parametrize("state", [*ACTIVE, "passed", "failed", "errored", "canceled"])
async def test_up_to_a_hundred_builds_cost_one_call_whatever_their_state(world, state):
    followed = [world.follow(n, state) for n in range(1, 101)]
    observations = await world.provider.poll(followed)
    assert set(states(observations).values()) == {state}
    assert len(observations) == 100
    assert all(observation.marked for observation in observations.values())
    assert sum(world.calls.values()) == 1


async def test_a_request_without_a_build_is_still_nothing(world):
    followed = [world.follow(1, "started"), world.follow(2)]
    observations = await world.provider.poll(followed)
    assert observations[followed[1].target.id] == NOTHING
    assert world.calls == {"newest": 1, "single": 1}


async def test_many_builds_of_an_owner_cost_a_call_a_round_and_less_than_one_each_at_their_end(world):
    followed = [world.follow(n, "started", seen="started") for n in range(1, 301)]
    assert len(await world.provider.poll(followed)) == 300
    assert await calls_of(world, followed) == {"active": 1}
    world.set(5, "passed")
    assert await calls_of(world, followed) == {"active": 1, "single": 1}
    for n in (5, 7, 9, 70):
        world.set(n, "passed")
    assert await calls_of(world, followed) == {"active": 1, "newest": 1}
    world.set(290, "failed")
    assert await calls_of(world, followed) == {"active": 1, "newest": 1, "single": 1}


async def calls_of(world, followed):
    world.calls.clear()
    observations = await world.provider.poll(followed)
    shown = {one.target.id: world.requests[int(one.request.id)]["builds"][int(one.build.id)] for one in followed}
    assert states(observations) == shown
    return world.calls


async def test_each_owner_has_a_listing_of_their_own(world):
    followed = [world.follow(n, "started", owner=f"o{n % 2}", seen="started") for n in range(1, 301)]
    await world.provider.poll(followed)
    world.calls.clear()
    await world.provider.poll(followed[:100])
    assert world.calls == {"active": 2}


async def test_new_builds_are_found_on_as_many_pages_as_there_are_new_ones(world):
    followed = [world.follow(n) for n in range(1, 251)]
    await world.provider.poll(followed)
    for n in range(1, 251):
        world.set(n, "created")
    world.calls.clear()
    observations = await world.provider.poll(followed)
    assert len(states(observations)) == 250
    assert world.calls == {"newest": 3}


async def test_a_resumed_run_finds_what_was_built_meanwhile_below_newer_builds(world):
    followed = [world.follow(n, "passed") for n in range(1, 251)]
    for n in range(1000, 1300):
        world.follow(n, "passed")
    assert len(states(await world.provider.poll(followed))) == 250
    assert world.calls == {"newest": 6}


async def test_what_one_round_has_read_past_is_found_by_the_next_for_others(world):
    followed = [world.follow(n, "passed", owner=f"o{n // 300}") for n in range(1, 600)]
    first, second = followed[299:], followed[:299]
    assert len(states(await world.provider.poll(first))) == 300
    world.calls.clear()
    assert len(states(await world.provider.poll(second))) == 299
    assert world.calls == {"newest": 6}


async def test_who_never_gets_a_build_costs_old_pages_once(world):
    stuck = [world.follow(1), world.follow(2)]
    for n in range(3, 503):
        world.follow(n, "passed")
    await world.provider.poll(stuck)
    world.calls.clear()
    await world.provider.poll(stuck)
    assert world.calls == {"newest": 1}


async def test_a_new_run_reads_no_older_pages_than_it_must(world):
    for n in range(1, 1001):
        world.follow(n, "passed")
    await world.provider.poll([world.follow(n) for n in range(2001, 2101)])
    assert world.calls["newest"] == 1


async def test_who_found_no_room_in_a_round_has_its_turn_in_the_next(world):
    followed = [world.follow(n, "started") for n in range(1, 2 * SINGLES + 51)]
    world.rows = list
    found = []
    for looks in range(3):
        left = [one for one in followed if one.target.id not in found]
        observations = await world.provider.poll([replace(one, polls=looks, age=5.0 * (looks + 1)) for one in left])
        found += states(observations)
    assert len(found) == 2 * SINGLES + 50
    assert world.calls["single"] == 2 * SINGLES + 50


async def test_when_many_have_ended_at_once_pages_are_read_before_each_is_looked_at(world):
    followed = [world.follow(n, "passed", seen="started") for n in range(1, 1001)]
    observations = await world.provider.poll(followed)
    assert Counter(states(observations).values()) == {"passed": 1000}
    assert sum(world.calls.values()) <= 15


async def test_builds_that_ended_far_back_among_others_are_looked_at_themselves(world):
    followed = [world.follow(n, "passed", seen="started") for n in range(1, 6)]
    for n in range(10_000, 15_000):
        world.follow(n, "passed")
    for _ in range(10):
        assert len(states(await world.provider.poll(followed))) == 5
    assert world.calls["single"] == 50
    assert world.calls["newest"] <= 1 + MISSES


async def test_a_listing_that_never_shows_ours_is_not_asked_for_ever(world):
    followed = [world.follow(n, "passed", seen="started") for n in range(1, 6)]
    world.rows = list
    for _ in range(10):
        assert len(states(await world.provider.poll(followed))) == 5
    assert world.calls["single"] == 50


async def test_a_round_looks_at_so_many_requests_themselves_and_leaves_the_others_for_the_next(world):
    world.faults["newest"] = Answer(404, {"error_type": "not_found"})
    followed = [world.follow(n, "passed", seen="started") for n in range(1, 2 * SINGLES)]
    assert len(await world.provider.poll(followed)) == SINGLES


async def test_who_waits_long_for_a_build_is_looked_at_itself_now_and_then(world):
    fast = [world.follow(n, "started", seen="started") for n in range(1, 4)]
    singles = []
    for looks in range(50):
        world.calls.clear()
        await world.provider.poll([*fast, world.follow(9, polls=looks)])
        singles += [looks] * world.calls["single"]
    assert singles == [0, 2, 4, 8, 16, 32]


async def dealt_with(world, ages):
    """Polls requests until each has a build; their ages when they were last polled without one."""
    made = [world.follow(n, age=age) for n, age in enumerate(ages, 1)]
    await world.provider.poll(made)
    for n in range(1, len(ages) + 1):
        world.set(n, "started")
    assert len(states(await world.provider.poll(made))) == len(ages)
    world.calls.clear()


async def test_a_request_is_looked_at_itself_once_nearly_all_others_had_a_build_at_its_age(world):
    await dealt_with(world, [float(age) for age in range(1, 21)])
    seen = await world.provider.poll([world.follow(100 + age, age=float(age)) for age in range(1, 21)])
    assert len(seen) == 20
    assert world.calls == {"newest": 1, "single": 2}  # those of 19 and 20 seconds: nearly all had one by 18


async def test_a_rejected_request_is_known_with_the_first_poll_beside_requests_that_have_builds(world):
    followed = [world.follow(n, "started", age=4.0) for n in range(1, FEW + 1)]
    followed.append(rejected := world.follow(50, age=4.0))
    world.requests[50] |= {"result": "rejected", "message": "Branch excluded per configuration: main"}
    observations = await world.provider.poll(followed)
    assert observations[rejected.target.id].refusal.code == "branch_excluded"
    assert world.calls == {"newest": 1, "single": 1}


async def test_requests_that_travis_has_not_dealt_with_cost_few_calls_in_a_round(world):
    followed = [world.follow(n, age=float(n)) for n in range(1, 1001)]
    assert len(await world.provider.poll(followed)) == 1000
    assert world.calls == {"newest": 1, "single": VAIN}
    world.calls.clear()
    for n in range(500, 550):
        world.requests[n]["result"] = "rejected"
    refused = 0
    for polls in range(1, 60):
        seen = await world.provider.poll([replace(one, polls=polls) for one in followed])
        gone = {id_ for id_, one in seen.items() if one.refusal is not None}
        followed = [one for one in followed if one.target.id not in gone]
        refused += len(gone)
    assert refused == 50
    assert world.calls["single"] <= 59 * VAIN + 50


@pytest.mark.parametrize("fault", [Answer(404, {"error_type": "not_found"}), Answer(200, "<html>"), InDoubt("torn")])
async def test_without_the_listing_of_new_builds_requests_are_looked_at_themselves_sooner(world, fault):
    world.faults["newest"] = fault
    followed = [world.follow(n, "started", polls=1) for n in (1, 2)]
    assert len(states(await world.provider.poll(followed))) == 2
    assert world.calls == {"newest": 1, "single": 2}


async def test_a_listing_that_shows_nothing_of_ours_only_delays(world):
    followed = [world.follow(n, "started") for n in (1, 2)]
    world.rows = list
    assert len(states(await world.provider.poll(followed))) == 2


async def test_an_older_server_that_shows_no_requests_is_read_by_marker(world):
    followed = [world.follow(n, "started") for n in (1, 2, 3)]
    rows = [{key: value for key, value in row.items() if key != "request"} for row in world.rows()]
    world.rows = lambda: rows
    assert len(states(await world.provider.poll(followed))) == 3
    assert world.calls == {"newest": 1}


async def test_a_build_that_somebody_made_with_our_message_is_not_ours(world):
    ours = world.follow(1, marker="[run.aaaaaaaa]")
    world.follow(2, "passed", marker="[run.aaaaaaaa]")
    observations = await world.provider.poll([ours, world.follow(3, "started")])
    assert observations[ours.target.id] == NOTHING


async def test_without_the_owners_listing_builds_are_looked_at_themselves(world):
    world.faults["active"] = Answer(404, {"error_type": "not_found"})
    followed = [world.follow(n, "started", seen="started") for n in range(1, 301)]
    await world.provider.poll(followed)
    world.calls.clear()
    assert len(states(await world.provider.poll(followed[:5]))) == 5
    assert world.calls == {"active": 1, "newest": 1}
    world.faults["newest"] = Answer(405, {"error_type": "method_not_allowed"})
    assert len(states(await world.provider.poll(followed[:5]))) == 5
    assert world.calls == {"active": 2, "newest": 2, "single": 5}


async def test_an_owner_whose_listing_fails_does_not_spoil_the_others(world):
    followed = [world.follow(n, "started", owner=f"o{n % 2}", seen="started") for n in range(1, 301)]
    await world.provider.poll(followed)
    world.faults["/owner/o1/active"] = Answer(500, "Sorry")
    observations = await world.provider.poll(followed[:100])
    assert set(observations) == {one.target.id for one in followed[:100] if one.target.owner == "o0"}


async def test_a_look_that_fails_for_one_does_not_spoil_the_others(world):
    followed = [world.follow(n, "started", fresh=True) for n in (1, 2, 3)]
    world.faults["/repo/4002/request/2"] = Answer(500, "Sorry")
    assert set(await world.provider.poll(followed)) == {followed[0].target.id, followed[2].target.id}


@pytest.mark.parametrize("id_", ["999999", "no number"])
async def test_a_request_that_travis_does_not_know_is_still_nothing_so_that_its_clock_decides(world, id_):
    """Else a wrong `--adopt-request`, or a repository that was deleted, would be looked at for ever."""
    one = world.follow(1, "started", fresh=True)
    world.faults["/repo/4001/request/999999"] = Answer(404, {"error_type": "not_found"})
    observations = await world.provider.poll([replace(one, request=replace(one.request, id=id_))])
    assert observations[one.target.id].builds == ()
    assert "shows no request" in observations[one.target.id].warning


@pytest.mark.parametrize(
    "fault", [Answer(500, "x"), Answer(200, []), Answer(404, {}), Answer(200, {"@type": "error"}), Unreachable("x")]
)
async def test_when_everything_fails_the_look_has_failed(world, fault):
    world.faults = dict.fromkeys(("newest", "active", "single"), fault)
    with pytest.raises(LookFailed):
        await world.provider.poll([world.follow(n, "started", seen="started", fresh=n == 1) for n in range(1, 5)])


@pytest.mark.parametrize("kind", ["newest", "active", "single"])
async def test_a_ban_stops_at_once(world, kind):
    followed = [world.follow(n, "passed", seen="started") for n in range(1, 301)]
    world.faults[kind] = Answer(403, "Forbidden\n")
    fresh = [world.follow(500, "started", fresh=True)]
    with pytest.raises(AccessRefused) as caught:
        await world.provider.poll([*followed[:150], *fresh])
    assert caught.value.code == "banned"


async def test_the_throttle_is_told_unless_something_was_learnt_before(world):
    followed = [world.follow(n, "started") for n in (1, 2)]
    world.faults["single"] = Answer(429, "Retry later\n")
    fresh = world.follow(3, "started", fresh=True)
    assert len(await world.provider.poll([*followed, fresh])) == 2
    with pytest.raises(RateLimited):
        await world.provider.poll([fresh])


async def test_a_fresh_look_is_one_at_the_request_itself_for_every_one_who_needs_it(world):
    followed = [world.follow(n, "started", seen="started", fresh=True) for n in range(1, SINGLES + 20)]
    assert len(await world.provider.poll(followed)) == SINGLES + 19
    assert world.calls == {"single": SINGLES + 19}


async def test_a_rejected_request_is_a_refusal_with_its_reason(world):
    one = world.follow(1, fresh=True)
    world.requests[1] |= {"result": "rejected", "message": "Could not authorize build request for acme/svc-1."}
    observation = (await world.provider.poll([one]))[one.target.id]
    assert (observation.refusal.code, observation.refusal.scope) == ("no_credit", "owner:acme")
    assert observation.marked is True


async def test_a_build_decides_even_beside_a_rejection(world):
    one = world.follow(1, "started", fresh=True)
    world.requests[1]["result"] = "rejected"
    assert (await world.provider.poll([one]))[one.target.id].refusal is None


async def test_a_build_without_a_result_is_followed(world):
    one = world.follow(1, "started", fresh=True)
    assert world.requests[1]["result"] is None
    assert states(await world.provider.poll([one])) == {one.target.id: "started"}


async def test_several_builds_of_one_request_are_all_reported_the_first_made_deciding(world):
    one = world.follow(1, "failed", fresh=True)
    world.set(1, "passed", build=2000)
    observation = (await world.provider.poll([one]))[one.target.id]
    assert [(build.id, build.native) for build in observation.builds] == [("1001", "failed"), ("2000", "passed")]


async def test_several_requests_of_one_trigger_are_all_looked_at(world):
    one = world.follow(1, "passed", handle={"v": 1, "repo": 4001, "also": [2]})
    world.follow(2, "started")
    observation = (await world.provider.poll([one, world.follow(3, "started")]))[one.target.id]
    assert [build.id for build in observation.builds] == ["1001", "1002"]
    assert world.calls["single"] >= 2


async def test_a_restarted_build_runs_again_under_its_id(world):
    one = world.follow(1, "created")
    before = Build("1001", BuildState.FAILED, "failed", started_at=1.0, finished_at=2.0, sha="0f3c", branch="main")
    one = Followed(one.target, one.request, one.marker, before, since=0.0)
    [build] = (await world.provider.poll([one]))[one.target.id].builds
    assert (build.state, build.started_at, build.finished_at) == (BuildState.QUEUED, None, None)


async def test_what_a_listing_does_not_show_stays_as_it_was(world):
    one = world.follow(1, "started")
    first = (await world.provider.poll([one]))[one.target.id].builds[0]
    again = Followed(one.target, one.request, one.marker, first, since=0.0)
    other = world.follow(2, "started")
    assert (await world.provider.poll([again, other]))[one.target.id] == NOTHING
    world.set(1, "passed")
    last = (await world.provider.poll([again, other]))[one.target.id].builds[0]
    assert replace(first, state=last.state, native="passed", finished_at=last.finished_at) == last


@pytest.mark.parametrize("state", ["configured", "paused", "", None, 7, "x" * 500])
async def test_a_state_not_known_here_goes_on_with_a_warning(world, state):
    one = world.follow(1, "started", fresh=True)
    world.build = lambda id_, _: {"id": id_, "state": state, "started_at": STARTED}
    observation = (await world.provider.poll([one]))[one.target.id]
    assert observation.builds[0].state is BuildState.RUNNING
    assert "not known here" in observation.warning
    assert len(observation.warning) < 200


async def test_a_message_without_the_marker_is_seen(world):
    one = world.follow(1, "started", fresh=True)
    world.requests[1]["marker"] = ""
    assert (await world.provider.poll([one]))[one.target.id].marked is False


async def test_a_trigger_without_a_marker_proves_none(world):
    one = world.follow(1, "started", fresh=True)
    bare = Followed(one.target, one.request, None, None, since=0.0, fresh=True)
    assert (await world.provider.poll([bare]))[one.target.id].marked is None


async def test_an_adopted_request_learns_the_number_of_its_repository(world):
    one = world.follow(1, "started", handle={})
    observation = (await world.provider.poll([one]))[one.target.id]
    assert observation.request == Request("1", {"v": 1, "repo": 4001})


async def test_a_request_id_that_is_none_of_travis_is_never_put_into_a_path(world):
    one = world.follow(1)
    odd = Followed(one.target, Request("../../user"), one.marker, None, since=0.0, fresh=True)
    assert "../../user" in (await world.provider.poll([odd]))[one.target.id].warning
    assert not world.calls


@pytest.mark.parametrize(
    "odd",
    [
        {"builds": {}},
        {"builds": [None, {"id": "x", "state": []}]},
        {"commit": []},
        {"message": 5, "result": "rejected"},
    ],
)
async def test_a_request_of_odd_shape_gives_a_sight_all_the_same(world, odd):
    one = world.follow(1, fresh=True)
    real = world.request(1)
    world.request = lambda n: {**real, **odd}
    observation = (await world.provider.poll([one]))[one.target.id]
    assert observation.builds == ()


@pytest.mark.slow
async def test_a_thousand_builds_of_one_owner_are_followed_within_budget(world):
    """Seven triggers a round; a build appears two rounds later; sixty run at once, each for ten rounds."""
    total, rounds, since = 1000, 0, {}
    followed, ended = {}, {}
    while len(ended) < total:
        rounds += 1
        for n in range(len(world.requests) + 1, min(total, 7 * rounds) + 1):
            followed[n] = world.follow(n)
        for n in range(1, min(total, 7 * (rounds - 2)) + 1):
            if not world.requests[n]["builds"]:
                world.set(n, "created")
        running = [n for n in since if rounds - since[n] < 10]
        for n in [n for n in since if n not in running and n not in ended]:
            world.set(n, "failed" if n % 9 == 0 else "passed")
        waiting = [n for n in followed if world.requests[n]["builds"] and n not in since]
        for n in waiting[: 60 - len(running)]:
            since[n] = rounds
            world.set(n, "started")
        aged = [replace(one, age=5.0 * (rounds - -(-n // 7))) for n, one in followed.items()]
        observations = await world.provider.poll(aged)
        for n, one in list(followed.items()):
            for build in observations.get(one.target.id, NOTHING).builds:
                followed[n] = Followed(one.target, one.request, one.marker, build, since=0.0)
                if build.state.is_final:
                    ended[n] = followed.pop(n).build.native
    assert Counter(ended.values()) == {"passed": 889, "failed": 111}
    assert sum(world.calls.values()) <= 1.2 * total + rounds


async def test_a_marker_is_no_proof_where_listings_show_more(world):
    followed = [world.follow(n, "started", seen="started") for n in range(1, 301)]
    await world.provider.poll(followed)
    copied = world.follow(900, "started", marker="[run.aaaaaaaa]")
    ours = Followed(world.follow(901).target, Request("901", {"v": 1, "repo": 4901}), copied.marker, None, since=0.0)
    observations = await world.provider.poll([*followed[:2], ours])
    assert observations[ours.target.id] == NOTHING
