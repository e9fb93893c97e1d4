"""What goes wrong on purpose, seen from the world and from a client in memory."""

from random import Random

import anyio
import pytest
from sandbox_visitor import START, WIDGET, Visitor

from orchestrator.core.calls import Call
from orchestrator.core.errors import InDoubt, Unreachable
from orchestrator.lookalike.kit.faults import KINDS, FaultRule
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, numbered

POST = Call("POST", f"{WIDGET}/requests", body={"request": {"message": "nightly [run.abcdefgh]"}})


class Client:
    """A look-alike reached in memory, in virtual time."""

    def __init__(self, *faults, **settings):
        settings.setdefault("repos", (RepoSpec("acme/widget"), *numbered(3)))
        self.world = TravisLookAlike(Settings(faults=faults, seed=1, **settings))
        self.send = self.world.send(self.now, anyio.sleep, Random(1))

    def now(self):
        return START + anyio.current_time()

    @property
    def accepted(self):
        return len(self.world.counters.accepted)


SEEN = {
    "never_left": (Unreachable, 0, 0),
    "lost_before": (InDoubt, 0, 0),
    "lost_after": (InDoubt, 1, 0),
    "timeout_before": (InDoubt, 0, 30),
    "timeout_after": (InDoubt, 1, 30),
    "applied_late": (InDoubt, 0, 0),
    "error_before": (500, 0, 0),
    "error_after": (500, 1, 0),
    "error_stuck": (500, 1, 0),
    "html": (502, 0, 0),
    "html_after": (502, 1, 0),
    "portal": (200, 0, 0),
    "torn": (InDoubt, 1, 0),
    "garbled": (202, 1, 0),
    "slow": (202, 1, 5),
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_looks_as_on_a_real_connection(kind):
    client, start = Client(FaultRule(kind)), anyio.current_time()
    seen, accepted, seconds = SEEN[kind]
    if isinstance(seen, int):
        assert (await client.send(POST)).status == seen
    else:
        with pytest.raises(seen):
            await client.send(POST)
    assert client.accepted == accepted
    assert anyio.current_time() - start == seconds


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["html", "portal", "garbled", "error_before"])
async def test_a_body_that_is_no_json_arrives_as_text(kind):
    assert isinstance((await Client(FaultRule(kind)).send(POST)).body, str)


@pytest.mark.anyio
async def test_an_answer_slower_than_patience_is_in_doubt():
    client, start = Client(FaultRule("slow", seconds=300.0)), anyio.current_time()
    with pytest.raises(InDoubt):
        await client.send(POST)
    assert anyio.current_time() - start == 30
    assert client.accepted == 1


@pytest.mark.anyio
async def test_a_late_call_is_applied_after_the_client_was_let_down():
    client = Client(FaultRule("applied_late", seconds=20.0, nth=(1,)))
    with pytest.raises(InDoubt):
        await client.send(POST)
    listing = Call("GET", f"{WIDGET}/requests")
    await anyio.sleep(19)
    assert (await client.send(listing)).body["requests"] == []
    await anyio.sleep(1)
    [row] = (await client.send(listing)).body["requests"]
    assert row["created_at"] == "2027-01-15T08:00:20Z"


@pytest.mark.anyio
async def test_a_stuck_row_counts_and_is_never_processed():
    client = Client(FaultRule("error_stuck", nth=(1,)), hourly=2)
    await client.send(POST)
    await anyio.sleep(1000)
    [row] = (await client.send(Call("GET", f"{WIDGET}/requests"))).body["requests"]
    assert (row["state"], row["commit"]) == ("pending", None)
    assert (await client.send(POST)).body["remaining_requests"] == 1


@pytest.mark.anyio
async def test_half_of_the_latency_passes_before_the_world_hears_of_the_call():
    client, start = Client(latency=(0.2, 0.2)), anyio.current_time()
    await client.send(POST)
    assert client.world.counters.accepted[0].created_at == pytest.approx(START + start + 0.1)
    assert anyio.current_time() - start == pytest.approx(0.2)


@pytest.mark.anyio
async def test_real_headers_and_a_real_body_travel_in_memory():
    client = Client(prefix="/api")
    answer = await client.send(POST)
    assert (answer.status, answer.headers["x-endpoint"]) == (202, "Travis::API::V3::Services::Requests::Create")
    assert client.world.counters.accepted[0].as_json()["message"] == "nightly [run.abcdefgh]"
    stranger = client.world.send(client.now, anyio.sleep, Random(1), token="nobody")
    assert (await stranger(POST)).body == "access denied"


def harmed(visitor, count, method="POST", path=f"{WIDGET}/requests"):
    return [visitor.call(method, path).effect is not None for _ in range(count)]


def test_the_nth_call_can_be_hit():
    visitor = Visitor(faults=(FaultRule("lost_after", nth=(2, 4)),))
    assert harmed(visitor, 5) == [False, True, False, True, False]


def test_only_posts_are_hit_unless_all_are_meant():
    visitor = Visitor(faults=(FaultRule("lost_before"),))
    assert harmed(visitor, 2, "GET", WIDGET) == [False, False]
    visitor.world.plan_faults([FaultRule("lost_before", methods=())])
    assert harmed(visitor, 2, "GET", WIDGET) == [True, True]


@pytest.mark.parametrize("repo", ["acme/widget", "ACME/widget", "4711"])
def test_one_repo_can_be_hit_by_slug_or_number(repo):
    visitor = Visitor(faults=(FaultRule("lost_before", repo=repo, methods=()),))
    assert harmed(visitor, 1) == [True]
    assert harmed(visitor, 1, "GET", "/repo/4711/requests") == [True]
    assert harmed(visitor, 1, path="/repo/acme%2Fsvc-001/requests") == [False]
    assert harmed(visitor, 1, "GET", "/user") == [False]


def test_builds_of_a_repo_are_hit_with_it():
    visitor = Visitor()
    visitor.create()
    visitor.later(2).world.plan_faults([FaultRule("lost_before", repo="acme/widget")])
    assert harmed(visitor, 1, path="/build/555001/cancel") == [True]
    assert harmed(visitor, 1, path="/build/1/cancel") == [False]


def test_an_outage_has_a_beginning_and_an_end():
    visitor = Visitor(faults=(FaultRule("never_left", methods=(), between=(60.0, 120.0)),))
    hit = [harmed(visitor, 1, "GET", WIDGET)[0] for _ in range(5) if visitor.later(30)]
    assert hit == [False, True, True, False, False]


def test_a_share_is_drawn_from_the_seed():
    def drawn(seed):
        return harmed(Visitor(seed, hourly=5000, burst=None, faults=(FaultRule("lost_after", share=0.3),)), 1000)

    assert drawn(1) == drawn(1) != drawn(2)
    assert 230 < sum(drawn(1)) < 370


def test_the_first_rule_that_fits_wins_and_faults_are_counted():
    visitor = Visitor(faults=(FaultRule("lost_before", nth=(1,)), FaultRule("error_after")))
    visitor.call("POST", f"{WIDGET}/requests")
    assert visitor.call("POST", f"{WIDGET}/requests").status == 500
    assert visitor.world.counters.faults == {"lost_before": 1, "error_after": 1}
    assert len(visitor.world.counters.posts) == 1  # what was lost before was never seen


def test_a_lost_call_counts_against_the_ban_only_when_it_arrived():
    visitor = Visitor(faults=(FaultRule("lost_before", nth=tuple(range(1, 101))),))
    harmed(visitor, 100)
    assert visitor.call("POST", f"{WIDGET}/requests").status == 202
