"""A world behind real sockets."""

import asyncio
import io
import json
import socket
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from sandbox_visitor import HEADERS
from yarl import URL

from orchestrator.core.calls import is_loopback
from orchestrator.core.errors import UsageError
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, numbered

pytestmark = pytest.mark.anyio
CREATE = "/repo/acme%2Fwidget/requests"


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Site:
    def __init__(self, world, served, session):
        self.world, self.served, self.session = world, served, session

    async def ask(self, method, path, headers=HEADERS, **more):
        url = URL(self.served.url + path, encoded=True)
        async with self.session.request(method, url, headers=headers, allow_redirects=False, **more) as response:
            return response.status, await response.text(), response.headers

    async def own(self, method, page, **more):
        async with self.session.request(method, f"{self.served.url}/sandbox/{page}", **more) as response:
            return response.status, await response.json()


@asynccontextmanager
async def site(*faults, **settings):
    settings.setdefault("repos", (RepoSpec("acme/widget"), *numbered(150)))
    world = TravisLookAlike(Settings(faults=faults, seed=1, **settings))
    async with serve(world) as served, aiohttp.ClientSession() as session:
        yield Site(world, served, session)


async def test_a_slug_keeps_its_encoded_slash_over_the_wire():
    async with site() as here:
        status, body, headers = await here.ask("POST", CREATE, json={"request": {"message": "m"}})
        assert (status, json.loads(body)["request"]["id"], headers["X-Endpoint"]) == (
            202,
            31337,
            "Travis::API::V3::Services::Requests::Create",
        )
        assert (await here.ask("GET", "/repo/acme/widget"))[0] == 404


async def test_queries_are_decoded_and_large_answers_are_packed_for_those_who_can_read_that():
    async with site() as here:
        status, body, headers = await here.ask("GET", "/owner/acme/repos?limit=2&name_filter=svc%2D0")
        assert (status, len(json.loads(body)["repositories"])) == (200, 2)
        assert headers["Content-Encoding"] == "gzip"
        status, _, headers = await here.ask("GET", "/owner/acme/repos", {**HEADERS, "accept-encoding": "identity"})
        assert "Content-Encoding" not in headers


async def test_a_connection_is_used_again():
    async with site() as here:
        for _ in range(3):
            assert (await here.ask("GET", "/user"))[0] == 200
        assert here.world.counters.statuses == {"200": 3}


@pytest.mark.parametrize(
    ("kind", "error", "accepted"),
    [
        ("never_left", aiohttp.ClientOSError, 0),
        ("lost_before", aiohttp.ClientOSError, 0),
        ("lost_after", aiohttp.ClientOSError, 1),
        ("torn", aiohttp.ClientPayloadError, 1),
        ("timeout_before", TimeoutError, 0),
        ("timeout_after", TimeoutError, 1),
    ],
)
async def test_a_connection_dies_for_real(kind, error, accepted):
    async with site(FaultRule(kind, nth=(1,))) as here:
        with pytest.raises(error):
            await here.ask("POST", CREATE, timeout=aiohttp.ClientTimeout(total=0.2))
        assert len(here.world.counters.accepted) == accepted
        assert (await here.ask("POST", CREATE))[0] == 202


@pytest.mark.parametrize(
    ("kind", "status", "type_"),
    [("html", 502, "text/html"), ("error_after", 500, "text/plain"), ("portal", 200, "text/html")],
)
async def test_foreign_answers_arrive_whole(kind, status, type_):
    async with site(FaultRule(kind)) as here:
        found, _, headers = await here.ask("POST", CREATE)
        assert (found, headers["Content-Type"]) == (status, type_)


async def test_a_garbled_answer_is_whole_http_and_half_json():
    async with site(FaultRule("garbled")) as here:
        status, body, headers = await here.ask("POST", CREATE)
        assert (status, len(body)) == (202, int(headers["Content-Length"]))
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)


async def test_a_slow_answer_and_latency_take_their_time():
    async with site(FaultRule("slow", seconds=0.05), latency=(0.02, 0.02)) as here:
        start = time.monotonic()
        assert (await here.ask("POST", CREATE))[0] == 202
        assert time.monotonic() - start >= 0.07


