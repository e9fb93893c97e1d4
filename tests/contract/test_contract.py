"""The contract notices what is wrong with a provider: each of these breaks one promise."""

import pytest
from fake_service import FakeProvider
from test_providers import OverFake

from orchestrator.core.calls import Call
from orchestrator.core.errors import InDoubt, LookFailed
from orchestrator.core.frozen import replace
from orchestrator.core.model import BuildState, Request
from orchestrator.providers.port import Observation
from orchestrator.testing.bench import Bench
from orchestrator.testing.contract import ProviderContract

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Repeats(FakeProvider):
    """Asks again by itself."""

    async def trigger(self, trigger):
        try:
            return await super().trigger(trigger)
        except InDoubt:
            return await super().trigger(trigger)


class TrustsSuccess(FakeProvider):
    async def trigger(self, trigger):
        answer = await self._send(self._call(trigger))
        return Request(str(answer.body)) if answer.status < 300 else await super().trigger(trigger)


class TrustsBodies(FakeProvider):
    """Takes an id for a receipt whatever the status says."""

    async def trigger(self, trigger):
        answer = await self._send(self._call(trigger))
        return Request(answer.body) if str(answer.body).isdigit() else await super().trigger(trigger)


class HidesTheMarker(FakeProvider):
    def _call(self, trigger):
        return replace(super()._call(trigger), body=trigger.run_name)


class Uncounted(FakeProvider):
    def _call(self, trigger):
        return replace(super()._call(trigger), limits=("calls",))


class Pasted(FakeProvider):
    """Puts names into paths as they are."""

    def _call(self, trigger):
        return replace(super()._call(trigger), path=f"/{trigger.target.repo}")


class BelievesInAbsence(FakeProvider):
    async def find(self, trigger, asked, known):
        try:
            return await super().find(trigger, asked, known)
        except (InDoubt, LookFailed):
            return None


class AdoptsAnything(FakeProvider):
    async def find(self, trigger, asked, known):
        rows = await self._rows(Call("GET", "/requests", purpose="find", repo=trigger.target.repo))
        return Request(rows[-1]["id"]) if rows else None


class Guesses(FakeProvider):
    """Takes a state that it does not know for an end."""

    async def poll(self, followed):
        found = await super().poll(followed)
        return {id_: self._guessed(seen) for id_, seen in found.items()}

    def _guessed(self, seen):
        if seen.warning is None:
            return seen
        return Observation((replace(seen.builds[0], state=BuildState.FAILED),), warning=seen.warning)


class MixesUp(FakeProvider):
    async def poll(self, followed):
        found = await super().poll(followed)
        return dict(zip(found, reversed(found.values()), strict=True))


class OneByOne(FakeProvider):
    """Polls dearer than its declaration says."""

    async def poll(self, followed):
        for _ in followed:
            await super().poll(followed)
        return await super().poll(followed)


class LosesItsWay(FakeProvider):
    """Lets the doubt about a reading call out."""

    async def whoami(self):
        return await self._send(Call("GET", "/user"))


class AlwaysCancels(FakeProvider):
    async def cancel(self, target, build):
        await super().cancel(target, build)
        return True


BODIES = {"body": "<!DOCTYPE html>"}


@pytest.mark.parametrize(
    ("wrong", "name", "given"),
    [
        (Repeats, "what_the_line_says_of_a_trigger_is_passed_on", {}),
        (TrustsSuccess, "only_a_receipt_is_a_receipt", BODIES),
        (TrustsBodies, "a_trigger_is_one_call_that_carries_the_marker_and_counts", {}),
        (HidesTheMarker, "a_trigger_is_one_call_that_carries_the_marker_and_counts", {}),
        (HidesTheMarker, "a_trigger_whose_answer_was_lost_is_found", {"times": 1}),
        (Uncounted, "a_trigger_is_one_call_that_carries_the_marker_and_counts", {}),
        (Pasted, "odd_names_stay_in_their_place_and_secrets_are_marked", {}),
        (BelievesInAbsence, "a_row_that_does_not_show_its_marker_may_be_ours", {}),
        (BelievesInAbsence, "no_odd_answer_is_a_verdict", BODIES),
        (AdoptsAnything, "the_request_of_another_trigger_is_not_adopted", {}),
        (Guesses, "each_native_state_means_what_is_declared_and_an_unknown_one_nothing", {}),
        (MixesUp, "many_are_polled_at_the_declared_cost_and_not_mixed_up", {}),
        (OneByOne, "many_are_polled_at_the_declared_cost_and_not_mixed_up", {}),
        (LosesItsWay, "a_lost_answer_to_a_reading_call_is_a_failed_lookup", {}),
        (LosesItsWay, "a_dead_token_and_a_throttle_are_seen_by_every_call", {}),
        (AlwaysCancels, "a_build_is_canceled_once", {}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_broken_promise_is_noticed(wrong, name, given):
    service = OverFake()
    service.kind = wrong
    with pytest.raises(AssertionError):
        await getattr(ProviderContract(), f"test_{name}")(Bench(service), **given)
