"""Calls that travel by themselves: what has left arrives, whether or not its sender still lives. Logs them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import anyio

from orchestrator.errors import InDoubt, Unreachable
from orchestrator.provider import Answer, Call, Send
from orchestrator.sandbox.memory import read
from orchestrator.sandbox.reply import Effect, Harm
from orchestrator.sandbox.world import World

from .kernel import Kernel, Process

TOKENS = {"travis": "sandbox-token", "other": "other-token", "stranger": "stranger-token"}


@dataclass(slots=True)
class Sent:
    """One call.

    Args:
        tag: the message of the target that it is for, empty where it triggers nothing.
        order: of all calls and entries of the journal.
        left: when it left, `arrived` when the service had it (None: it never did), `answered` when its sender knew.
        at_service: when it arrived, by the service's clock.
        status: what the service answered, 0 where no answer came.
        refused: whether the service refused the trigger for good.
        request: the id of the request that it made, once it made one.
        fault: what went wrong on purpose.
    """

    process: Process
    account: str
    method: str
    path: str
    tag: str
    left: float
    order: int = 0
    arrived: float | None = None
    at_service: float = 0.0
    answered: float | None = None
    status: int = 0
    is_ban: bool = False
    refused: bool = False
    request: int | None = None
    fault: str = ""


class Network:
    """The way to the service.

    Args:
        world: the service.
        time: its clock: kernel time in wall seconds; the world adds its own skew.
    """

    def __init__(self, kernel: Kernel, world: World, time: Callable[[], float], random: Random) -> None:
        self.log: list[Sent] = []
        self._kernel = kernel
        self._world = world
        self._time = time
        self._random = random

    def line(self, process: Process, account: str) -> Send:
        """The transport of a process for an account."""

        async def send(call: Call) -> Answer:
            body = b"" if call.body is None else json.dumps(call.body).encode()
            sent = Sent(process, account, call.method, call.path, _tag(call), self._kernel.time, self._kernel.ticket())
            self.log.append(sent)
            back, box = anyio.Event(), list[Answer | Exception]()

            def deliver() -> None:
                sent.answered = self._kernel.time
                back.set()

            self.travel(sent, call, body, box, deliver)
            await back.wait()
            if isinstance(box[0], Exception):
                raise box[0]
            return box[0]

        return send

    def travel(
        self, sent: Sent, call: Call, body: bytes, box: list[Answer | Exception], deliver: Callable[[], None]
    ) -> None:
        """Lets a call leave; the answer, or what the client sees instead, is in the box when it is delivered."""
        there = self._random.uniform(*self._world.settings.latency) / 2
        gives_up = sent.left + self._world.settings.patience

        def arrive() -> None:
            seen, when = self._at_the_service(sent, call, body)
            when += there
            if when > gives_up:
                seen, when = InDoubt("no answer in time"), gives_up
            box.append(seen)
            self._kernel.at(when, deliver)

        self._kernel.at(sent.left + there, arrive)

    def _at_the_service(self, sent: Sent, call: Call, body: bytes) -> tuple[Answer | Exception, float]:
        world, now = self._world, self._kernel.time
        accepted, faults = len(world.counts.accepted), dict(world.counts.faults)
        headers = {
            "authorization": f"token {TOKENS[sent.account]}",
            "travis-api-version": "3",
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "simulation",
        }
        reply = world.handle(call.method, call.path, call.query, headers, body, self._time())
        sent.fault = next((name for name, n in world.counts.faults.items() if n != faults.get(name)), "")
        harm = None if reply.effect is None else reply.effect.harm
        if harm is Harm.NEVER_LEFT:
            return Unreachable("connection refused"), now
        sent.arrived, sent.at_service, sent.status = now, self._time(), reply.status
        for request in world.counts.accepted[accepted:]:
            if sent.tag and request.said == sent.tag:
                sent.request = request.id
        answer = read(reply)
        sent.is_ban = answer.status == 403 and answer.body == "Forbidden\n" and harm is None
        sent.refused = 400 <= answer.status < 500 and answer.status not in (408, 429) and harm in (None, Harm.SLOW)
        return _suffered(reply.effect, answer, now, world.settings.patience)


def _tag(call: Call) -> str:
    body = call.body
    if call.purpose != "trigger" or not isinstance(body, dict):
        return ""
    return str(body["request"].get("message", ""))


def _suffered(effect: Effect | None, answer: Answer, now: float, patience: float) -> tuple[Answer | Exception, float]:
    match None if effect is None else effect.harm:
        case Harm.RESET:
            return InDoubt("the connection was reset before the answer"), now
        case Harm.TORN:
            return InDoubt("the connection broke in the middle of the answer"), now
        case Harm.HANG:
            return InDoubt(f"no answer within {patience:g} s"), now + patience
        case Harm.SLOW:
            return answer, now + (effect.seconds if effect is not None else 0.0)
    return answer, now
