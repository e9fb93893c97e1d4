"""Leases against a small model of them: whatever several processes do, in whatever order, one at a time may append."""

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.errors import LeaseLost
from orchestrator.core.events import MarkerProven, RunMade
from orchestrator.core.model import Target
from orchestrator.journal.port import Process
from orchestrator.testing import MemoryJournal

LEASE = 30.0
WHO, STREAM = st.integers(0, 2), st.sampled_from(["one", "two"])
STEP = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1.0, 12.0, 29.0, 31.0])),
    st.tuples(st.sampled_from(["register", "renew"]), WHO),
    st.tuples(st.sampled_from(["claim", "append", "release"]), WHO, STREAM),
)


class Life:
    """An incarnation, from its first claim on, and the one that took its place when it expired."""

    def __init__(self, now=None):
        self.heartbeat, self.has_ended = now, False

    def is_over(self, now):
        return self.has_ended or (self.heartbeat is not None and now >= self.heartbeat + LEASE)


class Model:
    """What must come of each step."""

    def __init__(self):
        self.lives = {}
        self.epochs = {"one": 0, "two": 0}
        self.holders = dict.fromkeys(self.epochs)
        self.leases = {}
        self.facts = {"one": 0, "two": 0}

    def claim(self, who, stream, now):
        life, holder = self.lives[who], self.holders[stream]
        if life.is_over(now):
            return "lost"
        life.heartbeat = now
        if holder is not None and not holder.is_over(now):
            return "lost"
        if holder is not None:
            holder.has_ended = True
        self.holders[stream] = life
        self.epochs[stream] += 1
        self.leases[who, stream] = self.epochs[stream]
        return self.epochs[stream]

    def renew(self, who, now):
        life = self.lives[who]
        if life.heartbeat is None or life.is_over(now):
            life.has_ended, heir = True, Life(now)
            self.holders = {stream: heir if one is life else one for stream, one in self.holders.items()}
            self.lives[who] = heir
        self.lives[who].heartbeat = now
        mine = {stream: epoch for (one, stream), epoch in self.leases.items() if one == who}
        return "lost" if any(self.epochs[stream] != epoch for stream, epoch in mine.items()) else None

    def append(self, who, stream):
        if self.epochs[stream] != self.leases[who, stream]:
            return "lost"
        self.facts[stream] += 1
        return None

    def release(self, who, stream):
        if self.epochs[stream] == self.leases.pop((who, stream)):
            self.holders[stream] = None


async def play(steps):
    model, now, lives, leases = Model(), 1000.0, {}, {}
    first = MemoryJournal()
    journals = [first, MemoryJournal(first.disk), MemoryJournal(first.disk)]
    await first.make_run("r", RunMade("n", None, ""), [Target("fake:acme/a", "one", "acme/a")], 1.0)
    for what, *of in steps:
        who = of[0]
        if what == "wait":
            now += who
            continue
        if what == "register":
            lives[who] = journals[who].register(Process("here", "boot", who, "1"), LEASE)
            model.lives[who] = Life()
            for stream in ("one", "two"):
                leases.pop((who, stream), None)
                model.leases.pop((who, stream), None)
            continue
        if who not in lives or (what in ("append", "release") and tuple(of) not in leases):
            continue
        try:
            if what == "claim":
                (leases[tuple(of)],) = await journals[who].claim("r", [of[1]], lives[who], now)
                got = leases[tuple(of)].epoch
            elif what == "renew":
                got = await journals[who].renew(lives[who], now)
            elif what == "append":
                await journals[who].append(leases[tuple(of)], [MarkerProven()], now)
                got = None
            else:
                got = await journals[who].release([leases.pop(tuple(of))])
        except LeaseLost:
            got = "lost"
        if what in ("claim", "renew"):
            assert got == getattr(model, what)(*of, now), (what, of, now)
        else:
            assert got == getattr(model, what)(*of), (what, of, now)
    facts = [entry.account for entry in first.disk.entries("r") if isinstance(entry.event, MarkerProven)]
    assert {stream: facts.count(stream) for stream in model.facts} == model.facts


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(STEP, min_size=4, max_size=40))
def test_whatever_is_done_leases_are_what_the_model_says(steps):
    anyio.run(play, [("register", 0), ("register", 1), ("claim", 0, "one"), ("claim", 0, "two"), *steps])
