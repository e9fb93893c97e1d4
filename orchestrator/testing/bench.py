"""A provider over its look-alike in memory, with a line between them that loses, delays and rewrites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, NotTriggered
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, Interval, Json, Learnt, Request, Target, Trigger, marker_of
from orchestrator.lookalike.kit import LookAlike
from orchestrator.providers import registry
from orchestrator.providers.port import Declaration, Followed, Observation, Prepares, Provider

SECRET = "contract-s3cret"  # noqa: S105  # what references to secrets stand for; opens nothing
ROUNDS = 200  # polls after which a build should have come as far as is waited for


class Service(ABC):
    """A look-alike in memory and its provider, as the contract drives them; each test gets a new one.

    Attributes:
        account: one whose URL need not lead anywhere.
        step: seconds after which a poll may show something new.
        empty_receipts: statuses of receipts that have no body: they tell no id.
        echoes: whether a receipt shows what was asked: its marker, repository or branch.
        selects: whether a lookup shows only what carries the marker, so that no row need show it.
        missing: a repository that the service does not have.
        owner: whose repositories, `repos`, fill more than one page; for a provider that discovers.
        failing: a repository whose builds fail, with a log; for a provider that shows logs, or starts builds again.
        branched: a repository, and `branches`, its branches; for a provider that lists them.
        renamed: the old and the present name of a repository; for a service that answers to old names.
        refusals: answers to a trigger in the service's own words; the error that each must be, and its scope.
        taught: answers to a trigger, and what each teaches about limits.
    """

    declaration: Declaration
    account: Account
    step: float = 5.0
    empty_receipts: Collection[int] = ()
    echoes: bool = True
    selects: bool = False
    missing: str = "nobody/there-is-none"
    owner: str = ""
    repos: Collection[str] = ()
    failing: str = ""
    branched: str = ""
    branches: Collection[str] = ()
    renamed: tuple[str, str] = ("", "")
    refusals: Sequence[tuple[Answer, type[NotTriggered], str]] = ()
    taught: Sequence[tuple[Answer, Learnt]] = ()

    @abstractmethod
    async def send(self, call: Call) -> Answer:
        """Answers a call that carries a good token, without a fault."""

    @abstractmethod
    def now(self) -> float:
        """The service's clock."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Lets time pass."""

    @abstractmethod
    def target(self) -> Target:
        """A target of a repository that no other target has; its build starts and ends by itself."""

    @abstractmethod
    def accepted(self, target: Target) -> int:
        """How many triggers the service has taken for the target's repository."""

    def in_state(self, body: Json, native: str) -> Json:
        """The body of an answer to a call that reads, with all that it shows in this native state."""
        return reworded(body, self.declaration.states.__contains__, native)

    def provider(self, send: Send) -> Provider:
        """The provider over a way to send."""
        made: Provider = registry.load(self.declaration.factory)(self.account, send, lambda reference: SECRET)
        return made


class LookAlikeService(Service):
    """A look-alike of the kit, its clock in the hands of the contract.

    Args:
        repos: names that it knows, `owner/name`; each is one target, its branch `main`.
    """

    def __init__(self, look_alike: LookAlike, repos: Iterable[str]) -> None:
        self.look_alike = look_alike
        self._at = 1_767_574_800.0
        self._send = look_alike.send(self.now, _no_time, Random(0))  # noqa: S311  # latency, not secrets
        self._repos = iter(repos)

    @override
    async def send(self, call: Call) -> Answer:
        answer = await self._send(call)
        is_followed = call.moves or (call.method == "GET" and call.repo is not None)
        if answer.status not in ((301, 307, 308) if is_followed else (307, 308)):
            return answer
        there = urlsplit(answer.headers.get("location", ""))  # as the transport follows it
        moved = replace(call, path=there.path, query=tuple(parse_qsl(there.query)), beside=True)
        return replace(await self._send(moved), is_moved=True)

    @override
    def now(self) -> float:
        return self._at

    @override
    def wait(self, seconds: float) -> None:
        self._at += seconds
        self.look_alike.advance(self._at)

    @override
    def target(self) -> Target:
        repo, name = next(self._repos), self.account.name
        return Target(f"{name}:{repo}@main", name, repo, "main")

    @override
    def accepted(self, target: Target) -> int:
        return self.look_alike.counters.by_repo()[target.repo]


async def _no_time(seconds: float) -> None:
    """What the look-alike waits for the network."""


