"""What answers teach the limiter: rules, what is left, and, where nobody tells, what refusals say."""

import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import pairwise

import pytest
from fake_service import FAKE, FakeProvider, FakeService, make_run, targets
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit
from orchestrator.core.events import LimitLearnt
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Learnt, Limit
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.limits.budget import Budget, read_rule
from orchestrator.limits.headers import HeaderFamily, learn_from
from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.providers.port import Line
from orchestrator.testing import MemoryJournal

CALLS = ("calls",)


def budget(calls, per, **more):
    return Budget([Limit("calls", calls, per, **more)])


def made(one, now, many=10_000):
    """Calls that may leave at once."""
    for n in range(many):
        if one.wait(CALLS, None, now)[0]:
            return n
        one.take(CALLS, None).answered(now)
    return many


def test_a_written_limit_and_the_providers_own_of_another_period_hold_both():
    one = budget(10, 1.0, written=True)
    assert one.learn(Learnt("calls", ACCOUNT, 15, 60.0), 0.0)
    assert [made(one, now) for now in (0.0, 1.0, 2.0, 59.0, 60.0)] == [10, 5, 0, 0, 10]


def test_a_providers_rule_that_a_written_one_keeps_anyway_changes_nothing():
    one = budget(10, 60.0, written=True)
    for calls, per in [(10, 1.0), (10, 60.0), (20, 120.0), (5000, 3600.0)]:
        assert not one.learn(Learnt("calls", ACCOUNT, calls, per), 0.0)
    assert one.rule("calls", None) == (10, 60.0)


def test_a_written_limit_that_was_tightened_follows_the_provider_back_but_never_beyond_what_is_written():
    one = budget(10, 60.0, written=True)
    assert one.learn(Learnt("calls", ACCOUNT, 3, 60.0), 0.0)
    assert one.rule("calls", None) == (3, 60.0)
    assert one.learn(Learnt("calls", ACCOUNT, 7, 60.0), 0.0)
    assert one.rule("calls", None) == (7, 60.0)
    assert one.learn(Learnt("calls", ACCOUNT, 5000, 60.0), 0.0)
    assert one.rule("calls", None) == (10, 60.0)


def test_several_policies_of_a_provider_all_hold_in_place_of_the_default():
    one = budget(1800, 60.0)
    one.learn(Learnt("calls", ACCOUNT, 5, 1.0), 0.0)
    one.learn(Learnt("calls", ACCOUNT, 8, 60.0), 0.0)
    assert [made(one, now) for now in (0.0, 0.5, 1.0, 30.0, 60.5, 61.5)] == [5, 0, 3, 0, 5, 3]


def test_a_server_that_tells_another_rule_with_every_answer_fills_no_memory():
    one = budget(10, 60.0)
    for n in range(1000):
        one.learn(Learnt("calls", ACCOUNT, 10 + n, 60.0 + n), 0.0)
    assert len(one._windows["calls"][""].rules) <= 4


def test_thousands_of_calls_by_others_are_one_number():
    for reset, end in [(600.0, 600.0), (None, 3600.0)]:
        one = budget(1800, 60.0)
        one.learn(Learnt("calls", ACCOUNT, 500_000, 3600.0, left=3, reset=reset), 0.0)
        assert made(one, 0.0) == 3
        assert len(one._windows["calls"][""].answered) == 3
        assert one.wait(CALLS, None, 10.0)[0] == end - 10.0
        assert made(one, end) == 10_000


def test_the_last_calls_of_an_allowance_are_not_used_twice_before_the_provider_starts_anew():
    """Ours of the hour before free themselves one by one, but the provider counts its own hour."""
    one = budget(5000, 3600.0)
    one.take(CALLS, None).answered(0.0)
    one.learn(Learnt("calls", ACCOUNT, 5000, 3600.0, left=1, reset=1800.0), 3590.0)
    assert made(one, 3590.0) == 1
    assert made(one, 3601.0) == 0
    assert made(one, 5391.0) > 1000


