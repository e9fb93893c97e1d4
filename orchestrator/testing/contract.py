"""The provider contract, as tests that anybody can run against a provider of their own.

    class TestMine(ProviderContract):
        @pytest.fixture
        def service(self):
            return MyService()

`MyService` is a `Service`, best a `LookAlikeService`: the provider's look-alike in memory. What a provider cannot do
(`Cancels`, `Discovers`, ...) is not asked of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotTriggered, RateLimited, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, Json, Request, marker_of
from orchestrator.providers import port, registry
from orchestrator.providers.port import Followed, Observation
from orchestrator.testing.bench import ROUNDS, SECRET, Bench, LookAlikeService, Service, listed, reworded

__all__ = ["Bench", "LookAlikeService", "ProviderContract", "Service"]

TOKEN = "contract-t0ken"  # noqa: S105  # opens nothing
UNKNOWN = "a-state-from-tomorrow"
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
hostile = pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body)[:30])


def is_final(build: Build) -> bool:
    return build.state.is_final


def is_there(build: Build) -> bool:
    return True


def is_past_the_queue(build: Build) -> bool:
    return build.state.value != "queued"


class ProviderContract:
    """What the engine relies on. A subclass gives the fixture `service`."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"  # no real time passes

    @pytest.fixture
    def bench(self, service: Service) -> Bench:
        return Bench(service)

    def test_what_the_declaration_names_is_there(self, service: Service) -> None:
        declared = service.declaration
        for reference in (declared.factory, declared.headers, declared.lookalike, declared.token_fallback):
            assert reference is None or callable(registry.load(reference))
        assert set(declared.trigger_limits) <= {limit.name for limit in declared.limits}
        assert declared.accepted_limits <= set(declared.trigger_limits)
        assert any(state.is_final for state in declared.states.values())

    def test_the_token_travels_in_a_header(self, service: Service) -> None:
        sent = registry.load(service.declaration.headers)(service.account, TOKEN)
        is_sent = [value for value in sent.values() if TOKEN in value or TOKEN in _decoded(value)]
        assert is_sent or not service.declaration.needs_token
        assert all(name.isascii() and value.isprintable() for name, value in sent.items())

    @hostile
    def test_no_answer_teaches_a_limit_that_is_not_declared(self, service: Service, body: Json) -> None:
        names = {limit.name for limit in service.declaration.limits}
        for status in (200, 202, 403, 429, 500):
            for purpose in PURPOSES:
                answer = Answer(status, body, {"retry-after": "-1", "date": "x", "x-ratelimit-limit": "9" * 99})
                learnt = service.declaration.learn(Call("POST", "/", (), None, purpose, (), "acme/a"), answer)
                assert {one.name for one in learnt} <= names
        assert not service.declaration.is_refused(Answer(200, body))

    async def test_answers_mean_what_the_service_says(self, bench: Bench) -> None:
        trigger = await bench.wish()
        for answer, error, scope in bench.service.refusals:
            found = await bench.outcome(answer, lambda: bench.provider.trigger(trigger))
            assert isinstance(found, error), (answer, found)
            assert str(getattr(found, "scope", "")) == scope
        for answer, learnt in bench.service.taught:
            await bench.outcome(answer, lambda: bench.provider.trigger(trigger))
            assert learnt in bench.declaration.learn(bench.calls[-1], answer)

    async def test_a_trigger_is_one_call_that_carries_the_marker_and_counts(self, bench: Bench) -> None:
        trigger = await bench.wish()
        sent = len(bench.calls)
        request = await bench.provider.trigger(trigger)
        [call] = bench.calls[sent:]
        assert (call.method != "GET", call.purpose, call.repo) == (True, "trigger", trigger.target.repo)
        assert set(call.limits) == set(bench.declaration.trigger_limits)
        carried = str(trigger.marker) in json.dumps([call.query, call.body, dict(call.headers)], ensure_ascii=False)
        assert carried is port.carries_marker(bench.provider, trigger)
        assert carried or not bench.declaration.finds.can_tell
        assert bench.service.accepted(trigger.target) == 1
        assert request.id
        assert json.loads(json.dumps(dict(request.handle))) == request.handle
        assert request.url is None or request.url.startswith("http")
        for status in (404, 500):  # a receipt in a failure is none
            found = await bench.outcome(replace(bench.last, status=status), lambda: bench.provider.trigger(trigger))
            assert isinstance(found, InDoubt | NotTriggered), found

    @hostile
    async def test_only_a_receipt_is_a_receipt(self, bench: Bench, body: Json) -> None:
        trigger = await bench.wish()
        for status in (200, 201, 202, 204, 206, 304, 400, 403, 404, 408, 409, 422, 500, 502, 503):
            found = await bench.outcome(Answer(status, body), lambda: bench.provider.trigger(trigger))
            if status in bench.service.empty_receipts and body in ("", None) and not isinstance(found, Exception):
                continue
            may_exist = status < 300 or status >= 500 or status == 408
            assert isinstance(found, InDoubt if may_exist else InDoubt | NotTriggered), (status, found)
            _check_words(found)

    async def test_the_receipt_of_another_trigger_is_not_believed(self, bench: Bench) -> None:
        await bench.provider.trigger(await bench.wish())
        hung_up: list[bool] = []
        theirs = replace(bench.last, hang_up=lambda: hung_up.append(True))
        for trigger in (await bench.wish(), await bench.wish()) if bench.service.echoes else ():
            found = await bench.outcome(theirs, lambda: bench.provider.trigger(trigger))  # noqa: B023  # awaited here
            assert isinstance(found, InDoubt), found
            assert hung_up.pop()

    async def test_what_the_line_says_of_a_trigger_is_passed_on(self, bench: Bench) -> None:
        trigger = await bench.wish()
        for error in (InDoubt("reset"), Unreachable("refused"), AccessRefused("redirected", "to a login page")):
            sent = len(bench.calls)
            assert await bench.outcome(error, lambda: bench.provider.trigger(trigger)) is error
            assert len(bench.calls) == sent + 1

    async def test_odd_names_stay_in_their_place_and_secrets_are_marked(self, bench: Bench) -> None:
        trigger = await bench.wish()
        odd = replace(trigger.target, repo="acme/a b?c#d&e=%2F\u00fc", branch="x/../y z?\u00fc#")
        await bench.outcome(Answer(500), lambda: bench.provider.trigger(replace(trigger, target=odd)))
        for call in bench.calls:
            _check_form(bench, call)
        for key in (key for key, declared in bench.declaration.keys.items() if declared.reference):
            secret = replace(trigger.target, request={**trigger.target.request, key: "env:CONTRACT"})
            answer = Answer(422, {"message": SECRET, "error": SECRET, "error_message": SECRET})
            found = await bench.outcome(answer, lambda: bench.provider.trigger(replace(trigger, target=secret)))  # noqa: B023  # awaited here
            assert bench.calls[-1].secret
            assert SECRET not in f"{found!r}{vars(found)}{bench.provider!r}"

    async def test_a_trigger_that_was_lost_before_it_came_is_certainly_not_there(self, bench: Bench) -> None:
        trigger, asked = await bench.lose("lost_before")
        found = await bench.find(trigger, asked)
        assert found is None if bench.declaration.finds.can_tell else not isinstance(found, Request)
        await bench.provider.trigger(replace(trigger, attempt=2))
        assert bench.service.accepted(trigger.target) == 1

    @pytest.mark.parametrize("times", [1, 2])
    async def test_a_trigger_whose_answer_was_lost_is_found(self, bench: Bench, times: int) -> None:
        trigger, asked = await bench.lose("lost_after")
        bench.rewrite = lambda body: listed(body, times)
        found = await bench.find(trigger, asked)
        assert found is not None
        assert bench.service.accepted(trigger.target) == 1
        if bench.declaration.finds.can_tell:
            assert isinstance(found, Request)
            await bench.until(Followed(trigger.target, found, trigger.marker, None, bench.service.now()), is_final)

    async def test_a_row_that_does_not_show_its_marker_may_be_ours(self, bench: Bench) -> None:
        if bench.service.selects:
            return
        trigger, asked = await bench.lose("lost_after")
        bench.rewrite = lambda body: reworded(body, lambda word: str(trigger.marker) in word, None)
        assert isinstance(await bench.find(trigger, asked), InDoubt)

    async def test_a_trigger_that_comes_late_or_is_listed_late_is_found_then(self, bench: Bench) -> None:
        trigger, asked = await bench.lose("late")
        bench.rewrite = lambda body: listed(body, 0)
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

    async def test_a_repository_that_was_renamed_is_told_by_its_present_name_before_it_is_triggered(
        self, bench: Bench
    ) -> None:
        old, new = bench.service.renamed
        if bench.declaration.old_names:
            assert isinstance(bench.provider, port.Prepares)
            trigger = await bench.wish(old)
            assert port.repository_in(trigger.prepared) == new
            assert port.repository_in((await bench.wish(new)).prepared) in (None, new)
            await bench.provider.trigger(trigger)
            assert bench.service.accepted(replace(trigger.target, repo=new)) == 1

    async def test_a_build_goes_on_to_its_end(self, bench: Bench) -> None:
        one, seen = await bench.until(await bench.follow(), is_final)
        assert not any(before.state.is_final for before, _ in pairwise(seen))
        assert {build.id for build in seen} - {seen[-1].replaces} == {seen[-1].id}
        assert bench.declaration.states[seen[-1].native] is seen[-1].state
        assert (await bench.poll(one)).builds[0].state is seen[-1].state

    async def test_many_are_polled_at_the_declared_cost_and_not_mixed_up(self, bench: Bench) -> None:
        many, cost = [await bench.follow() for _ in range(9)], bench.declaration.polling
        found: Mapping[str, Observation] = {}
        for _ in range(ROUNDS):
            sent = len(bench.calls)
            found = await bench.provider.poll(many)
            assert found.keys() <= {one.target.id for one in many}
            assert len(bench.calls) - sent <= cost.per_round + len(many) * max(cost.per_build, cost.at_end) + 2
            if sum(bool(observed.builds) for observed in found.values()) == len(many):
                break
            bench.service.wait(bench.service.step)
        builds = {id_: observed.builds[0].id for id_, observed in found.items()}
        assert len(set(builds.values())) == len(many)
        for one in many:
            assert (await bench.poll(one)).builds[0].id == builds[one.target.id]

    async def test_each_native_state_means_what_is_declared_and_an_unknown_one_nothing(self, bench: Bench) -> None:
        one, _ = await bench.until(await bench.follow(), is_past_the_queue)
        states = bench.declaration.states
        for native in (*states, UNKNOWN):
            bench.rewrite = lambda body: bench.service.in_state(body, native)  # noqa: B023  # used at once
            observed = await bench.poll(one)
            [build] = observed.builds
            assert build.native == native
            if native == UNKNOWN:
                assert not build.state.is_final
                assert UNKNOWN in str(observed.warning)
            else:
                assert build.state is states[native]

    async def test_a_request_that_is_not_there_has_no_verdict(self, bench: Bench) -> None:
        nowhere = Followed(bench.service.target(), Request("987654321"), None, None, 0.0)
        for fresh in (False, True):
            observed = await bench.poll(nowhere, fresh)
            assert (observed.builds, observed.refusal) == ((), None)

    async def test_a_lost_answer_to_a_reading_call_is_a_failed_lookup(self, bench: Bench) -> None:
        for name, ask in (await _readers(bench)).items():
            for error in (InDoubt("reset"), Unreachable("refused")):
                sent = len(bench.calls)
                assert isinstance(await bench.outcome(error, ask), LookFailed), name
                assert len(bench.calls) > sent
                for call in bench.calls[sent:]:
                    _check_form(bench, call)

    async def test_a_dead_token_and_a_throttle_are_seen_by_every_call(self, bench: Bench) -> None:
        trigger = await bench.wish()
        asks = {"trigger": lambda: bench.provider.trigger(trigger), **await _readers(bench)}
        for name, ask in asks.items():
            refused = await bench.outcome(Answer(401, {"message": "bad token"}), ask)
            assert isinstance(refused, AccessRefused), (name, refused)
            assert str(refused.scope) == "account"
            throttled = await bench.outcome(Answer(429, "slow down", {"retry-after": "7"}), ask)
            assert isinstance(throttled, RateLimited), (name, throttled)
            assert throttled.retry_after is None or throttled.retry_after >= 7.0
            for told in ("0", "-5", "1e9", "soon", "9" * 30, "Mon, 05 Jan 2026 01:00:48 GMT", "\u0665"):
                for status in (403, 429, 503):
                    found = await bench.outcome(Answer(status, "slow down", {"retry-after": told}), ask)
                    wait = getattr(found, "retry_after", None)
                    assert wait is None or 0.0 <= wait < 10**7, (told, wait)

    @hostile
    async def test_no_odd_answer_is_a_verdict(self, bench: Bench, body: Json) -> None:
        for name, ask in (await _readers(bench)).items():
            for status in (200, 202, 204, 304, 400, 401, 403, 404, 409, 410, 429, 500, 503):
                found = await bench.outcome(Answer(status, body), ask)
                if isinstance(found, Exception):
                    assert isinstance(found, InDoubt | LookFailed | NotTriggered), (name, status, found)
                    _check_words(found)
                    continue
                assert name != "find", (status, found)
                for seen in found.values() if name in ("poll", "fresh") else ():
                    assert seen.refusal is None
                    assert not any(build.state.is_final for build in seen.builds)

    async def test_a_build_is_canceled_once(self, bench: Bench) -> None:
        if isinstance(bench.provider, port.Cancels):
            one, [*_, build] = await bench.until(await bench.follow(), is_there)
            assert await bench.provider.cancel(one.target, build)
            _, seen = await bench.until(one, is_final)
            assert seen[-1].state.value == "canceled"
            assert not await bench.provider.cancel(one.target, seen[-1])

    async def test_a_build_that_has_ended_is_started_again(self, bench: Bench) -> None:
        provider = bench.provider
        if isinstance(provider, port.Restarts):
            one, [*_, build] = await bench.until(await bench.follow(bench.service.failing), is_final)
            lost = await bench.outcome(InDoubt("reset"), lambda: provider.restart(one.target, build))
            assert isinstance(lost, InDoubt)
            await provider.restart(one.target, build)
            one, _ = await bench.until(one, lambda build: not build.state.is_final)
            await bench.until(one, is_final)

    async def test_what_is_read_besides_is_whole_and_bounded(self, bench: Bench) -> None:
        provider, service = bench.provider, bench.service
        if isinstance(provider, port.ShowsLogs):
            one, [*_, build] = await bench.until(await bench.follow(), is_final)
            assert await provider.logs(one.target, build, 100) is None
            one, [*_, build] = await bench.until(await bench.follow(service.failing), is_final)
            end, whole = await provider.logs(one.target, build, 10), await provider.logs(one.target, build, 100_000)
            assert end is not None
            assert whole is not None
            assert end.job
            assert len(end.text.encode()) <= 10
            assert whole.text.endswith(end.text)
            assert len(whole.text) > 10
        if isinstance(provider, port.SaysWho):
            who = await provider.whoami()
            assert who is None or (who.id and who == await provider.whoami())
        if isinstance(provider, port.Inspects):
            facts = await provider.inspect(service.target().repo)
            assert facts is not None
            assert facts.active
            assert await provider.inspect(service.missing) is None
        if isinstance(provider, port.Discovers):
            sent = len(bench.calls)
            assert sorted(facts.slug for facts in await provider.discover(service.owner)) == sorted(service.repos)
            assert len(bench.calls) > sent + 1
            bench.size = 2**30  # of each page: all of them together are bounded
            with pytest.raises(LookFailed):
                await provider.discover(service.owner)
            bench.size = 0
        if isinstance(provider, port.ListsBranches):
            assert sorted(await provider.branches(service.branched)) == sorted(service.branches)


