"""What is counted as events come in is what a recount of the whole history gives."""

import random

import pytest
from fake_service import FakeService, Script, make_run, targets

from orchestrator.core.history import History
from orchestrator.core.model import BuildState, Outcome, Phase, Timeouts
from orchestrator.engine.counts import FINE, Counts, key_of, owner_of, rate, runs_since
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import facts_of
from orchestrator.journal.port import Process
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.anyio
FATES = (
    Script(),
    Script(BuildState.FAILED, runs=20.0),
    Script(triggers=("lost_after",)),
    Script(triggers=("lost_before", "ok")),
    Script(triggers=("limited:20",)),
    Script(triggers=("rejected",)),
    Script(triggers=("unreachable",)),
    Script(appears=None),
    Script(runs=200.0),
)


async def entries_of_a_run(seed):
    dice = random.Random(seed)
    names = [f"{dice.choice(('acme', 'globex', 'o%2Ck'))}/r{number}" for number in range(40)]
    service = FakeService({name: dice.choice(FATES) for name in names})
    journal = MemoryJournal(now=service.now)
    wanted = targets(*names, timeouts=Timeouts(settle=5.0, accept=90.0))
    await make_run(journal, wanted, in_flight=dice.choice((None, 7)))
    process = Process("here", "boot", 1, "1")
    await Engine(
        "r1", journal, service.connect, Options(), now=service.now, process=process, random=random.Random(1)
    ).run()
    return wanted, [entry for _, entry in await facts_of(journal, "r1")]


@pytest.mark.parametrize("seed", range(4))
async def test_after_each_event_the_counts_are_those_of_a_fresh_count(seed):
    wanted, entries = await entries_of_a_run(seed)
    entries.sort(key=lambda entry: entry.at)
    history = History(wanted)
    counts = Counts(history)
    for number, entry in enumerate(entries):
        history.add(entry.account, entry.seq, entry.at, entry.event)
        if number % 7 and number != len(entries) - 1:
            continue
        known = {target.id: history.of(target.id) for target in wanted}
        phases = [one.phase for one in known.values()]
        verdicts = [one.verdict for one in known.values() if one.verdict is not None]
        assert {phase: n for phase, n in counts.phases.items() if n} == {one: phases.count(one) for one in set(phases)}
        assert counts.outcomes.total() == len(verdicts)
        assert all(counts.outcomes[outcome] == sum(v.outcome is outcome for v in verdicts) for outcome in Outcome)
        assert counts.doubts == sum(one.doubt is not None and one.verdict is None for one in known.values())
        assert counts.sent == sum(one.attempts > 0 and one.phase is not Phase.WAITING for one in known.values())
        for owner, keys in counts.owners.items():
            own = [key_of(one) for id_, one in known.items() if owner_of(id_) == owner]
            assert {key: n for key, n in keys.items() if n} == {key: own.count(key) for key in set(own)}
        running = sorted((runs_since(one), id_) for id_, one in known.items() if key_of(one) is Phase.RUNNING)
        assert counts.longest(5) == running[:5]
        assert counts.longest(5) == running[:5]  # asking changes nothing
        bad = {id_ for id_, one in known.items() if one.verdict is not None and one.verdict.outcome not in FINE}
        assert {id_ for id_, _ in counts.newest(60)} == bad
        fresh = Counts(history)
        history.moved = counts.moved
        assert (fresh.keys, fresh.sent, fresh.doubts) == (+counts.keys, counts.sent, counts.doubts)
        assert fresh.longest(5) == running[:5]
        assert fresh.sent_since(entry.at - 60.0) == counts.sent_since(entry.at - 60.0)


async def test_the_rate_is_that_of_the_last_minute():
    wanted, entries = await entries_of_a_run(11)
    history = History(wanted)
    counts = Counts(history)
    began = entries[0].at
    assert rate(counts, began, began + 1.0) is None  # too early to tell
    for entry in entries:
        history.add(entry.account, entry.seq, entry.at, entry.event)
    assert rate(counts, began, entries[-1].at + 3600.0) == 0.0


@pytest.mark.parametrize(
    ("target", "owner"),
    [("travis:acme/x@main", "acme"), ("travis:1234@main", "1234"), ("gitlab:a%20b/c/d[k=v]#n", "a b"), ("odd", "odd")],
)
def test_an_owner_is_read_from_an_id(target, owner):
    assert owner_of(target) == owner
