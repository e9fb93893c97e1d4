"""The provider contract, as tests that anybody can run against a provider of their own.

    class TestMine(ProviderContract):
        @pytest.fixture
        def service(self):
            return MyService()

`MyService` is a `Service`, best a `LookAlikeService`: the provider's look-alike in memory. What a provider cannot do
(`Cancels`, `Discovers`, ...) is not asked of it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotTriggered, RateLimited, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, Interval, Json, Learnt, Request, Target, Trigger, marker_of
from orchestrator.lookalike.kit import LookAlike
from orchestrator.providers import registry
from orchestrator.providers.port import (
    Answer,
    Call,
    Cancels,
    Declaration,
    Discovers,
    Followed,
    Inspects,
    ListsBranches,
    Observation,
    Prepares,
    Provider,
    Restarts,
    SaysWho,
    ShowsLogs,
)

TOKEN = "contract-t0ken"  # noqa: S105  # opens nothing
SECRET = "contract-s3cret"  # noqa: S105  # opens nothing
UNKNOWN = "a-state-from-tomorrow"
ROUNDS = 200  # polls after which a build should have come as far as is waited for
PURPOSES = {"trigger", "find", "poll", "other"}

_DEEP: Any = {}
for _ in range(200):
    _DEEP = {"id": _DEEP, "message": [{}]}

# No receipt and no listing of any service, whatever the status says.
HOSTILE: tuple[Json, ...] = (
    *(None, "", "ok", "<!DOCTYPE html><html>Sign in</html>", "x" * 100_000, "\x1b[31m\u202e\r\n", 0, -1, 1.5, True),
    *([None], [[]], ["x"], [{}], {}, {"id": None}, {"id": -1}, {"id": True}, {"id": 2**70}, {"id": {}}, {"id": [1]}),
    *({"message": 7}, {"error": ["x"]}, {"state": "passed"}, {"errors": [{"message": "x" * 10_000}]}, _DEEP),
)


def _name(body: Json) -> str:
    return repr(body)[:30]


class Service(ABC):
    """A look-alike in memory and its provider, as the contract drives them; each test gets a new one.

    Attributes:
        account: one whose URL need not lead anywhere.
        step: seconds after which a poll may show something new.
        missing: a repository that the service does not have.
        owner: whose repositories fill more than one page, and `repos`, their names; for a provider that discovers.
        branched: a repository, and `branches`, its branches; for a provider that lists them.
        refusals: answers to a trigger in the service's own words; the error that each must be, and its scope.
        taught: answers to a trigger, and what each teaches about limits.
    """

    declaration: Declaration
    account: Account
    step: float = 5.0
    missing: str = "nobody/there-is-none"
    owner: str = ""
    repos: Collection[str] = ()
    branched: str = ""
    branches: Collection[str] = ()
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
        """A target of a repository that no other target has; its build starts and passes by itself."""

    @abstractmethod
    def accepted(self, target: Target) -> int:
        """How many triggers the service has taken for the target's repository."""

    def provider(self, send: Callable[[Call], Any], secrets: Callable[[str], str]) -> Provider:
        """The provider over a way to send."""
        made: Provider = registry.load(self.declaration.factory)(self.account, send, secrets)
        return made


class LookAlikeService(Service):
    """A look-alike of the kit, its clock in the hands of the contract; a subclass says which declaration it is for.

    Args:
        repos: names that it knows, `owner/name`; each is one target, its branch `main`.
    """

    def __init__(self, look_alike: LookAlike, repos: Iterable[str]) -> None:
        self.look_alike = look_alike
        self._at = 1_767_574_800.0
        self._send = look_alike.send(self.now, _no_time, Random(0))  # noqa: S311  # latency, not secrets
        self._repos = iter(repos)

    async def send(self, call: Call) -> Answer:
        return await self._send(call)

    def now(self) -> float:
        return self._at

    def wait(self, seconds: float) -> None:
        self._at += seconds
        self.look_alike.advance(self._at)

    def target(self) -> Target:
        repo, name = next(self._repos), self.account.name
        return Target(f"{name}:{repo}@main", name, repo, "main")

    def accepted(self, target: Target) -> int:
        return self.look_alike.counters.by_repo()[target.repo]


async def _no_time(seconds: float) -> None:
    """What the look-alike waits for the network."""


