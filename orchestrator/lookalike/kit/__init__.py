"""What every look-alike needs, and nothing of any service. Here is their base: calls in, replies out, in virtual time.

`http` has one exchange as values and the table of routes, `faults` what goes wrong on purpose and the chance that
decides it, `counters` windows and bans, `settings` typed settings from plain values, `server` the way over sockets.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from random import Random
from time import gmtime, strftime
from typing import Any, ClassVar, Self

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, Unreachable
from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import Account, Json, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit.counters import Bans, Counters, worst_window
from orchestrator.lookalike.kit.faults import Chance, FaultRule, Faults, Kind
from orchestrator.lookalike.kit.http import Effect, Harm, Incoming, Object, Refused, Reply
from orchestrator.lookalike.kit.settings import Duration, Prefix, Range, Scale


class CommonSettings(Struct, frozen=True, kw_only=True):
    """What can be set for every look-alike (docs/sandbox.md). Durations are seconds, ranges are (least, most)."""

    token: str = "sandbox-token"  # noqa: S105 - opens nothing but this look-alike
    login: str = "sandbox"
    others: Mapping[str, str] = field(default_factory=dict)
    latency: Range = (0.0, 0.0)
    lag: Range = (0.0, 0.0)
    skew: Duration = 0.0
    prefix: Prefix = ""
    faults: tuple[FaultRule, ...] = ()
    time_scale: Scale = 1.0
    patience: Duration = 30.0
    seed: int = 0
    rehearsal: Rehearsal = NOTHING_SAID


class EventQueue:
    """What is due at which time. Nothing runs in the background: it is done when the next call comes."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = count()

    def add(self, at: float, action: Callable[..., object], *arguments: Any) -> None:
        """Calls `action(at, *arguments)` when that time has come."""
        heappush(self._due, (at, next(self._numbers), action, arguments))

    def advance(self, now: float) -> None:
        """Does everything that is due, in order."""
        while self._due and self._due[0][0] <= now:
            at, _, action, arguments = heappop(self._due)
            action(at, *arguments)

    def shift(self, by: float) -> None:
        """Moves everything, as when the clock is set."""
        self._due = [(at + by, *rest) for at, *rest in self._due]  # type: ignore[misc]  # mypy loses the tuple's length


