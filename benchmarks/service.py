"""A CI service in virtual time that remembers nothing, so that all memory measured is the orchestrator's own.

What became of a request follows from when it was made and from its number: a build appears, waits, runs and passes.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.model import Account, Build, BuildState, Interval, Limit, Request, Trigger
from orchestrator.providers.port import Declaration, Followed, Line, Observation

EPOCH = 1_767_571_200.0
LATENCY = 0.02  # seconds
APPEARS, STARTS, ENDS, SPREAD = 1.0, 20.0, 120.0, 60  # seconds after the request; the end is spread over as many more
CONNECTIONS = 100
LIMITS = (Limit("triggers", 10**7, 1.0), Limit("calls", 10**7, 1.0), Limit("triggers_per_repo", 10, 3600.0, "repo"))
FAKE = Declaration(
    type="fake",
    title="Fake",
    url="https://ci.invalid",
    hosts=frozenset({"ci.invalid"}),
    factory="",  # `line` makes the provider
    headers="",
    states={state.value: state for state in BuildState},
    limits=LIMITS,
    trigger_limits=tuple(limit.name for limit in LIMITS),
    accepted_limits=frozenset({"triggers_per_repo"}),
)


def now() -> float:
    """Virtual wall clock."""
    return EPOCH + anyio.current_time()


def account(name: str = "travis") -> Account:
    """The account on it; targets that manifests make are of an account `travis`."""
    return Account(name, "fake", FAKE.url, "env:TOKEN", limits=LIMITS, connections=CONNECTIONS)


@asynccontextmanager
async def line(to: Account) -> AsyncIterator[Line]:
    """The line to it."""
    ids = itertools.count(1)

    async def send(call: Call) -> Answer:
        await anyio.sleep(LATENCY)
        return Answer(202, next(ids)) if call.purpose == "trigger" else Answer(200)

    yield Line(to, FAKE, send, Provider, "hash")


class Provider:
    """Its provider."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def trigger(self, trigger: Trigger) -> Request:
        """Accepts everything; the handle tells when, since nobody else remembers."""
        call = Call("POST", "/", (), trigger.message, "trigger", FAKE.trigger_limits, trigger.target.repo)
        answer = await self._send(call)
        return Request(str(answer.body), {"v": 1, "at": now()})

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """No answer is ever lost here."""
        raise NotImplementedError

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """All of them in one call."""
        await self._send(Call("GET", "/builds", purpose="poll"))
        return {one.target.id: _sight(one.request, now()) for one in followed}


def _sight(request: Request, at: float) -> Observation:
    asked, number = float(request.handle["at"]), int(request.id)  # type: ignore[arg-type]  # we wrote it
    age, id_, url = at - asked, f"b{number}", f"{FAKE.url}/builds/{number}"
    ends = ENDS + number % SPREAD
    if age < APPEARS:
        return Observation()
    if age < STARTS:
        return Observation((Build(id_, BuildState.QUEUED, "queued", str(number), url),))
    if age < ends:
        return Observation((Build(id_, BuildState.RUNNING, "running", str(number), url, started_at=asked + STARTS),))
    passed = Build(
        id_, BuildState.PASSED, "passed", str(number), url, started_at=asked + STARTS, finished_at=asked + ends
    )
    return Observation((passed,))