class Bench:
    """A provider and its service, with a line between them that can lose, delay and rewrite.

    Attributes:
        calls: what the provider sent.
        fault: what becomes of triggers: `lost_before`, `lost_after` or `late`.
        error: what every call fails with.
        answer: what every call is answered, in place of the service.
        rewrite: changes the bodies of answers to calls that read.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.declaration = service.declaration
        self.provider = service.provider(self._send, lambda reference: SECRET)
        self.calls: list[Call] = []
        self.fault = ""
        self.error: Exception | None = None
        self.answer: Answer | None = None
        self.rewrite: Callable[[Json], Json] = lambda body: body
        self._late: list[Call] = []

    async def _send(self, call: Call) -> Answer:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer
        fault = self.fault if call.purpose == "trigger" else ""
        if fault == "late":
            self._late.append(call)
        if fault in ("late", "lost_before"):
            raise InDoubt("lost by the contract")
        answer = await self.service.send(call)
        if fault == "lost_after":
            raise InDoubt("lost by the contract")
        return answer if call.method != "GET" else replace(answer, body=self.rewrite(answer.body))

    async def deliver(self) -> None:
        """Hands late triggers to the service after all."""
        for call in self._late:
            await self.service.send(call)

    async def wish(self, target: Target | None = None, attempt: int = 1) -> Trigger:
        """A trigger that is ready to be sent."""
        target = target or self.service.target()
        prepared = await self.provider.prepare(target) if isinstance(self.provider, Prepares) else None
        return Trigger(target, attempt, marker_of("contract", "run", target.id), "contract", prepared)

    async def lose(self, fault: str) -> tuple[Trigger, Interval]:
        """A trigger the answer to which was lost, and when it may have been asked."""
        trigger, began = await self.wish(), self.service.now()
        self.fault = fault
        with pytest.raises(InDoubt):
            await self.provider.trigger(trigger)
        self.fault = ""
        return trigger, Interval(began, self.service.now())

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str] = ()) -> Request | InDoubt | None:
        """What can be found once the answer is certain; the doubt where it stays."""
        self.service.wait(max(self.declaration.settle, self.service.step))
        try:
            return await self.provider.find(trigger, asked, known)
        except InDoubt as doubt:
            return doubt

    async def follow(self, target: Target | None = None) -> Followed:
        """Triggers, and follows what came of it."""
        trigger = await self.wish(target)
        request = await self.provider.trigger(trigger)
        return Followed(trigger.target, request, trigger.marker, None, self.service.now())

    async def poll(self, one: Followed, fresh: bool = False) -> Observation:
        """What a poll shows of one."""
        found = await self.provider.poll([replace(one, fresh=fresh)])
        assert found.keys() <= {one.target.id}
        return found.get(one.target.id, Observation())

    async def until(self, one: Followed, is_reached: Callable[[Build], bool]) -> tuple[Followed, list[Build]]:
        """Polls until the build is as wanted; also tells how it changed."""
        seen: list[Build] = []
        for polls in range(ROUNDS):
            observed = await self.poll(replace(one, polls=polls))
            one = replace(one, request=observed.request or one.request)
            if observed.builds:
                one = replace(one, build=observed.builds[0])
                seen.append(observed.builds[0])
                if is_reached(observed.builds[0]):
                    return one, seen
            self.service.wait(self.service.step)
        raise AssertionError(f"after {ROUNDS} polls the build is {one.build}")


def is_final(build: Build) -> bool:
    """Whether the build has ended."""
    return build.state.is_final


def doubled(body: Json) -> Json:
    """The value with everything in its listings twice."""
    return _changed(body, lambda found: [*found, *found])


def emptied(body: Json) -> Json:
    """The value without anything in its listings."""
    return _changed(body, lambda found: [])


def reworded(words: Collection[str], word: str) -> Callable[[Json], Json]:
    """Puts one word where any of these stands."""

    def change(body: Json) -> Json:
        if isinstance(body, dict):
            return {key: change(value) for key, value in body.items()}
        if isinstance(body, list):
            return [change(value) for value in body]
        return word if isinstance(body, str) and body in words else body

    return change


def _changed(body: Json, change: Callable[[list[Any]], list[Any]]) -> Json:
    if isinstance(body, dict):
        return {key: _changed(value, change) for key, value in body.items()}
    if isinstance(body, list) and all(isinstance(value, dict) for value in body):
        return change([_changed(value, change) for value in body])
    return body


class ProviderContract:
    """What the engine relies on. A subclass gives the fixture `service`."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """No real time passes here."""
        return "asyncio"

    @pytest.fixture
    def bench(self, service: Service) -> Bench:
        """The provider, its service, and the line between them."""
        return Bench(service)

    # -- the declaration --------------------------------------------------------------------------------------------

    def test_what_the_declaration_names_is_there(self, service: Service) -> None:
        declared = service.declaration
        for reference in (declared.factory, declared.headers, declared.lookalike, declared.token_fallback):
            assert reference is None or callable(registry.load(reference))
        assert set(declared.trigger_limits) <= {limit.name for limit in declared.limits}
        assert declared.accepted_limits <= set(declared.trigger_limits)
        assert any(state.is_final for state in declared.states.values())

    def test_the_token_travels_in_a_header_and_nowhere_else(self, service: Service) -> None:
        sent = registry.load(service.declaration.headers)(service.account, TOKEN)
        assert [value for value in sent.values() if TOKEN in value]
        assert all(name.isascii() and value.isprintable() for name, value in sent.items())

    @pytest.mark.parametrize("body", HOSTILE, ids=_name)
    def test_no_answer_teaches_a_limit_that_is_not_declared(self, service: Service, body: Json) -> None:
        names = {limit.name for limit in service.declaration.limits}
        for status in (200, 202, 403, 429, 500):
            for purpose in PURPOSES:
                answer = Answer(status, body, {"retry-after": "-1", "date": "x", "x-ratelimit-limit": "9" * 99})
                learnt = service.declaration.learn(Call("POST", "/", (), None, purpose, (), "acme/a"), answer)
                assert {one.name for one in learnt} <= names
        assert not service.declaration.is_refused(Answer(200, body))

    async def test_what_answers_teach_is_learnt(self, bench: Bench) -> None:
        trigger = await bench.wish()
        for answer, learnt in bench.service.taught:
            await _outcome(bench, answer, lambda: bench.provider.trigger(trigger))
            assert learnt in bench.declaration.learn(bench.calls[-1], answer)

    # -- trigger ----------------------------------------------------------------------------------------------------

    async def test_a_trigger_is_one_call_that_carries_the_marker_and_counts(self, bench: Bench) -> None:
        trigger = await bench.wish()
        sent = len(bench.calls)
        request = await bench.provider.trigger(trigger)
        [call] = bench.calls[sent:]
        _check_form(call, bench.declaration)
        assert (call.method != "GET", call.purpose, call.repo) == (True, "trigger", trigger.target.repo)
        assert set(call.limits) == set(bench.declaration.trigger_limits)
        if bench.declaration.finds.can_tell:
            assert str(trigger.marker) in json.dumps([call.query, call.body], ensure_ascii=False)
        assert bench.service.accepted(trigger.target) == 1
        assert request.id
        assert json.loads(json.dumps(dict(request.handle))) == request.handle
        assert request.url is None or request.url.startswith("http")

    @pytest.mark.parametrize("body", HOSTILE, ids=_name)
    async def test_only_a_receipt_is_a_receipt(self, bench: Bench, body: Json) -> None:
        trigger = await bench.wish()
        for status in (200, 201, 202, 204, 206, 304, 400, 403, 404, 408, 409, 422, 500, 502, 503):
            found = await _outcome(bench, Answer(status, body), lambda: bench.provider.trigger(trigger))
            may_exist = status < 300 or status >= 500 or status == 408
            assert isinstance(found, InDoubt if may_exist else InDoubt | NotTriggered), (status, found)
            _check_words(found)

    async def test_refusals_are_of_their_scope(self, bench: Bench) -> None:
        trigger = await bench.wish()
        for answer, error, scope in bench.service.refusals:
            found = await _outcome(bench, answer, lambda: bench.provider.trigger(trigger))
            assert isinstance(found, error), (answer, found)
            assert str(getattr(found, "scope", "")) == scope

    async def test_what_the_line_says_of_a_trigger_is_passed_on(self, bench: Bench) -> None:
        trigger = await bench.wish()
        for error in (InDoubt("reset"), Unreachable("refused"), AccessRefused("redirected", "to a login page")):
            sent, bench.error = len(bench.calls), error
            with pytest.raises(type(error)) as caught:
                await bench.provider.trigger(trigger)
            assert caught.value is error
            assert len(bench.calls) == sent + 1

    async def test_odd_names_stay_in_their_place(self, bench: Bench) -> None:
        trigger = await bench.wish()
        odd = replace(trigger.target, repo="acme/a b?c#d&e=%2F\u00fc", branch="x/../y z?\u00fc#")
        await _outcome(bench, Answer(500), lambda: bench.provider.trigger(replace(trigger, target=odd)))
        for call in bench.calls:
            _check_form(call, bench.declaration)

    async def test_a_secret_of_a_target_is_marked_as_one_and_not_repeated(self, bench: Bench) -> None:
        for key, declared in bench.declaration.keys.items():
            if declared.reference:
                trigger = await bench.wish()
                target = replace(trigger.target, request={**trigger.target.request, key: "env:CONTRACT"})
                answer = Answer(422, {"message": SECRET, "error": SECRET, "error_message": SECRET})
                found = await _outcome(bench, answer, lambda: bench.provider.trigger(replace(trigger, target=target)))  # noqa: B023  # awaited here
                assert bench.calls[-1].secret
                assert SECRET not in f"{found!r}{vars(found)}{bench.provider!r}"

    # -- find -------------------------------------------------------------------------------------------------------

    async def test_a_trigger_that_was_lost_before_it_came_is_certainly_not_there(self, bench: Bench) -> None:
        trigger, asked = await bench.lose("lost_before")
        found = await bench.find(trigger, asked)
        assert found is None if bench.declaration.finds.can_tell else not isinstance(found, Request)
        await bench.provider.trigger(replace(trigger, attempt=2))
        assert bench.service.accepted(trigger.target) == 1

    @pytest.mark.parametrize("rewrite", [lambda body: body, doubled], ids=["once", "twice"])
    async def test_a_trigger_whose_answer_was_lost_is_found(
        self, bench: Bench, rewrite: Callable[[Json], Json]
    ) -> None:
        trigger, asked = await bench.lose("lost_after")
        bench.rewrite = rewrite
        found = await bench.find(trigger, asked)
        if bench.declaration.finds.can_tell:
            assert isinstance(found, Request)
            one = Followed(trigger.target, found, trigger.marker, None, bench.service.now())
            await bench.until(one, is_final)
        assert found is not None
        assert bench.service.accepted(trigger.target) == 1

    async def test_a_trigger_that_comes_late_or_is_listed_late_is_found_then(self, bench: Bench) -> None:
        trigger, asked = await bench.lose("late")
        bench.rewrite = emptied
        assert not isinstance(await bench.find(trigger, asked), Request)
        bench.rewrite = lambda body: body
        await bench.deliver()
        found = await bench.find(trigger, asked)
        assert isinstance(found, Request) if bench.declaration.finds.can_tell else found is not None

    async def test_the_request_of_another_trigger_is_not_adopted(self, bench: Bench) -> None:
        lost, asked = await bench.lose("lost_before")
        other = replace(lost, marker=marker_of("contract", "run", "another"))
        request = await bench.provider.trigger(other)
        assert not isinstance(await bench.find(lost, asked, [request.id]), Request)
        assert not isinstance(await bench.find(other, asked, [request.id]), Request)
        if bench.declaration.finds.can_tell:
            assert not isinstance(await bench.find(lost, asked), Request)

    @pytest.mark.parametrize("body", HOSTILE, ids=_name)
    async def test_what_is_no_listing_proves_nothing(self, bench: Bench, body: Json) -> None:
        trigger, asked = await bench.lose("lost_after")
        bench.service.wait(bench.declaration.settle)
        for status in (200, 202, 304, 400, 401, 403, 404, 429, 500):
            found = await _outcome(bench, Answer(status, body), lambda: bench.provider.find(trigger, asked, ()))
            assert isinstance(found, InDoubt | LookFailed | NotTriggered), (status, found)
            _check_words(found)

    # -- poll -------------------------------------------------------------------------------------------------------

    async def test_a_build_goes_on_to_its_end(self, bench: Bench) -> None:
        one, seen = await bench.until(await bench.follow(), is_final)
        assert not any(before.state.is_final for before, _ in pairwise(seen))
        assert {build.id for build in seen} == {seen[-1].id}
        assert bench.declaration.states[seen[-1].native] is seen[-1].state
        assert (await bench.poll(one, fresh=True)).builds[0].state is seen[-1].state

    async def test_many_are_polled_at_the_declared_cost_and_not_mixed_up(self, bench: Bench) -> None:
        many = [await bench.follow() for _ in range(9)]
        for _ in range(ROUNDS):
            sent, cost = len(bench.calls), bench.declaration.polling
            found = await bench.provider.poll(many)
            assert found.keys() <= {one.target.id for one in many}
            assert len(bench.calls) - sent <= cost.per_round + len(many) * max(cost.per_build, cost.at_end) + 2
            if sum(bool(observed.builds) for observed in found.values()) == len(many):
                break
            bench.service.wait(bench.service.step)
        builds = {id_: observed.builds[0].id for id_, observed in found.items()}
        assert len(set(builds.values())) == len(many)
        for one in many:
            assert (await bench.poll(one, fresh=True)).builds[0].id == builds[one.target.id]

    async def test_each_native_state_means_what_is_declared_and_an_unknown_one_nothing(self, bench: Bench) -> None:
        one, _ = await bench.until(await bench.follow(), lambda build: True)
        states = bench.declaration.states
        for native in (*states, UNKNOWN):
            bench.rewrite = reworded(states, native)
            observed = await bench.poll(one, fresh=True)
            [build] = observed.builds
            assert build.native == native
            if native == UNKNOWN:
                assert not build.state.is_final
                assert UNKNOWN in str(observed.warning)
            else:
                assert build.state is states[native]

    async def test_a_request_that_is_not_there_has_no_verdict(self, bench: Bench) -> None:
        target = bench.service.target()
        for fresh in (False, True):
            observed = await bench.poll(Followed(target, Request("987654321"), None, None, 0.0), fresh=fresh)
            assert (observed.builds, observed.refusal) == ((), None)

    @pytest.mark.parametrize("body", HOSTILE, ids=_name)
    async def test_no_odd_answer_is_a_verdict(self, bench: Bench, body: Json) -> None:
        one = await bench.follow()
        for status in (200, 202, 204, 304, 400, 401, 403, 404, 410, 429, 500, 503):
            for fresh in (False, True):
                found = await _outcome(bench, Answer(status, body), lambda: bench.poll(one, fresh))  # noqa: B023  # awaited here
                if isinstance(found, Observation):
                    assert found.refusal is None
                    assert not any(build.state.is_final for build in found.builds)
                else:
                    assert isinstance(found, LookFailed | NotTriggered), (status, found)
                    _check_words(found)

    # -- everything that reads --------------------------------------------------------------------------------------

    async def test_a_lost_answer_to_a_reading_call_is_a_failed_lookup(self, bench: Bench) -> None:
        for name, ask in (await _readers(bench)).items():
            for error in (InDoubt("reset"), Unreachable("refused")):
                sent, bench.error = len(bench.calls), error
                with pytest.raises(LookFailed):
                    await ask()
                assert len(bench.calls) > sent, name
                for call in bench.calls[sent:]:
                    _check_form(call, bench.declaration)

    async def test_a_dead_token_and_a_throttle_are_seen_by_every_call(self, bench: Bench) -> None:
        trigger = await bench.wish()
        asks = {"trigger": lambda: bench.provider.trigger(trigger), **await _readers(bench)}
        for name, ask in asks.items():
            refused = await _outcome(bench, Answer(401, {"message": "bad token"}), ask)
            assert isinstance(refused, AccessRefused), (name, refused)
            assert str(refused.scope) == "account"
            throttled = await _outcome(bench, Answer(429, "slow down", {"retry-after": "7"}), ask)
            assert isinstance(throttled, RateLimited), (name, throttled)
            assert throttled.retry_after is None or throttled.retry_after >= 7.0

    @pytest.mark.parametrize("body", HOSTILE, ids=_name)
    async def test_odd_answers_end_in_the_errors_of_the_port(self, bench: Bench, body: Json) -> None:
        for name, ask in (await _readers(bench)).items():
            for status in (200, 202, 204, 400, 403, 404, 409, 500):
                found = await _outcome(bench, Answer(status, body), ask)
                if isinstance(found, Exception):
                    assert isinstance(found, InDoubt | LookFailed | NotTriggered), (name, status, found)
                    _check_words(found)

    # -- what only some can -----------------------------------------------------------------------------------------

    async def test_a_build_is_canceled_once(self, bench: Bench) -> None:
        if not isinstance(bench.provider, Cancels):
            return
        one, [*_, build] = await bench.until(await bench.follow(), lambda build: True)
        assert await bench.provider.cancel(one.target, build)
        _, seen = await bench.until(one, is_final)
        assert seen[-1].state.value == "canceled"
        assert not await bench.provider.cancel(one.target, seen[-1])

    async def test_a_build_that_has_ended_is_started_again(self, bench: Bench) -> None:
        if not isinstance(bench.provider, Restarts):
            return
        one, [*_, build] = await bench.until(await bench.follow(), is_final)
        bench.error = InDoubt("reset")
        with pytest.raises(InDoubt):
            await bench.provider.restart(one.target, build)
        bench.error = None
        await bench.provider.restart(one.target, build)
        one, _ = await bench.until(one, lambda build: not build.state.is_final)
        await bench.until(one, is_final)

    async def test_the_logs_of_a_build_are_bounded(self, bench: Bench) -> None:
        if not isinstance(bench.provider, ShowsLogs):
            return
        _, [*_, build] = await bench.until(await bench.follow(), is_final)
        logs = await bench.provider.logs(build, 10)
        assert logs
        assert all(job and len(text.encode()) <= 10 for job, text in logs)
        assert any(len(text) > 10 for _, text in await bench.provider.logs(build, 100_000))

    async def test_whose_token_it_is_stays_the_same(self, bench: Bench) -> None:
        if isinstance(bench.provider, SaysWho):
            first, again = await bench.provider.whoami(), await bench.provider.whoami()
            assert first is None or (first == again and first.id)

    async def test_repositories_are_inspected_and_discovered_over_all_pages(self, bench: Bench) -> None:
        if isinstance(bench.provider, Inspects):
            facts = await bench.provider.inspect(bench.service.target().repo)
            assert facts is not None
            assert facts.active
            assert await bench.provider.inspect(bench.service.missing) is None
        if isinstance(bench.provider, Discovers):
            sent = len(bench.calls)
            found = await bench.provider.discover(bench.service.owner)
            assert sorted(facts.slug for facts in found) == sorted(bench.service.repos)
            assert len(bench.calls) > sent + 1
        if isinstance(bench.provider, ListsBranches):
            found_branches = await bench.provider.branches(bench.service.branched)
            assert sorted(found_branches) == sorted(bench.service.branches)


async def _readers(bench: Bench) -> dict[str, Callable[[], Any]]:
    """Every method that only reads, or may be asked again without harm, ready to be called."""
    provider, service = bench.provider, bench.service
    one, [*_, build] = await bench.until(await bench.follow(), lambda build: True)
    trigger, asked = await bench.lose("lost_after")
    found: dict[str, Callable[[], Any]] = {
        "find": lambda: provider.find(trigger, asked, ()),
        "poll": lambda: provider.poll([one]),
        "fresh": lambda: provider.poll([replace(one, fresh=True)]),
    }
    if isinstance(provider, Prepares):
        found["prepare"] = lambda: provider.prepare(one.target)
    if isinstance(provider, Cancels):
        found["cancel"] = lambda: provider.cancel(one.target, build)
    if isinstance(provider, SaysWho):
        found["whoami"] = provider.whoami
    if isinstance(provider, Inspects):
        found["inspect"] = lambda: provider.inspect(one.target.repo)
    if isinstance(provider, Discovers):
        found["discover"] = lambda: provider.discover(service.owner)
    if isinstance(provider, ListsBranches):
        found["branches"] = lambda: provider.branches(service.branched)
    if isinstance(provider, ShowsLogs):
        found["logs"] = lambda: provider.logs(build, 100)
    return found


async def _outcome(bench: Bench, answer: Answer, ask: Callable[[], Any]) -> Any:
    """What comes of a question when everything is answered so: a value, or the error."""
    bench.answer = answer
    try:
        return await ask()
    except Exception as error:  # which of them it may be, the caller says
        return error
    finally:
        bench.answer = None


def _check_form(call: Call, declared: Declaration) -> None:
    """A call that any transport can send, that counts, and that does not hold the token."""
    assert call.path.startswith("/")
    assert call.path.isascii()
    assert not set(call.path) & set(" ?#\r\n\\")
    assert "/../" not in f"{call.path}/"
    assert call.purpose in PURPOSES
    assert set(call.limits) <= {limit.name for limit in declared.limits}
    assert call.limits or not declared.limits
    assert TOKEN not in json.dumps([call.path, call.query, call.body])


def _check_words(error: Exception) -> None:
    """A sentence that fits on a screen, whatever the server wrote."""
    assert 0 < len(str(error)) < 1000
    assert str(error).isprintable()