class LookAlike(ABC):
    """One service with everything in it. A service's own class has `answer`, `repo_names` and the two ways to be made.

    Time is passed in as wall seconds and must not go back.

    Args:
        began: when it begins, for faults that hold for a while; the first call's time when None.
    """

    error_pages: ClassVar[Mapping[str, Reply]] = {}  # the service's own, by the kinds of faults that answer with them
    windows: tuple[float, float, float] = (60.0, 60.0, 3600.0)  # of the worst POSTs, calls, triggers of a repository

    def __init__(self, settings: CommonSettings, began: float | None = None) -> None:
        self.settings = settings
        self.chance = Chance(settings.seed)
        self.events = EventQueue()
        self.counters = Counters()
        self.bans = Bans()
        self._began = began
        self._faults = Faults(settings.faults, self.chance, self.error_pages)

    @classmethod
    @abstractmethod
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        """Made as a settings file says; raises `UsageError` as `settings.convert` does."""

    @classmethod
    @abstractmethod
    def for_plan(
        cls, targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID
    ) -> Self:
        """Made for a rehearsal: it knows all that the targets name, and allows all that the accounts' limits allow.

        It has a token and a user of its own, or limits that are remembered for one would slow down the next. Where the
        rehearsal says anything, nothing else goes wrong.
        """

    @abstractmethod
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        """The service's reply; an error may be raised as `Refused`.

        Args:
            now: by the server's clock.
            stuck: a trigger is to be accepted and written down, but never worked on.
        """

    @abstractmethod
    def repo_names(self, path: str) -> Collection[str]:
        """All names, in lower case, of the repository that a path is about; empty where it is about none."""

    def headers(self, token: str) -> Mapping[str, str]:
        """What a client sends with each call, names in lower case."""
        return {"authorization": f"Bearer {token}", "accept": "application/json"}

    def handle(self, call: Incoming, now: float) -> Reply:
        """The reply to one call, and in its `effect` what the transport is to do wrong with it."""
        now += self.settings.skew
        if self._began is None:
            self._began = now
        self.events.advance(now)
        if self._faults.rules:
            hit = self._faults.choose(call.method, now - self._began, lambda: self.repo_names(call.path))
            if hit is not None:
                return self._faulty(*hit, call, now)
        return self._serve(now, call)

    def advance(self, now: float) -> None:
        """Lets time pass without a call."""
        self.events.advance(now + self.settings.skew)

    def plan_faults(self, rules: Sequence[FaultRule]) -> None:
        """Replaces the plan of faults; counting starts again."""
        self._faults = Faults(rules, self.chance, self.error_pages)

    def stats(self) -> Object:
        """What it has seen. Times are the server's; `worst_*` is the most in any window, wherever it starts."""
        seen, (posts, calls, repo) = self.counters, self.windows
        return {
            "requests": len(seen.accepted),
            "posts": len(seen.posts),
            "calls": len(seen.calls),
            "statuses": dict(seen.statuses),
            "refusals": dict(seen.refusals),
            "faults": dict(seen.faults),
            "bans": self.bans.count,
            "worst_posts": worst_window(seen.posts, posts),
            "worst_calls": worst_window(seen.calls, calls),
            "worst_of_a_repo": seen.worst_of_a_repo(repo),
            "duplicates": seen.duplicates(),
            "by_repo": dict(seen.by_repo()),
            "by_marker": dict(seen.by_marker()),
        }

    def send(
        self,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        random: Random,
        token: str | None = None,
    ) -> Send:
        """A transport into it without sockets, which fails as a real one does; `token` is its own when None.

        Args:
            now, sleep: wall seconds and `anyio.sleep`, both of which may be virtual.
            random: draws the latency of each call; half of it passes before the call is handled.
        """
        settings = self.settings
        headers = self.headers(token or settings.token)

        async def send(call: Call) -> Answer:
            latency = random.uniform(*settings.latency)
            await sleep(latency / 2)
            kind, body = call.content
            path = call.path if call.beside else settings.prefix + call.path
            sent = headers if call.etag is None else {**headers, "if-none-match": call.etag}
            more = {"content-type": kind, **call.headers, **({} if call.sign is None else call.sign(body))}
            sent = {**sent, **{name.lower(): value for name, value in more.items()}}
            reply = self.handle(Incoming(call.method, path, call.query, sent, body), now())
            await sleep(latency / 2)
            if reply.effect is not None:
                await _suffer(reply.effect, sleep, settings.patience)
            return answer_of(reply)

        return send

    def _faulty(self, rule: FaultRule, kind: Kind, call: Incoming, now: float) -> Reply:
        self.counters.faults[rule.kind] += 1
        seconds = kind.seconds if rule.seconds is None else rule.seconds
        if kind.handled == "later":
            self.events.add(now + seconds, self._serve, call)
        is_handled = kind.handled in ("now", "stuck")
        return kind.spoil(self._serve(now, call, kind.handled == "stuck") if is_handled else None, seconds)

    def _serve(self, now: float, call: Incoming, stuck: bool = False) -> Reply:
        seen = self.counters
        seen.calls.append(now)
        if call.method == "POST":
            seen.posts.append(now)
        try:
            reply = self.answer(call, now, stuck)
        except Refused as error:
            seen.refusals[error.reason] += 1
            reply = error.reply
        seen.statuses[str(reply.status)] += 1
        reply.headers["Date"] = _date(int(now))
        return reply


def answer_of(reply: Reply) -> Answer:
    """The reply as a transport hands it on: a JSON value, or text."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    try:
        value: Json = json.loads(reply.body)
    except ValueError:
        value = reply.body.decode("utf-8", "replace")
    return Answer(reply.status, value, headers)


async def _suffer(effect: Effect, sleep: Callable[[float], Awaitable[None]], patience: float) -> None:
    """What the client sees of a fault, at the time when it sees it."""
    match effect.harm:
        case Harm.NEVER_LEFT:
            raise Unreachable("connection refused")
        case Harm.RESET:
            raise InDoubt("the connection was reset before the answer")
        case Harm.TORN:
            raise InDoubt("the connection broke in the middle of the answer")
        case Harm.SLOW if effect.seconds < patience:
            await sleep(effect.seconds)
        case Harm.HANG | Harm.SLOW:
            await sleep(patience)
            raise InDoubt(f"no answer within {patience:g} s")


@lru_cache(maxsize=64)
def _date(whole: int) -> str:
    return strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(whole))