def test_calls_under_way_count_as_such_that_the_provider_has_not_seen_when_it_told_what_is_left():
    one = budget(20, 10.0)
    permits = [one.take(CALLS, None) for _ in range(4)]
    permits[0].answered(1.0)
    one.learn(Learnt("calls", ACCOUNT, 20, 10.0, left=5, reset=9.0), 1.0)
    permits += [one.take(CALLS, None) for _ in range(2)]
    assert one.wait(CALLS, None, 1.0)[0] == float("inf")
    for n in range(1, 4):  # now each is told
        permits[n].answered(1.0)
        one.learn(Learnt("calls", ACCOUNT, 20, 10.0, left=5 - n, reset=9.0), 1.0)
    assert one.wait(CALLS, None, 1.0)[0] == float("inf")
    for n in (5, 4):  # overtaking
        permits[n].answered(1.0)
        one.learn(Learnt("calls", ACCOUNT, 20, 10.0, left=5 - n, reset=9.0), 1.0)
    assert one.wait(CALLS, None, 1.0)[0] == 9.0


def test_a_rule_is_written_so_that_it_can_be_read_again():
    one = budget(10, 60.0, share=50)
    one.learn(Learnt("calls", ACCOUNT, 40, 30.0), 0.0)
    assert one.rule("calls", None) == (20, 30.0)
    text = one.written(Learnt("calls", ACCOUNT, left=3))
    assert text == "calls 40/30s"
    assert read_rule(ACCOUNT, text) == Learnt("calls", ACCOUNT, 40, 30.0)


@pytest.mark.parametrize(
    "text", ["", "calls", "calls 5", "calls -1/1h", "calls 5/0x1s", "calls 5/1y", "calls 9e9/1h", "5/1h"]
)
def test_a_rule_that_no_journal_of_ours_has_is_not_read(text):
    assert read_rule("account", text) is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-5, 10**12)),
            st.one_of(st.none(), st.floats()),
            st.one_of(st.none(), st.integers(-5, 10**12)),
            st.one_of(st.none(), st.floats()),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_whatever_a_server_tells_a_call_may_leave_within_the_longest_period(told, written):
    one = budget(10, 60.0, written=written)
    for calls, per, left, reset in told:
        one.learn(Learnt("calls", ACCOUNT, calls, per, left, reset), 0.0)
        delay = one.wait(CALLS, None, 0.0)[0]
        assert 0.0 <= delay <= 31 * 86_400.0
        assert one.wait(CALLS, None, delay + 1.0)[0] == 0.0
    if written:
        assert made(one, 10.0**8) <= 10


# -- a limit that nobody knows ----------------------------------------------------------------------------------------


def seek(guess, real, periods, per=10.0, written=False):
    """Calls made and refused in each period against a server that tells nothing."""
    one = Budget([Limit("calls", guess, per, written=written)], sought=frozenset(CALLS))
    rounds = []
    for n in range(periods):
        now, tried = n * per, []
        while not one.wait(CALLS, None, now)[0]:
            permit, refused = one.take(CALLS, None), len(tried) >= real
            permit.answered(now)
            one.tried(CALLS, None, refused, now)
            tried.append(refused)
        rounds.append((len(tried), sum(tried)))
    return rounds


def test_a_refusal_halves_an_unknown_limit_once_a_period_until_it_fits():
    assert seek(80, 24, 3) == [(40, 16), (25, 1), (22, 0)]  # halved twice, then grown by a tenth of 20


def test_an_unknown_limit_is_never_halved_below_its_floor():
    assert seek(8, 0, 12)[-1] == (1, 1)


def test_an_unknown_limit_grows_by_a_fixed_part_while_all_of_it_is_used():
    tried = [tried for tried, _ in seek(20, 1000, 10)]
    assert {later - sooner for sooner, later in pairwise(tried)} == {2}


def test_an_unknown_limit_does_not_grow_while_it_is_not_used():
    one = Budget([Limit("calls", 20, 10.0)], sought=frozenset(CALLS))
    for n in range(50):
        one.take(CALLS, None).answered(n * 10.0)
        one.tried(CALLS, None, False, n * 10.0)
    assert one.rule("calls", None) == (20, 10.0)


def test_a_written_limit_is_a_bound_to_what_trying_may_find():
    assert max(tried for tried, _ in seek(20, 1000, 20, written=True)) == 20


@pytest.mark.parametrize(("guess", "real"), [(80, 23), (10, 23), (23, 23)])
def test_after_some_periods_most_of_an_unknown_limit_is_used_and_few_calls_are_refused(guess, real):
    late = seek(guess, real, 80)[30:]
    used = sum(tried - refused for tried, refused in late) / (len(late) * real)
    refused = sum(refused for _, refused in late) / sum(tried for tried, _ in late)
    assert used > 0.6
    assert refused < 0.1


# -- the whole engine, in virtual time -------------------------------------------------------------------------------