async def _readers(bench: Bench) -> Mapping[str, Callable[[], Any]]:
    """Every method that only reads, or may be asked again without harm, ready to be called."""
    provider: Any = bench.provider
    one, [*_, build] = await bench.until(await bench.follow(), is_there)
    trigger, asked = await bench.lose("lost_after")
    asks = (
        ("find", port.Provider, lambda: provider.find(trigger, asked, ())),
        ("poll", port.Provider, lambda: provider.poll([one])),
        ("fresh", port.Provider, lambda: provider.poll([replace(one, fresh=True)])),
        ("prepare", port.Prepares, lambda: provider.prepare(replace(one.target, branch=None))),
        ("cancel", port.Cancels, lambda: provider.cancel(one.target, build)),
        ("whoami", port.SaysWho, lambda: provider.whoami()),
        ("inspect", port.Inspects, lambda: provider.inspect(one.target.repo)),
        ("discover", port.Discovers, lambda: provider.discover(bench.service.owner)),
        ("branches", port.ListsBranches, lambda: provider.branches(bench.service.branched)),
        ("logs", port.ShowsLogs, lambda: provider.logs(one.target, build, 100)),
    )
    return {name: ask for name, ability, ask in asks if ability is port.Provider or isinstance(provider, ability)}


def _check_form(bench: Bench, call: Call) -> None:
    """A call that any transport can send, and that counts."""
    limits = {limit.name for limit in bench.declaration.limits}
    assert call.path.startswith("/")
    assert call.path.isascii()
    assert not set(call.path) & set(" ?#\r\n\\")
    assert "/../" not in f"{call.path}/"
    assert call.purpose in PURPOSES
    assert set(call.limits) <= limits
    assert call.limits or not limits


def _decoded(value: str) -> str:
    """What `Basic` credentials hold; empty for others."""
    scheme, _, basic = value.partition(" ")
    return base64.b64decode(basic).decode() if scheme == "Basic" else ""


def _check_words(error: Exception) -> None:
    """A sentence that fits on a screen, whatever the server wrote."""
    assert 0 < len(str(error)) < 1000
    assert str(error).isprintable()
