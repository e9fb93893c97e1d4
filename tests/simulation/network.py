"""Calls that travel by themselves: what has left arrives, whether or not its sender still lives. Logs them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import anyio

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, Unreachable
from orchestrator.lookalike.kit import answer_of
from orchestrator.lookalike.kit.http import Effect, Harm, Incoming

from .kernel import Kernel, Process
from .service import Service
from .twist import Mixed, Twist

TOKENS = {"travis": "sandbox-token", "other": "other-token", "stranger": "stranger-token"}


@dataclass(slots=True)
class Sent:
    """One call.

    Args:
        tag: the message of the target that it is for, empty where it triggers nothing.
        order: of all calls and entries of the journal, and the call's own id.
        left: when it left, `arrived` when the service had it (None: it never did), `answered` when its sender knew.
        status: what the service answered, 0 where no answer came.
        refused: whether the service refused the trigger for good.
        limited: whether the service refused it because of the limit of its repository.
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
    answered: float | None = None
    status: int = 0
    is_ban: bool = False
    refused: bool = False
    limited: bool = False
    fault: str = ""

    @property
    def run(self) -> str:
        """Whose process sent it."""
        return self.process.name.partition("/")[0]

    @property
    def said(self) -> str:
        """The message without the marker."""
        return self.tag.partition(" [")[0]

    @property
    def is_marked(self) -> bool:
        """Whether the message has a marker."""
        return " [" in self.tag


class Network:
    """The way to the service.

    Args:
        world: the service.
        twist: tells when the service stalls, and which answers belong to another question.
    """

    def __init__(self, kernel: Kernel, world: Service, random: Random, twist: Twist) -> None:
        self.log: list[Sent] = []
        self._kernel = kernel
        self._world = world
        self._random = random
        self._stalls = [(began, began + seconds) for began, seconds in twist.stalls]
        self._mixed = twist.mixed
        self._receipts: dict[str, tuple[str, Answer]] = {}  # the last one of each account, and whose it is

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

        def give_up() -> None:
            box.append(InDoubt("no answer in time"))
            deliver()

        def arrive() -> None:
            wait = self._stalled_for()
            if wait:
                self._kernel.at(self._kernel.time + wait, handle)
                if self._kernel.time + wait + there > gives_up:
                    self._kernel.at(gives_up, give_up)
            else:
                handle()

        def handle() -> None:
            seen, when = self._at_the_service(sent, call, body)
            when += there
            if when > gives_up:
                if self._kernel.time > gives_up:
                    sent.is_ban = False  # it was given up meanwhile, so nobody is told
                    return
                seen, when = InDoubt("no answer in time"), gives_up
            if not box:
                box.append(seen)
                self._kernel.at(when, deliver)

        self._kernel.at(sent.left + there, arrive)

    def _stalled_for(self) -> float:
        now = self._kernel.time
        return next((until - now for began, until in self._stalls if began <= now < until), 0.0)

    def _at_the_service(self, sent: Sent, call: Call, body: bytes) -> tuple[Answer | Exception, float]:
        world, now = self._world, self._kernel.time
        faults = dict(world.counters.faults)
        headers = {
            "authorization": f"token {TOKENS[sent.account]}",
            "travis-api-version": "3",
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "simulation",
            "x-request-id": str(sent.order),
        }
        reply = world.handle(Incoming(call.method, call.path, call.query, headers, body), world.now())
        sent.fault = next((name for name, n in world.counters.faults.items() if n != faults.get(name)), "")
        harm = None if reply.effect is None else reply.effect.harm
        if harm is Harm.NEVER_LEFT:
            return Unreachable("connection refused"), now
        sent.arrived, sent.status = now, reply.status
        answer = answer_of(reply)
        sent.is_ban = answer.status == 403 and answer.body == "Forbidden\n" and harm is None
        sent.refused = 400 <= answer.status < 500 and answer.status not in (408, 429) and harm in (None, Harm.SLOW)
        sent.limited = answer.status == 429 and isinstance(answer.body, dict)
        if self._mixed is not None and sent.tag and answer.status == 202 and harm is None:
            answer = self._mix(sent, answer, self._mixed)
        return _suffered(reply.effect, answer, now, world.settings.patience)

    def _mix(self, sent: Sent, own: Answer, mixed: Mixed) -> Answer:
        """The receipt of another question, as long as a marker tells which one: an answer that nobody asked for."""
        tag, other = self._receipts.get(sent.account, (sent.tag, own))
        self._receipts[sent.account] = sent.tag, own
        if tag == sent.tag or not sent.is_marked or self._kernel.time > mixed.until:
            return own
        if self._random.random() >= mixed.share:
            return own
        sent.fault = f"answered with the receipt of {tag}"
        return other


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