class Bench:
    """A service and its provider.

    Attributes:
        calls: what the provider sent.
        last: the service's last answer.
        fault: what becomes of triggers: `lost_before`, `lost_after` or `late`.
        instead: what every call is answered, or fails with, in place of the service.
        rewrite: changes the bodies of answers to calls that read, and `size`, how long they are said to be.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.declaration = service.declaration
        self.provider = service.provider(self._send)
        self.calls: list[Call] = []
        self.last = Answer(0)
        self.fault = ""
        self.instead: Answer | Exception | None = None
        self.rewrite: Callable[[Json], Json] = lambda body: body
        self.size = 0
        self._late: list[Call] = []

    async def _send(self, call: Call) -> Answer:
        self.calls.append(call)
        if isinstance(self.instead, Exception):
            raise self.instead
        if self.instead is not None:
            return self.instead
        fault = self.fault if call.purpose == "trigger" else ""
        if fault in ("late", "lost_before"):
            self._late += [call] * (fault == "late")
            raise InDoubt("lost by the contract")
        self.last = await self.service.send(call)
        if fault == "lost_after":
            raise InDoubt("lost by the contract")
        return self.last if call.changes else replace(self.last, body=self.rewrite(self.last.body), size=self.size)

    async def deliver(self) -> None:
        """Hands late triggers to the service after all."""
        for call in self._late:
            await self.service.send(call)

    async def outcome(self, instead: Answer | Exception, ask: Callable[[], Any]) -> Any:
        """What comes of a question when every call ends so: a value, or the error."""
        self.instead = instead
        try:
            return await ask()
        except Exception as error:  # which of them it may be, the caller says
            return error
        finally:
            self.instead = None

    async def wish(self, repo: str = "") -> Trigger:
        """A trigger that is ready to be sent, for this repository where one is named."""
        target = self.service.target()
        target = replace(target, id=f"{target.account}:{repo}", repo=repo) if repo else target
        prepared = await self.provider.prepare(target) if isinstance(self.provider, Prepares) else None
        return Trigger(target, 1, marker_of("contract", "run", target.id), "contract", prepared)

    async def lose(self, fault: str) -> tuple[Trigger, Interval]:
        """A trigger whose answer was lost, and when it may have been asked."""
        trigger, began = await self.wish(), self.service.now()
        self.fault = fault
        try:
            await self.provider.trigger(trigger)
        except InDoubt:
            return trigger, Interval(began, self.service.now())
        finally:
            self.fault = ""
        raise AssertionError("a trigger whose answer was lost got a receipt")

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str] = ()) -> Request | InDoubt | None:
        """What can be found once the service must show it; the doubt where it stays."""
        self.service.wait(max(self.declaration.settle, self.service.step))
        try:
            return await self.provider.find(trigger, asked, known)
        except InDoubt as doubt:
            return doubt

    async def follow(self, repo: str = "") -> Followed:
        """Triggers, and follows what comes of it."""
        trigger = await self.wish(repo)
        request = await self.provider.trigger(trigger)
        return Followed(trigger.target, request, trigger.marker, None, self.service.now())

    async def poll(self, one: Followed, fresh: bool = True) -> Observation:
        """What a poll shows of one."""
        found = await self.provider.poll([replace(one, fresh=fresh)])
        return found.get(one.target.id, Observation())

    async def until(self, one: Followed, is_reached: Callable[[Build], bool]) -> tuple[Followed, list[Build]]:
        """Polls until the build is as wanted; also returns how it changed."""
        seen: list[Build] = []
        for polls in range(ROUNDS):
            observed = await self.poll(replace(one, polls=polls), fresh=False)
            one = replace(one, request=observed.request or one.request)
            if observed.builds:
                one = replace(one, build=observed.builds[0])
                seen.append(observed.builds[0])
                if is_reached(observed.builds[0]):
                    return one, seen
            self.service.wait(self.service.step)
        raise AssertionError(f"after {ROUNDS} polls the build is {one.build}")


def listed(body: Json, times: int) -> Json:
    """The value with everything in its listings so many times."""
    if isinstance(body, dict):
        return {key: listed(value, times) for key, value in body.items()}
    if isinstance(body, list) and all(isinstance(value, dict) for value in body):
        return [listed(value, times) for value in body] * times
    return body


def reworded(body: Json, is_meant: Callable[[str], bool], word: str | None) -> Json:
    """The value with one word in place of those that are meant."""
    if isinstance(body, dict):
        return {key: reworded(value, is_meant, word) for key, value in body.items()}
    if isinstance(body, list):
        return [reworded(value, is_meant, word) for value in body]
    return word if isinstance(body, str) and is_meant(body) else body
