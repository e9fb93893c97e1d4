"""The kit carries a look-alike of another service: routes, credentials, bodies, faults, windows, both transports."""

import ast
import json
from random import Random

import aiohttp
import anyio
import pytest

from orchestrator.core.calls import Call
from orchestrator.core.errors import InDoubt
from orchestrator.lookalike.kit import CommonSettings, LookAlike
from orchestrator.lookalike.kit.counters import SlidingWindow
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.http import NoRoute, Refused, Routes, credentials, json_reply, route
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.kit.settings import Count, Range, convert

pytestmark = pytest.mark.anyio
START = 1_800_000_000.0


@pytest.fixture
def anyio_backend():
    return "asyncio"


class HubSettings(CommonSettings, frozen=True, kw_only=True):
    runs: Range = (1.0, 1.0)
    hourly: Count = 2


class Run:
    def __init__(self, id_, repo, inputs, at):
        self.id, self.slug, self.inputs, self.created_at, self.status = id_, repo, inputs, at, "queued"

    @property
    def marked(self):
        return self.inputs.get("title")

    def as_json(self):
        return {"id": self.id, "repo": self.slug, "inputs": self.inputs, "status": self.status}


class Hub(LookAlike):
    """A service that answers with links, has folders, and a page for each repository."""

    def __init__(self, settings, began=None):
        super().__init__(settings, began)
        self.hour = SlidingWindow(3600.0)
        self.routes = Routes(self)
        self.windows = (60.0, 60.0, 3600.0)

    @classmethod
    def from_settings(cls, given):
        return cls(convert(HubSettings, given))

    @classmethod
    def for_plan(cls, targets, accounts):
        return cls(HubSettings())

    def answer(self, call, now, stuck):
        who = credentials(call.headers.get("authorization"))
        if who is None or who.secret != self.settings.token:
            raise Refused(json_reply(401, {"message": "Bad credentials"}), "bad_credentials")
        try:
            found, method, names = self.routes.find(call.method, call.path)
        except NoRoute as none:
            raise Refused(json_reply(405 if none.allowed else 404, {"message": "Not Found"}), "no_route") from None
        reply = json_reply(found.status, method(names, call, now, stuck))
        reply.headers["Link"] = '<https://hub.invalid/2>; rel="next"'
        return reply

    def repo_names(self, path):
        names = self.routes.names(path)
        return () if "repo" not in names else (f"{names['owner']}/{names['repo']}",)

    @route("POST /repos/{owner}/{repo}/dispatches", status=201)
    def dispatch(self, names, call, now, stuck):
        if self.hour.used(now) >= self.settings.hourly:
            raise Refused(json_reply(403, {"message": "API rate limit exceeded"}), "rate_limit")
        self.hour.add(now)
        run = Run(len(self.counters.accepted) + 1, f"{names['owner']}/{names['repo']}", json.loads(call.body), now)
        self.counters.accepted.append(run)
        if not stuck:
            self.events.add(now + self.chance.between(self.settings.runs, run.id), self.end, run)
        return {"id": run.id}

    @route("GET /repos/{owner}/{repo}/runs/{run:int}")
    def run(self, names, call, now, stuck):
        return self.counters.accepted[int(names["run"]) - 1].as_json()

    @route("GET /job/{folders...}/build")
    def folder(self, names, call, now, stuck):
        return {"folders": names["folders"]}

    def end(self, at, run):
        run.status = "completed"


DISPATCH = Call("POST", "/repos/acme/widget/dispatches", body={"title": "nightly [run.abcdefgh]"})
RUN = Call("GET", "/repos/acme/widget/runs/1")


def in_memory(**settings):
    hub = Hub(HubSettings(**settings))
    return hub, hub.send(lambda: START + anyio.current_time(), anyio.sleep, Random(1))


async def test_what_is_due_is_done_before_the_next_call():
    hub, times = Hub(HubSettings(runs=(5.0, 5.0))), [START]
    send = hub.send(lambda: times[-1], anyio.sleep, Random(1))
    first = await send(DISPATCH)
    assert (first.status, first.body, first.headers["link"]) == (201, {"id": 1}, '<https://hub.invalid/2>; rel="next"')
    assert (await send(RUN)).body["status"] == "queued"
    times.append(START + 6.0)
    assert (await send(RUN)).body["status"] == "completed"
    assert hub.stats()["by_marker"] == {"[run.abcdefgh]": 1}


async def test_the_services_own_errors_are_counted_by_reason():
    hub, send = in_memory()
    statuses = [(await send(DISPATCH)).status for _ in range(3)]
    stranger = hub.send(lambda: START, anyio.sleep, Random(1), token="nobody")
    assert [*statuses, (await stranger(RUN)).status] == [201, 201, 403, 401]
    assert [(await send(Call(method, "/repos/acme/widget/runs/1"))).status for method in ("PUT", "GET")] == [405, 200]
    assert (await send(Call("GET", "/repos/acme/widget/runs/last"))).status == 404
    assert hub.counters.refusals == {"rate_limit": 1, "bad_credentials": 1, "no_route": 2}


async def test_a_name_with_dots_stands_for_several_segments():
    _, send = in_memory()
    assert (await send(Call("GET", "/job/team/job/web%2Fapi/build"))).body == {"folders": "team/job/web%2Fapi"}


async def test_faults_hit_calls_about_a_repository_by_the_names_that_the_service_knows():
    hub, send = in_memory(faults=(FaultRule("lost_after", repo="acme/widget"),))
    with pytest.raises(InDoubt):
        await send(DISPATCH)
    assert (await send(Call("POST", "/repos/acme/other/dispatches", body={}))).status == 201
    assert (len(hub.counters.accepted), hub.counters.faults) == (2, {"lost_after": 1})


async def test_a_trigger_that_is_stuck_is_accepted_and_never_worked_on():
    hub, send = in_memory(faults=(FaultRule("error_stuck"),), runs=(0.0, 0.0))
    answer = await send(DISPATCH)
    assert (answer.status, answer.body) == (500, {"error": "Internal Server Error"})
    hub.advance(START + 1e6)
    assert hub.counters.accepted[0].status == "queued"


async def test_it_is_served_over_sockets_with_the_pages_of_the_sandbox():
    hub = Hub.from_settings({"token": "t", "hourly": 5, "faults": [{"kind": "html", "nth": 2}]})
    async with (
        serve(hub, now=lambda: START) as served,
        aiohttp.ClientSession(headers=hub.headers(served.token)) as http,
    ):
        for status in (201, 502, 201):
            async with http.post(f"{served.url}{DISPATCH.path}", json=DISPATCH.body) as response:
                assert response.status == status
        async with http.get(f"{served.url}/sandbox/requests") as response:
            assert [row["id"] for row in await response.json()] == [1, 2]
        async with http.get(f"{served.url}/sandbox/stats") as response:
            assert (await response.json())["statuses"] == {"201": 2}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("Bearer abc", ("Bearer", "", "abc")),
        ("token abc ", ("token", "", "abc")),
        ("Basic dTpw", ("Basic", "u", "p")),
        ("Basic !", ("Basic", "", "")),
    ],
)
def test_credentials_are_read_from_the_header(header, found):
    assert credentials(header) == found


def test_the_kit_knows_no_service(pytestconfig):
    kit = pytestconfig.rootpath / "orchestrator" / "lookalike" / "kit"
    for path in kit.glob("*.py"):
        imported = [
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        assert [name for name in imported if "travis" in name] == [], path.name
