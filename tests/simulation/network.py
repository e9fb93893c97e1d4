"""Calls that travel by themselves: what has left arrives, whether or not its sender still lives. Logs them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from urllib.parse import unquote_plus, urlsplit

import anyio

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, Unreachable
from orchestrator.lookalike.kit import answer_of
from orchestrator.lookalike.kit.counters import marker_in
from orchestrator.lookalike.kit.http import Effect, Harm, Incoming

from .kernel import Kernel, Process
from .kinds import Site
from .schedule import PATIENCE
from .twist import Mixed, Twist
from .world import World

SAYS = re.compile(r"[\w-]+ says so")  # what a target says wherever it is triggered


@dataclass(slots=True)
class Sent:
    """One call.

    Args:
        world: which service it went to.
        said: the text of the target that it triggers, empty where it triggers nothing; `marker` as it travelled.
        purpose, limits, repo: as the call has them.
        order: of all calls and entries of the journal, and the call's own id.
        left: when it left, `arrived` when the service had it (None: it never did), `answered` when its sender knew.
        status: what the service answered, 0 where no answer came.
        refused: whether the service refused the trigger for good.
        limited: whether the service refused it because of a limit.
        fault: what went wrong on purpose.
    """

    process: Process
    account: str
    world: str
    method: str
    path: str
    left: float
    said: str = ""
    marker: str = ""
    purpose: str = ""
    limits: tuple[str, ...] = ()
    repo: str | None = None
    order: int = 0
    arrived: float | None = None
    answered: float | None = None
    status: int = 0
    is_ban: bool = False
    refused: bool = False
    limited: bool = False
    fault: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether its sender waited for the answer."""
        return self.status > 0 and self.answered is not None and self.answered - self.left < PATIENCE

    @property
    def tag(self) -> str:
        """What it says with its marker."""
        return f"{self.said} {self.marker}".rstrip()

    @property
    def run(self) -> str:
        """Whose process sent it."""
        return self.process.name.partition("/")[0]


class Network:
    """The way to the services.

    Args:
        sites: the accounts, and `worlds`, the services that they are on, by name.
        twist: tells when the service stalls, and which answers belong to another question.
    """

    def __init__(
        self, kernel: Kernel, sites: Mapping[str, Site], worlds: Mapping[str, World], random: Random, twist: Twist
    ) -> None:
        self.log: list[Sent] = []
        self.sites = sites
        self._kernel = kernel
        self._worlds = worlds
        self._random = random
        self._stalls = [(began, began + seconds) for began, seconds in twist.stalls]
        self._mixed = twist.mixed
        self._receipts: dict[str, tuple[str, Answer]] = {}  # the last one of each account, and whose it is

    def line(self, process: Process, account: str, token: str | None = None) -> Send:
        """The transport of a process for an account; `token` in place of the account's own."""
        site = self.sites[account]
        headers = self.headers(site, token or site.token)

        async def send(call: Call) -> Answer:
            sent = self.sent(process, account, call)
            self.log.append(sent)
            back, box = anyio.Event(), list[Answer | Exception]()

            def deliver() -> None:
                sent.answered = self._kernel.time
                back.set()

            self.travel(sent, call, headers, box, deliver)
            await back.wait()
            if isinstance(box[0], Exception):
                raise box[0]
            return box[0]

        return send

    def headers(self, site: Site, token: str) -> dict[str, str]:
        """What goes with each call to an account's service."""
        usual = {"accept": "application/json", "user-agent": "simulation", "host": urlsplit(site.url).netloc}
        return {**self._worlds[site.world].like.headers(token), **usual}

    def sent(self, process: Process, account: str, call: Call) -> Sent:
        """A call that leaves now."""
        said, marker = _said(call) if call.purpose == "trigger" else ("", "")
        return Sent(
            process, account, self.sites[account].world, call.method, call.path, self._kernel.time, said, marker,
            call.purpose, call.limits, call.repo, self._kernel.ticket(),
        )  # fmt: skip

    def travel(
        self,
        sent: Sent,
        call: Call,
        headers: Mapping[str, str],
        box: list[Answer | Exception],
        deliver: Callable[[], None],
    ) -> None:
        """Lets a call leave; the answer, or what the client sees instead, is in the box when it is delivered."""
        settings = self._worlds[sent.world].settings
        there = self._random.uniform(*settings.latency) / 2
        gives_up = sent.left + settings.patience

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
            seen, when = self._at_the_service(sent, call, headers)
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

    def _at_the_service(self, sent: Sent, call: Call, headers: Mapping[str, str]) -> tuple[Answer | Exception, float]:
        world, now = self._worlds[sent.world], self._kernel.time
        faults = dict(world.counters.faults)
        reply = world.handle(incoming(world, call, {**headers, "x-request-id": str(sent.order)}))
        sent.fault = next((name for name, n in world.counters.faults.items() if n != faults.get(name)), "")
        harm = None if reply.effect is None else reply.effect.harm
        if harm is Harm.NEVER_LEFT:
            return Unreachable("connection refused"), now
        sent.arrived, sent.status = now, reply.status
        answer = answer_of(reply)
        sent.limited = world.kind.is_limit(world.reason)
        sent.is_ban = answer.status == 403 and answer.body == "Forbidden\n" and harm is None
        is_refusal = 400 <= answer.status < 500 and answer.status not in (408, 429) and not sent.limited
        sent.refused = is_refusal and harm in (None, Harm.SLOW)
        if self._mixed is not None and sent.said and 200 <= answer.status < 300 and harm is None and world.kind.echoes:
            answer = self._mix(sent, answer, self._mixed)
        return _suffered(reply.effect, answer, now, world.settings.patience)

    def _mix(self, sent: Sent, own: Answer, mixed: Mixed) -> Answer:
        """The receipt of another question, as long as a marker tells which one: an answer that nobody asked for."""
        tag, other = self._receipts.get(sent.account, (sent.tag, own))
        if sent.marker or self._worlds[sent.world].kind.echoes_messages:
            self._receipts[sent.account] = sent.tag, own
        if tag == sent.tag or not sent.marker or self._kernel.time > mixed.until:
            return own
        if self._random.random() >= mixed.share:
            return own
        sent.fault = f"answered with the receipt of {tag}"
        return other


def incoming(world: World, call: Call, headers: Mapping[str, str]) -> Incoming:
    """A call as a service gets it."""
    kind, body = call.content
    path = call.path if call.beside else world.settings.prefix + call.path
    more = {} if call.etag is None else {"if-none-match": call.etag}
    more |= {"content-type": kind, **{name.lower(): value for name, value in call.headers.items()}}
    return Incoming(call.method, path, call.query, {**headers, **more}, body)


def _said(call: Call) -> tuple[str, str]:
    """What a trigger says, and its marker."""
    text = unquote_plus(call.content[1].decode()) if call.form else call.content[1].decode()
    found = SAYS.search(text)
    return ("", "") if found is None else (found.group(), marker_in(text) or "")


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