@dataclass(slots=True)
class Counting(FakeService):
    """A service that allows so many triggers in each period since the epoch, and tells of it in headers if it likes."""

    allows: int = 20
    per: float = 10.0
    tells: bool = True
    by_others: int = 0
    refused: int = 0
    declaration: object = FAKE
    _used: dict = field(default_factory=dict)

    def _trigger(self, call):
        window = self.now() // self.per
        used = self._used.setdefault(window, self.by_others)
        if used >= self.allows:
            self.refused += 1
            return Answer(429, 1.0, self._headers(0, window))
        self._used[window] = used + 1
        return replace(FakeService._trigger(self, call), headers=self._headers(self.allows - used - 1, window))

    def _headers(self, left, window):
        if not self.tells:
            return {}
        told = {"x-ratelimit-limit": str(self.allows), "x-ratelimit-remaining": str(left)}
        told |= {"x-ratelimit-reset": str(int((window + 1) * self.per))}
        return told | {"date": formatdate(int(self.now()), usegmt=True)}

    @asynccontextmanager
    async def connect(self, account):
        yield Line(account, self.declaration, self.send, lambda send: FakeProvider(account, send), "hash")


TELLS = replace(FAKE, learn=learn_from(HeaderFamily("triggers", "x-ratelimit", per=10.0)))
SEEKS = replace(FAKE, harmless_refusals=frozenset({"triggers"}))


async def drive(service, journal, **options):
    engine = Engine(
        "r1",
        journal,
        service.connect,
        Options(**options),
        now=service.now,
        process=Process("here", "boot", 1, "1"),
        random=random.Random(1),
    )
    return await engine.run()


async def start(service, many, limit, **account):
    journal = MemoryJournal(now=service.now)
    wanted = targets(*(f"acme/r{n}" for n in range(many)))
    await make_run(journal, wanted, at=service.now(), limits=(limit, FAKE.limits[1]), **account)
    return journal


async def learnt_in(journal):
    return [event.rule for event in (await load(journal, "r1")).learnt.values() if isinstance(event, LimitLearnt)]


@pytest.mark.anyio
async def test_a_run_goes_as_fast_as_the_provider_tells_and_is_never_refused():
    service = Counting(declaration=TELLS, latency=0.2)
    journal = await start(service, 200, Limit("triggers", 5, 10.0))
    assert await drive(service, journal) == Exit.OK
    assert service.refused == 0
    assert service.posts[-1] - service.posts[0] < 125.0  # 20 in 10 s; with the default it took 400 s
    assert await learnt_in(journal) == ["triggers 20/10s"]


@pytest.mark.anyio
async def test_a_written_limit_is_kept_however_much_the_provider_allows():
    service = Counting(declaration=TELLS)
    journal = await start(service, 40, Limit("triggers", 5, 10.0, written=True))
    assert await drive(service, journal) == Exit.OK
    assert worst_window(sorted(service.posts), 10.0) == 5
    assert await learnt_in(journal) == []


@pytest.mark.anyio
async def test_what_others_use_of_the_same_allowance_is_left_to_them():
    service = Counting(declaration=TELLS, by_others=14)
    journal = await start(service, 60, Limit("triggers", 5, 10.0), connections=4)
    assert await drive(service, journal) == Exit.OK
    assert service.refused == 0
    assert service.posts[-1] - service.posts[0] < 95.0  # 6 in each 10 s, the last one too


@pytest.mark.anyio
async def test_a_resumed_run_knows_what_the_provider_told_before():
    service = Counting(declaration=TELLS)
    journal = await start(service, 100, Limit("triggers", 5, 10.0))
    await drive(service, journal, timeout=12.0)
    before = len(service.posts)
    service.tells = False
    assert await drive(service, journal) == Exit.OK
    assert before < 100 == len(service.posts)
    assert worst_window(sorted(service.posts)[before:], 10.0) == 20


@pytest.mark.anyio
async def test_where_refusals_do_no_harm_a_run_finds_the_limit_by_itself():
    service = Counting(declaration=SEEKS, tells=False)
    journal = await start(service, 600, Limit("triggers", 80, 10.0))
    assert await drive(service, journal) == Exit.OK
    assert service.refused < 60
    late = [at for at in service.posts if at > service.posts[0] + 60.0]
    assert len(late) / (late[-1] - late[0]) > 0.6 * 2.0
    assert (await learnt_in(journal))[0].startswith("triggers ")