async def test_the_plan_of_faults_can_be_changed_from_outside():
    async with site() as here:
        assert await here.own("POST", "faults", json={"faults": [{"kind": "html", "share": "100%"}]}) == (
            200,
            {"faults": 1},
        )
        assert (await here.ask("POST", CREATE))[0] == 502
        assert await here.own("POST", "faults", json={"faults": []}) == (200, {"faults": 0})
        assert (await here.ask("POST", CREATE))[0] == 202


@pytest.mark.parametrize("body", ['{"faults": [{"kind": "torm"}]}', "{", '{"faults": 3}', "7"])
async def test_a_plan_of_faults_that_cannot_be_read_is_refused(body):
    async with site() as here:
        status, found = await here.own("POST", "faults", data=body)
        assert status == 400
        assert found["error"]


async def test_stats_and_requests_tell_what_arrived():
    async with site() as here:
        await here.ask("POST", CREATE, json={"request": {"branch": "main", "message": "m [run.abcdefgh]"}})
        await here.ask("POST", CREATE, json={"request": {"branch": "main", "message": "m [run.abcdefgh]"}})
        _, found = await here.own("GET", "stats")
        assert (found["requests"], found["posts"], found["bans"]) == (2, 2, 0)
        assert found["by_marker"] == found["duplicates"] == {"[run.abcdefgh]": 2}
        _, rows = await here.own("GET", "requests")
        assert [(row["id"], row["repo"], row["branch"]) for row in rows] == [
            (31337, "acme/widget", "main"),
            (31338, "acme/widget", "main"),
        ]
        assert (await here.own("GET", "nothing"))[0] == 404


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_its_own_pages_are_found_below_the_url_that_it_tells(prefix):
    async with site(prefix=prefix) as here:
        assert (await here.own("GET", "stats"))[0] == 200
        assert here.world.counters.statuses == {}


async def test_a_body_without_end_is_refused():
    async with site() as here:
        status, _, _ = await here.ask("POST", CREATE, data=io.BytesIO(bytes(4 * 1024 * 1024 + 1)))
        assert status == 413


async def test_it_listens_on_the_address_that_it_tells_and_below_its_prefix():
    world = TravisLookAlike(Settings(repos=numbered(1), prefix="/api"))
    async with serve(world, now=lambda: 1_800_000_000.0) as served:
        assert served.url.startswith("http://127.0.0.1:")
        assert served.url.endswith("/api")
        assert served.token == "sandbox-token"
        async with aiohttp.ClientSession() as session, session.get(f"{served.url}/user", headers=HEADERS) as response:
            assert (response.status, response.headers["Date"]) == (200, "Fri, 15 Jan 2027 08:00:00 GMT")
    with pytest.raises(OSError, match=r".+"):
        socket.create_connection(("127.0.0.1", int(URL(served.url).port)), timeout=1)


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", "192.168.1.1", "::"])
async def test_it_serves_loopback_only(host):
    assert not is_loopback(host)
    with pytest.raises(UsageError, match="loopback only"):
        async with serve(TravisLookAlike(Settings()), host=host):
            pass


async def test_a_port_that_is_taken_is_a_clear_error():
    async with serve(TravisLookAlike(Settings())) as served:
        port = URL(served.url).port
        with pytest.raises(UsageError, match=f"cannot serve on 127.0.0.1:{port}"):
            async with serve(TravisLookAlike(Settings()), port=port):
                pass


async def test_it_ends_while_calls_hang():
    arrived, start = asyncio.Event(), time.monotonic()

    def now():
        arrived.set()
        return time.time()

    world = TravisLookAlike(Settings(repos=numbered(1), faults=(FaultRule("timeout_before"),)))
    async with aiohttp.ClientSession() as session:
        async with serve(world, now=now) as served:
            hanging = asyncio.create_task(session.post(f"{served.url}/repo/4711/requests", headers=HEADERS))
            await arrived.wait()
        with pytest.raises(aiohttp.ClientError):
            await hanging
    assert time.monotonic() - start < 5


async def test_many_clients_at_once_are_each_served_once():
    async with site(burst=None, hourly=1000) as here:
        answers = await asyncio.gather(*(here.ask("POST", CREATE) for _ in range(200)))
        assert {status for status, _, _ in answers} == {202}
        assert len({json.loads(body)["request"]["id"] for _, body, _ in answers}) == 200
