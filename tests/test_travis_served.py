"""From the registry over real sockets to the look-alike: what reaches a server, and what comes back."""

import json
from contextlib import asynccontextmanager

import pytest

from orchestrator import __version__
from orchestrator.core.errors import AccessRefused, InDoubt
from orchestrator.core.model import Account, BuildState, Interval, Target, Trigger, marker_of
from orchestrator.core.secrets import Secrets
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import Settings, numbered
from orchestrator.providers import registry
from orchestrator.providers.port import Followed

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Clock:
    """Wall seconds that move when a test says so."""

    now = 1767574800.0

    def __call__(self):
        return self.now


class Arrivals(TravisLookAlike):
    """A world that writes down what arrives."""

    heard = ()

    def handle(self, call, now):
        self.heard = (*self.heard, (call.method, call.path, call.headers, call.body))
        return super().handle(call, now)


@asynccontextmanager
async def connected(tmp_path, token="sandbox-token", **settings):
    """A provider over sockets, the world behind them, and its clock."""
    world, clock = Arrivals(Settings(**{"repos": numbered(150), "process": (1.0, 1.0), **settings})), Clock()
    secrets = Secrets({"TRAVIS_TOKEN": token}, home=tmp_path, cwd=tmp_path)
    async with (
        serve(world, now=clock) as served,
        registry.connect(Account("travis", "travis", served.url), secrets) as line,
    ):
        yield line.provider_over(line.send), world, clock


def wish(repo="acme/svc-001", **said):
    target = Target(f"travis:{repo}@main", "travis", repo, "main", request=said)
    return Trigger(target, 1, marker_of("nightly", "run", target.id), "nightly")


async def test_a_trigger_carries_exactly_the_headers_and_the_body_that_travis_wants(tmp_path):
    async with connected(tmp_path, prefix="/api") as (provider, world, _):
        asked = wish(env={"GREETING": 'it\'s "$HOME" 100% ü\n'}, merge_mode="deep_merge_append")
        await provider.trigger(asked)
        [(method, path, headers, body)] = world.heard
        assert (method, path) == ("POST", "/api/repo/acme%2Fsvc-001/requests")
        assert headers.pop("host").startswith("127.0.0.1:")
        assert headers == {
            "travis-api-version": "3",
            "authorization": "token sandbox-token",
            "accept": "application/json",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": f"batch-trigger-orchestrator/{__version__}",
            "accept-encoding": "gzip, deflate",
        }
        assert json.loads(body) == {
            "request": {
                "branch": "main",
                "message": f"nightly {asked.marker}",
                "config": {"env": {"global": ["GREETING='it'\"'\"'s \"$HOME\" 100% ü\n'"]}},
                "merge_mode": "deep_merge_append",
            }
        }


async def test_a_build_is_followed_to_its_end(tmp_path):
    async with connected(tmp_path, build=(60.0, 60.0)) as (provider, _, clock):
        asked = wish()
        request = await provider.trigger(asked)
        one = Followed(asked.target, request, asked.marker, None, since=clock.now)
        clock.now += 5.0
        assert (await provider.poll([one]))[one.target.id].builds[0].state is BuildState.RUNNING
        clock.now += 100.0
        observation = (await provider.poll([one]))[one.target.id]
        assert (observation.builds[0].state, observation.marked) == (BuildState.PASSED, True)


async def test_long_listings_arrive_packed_and_whole(tmp_path):
    async with connected(tmp_path) as (provider, _, _):
        assert len(await provider.discover("acme")) == 150


@pytest.mark.parametrize("kind", ["lost_after", "error_after", "html_after", "torn", "garbled"])
async def test_a_request_whose_answer_was_lost_on_the_wire_is_found_and_never_made_twice(tmp_path, kind):
    async with connected(tmp_path, faults=(FaultRule(kind, nth=(2,)),)) as (provider, world, clock):
        await provider.trigger(wish("acme/svc-002"))  # so that the next goes out on a connection that was used before
        with pytest.raises(InDoubt):
            await provider.trigger(wish())
        clock.now += 5.0
        found = await provider.find(wish(), Interval(clock.now - 5.0, clock.now), ())
        assert found.id == str(world.counters.accepted[1].id)
        assert len(world.counters.accepted) == 2


@pytest.mark.parametrize("kind", ["lost_before", "error_before", "html", "portal"])
async def test_a_call_that_was_lost_on_its_way_is_found_absent(tmp_path, kind):
    async with connected(tmp_path, faults=(FaultRule(kind, nth=(1,)),)) as (provider, world, clock):
        with pytest.raises(InDoubt):
            await provider.trigger(wish())
        assert await provider.find(wish(), Interval(clock.now, clock.now), ()) is None
        assert world.counters.accepted == []


async def test_a_wrong_token_is_told_as_such(tmp_path):
    async with connected(tmp_path, token="wrong") as (provider, _, _):
        with pytest.raises(AccessRefused) as caught:
            await provider.whoami()
        assert caught.value.code == "bad_token"


async def test_a_url_without_the_servers_prefix_is_told_as_such(tmp_path):
    async with connected(tmp_path, prefix="/api") as (_, world, _):
        secrets = Secrets({"TRAVIS_TOKEN": "sandbox-token"}, home=tmp_path, cwd=tmp_path)
        async with serve(world) as served:
            account = Account("travis", "travis", served.url.removesuffix("/api"))
            async with registry.connect(account, secrets) as line:
                with pytest.raises(AccessRefused) as caught:
                    await line.provider_over(line.send).whoami()
                assert caught.value.code == "not_the_provider"
